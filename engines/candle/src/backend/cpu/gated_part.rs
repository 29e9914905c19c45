//! Feed-forward parts of many rows on AMX tiles: the gated products go into tiles at once, in the room that [`Slot::Gate`] has
//! for them as f32, and from there into the way back. In memory they are a quarter of what gate and other take as f32, and
//! nobody reads them to make tiles of them.

use super::arena::{Area, Made};
use super::matmul::{Job, Room, Target, Way, Workers, stretches};
use super::matrix::Stored;
use super::packed::Packed;
use super::packed::amx::{self, GatedTiles};
use super::packed::inputs::Form;
use super::{CpuBackend, Vector, fits};
use crate::backend::{GatedPart, Slot};
use plimsoll_engine::EngineError;

/// The matrices of a part that can go this way.
struct Weights<'a> {
    products: [&'a Packed; 2],
    down: &'a Packed,
}

impl<'a> Weights<'a> {
    fn of(backend: &CpuBackend, part: &GatedPart<'a, CpuBackend>, rows: usize) -> Option<Self> {
        let tiles = |matrix: &'a super::Matrix| match &matrix.stored {
            Stored::Panels(packed) => {
                let way = Way::of(backend.level, packed.dtype(), rows, backend.spec.is_exact());
                (way == Way::Tiles).then_some(packed)
            }
            Stored::Floats(_) => None,
        };
        let [gate, up] = &part.products;
        let products = [tiles(gate.matrix)?, tiles(up.matrix)?];
        let biased = gate.bias.is_some() || up.bias.is_some();
        (amx::gates(products, rows) && !biased)
            .then_some(Weights { products, down: tiles(part.down.matrix)? })
    }
}

/// A part, whole. False when it must go another way.
///
/// # Errors
/// Those of products alone.
pub(super) fn gated_part(
    backend: &mut CpuBackend,
    part: &GatedPart<'_, CpuBackend>,
    src: Slot,
    rows: usize,
) -> Result<bool, EngineError> {
    let Some(weights) = Weights::of(backend, part, rows) else { return Ok(false) };
    let [gate, _] = weights.products;
    let (cols, width, slot) = (gate.cols(), gate.rows(), Area::Packed(Slot::Gate, rows, part.width));
    let Some(len) = GatedTiles::len(rows, width).filter(|len| *len <= rows * width) else { return Ok(false) };
    let down = &part.down;
    let shaped = width == part.width
        && (down.matrix.cols, down.matrix.rows) == (weights.down.cols(), weights.down.rows())
        && weights.down.cols() == width
        && backend.takes(src, cols)
        && backend.takes(down.dst, weights.down.rows());
    fits(
        shaped && down.bias.is_none_or(|bias| bias.values().len() == weights.down.rows()),
        "a feed-forward part",
    )?;
    let level = backend.level;
    let scratch_width = backend.arena.layout().width(Area::Scratch);

    let made = backend.arena.inputs_of(src, rows, cols);
    let areas = [Area::Packed(src, rows, cols), Area::Inputs, Area::Scratch, slot];
    let [inputs, records, scratch, tiles] = backend.arena.areas(areas)?;
    let workers = Workers::of(level, &backend.pool, &backend.spec);
    let job =
        Job::new(workers, Way::Tiles, (rows, cols), inputs, Room { records, made, scratch, scratch_width })?;
    let Some(target) = GatedTiles::new(level, part.activation, width, &mut tiles[..len]) else {
        return Err(EngineError::PriceOverflow);
    };
    stretches(workers, gate.panels(), &|panels, thread| {
        job.gated(weights.products, panels, thread, &target);
    });
    backend.arena.keep_inputs(Some(Made { slot: src, rows, cols, form: Form::Tiles }));

    let outputs = Area::Packed(down.dst, rows, weights.down.rows());
    let [tiles, out, scratch] = backend.arena.areas([slot, outputs, Area::Scratch])?;
    let workers = Workers::of(level, &backend.pool, &backend.spec);
    let room = Room { records: &mut tiles[..len], made: Some(Form::Tiles), scratch, scratch_width };
    let job = Job::new(workers, Way::Tiles, (rows, width), &[], room)?;
    let target = Target::new(out, weights.down.rows(), down.bias.map(Vector::values), part.how);
    stretches(workers, weights.down.panels(), &|panels, thread| {
        job.compute(weights.down, panels, thread, &target);
    });
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::kernels::reference::Random;
    use crate::backend::cpu::tests::{matrix, spec, vector};
    use crate::backend::{Backend, Into, Product, StepSpec};
    use plimsoll_formats::{Activation, Dtype};

    #[test]
    fn a_part_on_tiles_has_the_bits_of_its_operations_one_by_one() {
        let shape = StepSpec { hidden: 256, intermediate: 512, max_rows: 600, ..spec() };
        let mut backend = CpuBackend::new(shape).unwrap();
        if backend.level.amx().is_none() {
            eprintln!("SKIPPED: no AMX on this machine");
            return;
        }
        let mut random = Random::new(51);
        let bias = vector::<CpuBackend>(256, &mut random);
        for (gates, back) in [
            (Dtype::Q4_0, Dtype::Q4_0),
            (Dtype::Q4K, Dtype::Q6K),
            (Dtype::Q8_0, Dtype::BF16),
            (Dtype::BF16, Dtype::Q8_0),
        ] {
            let pair = [gates, gates].map(|dtype| matrix::<CpuBackend>(dtype, 512, 256, &mut random));
            let down = matrix::<CpuBackend>(back, 256, 512, &mut random);
            for (rows, activation) in [33, 48, 70, 600]
                .into_iter()
                .flat_map(|rows| [(rows, Activation::Silu), (rows, Activation::GeluTanh)])
            {
                for how in [Into::Set, Into::Add] {
                    let part = GatedPart {
                        activation,
                        width: 512,
                        products: [(&pair[0], Slot::Gate), (&pair[1], Slot::Up)]
                            .map(|(matrix, dst)| Product { matrix, bias: None, dst }),
                        down: Product { matrix: &down, bias: Some(&bias), dst: Slot::Hidden },
                        how,
                    };
                    let (inputs, before) = (random.floats(rows * 256), random.floats(rows * 256));
                    let run = |backend: &mut CpuBackend, tiled: bool| -> Vec<u32> {
                        backend.slot(Slot::Normed, rows).copy_from_slice(&inputs);
                        backend.slot(Slot::Hidden, rows).copy_from_slice(&before);
                        for slot in [Slot::Gate, Slot::Up] {
                            backend.slot(slot, rows).fill(f32::NAN);
                        }
                        if tiled {
                            assert!(gated_part(backend, &part, Slot::Normed, rows).unwrap());
                        } else {
                            let each = |product: &Product<'_, _>| product.alone(backend, Slot::Normed, rows);
                            part.products.iter().try_for_each(each).unwrap();
                            backend.gate(activation, 512, rows).unwrap();
                            let Product { matrix, bias, dst } = part.down;
                            backend.matmul(matrix, bias, Slot::Gate, dst, how, rows).unwrap();
                        }
                        backend.slot(Slot::Hidden, rows).iter().map(|value| value.to_bits()).collect()
                    };
                    let want = run(&mut backend, false);
                    assert_eq!(
                        run(&mut backend, true),
                        want,
                        "{gates} {back} {rows} rows {activation:?} {how:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn parts_that_do_not_suit_go_another_way() {
        let mut random = Random::new(52);
        let shape = StepSpec { hidden: 256, intermediate: 512, max_rows: 64, ..spec() };
        let mut backend = CpuBackend::new(shape).unwrap();
        let mut made = |dtype, rows, cols| matrix::<CpuBackend>(dtype, rows, cols, &mut random);
        let (gate, up, down) =
            (made(Dtype::Q4_0, 512, 256), made(Dtype::Q8_0, 512, 256), made(Dtype::Q4_0, 256, 512));
        let (odd, back) = (made(Dtype::Q4_0, 500, 256), made(Dtype::F32, 256, 512));
        let bias = vector::<CpuBackend>(512, &mut random);
        let mut takes = |width, gate, up, bias, down, rows| {
            let part = GatedPart {
                activation: Activation::Silu,
                width,
                products: [(gate, Slot::Gate, bias), (up, Slot::Up, None)]
                    .map(|(matrix, dst, bias)| Product { matrix, bias, dst }),
                down: Product { matrix: down, bias: None, dst: Slot::Hidden },
                how: Into::Set,
            };
            backend.slot(Slot::Normed, rows).fill(1.0);
            gated_part(&mut backend, &part, Slot::Normed, rows).unwrap()
        };
        // Two types, a bias, few rows, a width that is no whole number of cells, a way back in f32.
        assert!(!takes(512, &gate, &up, None, &down, 64));
        assert!(!takes(512, &gate, &gate, Some(&bias), &down, 64));
        assert!(!takes(512, &gate, &gate, None, &down, 32));
        assert!(!takes(500, &odd, &odd, None, &down, 64));
        assert!(!takes(512, &gate, &gate, None, &back, 64));
    }
}
