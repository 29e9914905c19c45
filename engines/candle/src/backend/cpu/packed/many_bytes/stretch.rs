//! Panels that are multiplied together, and where their sums go.

use super::GatedBytes;
use super::gated::PAIR;
use crate::backend::cpu::matmul::Target;
use crate::backend::cpu::packed::{PANEL_ROWS, Packed};
use std::ops::Range;

/// Panels that are unpacked together: the more, the less often the inputs come from the second-level cache; their pieces and
/// a group's inputs are to lie in the first.
pub(super) const PANELS: usize = 4;

/// Panels that are multiplied together.
pub(super) struct Stretch<'a> {
    /// Matrices of one kind, and numbers of panels.
    pub(super) panels: [(&'a Packed, usize); PANELS],
    /// How many of these count.
    pub(super) count: usize,
}

impl<'a> Stretch<'a> {
    pub(super) fn panels(&self) -> impl Iterator<Item = (&'a Packed, usize)> {
        self.panels.into_iter().take(self.count)
    }
}

/// Where sums go.
#[derive(Clone, Copy)]
pub(super) enum Outlet<'a> {
    /// Each panel's to rows of outputs.
    Rows(&'a Target<'a>),
    /// Those of two pairs of panels to inputs.
    Inputs(&'a GatedBytes<'a>),
}

impl Outlet<'_> {
    /// Asks for the outputs of rows and a panel, to be written a little later: they are seldom in a cache, and stores that wait
    /// for their lines are soon too many to go on.
    pub(super) fn fetch(self, rows: Range<usize>, panel: usize) {
        if let Outlet::Rows(target) = self {
            rows.for_each(|row| target.fetch(row, panel * PANEL_ROWS));
        }
    }

    /// Panels of a matrix in a stretch.
    pub(super) fn panels(self) -> usize {
        match self {
            Outlet::Rows(_) => PANELS,
            Outlet::Inputs(_) => PAIR,
        }
    }
}
