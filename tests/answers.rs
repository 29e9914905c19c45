//! Several answers of one request: priced together, granted together, generated side by side.

#![cfg(feature = "native")]
#![allow(clippy::unwrap_used)]

mod common;

use common::{
    BLOCK, Books, EXACT, PLENTY, Rig, Scratch, agrees, ask_tokens, ask_user, at_least, config, ids, run,
    session,
};
use plimsoll::guard::What;
use plimsoll::{
    Cancel, Decision, Ending, ErrorCode, Flow, MAX_ANSWERS, Model, Outcome, Polled, Reason, Request, Session,
};
use plimsoll_engine::{Owner, Region};
use std::path::Path;
use std::time::Duration;

/// The bundled model, comparable to the bit.
fn demo(rig: &Rig) -> Model {
    rig.load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo"), EXACT).unwrap()
}

/// So many answers, drawn from a seed.
fn drawn(answers: u32, seed: u64) -> Request {
    let mut request = several(answers, &ask_user("What is a lease?", 40));
    request.ignore_eos = false;
    // The bundled model is sure of itself: it takes much to draw anything else.
    (request.sampling.temperature, request.sampling.seed) = (6.0, Some(seed));
    request
}

fn several(answers: u32, request: &Request) -> Request {
    let mut request = request.clone();
    request.answers = answers;
    request
}

/// What was read of each answer.
#[derive(Clone, Debug, Default, PartialEq)]
struct Read {
    text: String,
    ids: Vec<u32>,
}

/// Runs a request and reads all of it. The pieces must make up the texts.
fn run_all(open: &Session, request: &Request) -> (Vec<Read>, Outcome) {
    let mut read = vec![Read::default(); request.answers as usize];
    let outcome = open
        .generate(request, None, &Cancel::new(), |event| {
            let answer = &mut read[event.answer as usize];
            answer.text.push_str(event.text);
            answer.ids.extend(event.token.map(|token| token.id));
            Flow::Continue
        })
        .unwrap();
    assert_eq!(outcome.answers().count(), read.len());
    for (answer, read) in outcome.answers().zip(&read) {
        assert_eq!((&answer.text, answer.generated_tokens as usize), (&read.text, read.ids.len()));
        assert_eq!((answer.verdict, answer.prompt_tokens), (outcome.verdict, outcome.prompt_tokens));
    }
    (read, outcome)
}

#[test]
fn an_answer_is_what_a_request_for_one_gets_with_its_seed() {
    let rig = Rig::new(PLENTY);
    let model = demo(&rig);
    let (four, outcome) = run_all(&session(&model), &drawn(4, 7));
    assert_eq!(four, run_all(&session(&model), &drawn(4, 7)).0, "the same seed gives the same answers");
    for (seed, read) in (7..).zip(&four) {
        let alone = run(&session(&model), &drawn(1, seed));
        assert_eq!((&alone.outcome.text, &alone.ids), (&read.text, &read.ids), "seed {seed}");
        assert!(alone.outcome.others.is_empty());
    }
    assert!(four.iter().any(|read| read.ids != four[0].ids), "seeds that differ draw differently: {four:?}");
    assert_eq!(outcome.text, four[0].text);
    let mut largest = drawn(2, u64::MAX);
    assert_eq!(largest.seed_of(1), Some(0));
    let (two, _) = run_all(&session(&model), &largest);
    assert_eq!(two[1].ids, run(&session(&model), &drawn(1, 0)).ids);
    largest.sampling.seed = None;
    assert_eq!(run_all(&session(&model), &largest).1.others.len(), 1);
}

#[test]
fn greedy_answers_are_equal_and_come_in_turns() {
    let rig = Rig::new(PLENTY);
    let model = demo(&rig);
    let open = session(&model);
    let request = several(3, &ask_user("Hello!", 12));
    let mut order = Vec::new();
    let outcome = open
        .generate(&request, None, &Cancel::new(), |event| {
            order.push(event.answer);
            Flow::Continue
        })
        .unwrap();
    let alone = run(&session(&model), &several(1, &request));
    for answer in outcome.answers() {
        assert_eq!((&answer.text, answer.ending), (&alone.outcome.text, Ending::Length));
    }
    let changes = order.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(changes > 12, "nobody's tokens wait for another's end: {order:?}");
}

#[test]
fn a_price_is_that_of_one_answer_as_often() {
    let rig = Rig::new(PLENTY);
    let model = rig.golden("llama3");
    let none_open = Books::of(&rig.runtime);
    for answers in [1_u32, 2, 5, MAX_ANSWERS] {
        let (open, times) = (session(&model), u64::from(answers));
        let mut held = 0;
        for turn in 0..2 {
            let mut one = ask_tokens(&ids(turn, 20), 12);
            (one.sampling.top_logprobs, one.sampling.repetition_penalty) = (2, 1.1);
            let single = open.what_if(&one).unwrap();
            let request = several(answers, &one);
            let before = Books::of(&rig.runtime);
            let verdict = agrees(&open, &request);
            assert_eq!((verdict.answers, verdict.granted_tokens), (answers, 12));
            assert_eq!((verdict.kv_bytes, verdict.kv_held), (times * single.kv_bytes, held));
            assert_eq!(verdict.request_bytes, times * single.request_bytes);
            assert_eq!(verdict.ring_bytes, times * single.ring_bytes);
            assert_eq!(verdict.workspace_bytes, single.workspace_bytes);
            assert_eq!(verdict.bytes_asked, times * (single.kv_bytes + single.request_bytes) - held);

            let (_, ticket) = open.admit(&request).unwrap();
            let ticket = ticket.unwrap();
            let with = Books::of(&rig.runtime);
            assert_eq!(with.used - before.used, verdict.bytes_asked);
            assert_eq!(with.kv - before.kv, times * single.kv_bytes - held, "one session holds all of it");
            assert_eq!(open.kv_bytes(), times * single.kv_bytes);
            let new = ticket.items().into_iter().filter(|item| item.what.is_new());
            assert_eq!(new.map(|item| item.bytes).sum::<u64>(), verdict.bytes_asked);
            let kv = ticket.items().into_iter().find(|item| item.what == What::Kv).unwrap();
            assert_eq!(kv.owner, Some(Owner::Kv(plimsoll_engine::SessionKey(open.id()))));
            assert_eq!(ticket.to_json()["answers"], answers);
            drop(ticket);
            rig.assert_back(&before, "the ticket is gone");

            run_all(&open, &request);
            model.check_integrity().unwrap();
            held = open.kv_bytes();
            // 20 new tokens and 12 generated, the last of which was never fed.
            assert_eq!(held, u64::from((turn + 1) * 32 - 1).div_ceil(16) * BLOCK);
            assert_eq!(Books::of(&rig.runtime).kv, held, "only the first answer's KV is kept");
        }
        // The engine gives a closed session's KV back in its own time.
        drop(open);
        rig.assert_back(&none_open, "the session is closed");
    }
}

#[test]
fn what_a_session_holds_too_much_of_pays_for_no_other_answer() {
    let rig = Rig::new(PLENTY);
    // A template that forgets: the second turn is shorter than what the session holds of the first.
    let folder = Scratch::model("llama3");
    folder.edit("tokenizer_config.json", |config| {
        config["chat_template"] = "{{ messages[-1]['content'] }}".into();
    });
    let model = rig.load(folder.path(), EXACT).unwrap();
    let open = session(&model);
    run(&open, &ask_user(&"a lease is owned ".repeat(9), 60));
    let held = open.kv_bytes();
    let single = open.what_if(&ask_user("short", 4)).unwrap();
    assert!(single.kv_bytes < held && single.bytes_asked == single.request_bytes);
    let request = several(3, &ask_user("short", 4));
    let verdict = agrees(&open, &request);
    assert_eq!((verdict.kv_held, verdict.kv_bytes), (held, 3 * single.kv_bytes));
    assert_eq!(verdict.bytes_asked, 2 * single.kv_bytes + verdict.request_bytes);
    let before = Books::of(&rig.runtime);
    let (_, ticket) = open.admit(&request).unwrap();
    assert_eq!(Books::of(&rig.runtime).used - before.used, verdict.bytes_asked);
    let items = ticket.as_ref().unwrap().items();
    let bytes = |what| items.iter().find(|item| item.what == what).unwrap().bytes;
    assert_eq!((bytes(What::Kv), bytes(What::KvHeld)), (2 * single.kv_bytes, single.kv_bytes));
    drop(ticket);
    run_all(&open, &request);
    model.check_integrity().unwrap();
    assert_eq!(Books::of(&rig.runtime).kv, open.kv_bytes());
}

#[test]
fn no_more_is_held_than_was_granted() {
    for name in ["llama3", "gemma3", "qwen2-window"] {
        let rig = Rig::new(PLENTY);
        let model = rig.golden(name);
        let open = session(&model);
        let before = rig.runtime.memory().host().used;
        let (_, outcome) = run_all(&open, &several(4, &ask_tokens(&[9; 50], 30)));
        let peak = rig.runtime.memory().host().peak;
        assert_eq!(peak - before, outcome.verdict.bytes_asked, "{name}");
        model.check_integrity().unwrap();
        let one = open.kv_bytes();
        assert!(one > 0 && one <= outcome.verdict.kv_bytes / 4);
        drop(open);
        common::eventually("the session is gone", || rig.runtime.memory().host().used == before);
    }
}

#[test]
fn a_shrunk_request_has_as_many_tokens_in_each_answer_as_fit() {
    let fixed = {
        let rig = Rig::new(PLENTY);
        let _model = rig.golden("llama3");
        Books::of(&rig.runtime).used
    };
    let mut granted = Vec::new();
    for answers in [1, 2, 3, 4] {
        let rig = Rig::new(fixed + 14 * BLOCK);
        let model = rig.golden("llama3");
        let open = session(&model);
        let request = several(answers, &ask_tokens(&ids(4, 20), 10_000));
        let verdict = agrees(&open, &request);
        let Decision::Shrink = verdict.decision else { panic!("{verdict}") };
        let fits = verdict.granted_tokens;
        let (read, outcome) = run_all(&open, &request);
        assert!(read.iter().all(|read| read.ids.len() == fits as usize), "{verdict}");
        assert!(outcome.answers().all(|answer| answer.ending == Ending::Length));
        open.reset().unwrap();
        // One token more is refused for good or for the context, with the numbers.
        let refused = agrees(&open, &at_least(fits + 1, &request));
        assert_eq!(
            (refused.decision, refused.fits_tokens, refused.answers),
            (Decision::Reject, fits, answers)
        );
        let mut exact = request.clone();
        (exact.max_tokens, exact.min_tokens) = (fits + 1, fits + 1);
        let refused = agrees(&open, &exact);
        if refused.reason == Reason::Budget {
            assert!(refused.bytes_asked > refused.bytes_free, "{refused}");
            let error = open.generate(&exact, None, &Cancel::new(), |_| Flow::Continue).unwrap_err();
            assert_eq!(error.code(), ErrorCode::MemoryRefused);
            assert_eq!(error.numbers().bytes_asked, refused.bytes_asked);
            assert_eq!(error.numbers().fits_tokens, fits);
        }
        granted.push(fits);
    }
    assert!(granted.is_sorted_by(|more, fewer| more > fewer), "{granted:?}");
}

#[test]
fn a_sessions_limit_is_for_all_answers() {
    let rig = Rig::new(PLENTY);
    let model = rig.golden("llama3");
    let open = Session::open(&model, &config(&[("session.kv_limit_mb", "1")])).unwrap();
    let most = (1 << 20) / BLOCK;
    // Answers of 8 blocks each.
    let request = |answers| at_least(100, &several(answers, &ask_tokens(&ids(5, 28), 100)));
    let fits = u32::try_from(most / 8).unwrap();
    assert_eq!(agrees(&open, &request(fits)).decision, Decision::Accept);
    let refused = agrees(&open, &request(fits + 1));
    assert_eq!((refused.decision, refused.reason), (Decision::Reject, Reason::SessionLimit));
    assert_eq!(refused.retry_after, None);
}

#[test]
fn a_request_has_from_one_to_so_many_answers() {
    let rig = Rig::new(PLENTY);
    let model = rig.golden("llama3");
    for answers in [0, MAX_ANSWERS + 1, u32::MAX] {
        let request = several(answers, &ask_tokens(&[1, 2], 2));
        let error = session(&model).what_if(&request).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidArgument);
    }
    let (read, _) = run_all(&session(&model), &several(MAX_ANSWERS, &ask_tokens(&[1, 2], 2)));
    assert!(read.iter().all(|answer| answer.ids == read[0].ids));
}

#[test]
fn a_stop_string_ends_its_answer_alone() {
    let rig = Rig::new(PLENTY);
    let model = demo(&rig);
    let (read, _) = run_all(&session(&model), &drawn(4, 11));
    // A word that one answer has and the first has not.
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let (at, word) = (1..4)
        .flat_map(|at| words(&read[at].text).into_iter().map(move |word| (at, word)))
        .find(|(_, word)| word.len() > 3 && !read[0].text.contains(word.as_str()))
        .unwrap();
    let mut request = drawn(4, 11);
    request.add_stop(&word).unwrap();
    let (again, outcome) = run_all(&session(&model), &request);
    for (answer, (before, after)) in outcome.answers().zip(read.iter().zip(&again)) {
        let cut = before.text.find(&word);
        assert_eq!(answer.ending == Ending::StopString, cut.is_some(), "{word}");
        assert_eq!(after.text, before.text[..cut.unwrap_or(before.text.len())]);
    }
    assert!(outcome.others[at - 1].ending == Ending::StopString && outcome.ending != Ending::StopString);
}

#[test]
fn the_conversation_goes_on_with_the_first_answer() {
    let rig = Rig::new(PLENTY);
    let model = demo(&rig);
    let (many, one) = (session(&model), session(&model));
    let (_, first) = run_all(&many, &drawn(4, 3));
    assert_eq!(first.text, run(&one, &drawn(1, 3)).outcome.text);
    assert_eq!(many.kv_bytes(), one.kv_bytes());
    let next = ask_user("Thank you!", 20);
    let (after_many, after_one) = (run(&many, &next), run(&one, &next));
    assert_eq!(
        (after_many.ids, after_many.outcome.cached_tokens),
        (after_one.ids, after_one.outcome.cached_tokens)
    );
    assert!(after_many.outcome.cached_tokens > 0);
    model.check_integrity().unwrap();
}

/// Reads so many events of a stream.
fn read_some(open: &Session, request: &Request, events: usize) -> plimsoll::Stream {
    let mut stream = open.stream(request, None, &Cancel::new()).unwrap();
    for _ in 0..events {
        assert!(matches!(stream.next(None).unwrap(), Polled::Event(_)));
    }
    stream
}

fn rest(mut stream: plimsoll::Stream) -> Outcome {
    loop {
        match stream.next(None).unwrap() {
            Polled::Finished(outcome) => return outcome,
            Polled::Event(_) | Polled::TimedOut => {}
        }
    }
}

#[test]
fn however_it_ends_the_bytes_are_back() {
    for lanes in ["8", "2"] {
        let rig = Rig::new(PLENTY);
        let model =
            rig.load(&common::model_folder("llama3"), &[EXACT, &[("native.max_sequences", lanes)]].concat());
        let model = model.unwrap();
        let open = session(&model);
        let request = several(5, &ask_tokens(&ids(6, 20), 400));
        let before = Books::of(&rig.runtime);
        for events in [0, 1, 9] {
            // Dropped half way.
            drop(read_some(&open, &request, events));
            assert_eq!(Books::of(&rig.runtime).request, 0);
            // Cancelled.
            rig.clock.hold_after(20);
            let stream = read_some(&open, &request, events);
            stream.canceller().cancel();
            rig.clock.open();
            let outcome = rest(stream);
            assert!(outcome.answers().all(|answer| answer.ending == Ending::Cancelled), "{outcome:?}");
            // Stopped by its reader.
            let mut stream = read_some(&open, &request, events);
            stream.stop();
            let outcome = rest(stream);
            assert!(outcome.answers().all(|answer| answer.ending == Ending::Stopped), "{outcome:?}");
            let read: u32 = outcome.answers().map(|answer| answer.generated_tokens).sum();
            assert_eq!(read as usize, events);
            // Late.
            let mut late = request.clone();
            late.deadline = Some(Duration::from_secs(5));
            rig.clock.hold_after(20);
            let stream = read_some(&open, &late, 1);
            rig.clock.advance(Duration::from_secs(6));
            rig.clock.open();
            assert!(rest(stream).answers().all(|answer| answer.ending == Ending::Deadline));
            model.check_integrity().unwrap();
            assert_eq!(Books::of(&rig.runtime).kv, open.kv_bytes());
            open.reset().unwrap();
            rig.assert_back(&before, "after a reset");
        }
    }
}

#[test]
fn answers_that_find_no_lane_wait_for_one() {
    let rig = Rig::new(PLENTY);
    let settings = [EXACT, &[("native.max_sequences", "1")]].concat();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo");
    let model = rig.load(&folder, &settings).unwrap();
    let (read, _) = run_all(&session(&model), &drawn(3, 21));
    for (seed, read) in (21..).zip(&read) {
        assert_eq!(run(&session(&model), &drawn(1, seed)).ids, read.ids);
    }
}

#[test]
fn all_answers_have_one_place_in_the_queue() {
    let rig = Rig::new(PLENTY);
    let settings = [EXACT, &[("native.max_sequences", "1"), ("native.queue", "1")]].concat();
    let model = rig.load(&common::model_folder("llama3"), &settings).unwrap();
    let (first, second) = (session(&model), session(&model));
    rig.clock.hold();
    let request = several(9, &ask_tokens(&ids(8, 4), 40));
    let stream = first.stream(&request, None, &Cancel::new()).unwrap();
    let before = Books::of(&rig.runtime);
    let refused = second.generate(&request, None, &Cancel::new(), |_| Flow::Continue).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::QueueFull);
    assert_eq!(Books::of(&rig.runtime), before);
    rig.clock.open();
    assert!(rest(stream).answers().all(|answer| answer.generated_tokens == 40));
    model.check_integrity().unwrap();
}

#[test]
fn sessions_with_several_answers_run_side_by_side() {
    let rig = Rig::new(PLENTY);
    let model = demo(&rig);
    let before = Books::of(&rig.runtime);
    std::thread::scope(|scope| {
        for seed in 0..3 {
            let model = &model;
            scope.spawn(move || {
                let open = session(model);
                for turn in 0..3 {
                    let (read, outcome) = run_all(&open, &drawn(4, 100 * seed + turn));
                    assert_eq!(read.len(), 4);
                    assert!(outcome.answers().all(|answer| answer.generated_tokens > 0));
                }
            });
        }
    });
    rig.assert_back(&before, "all sessions are closed");
    model.check_integrity().unwrap();
    assert_eq!(rig.runtime.memory().region(Region::Host).unwrap().used, before.used);
}
