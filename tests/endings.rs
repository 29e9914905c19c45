//! Endings: stopped, cancelled, late, dropped or refused, an answer leaves a conversation that goes on; and who may use a
//! session when.

#![cfg(feature = "native")]
#![allow(clippy::unwrap_used)]

mod common;

use common::talk::{finish, readable, turn};
use common::{Books, EXACT, PLENTY, Rig, Scratch, ask, ask_tokens, ids, run, run_until, session};
use plimsoll::{Cancel, Ending, ErrorCode, Flow, Input, Message, Polled, Session};
use std::time::Duration;

#[test]
fn a_callback_that_stops_keeps_what_it_read() {
    let rig = Rig::new(PLENTY);
    let model = readable(&rig);
    let (open, prompt) = (session(&model), ids(1, 30));
    let answer = run_until(&open, &ask_tokens(&prompt, 40), &Cancel::new(), |count| {
        if count == 5 { Flow::Stop } else { Flow::Continue }
    });
    assert_eq!((answer.outcome.ending, answer.ids.len()), (Ending::Stopped, 5));
    let mut said = [&prompt[..], &answer.ids].concat();
    let next = turn(&open, &mut said, &ids(2, 3), 10);
    assert!(next.outcome.cached_tokens as usize >= prompt.len() + 4);
}

#[test]
fn a_request_cancelled_before_it_starts_changes_nothing() {
    let rig = Rig::new(PLENTY);
    let model = readable(&rig);
    let (open, mut said) = (session(&model), Vec::new());
    turn(&open, &mut said, &ids(1, 20), 5);
    let cancelled = Cancel::new();
    cancelled.cancel();
    let messages = vec![Message::new("user", "hello")];
    for input in [Input::Tokens(ids(2, 9)), Input::Text("hello".into()), Input::Messages(messages)] {
        // Messages have nothing in common with what was said, so that KV was of no use to them and went.
        let held = if matches!(input, Input::Messages(_)) { 0 } else { said.len() as u32 - 1 };
        let answer = run_until(&open, &ask(input, 5), &cancelled, |_| Flow::Continue);
        assert_eq!((answer.outcome.ending, answer.ids.len()), (Ending::Cancelled, 0));
        let next = turn(&open, &mut said, &ids(3, 4), 5);
        assert_eq!(next.outcome.cached_tokens, held);
    }
}

#[test]
fn a_running_request_can_be_cancelled_from_another_thread() {
    let rig = Rig::new(PLENTY);
    let model = readable(&rig);
    let grandparent = Cancel::new();
    let parent = grandparent.child();
    for raise in [&grandparent, &parent] {
        let (open, prompt) = (session(&model), ids(1, 30));
        let token = raise.child();
        // A child of the token given is followed as well as the token itself.
        let given = token.child();
        rig.clock.hold_after(8);
        let answer = std::thread::scope(|scope| {
            let (canceller, clock) = (token.clone(), &rig.clock);
            let (tell, told) = std::sync::mpsc::channel();
            scope.spawn(move || {
                told.recv().unwrap();
                canceller.cancel();
                canceller.cancel();
                clock.open();
            });
            run_until(&open, &ask_tokens(&prompt, 200), &given, |count| {
                if count == 1 {
                    tell.send(()).unwrap();
                }
                Flow::Continue
            })
        });
        assert_eq!(answer.outcome.ending, Ending::Cancelled);
        assert!((1..20).contains(&answer.ids.len()), "{}", answer.ids.len());
        assert!(!raise.is_cancelled(), "a child leaves its parent alone");
        let mut said = [&prompt[..], &answer.ids].concat();
        turn(&open, &mut said, &ids(2, 3), 10);
    }
    grandparent.cancel();
    let answer = run_until(&session(&model), &ask_tokens(&ids(1, 9), 9), &parent.child(), |_| Flow::Continue);
    assert_eq!(answer.outcome.ending, Ending::Cancelled, "a grandparent counts");
}

#[test]
fn a_deadline_ends_an_answer_and_keeps_what_came() {
    let rig = Rig::new(PLENTY);
    let model = readable(&rig);
    let (open, prompt) = (session(&model), ids(1, 30));
    let mut request = ask_tokens(&prompt, 200);
    request.deadline = Some(Duration::from_secs(10));
    rig.clock.hold_after(6);
    let answer = run_until(&open, &request, &Cancel::new(), |count| {
        if count == 1 {
            rig.clock.advance(Duration::from_secs(10));
            rig.clock.open();
        }
        Flow::Continue
    });
    assert_eq!(answer.outcome.ending, Ending::Deadline);
    assert!((1..20).contains(&answer.ids.len()), "{}", answer.ids.len());
    let mut said = [&prompt[..], &answer.ids].concat();
    turn(&open, &mut said, &ids(2, 3), 10);

    request.deadline = Some(Duration::ZERO);
    let late = run(&session(&model), &request);
    assert_eq!((late.outcome.ending, late.ids.len()), (Ending::Deadline, 0));
    request.deadline = Some(Duration::MAX);
    assert_eq!(run(&session(&model), &request).outcome.ending, Ending::Length);
}

#[test]
fn a_stream_is_pulled_with_timeouts() {
    let rig = Rig::new(PLENTY);
    let model = readable(&rig);
    let request = ask_tokens(&ids(1, 30), 20);
    let expected = run(&session(&model), &request);
    let open = session(&model);
    rig.clock.hold();
    let mut stream = open.stream(&request, None, &Cancel::new()).unwrap();
    for timeout in [Duration::ZERO, Duration::from_millis(5)] {
        assert!(matches!(stream.next(Some(timeout)).unwrap(), Polled::TimedOut));
    }
    rig.clock.open();
    let (ids, outcome) = finish(&mut stream);
    assert_eq!((ids, &outcome.text), (expected.ids, &expected.outcome.text));
    assert!(
        matches!(stream.next(Some(Duration::ZERO)).unwrap(), Polled::Finished(again) if again == outcome)
    );
    // A finished stream holds the session no longer.
    run(&open, &ask_tokens(&[1], 1));
}

#[test]
fn a_dropped_stream_ends_its_request_and_the_session_goes_on() {
    let rig = Rig::new(PLENTY);
    let model = readable(&rig);
    let books = Books::of(&rig.runtime);
    let (open, prompt) = (session(&model), ids(1, 30));
    rig.clock.hold_after(6);
    let mut stream = open.stream(&ask_tokens(&prompt, 200), None, &Cancel::new()).unwrap();
    let Polled::Event(event) = stream.next(None).unwrap() else { panic!("no first token") };
    let mut said = [&prompt[..], &[event.token.unwrap().id]].concat();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Lets the drop below raise its flag before the next step; the result is the same when it comes later.
            std::thread::sleep(Duration::from_millis(20));
            rig.clock.open();
        });
        drop(stream);
    });
    let now = Books::of(&rig.runtime);
    assert_eq!((now.request, now.kv), (0, open.kv_bytes()));
    turn(&open, &mut said, &ids(2, 3), 10);
    drop(open);
    rig.assert_back(&books, "the session is gone");
    model.check_integrity().unwrap();
}

#[test]
fn an_open_stream_makes_the_session_busy() {
    let rig = Rig::new(PLENTY);
    let model = readable(&rig);
    let open = session(&model);
    let request = ask_tokens(&ids(1, 9), 5);
    let stream = open.stream(&request, None, &Cancel::new()).unwrap();
    let busy = |error: plimsoll::Error| assert_eq!(error.code(), ErrorCode::Busy, "{error}");
    busy(open.generate(&request, None, &Cancel::new(), |_| Flow::Continue).unwrap_err());
    busy(open.stream(&request, None, &Cancel::new()).err().unwrap());
    busy(open.evict().unwrap_err());
    busy(open.reset().unwrap_err());
    assert!(open.what_if(&request).unwrap().granted_tokens == 0);
    drop(stream);
    run(&open, &request);
}

#[test]
fn a_call_from_inside_its_own_callback_is_refused() {
    let rig = Rig::new(PLENTY);
    let model = readable(&rig);
    let (open, other) = (session(&model), session(&model));
    let request = ask_tokens(&ids(1, 9), 3);
    let expected = run(&session(&model), &request).ids;
    let answer = run_until(&open, &request, &Cancel::new(), |_| {
        let inside = open.generate(&request, None, &Cancel::new(), |_| Flow::Continue);
        for code in [inside.unwrap_err().code(), open.evict().unwrap_err().code()] {
            assert_eq!(code, ErrorCode::Reentrant);
        }
        assert!(open.kv_bytes() > 0, "getters work inside");
        // Another session may be used there.
        assert_eq!(run(&other, &request).ids, expected);
        other.reset().unwrap();
        Flow::Continue
    });
    assert_eq!(answer.ids, expected);
}

#[test]
fn a_full_queue_refuses_with_advice_and_loses_nothing() {
    let rig = Rig::new(PLENTY);
    let folder = Scratch::readable("llama3");
    let tight = [EXACT, &[("native.queue", "1"), ("native.max_sequences", "1")]].concat();
    let model = rig.load(folder.path(), &tight).unwrap();
    let sessions: Vec<Session> = (0..3).map(|_| session(&model)).collect();
    let mut said: Vec<Vec<u32>> = vec![Vec::new(); 3];
    for (open, said) in sessions.iter().zip(&mut said) {
        turn(open, said, &ids(7, 10), 4);
    }
    let request = ask_tokens(&ids(8, 5), 4);
    rig.clock.hold_after(1);
    let mut first = sessions[0].stream(&request, None, &Cancel::new()).unwrap();
    // The first has its lane once its token is there, so the second waits and fills the queue.
    let Polled::Event(event) = first.next(None).unwrap() else { panic!("no first token") };
    let token = event.token.unwrap().id;
    let mut second = sessions[1].stream(&request, None, &Cancel::new()).unwrap();
    let before = Books::of(&rig.runtime);
    let error = sessions[2].stream(&request, None, &Cancel::new()).err().unwrap();
    assert_eq!(error.code(), ErrorCode::QueueFull);
    assert!(error.is_retryable() && error.numbers().retry_after.is_some_and(|after| !after.is_zero()));
    assert_eq!(Books::of(&rig.runtime), before);
    rig.clock.open();
    let (mut ids_of_first, _) = finish(&mut first);
    ids_of_first.insert(0, token);
    let (ids_of_second, _) = finish(&mut second);
    assert_eq!(ids_of_first, ids_of_second);
    // The refused session's turn was never made, and its KV is still there.
    let after = turn(&sessions[2], &mut said[2], &ids(8, 5), 4);
    assert_eq!(after.ids, ids_of_first);
    assert_eq!(after.outcome.cached_tokens, 13);
}
