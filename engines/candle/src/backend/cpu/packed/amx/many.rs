//! More rows than have their sums in registers.

use super::sums::{Change, Sums};
use super::weights::{Kind, PARTS, Scales, unpack, unpack_part};
use super::{BLOCK, Job, PANELS, PIECE, ROWS, SUMS, WEIGHTS, inputs, multiply};
use crate::backend::cpu::kernels::{TILE, TILE_ROW, Tiles};
use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
use std::ops::Range;

/// Any number of rows.
///
/// # Safety
/// As [`super::few`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx512vbmi,fma,f16c")]
pub(super) unsafe fn many<K: Kind>(job: &Job<'_>, panels: Range<usize>, scratch: &mut [f32]) {
    let (unpacked, sums) = scratch.split_at_mut(2 * WEIGHTS);
    let (mut now, mut then) = unpacked.split_at_mut(WEIGHTS);
    let mut pieces = Pieces::new(panels, job.inputs.rows().div_ceil(BLOCK), job.steps);
    let mut piece = pieces.next();
    if let Some(first) = &piece {
        // SAFETY: the caller's promise; nothing else is in the piece's room.
        unsafe { Unpacking::new::<K>(job, first, now).parts::<K>(2 * PIECE * PARTS) };
    }
    while let Some(this) = piece {
        piece = pieces.next();
        let next = piece.as_ref().map(|next| Unpacking::new::<K>(job, next, then));
        // SAFETY: the caller's promise.
        unsafe { piece_of::<K>(job, &this, now, next, sums) };
        std::mem::swap(&mut now, &mut then);
    }
}

/// A part of a product.
struct Piece {
    /// One or two.
    panels: Range<usize>,
    blocks: Range<usize>,
    /// At most [`PIECE`].
    steps: Range<usize>,
    /// All panels whose sums wait with these.
    group: Range<usize>,
}

/// A product's parts: those of the same sums follow each other at a distance of [`PANELS`]. Of its own, since adapters of the
/// library's iterators move hundreds of bytes for each, which takes a few in a hundred of a prompt.
struct Pieces {
    panels: Range<usize>,
    blocks: usize,
    steps: usize,
    /// The first of the panels whose sums wait.
    group: usize,
    /// Where the next piece begins.
    panel: usize,
    block: usize,
    step: usize,
}

impl Pieces {
    fn new(panels: Range<usize>, blocks: usize, steps: usize) -> Self {
        let (group, panel) = (panels.start, panels.start);
        Pieces { panels, blocks, steps, group, panel, block: 0, step: 0 }
    }
}

impl Iterator for Pieces {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        if self.panel >= self.panels.end || self.block >= self.blocks || self.step >= self.steps {
            return None;
        }
        let end = (self.group + PANELS).min(self.panels.end);
        let piece = Piece {
            panels: self.panel..(self.panel + 2).min(end),
            blocks: self.block..(self.block + ROWS / BLOCK).min(self.blocks),
            steps: self.step..(self.step + PIECE).min(self.steps),
            group: self.group..end,
        };
        self.panel = piece.panels.end;
        if self.panel < end {
            return Some(piece);
        }
        (self.panel, self.step) = (self.group, piece.steps.end);
        if self.step == self.steps {
            (self.step, self.block) = (0, piece.blocks.end);
        }
        if self.block == self.blocks {
            (self.block, self.group, self.panel) = (0, end, end);
        }
        Some(piece)
    }
}

/// The weights of a piece on their way to tiles, `[panel][PIECE]`, a few at a time: tiles multiply while other units unpack.
pub(super) struct Unpacking<'a> {
    /// The cells of each panel from the piece on; of one panel, twice the same.
    cells: [&'a [u8]; 2],
    /// From these to those that are wanted when the panel is next looked at.
    ahead: usize,
    steps: usize,
    /// [`PARTS`] of tiles that are done, should be, and are there.
    done: usize,
    due: usize,
    all: usize,
    /// Of the part before.
    scales: Scales,
    tiles: *mut u8,
}

impl<'a> Unpacking<'a> {
    fn new<K: Kind>(job: &Job<'a>, piece: &Piece, tiles: &mut [f32]) -> Self {
        let Range { start, end } = piece.steps;
        let cells_of_steps = |steps: usize| steps * inputs::STEP / K::CELL.inputs * K::CELL.bytes;
        let ahead = match end < job.steps {
            true => cells_of_steps(PIECE),
            false => job.operands.bytes_of(PANELS).saturating_sub(cells_of_steps(start)),
        };
        let cells = |panel: usize| &job.operands.panel(panel)[cells_of_steps(start)..];
        Unpacking {
            cells: [cells(piece.panels.start), cells(piece.panels.end - 1)],
            ahead,
            steps: end - start,
            done: 0,
            due: 0,
            all: if K::IS_TILE { 0 } else { piece.panels.len() * (end - start) * PARTS },
            scales: Scales::none(),
            tiles: tiles[..WEIGHTS].as_mut_ptr().cast(),
        }
    }

    /// Unpacks so many more parts of tiles: one by one where they are few and alike, else whole tiles as they fall due, whose
    /// code has no cases.
    ///
    /// # Safety
    /// As [`unpack_part`]; `tiles` are still this piece's alone.
    #[inline(always)]
    pub(super) unsafe fn parts<K: Kind>(&mut self, count: usize) {
        self.due = (self.due + count).min(self.all);
        let whole = K::CELL.group == 16 || count >= PARTS;
        while self.done + if whole { PARTS - 1 } else { 0 } < self.due {
            let (tile, part) = (self.done / PARTS, self.done % PARTS);
            let (panel, step) = if tile < self.steps { (0, tile) } else { (1, tile - self.steps) };
            let per_cell = K::CELL.inputs / inputs::STEP;
            let (run, share) = (step % per_cell, K::CELL.bytes / per_cell);
            let cell = &self.cells[panel][step / per_cell * K::CELL.bytes..][..K::CELL.bytes];
            // SAFETY: the cell is whole, and there is room for two panels' pieces in the planes of the type; both are aligned.
            unsafe {
                let to = self.tiles.add((panel * PIECE + step) * K::PLANES * TILE);
                match whole {
                    true => unpack::<K>(cell.as_ptr(), run, to),
                    false => unpack_part::<K>(cell.as_ptr(), run, part, &mut self.scales, to),
                }
            }
            let parts = if whole { PARTS } else { 1 };
            let lines = share.div_ceil(TILE_ROW);
            for line in part * lines / PARTS..(part + parts) * lines / PARTS {
                let from = cell.as_ptr().wrapping_add(self.ahead + run * share + line * TILE_ROW);
                // SAFETY: a hint, which no address makes fail.
                #[allow(unused_unsafe, reason = "newer compilers take it for safe")]
                unsafe {
                    _mm_prefetch::<_MM_HINT_T1>(from.cast());
                }
            }
            self.done += parts;
        }
    }
}

/// What is done beside the products.
pub(super) struct Beside<'a> {
    pub(super) unpacking: Option<Unpacking<'a>>,
    /// Parts with each step.
    pub(super) share: usize,
}

/// Multiplies a piece, whose weights are unpacked, while the next one's are being.
///
/// # Safety
/// As [`super::few`].
#[inline(always)]
unsafe fn piece_of<K: Kind>(
    job: &Job<'_>,
    piece: &Piece,
    unpacked: &[f32],
    next: Option<Unpacking<'_>>,
    sums: &mut [f32],
) {
    let Range { start, end } = piece.steps;
    let both = piece.panels.len() == 2;
    let from = match K::IS_TILE {
        true => {
            let cells = |panel: usize| job.operands.panel(panel)[start * TILE..].as_ptr();
            [cells(piece.panels.start), cells(piece.panels.end - 1)]
        }
        false => {
            let (first, second) = unpacked.split_at(K::PLANES * PIECE * SUMS);
            [first.as_ptr().cast(), second.as_ptr().cast()]
        }
    };
    let pairs = piece.blocks.len().div_ceil(2);
    // Rounded up, so that all is done with the last rows.
    let share = next.as_ref().map_or(0, |next| next.all.div_ceil(pairs * (end - start)));
    let mut beside = Beside { unpacking: next, share };
    let mut held: Option<Held<'_>> = None;
    let sums: &mut [Sums] = sums.as_chunks_mut().0;
    let before = piece.panels.start - piece.group.start;
    for (pair, sums) in sums[before / 2 * pairs..].iter_mut().take(pairs).enumerate() {
        let block = piece.blocks.start + 2 * pair;
        let blocks = block..(block + 2).min(piece.blocks.end);
        let last = job.inputs.block(blocks.end - 1, start);
        let rows = [job.inputs.block(block, start).as_ptr().cast(), last.as_ptr().cast()];
        let mut change = Change {
            out: match &mut held {
                Some(held) => Some(&mut *held.sums),
                None => None,
            },
            new: if start == 0 { None } else { Some(sums) },
        };
        let (beside, change) = (&mut beside, Some(&mut change));
        // SAFETY: blocks and pieces have so many steps.
        unsafe {
            match (blocks.len() == 2, both) {
                (true, true) => multiply::<K, 2, 2>(job.tiles, rows, from, end - start, beside, change),
                (true, false) => multiply::<K, 2, 1>(job.tiles, rows, from, end - start, beside, change),
                (false, true) => multiply::<K, 1, 2>(job.tiles, rows, from, end - start, beside, change),
                (false, false) => multiply::<K, 1, 1>(job.tiles, rows, from, end - start, beside, change),
            }
        }
        if let Some(done) = held.replace(Held { blocks, sums })
            && end == job.steps
        {
            // SAFETY: the caller's promise; the panels are the task's.
            unsafe { done.put(job, piece.panels.start) };
        }
    }
    if let Some(mut done) = held {
        done.store(job.tiles);
        if end == job.steps {
            // SAFETY: as above.
            unsafe { done.put(job, piece.panels.start) };
        }
    }
    if end == job.steps && piece.panels.end == piece.group.end {
        // SAFETY: as above.
        unsafe { job.operands.put_rows(piece.group.clone(), piece.blocks.clone(), job.inputs.rows(), sums) };
    }
}

/// One or two blocks of rows whose sums are in registers, or just were, and the place of these.
struct Held<'a> {
    blocks: Range<usize>,
    sums: &'a mut Sums,
}

impl Held<'_> {
    #[inline(always)]
    fn store(&mut self, tiles: &Tiles) {
        let mut change = Change { out: Some(self.sums), new: None };
        change.leave::<0>(tiles);
        change.leave::<1>(tiles);
        change.leave::<2>(tiles);
        change.leave::<3>(tiles);
    }

    /// Puts the products where they belong, once the sums are complete.
    ///
    /// # Safety
    /// As [`super::few`].
    #[inline(always)]
    unsafe fn put(self, job: &Job<'_>, first_panel: usize) {
        for (block, sums) in self.blocks.zip(self.sums.as_chunks_mut().0) {
            // SAFETY: the caller's promise.
            unsafe { job.operands.put_block(first_panel, block, sums) };
        }
    }
}
