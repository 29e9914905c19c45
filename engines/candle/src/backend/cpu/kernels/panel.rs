//! Weights as the matrix product wants them: f32, one column of a panel after the other.

use super::{Format, LANES, per_level};

/// Outputs of a panel and inputs of a panel. A panel of 64 by 512 is 128 KiB: it stays in a core's second-level cache
/// while all rows of a step go by.
pub(crate) const PANEL: (usize, usize) = (64, 512);

per_level! {
    /// Decodes inputs `from .. from + count` of `outputs` weight rows, each of `row_bytes`, to
    /// `panel[input * PANEL.0 + output]`. `from` is a multiple of [`LANES`].
    pub(crate) fn fill_panel<F: Format>(
        weights: &[u8], row_bytes: usize, outputs: usize, from: usize, count: usize, panel: &mut [f32],
    ) {
        for (output, row) in weights.chunks_exact(row_bytes).take(outputs).enumerate() {
            let row = &row[F::row_bytes(from)..];
            let mut write = |at: usize, values: &[f32]| {
                let columns = panel[at * PANEL.0..].chunks_mut(PANEL.0);
                for (column, value) in columns.zip(values) {
                    column[output] = *value;
                }
            };
            let full = count / LANES;
            for at in 0..full {
                write(at * LANES, &F::decode(&row[at * F::STRIDE..][..F::STRIDE]));
            }
            let rest = count % LANES;
            if rest > 0 {
                let bytes = &row[full * F::STRIDE..][..F::row_bytes(rest)];
                write(full * LANES, &F::decode_tail(bytes)[..rest]);
            }
        }
    }
}
