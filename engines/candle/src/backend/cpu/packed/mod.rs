//! Weights in panels of 16 rows, in the order in which kernels read them, and their products.
//!
//! - `layout`: where everything is, and how many bytes; `source`, `pack`: from a file's blocks; `unpack`: back;
//! - `inputs`: activations as the integer kernels want them;
//! - `few_rows`, `many_bytes`, `amx`: the products.

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
pub(crate) mod few_rows;
pub(crate) mod inputs;
mod layout;
pub(crate) mod many_bytes;
mod pack;
mod source;
mod unpack;

#[cfg(test)]
mod tests;

pub(crate) use layout::{Cell, MOST_INPUTS, PANEL_ROWS, matrix_bytes};
pub(crate) use pack::pack_panel;
pub(crate) use unpack::{fill_columns, unpack_columns, unpack_row};

use super::buffer::Buffer;
use super::kernels::Level;
use crate::backend::Fill;
use plimsoll_engine::{EngineError, Region};
use plimsoll_formats::Dtype;
use std::ops::Range;

/// Bytes of a file that are packed at once: at least one panel's, else at most so many.
const STAGED: usize = 1 << 20;

/// A weight matrix `[rows, cols]` in panels.
#[derive(Debug)]
pub(crate) struct Packed {
    dtype: Dtype,
    rows: usize,
    cols: usize,
    cell: Cell,
    buffer: Buffer,
}

impl Packed {
    /// Reads a matrix row by row and packs it; `None` for a type that stays row after row.
    ///
    /// # Errors
    /// Those of `fill`; [`EngineError::Invalid`] for rows that are no whole number of blocks; [`EngineError::OutOfMemory`].
    pub(crate) fn load(
        dtype: Dtype,
        rows: usize,
        cols: usize,
        fill: &mut Fill<'_>,
    ) -> Result<Option<Self>, EngineError> {
        let Some(cell) = Cell::of(dtype) else { return Ok(None) };
        let sizes = || {
            let row = usize::try_from(dtype.bytes_for(u64::try_from(cols).ok()?)?).ok()?;
            let panel = row.checked_mul(PANEL_ROWS)?;
            Some((matrix_bytes(dtype, rows, cols)?, row, panel, cell.panel_bytes(cols)?))
        };
        let Some((bytes, row, file_panel, panel)) = sizes() else {
            return Err(EngineError::Invalid(format!(
                "a {dtype:?} matrix of {rows} rows and {cols} columns cannot be stored"
            )));
        };
        let panels = STAGED.checked_div(file_panel).unwrap_or(1).clamp(1, rows.div_ceil(PANEL_ROWS).max(1));
        let mut staged = Vec::new();
        let room = (panels * PANEL_ROWS).min(rows) * row;
        staged
            .try_reserve_exact(room)
            .map_err(|_| EngineError::OutOfMemory { region: Region::Host, bytes: room as u64 })?;
        staged.resize(room, 0);
        let level = Level::detect();
        let mut left = rows;
        let mut pack = |packed: &mut [u8]| {
            let taken = left.min(panels * PANEL_ROWS);
            left -= taken;
            let staged = &mut staged[..taken * row];
            fill(staged)?;
            for (rows, panel) in staged.chunks(file_panel).zip(packed.chunks_exact_mut(panel)) {
                pack_panel(level, dtype, rows, row, panel);
            }
            Ok(())
        };
        let buffer = Buffer::filled(bytes, panels * panel, &mut pack)?;
        Ok(Some(Packed { dtype, rows, cols, cell, buffer }))
    }

    /// The storage type.
    pub(crate) fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Outputs.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs.
    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    /// The cells of a panel.
    pub(crate) fn cell(&self) -> Cell {
        self.cell
    }

    /// Panels, the last one perhaps not full.
    pub(crate) fn panels(&self) -> usize {
        self.rows.div_ceil(PANEL_ROWS)
    }

    /// Bytes of a panel.
    pub(crate) fn panel_bytes(&self) -> usize {
        self.buffer.len().checked_div(self.panels()).unwrap_or(0)
    }

    /// A panel's cells: aligned to 64 bytes. Panels follow each other without gaps.
    ///
    /// # Panics
    /// There is no such panel.
    pub(crate) fn panel(&self, index: usize) -> &[u8] {
        self.stretch(index..index + 1)
    }

    /// The cells of several panels.
    ///
    /// # Panics
    /// There are no such panels.
    pub(crate) fn stretch(&self, panels: Range<usize>) -> &[u8] {
        let bytes = self.panel_bytes();
        &self.buffer.bytes()[panels.start * bytes..panels.end * bytes]
    }
}
