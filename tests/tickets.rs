//! Tickets and limits: bytes that are granted and not yet used, and what bounds sessions besides the budget.

#![cfg(feature = "native")]
#![allow(clippy::unwrap_used)]

mod common;

use common::{
    BLOCK, Books, EXACT, PLENTY, Rig, Scratch, agrees, ask_tokens, at_least, config, eventually, ids, run,
    session,
};
use plimsoll::{Cancel, Config, Decision, ErrorCode, Flow, Reason, Request, Session, Ticket};
use std::time::Duration;

/// The error of running a request on a ticket.
fn misuse(open: &Session, request: &Request, ticket: &Ticket) -> ErrorCode {
    open.generate(request, Some(ticket), &Cancel::new(), |_| Flow::Continue).unwrap_err().code()
}

#[test]
fn a_ticket_owns_its_bytes_until_it_is_used_once() {
    let rig = Rig::new(PLENTY);
    let model = rig.golden("llama3");
    let (open, other) = (session(&model), session(&model));
    let before = Books::of(&rig.runtime);
    let request = ask_tokens(&ids(1, 20), 12);
    let (verdict, ticket) = open.admit(&request).unwrap();
    let ticket = ticket.unwrap();
    let now = Books::of(&rig.runtime);
    assert_eq!((now.kv, now.request), (verdict.kv_bytes, verdict.request_bytes));

    assert_eq!(misuse(&other, &request, &ticket), ErrorCode::TicketMismatch);
    assert_eq!(misuse(&open, &ask_tokens(&ids(1, 20), 11), &ticket), ErrorCode::TicketMismatch);
    let without = open.generate(&request, None, &Cancel::new(), |_| Flow::Continue).unwrap_err();
    assert_eq!(without.code(), ErrorCode::Busy, "the ticket holds the session");
    let early = model.check_integrity().unwrap_err();
    assert_eq!(early.code(), ErrorCode::Busy, "the ticket has bytes that the engine has not taken yet");
    assert_eq!(Books::of(&rig.runtime), now, "misuse changes nothing");

    let mut count = 0;
    let outcome = open
        .generate(&request, Some(&ticket), &Cancel::new(), |_| {
            count += 1;
            Flow::Continue
        })
        .unwrap();
    assert_eq!((outcome.verdict, count), (verdict, 12));
    assert_eq!(misuse(&open, &request, &ticket), ErrorCode::TicketConsumed);
    drop(ticket);
    open.reset().unwrap();
    rig.assert_back(&before, "a used ticket");

    let (_, ticket) = open.admit(&request).unwrap();
    drop(ticket);
    rig.assert_back(&before, "a dropped ticket");
    run(&open, &request);
    model.check_integrity().unwrap();
}

#[test]
fn a_ticket_is_good_for_one_turn() {
    let rig = Rig::new(PLENTY);
    let model = rig.golden("llama3");
    let open = session(&model);
    let request = ask_tokens(&ids(1, 20), 12);
    let (_, ticket) = open.admit(&request).unwrap();
    open.reset().unwrap();
    assert_eq!(misuse(&open, &request, &ticket.unwrap()), ErrorCode::TicketMismatch);
    run(&open, &request);
}

#[test]
fn a_ticket_expires() {
    let rig = Rig::with(PLENTY, &[("guard.ticket_ttl_s", "60")]);
    let model = rig.golden("llama3");
    let open = session(&model);
    let empty = Books::of(&rig.runtime);
    let request = ask_tokens(&ids(1, 20), 12);
    let (_, ticket) = open.admit(&request).unwrap();
    rig.clock.advance(Duration::from_secs(59));
    open.generate(&request, ticket.as_ref(), &Cancel::new(), |_| Flow::Continue).unwrap();
    open.reset().unwrap();

    let (_, ticket) = open.admit(&request).unwrap();
    rig.clock.advance(Duration::from_secs(60));
    // At once, without waiting for the runtime's own thread.
    assert_eq!(misuse(&open, &request, ticket.as_ref().unwrap()), ErrorCode::TicketExpired);
    rig.assert_back(&empty, "an expired ticket");
    let (_, unused) = open.admit(&request).unwrap();
    rig.clock.advance(Duration::from_secs(60));
    rig.assert_back(&empty, "a ticket that nobody looks at");
    drop((ticket, unused));
    run(&open, &request);
}

#[test]
fn a_session_has_a_limit_of_its_own() {
    let rig = Rig::new(PLENTY);
    let folder = Scratch::model("llama3");
    folder.edit("config.json", |config| config["max_position_embeddings"] = 4096.into());
    let model = rig.load(folder.path(), EXACT).unwrap();
    let limited = Session::open(&model, &config(&[("session.kv_limit_mb", "1")])).unwrap();
    let fits = u32::try_from((1 << 20) / BLOCK * 16).unwrap();
    let verdict = agrees(&limited, &ask_tokens(&ids(1, 48), 4000));
    assert_eq!((verdict.decision, verdict.reason), (Decision::Shrink, Reason::SessionLimit));
    assert_eq!(verdict.granted_tokens, fits - 48);
    let never = at_least(fits, &ask_tokens(&ids(1, 48), fits));
    let verdict = agrees(&limited, &never);
    assert_eq!((verdict.decision, verdict.retry_after), (Decision::Reject, None));
    assert_eq!(agrees(&session(&model), &never).decision, Decision::Accept);
    let none = Session::open(&model, &config(&[("session.kv_limit_mb", "0")])).unwrap();
    let error = none.generate(&ask_tokens(&[1], 1), None, &Cancel::new(), |_| Flow::Continue).unwrap_err();
    assert_eq!((error.code(), error.numbers().fits_tokens), (ErrorCode::MemoryRefused, 0));
}

#[test]
fn all_sessions_share_a_limit() {
    let rig = Rig::with(PLENTY, &[("guard.kv_limit_mb", "1")]);
    let folder = Scratch::model("llama3");
    folder.edit("config.json", |config| config["max_position_embeddings"] = 4096.into());
    let model = rig.load(folder.path(), EXACT).unwrap();
    let (first, second) = (session(&model), session(&model));
    let (_, ticket) = first.admit(&ask_tokens(&ids(1, 48), 1488)).unwrap();
    let verdict = agrees(&second, &ask_tokens(&ids(1, 48), 1488));
    assert_eq!((verdict.decision, verdict.reason), (Decision::Shrink, Reason::KvLimit));
    assert_eq!(verdict.granted_tokens, (1 << 20) / BLOCK as u32 * 16 - 48 - 1488 - 48);
    drop(ticket);
    assert_eq!(agrees(&second, &ask_tokens(&ids(1, 48), 1488)).decision, Decision::Accept);
}

#[test]
fn an_idle_session_loses_its_kv_and_nothing_else() {
    let rig = Rig::with(PLENTY, &[("guard.idle_timeout_s", "300")]);
    let model = rig.golden("llama3");
    let (idle, twin) = (session(&model), session(&model));
    for open in [&idle, &twin] {
        run(open, &ask_tokens(&ids(1, 30), 10));
    }
    rig.clock.advance(Duration::from_secs(200));
    run(&twin, &ask_tokens(&ids(2, 3), 5));
    rig.clock.advance(Duration::from_secs(101));
    // The runtime's own thread looks for idle sessions.
    eventually("the idle session is evicted", || idle.kv_bytes() == 0);
    assert!(twin.kv_bytes() > 0, "it was used since");
    eventually("the eviction is counted", || rig.runtime.memory().evictions == 1);
    let late = run(&idle, &ask_tokens(&ids(2, 3), 5));
    assert_eq!((late.outcome.cached_tokens, late.outcome.prompt_tokens), (0, 43));
    let fresh = session(&model);
    run(&fresh, &ask_tokens(&ids(1, 30), 10));
    assert_eq!(late.ids, run(&fresh, &ask_tokens(&ids(2, 3), 5)).ids);
    model.check_integrity().unwrap();
}

#[test]
fn a_host_may_ask_before_it_allocates() {
    let rig = Rig::new(100 << 20);
    let free = rig.runtime.memory().host().free;
    assert_eq!(free, 100 << 20);
    assert!(rig.runtime.can_allocate(free, 0.0) && !rig.runtime.can_allocate(free, 0.1));
    assert!(!rig.runtime.can_allocate(free + 1, 0.0) && !rig.runtime.can_allocate(u64::MAX, 0.0));
    let model = rig.golden("llama3");
    assert!(!rig.runtime.can_allocate(free, 0.0));
    assert!(!rig.runtime.is_low_memory(0.99) && rig.runtime.is_low_memory(0.0));
    drop(model);
    assert!(rig.runtime.can_allocate(free, 0.0));
}

#[test]
fn a_budget_that_leaves_nothing_is_refused() {
    let mut nothing = Config::new();
    nothing.set("memory.budget", "1").unwrap();
    nothing.set("guard.reserve_mb", "1").unwrap();
    let error = plimsoll::Runtime::new(&nothing).err().unwrap();
    assert_eq!(error.code(), ErrorCode::InvalidConfig);
    assert!(error.message().contains("host memory"), "{error}");
}
