//! Plug-ins that are late, or held up inside of a call: nobody waits longer than was said, and the books stay true.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::scripted::{self, Script, TOKEN};
use common::talk::Rig;
use common::{Host, eventually};
use plimsoll::guard::Reason;
use plimsoll_engine::{Engine, EngineError, FinishReason, Ring};
use plimsoll_plugin::status;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// A door that is shut until it is opened.
#[derive(Default)]
struct Door(Mutex<bool>, Condvar);

impl Door {
    fn pass(&self) {
        let _open = self.1.wait_while(self.0.lock().unwrap(), |open| !*open).unwrap();
    }
    fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }
}

#[test]
fn a_missed_deadline_is_a_refusal_and_a_late_answer_still_counts() {
    let late = Arc::new(Mutex::new(None));
    let noted = Arc::clone(&late);
    let script = Script {
        reclaim: Box::new(move |api, (session, bytes, deadline_ms)| {
            assert_eq!(deadline_ms, 150);
            *noted.lock().unwrap() = Some((*api, session, bytes));
            status::BUSY
        }),
        ..Script::default()
    };
    // Room for the fixed bytes and one long session.
    let rig = Rig::on(Host::with(1500 + 9000, Duration::from_millis(150)), &scripted::table(), script);
    let (holds, wants) = (rig.open(), rig.open());
    rig.start(&holds, 60, 10).wait();
    assert_eq!(holds.kv_bytes(), 69 * TOKEN);

    let since = Instant::now();
    let verdict = rig.try_start(&wants, 40, 10).err().unwrap();
    let took = since.elapsed();
    assert_eq!(verdict.reason, Reason::Reclaim);
    assert_eq!(verdict.bytes_asked, 50 * TOKEN + 64 + 80);
    assert_eq!(verdict.bytes_free, 9000 - 69 * TOKEN);
    assert!(verdict.retry_after.is_some());
    assert!(took >= Duration::from_millis(140) && took < Duration::from_secs(5), "{took:?}");
    // Whoever comes meanwhile waits no longer than that either; what needs nothing back runs.
    assert!(rig.try_start(&wants, 40, 10).is_err());
    assert_eq!(rig.start(&wants, 5, 5).wait().1.reason, FinishReason::Length);

    let (api, session, bytes) = late.lock().unwrap().take().unwrap();
    assert_eq!(bytes, 69 * TOKEN);
    assert_eq!(api.shrink(session, bytes), status::OK);
    assert_eq!(api.reclaimed(session), status::OK);
    assert_eq!((api.reclaimed(session), holds.kv_bytes()), (status::INVALID_ARGUMENT, 0));
    assert_eq!(rig.start(&wants, 40, 10).wait().1.reason, FinishReason::Length);
    drop((holds, wants));
    rig.close();
}

#[test]
fn one_that_gives_nothing_back_is_told_apart_from_one_that_is_late() {
    let script = Script { reclaim: Box::new(|_, _| 0), ..Script::default() };
    let rig = Rig::on(Host::with(1500 + 9000, Duration::from_secs(20)), &scripted::table(), script);
    let (holds, wants) = (rig.open(), rig.open());
    rig.start(&holds, 60, 10).wait();
    let since = Instant::now();
    let verdict = rig.try_start(&wants, 40, 10).err().unwrap();
    assert!(verdict.bytes_free < verdict.bytes_asked && since.elapsed() < Duration::from_secs(10));
    assert_eq!(holds.kv_bytes(), 69 * TOKEN);
    drop((holds, wants));
    rig.close();
}

#[test]
fn one_that_is_held_up_in_cancel_holds_up_nobody() {
    let door = Arc::new(Door::default());
    let gate = Arc::clone(&door);
    let kept = Arc::new(Mutex::new(Vec::new()));
    let queue = Arc::clone(&kept);
    let mut host = Host::new(1 << 20);
    host.grace = Duration::from_millis(50);
    // Long prompts are kept and never answered.
    let script = Script {
        start: Box::new(move |api, s| {
            if s.prompt < 10 {
                return api.answer(&s);
            }
            assert_eq!(api.grow(s.session, s.kv_bytes), status::OK);
            queue.lock().unwrap().push((*api, s));
            0
        }),
        cancel: Box::new(move |_, _| {
            gate.pass();
            0
        }),
        ..Script::default()
    };
    let rig = Rig::on(host, &scripted::table(), script);
    let seats: Vec<_> = (0..3).map(|_| rig.open()).collect();
    let turns: Vec<_> = seats.iter().map(|seat| rig.start(seat, 10, 5)).collect();
    let booked = rig.host.booked();
    turns.iter().for_each(|turn| turn.cancel.cancel());
    rig.works();
    for turn in turns {
        let (tokens, finish) = turn.wait();
        assert_eq!((tokens, finish.reason, finish.kv_tokens), (0, FinishReason::Cancelled, 0));
    }
    rig.works();
    // The plug-in may still use what it has taken: all of it stays booked, and the session is not given to another request.
    let rings = 3 * Ring::bytes(5, 0).unwrap();
    eventually("the other session's KV returns", || rig.host.booked() == booked - rings);
    assert!(rig.start(&seats[0], 3, 3).failure().contains("has not ended"));
    assert_eq!(rig.host.guard.evict_session(&seats[0]), 0);
    door.open();
    for (api, s) in kept.lock().unwrap().drain(..) {
        assert_eq!(api.shrink(s.session, s.kv_bytes), status::OK);
        assert_eq!(api.end_with(s.request, status::CANCELLED, 0), status::OK);
    }
    eventually("all returns", || rig.host.booked() == 1500);
    assert_eq!(rig.start(&seats[0], 3, 3).wait().1.reason, FinishReason::Length);
    drop(seats);
    rig.close();
}

#[test]
fn an_engine_that_goes_does_not_wait_for_one_that_is_held_up() {
    let door = Arc::new(Door::default());
    let gate = Arc::clone(&door);
    let mut host = Host::new(1 << 20);
    host.grace = Duration::from_millis(50);
    let script = Script {
        start: Box::new(|api, s| api.grow(s.session, s.kv_bytes)),
        cancel: Box::new(move |_, _| {
            gate.pass();
            0
        }),
        ..Script::default()
    };
    let rig = Rig::on(host, &scripted::table(), script);
    let (seat, other) = (rig.open(), rig.open());
    let (turn, waits) = (rig.start(&seat, 5, 5), rig.start(&other, 5, 5));
    turn.cancel.cancel();
    assert_eq!(turn.wait().1.reason, FinishReason::Cancelled);
    drop((seat, other));
    let Rig { host, engine, counts } = rig;
    drop(engine);
    // A courier is inside of it, so it is not freed, and its bytes are not given to others; but nobody waits for it.
    assert_eq!(waits.wait().1.reason, FinishReason::Failed(EngineError::Closed));
    assert_eq!(counts.get(), (0, 0));
    assert!(host.booked() > 1500);
    door.open();
    eventually("it is freed", || counts.get() == (1, 1));
    eventually("all returns", || host.booked() == 0);
}

/// A plug-in with two places, and what waits in them for [`Places::end_one`].
#[derive(Clone, Default)]
struct Places(Arc<Mutex<Vec<(scripted::Api, scripted::Started)>>>);

impl Places {
    fn script(&self) -> Script {
        let places = self.clone();
        let start = move |api: &scripted::Api, started| {
            let mut taken = places.0.lock().unwrap();
            if taken.len() == 2 {
                return status::QUEUE_FULL;
            }
            taken.push((*api, started));
            status::OK
        };
        Script { start: Box::new(start), ..Script::default() }
    }

    /// The numbers of those that are there.
    fn taken(&self) -> Vec<u64> {
        self.0.lock().unwrap().iter().map(|(_, started)| started.request).collect()
    }

    fn end_one(&self) {
        let (api, started) = self.0.lock().unwrap().remove(0);
        assert_eq!(api.answer(&started), status::OK);
    }
}

#[test]
fn answers_wait_for_a_place_before_any_new_request() {
    let places = Places::default();
    let rig = Rig::new(places.script());
    let (one, other) = (rig.open(), rig.open());
    let turns = rig.try_answers(&one, 5, 6, 5).unwrap();
    let ids: Vec<_> = turns.iter().map(|turn| turn.id).collect();
    for at in 0..5 {
        let there = ids[at..].iter().take(2).copied().collect::<Vec<_>>();
        eventually("the next has its place", || places.taken() == there);
        if at < 3 {
            // There is none for others, also when one falls free.
            let (job, turn) = rig.try_jobs(&other, 5, 6, 1).unwrap().remove(0);
            let refused = rig.engine.submit(job).unwrap_err();
            assert!(matches!(refused.error, EngineError::QueueFull { .. }), "{:?}", refused.error);
            drop((refused, turn));
        }
        places.end_one();
    }
    for turn in turns {
        assert_eq!(turn.wait().1.reason, FinishReason::Length);
    }
    assert_eq!(rig.host.booked(), 1500 + 10 * TOKEN);
    let turn = rig.start(&other, 5, 6);
    places.end_one();
    assert_eq!(turn.wait().1.reason, FinishReason::Length);
    drop((one, other));
    rig.close();
}

#[test]
fn answers_that_wait_for_a_place_are_cancelled_and_closed_like_all() {
    let places = Places::default();
    let rig = Rig::new(places.script());
    let seat = rig.open();
    let mut turns = rig.try_answers(&seat, 5, 6, 5).unwrap();
    let cancelled = turns.remove(3);
    let before = rig.host.booked();
    cancelled.cancel.cancel();
    let (tokens, finish) = cancelled.wait();
    assert_eq!((tokens, finish.reason), (0, FinishReason::Cancelled));
    // Blocks, the bytes of the request, and its ring.
    assert_eq!(before - rig.host.booked(), 11 * TOKEN + 64 + Ring::bytes(6, 0).unwrap());
    assert_eq!(places.taken().len(), 2);
    drop(seat);
    let Rig { host, engine, .. } = rig;
    drop(engine);
    for turn in turns {
        assert_eq!(turn.wait().1.reason, FinishReason::Failed(EngineError::Closed));
    }
    assert_eq!(host.booked(), 0);
}
