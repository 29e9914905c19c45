//! The bundled model's greedy answers, against transformers in f32.

#![cfg(feature = "native")]
#![allow(clippy::unwrap_used)]

mod common;

use common::{EXACT, PLENTY, Rig, ask, ask_tokens, golden_json, run, session};
use plimsoll::{Ending, Input, Message, Model, Request, Session};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Where the two largest logits differ by no more than this part of the largest |logit|, rounding may choose: ten times
/// the bound that all logits are held to.
const UNSURE: f64 = 10.0 * 2e-4;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo")
}

/// The GGUF file beside the folder's own weights.
fn gguf() -> PathBuf {
    let files = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|ending| ending == "gguf")).last().unwrap()
}

/// An answer by transformers.
struct Record {
    messages: Vec<Message>,
    prompt: String,
    prompt_ids: Vec<u32>,
    ids: Vec<u32>,
    sure: Vec<bool>,
    ends: bool,
    text: String,
}

impl Record {
    fn read(value: &Value) -> Record {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let numbers = |key: &str| -> Vec<f64> {
            value[key].as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
        };
        let ids = |key: &str| -> Vec<u32> { numbers(key).into_iter().map(|id| id as u32).collect() };
        let message = |one: &Value| Message::new(text(&one["role"]), text(&one["content"]));
        let gaps = numbers("top2_gaps");
        let sure = gaps.iter().zip(numbers("max_abs_logits")).map(|(gap, most)| *gap > UNSURE * most);
        Record {
            messages: value["messages"].as_array().unwrap().iter().map(message).collect(),
            prompt: text(&value["prompt"]),
            prompt_ids: ids("prompt_ids"),
            ids: ids("ids"),
            sure: sure.collect(),
            ends: value["finish"] == "eos",
            text: text(&value["text"]),
        }
    }
}

fn records() -> (Vec<Record>, u32) {
    let file = golden_json("demo_greedy.json");
    let records: Vec<_> = file["records"].as_array().unwrap().iter().map(Record::read).collect();
    assert!(records.len() >= 20);
    (records, u32::try_from(file["max_tokens"].as_u64().unwrap()).unwrap())
}

#[test]
fn prompts_are_rendered_and_tokenised_as_by_transformers() {
    let rig = Rig::new(PLENTY);
    let (records, _) = records();
    for path in [folder(), gguf()] {
        let model = rig.load(&path, EXACT).unwrap();
        for record in &records {
            assert_eq!(model.render(&record.messages).unwrap(), record.prompt, "{path:?}");
            assert_eq!(
                model.tokenize(&record.prompt).unwrap(),
                record.prompt_ids,
                "{path:?}: {}",
                record.prompt
            );
        }
    }
}

/// How many of the ids are those of transformers up to where rounding may have chosen; fails on any that is not.
fn compare(ours: &[u32], record: &Record) -> usize {
    assert_eq!(ours.len(), record.ids.len());
    for (at, (id, expected)) in ours.iter().zip(&record.ids).enumerate() {
        if id != expected {
            assert!(!record.sure[at], "{:?}, token {at}: {id} is not {expected}", record.prompt);
            return at;
        }
    }
    ours.len()
}

#[test]
fn greedy_tokens_are_those_of_transformers_wherever_rounding_cannot_choose() {
    let (records, _) = records();
    for backend in ["cpu", "candle"] {
        let rig = Rig::new(PLENTY);
        let model = rig.load(&folder(), &[EXACT, &[("native.backend", backend)]].concat()).unwrap();
        let (mut same, mut all) = (0, 0);
        for record in &records {
            let answer = run(&session(&model), &ask_tokens(&record.prompt_ids, record.ids.len() as u32));
            same += compare(&answer.ids, record);
            all += record.ids.len();
        }
        assert!(same * 100 >= all * 95, "{backend}: only {same} of {all} tokens could be compared");
    }
}

/// A turn of a chat, whose answer ends by itself.
fn say(open: &Session, messages: &[Message], max_tokens: u32) -> (String, Ending, u32, u32) {
    let mut request: Request = ask(Input::Messages(messages.to_vec()), max_tokens);
    request.ignore_eos = false;
    let outcome = run(open, &request).outcome;
    (outcome.text, outcome.ending, outcome.prompt_tokens, outcome.cached_tokens)
}

#[test]
fn conversations_turn_by_turn_are_those_of_transformers() {
    let rig = Rig::new(PLENTY);
    let model: Model = rig.load(&folder(), EXACT).unwrap();
    let (records, max_tokens) = records();
    let (mut open, mut said) = (session(&model), Vec::new());
    let (mut answered, mut turns) = (0, 0);
    for record in records.iter().filter(|record| record.sure.iter().all(|&sure| sure)) {
        let first = record
            .messages
            .iter()
            .all(|message| !matches!(message, Message::Text { role, .. } if role == "assistant"));
        if first {
            (open, said) = (session(&model), Vec::new());
        }
        // A later turn needs the earlier ones in the session; they are there unless one was left out as unsure.
        let Some(new) = record.messages.strip_prefix(&said[..]) else { continue };
        let (text, ending, prompt_tokens, cached) = say(&open, new, max_tokens);
        assert_eq!(text, record.text, "{}", record.prompt);
        assert_eq!(ending, if record.ends { Ending::EndOfText } else { Ending::Length });
        assert_eq!(prompt_tokens as usize, record.prompt_ids.len(), "{}", record.prompt);
        assert_eq!(cached > 0, !first, "a later turn computes only what is new");
        said = record.messages.clone();
        said.push(Message::new("assistant", text));
        answered += 1;
        turns += usize::from(!first);
    }
    assert!(answered >= records.len() / 2 && turns > 0, "{answered} answers, {turns} of them later turns");
}
