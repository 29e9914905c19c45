//! Feed-forward parts of more than a few rows: the gated products go at once into the form in which the way back reads its inputs, tiles
//! of bf16 on AMX and bytes elsewhere, in the room that [`Slot::Gate`] has for them as f32. In memory they are a quarter or less
//! of what gate and other take as f32, and nobody reads them to bring them into that form.

use super::arena::{Area, Made};
use super::kernels::Level;
use super::matmul::{Job, Room, Target, Way, Workers, stretches};
use super::matrix::Stored;
use super::packed::Packed;
#[cfg(target_arch = "x86_64")]
use super::packed::amx::{self, GatedTiles};
use super::packed::inputs::Form;
use super::packed::many_bytes::{self, GatedBytes};
use super::{CpuBackend, Vector, fits};
use crate::backend::{GatedPart, Slot};
use plimsoll_engine::EngineError;
use plimsoll_formats::Activation;

/// Inputs of the way back, in the making.
pub(super) enum Gated<'a> {
    Bytes(GatedBytes<'a>),
    #[cfg(target_arch = "x86_64")]
    Tiles(GatedTiles<'a>),
}

impl<'a> Gated<'a> {
    /// Values of 4 bytes of inputs in a form; `None` where they would have to be filled up, and on overflow.
    fn len(form: Form, rows: usize, width: usize) -> Option<usize> {
        match form {
            Form::Bytes => GatedBytes::len(rows, width),
            #[cfg(target_arch = "x86_64")]
            Form::Tiles => GatedTiles::len(rows, width),
            _ => None,
        }
    }

    /// Inputs in `out`, which has [`Gated::len`] values.
    fn new(
        form: Form,
        level: Level,
        activation: Activation,
        (rows, width): (usize, usize),
        out: &'a mut [f32],
    ) -> Option<Self> {
        match form {
            Form::Bytes => GatedBytes::new(level, activation, (rows, width), out).map(Gated::Bytes),
            #[cfg(target_arch = "x86_64")]
            Form::Tiles => GatedTiles::new(level, activation, width, out).map(Gated::Tiles),
            _ => None,
        }
    }
}

/// The matrices of a part that can go this way, and the way.
struct Weights<'a> {
    products: [&'a Packed; 2],
    down: &'a Packed,
    way: Way,
    form: Form,
}

impl<'a> Weights<'a> {
    fn of(backend: &CpuBackend, part: &GatedPart<'a, CpuBackend>, rows: usize) -> Option<Self> {
        let packed = |matrix: &'a super::Matrix| match &matrix.stored {
            Stored::Panels(packed) => {
                Some((packed, Way::of(backend.level, packed.dtype(), rows, backend.spec.is_exact())))
            }
            Stored::Floats(_) => None,
        };
        let [gate, up] = &part.products;
        let biased = gate.bias.is_some() || up.bias.is_some();
        let ((gate, way), (up, _), (down, back)) =
            (packed(gate.matrix)?, packed(up.matrix)?, packed(part.down.matrix)?);
        let products = [gate, up];
        let suits = match way {
            Way::ManyBytes => many_bytes::gates(products),
            #[cfg(target_arch = "x86_64")]
            Way::Tiles => amx::gates(products, rows),
            _ => false,
        };
        (suits && back == way && !biased).then_some(Weights { products, down, way, form: way.form()? })
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
    let Some(Weights { products, down: back, way, form }) = Weights::of(backend, part, rows) else {
        return Ok(false);
    };
    let [gate, _] = products;
    let (cols, width, slot) = (gate.cols(), gate.rows(), Area::Packed(Slot::Gate, rows, part.width));
    let Some(len) = Gated::len(form, rows, width).filter(|len| *len <= rows * width) else {
        return Ok(false);
    };
    let down = &part.down;
    let shaped = width == part.width
        && (down.matrix.cols, down.matrix.rows) == (back.cols(), back.rows())
        && back.cols() == width
        && backend.takes(src, cols)
        && backend.takes(down.dst, back.rows());
    fits(shaped && down.bias.is_none_or(|bias| bias.values().len() == back.rows()), "a feed-forward part")?;
    let level = backend.level;
    let scratch_width = backend.arena.layout().width(Area::Scratch);

    let made = backend.arena.inputs_of(src, rows, cols);
    let areas = [Area::Packed(src, rows, cols), Area::Inputs, Area::Scratch, slot];
    let [inputs, records, scratch, values] = backend.arena.areas(areas)?;
    let workers = Workers::of(level, &backend.pool, &backend.spec);
    let job = Job::new(workers, way, (rows, cols), inputs, Room { records, made, scratch, scratch_width })?;
    let Some(target) = Gated::new(form, level, part.activation, (rows, width), &mut values[..len]) else {
        return Err(EngineError::PriceOverflow);
    };
    stretches(workers, gate.panels(), &|panels, thread| {
        job.gated(products, panels, thread, &target);
    });
    backend.arena.keep_inputs(Some(Made { slot: src, rows, cols, form }));

    let outputs = Area::Packed(down.dst, rows, back.rows());
    let [values, out, scratch] = backend.arena.areas([slot, outputs, Area::Scratch])?;
    let workers = Workers::of(level, &backend.pool, &backend.spec);
    let room = Room { records: &mut values[..len], made: Some(form), scratch, scratch_width };
    let job = Job::new(workers, way, (rows, width), &[], room)?;
    let target = Target::new(out, back.rows(), down.bias.map(Vector::values), part.how);
    stretches(workers, back.panels(), &|panels, thread| {
        job.compute(back, panels, thread, &target);
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

    fn cases() -> impl Iterator<Item = (usize, Level, Into, Activation)> {
        let kinds = [Into::Set, Into::Add]
            .into_iter()
            .flat_map(|how| [Activation::Silu, Activation::GeluTanh].map(|activation| (how, activation)));
        let levels =
            Level::all().into_iter().flat_map(move |level| kinds.clone().map(move |kind| (level, kind)));
        let rows = |(level, (how, activation))| {
            [5, 8, 13, 16, 17, 33, 48, 70, 600].map(|rows| (rows, level, how, activation))
        };
        levels.flat_map(rows)
    }

    #[test]
    fn a_whole_part_has_the_bits_of_its_operations_one_by_one() {
        let shape = StepSpec { hidden: 256, intermediate: 512, max_rows: 600, ..spec() };
        let mut backend = CpuBackend::new(shape).unwrap();
        let mut random = Random::new(51);
        let bias = vector::<CpuBackend>(256, &mut random);
        for (gates, back) in [
            (Dtype::Q4_0, Dtype::Q4_0),
            (Dtype::Q4K, Dtype::Q6K),
            (Dtype::Q5_0, Dtype::Q8_0),
            (Dtype::Q8_0, Dtype::BF16),
            (Dtype::BF16, Dtype::Q8_0),
        ] {
            let pair = [gates, gates].map(|dtype| matrix::<CpuBackend>(dtype, 512, 256, &mut random));
            let down = matrix::<CpuBackend>(back, 256, 512, &mut random);
            let coded = gates != Dtype::BF16 && back != Dtype::BF16;
            for (rows, level, how, activation) in cases() {
                let suits = match level.amx() {
                    Some(_) => rows > 32,
                    None => coded,
                };
                if suits {
                    backend.level = level;
                    let part = GatedPart {
                        activation,
                        width: 512,
                        products: [(&pair[0], Slot::Gate), (&pair[1], Slot::Up)]
                            .map(|(matrix, dst)| Product { matrix, bias: None, dst }),
                        down: Product { matrix: &down, bias: Some(&bias), dst: Slot::Hidden },
                        how,
                    };
                    let (inputs, before) = (random.floats(rows * 256), random.floats(rows * 256));
                    let run = |backend: &mut CpuBackend, whole: bool| -> Vec<u32> {
                        backend.slot(Slot::Normed, rows).copy_from_slice(&inputs);
                        backend.slot(Slot::Hidden, rows).copy_from_slice(&before);
                        for slot in [Slot::Gate, Slot::Up] {
                            backend.slot(slot, rows).fill(f32::NAN);
                        }
                        if whole {
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
                        "{gates} {back} {rows} rows {} {activation:?} {how:?}",
                        level.name()
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
        assert!(!takes(512, &gate, &gate, None, &down, 4));
        assert!(!takes(500, &odd, &odd, None, &down, 64));
        assert!(!takes(512, &gate, &gate, None, &back, 64));
    }
}
