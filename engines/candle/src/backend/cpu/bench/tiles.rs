//! Products of 512 rows on tiles as a prompt's weights meet them (`packed/amx`), without weights to unpack: what is left of the
//! tile units' peak when operands have to be loaded, and sums have to wait.

use super::peaks::Arithmetic;
use super::{Bench, BenchError, Work};
use crate::backend::cpu::kernels::{TILE, TILE_ROW, Tiles};

/// Tiles of 16 rows, and of 32 inputs in one of the rows and in a piece of them.
const BLOCKS: usize = 32;
const STEPS: usize = 64;
const PIECE: usize = 8;
/// Panels of 16 outputs whose sums wait.
const PANELS: usize = 16;

/// A tile in memory, aligned to cache lines.
#[derive(Clone)]
#[repr(align(64))]
struct Tile([u8; TILE]);

/// What comes from further away than the first-level cache, besides nothing.
#[derive(Clone, Copy)]
struct Far {
    /// Inputs: a megabyte or two of them.
    inputs: bool,
    /// Sums come and go every [`PIECE`].
    sums: bool,
}

/// Written once, so that they are pages of their own.
struct Operands {
    inputs: Vec<Tile>,
    weights: Vec<Tile>,
    sums: Vec<Tile>,
}

pub(super) fn all(bench: &mut Bench<'_>) -> Result<(), BenchError> {
    let Some(amx) = bench.level.amx() else { return Ok(()) };
    let mut operands = Operands {
        inputs: vec![Tile([0x3f; TILE]); BLOCKS * STEPS],
        weights: vec![Tile([0x3f; TILE]); 2 * PIECE],
        sums: vec![Tile([0x3f; TILE]); BLOCKS * PANELS],
    };
    let [near, inputs, both] =
        [(false, false), (true, false), (true, true)].map(|(inputs, sums)| Far { inputs, sums });
    for (shape, far) in [("near", near), ("inputs", inputs), ("inputs+sums", both)] {
        let bytes = if far.inputs { BLOCKS * STEPS * TILE } else { 2 * PIECE * TILE };
        let work = Work {
            names: ["tiles", "bf16", shape].map(str::to_owned),
            rows: 16 * BLOCKS,
            threads: 1,
            bytes,
            set: bytes,
            operations: (2 * 16 * BLOCKS * 16 * PANELS * 32 * STEPS) as f64,
            arithmetic: Arithmetic::tiles(bench.level).map(|tiles| (tiles, 1.0)),
        };
        bench.measure(&work, || {
            multiply(&Tiles::new(amx), &mut operands, far);
            Ok(())
        })?;
    }
    Ok(())
}

/// All products, piece by piece of the inputs, two panels and two blocks at a time.
fn multiply(tiles: &Tiles, operands: &mut Operands, far: Far) {
    for piece in 0..STEPS / PIECE {
        for panels in 0..PANELS / 2 {
            for pair in 0..BLOCKS / 2 {
                let at =
                    |block: usize| if far.inputs { block * STEPS + piece * PIECE } else { block % 2 * PIECE };
                let inputs = [at(2 * pair), at(2 * pair + 1)].map(|at| &operands.inputs[at..at + PIECE]);
                let weights = operands.weights.split_at(PIECE);
                let first = if far.sums { 4 * (panels * BLOCKS / 2 + pair) } else { 0 };
                let sums = operands.sums[first..first + 4].as_mut_ptr().cast::<u8>();
                // SAFETY: there are four tiles of sums, which nobody else has.
                unsafe {
                    match far.sums {
                        true => {
                            tiles.load::<0>(sums, TILE_ROW);
                            tiles.load::<1>(sums.add(TILE), TILE_ROW);
                            tiles.load::<2>(sums.add(2 * TILE), TILE_ROW);
                            tiles.load::<3>(sums.add(3 * TILE), TILE_ROW);
                        }
                        false => {
                            tiles.zero::<0>();
                            tiles.zero::<1>();
                            tiles.zero::<2>();
                            tiles.zero::<3>();
                        }
                    }
                }
                let steps = inputs[0].iter().zip(inputs[1]).zip(weights.0.iter().zip(weights.1));
                for ((first, second), (left, right)) in steps {
                    // SAFETY: a tile each.
                    unsafe {
                        tiles.load::<6>(left.0.as_ptr(), TILE_ROW);
                        tiles.load::<4>(first.0.as_ptr(), TILE_ROW);
                        tiles.multiply::<0, 4, 6>();
                        tiles.load::<7>(right.0.as_ptr(), TILE_ROW);
                        tiles.multiply::<1, 4, 7>();
                        tiles.load::<5>(second.0.as_ptr(), TILE_ROW);
                        tiles.multiply::<2, 5, 6>();
                        tiles.multiply::<3, 5, 7>();
                    }
                }
                if far.sums {
                    // SAFETY: as above.
                    unsafe {
                        tiles.store::<0>(sums, TILE_ROW);
                        tiles.store::<1>(sums.add(TILE), TILE_ROW);
                        tiles.store::<2>(sums.add(2 * TILE), TILE_ROW);
                        tiles.store::<3>(sums.add(3 * TILE), TILE_ROW);
                    }
                }
            }
        }
    }
}
