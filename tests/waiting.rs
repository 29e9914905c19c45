//! Requests that wait for memory, from the public API.

#![cfg(feature = "native")]
#![allow(clippy::unwrap_used)]

mod common;

use common::{PLENTY, Rig, ask_tokens, eventually, ids, session};
use plimsoll::{Cancel, Decision, ErrorCode, Flow, Outcome, Queued, Reason, Request, Result, Session};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(600);

fn waits(tokens: u32, wait: Duration) -> Request {
    let mut request = ask_tokens(&ids(5, 20), tokens);
    (request.min_tokens, request.wait) = (tokens, wait);
    request
}

fn run(session: &Session, request: &Request, cancel: &Cancel) -> Result<Outcome> {
    session.generate(request, None, cancel, |_| Flow::Continue)
}

/// A budget with room for one such request beside the model, and a model in it.
fn tight(request: &Request, settings: &[(&str, &str)]) -> (Rig, plimsoll::Model) {
    let (fixed, price) = {
        let rig = Rig::new(PLENTY);
        let model = rig.golden("llama3");
        let verdict = session(&model).what_if(request).unwrap();
        (rig.runtime.memory().host().used, verdict.bytes_asked)
    };
    let rig = Rig::with(fixed + price + price / 4, settings);
    let model = rig.golden("llama3");
    (rig, model)
}

#[test]
fn a_request_waits_for_a_ticket_that_is_not_used() {
    let request = waits(40, LONG);
    let (rig, model) = tight(&request, &[]);
    let (first, second) = (session(&model), session(&model));
    let (_, ticket) = first.admit(&request).unwrap();
    let ticket = ticket.unwrap();
    let foreseen = second.what_if(&request).unwrap();
    assert_eq!((foreseen.decision, foreseen.position), (Decision::Reject, 1));
    assert!(foreseen.retry_after.is_some());
    thread::scope(|scope| {
        let waiting = scope.spawn(|| run(&second, &request, &Cancel::new()).unwrap());
        eventually("it waits", || rig.runtime.memory().waiting == 1);
        assert_eq!(session(&model).what_if(&request).unwrap().position, 2);
        drop(ticket);
        let outcome = waiting.join().unwrap();
        assert_eq!((outcome.generated_tokens, outcome.verdict.decision), (40, Decision::Accept));
    });
    let stats = rig.runtime.memory();
    assert_eq!((stats.waiting, stats.waited_count), (0, 1));
}

#[test]
fn waiting_ends_with_its_time_its_deadline_or_its_cancel_token() {
    let request = waits(40, LONG);
    let (rig, model) = tight(&request, &[("guard.queue", "1")]);
    let (first, second) = (session(&model), session(&model));
    let ticket = first.admit(&request).unwrap().1.unwrap();
    let refused = |request: &Request, cancel: &Cancel| {
        let error = run(&second, request, cancel).unwrap_err();
        assert_eq!(error.code(), ErrorCode::MemoryRefused, "{error}");
        assert!(error.is_retryable() && error.numbers().bytes_asked > error.numbers().bytes_free, "{error}");
        assert_eq!(rig.runtime.memory().waiting, 0);
    };
    refused(&waits(40, Duration::from_millis(20)), &Cancel::new());
    let mut late = request.clone();
    late.deadline = Some(Duration::from_millis(20));
    refused(&late, &Cancel::new());
    let cancel = Cancel::new();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| refused(&request, &cancel));
        eventually("it waits", || rig.runtime.memory().waiting == 1);
        let full = run(&session(&model), &request, &Cancel::new()).unwrap_err();
        assert_eq!(full.code(), ErrorCode::QueueFull, "one may wait");
        assert!(full.numbers().retry_after.is_some());
        cancel.cancel();
        waiting.join().unwrap();
    });
    // What can never fit does not wait.
    let mut giant = waits(120, LONG);
    giant.min_tokens = 120;
    let error = run(&second, &giant, &Cancel::new()).unwrap_err();
    assert!(!error.is_retryable(), "{error}");
    drop(ticket);
    assert!(run(&second, &request, &Cancel::new()).is_ok());
}

#[test]
fn those_who_wait_run_by_priority_and_arrival() {
    let request = waits(40, LONG);
    let (rig, model) = tight(&request, &[]);
    let first = session(&model);
    let ticket = first.admit(&request).unwrap().1.unwrap();
    let order = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for (at, (name, priority)) in [("b", 0), ("c", 0), ("a", 1), ("d", -1)].into_iter().enumerate() {
            let (model, order, mut request) = (&model, &order, request.clone());
            request.priority = priority;
            scope.spawn(move || {
                let open = session(model);
                let ticket = open.admit(&request).unwrap().1.unwrap();
                // Nobody else is granted anything before this one has given its memory back.
                order.lock().unwrap().push(name);
                drop(ticket);
            });
            eventually("it waits", || rig.runtime.memory().waiting == at as u64 + 1);
        }
        drop(ticket);
    });
    assert_eq!(*order.lock().unwrap(), ["a", "b", "c", "d"]);
}

#[test]
fn who_polls_is_served_like_who_sleeps() {
    let request = waits(40, LONG);
    let (rig, model) = tight(&request, &[]);
    let (first, second) = (session(&model), session(&model));
    let ticket = first.admit(&request).unwrap().1.unwrap();
    let Queued::Waits(verdict, mut waiting) = second.enqueue(&request).unwrap() else { panic!("it fits") };
    assert_eq!((verdict.decision, verdict.position), (Decision::Reject, 1));
    assert!(waiting.poll().unwrap().is_none());
    // Its session has nothing else meanwhile.
    assert_eq!(second.what_if(&request).unwrap().reason, Reason::Busy);
    rig.clock.advance(Duration::from_secs(3));
    drop(ticket);
    let (verdict, ticket) = waiting.poll().unwrap().unwrap();
    assert_eq!((verdict.decision, verdict.waited), (Decision::Accept, Duration::from_secs(3)));
    assert!(waiting.poll().is_err(), "it was decided");
    drop(waiting);
    let outcome = second.generate(&request, ticket.as_ref(), &Cancel::new(), |_| Flow::Continue).unwrap();
    assert_eq!((outcome.generated_tokens, outcome.verdict), (40, verdict));
    // Dropped, it waits no longer.
    let ticket = first.admit(&request).unwrap().1.unwrap();
    let Queued::Waits(_, waiting) = session(&model).enqueue(&request).unwrap() else { panic!("it fits") };
    assert_eq!(rig.runtime.memory().waiting, 1);
    drop(waiting);
    assert_eq!(rig.runtime.memory().waiting, 0);
    drop(ticket);
    rig.runtime.guard().check_integrity().unwrap();
}
