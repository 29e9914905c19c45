//! Weights as the matrix product wants them: f32, one column of a panel after the other.

use super::{Format, LANES, per_level};

/// Outputs of a panel and inputs of a panel. A panel of 64 by 512 is 128 KiB: it stays in a core's second-level cache
/// while all rows of a step go by. 512 inputs are whole chunks of every format.
pub(crate) const PANEL: (usize, usize) = (64, 512);

/// Weight rows that are decoded side by side before their values are written column by column.
const TILE: usize = 16;

per_level! {
    /// Decodes inputs `from .. from + count` of `outputs` weight rows, each of `row_bytes`, to
    /// `panel[input * PANEL.0 + output]`. `from` begins a chunk of the format, `outputs` is a multiple of 16.
    pub(crate) fn fill_panel<F: Format>[simd](
        weights: &[u8], row_bytes: usize, outputs: usize, from: usize, count: usize, panel: &mut [f32],
    ) {
        let (start, len) = (F::row_bytes(from), F::row_bytes(count));
        let columns = panel.as_chunks_mut::<{ PANEL.0 }>().0;
        for output in (0..outputs).step_by(TILE) {
            let mut tile = [[0.0; LANES]; TILE];
            for (at, columns) in columns[..count].chunks_mut(LANES).enumerate() {
                for (row, values) in tile.iter_mut().enumerate() {
                    let row = &weights[(output + row) * row_bytes + start..][..len];
                    let (chunks, tail) = F::chunks(row);
                    let decoded = match chunks.get(at / F::GROUPS) {
                        Some(chunk) => F::decode(simd, chunk, at % F::GROUPS),
                        None => F::decode_tail(simd, tail),
                    };
                    simd.store(decoded, values);
                }
                for (input, column) in columns.iter_mut().enumerate() {
                    for (value, row) in column[output..output + TILE].iter_mut().zip(&tile) {
                        *value = row[input];
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::kernels::{Bf16, Level};

    #[test]
    fn values_come_to_their_columns() {
        let (outputs, inputs) = (32, 70);
        let value = |output: usize, input: usize| (output * 100 + input) as f32;
        let stored: Vec<u8> = (0..outputs * inputs)
            .flat_map(|at| half::bf16::from_f32(value(at / inputs, at % inputs) % 200.0).to_le_bytes())
            .collect();
        for level in Level::all() {
            for (from, count) in [(0, 70), (32, 38), (64, 6), (0, 32)] {
                let mut panel = vec![f32::NAN; PANEL.0 * PANEL.1];
                fill_panel::<Bf16>(level, &stored, inputs * 2, outputs, from, count, &mut panel);
                for input in 0..count {
                    for output in 0..PANEL.0 {
                        let got = panel[input * PANEL.0 + output];
                        match output < outputs {
                            true => assert_eq!(got, value(output, from + input) % 200.0),
                            false => assert!(got.is_nan(), "columns of no output are left alone"),
                        }
                    }
                }
            }
        }
    }
}
