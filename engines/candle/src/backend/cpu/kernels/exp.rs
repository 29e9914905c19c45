//! The exponential function, in a form that compiles to vector code.

use super::ROUND;
use std::f32::consts::LOG2_E;

/// ln 2 in two parts; the first has so few bits that its product with an exponent is exact.
const LN_2_HIGH: f32 = 355.0 / 512.0;
const LN_2_LOW: f32 = -2.121_944_4e-4;
/// Above it the result is infinite.
const MOST: f32 = 88.722_83;
/// Below it the result is 0: no denormals.
const LEAST: f32 = -86.9;

/// `e^x` within 2 units in the last place; 0 below -86.9, where the true value is under 2e-38.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // NaN goes through, here and in the comparisons below.
    let bounded = x.clamp(LEAST, MOST);
    let shifted = bounded * LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (bounded - n * LN_2_HIGH) - n * LN_2_LOW;
    // |r| <= ln(2) / 2: the first term left out is below 6e-9.
    let mut p = 1.0 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = p * r + coefficient;
    }
    // 2^(n - 1), as n may be 128; n is at least -125.
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(126);
    let value = p * f32::from_bits(exponent << 23) * 2.0;
    if x > MOST {
        f32::INFINITY
    } else if x < LEAST {
        0.0
    } else {
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_true_function() {
        for i in -869_000..=887_228 {
            let x = i as f32 / 10_000.0;
            let (got, want) = (f64::from(exp(x)), f64::from(x).exp());
            assert!(((got - want) / want).abs() < 2.4e-7, "exp({x}) = {got}, not {want}");
        }
    }

    #[test]
    fn ends_are_exact() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-1e30), 0.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(89.0), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan());
    }
}
