//! Requests under memory pressure, from the public API: what changes, what is told, what is refused.

#![cfg(feature = "native")]
#![allow(clippy::unwrap_used)]

mod common;

use common::{PLENTY, Rig, ask_tokens, ids, session};
use plimsoll::guard::{GuardConfig, Levels};
use plimsoll::{
    Cancel, Decision, Degraded, ErrorCode, Flow, Outcome, Pressure, Reason, Request, Result, Session,
};
use plimsoll_engine::{Lease, ModelId, Owner, Region};

/// Bytes for someone else, up to this part of the budget.
fn fill(rig: &Rig, fraction: f64) -> Lease {
    let host = rig.runtime.memory().host();
    let wanted = (host.capacity as f64 * fraction).ceil() as u64;
    let owner = Owner::Workspace(ModelId(99));
    rig.runtime.guard().lease(Region::Host, owner, wanted.saturating_sub(host.used)).unwrap()
}

fn try_run(session: &Session, request: &Request) -> Result<Outcome> {
    session.generate(request, None, &Cancel::new(), |_| Flow::Continue)
}

fn run(session: &Session, request: &Request) -> Outcome {
    try_run(session, request).unwrap()
}

fn warm(request: Request) -> Request {
    let mut request = request;
    request.sampling.temperature = 1.0;
    request.sampling.seed = Some(7);
    request
}

#[test]
fn the_result_says_what_pressure_changed() {
    let rig = Rig::with(PLENTY, &[("guard.degrade", "on")]);
    let model = rig.golden("llama3");
    let asked = warm(ask_tokens(&ids(3, 20), 20));
    let free = run(&session(&model), &asked);
    assert_eq!((free.verdict.pressure, free.degraded), (Pressure::Low, Degraded::default()));
    let greedy = run(&session(&model), &ask_tokens(&ids(3, 20), 20));

    let taken = fill(&rig, 0.71);
    let medium = run(&session(&model), &asked);
    assert_eq!(medium.degraded, Degraded { max_tokens: Some(18), top_p: Some(0.9), temperature: None });
    assert_eq!((medium.verdict.decision, medium.verdict.reason), (Decision::Shrink, Reason::Pressure));
    drop(taken);

    let taken = fill(&rig, 0.86);
    let critical = run(&session(&model), &asked);
    assert_eq!(critical.degraded, Degraded { max_tokens: Some(10), top_p: None, temperature: Some(0.0) });
    assert_eq!(critical.generated_tokens, 10);
    assert!(greedy.text.starts_with(&critical.text), "{:?} does not begin {:?}", critical.text, greedy.text);
    // A greedy request has nothing to change but its length.
    let same = run(&session(&model), &ask_tokens(&ids(3, 20), 20));
    assert_eq!(same.degraded, Degraded { max_tokens: Some(10), top_p: None, temperature: None });

    let mut firm = asked.clone();
    firm.degradable = false;
    let open = session(&model);
    let refused = try_run(&open, &firm).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::MemoryRefused);
    assert!(refused.message().contains("pressure") && refused.numbers().retry_after.is_some());
    drop(taken);
    let whole = run(&open, &firm);
    assert_eq!((whole.text, whole.degraded), (free.text, Degraded::default()));

    let stats = rig.runtime.memory();
    assert_eq!((stats.degraded_count, stats.pressure_changes, stats.pressure), (3, 4, Pressure::Low));
    rig.runtime.guard().check_integrity().unwrap();
}

#[test]
fn what_was_admitted_before_runs_to_its_end_as_granted() {
    let rig = Rig::with(PLENTY, &[("guard.degrade", "on")]);
    let model = rig.golden("llama3");
    let asked = warm(ask_tokens(&ids(3, 20), 20));
    let expected = run(&session(&model), &asked);
    let open = session(&model);
    let (verdict, ticket) = open.admit(&asked).unwrap();
    let _taken = fill(&rig, 0.95);
    assert_eq!(rig.runtime.memory().pressure, Pressure::Emergency);
    let outcome = open
        .generate(&asked, ticket.as_ref(), &plimsoll::Cancel::new(), |_| plimsoll::Flow::Continue)
        .unwrap();
    assert_eq!(
        (outcome.text, outcome.verdict, outcome.degraded),
        (expected.text, verdict, Degraded::default())
    );
}

#[test]
fn levels_can_be_moved_and_switched_off() {
    for (settings, expected) in [
        (&[("guard.degrade", "off")][..], Pressure::Low),
        (&[("guard.degrade", "on"), ("guard.pressure_levels", "0.1, 0.2, 0.9, 0.95")], Pressure::High),
    ] {
        let rig = Rig::with(PLENTY, settings);
        let _taken = fill(&rig, 0.5);
        assert_eq!(rig.runtime.memory().pressure, expected);
    }
    assert_eq!(GuardConfig::default().pressure, Some(Levels::default()));
}
