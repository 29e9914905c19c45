//! The largest logits of many small parts of a vocabulary.
//!
//! A few likely tokens are looked for among a hundred thousand, again and again. So one pass notes the largest logit of
//! every part, and later ones look only into parts that can hold what they seek. A part is a lane of a group: in
//! each run of [`GROUP`] logits, those whose places are equal modulo [`LANES`]. That takes no work across lanes.

use super::nucleus::LISTED;
use crate::backend::cpu::kernels::{LANES, Level, per_level};

/// Logits of a group.
pub(super) const GROUP: usize = 32 * LANES;

/// Parts of a vocabulary, whole groups of them; `None` on overflow.
pub(super) fn parts(vocab: usize) -> Option<usize> {
    vocab.div_ceil(GROUP).checked_mul(LANES)
}

/// What a pass over all logits tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Survey {
    /// The largest logit.
    pub(super) largest: f32,
    /// Whether one is NaN or +inf.
    pub(super) is_bad: bool,
}

/// Notes the largest logit of every part. With a bad logit the maxima mean nothing.
pub(super) fn survey(level: Level, logits: &[f32], maxima: &mut [f32]) -> Survey {
    let (least, most) = fill(level, logits, maxima);
    // NaN lies beyond one infinity or the other, as its sign says.
    let is_bad = most >= key(f32::INFINITY) || least < key(f32::NEG_INFINITY);
    Survey { largest: from_key(most), is_bad }
}

/// An integer for each float, in the floats' order.
#[inline(always)]
fn key(value: f32) -> i32 {
    let bits = value.to_bits().cast_signed();
    bits ^ ((bits >> 31) & i32::MAX)
}

#[inline(always)]
fn from_key(key: i32) -> f32 {
    f32::from_bits((key ^ ((key >> 31) & i32::MAX)).cast_unsigned())
}

per_level! {
    /// The least and the largest key of all logits.
    fn fill[_simd](logits: &[f32], maxima: &mut [f32]) -> (i32, i32) {
        let (mut least, mut most) = ([i32::MAX; LANES], [key(f32::NEG_INFINITY); LANES]);
        for (group, maxima) in logits.chunks(GROUP).zip(maxima.as_chunks_mut::<LANES>().0) {
            let mut tops = [key(f32::NEG_INFINITY); LANES];
            let (rows, rest) = group.as_chunks::<LANES>();
            for row in rows {
                for i in 0..LANES {
                    let key = key(row[i]);
                    tops[i] = tops[i].max(key);
                    least[i] = least[i].min(key);
                }
            }
            for (i, logit) in rest.iter().enumerate() {
                tops[i] = tops[i].max(key(*logit));
                least[i] = least[i].min(key(*logit));
            }
            for i in 0..LANES {
                maxima[i] = from_key(tops[i]);
                most[i] = most[i].max(tops[i]);
            }
        }
        (least.into_iter().fold(i32::MAX, i32::min), most.into_iter().fold(i32::MIN, i32::max))
    }
}

/// The id of the largest logit, the lowest among equals.
pub(super) fn argmax(logits: &[f32], maxima: &[f32], largest: f32) -> u32 {
    let groups = logits.chunks(GROUP).zip(maxima.as_chunks::<LANES>().0);
    for (number, (group, maxima)) in groups.enumerate() {
        if maxima.contains(&largest)
            && let Some(at) = group.iter().position(|logit| *logit == largest)
        {
            return (number * GROUP + at) as u32;
        }
    }
    0
}

per_level! {
    /// Lists the ids of values from `least` on that are below `most`, in rising order, and returns how many there are.
    /// Looks everywhere where there are no maxima. Stops when `ids` is full.
    pub(super) fn between[simd](
        values: &[f32], maxima: Option<&[f32]>, least: f32, most: f32, ids: &mut [u32],
    ) -> usize {
        let mut found = 0;
        for (number, group) in values.chunks(GROUP).enumerate() {
            let parts = maxima.and_then(|maxima| maxima.as_chunks::<LANES>().0.get(number));
            if parts.is_some_and(|parts| simd.at_least(simd.load(parts), least) == 0) {
                continue;
            }
            let (rows, rest) = group.as_chunks::<LANES>();
            for (row, values) in rows.iter().enumerate() {
                let values = simd.load(values);
                let mut those = simd.at_least(values, least) & !simd.at_least(values, most);
                while those != 0 {
                    let Some(id) = ids.get_mut(found) else { return found };
                    *id = (number * GROUP + row * LANES) as u32 + those.trailing_zeros();
                    found += 1;
                    those &= those - 1;
                }
            }
            for (at, value) in rest.iter().enumerate() {
                if *value >= least && *value < most {
                    let Some(id) = ids.get_mut(found) else { return found };
                    *id = (number * GROUP + rows.len() * LANES + at) as u32;
                    found += 1;
                }
            }
        }
        found
    }
}

/// The `k` likeliest ids, most likely first, the lower one among equals; `k` is in 1 ..= their number. `ids` has room for
/// all.
pub(super) fn top_k<'a>(
    level: Level,
    logits: &[f32],
    maxima: &[f32],
    k: usize,
    ids: &'a mut [u32],
) -> &'a [u32] {
    let least = kth_maximum(maxima, k, ids).unwrap_or(f32::NEG_INFINITY);
    // Many may be equal to it: of those the first ones are listed, as many as are missing.
    let above = least.next_up();
    let found = between(level, logits, Some(maxima), above, f32::INFINITY, ids);
    if k < found {
        ids[..found].select_nth_unstable_by(k, |a, b| by_logit(logits, *a, *b));
    } else {
        between(level, logits, Some(maxima), least, above, &mut ids[found..k]);
    }
    order(logits, &mut ids[..k]);
    &ids[..k]
}

/// The `k`-th largest maximum, where there are so many: as many logits reach up to it, so the `k` likeliest are not below.
fn kth_maximum(maxima: &[f32], k: usize, keys: &mut [u32]) -> Option<f32> {
    let mut count = 0;
    // There are no more logits above -inf than there is room for.
    let some = maxima.iter().filter(|maximum| **maximum > f32::NEG_INFINITY);
    for (place, maximum) in keys.iter_mut().zip(some) {
        *place = key(*maximum).cast_unsigned() ^ (1 << 31);
        count += 1;
    }
    let keys = keys.get_mut(..count).filter(|_| k <= count)?;
    let (_, kth, _) = keys.select_nth_unstable_by(k - 1, |a, b| b.cmp(a));
    Some(from_key((*kth ^ (1 << 31)).cast_signed()))
}

/// Descending by logit, then ascending by id: a total order, as no logit is NaN.
pub(super) fn by_logit(logits: &[f32], a: u32, b: u32) -> std::cmp::Ordering {
    let (first, second) = (logits[a as usize], logits[b as usize]);
    second.partial_cmp(&first).unwrap_or(std::cmp::Ordering::Equal).then(a.cmp(&b))
}

/// Puts ids in the order of [`by_logit`].
pub(super) fn order(logits: &[f32], ids: &mut [u32]) {
    let mut keys = [0; LISTED];
    let Some(keys) = keys.get_mut(..ids.len()) else {
        return ids.sort_unstable_by(|a, b| by_logit(logits, *a, *b));
    };
    for (place, id) in keys.iter_mut().zip(&*ids) {
        // Adding 0 makes -0 equal to it, as it is among logits.
        let rank = !(key(logits[*id as usize] + 0.0).cast_unsigned() ^ (1 << 31));
        *place = u64::from(rank) << 32 | u64::from(*id);
    }
    keys.sort_unstable();
    ids.iter_mut().zip(keys).for_each(|(id, key)| *id = *key as u32);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::kernels::reference::Random;

    /// Logits with many equal ones, and some that are -inf.
    fn logits(len: usize, values: f32) -> Vec<f32> {
        let mut random = Random::new(len as u64);
        let logit = |value: f32| if value > 0.9 { f32::NEG_INFINITY } else { (value * values).round() };
        random.floats(len).into_iter().map(logit).collect()
    }

    #[test]
    fn passes_find_what_plain_loops_find() {
        for (len, values) in
            [(1, 9.0), (31, 3.0), (33, 1e6), (1024, 5.0), (5000, 1e6), (5001, 20.0), (40_000, 1e6)]
        {
            let mut logits = logits(len, values);
            logits[len / 2] = 0.25;
            let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let mut sorted: Vec<u32> = (0..len as u32).collect();
            sorted.sort_by(|a, b| by_logit(&logits, *a, *b));
            for level in Level::all() {
                let mut maxima = vec![0.0; parts(len).unwrap()];
                assert_eq!(survey(level, &logits, &mut maxima), Survey { largest, is_bad: false });
                assert_eq!(argmax(&logits, &maxima, largest), sorted[0]);
                let mut ids = vec![0; len];
                for (least, most) in
                    [(-2.0, 3.0), (f32::NEG_INFINITY, f32::INFINITY), (largest, f32::INFINITY)]
                {
                    let found = between(level, &logits, Some(&maxima), least, most, &mut ids);
                    let within = |id: &u32| (least..most).contains(&logits[*id as usize]);
                    let want: Vec<u32> = (0..len as u32).filter(within).collect();
                    assert_eq!(ids[..found], want, "{len} {least} {most}");
                    assert_eq!(between(level, &logits, None, least, most, &mut ids), found);
                    assert_eq!(between(level, &logits, None, least, most, &mut ids[..found / 2]), found / 2);
                }
                for k in [1, 2, 31, 40, 1000, 4999, len].into_iter().filter(|k| *k <= len) {
                    assert_eq!(top_k(level, &logits, &maxima, k, &mut ids), &sorted[..k], "{k} of {len}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_logit_is_seen_wherever_it_is() {
        for level in Level::all() {
            let mut maxima = vec![0.0; parts(1100).unwrap()];
            for bad in [f32::NAN, -f32::NAN, f32::INFINITY] {
                for at in [0, 31, 32, 1023, 1024, 1099] {
                    let mut logits = vec![f32::NEG_INFINITY; 1100];
                    assert!(!survey(level, &logits, &mut maxima).is_bad);
                    logits[at] = bad;
                    assert!(survey(level, &logits, &mut maxima).is_bad, "{bad} at {at}");
                }
            }
        }
    }
}
