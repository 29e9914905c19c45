//! Vocabularies of every kind give the ids and the text that Hugging Face's tokenizers and SentencePiece give, over two
//! thousand strings. The golden file has a digest for each kind and string.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[cfg(feature = "native")]
mod common;

use plimsoll::text::{GgufVocab, Tokenizer};
use serde_json::Value;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/kinds")
}

fn read(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder().join(name)).unwrap()).unwrap()
}

/// SentencePiece's normalisation rules, as tokenizer.json writes them.
fn rules() -> String {
    std::fs::read_to_string(folder().join("nmt_nfkc.base64")).unwrap().trim_end().to_owned()
}

fn names<'a>(golden: &'a Value, key: &str) -> Vec<&'a str> {
    golden[key].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

fn texts<T: for<'a> From<&'a str>>(value: &Value) -> Vec<T> {
    value.as_array().unwrap().iter().map(|text| T::from(text.as_str().unwrap())).collect()
}

fn ints(value: &Value) -> Vec<i32> {
    value.as_array().unwrap().iter().map(|int| i32::try_from(int.as_i64().unwrap()).unwrap()).collect()
}

/// CRC-32 of the ids in decimal, a line break and the text.
fn digest(ids: &[u32], text: &str) -> u32 {
    let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
    let line = [&ids.join(" "), "\n", text].concat();
    !line.bytes().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0xEDB8_8320 } else { 0 })
    })
}

fn decode(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    let (mut text, mut detokenizer) = (String::new(), tokenizer.detokenizer());
    for id in ids {
        detokenizer.push(*id, &mut text);
    }
    detokenizer.finish(&mut text);
    text
}

/// The strings that come out otherwise than in the golden file.
fn compare(golden: &Value, name: &str, tokenizer: &Tokenizer, literal: bool) -> Vec<String> {
    let digests = golden["digests"][name].as_str().unwrap();
    let strings = golden["texts"].as_array().unwrap();
    assert!(strings.len() >= 2000 && digests.len() == strings.len() * 8);
    let mut wrong = Vec::new();
    for (at, text) in strings.iter().map(|text| text.as_str().unwrap()).enumerate() {
        let expected = u32::from_str_radix(&digests[at * 8..at * 8 + 8], 16).unwrap();
        let found = match literal {
            true => tokenizer.encode_literal(text, false),
            false => tokenizer.encode(text, false),
        };
        let shown =
            format!("{text:?} gives {:?}", found.as_ref().map(|ids| (ids.clone(), decode(tokenizer, ids))));
        if !found.is_ok_and(|ids| digest(&ids, &decode(tokenizer, &ids)) == expected) {
            wrong.push(shown);
        }
    }
    wrong
}

#[test]
fn every_kind_of_tokenizer_json_equals_hugging_face() {
    let golden = read("digests.json");
    for name in names(&golden, "tokenizer_json") {
        let mut file = read(&format!("{name}.json"));
        if let Some(steps) = file.pointer_mut("/normalizer/normalizers").and_then(Value::as_array_mut) {
            for step in steps.iter_mut().filter(|step| step["type"] == "Precompiled") {
                step["precompiled_charsmap"] = rules().into();
            }
        }
        let tokenizer = Tokenizer::from_json(file.to_string().as_bytes()).unwrap();
        let wrong = compare(&golden, name, &tokenizer, false);
        assert!(wrong.is_empty(), "{name}: {} strings: {:#?}", wrong.len(), &wrong[..wrong.len().min(5)]);
    }
}

/// The tables that a GGUF file of a byte-level tokenizer has: tokens, types, merges.
fn tables(file: &Value) -> (Vec<String>, Vec<i32>, Vec<String>) {
    let mut tokens: Vec<(u64, String, i32)> = Vec::new();
    for (token, id) in file["model"]["vocab"].as_object().unwrap() {
        tokens.push((id.as_u64().unwrap(), token.clone(), 1));
    }
    for token in file["added_tokens"].as_array().unwrap() {
        let kind = if token["special"] == true { 3 } else { 4 };
        tokens.push((token["id"].as_u64().unwrap(), token["content"].as_str().unwrap().into(), kind));
    }
    tokens.sort();
    let merges = file["model"]["merges"].as_array().unwrap().iter();
    let merges = merges.map(|pair| format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()));
    let merges = merges.collect();
    let (tokens, types) = tokens.into_iter().map(|(_, token, kind)| (token, kind)).unzip();
    (tokens, types, merges)
}

#[test]
fn every_named_pre_tokeniser_equals_hugging_face() {
    let golden = read("digests.json");
    for pre in names(&golden, "byte_level") {
        let (tokens, token_types, merges) = tables(&read(&format!("{pre}.json")));
        let vocab = GgufVocab {
            model: "gpt2",
            tokens: &tokens,
            token_types: &token_types,
            merges: &merges,
            pre,
            ..GgufVocab::default()
        };
        let wrong = compare(&golden, pre, &Tokenizer::from_gguf(&vocab).unwrap(), false);
        assert!(wrong.is_empty(), "{pre}: {} strings: {:#?}", wrong.len(), &wrong[..wrong.len().min(5)]);
    }
}

/// The tokenizer of a SentencePiece model's tables.
fn scored(name: &str) -> Tokenizer {
    let file = read(&format!("{name}.tables.json"));
    let scores: Vec<f32> =
        file["scores"].as_array().unwrap().iter().map(|score| score.as_f64().unwrap() as f32).collect();
    let id = |key: &str| file[key].as_i64().and_then(|id| u32::try_from(id).ok());
    let tokens: Vec<String> = texts(&file["tokens"]);
    let charsmap = if file["charsmap"] == true { base64(&rules()) } else { Vec::new() };
    let vocab = GgufVocab {
        model: file["model"].as_str().unwrap(),
        tokens: &tokens,
        token_types: &ints(&file["token_type"]),
        scores: &scores,
        charsmap: &charsmap,
        unknown: id("unknown_token_id"),
        bos: id("bos_token_id"),
        eos: id("eos_token_id"),
        add_space_prefix: file["add_space_prefix"].as_bool(),
        remove_extra_whitespaces: file["remove_extra_whitespaces"].as_bool(),
        ..GgufVocab::default()
    };
    let tokenizer = Tokenizer::from_gguf(&vocab).unwrap();
    let around = tokenizer.encode("x", true).unwrap();
    match vocab.model {
        "llama" => assert_eq!(around.first(), vocab.bos.as_ref()),
        _ => assert_eq!(around.last(), vocab.eos.as_ref()),
    }
    tokenizer
}

#[test]
fn scored_vocabularies_equal_sentencepiece() {
    let golden = read("digests.json");
    for name in names(&golden, "sentencepiece") {
        // SentencePiece takes control tokens in a text for text.
        let wrong = compare(&golden, name, &scored(name), true);
        assert!(wrong.is_empty(), "{name}: {} strings: {:#?}", wrong.len(), &wrong[..wrong.len().min(5)]);
    }
}

/// Files that gguf-py wrote of the same tables.
#[cfg(feature = "native")]
#[test]
fn scored_vocabularies_load_from_gguf_files() {
    let (golden, rig) = (read("digests.json"), common::Rig::new(common::PLENTY));
    for name in ["spm-bpe", "spm-unigram"] {
        let model = rig.load(&folder().join(format!("{name}.gguf")), common::EXACT).unwrap();
        let tokenizer = scored(name);
        let mut compared = 0;
        for text in golden["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()) {
            let ids = tokenizer.encode_literal(text, false).unwrap();
            // The files' context is short, and a longer text is refused.
            if ids.len() < 100 {
                assert_eq!(model.tokenize_literal(text).unwrap(), ids, "{name} {text:?}");
                compared += 1;
            }
        }
        assert!(compared >= 2000, "{compared}");
    }
}

fn base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let groups = text.trim_end_matches('=').as_bytes().chunks(4);
    let decoded = groups.flat_map(|group| {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 6 | u32::from(digit(*byte)));
        let bytes = (bits << (6 * (4 - group.len()))).to_be_bytes();
        bytes[1..group.len()].to_vec()
    });
    decoded.collect()
}
