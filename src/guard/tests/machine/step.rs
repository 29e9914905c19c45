//! What may happen, and how often.

use super::homes::{End, HOMES};
use super::price::Asked;
use super::{AGE, CONTEXT, IDLE_TIMEOUT, REGIONS};
use proptest::prelude::*;

#[derive(Clone, Debug)]
pub(super) enum Step {
    /// On an engine of a region, or on one of the models that may be unloaded.
    Open {
        region: usize,
        home: Option<usize>,
        limit: u64,
    },
    Enrol {
        kv: usize,
        host: bool,
        bytes: u64,
        idles: bool,
    },
    Reload {
        home: usize,
        unasked: bool,
        /// Quarters of it that come at once.
        come: u64,
    },
    /// The end of a load that was begun, a model's first or another.
    EndLoad {
        load: usize,
        end: End,
    },
    Keep(usize),
    SendAway(usize),
    Close(usize),
    Admit {
        session: usize,
        ask: Asked,
        priority: i8,
        degradable: bool,
        /// Milliseconds that it may wait.
        wait: Option<u64>,
    },
    /// Someone who waits looks for news, or leaves.
    Look(usize),
    Leave(usize),
    Finish {
        session: usize,
        kept: u64,
    },
    Abandon(usize),
    Evict(usize),
    Load {
        region: usize,
        workspace: bool,
        bytes: u64,
    },
    Trim {
        load: usize,
        by: u64,
    },
    Unload(usize),
    /// From now on engines answer late, or at once again.
    Late(bool),
    CatchUp,
    /// From now on the KV of requests that run is leased and not yet allocated, or is both.
    Lazy(bool),
    /// The machine's memory, and what others use of it; the guard may look later.
    Machine {
        capacity: u64,
        foreign: u64,
    },
    Wait(u64),
    Sweep,
}

/// Mostly one; none counts as one.
fn answers() -> impl Strategy<Value = u32> {
    prop_oneof![3 => Just(1_u32), 2 => 0..5_u32]
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let some = 0_usize..8;
    let region = || 0..REGIONS;
    prop_oneof![
        2 => (region(), prop::option::of(0..HOMES), 2..12_u64)
            .prop_map(|(region, home, limit)| Step::Open { region, home, limit: limit * 100 }),
        2 => (region(), any::<bool>(), 100..500_u64, 0..4_u8)
            .prop_map(|(kv, host, bytes, stays)| Step::Enrol { kv, host, bytes, idles: stays > 0 }),
        4 => (some.clone(), any::<bool>(), 0..5_u64)
            .prop_map(|(home, unasked, come)| Step::Reload { home, unasked, come }),
        6 => (some.clone(), prop_oneof![4 => Just(End::Done), 1 => Just(End::Fails), 2 => Just(End::Stops)])
            .prop_map(|(load, end)| Step::EndLoad { load, end }),
        1 => (0..4 * HOMES).prop_map(Step::Keep),
        1 => some.clone().prop_map(Step::SendAway),
        1 => some.clone().prop_map(Step::Close),
        10 => (
            (some.clone(), 1..CONTEXT + 3, 0..CONTEXT + 3, 0..9_u32, answers()),
            (-1..2_i8, prop::bool::weighted(0.8), prop::option::of(1..2_000_u64)),
        )
            .prop_map(|((session, prompt, max, min, answers), (priority, degradable, wait))| {
                Step::Admit { session, ask: (prompt, max, min, answers), priority, degradable, wait }
            }),
        4 => some.clone().prop_map(Step::Look),
        1 => some.clone().prop_map(Step::Leave),
        6 => (some.clone(), 0..9_u64).prop_map(|(session, kept)| Step::Finish { session, kept: kept * 100 }),
        2 => some.clone().prop_map(Step::Abandon),
        1 => some.clone().prop_map(Step::Evict),
        2 => (region(), any::<bool>(), 1..700_u64)
            .prop_map(|(region, workspace, bytes)| Step::Load { region, workspace, bytes }),
        1 => (some.clone(), 1..300_u64).prop_map(|(load, by)| Step::Trim { load, by }),
        2 => some.prop_map(Step::Unload),
        1 => any::<bool>().prop_map(Step::Late),
        1 => Just(Step::CatchUp),
        1 => any::<bool>().prop_map(Step::Lazy),
        1 => (600..2_000_u64, 0..500_u64)
            .prop_map(|(capacity, foreign)| Step::Machine { capacity, foreign }),
        2 => prop_oneof![1..AGE, AGE..2 * AGE, Just(IDLE_TIMEOUT)].prop_map(Step::Wait),
        1 => Just(Step::Sweep),
    ]
}
