//! Paths that lead to no model, and files that were cut or lie about their sizes.

use crate::common::{Books, EXACT, PLENTY, Rig, Scratch, ask_tokens, golden, ids, run, session};
use crate::{alone, assert_error, bounded};
use plimsoll::{ErrorCode, Section};
use serde_json::json;
use std::path::{Path, PathBuf};

/// A runtime that is given bad models.
pub(crate) struct Loader {
    pub(crate) rig: Rig,
    empty: Books,
}

impl Loader {
    pub(crate) fn new() -> Loader {
        let rig = Rig::new(PLENTY);
        let empty = Books::of(&rig.runtime);
        Loader { rig, empty }
    }

    /// A load that must fail, and a good one after it.
    pub(crate) fn refuses(&self, what: &str, path: &Path, input_bytes: u64, code: ErrorCode, names: &str) {
        let error = bounded(what, input_bytes, || match self.rig.load(path, EXACT) {
            Ok(_) => panic!("{what}: it was loaded"),
            Err(error) => error,
        });
        let section = match code {
            ErrorCode::Tokenizer | ErrorCode::Template => Section::Request,
            _ => Section::Loading,
        };
        assert_error(what, &error, code, section, names);
        self.rig.assert_back(&self.empty, what);
        self.works(what);
    }

    pub(crate) fn works(&self, what: &str) {
        let model = self.rig.golden("llama3-newconfig");
        let answer = run(&session(&model), &ask_tokens(&ids(1, 9), 3));
        assert_eq!(answer.ids.len(), 3, "{what}");
        drop(model);
        self.rig.assert_back(&self.empty, what);
    }
}

#[test]
fn paths_that_are_no_models() {
    let _alone = alone();
    let loader = Loader::new();
    let scratch = Scratch::empty();
    let folder = Scratch::model("llama3-newconfig");
    let write = |name: &str, bytes: &[u8]| scratch.write(name, bytes);
    std::fs::create_dir(scratch.file("nothing")).unwrap();
    std::fs::remove_file(folder.file("config.json")).unwrap();
    let pipe = scratch.file("socket");
    let _socket = std::os::unix::net::UnixListener::bind(&pipe).unwrap();
    let unsupported = ErrorCode::ModelUnsupported;
    let cases: [(&str, PathBuf, ErrorCode, &str); 10] = [
        ("missing path", scratch.file("absent"), ErrorCode::ModelNotFound, "absent"),
        ("empty path", PathBuf::new(), ErrorCode::ModelNotFound, "no such file"),
        ("empty folder", scratch.file("nothing"), ErrorCode::ModelNotFound, "config.json"),
        ("folder without config", folder.path().into(), ErrorCode::ModelNotFound, "config.json"),
        ("no regular file", pipe, ErrorCode::ModelNotFound, "socket"),
        ("empty file", write("empty.gguf", b""), ErrorCode::ModelMalformed, "empty.gguf"),
        ("neither", write("notes.txt", b"dear diary"), unsupported, "notes.txt"),
        ("wrong magic", write("m.gguf", &[b"FUGG", &[3; 99][..]].concat()), unsupported, "m.gguf"),
        ("one shard", write("model.safetensors", b"\x02\0\0\0\0\0\0\0{}"), unsupported, "pass the folder"),
        ("a pickle", write("model.bin", b"PK\x03\x04pickle"), unsupported, "safetensors"),
    ];
    for (what, path, code, names) in cases {
        loader.refuses(what, &path, 4096, code, names);
    }
}

#[test]
fn weights_cut_at_every_hundredth_of_their_length() {
    let _alone = alone();
    let loader = Loader::new();
    let folder = Scratch::model("llama3-newconfig");
    let gguf = std::fs::read(golden("gguf/llama3-q8_0.gguf")).unwrap();
    let shard = folder.read("model.safetensors");
    let file = Scratch::empty();
    for percent in 0..100 {
        let cut = |whole: &[u8]| whole[..whole.len() * percent / 100].to_vec();
        folder.write("model.safetensors", cut(&shard));
        let what = format!("model.safetensors cut at {percent} %");
        loader.refuses(&what, folder.path(), folder.bytes(), ErrorCode::ModelMalformed, "model.safetensors");
        let path = file.write("cut.gguf", cut(&gguf));
        let what = format!("cut.gguf at {percent} %");
        loader.refuses(&what, &path, file.bytes(), ErrorCode::ModelMalformed, "cut.gguf");
    }
    folder.write("model.safetensors", shard);
    assert!(loader.rig.load(folder.path(), EXACT).is_ok(), "what was cut is sound as a whole");
    assert!(loader.rig.load(&file.write("cut.gguf", gguf), EXACT).is_ok());
}

#[test]
fn one_of_two_shards_cut_or_gone() {
    let _alone = alone();
    let loader = Loader::new();
    let folder = Scratch::model("llama-sharded");
    let name = "model-00002-of-00002.safetensors";
    let shard = folder.read(name);
    folder.write(name, &shard[..shard.len() - 1]);
    loader.refuses("a byte less", folder.path(), folder.bytes(), ErrorCode::ModelMalformed, name);
    folder.write(name, [&shard[..], b"x"].concat());
    loader.refuses("a byte more", folder.path(), folder.bytes(), ErrorCode::ModelMalformed, name);
    std::fs::remove_file(folder.file(name)).unwrap();
    loader.refuses("gone", folder.path(), folder.bytes(), ErrorCode::ModelNotFound, name);
}

#[test]
fn counts_that_no_file_has_room_for() {
    let _alone = alone();
    let loader = Loader::new();
    let scratch = Scratch::empty();
    let gguf = std::fs::read(golden("gguf/llama3-q8_0.gguf")).unwrap();
    let malformed = ErrorCode::ModelMalformed;
    for (what, at) in [("tensors", 8), ("keys", 16), ("bytes of the first key", 24)] {
        for count in [u64::MAX, 1 << 63, 1 << 40, 500_000_000] {
            let mut spoilt = gguf.clone();
            spoilt[at..at + 8].copy_from_slice(&count.to_le_bytes());
            let path = scratch.write("huge.gguf", spoilt);
            loader.refuses(&format!("{count} {what}"), &path, scratch.bytes(), malformed, "huge.gguf");
        }
    }
    let folder = Scratch::model("llama3-newconfig");
    let shard = folder.read("model.safetensors");
    for length in [u64::MAX, 1 << 63, 1 << 40, 500_000_000] {
        folder.write("model.safetensors", [&length.to_le_bytes(), &shard[8..]].concat());
        let what = format!("a header of {length} bytes");
        loader.refuses(&what, folder.path(), folder.bytes(), malformed, "model.safetensors");
    }
    folder.write("model.safetensors", shard);
    for (key, number, names) in [
        ("vocab_size", json!(u64::MAX), "vocabulary is 18446744073709551615"),
        ("hidden_size", json!(1_u64 << 40), "hidden size is 1099511627776"),
        ("num_hidden_layers", json!(1 << 30), "layers is 1073741824"),
        ("num_attention_heads", json!(-4), "num_attention_heads is -4"),
        ("max_position_embeddings", json!(1e300), "max_position_embeddings is 1e300"),
        ("rms_norm_eps", json!("small"), "small"),
    ] {
        let copy = Scratch::model("llama3-newconfig");
        copy.edit("config.json", |config| config[key] = number.clone());
        let what = format!("{key} = {number}");
        loader.refuses(&what, copy.path(), copy.bytes(), malformed, names);
    }
}
