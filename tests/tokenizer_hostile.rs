//! Tokenizers that contradict themselves, ask for too much, or fail on a text: each gives a clear error.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use plimsoll::text::{GgufVocab, TextError, Tokenizer};
use serde_json::{Value, json};

/// A small byte-level tokenizer: the letters a, b and c, a space, and `ab`.
fn good() -> Value {
    json!({
        "added_tokens": [{"id": 5, "content": "<|end|>", "special": true}],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "c": 2, "Ġ": 3, "ab": 4}, "merges": [["a", "b"]]}
    })
}

fn load(json: &Value) -> Result<Tokenizer, TextError> {
    Tokenizer::from_json(json.to_string().as_bytes())
}

fn with(path: &str, value: Value) -> Value {
    let mut json = good();
    *json.pointer_mut(path).unwrap() = value;
    json
}

fn refused(json: &Value) -> String {
    let message = load(json).expect_err(&json.to_string()[..200.min(json.to_string().len())]).to_string();
    assert!(message.len() < 500, "{message}");
    message
}

#[test]
fn the_small_tokenizer_works() {
    let tokenizer = load(&good()).unwrap();
    assert_eq!(tokenizer.encode("ab c<|end|>", false).unwrap(), [4, 3, 2, 5]);
    assert_eq!((tokenizer.vocab_size(), tokenizer.id_of("<|end|>")), (6, Some(5)));
    assert!(tokenizer.is_special(5) && !tokenizer.is_special(4) && !tokenizer.is_special(u32::MAX));
    assert_eq!(tokenizer.token_bytes(3), Some(&b" "[..]));
    assert_eq!(tokenizer.token_bytes(6), None);
    // Without a token for `<` the literal reading is an error, never the control token.
    assert!(matches!(tokenizer.encode_literal("a<|end|>"), Err(TextError::Encode(_))));
}

#[test]
fn what_is_not_json_or_not_a_tokenizer() {
    for bytes in [&b""[..], b"{", b"[]", b"null", b"{}", b"\xff\xfe", b"{\"model\": 1}"] {
        assert!(Tokenizer::from_json(bytes).is_err(), "{bytes:?}");
    }
    let deep = "[".repeat(100_000);
    assert!(Tokenizer::from_json(deep.as_bytes()).is_err());
    let whole = good().to_string();
    for end in 0..whole.len() {
        assert!(Tokenizer::from_json(&whole.as_bytes()[..end]).is_err(), "{end}");
    }
}

#[test]
fn ids_and_merges() {
    for id in
        [json!(4_294_967_295_u32), json!(-1), json!(4_194_304), json!(1.5), json!("1"), json!(1_u64 << 40)]
    {
        refused(&with("/model/vocab/c", id));
    }
    assert!(refused(&with("/model/vocab/c", json!(0))).contains("two tokens have the id 0"));
    for merges in [json!([["a", "x"]]), json!([["b", "a"]]), json!(["ab"]), json!([["a"]]), json!([1])] {
        refused(&with("/model/merges", merges));
    }
    refused(&with("/added_tokens/0/id", json!(9)));
    let many: Vec<_> = (0..70_000).map(|id| json!({"id": id, "content": format!("<{id}>")})).collect();
    assert!(refused(&with("/added_tokens", json!(many))).contains("added tokens"));
}

#[test]
fn unsupported_parts_are_named() {
    assert!(refused(&with("/model/type", json!("WordPiece"))).contains("WordPiece"));
    assert!(refused(&with("/decoder", json!({"type": "CTC"}))).contains("CTC"));
    assert!(
        refused(&with("/normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "!!"})))
            .contains("Precompiled")
    );
    for (option, value) in [("dropout", json!(0.1)), ("continuing_subword_prefix", json!("##"))] {
        let mut json = good();
        json["model"][option] = value;
        assert!(refused(&json).contains(option));
    }
}

#[test]
fn growth_and_patterns() {
    let double = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
    assert!(
        refused(&with("/normalizer", json!({"type": "Sequence", "normalizers": vec![double; 12]})))
            .contains("growth")
    );
    let bytes =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    assert!(
        refused(&with("/pre_tokenizer", json!({"type": "Sequence", "pretokenizers": vec![bytes; 12]})))
            .contains("growth")
    );
    let split = |regex: &str| json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
    for regex in ["(", "a".repeat(1 << 20).as_str(), &"(".repeat(1000), "(?:(?:x{1000}){1000}){1000}"] {
        refused(&with("/pre_tokenizer", split(regex)));
    }
}

#[test]
fn a_text_that_makes_patterns_run_away() {
    let split = |regex: &str| {
        let split =
            json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
        let bytes =
            json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
        with("/pre_tokenizer", json!({"type": "Sequence", "pretokenizers": [split, bytes]}))
    };
    let text = "a".repeat(60) + "b";
    for regex in [r"(?:a|aa)+(?!a)$", r"(a+)+\1(?!.)"] {
        let tokenizer = load(&split(regex)).unwrap();
        assert!(matches!(tokenizer.encode(&text, false), Err(TextError::Encode(_))), "{regex}");
        // The same tokenizer goes on working.
        assert_eq!(tokenizer.encode("ab", false).unwrap().len(), 1);
    }
}

#[test]
fn long_texts() {
    let tokenizer = load(&good()).unwrap().with_max_text(1000);
    assert!(matches!(tokenizer.encode(&"a".repeat(1001), false), Err(TextError::TooLarge { .. })));
    assert_eq!(tokenizer.encode(&"ab".repeat(500), false).unwrap(), [4; 500]);
    let tokenizer = tokenizer.with_max_text(4 << 20);
    assert_eq!(tokenizer.encode(&"ab".repeat(500_000), false).unwrap().len(), 500_000);
    assert!(matches!(tokenizer.encode(&(" ".repeat(2_000_000) + "ab"), false), Err(TextError::Encode(_))));
}

#[test]
fn post_processors() {
    let template = |id: u32| {
        json!({
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<|end|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<|end|>": {"id": "<|end|>", "ids": [id], "tokens": ["<|end|>"]}}
        })
    };
    let tokenizer = load(&with("/post_processor", template(5))).unwrap();
    assert_eq!(tokenizer.encode("ab", true).unwrap(), [5, 4]);
    assert_eq!(tokenizer.encode("ab", false).unwrap(), [4]);
    refused(&with("/post_processor", template(6)));
    refused(&with("/post_processor", template(u32::MAX - 1)));
    refused(&with("/post_processor", json!({"type": "Bogus"})));
}

/// The tables of a GGUF file, changed by each case.
struct Tables {
    tokens: Vec<String>,
    types: Vec<i32>,
    merges: Vec<String>,
    pre: &'static str,
    bos: Option<u32>,
    add_bos: bool,
}

fn tables() -> Tables {
    Tables {
        tokens: ["a", "b", "c", "Ġ", "ab", "<|end|>"].map(str::to_owned).into(),
        types: vec![1, 1, 1, 1, 1, 3],
        merges: vec!["a b".into()],
        pre: "qwen2",
        bos: Some(5),
        add_bos: true,
    }
}

fn from_tables(change: impl FnOnce(&mut Tables)) -> Result<Tokenizer, TextError> {
    let mut tables = tables();
    change(&mut tables);
    Tokenizer::from_gguf(&GgufVocab {
        tokens: &tables.tokens,
        token_types: &tables.types,
        merges: &tables.merges,
        pre: tables.pre,
        bos: tables.bos,
        eos: None,
        eot: None,
        add_bos: tables.add_bos,
    })
}

#[test]
fn gguf_tables() {
    let tokenizer = from_tables(|_| {}).unwrap();
    assert_eq!(tokenizer.encode("ab c<|end|>", true).unwrap(), [5, 4, 3, 2, 5]);
    assert!(tokenizer.is_special(5));
    let unknown = from_tables(|tables| tables.pre = "no-such-name").unwrap_err().to_string();
    assert!(unknown.contains("no-such-name"));
    let wrong: [fn(&mut Tables); 9] = [
        |tables| tables.types.push(1),
        |tables| tables.types[0] = 99,
        |tables| tables.types[0] = 6,
        |tables| tables.tokens[1] = "a".into(),
        |tables| tables.merges[0] = "ab".into(),
        |tables| tables.merges[0] = "a x".into(),
        |tables| tables.merges[0] = "b a".into(),
        |tables| tables.bos = Some(6),
        |tables| tables.bos = None,
    ];
    for (case, change) in wrong.into_iter().enumerate() {
        assert!(from_tables(change).is_err(), "case {case}");
    }
    assert!(from_tables(|tables| (tables.tokens, tables.types) = (Vec::new(), Vec::new())).is_err());
}
