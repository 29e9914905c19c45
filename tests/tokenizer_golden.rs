//! Tokens and text are exactly those of the Hugging Face tokenizers library, over a file of texts.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use plimsoll::text::{Detokenizer, GgufVocab, Tokenizer};
use serde_json::Value;
use std::path::Path;

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect()
}

fn decode(mut detokenizer: Detokenizer, ids: &[u32]) -> String {
    let mut text = String::new();
    for id in ids {
        detokenizer.push(*id, &mut text);
    }
    detokenizer.finish(&mut text);
    text
}

#[test]
fn equals_hugging_face() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let golden: Value = serde_json::from_str(include_str!("golden/tokens.json")).unwrap();
    let mut compared = 0;
    for (name, folder) in golden["folders"].as_object().unwrap() {
        let json = std::fs::read(root.join(folder.as_str().unwrap()).join("tokenizer.json")).unwrap();
        let tokenizer = Tokenizer::from_json(&json).unwrap();
        let prefix = ids(&golden["special_prefix"][name]);
        for record in golden["records"].as_array().unwrap() {
            let text = record["text"].as_str().unwrap();
            let expected = &record[name];
            let found = tokenizer.encode(text, false).unwrap();
            assert_eq!(found, ids(&expected["ids"]), "{name} {text:?}");
            let with_special = tokenizer.encode(text, true).unwrap();
            assert_eq!(with_special, [prefix.clone(), found.clone()].concat(), "{name} {text:?}");
            let hidden = decode(tokenizer.detokenizer(), &found);
            assert_eq!(hidden, expected["decoded_skip_special"].as_str().unwrap(), "{name} {text:?}");
            let shown = decode(tokenizer.detokenizer().show_special(), &found);
            assert_eq!(shown, expected["decoded"].as_str().unwrap(), "{name} {text:?}");
            compared += 1;
        }
    }
    assert!(compared >= 900, "{compared}");
}

/// The tables that a GGUF file of this tokenizer has.
fn tables(json: &Value) -> (Vec<String>, Vec<i32>, Vec<String>) {
    let mut spelled: Vec<(u64, String, i32)> = Vec::new();
    for (token, id) in json["model"]["vocab"].as_object().unwrap() {
        spelled.push((id.as_u64().unwrap(), token.clone(), 1));
    }
    for token in json["added_tokens"].as_array().unwrap() {
        let (id, kind) = (token["id"].as_u64().unwrap(), if token["special"] == true { 3 } else { 4 });
        spelled.retain(|(known, ..)| *known != id);
        spelled.push((id, token["content"].as_str().unwrap().to_owned(), kind));
    }
    spelled.sort();
    assert!(spelled.iter().enumerate().all(|(at, (id, ..))| at as u64 == *id));
    let merges = json["model"]["merges"].as_array().unwrap().iter().map(|merge| match merge {
        Value::String(line) => line.clone(),
        pair => format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()),
    });
    let merges = merges.collect();
    let (tokens, types) = spelled.into_iter().map(|(_, token, kind)| (token, kind)).unzip();
    (tokens, types, merges)
}

#[test]
fn the_tables_of_a_gguf_file_give_the_same() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let golden: Value = serde_json::from_str(include_str!("golden/tokens.json")).unwrap();
    for (name, pre) in [("llama3", "llama-bpe"), ("qwen2", "qwen2")] {
        let folder = root.join(golden["folders"][name].as_str().unwrap());
        let json = std::fs::read(folder.join("tokenizer.json")).unwrap();
        let (tokens, token_types, merges) = tables(&serde_json::from_slice(&json).unwrap());
        let bos = ids(&golden["special_prefix"][name]).first().copied();
        let vocab = GgufVocab {
            model: "gpt2",
            tokens: &tokens,
            token_types: &token_types,
            merges: &merges,
            pre,
            bos,
            add_bos: Some(bos.is_some()),
            ..GgufVocab::default()
        };
        let tokenizer = Tokenizer::from_gguf(&vocab).unwrap();
        assert_eq!(tokenizer.encode("x", true).unwrap().len(), 1 + usize::from(bos.is_some()));
        for record in golden["records"].as_array().unwrap() {
            let text = record["text"].as_str().unwrap();
            let found = tokenizer.encode(text, false).unwrap();
            assert_eq!(found, ids(&record[name]["ids"]), "{name} {text:?}");
            let decoded = record[name]["decoded_skip_special"].as_str().unwrap();
            assert_eq!(decode(tokenizer.detokenizer(), &found), decoded, "{name} {text:?}");
        }
    }
}
