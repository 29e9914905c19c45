//! Random traffic: whatever comes in whatever order, requests end once, leases return, texts are right.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use common::executor::reference_of;
use common::{Bench, LIMITS, MIXED, ROLLING, Sent};
use plimsoll_engine::{EngineError, FinishReason, Owner, SessionKey};
use plimsoll_scheduler::Limits;
use proptest::prelude::*;
use std::collections::HashMap;
use std::time::Duration;

#[derive(Clone, Debug)]
enum Op {
    Submit {
        session: u64,
        fresh: bool,
        new_tokens: usize,
        max_tokens: u32,
        keep: bool,
        deadline: Option<u64>,
    },
    Cancel(usize),
    Reclaim(u64),
    Advance(u64),
    Tick(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let session = 0_u64..5;
    let submit = (session.clone(), any::<bool>(), 1_usize..14, 0_u32..9, prop::bool::weighted(0.8));
    prop_oneof![
        4 => (submit, prop::option::weighted(0.2, 0_u64..20)).prop_map(
            |((session, fresh, new_tokens, max_tokens, keep), deadline)| {
                Op::Submit { session, fresh, new_tokens, max_tokens, keep, deadline }
            }
        ),
        1 => (0_usize..64).prop_map(Op::Cancel),
        1 => session.prop_map(Op::Reclaim),
        1 => (0_u64..5).prop_map(Op::Advance),
        4 => (1_usize..6).prop_map(Op::Tick),
    ]
}

struct Case {
    sent: Sent,
    session: u64,
    prompt: Vec<u32>,
    max_tokens: usize,
    read: Vec<u32>,
    reason: Option<FinishReason>,
}

#[derive(Default)]
struct Traffic {
    cases: Vec<Case>,
    /// The tokens of each session's last request and its answer, which the engine's KV is of.
    history: HashMap<u64, Vec<u32>>,
}

impl Traffic {
    fn busy(&self, session: u64) -> bool {
        self.cases.iter().any(|case| case.session == session && case.reason.is_none())
    }

    /// Reads all rings.
    fn read(&mut self) {
        for case in self.cases.iter_mut().filter(|case| case.reason.is_none()) {
            let (tokens, finish) = case.sent.read();
            case.read.extend(tokens);
            if let Some(finish) = finish {
                let history = [case.prompt.as_slice(), &case.read].concat();
                assert!(finish.kv_tokens <= history.len() && finish.cached_tokens < case.prompt.len());
                self.history.insert(case.session, history);
                case.reason = Some(finish.reason);
            }
        }
    }
}

fn play(limits: Limits, ops: Vec<Op>) {
    let mut bench = Bench::with(limits, 4);
    let window = limits.rolling.filter(|_| limits.block_bytes == 0).map(|rolling| rolling.window);
    let mut traffic = Traffic::default();
    for op in ops {
        match op {
            Op::Submit { session, fresh, new_tokens, max_tokens, keep, deadline } => {
                let history = traffic.history.get(&session).cloned().unwrap_or_default();
                let mut prompt = if fresh { history[..history.len() / 2].to_vec() } else { history.clone() };
                let at = u32::try_from(traffic.cases.len()).unwrap();
                prompt.extend((0..new_tokens).map(|i| 1000 + at * 20 + u32::try_from(i).unwrap()));
                if prompt.len() + max_tokens as usize > LIMITS.context_length {
                    prompt.drain(..prompt.len() - new_tokens);
                }
                let shared = prompt.iter().zip(&history).take_while(|(a, b)| a == b).count();
                if traffic.busy(session) {
                    continue;
                }
                let mut request = bench.request(&prompt, max_tokens);
                request.session = SessionKey(session);
                request.shared_prefix = shared;
                request.keep_kv = keep;
                let now = plimsoll_engine::Clock::now(&*bench.clock);
                request.deadline = deadline.map(|seconds| now + Duration::from_secs(seconds));
                let (job, sent) = bench.job(request);
                match bench.scheduler.submit(job) {
                    Ok(()) => traffic.cases.push(Case {
                        sent,
                        session,
                        prompt,
                        max_tokens: max_tokens as usize,
                        read: Vec::new(),
                        reason: None,
                    }),
                    Err(rejected) => {
                        assert!(matches!(rejected.error, EngineError::QueueFull { queued: 4, .. }));
                        assert_eq!(bench.scheduler.waiting(), 4);
                    }
                }
            }
            Op::Cancel(index) => {
                if let Some(case) = traffic.cases.get(index) {
                    case.sent.cancel.cancel();
                }
            }
            Op::Reclaim(session) => {
                let held = bench.books.held(Owner::Kv(SessionKey(session)));
                let freed = bench.scheduler.reclaim(SessionKey(session));
                assert_eq!(freed, if traffic.busy(session) { 0 } else { held });
            }
            Op::Advance(seconds) => bench.clock.advance(Duration::from_secs(seconds)),
            Op::Tick(count) => {
                for _ in 0..count {
                    bench.scheduler.tick();
                }
            }
        }
        traffic.read();
        assert!(bench.kv_bytes() <= bench.books.kv());
        bench.books.check();
    }
    bench.run();
    traffic.read();
    assert_eq!(bench.scheduler.kv_bytes(), bench.books.kv());
    for case in &traffic.cases {
        let text = reference_of(window, &case.prompt, case.max_tokens);
        match case.reason.as_ref().expect("every request ends") {
            FinishReason::Length => assert_eq!(case.read, text),
            FinishReason::Cancelled | FinishReason::Deadline => assert!(text.starts_with(&case.read)),
            other => panic!("{other:?}"),
        }
    }
    let opened = &bench.scheduler.executor().opened;
    assert!(opened.is_sorted(), "out of the order of arrival: {opened:?}");
    drop(traffic);
    for session in 0..5 {
        bench.scheduler.reclaim(SessionKey(session));
    }
    assert_eq!((bench.blocks(), bench.books.total()), (0, 0));
    bench.books.check();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn traffic_leaves_nothing_behind(ops in prop::collection::vec(op(), 1..60)) {
        play(LIMITS, ops);
    }

    #[test]
    fn traffic_over_rolling_layers_leaves_nothing_behind(ops in prop::collection::vec(op(), 1..60)) {
        play(ROLLING, ops);
    }

    #[test]
    fn traffic_over_layers_of_both_kinds_leaves_nothing_behind(ops in prop::collection::vec(op(), 1..60)) {
        play(MIXED, ops);
    }
}
