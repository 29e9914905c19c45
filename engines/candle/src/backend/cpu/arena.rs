//! The workspace of a step: planned from the spec, taken once, never grown.
//!
//! [`ArenaLayout`] is arithmetic alone: what a price is made of. [`Arena`] is the memory, which may hold what another model left
//! there: every step writes what it reads. Scratch comes first and the logits last, so the largest step reaches the very end of
//! the plan.

use super::buffer::ALIGN;
#[cfg(target_arch = "x86_64")]
use super::kernels::Level;
use super::kernels::{PANEL, STRETCHES, record_len, rows_scratch_len, stretch_scratch_len, stretch_tokens};
use super::map::{WORKSPACE, pages};
use super::matmul::FEW_ROWS;
#[cfg(target_arch = "x86_64")]
use super::packed::amx;
use super::packed::inputs::Form;
use super::packed::many_bytes;
use crate::backend::{MAX_ROPES, Slot, StepSpec};
use plimsoll_engine::{Buffer, Buffers, EngineError, Region as Memory, Source};
#[cfg(target_arch = "x86_64")]
use plimsoll_formats::Dtype;
use plimsoll_scheduler::Layers;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A table of f32 in the arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Region {
    /// Bytes from the arena's start, a multiple of [`ALIGN`].
    offset: usize,
    rows: usize,
    width: usize,
}

/// A part of the arena to work on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Area {
    /// The first rows of a slot.
    Slot(Slot, usize),
    /// The first rows of a slot, packed at this width, which is at most the slot's.
    Packed(Slot, usize, usize),
    /// The first rows of a rotation's table of cosines, as wide as it has pairs.
    Cos(usize, usize),
    /// The first rows of its table of sines.
    Sin(usize, usize),
    /// The records of a product's inputs, of whatever form.
    Inputs,
    /// All threads' scratch, one row each.
    Scratch,
    /// What stretches of attention give before they are merged, a row for each sequence.
    Records,
    /// Numbers of attention's tasks and stretches, see `attention`; bits of u32.
    Counters,
}

/// Where everything is in the arena.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ArenaLayout {
    scratch: Region,
    inputs: Region,
    records: Region,
    counters: Region,
    cos: [Region; MAX_ROPES],
    sin: [Region; MAX_ROPES],
    slots: [Region; Slot::ALL.len()],
    end: usize,
}

impl ArenaLayout {
    /// The layout for a spec.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] for a spec that no model can have, [`EngineError::PriceOverflow`].
    pub(super) fn plan(spec: &StepSpec) -> Result<Self, EngineError> {
        spec.validate()?;
        Self::place(spec).ok_or(EngineError::PriceOverflow)
    }

    fn place(spec: &StepSpec) -> Option<Self> {
        // So that sizes of blocks need no further checks.
        for layers in [Layers::Whole, Layers::Rolling] {
            isize::try_from(spec.block_bytes(layers)?).ok()?;
        }
        let mut end = 0usize;
        let mut next = |rows: usize, width: usize| {
            let offset = end.checked_next_multiple_of(ALIGN)?;
            end = offset.checked_add(rows.checked_mul(width)?.checked_mul(size_of::<f32>())?)?;
            Some(Region { offset, rows, width })
        };
        let group = spec.heads / spec.kv_heads;
        let attention =
            stretch_scratch_len(group, spec.head_dim)?.max(rows_scratch_len(group, spec.head_dim)?);
        // A thread attends or fills a panel, never both. Whole cache lines keep threads off each other's.
        let per_thread = attention
            .max(PANEL.0 * PANEL.1)
            .max(many_bytes::scratch(rows_of_products(spec)))
            .max(tiled(spec)?.1)
            .checked_next_multiple_of(ALIGN / size_of::<f32>())?;
        let scratch = next(spec.threads, per_thread)?;
        let inputs = next(1, most_inputs(spec)?.max(tiled(spec)?.0))?;
        let records = record_len(group, spec.head_dim)?.checked_mul(spec.kv_heads)?;
        // No stretch is shorter than that of the fewest tokens.
        let stretches = spec.context.div_ceil(stretch_tokens(1)).min(STRETCHES);
        let records = next(spec.max_sequences, records.checked_mul(stretches)?)?;
        let counters = next(spec.max_sequences, spec.kv_heads.checked_add(1)?)?;
        let (mut cos, mut sin) = ([Region::default(); MAX_ROPES], [Region::default(); MAX_ROPES]);
        for (rope, (cos, sin)) in spec.ropes.iter().zip(cos.iter_mut().zip(&mut sin)) {
            *cos = next(spec.max_rows, rope.inv_freq.len())?;
            *sin = next(spec.max_rows, rope.inv_freq.len())?;
        }
        let mut slots = [Region::default(); Slot::ALL.len()];
        for slot in Slot::ALL {
            let (rows, width) = spec.extent(slot)?;
            slots[slot as usize] = next(rows, width)?;
        }
        isize::try_from(end).ok()?;
        Some(ArenaLayout { scratch, inputs, records, counters, cos, sin, slots, end })
    }

    /// Bytes up to the end of the last region.
    #[cfg(test)]
    pub(super) fn end(&self) -> usize {
        self.end
    }

    /// Bytes of an arena of this layout: whole pages.
    ///
    /// # Errors
    /// [`EngineError::PriceOverflow`].
    pub(super) fn mapped(&self) -> Result<usize, EngineError> {
        pages(self.end).ok_or(EngineError::PriceOverflow)
    }

    /// Where an area is, its rows and the values in each.
    fn region(&self, area: Area) -> (Region, usize, usize) {
        let (region, rows) = match area {
            Area::Slot(slot, rows) => (self.slots[slot as usize], rows),
            Area::Packed(slot, rows, width) => return (self.slots[slot as usize], rows, width),
            // No rotation has more indices than this; one that the spec lacks has no rows.
            Area::Cos(rope, rows) => (self.cos.get(rope).copied().unwrap_or_default(), rows),
            Area::Sin(rope, rows) => (self.sin.get(rope).copied().unwrap_or_default(), rows),
            Area::Inputs => (self.inputs, self.inputs.rows),
            Area::Scratch => (self.scratch, self.scratch.rows),
            Area::Records => (self.records, self.records.rows),
            Area::Counters => (self.counters, self.counters.rows),
        };
        (region, rows, region.width)
    }

    /// Values in each row of an area.
    pub(super) fn width(&self, area: Area) -> usize {
        self.region(area).0.width
    }
}

/// Values of the records of the largest product's inputs; `None` on overflow.
fn most_inputs(spec: &StepSpec) -> Option<usize> {
    let (rows, widest) = (rows_of_products(spec), spec.heads.checked_mul(spec.head_dim)?);
    let depth = Form::depth(widest.max(spec.hidden).max(spec.intermediate))?;
    let few = rows.min(FEW_ROWS);
    let few = Form::Planes.values(few, depth)?.max(Form::Floats.values(few, depth)?);
    Some(few.max(Form::Bytes.values(rows, depth)?))
}

/// Most rows of a product.
fn rows_of_products(spec: &StepSpec) -> usize {
    spec.max_rows.max(spec.max_sequences)
}

/// Values that products on tiles want for the largest inputs, and in a thread's scratch; `None` on overflow.
#[cfg(target_arch = "x86_64")]
fn tiled(spec: &StepSpec) -> Option<(usize, usize)> {
    if Level::detect().amx().is_none() {
        return Some((0, 0));
    }
    let (rows, widest) = (spec.max_rows.max(spec.max_sequences), spec.heads.checked_mul(spec.head_dim)?);
    let depth = Form::depth(widest.max(spec.hidden).max(spec.intermediate))?;
    // f16 weights have the most planes, and bytes take less. A wider input may need less padding.
    let block = amx::most_block_len(depth, amx::planes(Dtype::F16, false))?;
    Some((block.checked_mul(rows.div_ceil(amx::BLOCK))?, amx::scratch_len(rows)?))
}

/// Other processors have no tiles.
#[cfg(not(target_arch = "x86_64"))]
fn tiled(_: &StepSpec) -> Option<(usize, usize)> {
    Some((0, 0))
}

/// Whose rows [`Area::Inputs`] holds, so that products of the same rows make them once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) slot: Slot,
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) form: Form,
}

/// The memory of a layout.
#[derive(Debug)]
pub(super) struct Arena {
    layout: ArenaLayout,
    made: Option<Made>,
    memory: Buffer,
    /// Bytes from the memory's start to the first region.
    shift: usize,
    high_water: AtomicUsize,
}

impl Arena {
    /// An arena in committed pages from `buffers`.
    ///
    /// # Errors
    /// [`EngineError::OutOfMemory`].
    pub(super) fn within(layout: ArenaLayout, buffers: &Arc<dyn Buffers>) -> Result<Self, EngineError> {
        Self::of(layout, &WORKSPACE, buffers)
    }

    fn of(
        layout: ArenaLayout,
        source: &'static Source,
        buffers: &Arc<dyn Buffers>,
    ) -> Result<Self, EngineError> {
        let bytes = layout.mapped()?;
        let memory = Buffer::take(buffers, source, bytes);
        let memory = memory.ok_or(EngineError::OutOfMemory { region: Memory::Host, bytes: bytes as u64 })?;
        Ok(Arena { layout, made: None, memory, shift: 0, high_water: AtomicUsize::new(0) })
    }

    /// An arena with the end of the layout against a page that cannot be touched, all of it filled with bytes of NaNs.
    #[cfg(test)]
    pub(super) fn guarded(layout: ArenaLayout) -> Result<Self, EngineError> {
        let shift = layout.mapped()? - layout.end.next_multiple_of(ALIGN);
        let system: Arc<dyn Buffers> = Arc::new(plimsoll_engine::System);
        let mut arena = Self::of(layout, &super::map::GUARDED, &system)?;
        arena.memory.as_mut_slice().fill(u8::MAX);
        Ok(Arena { shift, ..arena })
    }

    /// The layout.
    pub(super) fn layout(&self) -> &ArenaLayout {
        &self.layout
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        self.memory.bytes()
    }

    /// The highest end of an area that was ever handed out, in the layout's bytes.
    #[cfg(test)]
    pub(super) fn high_water(&self) -> usize {
        self.high_water.load(Ordering::Relaxed)
    }

    /// The form in which a slot's rows are in [`Area::Inputs`], if they are: nobody had the slot since.
    pub(super) fn inputs_of(&self, slot: Slot, rows: usize, cols: usize) -> Option<Form> {
        let made = self.made.filter(|made| (made.slot, made.rows, made.cols) == (slot, rows, cols));
        made.map(|made| made.form)
    }

    /// Keeps in mind what is in [`Area::Inputs`], until someone asks for it or for the slot.
    pub(super) fn keep_inputs(&mut self, made: Option<Made>) {
        self.made = made;
    }

    /// Areas to work on, which must be distinct.
    ///
    /// # Errors
    /// [`EngineError::Execution`] when one has fewer rows than asked for or is asked for twice.
    pub(super) fn areas<const N: usize>(&mut self, areas: [Area; N]) -> Result<[&mut [f32]; N], EngineError> {
        Ok(self.two_lists(areas, [])?.0)
    }

    /// The same for two lists, distinct over both.
    ///
    /// # Errors
    /// Those of [`Arena::areas`].
    #[expect(clippy::type_complexity, reason = "two lists of slices")]
    pub(super) fn two_lists<const N: usize, const M: usize>(
        &mut self,
        first: [Area; N],
        second: [Area; M],
    ) -> Result<([&mut [f32]; N], [&mut [f32]; M]), EngineError> {
        for (index, area) in first.iter().chain(&second).enumerate() {
            let (region, rows, width) = self.layout.region(*area);
            self.made = self.made.filter(|made| match area {
                Area::Slot(slot, _) | Area::Packed(slot, ..) => *slot != made.slot,
                Area::Inputs => false,
                _ => true,
            });
            let mut before = first.iter().chain(&second).take(index);
            let twice = before.any(|other| self.layout.region(*other).0 == region);
            if rows > region.rows || width > region.width || twice {
                return Err(EngineError::Execution(format!(
                    "{area:?} of the step's workspace cannot be had"
                )));
            }
            self.high_water.fetch_max(region.offset + rows * width * size_of::<f32>(), Ordering::Relaxed);
        }
        let slice = |area: Area| {
            let (region, rows, width) = self.layout.region(area);
            // SAFETY: the memory is of the source and the size that were asked for, so it starts at a page and the layout ends
            // within it; regions of a layout are aligned, hold initialised floats (any bytes are) and do not overlap; no region
            // is in the lists twice, and `self` is borrowed for as long as the slices.
            unsafe {
                let start = self.memory.as_ptr().add(self.shift + region.offset).cast::<f32>();
                std::slice::from_raw_parts_mut(start, rows * width)
            }
        };
        Ok((first.map(slice), second.map(slice)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::tests::spec;

    fn fresh(layout: ArenaLayout) -> Arena {
        Arena::within(layout, &(Arc::new(plimsoll_engine::System) as Arc<dyn Buffers>)).unwrap()
    }

    #[test]
    fn memory_that_is_too_small_is_none() {
        struct Stingy;
        impl Buffers for Stingy {
            fn take(&self, source: &'static Source, _: usize) -> Option<plimsoll_engine::Memory> {
                plimsoll_engine::Memory::fresh(source, 64)
            }
            fn put_back(&self, memory: plimsoll_engine::Memory) {
                drop(memory);
            }
        }
        let layout = ArenaLayout::plan(&spec()).unwrap();
        let bytes = layout.mapped().unwrap() as u64;
        let stingy: Arc<dyn Buffers> = Arc::new(Stingy);
        let refused = Arena::within(layout, &stingy).err();
        assert_eq!(refused, Some(EngineError::OutOfMemory { region: Memory::Host, bytes }));
    }

    #[test]
    fn regions_are_aligned_and_follow_each_other() {
        let layout = ArenaLayout::plan(&spec()).unwrap();
        let mut regions = vec![layout.scratch, layout.inputs, layout.records, layout.counters];
        regions.extend([layout.cos[0], layout.sin[0]]);
        regions.extend(layout.slots);
        let mut end = 0usize;
        for region in regions {
            assert_eq!(region.offset % ALIGN, 0);
            assert_eq!(region.offset, end.next_multiple_of(ALIGN));
            end = region.offset + region.rows * region.width * 4;
        }
        assert_eq!(layout.end(), end);
        let arena = fresh(layout.clone());
        assert_eq!(arena.held(), layout.mapped().unwrap());
        assert!(arena.held() >= end && arena.held() - end < 1 << 16);
    }

    #[test]
    fn sizes_that_overflow_or_cannot_be_are_refused() {
        let huge = usize::MAX / 3;
        let spoilt: [fn(&mut StepSpec, usize); 6] = [
            |spec, huge| spec.hidden = huge,
            |spec, huge| spec.vocab = huge,
            |spec, huge| spec.max_rows = huge,
            |spec, huge| spec.block_tokens = huge,
            |spec, huge| spec.layers = huge,
            |spec, huge| spec.intermediate = huge,
        ];
        for spoil in spoilt {
            let mut spec = spec();
            spoil(&mut spec, huge);
            assert_eq!(ArenaLayout::plan(&spec), Err(EngineError::PriceOverflow));
            spoil(&mut spec, 0);
            assert!(matches!(ArenaLayout::plan(&spec), Err(EngineError::Invalid(_))));
        }
    }

    #[test]
    fn areas_are_distinct_and_within_their_rows() {
        let spec = spec();
        let mut arena = fresh(ArenaLayout::plan(&spec).unwrap());
        let [gate, up] = arena.areas([Area::Slot(Slot::Gate, 2), Area::Slot(Slot::Up, 1)]).unwrap();
        assert_eq!((gate.len(), up.len()), (2 * spec.intermediate, spec.intermediate));
        assert!(arena.areas([Area::Slot(Slot::Gate, 1), Area::Slot(Slot::Gate, 2)]).is_err());
        assert!(arena.areas([Area::Slot(Slot::Gate, spec.max_rows + 1)]).is_err());
        let [packed] = arena.areas([Area::Packed(Slot::Gate, 3, 5)]).unwrap();
        assert_eq!(packed.len(), 15);
        assert!(arena.areas([Area::Packed(Slot::Gate, 1, spec.intermediate + 1)]).is_err());
        assert!(arena.areas([Area::Cos(1, 1)]).is_err(), "there is one rotation");
        let made = Made { slot: Slot::Gate, rows: 3, cols: 40, form: Form::Planes };
        for (area, kept) in [
            (Area::Slot(Slot::Up, 1), true),
            (Area::Scratch, true),
            (Area::Slot(Slot::Gate, 1), false),
            (Area::Packed(Slot::Gate, 1, 1), false),
            (Area::Inputs, false),
        ] {
            arena.keep_inputs(Some(made));
            assert_eq!(arena.inputs_of(Slot::Gate, 2, 40), None, "other rows");
            assert_eq!(arena.inputs_of(Slot::Gate, 3, 40), Some(Form::Planes));
            arena.areas([area]).unwrap();
            assert_eq!(arena.inputs_of(Slot::Gate, 3, 40).is_some(), kept, "{area:?}");
        }
        assert!(arena.areas([Area::Sin(2, 1)]).is_err());
    }
}
