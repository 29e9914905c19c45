//! The offline packer: how full the memory could have been on the same trace.
//!
//! It knows beforehand what the guard learns only in time: when each request comes, how many bytes it holds, how long it
//! will hold them. Whenever something comes or ends it takes, of all requests that have come, the largest that still fits,
//! and again, until none does: a large one never waits behind a small one, and nothing is kept free for anybody. It ignores
//! that the turns of a conversation follow each other, that evicted KV must be computed again, and that a batch has only so
//! many lanes. Bytes and times are those of the simulated run: the bytes that were granted, and the time from grant to end.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

/// A request, as the packer sees it. Nanoseconds and bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// When it came.
    pub came: u64,
    /// When the guard granted it.
    pub granted: u64,
    /// When it ended.
    pub ended: u64,
    /// What it held from grant to end.
    pub bytes: u64,
}

/// Bytes times nanoseconds within a horizon.
fn held(bytes: u64, from: u64, to: u64, horizon: u64) -> u128 {
    u128::from(bytes) * u128::from(to.min(horizon).saturating_sub(from.min(horizon)))
}

/// What the guard admitted until the horizon, over what the packer does: each as bytes held, on average over time. `room`
/// says what could be held from when on, in order of time; `None` where the packer holds nothing.
pub fn ratio(items: &[Item], room: &[(u64, u64)], horizon: u64) -> Option<f64> {
    let guard: u128 = items.iter().map(|item| held(item.bytes, item.granted, item.ended, horizon)).sum();
    let packer = pack(items, room, horizon);
    (packer > 0).then(|| guard as f64 / packer as f64)
}

/// What the packer holds until the horizon: bytes times nanoseconds.
pub fn pack(items: &[Item], room: &[(u64, u64)], horizon: u64) -> u128 {
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by_key(|&at| items[at].came);
    let (mut arrivals, mut rooms) = (order.into_iter().peekable(), room.iter().copied().peekable());
    let mut waiting = BTreeSet::new();
    let mut ends = BinaryHeap::new();
    let (mut limit, mut used, mut sum) = (0_u64, 0_u64, 0_u128);
    loop {
        let next = [
            arrivals.peek().map(|&at| items[at].came),
            rooms.peek().map(|&(at, _)| at),
            ends.peek().map(|&Reverse((at, _))| at),
        ];
        let Some(now) = next.into_iter().flatten().min().filter(|&now| now < horizon) else { return sum };
        while let Some(&Reverse((at, bytes))) = ends.peek()
            && at <= now
        {
            used -= bytes;
            ends.pop();
        }
        while let Some((_, bytes)) = rooms.next_if(|&(at, _)| at <= now) {
            limit = bytes;
        }
        while let Some(at) = arrivals.next_if(|&at| items[at].came <= now) {
            waiting.insert((items[at].bytes, at));
        }
        while let Some(&(bytes, at)) = waiting.range(..=(limit.saturating_sub(used), usize::MAX)).next_back()
        {
            waiting.remove(&(bytes, at));
            let end = now + (items[at].ended - items[at].granted);
            used += bytes;
            sum += held(bytes, now, end, horizon);
            ends.push(Reverse((end, bytes)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(came: u64, granted: u64, ended: u64, bytes: u64) -> Item {
        Item { came, granted, ended, bytes }
    }

    #[test]
    fn it_fills_what_order_of_arrival_leaves() {
        // A small one, then a large one that must wait for it, then one that fits beside the small one.
        let items = [item(0, 0, 10, 40), item(1, 10, 20, 70), item(2, 20, 30, 60)];
        let room = [(0, 100)];
        // 40 for 10, 60 beside it from 2 to 12, 70 from 12 to 22.
        assert_eq!(pack(&items, &room, 30), 400 + 600 + 700);
        assert_eq!(pack(&items, &room, 12), 400 + 600);
        let ratio = ratio(&items, &room, 12).unwrap();
        assert!((ratio - f64::from(400 + 2 * 70) / 1000.0).abs() < 1e-9, "{ratio}");
    }

    #[test]
    fn it_keeps_to_the_room_there_is() {
        let items = [item(0, 0, 10, 60), item(0, 0, 10, 60)];
        assert_eq!(pack(&items, &[(0, 100), (4, 200)], 100), 600 + 600);
        assert_eq!(pack(&items, &[(0, 100)], 100), 600 + 600);
        assert_eq!(pack(&items, &[(0, 100)], 10), 600);
        assert_eq!(pack(&items, &[(0, 50)], 100), 0);
        assert_eq!(ratio(&items, &[(0, 50)], 100), None);
    }
}
