//! Where products go.

use super::packed::{PANEL_ROWS, Packed};
use super::parts::Parts;
use crate::backend::Into;
use std::ops::Range;

/// A panel's outputs for one row.
type Outputs = [f32; PANEL_ROWS];

/// Where products go: `[rows, width]`, each row once the products are added to what is there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub(super) out: Parts<'a>,
    pub(super) width: usize,
    bias: Option<&'a [f32]>,
    how: Into,
}

impl<'a> Target<'a> {
    /// A target over `[rows, width]` values.
    pub(super) fn new(out: &'a mut [f32], width: usize, bias: Option<&'a [f32]>, how: Into) -> Self {
        Target { out: Parts::new(out), width, bias, how }
    }

    /// Puts the products of one output for consecutive rows.
    #[inline(always)]
    pub(super) fn put(&self, first_row: usize, output: usize, products: &[f32]) {
        for (row, product) in products.iter().enumerate() {
            self.put_outputs(first_row + row, output, std::slice::from_ref(product));
        }
    }

    /// Puts the products of consecutive outputs for one row.
    #[inline(always)]
    pub(super) fn put_outputs(&self, row: usize, first_output: usize, products: &[f32]) {
        let at = row * self.width + first_output;
        // SAFETY: an output belongs to one task.
        let values = unsafe { self.out.part(at..at + products.len()) };
        let bias = self.bias.map(|bias| &bias[first_output..first_output + products.len()]);
        for (index, (value, product)) in values.iter_mut().zip(products).enumerate() {
            let sum = product + bias.map_or(0.0, |bias| bias[index]);
            *value = match self.how {
                Into::Set => sum,
                Into::Add => *value + sum,
            };
        }
    }

    /// Puts a panel's products for one row, as far as the matrix has rows there.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn put_panel(&self, weights: &Packed, panel: usize, row: usize, products: &Outputs) {
        self.put_rows(weights, panel, row, std::slice::from_ref(products));
    }

    /// Puts a panel's products for consecutive rows, as far as the matrix has rows there.
    #[inline(always)]
    pub(super) fn put_rows(&self, weights: &Packed, panel: usize, first_row: usize, products: &[Outputs]) {
        let outputs = panel * PANEL_ROWS..((panel + 1) * PANEL_ROWS).min(weights.rows());
        if outputs.len() < PANEL_ROWS {
            for (row, products) in (first_row..).zip(products) {
                self.put_outputs(row, outputs.start, &products[..outputs.len()]);
            }
            return;
        }
        // What is the same for all rows is looked at once: of few rows this counts.
        let bias = self.bias.and_then(|bias| bias[outputs.clone()].first_chunk::<PANEL_ROWS>());
        for (row, products) in (first_row..).zip(products) {
            let at = row * self.width;
            // SAFETY: an output belongs to one task.
            let values = unsafe { self.out.part(at + outputs.start..at + outputs.end) };
            let Some(values) = values.first_chunk_mut::<PANEL_ROWS>() else { continue };
            self.put_whole(values, products, bias);
        }
    }

    /// Puts the products of consecutive panels for one row, as far as the matrix has rows there.
    #[inline(always)]
    pub(super) fn put_panels<'p>(
        &self,
        weights: &Packed,
        panels: Range<usize>,
        row: usize,
        products: impl IntoIterator<Item = &'p Outputs>,
    ) {
        let mut products = products.into_iter();
        let outputs = panels.start * PANEL_ROWS..(panels.end * PANEL_ROWS).min(weights.rows());
        let bias = self.bias.map(|bias| &bias[outputs.clone()]);
        let at = row * self.width;
        // SAFETY: an output belongs to one task.
        let values = unsafe { self.out.part(at + outputs.start..at + outputs.end) };
        let (whole, rest) = values.as_chunks_mut::<PANEL_ROWS>();
        let rest = rest.len();
        for (index, (values, products)) in whole.iter_mut().zip(&mut products).enumerate() {
            let bias = bias.and_then(|bias| bias.as_chunks::<PANEL_ROWS>().0.get(index));
            self.put_whole(values, products, bias);
        }
        if let (1.., Some(products)) = (rest, products.next()) {
            self.put_outputs(row, outputs.end - rest, &products[..rest]);
        }
    }

    /// Puts all of a panel's products for one row, at once and without a loop.
    #[inline(always)]
    fn put_whole(&self, values: &mut Outputs, products: &Outputs, bias: Option<&Outputs>) {
        let mut sums = *products;
        if let Some(bias) = bias {
            sums.iter_mut().zip(bias).for_each(|(sum, bias)| *sum += bias);
        }
        if self.how == Into::Add {
            sums.iter_mut().zip(&*values).for_each(|(sum, value)| *sum += value);
        }
        *values = sums;
    }

    /// Asks for a cache line of outputs that will be written.
    #[inline(always)]
    pub(super) fn fetch(&self, row: usize, output: usize) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: every x86-64 has it, and it is a hint, for any address.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_ET0>(self.out.start().wrapping_add(row * self.width + output).cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (row, output);
    }

    /// A row's outputs in a range.
    ///
    /// # Safety
    /// The outputs are the caller's task's, which has no other reference to them.
    pub(super) unsafe fn outputs(&self, row: usize, range: Range<usize>) -> &'a mut [f32] {
        // SAFETY: the caller's promise.
        unsafe { self.out.part(row * self.width + range.start..row * self.width + range.end) }
    }

    /// Makes outputs `from .. to` of all rows ready to have products added.
    pub(super) fn prepare(&self, rows: usize, from: usize, to: usize) {
        for row in 0..rows {
            // SAFETY: an output belongs to one task.
            let values = unsafe { self.out.part(row * self.width + from..row * self.width + to) };
            if self.how == Into::Set {
                values.fill(0.0);
            }
            if let Some(bias) = self.bias {
                values.iter_mut().zip(&bias[from..to]).for_each(|(value, bias)| *value += bias);
            }
        }
    }
}
