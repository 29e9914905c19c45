//! Products of the same inputs with several matrices, in one run.
//!
//! The inputs are brought into their form once, the pool is called once, and what follows on the outputs is done by
//! whoever has just computed them.

use super::arena::{Area, Made};
use super::kernels::gate;
use super::matmul::{Job, Room, Target, Way, Workers, stretches};
use super::matrix::Stored;
use super::packed::{PANEL_ROWS, Packed};
use super::{CpuBackend, Vector, fits};
use crate::backend::{Into, Product, Slot};
use plimsoll_engine::EngineError;
use plimsoll_formats::Activation;

/// Matrices that are multiplied with the same inputs in the same way.
struct Together<'a, const N: usize> {
    weights: [&'a Packed; N],
    way: Way,
}

impl<'a, const N: usize> Together<'a, N> {
    /// The products as such; `None` when they must be computed one by one.
    fn of(
        backend: &CpuBackend,
        products: &[Product<'a, CpuBackend>; N],
        src: Slot,
        rows: usize,
    ) -> Result<Option<Self>, EngineError> {
        let (mut found, mut ways) = ([None; N], None);
        for (product, found) in products.iter().zip(&mut found) {
            let Product { matrix, bias, dst } = product;
            let shaped = backend.takes(src, matrix.cols) && backend.takes(*dst, matrix.rows);
            fits(
                shaped && bias.is_none_or(|bias| bias.values().len() == matrix.rows),
                "a matrix and its operands",
            )?;
            let Stored::Panels(packed) = &matrix.stored else { return Ok(None) };
            let way = Way::of(backend.level, packed.dtype(), rows, backend.spec.is_exact());
            if !way.takes_stretches() || *ways.get_or_insert(way) != way {
                return Ok(None);
            }
            *found = Some(packed);
        }
        let (Some(Some(first)), Some(way)) = (found.first().copied(), ways) else { return Ok(None) };
        let weights = found.map(|packed| packed.unwrap_or(first));
        let alike = weights.iter().all(|weights| weights.cols() == first.cols());
        Ok(alike.then_some(Together { weights, way }))
    }

    fn cols(&self) -> usize {
        self.weights.first().map_or(0, |weights| weights.cols())
    }

    /// The inputs are in their form now.
    fn keep_inputs(&self, backend: &mut CpuBackend, slot: Slot, rows: usize) {
        let cols = self.cols();
        backend.arena.keep_inputs(self.way.form().map(|form| Made { slot, rows, cols, form }));
    }
}

/// What a run needs: who computes, the inputs in their form, and where the products go.
struct Run<'a, const N: usize> {
    workers: Workers<'a>,
    job: Job<'a>,
    targets: [Target<'a>; N],
}

impl<'a, const N: usize> Run<'a, N> {
    fn new(
        backend: &'a mut CpuBackend,
        together: &Together<'_, N>,
        products: &[Product<'a, CpuBackend>; N],
        src: Slot,
        rows: usize,
    ) -> Result<Self, EngineError> {
        let scratch_width = backend.arena.layout().width(Area::Scratch);
        let cols = together.cols();
        let outputs = products.each_ref().map(|product| Area::Packed(product.dst, rows, product.matrix.rows));
        let inputs = [Area::Packed(src, rows, cols), Area::Inputs, Area::Scratch];
        let made = backend.arena.inputs_of(src, rows, cols);
        let ([inputs, records, scratch], outputs) = backend.arena.two_lists(inputs, outputs)?;
        let workers = Workers::of(backend.level, &backend.pool, &backend.spec);
        let room = Room { records, made, scratch, scratch_width };
        let job = Job::new(workers, together.way, (rows, cols), inputs, room)?;
        let mut products = products.iter();
        let targets = outputs.map(|out| {
            // There are as many products as outputs.
            let product = products.next();
            let bias = product.and_then(|product| product.bias).map(Vector::values);
            Target::new(out, product.map_or(0, |product| product.matrix.rows), bias, Into::Set)
        });
        Ok(Run { workers, job, targets })
    }
}

/// All products, one matrix after the other in the order of tasks. False when they must be computed one by one.
///
/// # Errors
/// Those of a product alone.
pub(super) fn one_after_another<const N: usize>(
    backend: &mut CpuBackend,
    products: &[Product<'_, CpuBackend>; N],
    src: Slot,
    rows: usize,
) -> Result<bool, EngineError> {
    let Some(together) = Together::of(backend, products, src, rows)? else { return Ok(false) };
    let Run { workers, job, targets } = Run::new(backend, &together, products, src, rows)?;
    let weights = &together.weights;
    let all = weights.iter().map(|weights| weights.panels()).sum();
    stretches(workers, all, &|stretch, thread| {
        let mut first = 0;
        for (weights, target) in weights.iter().zip(&targets) {
            let end = first + weights.panels();
            let panels = stretch.start.clamp(first, end) - first..stretch.end.clamp(first, end) - first;
            if !panels.is_empty() {
                job.compute(weights, panels, thread, target);
            }
            first = end;
        }
    });
    together.keep_inputs(backend, src, rows);
    Ok(true)
}

/// Two products of equal width, the first of which then takes `activation(first) * second`: whoever has computed some
/// outputs of both goes on with these. False when they must be computed one by one.
///
/// # Errors
/// Those of a product alone.
pub(super) fn gated(
    backend: &mut CpuBackend,
    activation: Activation,
    products: &[Product<'_, CpuBackend>; 2],
    src: Slot,
    rows: usize,
) -> Result<bool, EngineError> {
    let Some(together) = Together::of(backend, products, src, rows)? else { return Ok(false) };
    let [first, second] = together.weights;
    if first.rows() != second.rows() {
        return Ok(false);
    }
    let Run { workers, job, targets } = Run::new(backend, &together, products, src, rows)?;
    stretches(workers, first.panels(), &|panels, thread| {
        for (weights, target) in together.weights.iter().zip(&targets) {
            job.compute(weights, panels.clone(), thread, target);
        }
        let outputs = panels.start * PANEL_ROWS..(panels.end * PANEL_ROWS).min(first.rows());
        let [gates, ups] = &targets;
        for row in 0..rows {
            // SAFETY: the outputs are this task's, in both targets.
            let (values, up) =
                unsafe { (gates.outputs(row, outputs.clone()), ups.outputs(row, outputs.clone())) };
            gate(workers.level, activation, values, up);
        }
    });
    together.keep_inputs(backend, src, rows);
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::kernels::reference::Random;
    use crate::backend::cpu::tests::{matrix, spec, vector};
    use crate::backend::{Backend, GatedPart};
    use plimsoll_formats::Dtype;

    /// Bits of rows of slots.
    fn bits(backend: &mut CpuBackend, slots: &[(Slot, usize)], rows: usize) -> Vec<Vec<u32>> {
        let bits = |(slot, width): &(Slot, usize)| {
            let [values] = backend.arena.areas([Area::Packed(*slot, rows, *width)]).unwrap();
            values.iter().map(|value| value.to_bits()).collect()
        };
        slots.iter().map(bits).collect()
    }

    #[test]
    fn together_they_are_the_same_bits_as_alone() {
        let mut random = Random::new(41);
        let mut backend = CpuBackend::new(crate::backend::StepSpec { hidden: 256, ..spec() }).unwrap();
        let slots = [(Slot::Query, 120), (Slot::Key, 40), (Slot::Value, 40)];
        let gates = [(Slot::Gate, 72), (Slot::Up, 72)];
        // All in one way, in two, and one that has no panels.
        for dtypes in [
            [Dtype::Q8_0, Dtype::Q4K, Dtype::Q6K],
            [Dtype::BF16, Dtype::F16, Dtype::BF16],
            [Dtype::Q8_0, Dtype::BF16, Dtype::Q8_0],
            [Dtype::F32, Dtype::Q4_0, Dtype::F32],
        ] {
            let mut made =
                |(_, rows): (Slot, usize), dtype| matrix::<CpuBackend>(dtype, rows, 256, &mut random);
            let heads: [_; 3] = std::array::from_fn(|i| made(slots[i], dtypes[i]));
            let pair: [_; 2] = std::array::from_fn(|i| made(gates[i], dtypes[i]));
            let bias = vector::<CpuBackend>(40, &mut random);
            for rows in [1, 3, 17, 50] {
                let inputs = random.floats(rows * 256);
                backend.slot(Slot::Normed, rows).copy_from_slice(&inputs);
                let products: [Product<'_, CpuBackend>; 3] = std::array::from_fn(|i| Product {
                    matrix: &heads[i],
                    bias: (i == 1).then_some(&bias),
                    dst: slots[i].0,
                });
                products.iter().for_each(|product| product.alone(&mut backend, Slot::Normed, rows).unwrap());
                let want = bits(&mut backend, &slots, rows);
                slots.iter().for_each(|(slot, _)| backend.slot(*slot, rows).fill(f32::NAN));
                backend.matmul_many(products, Slot::Normed, rows).unwrap();
                assert_eq!(bits(&mut backend, &slots, rows), want, "{dtypes:?} {rows} rows");

                for activation in [Activation::Silu, Activation::GeluTanh] {
                    let products = || -> [Product<'_, CpuBackend>; 2] {
                        std::array::from_fn(|i| Product { matrix: &pair[i], bias: None, dst: gates[i].0 })
                    };
                    let alone = |backend: &mut CpuBackend| {
                        let each = |product: &Product<'_, _>| product.alone(backend, Slot::Normed, rows);
                        products().iter().try_for_each(each).unwrap();
                        backend.gate(activation, 72, rows).unwrap();
                    };
                    alone(&mut backend);
                    let want = bits(&mut backend, &gates, rows);
                    gates.iter().for_each(|(slot, _)| backend.slot(*slot, rows).fill(f32::NAN));
                    if !gated(&mut backend, activation, &products(), Slot::Normed, rows).unwrap() {
                        alone(&mut backend);
                    }
                    assert_eq!(bits(&mut backend, &gates, rows), want, "{dtypes:?} {rows} rows");
                }
            }
        }
    }

    #[test]
    fn products_that_do_not_fit_are_refused() {
        let mut random = Random::new(42);
        let mut backend = CpuBackend::new(spec()).unwrap();
        let mut weights = |rows| matrix::<CpuBackend>(Dtype::F16, rows, 40, &mut random);
        let (wide, narrow) = (weights(72), weights(71));
        let product = |matrix, dst| Product { matrix, bias: None, dst };
        let twice = [product(&wide, Slot::Gate), product(&wide, Slot::Gate)];
        assert!(backend.matmul_many(twice, Slot::Normed, 1).is_err());
        assert!(backend.matmul_many([product(&wide, Slot::Query)], Slot::Normed, 1).is_err());
        let unlike = [product(&wide, Slot::Gate), product(&narrow, Slot::Up)];
        let part = GatedPart {
            activation: Activation::Silu,
            width: 71,
            products: unlike,
            down: product(&narrow, Slot::Hidden),
            how: Into::Set,
        };
        assert!(backend.feed_forward(&part, Slot::Normed, 1).is_err());
    }
}
