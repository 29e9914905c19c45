//! Plug-ins that misbehave: each fails its own request at most, and the books come back.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::Host;
use common::scripted::{self, NO_END, Script, TOKEN, VOCAB};
use common::talk::Rig;
use plimsoll::guard::{Ask, IntegrityError};
use plimsoll_engine::{Engine, EngineError, FinishReason, ModelId, Shape};
use plimsoll_plugin::abi::{plimsoll_engine_end, plimsoll_engine_token};
use plimsoll_plugin::status;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Calls the first request's fault, and answers all others.
fn first(fault: impl Fn(&scripted::Api, &scripted::Started) + Send + Sync + 'static) -> Script {
    let count = AtomicU32::new(0);
    let start = move |api: &scripted::Api, started: scripted::Started| {
        match count.fetch_add(1, Ordering::SeqCst) {
            0 => fault(api, &started),
            _ => assert_eq!(api.answer(&started), status::OK),
        }
        0
    };
    Script { start: Box::new(start), ..Script::default() }
}

#[test]
fn a_good_one_runs_keeps_and_gives_back() {
    let rig = Rig::new(Script::default());
    assert_eq!(rig.host.booked(), 1500);
    let seat = rig.open();
    let (tokens, finish) = rig.start(&seat, 5, 6).wait();
    assert_eq!((tokens, finish.reason, finish.kv_tokens), (6, FinishReason::Length, 10));
    assert_eq!((seat.kv_bytes(), rig.engine.holdings().kv), (10 * TOKEN, 10 * TOKEN));
    assert_eq!(rig.host.guard.evict_session(&seat), 10 * TOKEN);
    assert_eq!(rig.host.booked(), 1500);
    drop(seat);
    rig.close();
}

#[test]
fn more_than_was_admitted_is_refused() {
    let rig = Rig::new(first(|api, s| {
        assert_eq!(api.grow(s.session, s.kv_bytes + 1), status::MEMORY_REFUSED);
        assert_eq!(api.grow(s.session, s.kv_bytes - 1), status::OK);
        assert_eq!(api.grow(s.session, 2), status::MEMORY_REFUSED);
        assert_eq!(api.grow(s.session, u64::MAX), status::MEMORY_REFUSED);
        assert_eq!(api.grow(s.session, 1), status::OK);
        // What is given back while the request runs may be taken again, and no more.
        assert_eq!(api.shrink(s.session, 100), status::OK);
        assert_eq!(api.grow(s.session, 101), status::MEMORY_REFUSED);
        assert_eq!(api.grow(s.session, 100), status::OK);
        assert_eq!(api.shrink(s.session, s.kv_bytes + 1), status::INVALID_ARGUMENT);
        assert_eq!(api.shrink(s.session, s.kv_bytes), status::OK);
        assert_eq!(api.fail(s.request, status::MEMORY_REFUSED, "I wanted more"), status::OK);
    }));
    let seat = rig.open();
    assert_eq!(rig.start(&seat, 5, 5).failure(), "I wanted more");
    assert_eq!((seat.kv_bytes(), rig.host.booked()), (0, 1500));
    assert_eq!(rig.start(&seat, 5, 5).wait().1.reason, FinishReason::Length);
    drop(seat);
    rig.close();
}

#[test]
fn nothing_is_taken_for_sessions_that_do_not_run() {
    let rig = Rig::new(first(|api, s| {
        assert_eq!(api.answer(s), status::OK);
        assert_eq!(api.grow(s.session, 1), status::INVALID_ARGUMENT);
        assert_eq!(api.grow(u64::MAX, 1), status::INVALID_ARGUMENT);
        assert_eq!(api.reclaimed(s.session), status::INVALID_ARGUMENT);
        assert_eq!(api.begin(s.request), status::INVALID_ARGUMENT);
        assert_eq!(api.interrupted(s.request), status::STOPPED);
    }));
    let seat = rig.open();
    rig.start(&seat, 5, 5).wait();
    assert_eq!(rig.engine.ignored_calls(), 4);
    drop(seat);
    rig.close();
}

#[test]
fn an_end_counts_once() {
    let rig = Rig::new(first(|api, s| {
        assert_eq!(api.grow(s.session, TOKEN), status::OK);
        assert_eq!(api.token(s.request, 1, -1.0), status::OK);
        assert_eq!(api.end_with(s.request, status::END_OF_TEXT, 1), status::OK);
        assert_eq!(api.fail(s.request, status::INTERNAL, "again"), status::INVALID_ARGUMENT);
        assert_eq!(api.token(s.request, 2, -1.0), status::INVALID_ARGUMENT);
        assert_eq!(api.token(s.request + 1000, 2, -1.0), status::INVALID_ARGUMENT);
    }));
    let seat = rig.open();
    let (tokens, finish) = rig.start(&seat, 3, 5).wait();
    assert_eq!((tokens, finish.reason, finish.kv_tokens), (1, FinishReason::EndOfText, 1));
    assert_eq!(rig.engine.ignored_calls(), 3);
    assert_eq!(seat.kv_bytes(), TOKEN);
    drop(seat);
    rig.works();
    rig.close();
}

#[test]
fn tokens_that_cannot_be_fail_their_request() {
    type Emit = fn(&scripted::Api, u64) -> i32;
    let cases: [(Emit, i32, &str); 7] = [
        (|api, id| api.token(id, VOCAB, -1.0), status::INVALID_TOKEN, "token 50"),
        (|api, id| api.token(id, u32::MAX, -1.0), status::INVALID_TOKEN, "token 4294967295"),
        (|api, id| api.token(id, 1, f32::NAN), status::INVALID_TOKEN, "NaN"),
        (|api, id| api.token(id, 1, 0.5), status::INVALID_TOKEN, "0.5"),
        (|api, id| api.raw_token(id, std::ptr::null()), status::NULL_POINTER, "cannot be read"),
        (
            |api, id| {
                // SAFETY: zeroes are a token whose struct_size is not set.
                let unset: plimsoll_engine_token = unsafe { std::mem::zeroed() };
                api.raw_token(id, &unset)
            },
            status::INVALID_STRUCT_SIZE,
            "cannot be read",
        ),
        (|api, id| (0..6).fold(0, |_, _| api.token(id, 1, -1.0)), status::INVALID_ARGUMENT, "5 granted"),
    ];
    for (emit, answer, word) in cases {
        let rig = Rig::new(first(move |api, s| {
            assert_eq!(api.grow(s.session, s.kv_bytes), status::OK);
            assert_eq!(emit(api, s.request), answer, "{word}");
            // It has ended for its reader; the bytes come back when the plug-in says so.
            assert_eq!(api.interrupted(s.request), status::STOPPED);
            assert_eq!(api.grow(s.session, 0), status::INVALID_ARGUMENT);
            assert_eq!(api.shrink(s.session, s.kv_bytes), status::OK);
            assert_eq!(api.end_with(s.request, status::END_OF_TEXT, 0), status::OK);
        }));
        let seat = rig.open();
        let failure = rig.start(&seat, 5, 5).failure();
        assert!(failure.contains(word), "{failure}");
        assert_eq!(rig.host.booked(), 1500);
        assert_eq!(rig.start(&seat, 5, 5).wait().1.reason, FinishReason::Length);
        drop(seat);
        rig.close();
    }
}

#[test]
fn ends_that_cannot_be_are_failures() {
    let end = |ending| plimsoll_engine_end { ending, ..NO_END };
    let cases = [
        (end(0), "ending 0"),
        (end(3), "ending 3"),
        (end(i32::MAX), "which is none"),
        (end(status::LENGTH), "after 1 of 5 tokens"),
        (end(status::CANCELLED), "cancelled, which it was not"),
        (end(status::DEADLINE), "late, which it was not"),
        (plimsoll_engine_end { cached_tokens: 1, ..end(status::END_OF_TEXT) }, "1 cached tokens"),
        (plimsoll_engine_end { kv_tokens: 5, ..end(status::END_OF_TEXT) }, "KV of 5 of 4 tokens"),
        (plimsoll_engine_end { kv_tokens: usize::MAX, ..end(status::END_OF_TEXT) }, "KV of"),
        (plimsoll_engine_end { struct_size: 8, ..end(status::END_OF_TEXT) }, "cannot be read"),
        (plimsoll_engine_end { status: -1, ..end(0) }, "status -1"),
    ];
    for (end, word) in cases {
        let numbers = (end.struct_size, end.status, end.ending, end.cached_tokens, end.kv_tokens);
        let rig = Rig::new(first(move |api, s| {
            let (struct_size, status, ending, cached_tokens, kv_tokens) = numbers;
            assert_eq!(api.grow(s.session, TOKEN), status::OK);
            assert_eq!(api.token(s.request, 1, -1.0), status::OK);
            assert_eq!(api.shrink(s.session, TOKEN), status::OK);
            api.end(
                s.request,
                &plimsoll_engine_end { struct_size, status, ending, cached_tokens, kv_tokens, ..NO_END },
            );
            assert_eq!(api.token(s.request, 1, -1.0), status::INVALID_ARGUMENT);
        }));
        let seat = rig.open();
        let failure = rig.start(&seat, 3, 5).failure();
        assert!(failure.contains(word), "{failure}");
        assert_eq!(rig.host.booked(), 1500);
        drop(seat);
        rig.works();
        rig.close();
    }
}

#[test]
fn what_it_forgets_at_its_end_returns_all_the_same() {
    // It holds KV of an idle session, and a request that it never ends.
    let seen = Arc::new(AtomicU64::new(0));
    let asked = Arc::clone(&seen);
    let rig = Rig::new(Script {
        reclaim: Box::new(|_, _| status::BUSY),
        start: Box::new(move |api, s| {
            if asked.fetch_add(1, Ordering::SeqCst) == 0 {
                return api.answer(&s);
            }
            assert_eq!(api.grow(s.session, s.kv_bytes), status::OK);
            assert_eq!(api.token(s.request, 1, -1.0), status::OK);
            status::OK
        }),
        ..Script::default()
    });
    let (idle, running) = (rig.open(), rig.open());
    rig.start(&idle, 5, 5).wait();
    let turn = rig.start(&running, 5, 5);
    drop((idle, running));
    assert!(rig.host.booked() > 1500 + 9 * TOKEN);
    let Rig { host, engine, counts } = rig;
    drop(engine);
    assert_eq!(counts.get(), (1, 1));
    let (tokens, finish) = turn.wait();
    assert_eq!((tokens, finish.reason), (1, FinishReason::Failed(EngineError::Closed)));
    assert_eq!(host.booked(), 0);
}

#[test]
fn garbage_estimates_are_errors() {
    type Price = (u64, u64, u64, i32);
    let price = Arc::new(Mutex::new((TOKEN, 10 * TOKEN, 64, 0)));
    let current: Arc<Mutex<Price>> = Arc::clone(&price);
    let rig = Rig::new(Script {
        estimate: Box::new(move |_, out| {
            let status;
            (out.kv_block_bytes, out.kv_bytes, out.request_bytes, status) = *current.lock().unwrap();
            status
        }),
        start: Box::new(|api, s| api.fail(s.request, status::INTERNAL, "not to be run")),
        ..Script::default()
    });
    let seat = rig.open();
    let shape = Shape { prompt_tokens: 5, max_tokens: 5, top_logprobs: 0, penalties: false };
    let ask = Ask { shape, answers: 1, min_tokens: 5, degradable: true, priority: 0 };
    for garbage in [
        (u64::MAX, u64::MAX, 64, 0),
        (TOKEN, u64::MAX, 64, 0),
        (0, 1, 64, 0),
        (TOKEN, 10 * TOKEN + 1, 64, 0),
        (TOKEN, 11 * TOKEN, 64, 0),
        (TOKEN, TOKEN, u64::MAX, 0),
        (TOKEN, TOKEN, 64, status::INTERNAL),
        (TOKEN, TOKEN, 64, i32::MIN),
    ] {
        *price.lock().unwrap() = garbage;
        assert!(rig.engine.estimate(&shape).is_err(), "{garbage:?}");
        assert!(rig.host.guard.admit(&seat, &ask).is_err(), "{garbage:?}");
        assert!(rig.host.guard.what_if(&seat, &ask).is_err(), "{garbage:?}");
        assert_eq!(rig.host.booked(), 1500);
    }
    *price.lock().unwrap() = (TOKEN, 10 * TOKEN, 64, 0);
    assert!(rig.engine.estimate(&shape).is_ok());
    drop(seat);
    rig.close();
}

#[test]
fn a_price_that_changes_after_the_grant_is_not_paid() {
    let calls = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&calls);
    let rig = Rig::new(Script {
        estimate: Box::new(move |_, out| {
            counted.fetch_add(1, Ordering::SeqCst);
            // A little more each time.
            let request_bytes = 64 + counted.load(Ordering::SeqCst);
            (out.kv_block_bytes, out.kv_bytes, out.request_bytes) = (TOKEN, TOKEN, request_bytes);
            0
        }),
        ..Script::default()
    });
    let seat = rig.open();
    let failure = rig.start(&seat, 5, 5).failure();
    assert!(failure.contains("the ticket pays for"), "{failure}");
    assert_eq!(rig.host.booked(), 1500);
    drop(seat);
    rig.close();
}

#[test]
fn starts_that_fail_fail_their_request() {
    for (answer, word) in [
        (status::INVALID_ARGUMENT, "start failed with status 100"),
        (status::OUT_OF_MEMORY, "refused"),
        (status::ENGINE_CLOSED, "shutting down"),
        (-7, "status -7"),
    ] {
        let count = AtomicU32::new(0);
        let rig = Rig::new(Script {
            start: Box::new(move |api, s| match count.fetch_add(1, Ordering::SeqCst) {
                0 => answer,
                _ => api.answer(&s),
            }),
            ..Script::default()
        });
        let seat = rig.open();
        let failure = rig.start(&seat, 5, 5).failure();
        assert!(failure.contains(word), "{failure}");
        assert_eq!(rig.host.booked(), 1500);
        assert_eq!(rig.start(&seat, 5, 5).wait().1.reason, FinishReason::Length);
        drop(seat);
        rig.close();
    }
}

#[test]
fn a_queue_that_is_full_after_it_began_is_a_failure() {
    let rig = Rig::new(Script {
        start: Box::new(|api, s| {
            assert_eq!(api.grow(s.session, TOKEN), status::OK);
            assert_eq!(api.shrink(s.session, TOKEN), status::OK);
            status::QUEUE_FULL
        }),
        ..Script::default()
    });
    let seat = rig.open();
    assert!(rig.start(&seat, 5, 5).failure().contains("no room"));
    assert_eq!(rig.host.booked(), 1500);
    drop(seat);
    rig.close();
}

#[test]
fn without_a_reclaim_nothing_is_kept() {
    let table = plimsoll_plugin::abi::plimsoll_engine_table { reclaim: None, ..scripted::table() };
    let rig = Rig::on(Host::new(1 << 20), &table, Script::default());
    let seat = rig.open();
    // It says that it keeps KV, and does not give it back.
    assert_eq!(rig.start(&seat, 5, 5).wait().1.reason, FinishReason::Length);
    assert_eq!((seat.kv_bytes(), rig.host.booked()), (0, 1500));
    drop(seat);
    rig.close();
}

#[test]
fn kv_that_is_not_to_be_kept_and_is_fails_its_answer_and_nothing_after_it() {
    let rig = Rig::new(Script {
        start: Box::new(|api, s| {
            let all = s.prompt + s.max_tokens as usize;
            assert_eq!(
                api.answer_keeping(&s, all),
                if s.keep { status::OK } else { status::INVALID_ARGUMENT }
            );
            0
        }),
        ..Script::default()
    });
    let seat = rig.open();
    let mut turns = rig.try_answers(&seat, 5, 6, 3).unwrap();
    for other in turns.drain(1..) {
        let failure = other.failure();
        assert!(failure.contains("1100 bytes of KV leased"), "{failure}");
    }
    assert_eq!(turns.remove(0).wait().1.kv_tokens, 11);
    assert_eq!((seat.kv_bytes(), rig.host.booked()), (11 * TOKEN, 1500 + 11 * TOKEN));
    // The session goes on, and gives back all that it holds.
    assert_eq!(rig.start(&seat, 9, 6).wait().1.reason, FinishReason::Length);
    assert_eq!(rig.host.guard.evict_session(&seat), 15 * TOKEN);
    assert_eq!(rig.host.booked(), 1500);
    drop(seat);
    rig.close();
}

#[test]
fn what_it_holds_beside_its_leases_is_seen() {
    let table = plimsoll_plugin::abi::plimsoll_engine_table {
        holdings: Some(scripted::a_byte_too_many),
        ..scripted::table()
    };
    let rig = Rig::on(Host::new(1 << 20), &table, Script::default());
    let found = rig.host.guard.check_holdings(ModelId(1), &*rig.engine);
    assert!(matches!(found, Err(IntegrityError::Holdings { held: 1, booked: 0, .. })), "{found:?}");
    rig.close();
}

#[test]
fn one_that_is_not_attached_is_dropped_once_and_not_freed() {
    type Spoil = fn(&mut Script);
    let cases: [(Spoil, &str); 3] = [
        (|script| script.describe = 7, "describe failed with status 7"),
        (|script| script.description.vocab_size = 0, "vocab_size = 0"),
        (|script| script.load = status::OUT_OF_MEMORY, "load failed with status 201"),
    ];
    for (spoil, word) in cases {
        let mut script = Script::default();
        spoil(&mut script);
        let (host, counts) = (Host::new(1 << 20), Arc::clone(&script.counts));
        let table = scripted::table();
        // SAFETY: the table's slots take the script's pointer, and its drop takes it back.
        let refused = unsafe { host.attach(&table, script.into_user_data(), Some(scripted::drop)) };
        let error = refused.err().unwrap().to_string();
        assert!(error.contains(word), "{error}");
        assert_eq!((counts.get(), host.booked()), ((0, 1), 0));
    }
    let script = Script::default();
    let (host, counts) = (Host::new(1 << 20), Arc::clone(&script.counts));
    let table = plimsoll_plugin::abi::plimsoll_engine_table { start: None, ..scripted::table() };
    // SAFETY: as above.
    let refused = unsafe { host.attach(&table, script.into_user_data(), Some(scripted::drop)) };
    assert!(refused.err().unwrap().to_string().contains("no start"));
    assert_eq!(counts.get(), (0, 1));
}

#[test]
fn its_log_lines_are_checked() {
    let rig = Rig::new(first(|api, s| {
        assert_eq!(api.log(3, "all is well\n\u{1b}[31m"), status::OK);
        assert_eq!(api.log(0, "no level"), status::INVALID_ARGUMENT);
        assert_eq!(api.log(6, "no level"), status::INVALID_ARGUMENT);
        assert_eq!(api.answer(s), status::OK);
    }));
    rig.works();
    rig.close();
}
