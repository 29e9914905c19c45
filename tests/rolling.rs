//! A model whose layers look back only so far: long requests in a budget that could not hold all their KV.

#![cfg(feature = "native")]
#![allow(clippy::unwrap_used)]

mod common;

use common::{
    Books, PLENTY, Rig, SESSION, agrees, ask_tokens, at_least, ids, kv_of, run, run_until, session,
};
use plimsoll::{Cancel, Decision, Flow, Reason};

/// One block of 16 tokens in both layers of the golden Mistral: 2 heads of 16 keys and 16 values in f32 each.
const BLOCK: u64 = 2 * 16 * 2 * (16 + 16) * 4;

/// Ids of the smaller vocabulary.
fn prompt(seed: u32, count: usize) -> Vec<u32> {
    ids(seed, count).into_iter().map(|id| id % 256).collect()
}

#[test]
fn a_request_longer_than_the_window_fits_where_all_of_its_kv_would_not() {
    let model_bytes = {
        let rig = Rig::new(PLENTY);
        let _model = rig.golden("mistral");
        Books::of(&rig.runtime).used
    };
    let request = at_least(60, &ask_tokens(&prompt(1, 40), 60));
    let own = {
        let rig = Rig::new(PLENTY);
        let model = rig.golden("mistral");
        session(&model).what_if(&request).unwrap().request_bytes
    };
    // All of 100 tokens would take seven blocks. A step of 40 takes three; a window of eight and a token, two at worst.
    let rig = Rig::with(model_bytes + own + 3 * BLOCK + SESSION, &[]);
    let model = rig.golden("mistral");
    let open = session(&model);
    let verdict = agrees(&open, &request);
    assert_eq!((verdict.decision, verdict.reason), (Decision::Accept, Reason::Fits));
    assert_eq!((verdict.kv_bytes, verdict.bytes_free - verdict.bytes_asked), (3 * BLOCK, 0));

    let before = Books::of(&rig.runtime);
    let mut held = Vec::new();
    let answer = run_until(&open, &request, &Cancel::new(), |_| {
        held.push(kv_of(&rig.runtime.memory(), &open));
        Flow::Continue
    });
    assert_eq!(answer.ids.len(), 60);
    assert!(held.iter().all(|held| *held <= 3 * BLOCK), "{held:?}");
    assert!(*held.last().unwrap() <= 2 * BLOCK, "what lies behind the window has returned: {held:?}");
    // Position 99 looks back to 92: blocks 5 and 6 stay.
    assert_eq!(open.kv_bytes(), 2 * BLOCK);
    rig.runtime.guard().check_integrity().unwrap();
    model.check_integrity().unwrap();
    open.reset().unwrap();
    rig.assert_back(&before, "a reset frees the window");

    // The same text where there is room for everything, a layer of which would be refused here.
    let plenty = Rig::new(PLENTY);
    let same = run(&session(&plenty.golden("mistral")), &request);
    assert_eq!(same.ids, answer.ids);
}

#[test]
fn a_next_turn_goes_on_from_the_window() {
    let rig = Rig::new(PLENTY);
    let model = rig.golden("mistral");
    let open = session(&model);
    let mut text = prompt(2, 40);
    text.extend(run(&open, &ask_tokens(&text, 25)).ids);
    let next = run(&open, &ask_tokens(&prompt(3, 7), 10));
    text.extend(prompt(3, 7));
    let other = session(&model);
    let scratch = run(&other, &ask_tokens(&text, 10));
    assert_eq!(next.ids, scratch.ids);
    assert_eq!((next.outcome.cached_tokens, scratch.outcome.cached_tokens), (64, 0));
    model.check_integrity().unwrap();
}
