//! Models over an engine of the host's own: what it is asked to do, and what its failures leave behind.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Books, PLENTY, Rig, ask_text, ask_tokens, model_folder, session};
use plimsoll::text::Tokenizer;
use plimsoll::{
    Cancel, Config, Decision, Error, ErrorCode, Flow, Model, Outcome, Request, Session, TextSide,
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
}

/// Answers every request with the token ids 40, 41, 42, ... on the caller's thread, and keeps no KV.
struct Parrot {
    capabilities: Capabilities,
    next: Mutex<Next>,
    seen: Mutex<Vec<(Vec<u32>, usize)>>,
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
        let (count, reason) = match self.next.lock().unwrap().clone() {
            Next::Answer => (request.max_tokens, FinishReason::Length),
            Next::Fail(after, error) => (after, FinishReason::Failed(error)),
            Next::Reject(error) => {
                return Err(Box::new(Rejected { job: Job { request, kv, host, ring, cancel }, error }));
            }
        };
        for id in (40..).take(count as usize) {
            assert!(ring.push(TokenEvent { id, logprob: -1.0 }, &[]));
        }
        drop((kv, host));
        let zero = Duration::ZERO;
        ring.finish(Finish {
            reason,
            cached_tokens: 0,
            kv_tokens: 0,
            queued: zero,
            prefill: zero,
            decode: zero,
        });
        Ok(())
    }

    fn reclaim(&self, _: SessionKey, freed: crossbeam_channel::Sender<u64>) {
        let _ = freed.send(0);
    }

    fn holdings(&self) -> Holdings {
        Holdings::default()
    }
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
    let engine = Arc::new(Parrot { capabilities, next: Mutex::new(Next::Answer), seen: Mutex::default() });
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
    let rig = Rig::new(64 * 100);
    let (_engine, model) = parrot(&rig);
    let open = session(&model);
    // 100 bytes besides the tokens, 64 bytes of KV a token, 8 bytes of ring a generated one.
    let verdict = open.what_if(&ask_tokens(&[1; 10], 500)).unwrap();
    assert_eq!(verdict.decision, Decision::Shrink);
    assert_eq!(verdict.granted_tokens, (6400 - 100 - 640) / 72);
    assert_eq!((verdict.kv_bytes, verdict.request_bytes), (64 * (10 + 78), 100 + 8 * 78));
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
