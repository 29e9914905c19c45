//! Operations on each value or pair of values.

use super::{Level, exp, per_level, tanh};
use plimsoll_formats::Activation;

/// sqrt(2 / pi).
const GELU_SCALE: f32 = 0.797_884_6;

per_level! {
    /// `gate = silu(gate) * up`, with `silu(x) = x / (1 + e^-x)`.
    fn silu_gate[_simd](gate: &mut [f32], up: &[f32]) {
        for (gate, up) in gate.iter_mut().zip(up) {
            *gate = *gate / (1.0 + exp(-*gate)) * up;
        }
    }
}

per_level! {
    /// `gate = gelu(gate) * up`, with `gelu(x) = x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`.
    fn gelu_gate[_simd](gate: &mut [f32], up: &[f32]) {
        for (gate, up) in gate.iter_mut().zip(up) {
            let x = *gate;
            let inner = GELU_SCALE * (x + 0.044_715 * (x * x * x));
            *gate = 0.5 * x * (1.0 + tanh(inner)) * up;
        }
    }
}

/// `gate = activation(gate) * up`.
pub(crate) fn gate(level: Level, activation: Activation, gate: &mut [f32], up: &[f32]) {
    match activation {
        Activation::Silu => silu_gate(level, gate, up),
        Activation::GeluTanh => gelu_gate(level, gate, up),
    }
}

per_level! {
    /// `values = values * factor`.
    pub(crate) fn scale[_simd](values: &mut [f32], factor: f32) {
        values.iter_mut().for_each(|value| *value *= factor);
    }
}

per_level! {
    /// `values = cap * tanh(values / cap)`.
    pub(crate) fn softcap[_simd](values: &mut [f32], cap: f32) {
        values.iter_mut().for_each(|value| *value = cap * tanh(*value / cap));
    }
}

per_level! {
    /// `values = values + more`.
    pub(crate) fn add[_simd](values: &mut [f32], more: &[f32]) {
        values.iter_mut().zip(more).for_each(|(value, more)| *value += more);
    }
}

per_level! {
    /// `values = values + weight * more`.
    pub(crate) fn scatter[_simd](values: &mut [f32], more: &[f32], weight: f32) {
        values.iter_mut().zip(more).for_each(|(value, more)| *value += weight * more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::kernels::reference::Random;

    type Gate = fn(Level, &mut [f32], &[f32]);
    type Definition = fn(f64) -> f64;

    #[test]
    fn both_gates_follow_their_definitions_at_all_sizes_of_input() {
        let silu = |x: f64| x / (1.0 + (-x).exp());
        let gelu = |x: f64| {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            x / 2.0 * (1.0 + inner.tanh())
        };
        let cases: [(Gate, Definition); 2] = [(silu_gate, silu), (gelu_gate, gelu)];
        let mut gate = Random::new(3).floats(67);
        gate.extend([-200.0, -88.0, -3.5, 0.0, 2.5, 88.0, 200.0]);
        let up = Random::new(4).floats(gate.len());
        for (kernel, definition) in cases {
            let mut portable = gate.clone();
            kernel(Level::all()[0], &mut portable, &up);
            for level in Level::all() {
                let mut got = gate.clone();
                kernel(level, &mut got, &up);
                assert_eq!(got, portable);
                for i in 0..gate.len() {
                    let x = f64::from(gate[i]);
                    let want = definition(x) * f64::from(up[i]);
                    let error = (f64::from(got[i]) - want).abs();
                    assert!(error <= 1e-6 * want.abs().max(1.0), "{x}: {} {want}", got[i]);
                }
            }
        }
    }

    #[test]
    fn a_cap_bends_large_values_and_keeps_small_ones() {
        let values = [-1e4, -60.0, -1.0, 0.0, 1e-3, 30.0, 45.0, 1e30];
        for level in Level::all() {
            let mut got = values;
            softcap(level, &mut got, 30.0);
            for (got, value) in got.iter().zip(values) {
                let want = 30.0 * (f64::from(value) / 30.0).tanh();
                assert!((f64::from(*got) - want).abs() <= 4e-7 * want.abs(), "{value}: {got} {want}");
            }
        }
    }

    #[test]
    fn rows_are_scaled_and_added() {
        for level in Level::all() {
            let mut values = [1.0, -2.0, 4.0];
            scale(level, &mut values, 0.5);
            add(level, &mut values, &[1.0, 1.0, 1.0]);
            scatter(level, &mut values, &[8.0, 4.0, 2.0], 0.25);
            assert_eq!(values, [3.5, 1.0, 3.5]);
        }
    }
}
