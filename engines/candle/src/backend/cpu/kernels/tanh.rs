//! The hyperbolic tangent, in a form that compiles to vector code.

use super::exp;

/// Below it a polynomial is exact enough; above it, the exponential form loses nothing to cancellation.
const SMALL: f32 = 0.625;

/// `tanh(x)` within 3 units in the last place.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    // NaN goes through both branches.
    let square = x * x;
    // x + x^3 P(x^2), fitted for |x| < 0.625.
    let mut p = -5.704_988_7e-3;
    for coefficient in [2.063_909e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328e-1] {
        p = p * square + coefficient;
    }
    let near = p * square * x + x;
    let far = (1.0 - 2.0 / (exp(2.0 * x.abs()) + 1.0)).copysign(x);
    if x.abs() < SMALL { near } else { far }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_true_function() {
        for i in -200_000..=200_000 {
            let x = i as f32 / 10_000.0;
            let (got, want) = (f64::from(tanh(x)), f64::from(x).tanh());
            assert!((got - want).abs() <= 3.6e-7 * want.abs(), "tanh({x}) = {got}, not {want}");
        }
    }

    #[test]
    fn ends_are_exact() {
        assert_eq!(tanh(0.0), 0.0);
        assert_eq!((tanh(1e30), tanh(f32::INFINITY)), (1.0, 1.0));
        assert_eq!((tanh(-1e30), tanh(f32::NEG_INFINITY)), (-1.0, -1.0));
        assert!(tanh(f32::NAN).is_nan());
    }
}
