//! Models over an engine of the host's own: what it is asked to do, and what its failures leave behind.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Books, PLENTY, Rig, SESSION, ask_text, ask_tokens, model_folder, session};
use plimsoll::text::Tokenizer;
use plimsoll::{
    Cancel, Config, Decision, Error, ErrorCode, Flow, Model, Outcome, Polled, Request, Session, TextSide,
};
use plimsoll_engine::{
    Capabilities, Engine, EngineError, Estimate, Finish, FinishReason, Holdings, Job, Region, Rejected,
    SessionKey, Shape, TokenEvent,
};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the engine is to do with the next job.
#[derive(Clone, Debug)]
enum Next {
    Answer,
    /// Fail after this many tokens.
    Fail(u32, EngineError),
    Reject(EngineError),
    /// Take it and leave the rest to the test.
    Keep,
    /// Take so many jobs and reject the next.
    RejectAfter(usize, EngineError),
}

/// Answers every request with the token ids 40, 41, 42, ... on the caller's thread, and keeps no KV.
struct Parrot {
    capabilities: Capabilities,
    next: Mutex<Next>,
    seen: Mutex<Vec<(Vec<u32>, usize)>>,
    kept: Mutex<Vec<Job>>,
}

impl Engine for Parrot {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn estimate(&self, shape: &Shape) -> Result<Estimate, EngineError> {
        let ring_bytes = plimsoll_engine::Ring::bytes(shape.max_tokens, shape.top_logprobs);
        let ring_bytes = ring_bytes.ok_or(EngineError::PriceOverflow)?;
        Ok(Estimate {
            kv_region: Region::Host,
            kv_bytes: 64 * u64::from(shape.prompt_tokens + shape.max_tokens),
            kv_block_bytes: 64,
            request_bytes: ring_bytes + 100,
            ring_bytes,
            workspace_bytes: 0,
        })
    }

    fn submit(&self, job: Job) -> Result<(), Box<Rejected>> {
        let Job { request, kv, host, ring, cancel } = job;
        self.seen.lock().unwrap().push((request.tokens.clone(), request.shared_prefix));
        let next = self.next.lock().unwrap().clone();
        if let Next::Keep = next {
            self.kept.lock().unwrap().push(Job { request, kv, host, ring, cancel });
            return Ok(());
        }
        let (count, reason) = match next {
            Next::Answer | Next::Keep => (request.max_tokens, FinishReason::Length),
            Next::Fail(after, error) => (after, FinishReason::Failed(error)),
            Next::RejectAfter(left, error) if left > 0 => {
                *self.next.lock().unwrap() = Next::RejectAfter(left - 1, error);
                (request.max_tokens, FinishReason::Length)
            }
            Next::Reject(error) | Next::RejectAfter(_, error) => {
                return Err(Box::new(Rejected { job: Job { request, kv, host, ring, cancel }, error }));
            }
        };
        for id in (40..).take(count as usize) {
            assert!(ring.push(TokenEvent { id, logprob: -1.0 }, &[]));
        }
        end(Job { request, kv, host, ring, cancel }, reason);
        Ok(())
    }

    fn reclaim(&self, _: SessionKey, freed: crossbeam_channel::Sender<u64>) {
        let _ = freed.send(0);
    }

    fn holdings(&self) -> Holdings {
        Holdings::default()
    }
}

/// Ends a job.
fn end(job: Job, reason: FinishReason) {
    let Job { kv, host, ring, .. } = job;
    drop((kv, host));
    let zero = Duration::ZERO;
    ring.finish(Finish { reason, cached_tokens: 0, kv_tokens: 0, queued: zero, prefill: zero, decode: zero });
}

fn parrot(rig: &Rig) -> (Arc<Parrot>, Model) {
    let capabilities = Capabilities {
        name: "parrot".into(),
        context_length: 1000,
        vocab_size: 352,
        block_tokens: 1,
        kv_region: Region::Host,
        max_sequences: 1,
    };
    let next = Mutex::new(Next::Answer);
    let engine = Arc::new(Parrot { capabilities, next, seen: Mutex::default(), kept: Mutex::default() });
    let json = std::fs::read(model_folder("llama3").join("tokenizer.json")).unwrap();
    let text = TextSide {
        tokenizer: Tokenizer::from_json(&json).unwrap(),
        template: None,
        stop_tokens: Arc::default(),
    };
    let model = rig.runtime.model("parrot", Arc::<Parrot>::clone(&engine), text);
    (engine, model)
}

fn generate(open: &Session, request: &Request) -> Result<Outcome, Error> {
    open.generate(request, None, &Cancel::new(), |_| Flow::Continue)
}

#[test]
fn a_turn_that_the_engine_fails_is_as_if_never_made() {
    let rig = Rig::new(PLENTY);
    let (engine, model) = parrot(&rig);
    let open = session(&model);
    let prompt = ask_text("Once upon a time", 3);
    assert_eq!(generate(&open, &prompt).unwrap().generated_tokens, 3);
    let mut said = engine.seen.lock().unwrap().pop().unwrap().0;
    said.extend([40, 41, 42]);
    let before = Books::of(&rig.runtime);
    let retry_after = Duration::from_millis(7);
    let failures = [
        (Next::Fail(0, EngineError::Execution("a wheel came off".into())), ErrorCode::EngineFailed, "wheel"),
        (Next::Fail(2, EngineError::Panicked("a wheel came off".into())), ErrorCode::EngineFailed, "wheel"),
        (Next::Fail(1, EngineError::Closed), ErrorCode::EngineClosed, "shutting down"),
        (
            Next::Fail(1, EngineError::OutOfMemory { region: Region::Host, bytes: 77 }),
            ErrorCode::OutOfMemory,
            "77",
        ),
        (Next::Reject(EngineError::QueueFull { queued: 9, retry_after }), ErrorCode::QueueFull, "9"),
        (Next::Reject(EngineError::Closed), ErrorCode::EngineClosed, "shutting down"),
    ];
    for (next, code, word) in failures {
        *engine.next.lock().unwrap() = next.clone();
        for request in [ask_text(" there was a", 4), ask_tokens(&[5, 6], 4)] {
            let error = generate(&open, &request).unwrap_err();
            assert_eq!(error.code(), code, "{next:?}");
            assert!(error.message().contains(word), "{error}");
            if let Next::Reject(EngineError::QueueFull { .. }) = next {
                assert_eq!(error.numbers().retry_after, Some(retry_after));
            }
            rig.assert_back(&before, "a failed turn");
        }
        *engine.next.lock().unwrap() = Next::Answer;
        generate(&open, &ask_tokens(&[7], 1)).unwrap();
        let (tokens, shared) = engine.seen.lock().unwrap().pop().unwrap();
        said.push(7);
        assert_eq!((tokens, shared), (said.clone(), 0), "{next:?}");
        said.push(40);
    }
}

#[test]
fn messages_need_a_template_and_text_does_not() {
    let rig = Rig::new(PLENTY);
    let (_engine, model) = parrot(&rig);
    let open = session(&model);
    let error = generate(&open, &Request::user("hello")).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Template);
    assert!(error.message().contains("no chat template"), "{error}");
    assert_eq!(generate(&open, &ask_text("hello", 2)).unwrap().generated_tokens, 2);
}

#[test]
fn its_prices_are_what_the_guard_decides_by() {
    let rig = Rig::new(64 * 100 + SESSION);
    let (_engine, model) = parrot(&rig);
    let open = session(&model);
    // 100 bytes besides the tokens, 64 bytes of KV a token, 8 bytes of ring a generated one, in steps of 128 in this range.
    let verdict = open.what_if(&ask_tokens(&[1; 10], 500)).unwrap();
    assert_eq!(verdict.decision, Decision::Shrink);
    assert_eq!(verdict.granted_tokens, (6400 - 100 - 640) / 72);
    assert_eq!((verdict.kv_bytes, verdict.request_bytes), (64 * (10 + 78), 100 + 640));
    assert_eq!(generate(&open, &ask_tokens(&[1; 10], 500)).unwrap().generated_tokens, 78);
}

#[test]
fn other_kinds_of_engines_are_not_attached_yet() {
    let rig = Rig::new(PLENTY);
    let (_engine, model) = parrot(&rig);
    assert_eq!(model.attach(&Config::new()).unwrap_err().code(), ErrorCode::InvalidConfig);
    for kind in ["vllm", "trtllm", "plugin"] {
        let error = model.attach(&common::config(&[("engine.kind", kind)])).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Unsupported);
        assert!(error.message().contains(kind), "{error}");
    }
}

#[test]
fn several_answers_are_several_jobs_of_which_all_are_taken_or_none() {
    let rig = Rig::new(PLENTY);
    let (engine, model) = parrot(&rig);
    let open = session(&model);
    let mut request = ask_tokens(&[5, 6, 7], 4);
    request.answers = 3;
    let outcome = generate(&open, &request).unwrap();
    assert!(outcome.answers().all(|answer| answer.generated_tokens == 4) && outcome.others.len() == 2);
    assert_eq!(engine.seen.lock().unwrap().len(), 3);
    let before = Books::of(&rig.runtime);
    for taken in 0..3 {
        let full = EngineError::QueueFull { queued: 9, retry_after: Duration::from_millis(7) };
        *engine.next.lock().unwrap() = Next::RejectAfter(taken, full);
        assert_eq!(generate(&open, &request).unwrap_err().code(), ErrorCode::QueueFull);
        assert_eq!(Books::of(&rig.runtime), before, "{taken} were taken");
    }
    // A failure of one is that of all; the conversation is as it was.
    *engine.next.lock().unwrap() = Next::Fail(2, EngineError::Execution("a wheel came off".into()));
    assert_eq!(generate(&open, &request).unwrap_err().code(), ErrorCode::EngineFailed);
    assert_eq!(Books::of(&rig.runtime), before);
    *engine.next.lock().unwrap() = Next::Answer;
    assert_eq!(generate(&open, &request).unwrap().prompt_tokens, 3 + 4 + 3);
}

#[test]
fn a_reader_that_does_not_wait_is_not_held_by_answers_beside_one_that_failed() {
    let rig = Rig::new(PLENTY);
    let (engine, model) = parrot(&rig);
    let open = session(&model);
    *engine.next.lock().unwrap() = Next::Keep;
    let mut request = ask_tokens(&[5, 6, 7], 4);
    request.answers = 3;
    let before = Books::of(&rig.runtime);
    let refused = EngineError::OutOfMemory { region: Region::Host, bytes: 77 };
    let came_off = EngineError::Execution("a wheel came off".into());
    for (error, runs) in [(came_off, 1), (refused, 2)] {
        let mut stream = open.stream(&request, None, &Cancel::new()).unwrap();
        for run in 1..=runs {
            let mut jobs = std::mem::take(&mut *engine.kept.lock().unwrap());
            assert_eq!(jobs.len(), 3);
            end(jobs.remove(1), FinishReason::Failed(error.clone()));
            assert!(matches!(stream.next(Some(Duration::ZERO)), Ok(Polled::TimedOut)));
            assert!(jobs.iter().all(|job| job.cancel.is_cancelled()));
            // What comes of the others is nobody's.
            assert!(jobs[0].ring.push(TokenEvent { id: 40, logprob: -1.0 }, &[]));
            end(jobs.remove(0), FinishReason::Cancelled);
            assert!(matches!(stream.next(Some(Duration::ZERO)), Ok(Polled::TimedOut)));
            end(jobs.remove(0), FinishReason::Cancelled);
            let last = run == runs;
            match stream.next(Some(Duration::ZERO)) {
                Ok(Polled::TimedOut) => assert!(!last),
                Err(found) => assert!(last && found == Error::from(error.clone()), "{found}"),
                other => panic!("{other:?}"),
            }
        }
        drop(stream);
        assert_eq!(Books::of(&rig.runtime), before);
    }
}
