//! Pressure that comes and goes while requests are decided.
#![cfg(loom)]
#![allow(clippy::unwrap_used)]

use loom::thread;
use plimsoll::guard::{Ask, Decision, Pressure, Reason};
use plimsoll_engine::{Cancel, Lease, Owner, Region, RequestId};
use plimsoll_loom::{REQUEST, TOKEN, World, explore};
use std::time::Duration;

const ROOM: u64 = 100 * (TOKEN + REQUEST);
const LONG: Duration = Duration::from_secs(3_600);

/// One token, and nothing given up for it.
fn firm() -> Ask {
    Ask { degradable: false, ..World::ask(1) }
}

fn most_of(world: &World) -> Lease {
    world.guard.lease(Region::Host, Owner::Request(RequestId(1_000)), ROOM / 4 * 3).unwrap()
}

#[test]
fn a_firm_request_is_granted_before_the_pressure_or_refused_for_it() {
    explore(|| {
        let world = World::pressed(ROOM);
        let (other, seat) = (world.clone(), world.seat());
        let thread = thread::spawn(move || {
            let decided = other.guard.admit(&seat, &firm()).unwrap();
            (decided, seat)
        });
        let taken = most_of(&world);
        let ((verdict, grant), _seat) = thread.join().unwrap();
        match verdict.decision {
            Decision::Reject => {
                assert_eq!((verdict.reason, verdict.pressure), (Reason::Pressure, Pressure::Medium))
            }
            _ => assert_eq!(verdict.pressure, Pressure::Low),
        }
        assert_eq!(world.guard.pressure(), Pressure::Medium);
        drop((taken, grant));
        assert_eq!(world.guard.pressure(), Pressure::Low);
        // What engines read is what the last change said.
        assert_eq!(world.guard.throttle().of(8), 8);
        world.assert_used(0);
    });
}

#[test]
fn who_is_ruled_out_waits_until_the_pressure_is_gone() {
    explore(|| {
        let world = World::pressed(ROOM);
        let taken = most_of(&world);
        let (other, seat) = (world.clone(), world.seat());
        let thread = thread::spawn(move || {
            // A wake-up that is lost leaves this thread here for good, which loom reports.
            let (_, grant) = other.guard.admit_waiting(&seat, &firm(), LONG, &Cancel::new()).unwrap();
            (grant.unwrap(), seat)
        });
        drop(taken);
        drop(thread.join().unwrap());
        world.assert_used(0);
    });
}
