//! What the guard costs: each call timed by itself, over an engine that prices exactly and gives KV back at once.
//! `make bench-guard`. Prints a table, and fails when a target is missed; run it on an idle machine.

#![allow(clippy::unwrap_used)]

#[cfg(feature = "native")]
mod demo;
mod holder;
mod timing;

use holder::{BLOCK_TOKENS, World};
use plimsoll::guard::{Ask, Decision, Seat};
use plimsoll_engine::{Owner, Region, RequestId, Shape};
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Barrier;
use timing::{Report, Timer};

/// Open sessions in the cells where their number does not change.
const SESSIONS: usize = 1_000;
/// Tokens of which each session holds KV.
const HELD: u32 = 256;
const CALLS: usize = 200_000;

/// A turn of a session that holds [`HELD`] tokens: 44 new ones and an answer of at most 64.
const TURN: Ask = ask(300, 64, 64);

const fn ask(prompt_tokens: u32, max_tokens: u32, min_tokens: u32) -> Ask {
    Ask {
        shape: Shape { prompt_tokens, max_tokens, top_logprobs: 0, penalties: false },
        answers: 1,
        min_tokens,
        degradable: true,
        priority: 0,
    }
}

fn main() -> ExitCode {
    let timer = Timer::new();
    println!("A pair of clock readings takes {} ns, which is taken off every figure.", timer.overhead());
    let mut report = Report::default();
    let alone = admit_and_release(&timer, &mut report);
    two_threads(&timer, &mut report);
    what_ifs(&timer, &mut report);
    refusals(&timer, &mut report);
    evictions(&timer, &mut report);
    let release = releases(&timer, &mut report);
    report.print();
    #[cfg(feature = "native")]
    let share = demo::share(alone, release);
    #[cfg(not(feature = "native"))]
    let share = {
        println!(
            "\nWithout the native engine there is no decode step to compare {alone} and {release} ns with."
        );
        true
    };
    if report.met() && share { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Takes turns over the sessions in a stride that no cache likes.
fn pick(seats: &[Seat], call: usize) -> &Seat {
    &seats[call * 389 % seats.len()]
}

fn turn(world: &World, seat: &Seat) {
    let (verdict, grant) = world.guard.admit(seat, black_box(&TURN)).unwrap();
    assert_eq!(verdict.decision, Decision::Accept);
    drop(black_box(grant));
}

/// One thread, first with a budget, then on the machine's own readings. Returns the median of the first.
fn admit_and_release(timer: &Timer, report: &mut Report) -> u64 {
    let cells = [("admit + release", true), ("the same, on readings of the machine", false)];
    let [first, _] = cells.map(|(name, budget)| {
        let world = if budget { World::roomy() } else { World::on_the_machine() };
        let seats = world.holding(SESSIONS, HELD);
        let times = timer.measure(CALLS, |call| turn(&world, pick(&seats, call)));
        report.add(name, times, Some(1_000))
    });
    first
}

fn two_threads(timer: &Timer, report: &mut Report) {
    let world = World::roomy();
    let seats = world.holding(SESSIONS, HELD);
    let start = Barrier::new(2);
    let work = |seats: &[Seat]| {
        start.wait();
        timer.measure(CALLS, |call| turn(&world, pick(seats, call)))
    };
    let (left, right) = seats.split_at(SESSIONS / 2);
    let times = std::thread::scope(|scope| {
        let other = scope.spawn(|| work(right));
        let mut times = work(left);
        times.extend(other.join().unwrap());
        times
    });
    report.add("admit + release, 2 threads at once", times, Some(5_000));
}

fn what_ifs(timer: &Timer, report: &mut Report) {
    let world = World::roomy();
    let seats = world.holding(SESSIONS, HELD);
    let times = timer.measure(CALLS, |call| {
        let verdict = world.guard.what_if(pick(&seats, call), black_box(&TURN)).unwrap();
        assert_eq!(verdict.decision, Decision::Accept);
    });
    report.add("what-if that fits", times, Some(10_000));
    drop(seats);
    // Room for all that is held and for some of an answer of 4,096: found by halving.
    let world = World::of(world.held_bytes(SESSIONS, HELD) + world.held_bytes(1, 1_000));
    let seats = world.holding(SESSIONS, HELD);
    let marks: Vec<_> = seats[1..].iter().map(|seat| world.run(seat)).collect();
    let times = timer.measure(CALLS / 4, |_| {
        let verdict = world.guard.what_if(&seats[0], black_box(&ask(300, 4_096, 1))).unwrap();
        assert_eq!(verdict.decision, Decision::Shrink);
    });
    report.add("what-if that shrinks", times, Some(10_000));
    drop(marks);
    let times = timer.measure(CALLS / 4, |_| {
        let verdict = world.guard.what_if(&seats[0], black_box(&ask(300, 4_096, 1))).unwrap();
        assert!(verdict.decision == Decision::Accept && verdict.evict_sessions > 5);
    });
    report.add("what-if that names victims", times, Some(10_000));
}

fn refusals(timer: &Timer, report: &mut Report) {
    let world = World::of(0);
    let world = World::of(world.held_bytes(SESSIONS, HELD) + world.held_bytes(1, 1_000));
    let seats = world.holding(SESSIONS, HELD);
    let marks: Vec<_> = seats[1..].iter().map(|seat| world.run(seat)).collect();
    let times = timer.measure(CALLS / 4, |_| {
        let (verdict, grant) = world.guard.admit(&seats[0], black_box(&ask(300, 4_096, 4_096))).unwrap();
        assert!(verdict.decision == Decision::Reject && grant.is_none() && verdict.fits_tokens > 0);
    });
    report.add("refusal, with the tokens that would fit", times, Some(50_000));
    drop(marks);
}

/// Sessions that take each other's KV: half of them fit, so each request evicts the one that was used longest ago.
fn evictions(timer: &Timer, report: &mut Report) {
    let mut medians = Vec::new();
    for (sessions, name) in [
        (100, "admit + eviction, 100 sessions"),
        (1_000, "admit + eviction, 1,000 sessions"),
        (10_000, "admit + eviction, 10,000 sessions"),
    ] {
        let world = World::of(0);
        let fits = sessions / 2;
        // One request's own bytes beside what is held, and less than a session more.
        let world = World::of(world.held_bytes(fits, HELD) + world.request_bytes(HELD));
        let seats: Vec<_> = (0..sessions).map(|_| world.seat()).collect();
        seats.iter().for_each(|seat| world.keep(seat, HELD));
        let times = timer.measure_around(
            CALLS / 4,
            |call| {
                let (verdict, grant) =
                    world.guard.admit(&seats[call % sessions], black_box(&ask(HELD, 0, 0))).unwrap();
                assert_eq!((verdict.decision, verdict.evict_sessions), (Decision::Accept, 1));
                grant.unwrap()
            },
            |grant| world.engine.finish(grant),
        );
        medians.push(report.add(name, times, None));
    }
    report.flat("eviction from 100 to 10,000 sessions", &medians);
}

/// Bytes that come back by themselves, as blocks behind a window do. Returns the median.
fn releases(timer: &Timer, report: &mut Report) -> u64 {
    let world = World::roomy();
    let _seats = world.holding(SESSIONS, HELD);
    let owner = Owner::Request(RequestId(u64::MAX));
    let mut lease = world.guard.lease(Region::Host, owner, 1 << 30).unwrap();
    let times = timer.measure(CALLS, |_| {
        let rest = lease.bytes() - u64::from(BLOCK_TOKENS);
        lease.shrink_to(black_box(rest));
    });
    report.add("release", times, None)
}
