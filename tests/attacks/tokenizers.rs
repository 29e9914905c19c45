//! tokenizer.json: K1, both while it is read and while it encodes.

use crate::attack::{Attack, Outcome, spoilt};
use crate::common::{Scratch, ask_text};
use plimsoll::ErrorCode::{self, InvalidArgument, PromptTooLong, Tokenizer};
use serde_json::{Value, json};

const FILE: &str = "tokenizer.json";

fn load(what: impl Into<String>, change: impl Fn(&mut Value) + 'static) -> Attack {
    let make = spoilt("llama3", move |folder: &Scratch| folder.edit(FILE, &change));
    Attack::load("K1", what, Tokenizer, make).but(Outcome::Refused)
}

/// The file loads, or is refused; if it loads, this text does not make it run away.
fn encode(what: &str, code: ErrorCode, text: &str, change: impl Fn(&mut Value) + 'static) -> Attack {
    let make = spoilt("llama3", move |folder: &Scratch| folder.edit(FILE, &change));
    Attack::ask("K1", what, code, ask_text(text, 2), make)
}

fn split(regex: &str) -> Value {
    let bytes =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    let split =
        json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
    json!({"type": "Sequence", "pretokenizers": [split, bytes]})
}

/// All of them.
pub(crate) fn all() -> Vec<Attack> {
    let mut attacks = Vec::new();
    let megabyte = "a".repeat(1 << 20);
    for (what, regex) in [
        ("a pattern of 1 MB", megabyte.as_str()),
        ("a pattern that compiles to gigabytes", "(?:(?:x{1000}){1000}){1000}"),
        ("a pattern that is not closed", "("),
    ] {
        let pre = split(regex);
        attacks.push(load(what, move |file| file["pre_tokenizer"] = pre.clone()));
    }
    for id in [json!(4_294_967_295_u32), json!(-1), json!(1_u64 << 40), json!("7"), json!(0.5)] {
        attacks.push(load(format!("a token with id {id}"), move |file| {
            file["model"]["vocab"]["!"] = id.clone()
        }));
    }
    attacks.push(load("two tokens of one id", |file| {
        let taken = file["model"]["vocab"]["!"].clone();
        file["model"]["vocab"]["\""] = taken;
    }));
    attacks.push(load("added tokens of 100,000", |file| {
        let many: Vec<_> =
            (0..100_000).map(|id| json!({"id": id + 1000, "content": format!("<{id}>")})).collect();
        file["added_tokens"] = json!(many);
    }));
    attacks.push(load("a normaliser that doubles 40 times", |file| {
        let double = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
        file["normalizer"] = json!({"type": "Sequence", "normalizers": vec![double; 40]});
    }));
    for charsmap in ["!!", "", "AAAA", "/////w==", "BAAAAAAAAAA="] {
        attacks.push(load(format!("a character map {charsmap:?}"), move |file| {
            file["normalizer"] = json!({"type": "Precompiled", "precompiled_charsmap": charsmap});
        }));
    }
    attacks.push(load("a post-processor with a token that is absent", |file| {
        file["post_processor"] = json!({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<no>", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}}], "pair": [], "special_tokens": {}});
    }));
    attacks.push(load("merges of absent tokens", |file| file["model"]["merges"] = json!([["no", "such"]])));

    // The first two have no look-around and no back reference: they are matched in linear time.
    for (what, regex, outcome) in [
        ("(a+)+$", "(a+)+$", Outcome::Harmless),
        ("(?:a|aa)+$", "(?:a|aa)+$", Outcome::Harmless),
        ("a look-ahead", "(?:a|aa)+(?!a)$", Outcome::Refused),
        ("a look-behind", "(?<!b)(?:a|aa)+(?<=a)$", Outcome::Refused),
        ("a back reference", r"(a+)+\1(?!.)", Outcome::Refused),
    ] {
        let (pre, text) = (split(regex), "a".repeat(40) + "b");
        attacks.push(
            encode(what, Tokenizer, &text, move |file| file["pre_tokenizer"] = pre.clone()).but(outcome),
        );
    }
    attacks.push(encode("a million carets", PromptTooLong, &"^".repeat(1_000_000), |_| {}));
    attacks.push(encode("a million letters that merge", PromptTooLong, &"a".repeat(1_000_000), |_| {}));
    attacks.push(
        encode("100 MB of text", InvalidArgument, &"a ".repeat(50_000_000), |_| {}).but(Outcome::Refused),
    );
    attacks
}
