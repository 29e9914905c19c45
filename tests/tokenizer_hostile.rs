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
    assert!(matches!(tokenizer.encode_literal("a<|end|>", false), Err(TextError::Encode(_))));
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
    assert!(refused(&with("/model/type", json!("Bogus"))).contains("Bogus"));
    assert!(refused(&with("/decoder", json!({"type": "Bogus"}))).contains("Bogus"));
    assert!(refused(&with("/normalizer", json!({"type": "Bogus"}))).contains("Bogus"));
    assert!(
        refused(&with("/normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "!!"})))
            .contains("Precompiled")
    );
    let mut json = good();
    json["model"]["dropout"] = json!(0.1);
    assert!(refused(&json).contains("dropout"));
}

/// What the crate would panic over, or ask for gigabytes for.
#[test]
fn parts_that_the_crate_trusts() {
    for length in [u32::MAX, 4, 1024] {
        let mut rules = length.to_le_bytes().to_vec();
        rules.extend([0xFF; 512]);
        let rules = json!({"type": "Precompiled", "precompiled_charsmap": base64(&rules)});
        assert!(refused(&with("/normalizer", rules)).contains("normalisation rules"));
    }
    refused(&with("/pre_tokenizer", json!({"type": "FixedLength", "length": 0})));
    let mut json = good();
    json["model"]["continuing_subword_prefix"] = json!("###");
    assert!(refused(&json).contains("does not begin with `###`"));
    let deep =
        json!({"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a".repeat(100_000), -1.0]]});
    assert!(refused(&with("/model", deep)).contains("unigram token"));
    for vocab in [json!([]), json!([["a"]]), json!([["a", "b"]]), json!([["a", null]]), json!({"a": 0})] {
        refused(&with("/model", json!({"type": "Unigram", "unk_id": 0, "vocab": vocab})));
    }
    refused(&with("/model", json!({"type": "Unigram", "unk_id": 7, "vocab": [["a", 0.0]]})));
    refused(&with("/model", json!({"type": "WordLevel", "unk_token": "b", "vocab": {"a": 0}})));
    let words = json!({"type": "WordPiece", "unk_token": "a", "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 1_u64 << 40, "vocab": {"a": 0}});
    assert!(refused(&with("/model", words)).contains("characters of a word"));
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |group: &[u8]| {
        let bits =
            group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        let digit =
            |at: usize| if at <= group.len() { DIGITS[(bits >> (18 - 6 * at)) as usize % 64] } else { b'=' };
        [0, 1, 2, 3].map(|at| char::from(digit(at)))
    };
    bytes.chunks(3).flat_map(group).collect()
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
#[derive(Default)]
struct Tables {
    model: &'static str,
    tokens: Vec<String>,
    types: Vec<i32>,
    merges: Vec<String>,
    scores: Vec<f32>,
    charsmap: Vec<u8>,
    pre: &'static str,
    bos: Option<u32>,
    unknown: Option<u32>,
    add_bos: Option<bool>,
}

fn tables() -> Tables {
    Tables {
        model: "gpt2",
        tokens: ["a", "b", "c", "Ġ", "ab", "<|end|>"].map(str::to_owned).into(),
        types: vec![1, 1, 1, 1, 1, 3],
        merges: vec!["a b".into()],
        pre: "qwen2",
        bos: Some(5),
        add_bos: Some(true),
        ..Tables::default()
    }
}

/// SentencePiece's kinds: an unknown token, a control token, two bytes, a space, letters and a pair.
fn scored(model: &'static str) -> Tables {
    Tables {
        model,
        tokens: ["<unk>", "</s>", "<0x41>", "<0x0A>", "▁", "a", "b", "ab"].map(str::to_owned).into(),
        types: vec![2, 3, 6, 6, 1, 1, 1, 1],
        scores: vec![0.0, 0.0, 0.0, 0.0, -1.0, -2.0, -3.0, -1.5],
        unknown: Some(0),
        ..Tables::default()
    }
}

fn build(tables: &Tables) -> Result<Tokenizer, TextError> {
    Tokenizer::from_gguf(&GgufVocab {
        model: tables.model,
        tokens: &tables.tokens,
        token_types: &tables.types,
        merges: &tables.merges,
        scores: &tables.scores,
        charsmap: &tables.charsmap,
        pre: tables.pre,
        bos: tables.bos,
        unknown: tables.unknown,
        add_bos: tables.add_bos,
        ..GgufVocab::default()
    })
}

fn from_tables(change: impl FnOnce(&mut Tables)) -> Result<Tokenizer, TextError> {
    let mut tables = tables();
    change(&mut tables);
    build(&tables)
}

#[test]
fn gguf_tables() {
    let tokenizer = from_tables(|_| {}).unwrap();
    assert_eq!(tokenizer.encode("ab c<|end|>", true).unwrap(), [5, 4, 3, 2, 5]);
    assert!(tokenizer.is_special(5));
    let unknown = from_tables(|tables| tables.pre = "no-such-name").unwrap_err().to_string();
    assert!(unknown.contains("no-such-name"));
    let kind = from_tables(|tables| tables.model = "bogus").unwrap_err().to_string();
    assert!(kind.contains("bogus"));
    let wrong: [fn(&mut Tables); 11] = [
        |tables| tables.types.push(1),
        |tables| tables.types[0] = 99,
        |tables| tables.types[0] = 6,
        |tables| tables.tokens[1] = "a".into(),
        |tables| tables.merges[0] = "ab".into(),
        |tables| tables.merges[0] = "a x".into(),
        |tables| tables.merges[0] = "b a".into(),
        // Merges in a circle: each would need a token longer than itself.
        |tables| tables.merges = vec!["a b".into(), "ab a".into()],
        |tables| tables.bos = Some(6),
        |tables| tables.bos = None,
        |tables| tables.unknown = Some(6),
    ];
    for (case, change) in wrong.into_iter().enumerate() {
        assert!(from_tables(change).is_err(), "case {case}");
    }
    assert!(from_tables(|tables| (tables.tokens, tables.types) = (Vec::new(), Vec::new())).is_err());
}

#[test]
fn scored_tables() {
    let pairs = build(&scored("llama")).unwrap();
    assert_eq!(pairs.encode("ab\nA", false).unwrap(), [4, 7, 3, 2]);
    assert_eq!(pairs.encode("é", false).unwrap(), [4, 0]);
    let unigram = build(&scored("t5")).unwrap();
    assert_eq!(unigram.encode("ab\nA", false).unwrap(), [4, 7, 3, 2]);
    let wrong: [fn(&mut Tables); 14] = [
        |tables| tables.scores.truncate(7),
        |tables| tables.scores.push(0.0),
        |tables| tables.scores.clear(),
        |tables| tables.scores[5] = f32::NAN,
        |tables| tables.scores[5] = f32::NEG_INFINITY,
        |tables| tables.tokens[2] = "<0x-1>".into(),
        |tables| tables.tokens[2] = "<0xZZ>".into(),
        |tables| tables.tokens[2] = "<0x100>".into(),
        |tables| tables.tokens[6] = "a".into(),
        |tables| tables.unknown = Some(8),
        |tables| tables.charsmap = vec![0xFF; 3],
        |tables| tables.charsmap = vec![0xFF; 64],
        |tables| tables.charsmap = [vec![0, 4, 0, 0], vec![0x01; 1024]].concat(),
        |tables| tables.tokens[6] = "ab".repeat(40_000),
    ];
    for model in ["llama", "t5"] {
        for (case, change) in wrong.into_iter().enumerate() {
            let mut tables = scored(model);
            change(&mut tables);
            assert!(build(&tables).is_err(), "{model}, case {case}");
        }
        // Scores are only compared: equal ones, and control tokens without a letter, are no fault.
        let mut tables = scored(model);
        tables.scores = vec![0.0; 8];
        assert!(build(&tables).is_ok());
    }
}
