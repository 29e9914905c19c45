//! The scripted engine and its region do as they are told.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

use plimsoll::guard::{Ask, BusyMark, Seat};
use plimsoll_conformance::Subject;
use plimsoll_conformance::scripted::{
    Fed, LoadError, Misstep, Record, ScriptedConfig, ScriptedExecutor, ScriptedMemory, scripted_subject,
};
use plimsoll_engine::{
    Accounts, Cancel, EngineError, FinishReason, Job, Lease, ManualClock, Next, Owner, Region, Request,
    RequestId, Ring, Sampling, SessionKey, Shape,
};
use plimsoll_scheduler::{Config, Scheduler};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

fn request(id: u64, session: SessionKey, tokens: &[u32], max_tokens: u32) -> Request {
    Request {
        id: RequestId(id),
        session,
        tokens: tokens.to_vec(),
        shared_prefix: 0,
        max_tokens,
        sampling: Sampling::default(),
        stop_tokens: Arc::new([]),
        deadline: None,
        keep_kv: true,
        beside: None,
    }
}

fn shape(request: &Request) -> Shape {
    Shape {
        prompt_tokens: u32::try_from(request.tokens.len()).unwrap(),
        max_tokens: request.max_tokens,
        top_logprobs: 0,
        penalties: false,
    }
}

fn start(subject: &Subject, seat: &Seat, tokens: &[u32], max_tokens: u32) -> (Arc<Ring>, BusyMark) {
    let mut request = request(0, seat.key(), tokens, max_tokens);
    let shape = shape(&request);
    let price = subject.engine.estimate(&shape).unwrap();
    let grant = subject
        .guard
        .admit(seat, &Ask { shape, answers: 1, min_tokens: max_tokens, degradable: true, priority: 0 })
        .unwrap()
        .1
        .unwrap();
    request.id = grant.request;
    let (kv, mut host, busy) = grant.into_parts();
    let ring = Arc::new(Ring::new(max_tokens, 0, host.split(price.ring_bytes).unwrap()).unwrap());
    let job = Job { request, kv, host, ring: Arc::clone(&ring), cancel: Cancel::new() };
    subject.engine.submit(job).unwrap();
    (ring, busy)
}

fn end(ring: &Ring) -> (Vec<u32>, FinishReason) {
    let mut tokens = Vec::new();
    loop {
        match ring.next(Some(PATIENCE), &mut Vec::new()) {
            Next::Token(token) => tokens.push(token.id),
            Next::Finished(finish) => return (tokens, finish.reason),
            Next::TimedOut => panic!("no end came"),
        }
    }
}

/// One request after another, each in a session of its own.
fn ends(config: &ScriptedConfig, requests: usize) -> Vec<FinishReason> {
    let subject = scripted_subject(config).unwrap();
    let run = |_| {
        let seat = subject.guard.open_session(Arc::clone(&subject.engine), None).unwrap();
        let (ring, busy) = start(&subject, &seat, &[1, 2, 3], 3);
        let reason = end(&ring).1;
        drop(busy);
        subject.guard.check_integrity().unwrap();
        reason
    };
    (0..requests).map(run).collect()
}

#[test]
fn missteps_hit_the_step_they_are_set_for() {
    let failed = EngineError::Execution("scripted".into());
    let missteps = BTreeMap::from([
        (3, Misstep::Fail(failed.clone())),
        (5, Misstep::Panic),
        (8, Misstep::Panic),
        (9, Misstep::Panic),
    ]);
    let config = ScriptedConfig { missteps, step_time: Duration::ZERO, ..ScriptedConfig::default() };
    let ends = ends(&config, 5);
    // Three steps each: the second request fails in its first, the third survives one panic, the fourth does not
    // survive two in a row.
    assert_eq!(
        ends,
        [
            FinishReason::Length,
            FinishReason::Failed(failed),
            FinishReason::Length,
            FinishReason::Failed(EngineError::Panicked("scripted panic in step 9".into())),
            FinishReason::Length,
        ]
    );
}

#[test]
fn a_device_that_refuses_leased_memory_fails_that_request_alone() {
    // Weights and workspace come first, then a block for each session.
    let region = Region::Device(0);
    let config = ScriptedConfig { region, refuse_allocation: Some(3), ..ScriptedConfig::default() };
    let refused = EngineError::OutOfMemory { region, bytes: config.limits.block_bytes };
    assert_eq!(ends(&config, 3), [FinishReason::Length, FinishReason::Failed(refused), FinishReason::Length]);
}

#[test]
fn what_does_not_fit_is_not_loaded() {
    let mut odd = ScriptedConfig::default();
    odd.limits.block_bytes = 63;
    let tight = ScriptedConfig { capacity: 1 << 16, ..ScriptedConfig::default() };
    let huge = ScriptedConfig { weights_bytes: 1 << 25, ..ScriptedConfig::default() };
    let load = |config| scripted_subject(config).map(drop).unwrap_err();
    assert!(matches!(load(&odd), LoadError::Engine(EngineError::Invalid(_))));
    assert!(matches!(load(&tight), LoadError::Engine(EngineError::OutOfMemory { .. })));
    assert!(matches!(load(&huge), LoadError::Refused(_)));
}

struct NoBooks;

impl Accounts for NoBooks {
    fn release(&self, _: Region, _: Owner, _: u64) {}
}

/// Without threads: the scheduler is ticked by hand, on a clock that stands still.
#[test]
fn a_script_chooses_the_text_and_the_record_shows_what_was_fed() {
    let record = Record::default();
    let config = ScriptedConfig {
        script: Some(Arc::new(|held| held.iter().sum::<u32>() % 100)),
        record: Some(record.clone()),
        step_time: Duration::ZERO,
        ..ScriptedConfig::default()
    };
    let memory = ScriptedMemory::new(Region::Host, config.capacity, None);
    let executor = ScriptedExecutor::new(&config, &memory).unwrap();
    let clock = Arc::new(ManualClock::default());
    let mut scheduler = Scheduler::new(executor, &Config::default(), clock).unwrap();
    let lease = || Lease::issue(Arc::new(NoBooks), Region::Host, Owner::Request(RequestId(7)), 1 << 20);
    let ring = Arc::new(Ring::new(3, 0, lease()).unwrap());
    let tokens: Vec<u32> = (0..30).collect();
    scheduler
        .submit(Job {
            request: request(7, SessionKey(1), &tokens, 3),
            kv: lease(),
            host: lease(),
            ring: Arc::clone(&ring),
            cancel: Cancel::new(),
        })
        .unwrap();
    while scheduler.tick() {}
    // 0 + 1 + ... + 29 = 435, then 435 + 35 = 470, then 470 + 70 = 540.
    assert_eq!(end(&ring), (vec![35, 70, 40], FinishReason::Length));
    let fed = |position, tokens: &[u32], sampled| {
        vec![Fed { request: RequestId(7), position, tokens: tokens.to_vec(), sampled }]
    };
    let expected = [
        fed(0, &tokens[..24], None),
        fed(24, &tokens[24..], Some(35)),
        fed(30, &[35], Some(70)),
        fed(31, &[70], Some(40)),
    ];
    assert_eq!(record.steps(), expected);
    // The last token was chosen but never fed, so two blocks of 16 are enough.
    assert_eq!(memory.held().kv, 2 * config.limits.block_bytes);
    drop(scheduler);
    assert_eq!((memory.held().kv, memory.held().workspace), (0, 0));
}
