//! Both ways of attention against the definition, on every instruction set.

use super::*;
use crate::backend::cpu::kernels::Level;
use crate::backend::cpu::kernels::reference::{self, Random};
use std::cell::RefCell;
use std::ops::Range;

/// Keys and values of one head, all groups one after the other; groups before `first` must not be asked for.
struct Memory {
    keys: Vec<u8>,
    values: Vec<u8>,
    part: usize,
    first: usize,
}

impl Memory {
    /// Stores tokens in runs of changing length, over groups that were full of numbers that are none.
    fn new<F: Stored>(level: Level, head_dim: usize, keys: &[f32], values: &[f32]) -> Self {
        let (tokens, part) = (keys.len() / head_dim, F::group_bytes(head_dim));
        // 0xff is NaN in both float types, and in scales.
        let empty = vec![0xff; tokens.div_ceil(WIDTH) * part];
        let mut memory = Memory { keys: empty.clone(), values: empty, part, first: 0 };
        let (mut at, mut run) = (0, 1);
        while at < tokens {
            let count = run.min(tokens - at).min(WIDTH - at % WIDTH);
            let rows = at * head_dim..(at + count) * head_dim;
            let places = at / WIDTH * part..(at / WIDTH + 1) * part;
            let (to_keys, to_values) = (&mut memory.keys[places.clone()], &mut memory.values[places]);
            put_keys::<F>(level, to_keys, head_dim, at % WIDTH, &keys[rows.clone()], head_dim);
            put_values::<F>(level, to_values, head_dim, at % WIDTH, &values[rows], head_dim);
            (at, run) = (at + count, run % 7 + 2);
        }
        memory
    }
}

impl Head for Memory {
    fn group(&self, index: usize) -> (&[u8], &[u8]) {
        assert!(index >= self.first, "group {index} is behind the window");
        let places = index * self.part..(index + 1) * self.part;
        (&self.keys[places.clone()], &self.values[places])
    }
}

/// One row over stretches of so many tokens.
fn split<F: Stored>(
    level: Level,
    shape: Shape,
    head: &Memory,
    query: &[f32],
    range: Range<usize>,
    tokens: usize,
) -> Vec<f32> {
    let group = query.len() / shape.head_dim;
    let len = record_len(group, shape.head_dim).unwrap();
    let mut records = Vec::new();
    for stretch in range.start / tokens..range.end.div_ceil(tokens) {
        let range = range.start.max(stretch * tokens)..range.end.min((stretch + 1) * tokens);
        let mut record = vec![f32::NAN; len];
        let mut scratch = vec![f32::NAN; stretch_scratch_len(group, shape.head_dim).unwrap()];
        attend_stretch::<F>(level, shape, head, query, range, &mut record, &mut scratch);
        records.extend(record);
    }
    let mut out = vec![f32::NAN; query.len()];
    merge(level, &records, len, shape.head_dim, &mut out);
    out
}

/// Rows, as many at once as may be.
fn together<F: Stored>(level: Level, shape: Shape, head: &Memory, rows: Rows, query: &[f32]) -> Vec<f32> {
    let mut scratch = vec![f32::NAN; rows_scratch_len(rows.group, shape.head_dim).unwrap()];
    let width = rows.group * shape.head_dim;
    let out = RefCell::new(vec![f32::NAN; rows.count * width]);
    let at_once = rows_at_once::<F>(level, rows.group);
    for from in (0..rows.count).step_by(at_once) {
        let put = |row: usize, values: &[f32]| {
            out.borrow_mut()[(from + row) * width..][..width].copy_from_slice(values);
        };
        let some = Rows { position: rows.position + from, count: at_once.min(rows.count - from), ..rows };
        attend_rows::<F>(level, shape, head, some, &query[from * width..], &put, &mut scratch);
    }
    out.into_inner()
}

fn close(got: &[f32], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len());
    for (at, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((f64::from(*got) - want).abs() <= tolerance, "{what}, at {at}: {got} {want}");
    }
}

/// Single precision as it comes back from memory.
type Rounding = fn(&[f32]) -> Vec<f32>;

fn as_f16(values: &[f32]) -> Vec<f32> {
    values.iter().map(|value| half::f16::from_f32(*value).to_f32()).collect()
}

fn as_q8(values: &[f32]) -> Vec<f32> {
    let block = |block: &[f32]| {
        let most = block.iter().fold(0f32, |most, value| most.max(value.abs()));
        let scale = half::f16::from_f32(most / 127.0).to_f32();
        let code = |value: &f32| if scale > 0.0 { (value / scale).round_ties_even() } else { 0.0 };
        block.iter().map(|value| code(value).clamp(-127.0, 127.0) * scale).collect::<Vec<f32>>()
    };
    values.chunks(32).flat_map(block).collect()
}

fn as_bf16(values: &[f32]) -> Vec<f32> {
    values.iter().map(|value| half::bf16::from_f32(*value).to_f32()).collect()
}

/// How far rows on tiles may be from averages of values from -1 to 1: their weights have 8 bits, and come from powers
/// within 8e-5.
const OF_WEIGHTS: f64 = 1.0 / 512.0 + 8e-5;

/// Group, head's width, window, tokens held by the last row, rows, cap.
type Case = (usize, usize, Option<usize>, usize, usize, Option<f32>);

const SHAPES: [Case; 12] = [
    (1, 64, None, 1, 1, None),
    (2, 32, None, 16, 16, None),
    (3, 40, None, 33, 20, Some(5.0)),
    (7, 64, None, 130, 70, None),
    (4, 64, None, 700, 3, None),
    (5, 8, None, 9, 9, None),
    (8, 96, Some(40), 100, 30, None),
    (2, 16, Some(4), 50, 50, Some(2.5)),
    (9, 128, Some(100), 400, 5, None),
    (4, 24, Some(1), 48, 2, None),
    (1, 18, None, 70, 70, None),
    (71, 64, None, 20, 2, None),
];

fn follows<F: Stored>(round: Rounding, widths: usize) {
    let mut random = Random::new(5);
    for (group, head_dim, window, held, count, softcap) in SHAPES {
        if head_dim % widths != 0 {
            continue;
        }
        let shape = Shape { head_dim, scale: 1.0 / (head_dim as f32 + 3.0).sqrt(), softcap };
        // Large scores make the running maximum move.
        let width = group * head_dim;
        let query: Vec<f32> = random.floats(count * width).iter().map(|value| value * 8.0).collect();
        let (keys, values) = (random.floats(held * head_dim), random.floats(held * head_dim));
        let rows = Rows { position: held - count, count, window, stride: width, group };
        let (as_keys, as_values) = (round(&keys), round(&values));
        for level in Level::all() {
            let what = format!("{level:?} {group} {head_dim} {window:?} {held} {count}");
            let first = window.map_or(0, |window| (rows.position + 1).saturating_sub(window));
            let mut head = Memory::new::<F>(level, head_dim, &keys, &values);
            head.first = first / WIDTH;
            let all = together::<F>(level, shape, &head, rows, &query);
            let on_tiles = F::PLANES > 0 && level.name() == "amx";
            // One plane holds bf16; queries get their factor before.
            let in_planes = |values: &[f32]| if F::PLANES == 1 { as_bf16(values) } else { values.to_vec() };
            let times: Vec<f32> = query.iter().map(|value| value * shape.factor()).collect();
            let tile_query: Vec<f32> = in_planes(&times).iter().map(|value| value / shape.factor()).collect();
            let (tile_keys, tile_values) = (in_planes(&as_keys), in_planes(&as_values));
            for row in 0..count {
                let held = rows.position + row + 1;
                let range = window.map_or(0, |window| held.saturating_sub(window))..held;
                let query = &query[row * width..][..width];
                let want = reference::attention(query, &as_keys, &as_values, shape, range.clone());
                let got = &all[row * width..][..width];
                if on_tiles {
                    let query = &tile_query[row * width..][..width];
                    let want = reference::attention(query, &tile_keys, &tile_values, shape, range.clone());
                    close(got, &want, OF_WEIGHTS, &what);
                } else {
                    close(got, &want, 2e-5, &what);
                }
                let tokens = stretch_tokens(range.len());
                let alone = split::<F>(level, shape, &head, query, range.clone(), tokens);
                close(&alone, &want, 2e-5, &what);
                let one = range.start / tokens + 1 == range.end.div_ceil(tokens);
                if one && !F::SCALES && !on_tiles {
                    assert_eq!(got, alone, "{what}: one stretch is the same bits");
                }
                // Cut anywhere, it is the same but for rounding.
                close(&split::<F>(level, shape, &head, query, range, 64), &want, 2e-5, &what);
            }
            // In two steps, each row is the same bits.
            let early = Rows { count: count.div_ceil(2), ..rows };
            let mut steps = together::<F>(level, shape, &head, early, &query);
            if early.count < count {
                let late = Rows { position: rows.position + early.count, count: count - early.count, ..rows };
                steps.extend(together::<F>(level, shape, &head, late, &query[early.count * width..]));
            }
            assert_eq!(steps, all, "{what}");
        }
    }
}

#[test]
fn single_precision_follows_the_definition() {
    follows::<KvF32>(<[f32]>::to_vec, 1);
}

#[test]
fn half_precision_follows_the_definition() {
    follows::<KvF16>(as_f16, 1);
}

#[test]
fn eight_bits_follow_the_definition_over_what_is_stored() {
    follows::<KvQ8>(as_q8, 32);
}

#[test]
fn eight_bits_err_no_more_than_half_a_step_explains() {
    let mut random = Random::new(6);
    for (head_dim, held) in [(32, 40), (64, 300), (128, 90)] {
        let shape = Shape { head_dim, scale: 1.0 / (head_dim as f32).sqrt(), softcap: None };
        let (query, keys) = (random.floats(4 * head_dim), random.floats(held * head_dim));
        let values = random.floats(held * head_dim);
        let exact = reference::attention(&query, &keys, &values, shape, 0..held);
        // A step is a 127th of the largest value, which is below 1, and half precision rounds it by a 2048th at most. A
        // score moves by half a step for each unit of its query, a weight by that twice (its own and the sum's), and the
        // values themselves by half a step.
        let step = (1.0 + 1.0 / 2048.0) / 127.0;
        let units = query.chunks(head_dim).map(|query| query.iter().map(|q| f64::from(q.abs())).sum::<f64>());
        let moved = units.fold(0.0, f64::max) * step / 2.0 * f64::from(shape.scale);
        let bound = (2.0 * moved).exp_m1() + step / 2.0 + 1e-5;
        assert!(bound < 0.5, "{bound} says something");
        for level in Level::all() {
            let head = Memory::new::<KvQ8>(level, head_dim, &keys, &values);
            let got = split::<KvQ8>(level, shape, &head, &query, 0..held, stretch_tokens(held));
            close(&got, &exact, bound, "derived");
            // On random data errors cancel: far below the bound.
            close(&got, &exact, 6e-3, "seen");
        }
    }
}

fn extremes<F: Stored>() {
    let (head_dim, held) = (32, 150);
    let mut random = Random::new(7);
    for (key_scale, value_scale, query_scale) in [
        (0.0, 1.0, 1.0),
        (1.0, 0.0, 1.0),
        (300.0, 6e4, 100.0),
        (1.0, 1.0, 1e4),
        (1e-7, 1e-7, 1.0),
        (1.6e4, 1.0, 1e-30),
    ] {
        let shape = Shape { head_dim, scale: 0.2, softcap: None };
        let times =
            |values: Vec<f32>, by: f32| values.into_iter().map(|value| value * by).collect::<Vec<_>>();
        // Whole numbers keep their places in all types, so that the largest score is the same one in all.
        let whole =
            |values: Vec<f32>| values.into_iter().map(|value| (value * 4.0).round()).collect::<Vec<_>>();
        let query = times(whole(random.floats(3 * head_dim)), query_scale);
        let (keys, values) = (
            times(whole(random.floats(held * head_dim)), key_scale),
            times(random.floats(held * head_dim), value_scale),
        );
        for level in Level::all() {
            let head = Memory::new::<F>(level, head_dim, &keys, &values);
            let rows = Rows { position: held - 1, count: 1, window: None, stride: 3 * head_dim, group: 3 };
            for out in [
                together::<F>(level, shape, &head, rows, &query),
                split::<F>(level, shape, &head, &query, 0..held, 64),
            ] {
                assert!(out.iter().all(|value| value.abs() <= value_scale * 1.01 + 1e-7), "{out:?}");
            }
        }
    }
}

#[test]
fn extreme_values_stay_within_the_values_that_are_averaged() {
    extremes::<KvF32>();
    extremes::<KvF16>();
    extremes::<KvQ8>();
}

fn spoilt<F: Stored>() {
    let (head_dim, held) = (32, 40);
    let shape = Shape { head_dim, scale: 0.2, softcap: None };
    let mut random = Random::new(8);
    let mut query = random.floats(head_dim);
    // An infinite key that a query points away from would have weight 0.
    query[3] = 0.5;
    for bad in [f32::NAN, f32::INFINITY] {
        for in_keys in [true, false] {
            let mut both = [random.floats(held * head_dim), random.floats(held * head_dim)];
            both[usize::from(!in_keys)][20 * head_dim + 3] = bad;
            for level in Level::all() {
                let head = Memory::new::<F>(level, head_dim, &both[0], &both[1]);
                let at = |held| split::<F>(level, shape, &head, &query, 0..held, 64);
                assert!(at(20).iter().all(|value| value.is_finite()), "what comes later does no harm");
                assert!(at(held).iter().any(|value| !value.is_finite()), "what is spoilt shows");
            }
        }
    }
}

#[test]
fn what_is_no_number_comes_out_as_none() {
    spoilt::<KvF32>();
    spoilt::<KvF16>();
    spoilt::<KvQ8>();
}

per_level! {
    fn exp2_of[simd](x: &[f32; WIDTH], most: f32) -> [f32; WIDTH] {
        let wide = simd.wide();
        let mut values = [0.0; WIDTH];
        wide.store(wide.exp2(wide.load(x), wide.splat(most)), &mut values);
        values
    }
}

#[test]
fn powers_of_two_are_close_and_exact_at_their_ends() {
    for level in Level::all() {
        for step in 0..200_000 {
            let x: [f32; WIDTH] = std::array::from_fn(|i| -125.9 * (step * 16 + i) as f32 / 3.2e6);
            for (got, x) in exp2_of(level, &x, 0.0).into_iter().zip(x) {
                let want = f64::from(x).exp2();
                assert!((f64::from(got) - want).abs() <= 1.5e-7 * want, "{level:?} 2^{x}: {got} {want}");
            }
        }
        let mut x = [0.0; WIDTH];
        x[..6].copy_from_slice(&[0.0, -1.0, -126.5, f32::MIN, f32::NEG_INFINITY, f32::NAN]);
        let got = exp2_of(level, &x, 0.0);
        assert_eq!(got[..5], [1.0, 0.5, 0.0, 0.0, 0.0]);
        assert!(got[5].is_nan());
        assert_eq!(exp2_of(level, &[f32::NEG_INFINITY; WIDTH], f32::MIN), [0.0; WIDTH]);
    }
}
