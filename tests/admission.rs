//! Admission, end to end: verdicts, the bytes that are then leased, what is evicted for whom, limits, and tickets.

#![cfg(feature = "native")]
#![allow(clippy::unwrap_used)]

mod common;

use common::{
    BLOCK, Books, EXACT, PLENTY, Rig, SESSION, Scratch, agrees, ask_tokens, at_least, golden_json, ids,
    kv_of, model_folder, run, run_until, session,
};
use plimsoll::{Cancel, Decision, Ending, ErrorCode, Flow, Model, Polled, Reason, Request, Session};

/// Host bytes that a request of the golden llama needs besides KV.
fn request_bytes(open: &Session, request: &Request) -> u64 {
    open.what_if(request).unwrap().request_bytes
}

/// What the golden llama's weights and workspace take.
fn model_bytes() -> u64 {
    let rig = Rig::new(PLENTY);
    let _model = rig.golden("llama3");
    Books::of(&rig.runtime).used
}

/// A runtime with this much room beside the golden llama.
fn beside_model(room: u64, settings: &[(&str, &str)]) -> (Rig, Model) {
    let rig = Rig::with(model_bytes() + room, settings);
    let model = rig.golden("llama3");
    assert_eq!(rig.runtime.memory().host().free, room);
    (rig, model)
}

#[test]
fn a_what_if_agrees_with_the_grant_that_follows() {
    let (rig, model) = beside_model(6 * BLOCK, &[]);
    let (open, idle) = (session(&model), session(&model));
    run(&idle, &ask_tokens(&ids(1, 30), 18));
    let before = Books::of(&rig.runtime);
    assert_eq!(before.kv, 3 * BLOCK);
    let cases = [
        (10, 5, 1, Decision::Accept, Reason::Fits),
        // Fits once the idle session is gone.
        (40, 24, 24, Decision::Accept, Reason::Fits),
        // Does not.
        (40, 200, 1, Decision::Shrink, Reason::Budget),
        (40, 200, 200, Decision::Reject, Reason::Budget),
        (40, u32::MAX, u32::MAX, Decision::Reject, Reason::Context),
    ];
    for (prompt, max_tokens, min_tokens, decision, reason) in cases {
        let request = at_least(min_tokens, &ask_tokens(&ids(2, prompt), max_tokens));
        let promised = open.what_if(&request).unwrap();
        assert_eq!(Books::of(&rig.runtime), before, "a what-if has no effect");
        assert_eq!((promised.decision, promised.reason), (decision, reason), "{prompt} + {max_tokens}");
        let verdict = agrees(&open, &request);
        if verdict.evict_sessions > 0 {
            assert_eq!((verdict.evict_sessions, verdict.evict_bytes), (1, 3 * BLOCK));
            assert_eq!((idle.kv_bytes(), rig.runtime.memory().evictions > 0), (0, true));
            // The state is as it was before only once the idle session holds KV again.
            idle.reset().unwrap();
            run(&idle, &ask_tokens(&ids(1, 30), 18));
        }
        rig.assert_back(&before, "the ticket is gone");
        model.check_integrity().unwrap();
    }
}

#[test]
fn prices_equal_the_independent_table() {
    let table = golden_json("expected_bytes.json");
    let mut checked = 0;
    for name in ["llama3", "qwen2", "qwen3", "llama-sharded"] {
        let folder = Scratch::model(name);
        // No weight depends on it; the table has long texts.
        folder.edit("config.json", |config| config["max_position_embeddings"] = 4096.into());
        for entry in table["configs"][name]["kv"].as_array().unwrap() {
            let number = |key: &str| entry[key].as_u64().unwrap();
            let tokens = u32::try_from(number("tokens")).unwrap();
            let kv_type = entry["kv_type"].as_str().unwrap();
            let block_tokens = number("block_tokens").to_string();
            // A request has at least a token of prompt and one of answer.
            if tokens < 2 {
                continue;
            }
            let rig = Rig::new(PLENTY);
            let settings = [("native.kv_type", kv_type), ("native.block_tokens", &block_tokens)];
            let model = rig.load(folder.path(), &[EXACT, &settings].concat()).unwrap();
            let open = session(&model);
            for prompt in [1, tokens / 2, tokens - 1].map(|prompt| prompt.max(1)) {
                let request = ask_tokens(&ids(prompt, prompt as usize), tokens - prompt);
                let verdict = agrees(&open, &request);
                assert_eq!(verdict.decision, Decision::Accept);
                assert_eq!(verdict.kv_bytes, number("kv_bytes"), "{name} {entry}, prompt of {prompt}");
                checked += 1;
            }
        }
    }
    // Heads of 16 values have no KV in 8 bits.
    assert_eq!(checked, (3 * 4 + 6) * 6 * 3, "models and settings, lengths, prompts");
}

#[test]
fn the_ledger_holds_what_the_verdict_says_while_a_request_runs() {
    for name in ["llama3", "qwen3"] {
        for settings in [&[][..], &[("native.kv_type", "f16"), ("native.block_tokens", "32")]] {
            let rig = Rig::new(PLENTY);
            let model = rig.load(&model_folder(name), &[EXACT, settings].concat()).unwrap();
            let empty = Books::of(&rig.runtime);
            let open = session(&model);
            let mut said = 0;
            for round in 1..4_u32 {
                let mut request = ask_tokens(&ids(round, 33), 20);
                request.sampling.top_logprobs = 3 * (round % 2);
                request.sampling.frequency_penalty = 0.1 * (round % 2) as f32;
                let promised = open.what_if(&request).unwrap();
                let held = open.kv_bytes();
                assert_eq!(promised.kv_held, held);
                assert_eq!(promised.bytes_asked, promised.kv_bytes - held + promised.request_bytes);
                rig.clock.hold_after(3);
                let answer = run_until(&open, &request, &Cancel::new(), |count| {
                    if count == 1 {
                        let now = rig.runtime.memory();
                        assert_eq!(kv_of(&now, &open), promised.kv_bytes);
                        assert_eq!(now.total_kv_bytes, promised.kv_bytes);
                        assert_eq!(now.request_bytes, promised.request_bytes);
                        assert_eq!(now.workspace_bytes, promised.workspace_bytes);
                        assert_eq!(now.host().used, empty.used + promised.kv_bytes + promised.request_bytes);
                        assert_eq!(model.holdings().kv, promised.kv_bytes, "what the engine allocated");
                        rig.runtime.guard().check_integrity().unwrap();
                        rig.clock.open();
                    }
                    Flow::Continue
                });
                assert_eq!(answer.outcome.verdict, promised);
                said += 33 + 20;
                // All tokens but the last have KV, in whole blocks.
                let block_tokens = u64::from(model.capabilities().block_tokens);
                let block = promised.kv_bytes / (said as u64).div_ceil(block_tokens);
                let kept = (said as u64 - 1).div_ceil(block_tokens) * block;
                assert_eq!((answer.outcome.kv_bytes, open.kv_bytes()), (kept, kept));
                let expected = Books { used: empty.used + kept, kv: kept, sessions: 1, ..empty };
                rig.assert_back(&expected, "only the session's blocks stay");
                model.check_integrity().unwrap();
            }
            drop(open);
            rig.assert_back(&empty, "the session is gone");
            model.check_integrity().unwrap();
        }
    }
}

#[test]
fn a_request_is_shrunk_to_the_most_tokens_that_fit() {
    for room in [2 * BLOCK, 3 * BLOCK + 77, 5 * BLOCK + 4000] {
        let (rig, model) = beside_model(room, &[]);
        let open = session(&model);
        let prompt = ids(3, 10);
        let request = ask_tokens(&prompt, 200);
        let verdict = agrees(&open, &request);
        assert_eq!((verdict.decision, verdict.reason), (Decision::Shrink, Reason::Budget));
        let granted = verdict.granted_tokens;
        assert!(0 < granted && granted < 200 && granted == verdict.fits_tokens);
        assert!(verdict.bytes_asked <= verdict.bytes_free && verdict.bytes_free == room - SESSION);
        // One token more does not fit, whichever way it is asked for.
        let more = at_least(granted + 1, &request);
        let refused = agrees(&open, &more);
        assert_eq!((refused.decision, refused.fits_tokens), (Decision::Reject, granted));
        assert!(refused.bytes_asked > refused.bytes_free);
        let exactly = at_least(granted, &request);
        assert_eq!(agrees(&open, &exactly).granted_tokens, granted);
        let alone = ask_tokens(&prompt, granted + 1);
        assert_eq!(agrees(&open, &at_least(granted + 1, &alone)).decision, Decision::Reject);

        let error = open.generate(&more, None, &Cancel::new(), |_| Flow::Continue).unwrap_err();
        assert_eq!(error.code(), ErrorCode::MemoryRefused);
        let numbers = error.numbers();
        assert_eq!((numbers.bytes_asked, numbers.bytes_free), (refused.bytes_asked, room - SESSION));
        assert_eq!((numbers.fits_tokens, numbers.retry_after), (granted, None));
        assert!(!error.is_retryable() && error.message().contains(&(room - SESSION).to_string()), "{error}");

        let answer = run(&open, &request);
        assert_eq!((answer.ids.len() as u32, answer.outcome.ending), (granted, Ending::Length));
        let free = Rig::new(PLENTY);
        let expected = run(&session(&free.golden("llama3")), &request);
        assert!(expected.ids.starts_with(&answer.ids));
        model.check_integrity().unwrap();
        drop(rig);
    }
}

#[test]
fn who_must_wait_for_a_running_request_is_told_when_to_come_again() {
    let (rig, model) = beside_model(6 * BLOCK, &[]);
    let (running, waiting) = (session(&model), session(&model));
    rig.clock.hold_after(2);
    let mut stream = running.stream(&ask_tokens(&ids(1, 40), 24), None, &Cancel::new()).unwrap();
    assert!(matches!(stream.next(None).unwrap(), Polled::Event(_)));
    let request = at_least(24, &ask_tokens(&ids(2, 40), 24));
    let verdict = agrees(&waiting, &request);
    assert_eq!((verdict.decision, verdict.reason), (Decision::Reject, Reason::Budget));
    assert_eq!(verdict.bytes_free, rig.runtime.memory().host().free);
    let error = waiting.generate(&request, None, &Cancel::new(), |_| Flow::Continue).unwrap_err();
    assert_eq!((error.code(), error.is_retryable()), (ErrorCode::MemoryRefused, true));
    assert!(error.numbers().retry_after.is_some_and(|after| !after.is_zero()));
    assert_eq!(running.kv_bytes(), 4 * BLOCK, "a running request is never evicted");
    rig.clock.open();
    while !matches!(stream.next(None).unwrap(), Polled::Finished(_)) {}
    drop(stream);
    let answer = run(&waiting, &request);
    assert_eq!((answer.ids.len(), answer.outcome.verdict.evict_sessions), (24, 1));
    model.check_integrity().unwrap();
}

#[test]
fn the_least_recently_used_session_goes_first_and_loses_only_time() {
    let turns = |seed: u32| ask_tokens(&ids(seed, 20), 8);
    let needs = {
        let rig = Rig::new(PLENTY);
        let open = session(&rig.golden("llama3"));
        // The last request has the most tokens; all have as large a ring.
        request_bytes(&open, &turns(1)).max(request_bytes(&open, &ask_tokens(&ids(1, 30), 2)))
    };
    // Three sessions of two blocks and what all say, which is less than a block, and a fourth that needs two more.
    let (rig, model) = beside_model(6 * BLOCK + needs + 4 * SESSION + 2048, &[]);
    let plenty = Rig::new(PLENTY);
    let free = plenty.golden("llama3");
    let sessions: Vec<Session> = (0..4).map(|_| session(&model)).collect();
    let twins: Vec<Session> = (0..4).map(|_| session(&free)).collect();
    let both = |index: usize, request: &Request| {
        let answer = run(&sessions[index], request);
        assert_eq!(answer.ids, run(&twins[index], request).ids, "session {index}");
        model.check_integrity().unwrap();
        answer.outcome
    };
    for index in [0, 1, 2] {
        assert_eq!(both(index, &turns(index as u32)).verdict.evict_sessions, 0);
    }
    // A ticket counts as a use: session 1 is the oldest then.
    drop(sessions[0].admit(&ask_tokens(&[1], 1)).unwrap());
    let outcome = both(3, &turns(3));
    assert_eq!((outcome.verdict.evict_sessions, outcome.verdict.evict_bytes), (1, 2 * BLOCK));
    let held = |index: usize| sessions[index].kv_bytes() > 0;
    assert_eq!([0, 1, 2, 3].map(held), [true, false, true, true]);
    assert_eq!(rig.runtime.memory().evictions, 1);

    // It computes again what it lost, and answers as its twin that lost nothing.
    let outcome = both(1, &ask_tokens(&ids(9, 2), 2));
    assert_eq!((outcome.cached_tokens, outcome.prompt_tokens), (0, 30));
    assert_eq!([0, 1, 2, 3].map(held), [true, true, false, true]);
    let details = rig.runtime.memory().session_details;
    assert_eq!(details.iter().map(|session| session.evictions).collect::<Vec<_>>(), [0, 1, 1, 0]);
}

#[test]
fn a_load_that_does_not_fit_is_refused_with_its_numbers() {
    let takes = model_bytes();
    for room in [1000, takes / 2, takes - 1] {
        let rig = Rig::new(room);
        let empty = Books::of(&rig.runtime);
        let error = rig.load(&model_folder("llama3"), EXACT).err().unwrap();
        assert_eq!(error.code(), ErrorCode::MemoryRefused, "{error}");
        let numbers = error.numbers();
        assert!(numbers.bytes_asked > numbers.bytes_free && numbers.bytes_asked <= takes, "{error}");
        assert!(error.message().contains(&numbers.bytes_asked.to_string()), "{error}");
        rig.assert_back(&empty, "a refused load");
    }
    assert!(Rig::new(takes).load(&model_folder("llama3"), EXACT).is_ok());
}

#[test]
fn a_load_takes_the_kv_of_idle_sessions_and_not_of_running_ones() {
    let (rig, model) = beside_model(model_bytes() + BLOCK, &[]);
    let open = session(&model);
    let request = ask_tokens(&ids(1, 40), 12);
    let first = run(&open, &request);
    let again = session(&model);
    let other = Scratch::model("llama3");
    rig.clock.hold();
    let mut stream = again.stream(&request, None, &Cancel::new()).unwrap();
    let error = rig.load(other.path(), EXACT).err().unwrap();
    assert_eq!(error.code(), ErrorCode::MemoryRefused, "{error}");
    rig.clock.open();
    while !matches!(stream.next(None).unwrap(), Polled::Finished(_)) {}
    let second = rig.load(other.path(), EXACT).unwrap();
    assert_eq!((open.kv_bytes(), again.kv_bytes()), (0, 0));
    drop(second);
    let fresh = session(&model);
    assert_eq!(run(&fresh, &request).ids, first.ids);
    model.check_integrity().unwrap();
}
