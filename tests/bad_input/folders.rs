//! Folders whose files are sound by themselves and contradict each other, and settings that do.

use crate::common::{EXACT, Scratch, config, model_folder};
use crate::files::Loader;
use crate::{alone, assert_error};
use plimsoll::{Config, ErrorCode, Section, Session};
use serde_json::{Value, json};

/// One way to spoil a folder.
struct Spoilt {
    what: &'static str,
    model: &'static str,
    spoil: fn(&Scratch),
    code: ErrorCode,
    names: &'static str,
}

/// Replaces text in a file by other text of the same length.
fn replace(folder: &Scratch, name: &str, from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let mut bytes = folder.read(name);
    let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    folder.write(name, bytes);
}

pub(crate) fn set(folder: &Scratch, file: &str, key: &str, value: Value) {
    folder.edit(file, |whole| whole[key] = value);
}

#[test]
fn folders_that_contradict_themselves() {
    let _alone = alone();
    use ErrorCode::{ModelMalformed, ModelUnsupported, Tokenizer};
    let cases = [
        Spoilt {
            what: "hidden size",
            model: "llama3",
            spoil: |folder| set(folder, "config.json", "hidden_size", json!(128)),
            code: ModelMalformed,
            names: "tensor model.",
        },
        Spoilt {
            what: "intermediate size",
            model: "llama3",
            spoil: |folder| set(folder, "config.json", "intermediate_size", json!(64)),
            code: ModelMalformed,
            names: "mlp.",
        },
        Spoilt {
            what: "more layers than weights",
            model: "llama3",
            spoil: |folder| set(folder, "config.json", "num_hidden_layers", json!(3)),
            code: ModelMalformed,
            names: "model.layers.2.",
        },
        Spoilt {
            what: "fewer layers than weights",
            model: "llama3",
            spoil: |folder| set(folder, "config.json", "num_hidden_layers", json!(1)),
            code: ModelMalformed,
            names: "model.layers.1.",
        },
        Spoilt {
            what: "a tensor under another name",
            model: "llama3",
            spoil: |folder| replace(folder, "model.safetensors", "model.norm.weight", "model.nurm.weight"),
            code: ModelMalformed,
            names: "rm.weight",
        },
        Spoilt {
            what: "a tensor that only the index has",
            model: "llama-sharded",
            spoil: |folder| {
                folder.edit("model.safetensors.index.json", |index| {
                    index["weight_map"]["model.extra.weight"] = json!("model-00001-of-00002.safetensors");
                });
            },
            code: ModelMalformed,
            names: "model.extra.weight",
        },
        Spoilt {
            what: "a tensor that the index has under another name",
            model: "llama-sharded",
            spoil: |folder| {
                let index = "model.safetensors.index.json";
                replace(folder, index, "model.norm.weight", "model.nurm.weight");
            },
            code: ModelMalformed,
            names: "rm.weight",
        },
        Spoilt {
            what: "an index that leads out of the folder",
            model: "llama-sharded",
            spoil: |folder| {
                folder.edit("model.safetensors.index.json", |index| {
                    index["weight_map"]["model.norm.weight"] = json!("../../etc/passwd");
                });
            },
            code: ModelMalformed,
            names: "passwd",
        },
        Spoilt {
            what: "an architecture of another kind",
            model: "llama3",
            spoil: |folder| {
                set(folder, "config.json", "model_type", json!("mamba"));
                set(folder, "config.json", "architectures", json!(["MambaForCausalLM"]));
            },
            code: ModelUnsupported,
            names: "mamba",
        },
        Spoilt {
            what: "an architecture with terminal escapes",
            model: "llama3",
            spoil: |folder| set(folder, "config.json", "model_type", json!("\u{1b}[2Jmamba")),
            code: ModelUnsupported,
            names: "[2Jmamba",
        },
        Spoilt {
            what: "end-of-text ids beyond the vocabulary",
            model: "llama3",
            spoil: |folder| set(folder, "generation_config.json", "eos_token_id", json!([347, 99_999])),
            code: ModelMalformed,
            names: "99999",
        },
        Spoilt {
            what: "config.json that is no JSON",
            model: "llama3",
            spoil: |folder| drop(folder.write("config.json", "{\"model_type\": \"llama\",")),
            code: ModelMalformed,
            names: "config.json",
        },
        Spoilt {
            what: "config.json nested a million deep",
            model: "llama3",
            spoil: |folder| drop(folder.write("config.json", "[".repeat(1_000_000))),
            code: ModelMalformed,
            names: "config.json",
        },
        Spoilt {
            what: "weights that are not numbers",
            model: "llama3",
            spoil: |folder| {
                let mut bytes = folder.read("model.safetensors");
                let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
                bytes[8 + header..].fill(0xff);
                folder.write("model.safetensors", bytes);
            },
            code: ErrorCode::ModelMalformed,
            names: "not numbers",
        },
        Spoilt {
            what: "half a tokenizer.json",
            model: "llama3",
            spoil: |folder| {
                let bytes = folder.read("tokenizer.json");
                folder.write("tokenizer.json", &bytes[..bytes.len() / 2]);
            },
            code: Tokenizer,
            names: "tokenizer",
        },
        Spoilt {
            what: "a tokenizer.json of bytes",
            model: "llama3",
            spoil: |folder| drop(folder.write("tokenizer.json", [0xff; 4096])),
            code: Tokenizer,
            names: "tokenizer",
        },
        Spoilt {
            what: "a merge of unknown tokens",
            model: "llama3",
            spoil: |folder| {
                folder.edit("tokenizer.json", |file| file["model"]["merges"] = json!(["no such"]));
            },
            code: Tokenizer,
            names: "no",
        },
        Spoilt {
            what: "a tokenizer of another kind",
            model: "llama3",
            spoil: |folder| folder.edit("tokenizer.json", |file| file["model"]["type"] = json!("Bogus")),
            code: Tokenizer,
            names: "Bogus",
        },
        Spoilt {
            what: "no tokenizer.json",
            model: "llama3",
            spoil: |folder| std::fs::remove_file(folder.file("tokenizer.json")).unwrap(),
            code: ErrorCode::ModelNotFound,
            names: "tokenizer.json",
        },
        Spoilt {
            what: "a template with a syntax error",
            model: "llama3",
            spoil: |folder| set(folder, "tokenizer_config.json", "chat_template", json!("a\n{% for x in %}")),
            code: ErrorCode::Template,
            names: "line 2",
        },
        Spoilt {
            what: "a template nested deep",
            model: "llama3",
            spoil: |folder| {
                let template = format!("{{{{ {} }}}}", "(".repeat(90_000));
                set(folder, "tokenizer_config.json", "chat_template", json!(template));
            },
            code: ErrorCode::Template,
            names: "line 1",
        },
    ];
    let loader = Loader::new();
    for Spoilt { what, model, spoil, code, names } in cases {
        let folder = Scratch::model(model);
        spoil(&folder);
        loader.refuses(what, folder.path(), folder.bytes(), code, names);
    }
}

#[test]
fn settings_that_do_not_go_together() {
    let _alone = alone();
    let loader = Loader::new();
    let folder = model_folder("llama3");
    let runtime = &loader.rig.runtime;
    for (settings, names) in [
        (&[("native.max_sequences", "128"), ("native.max_step_tokens", "16")][..], "max_step_tokens"),
        (&[("memory.budget", "1GiB")], "memory.budget"),
        (&[("session.kv_limit_mb", "1")], "session.kv_limit_mb"),
    ] {
        let error = runtime.load_model("test", &folder, &config(settings), &|_| true).err().unwrap();
        assert_error("settings", &error, ErrorCode::InvalidConfig, Section::Request, names);
        loader.works("settings");
    }
    let model = loader.rig.golden("llama3");
    let error = Session::open(&model, &config(EXACT)).err().unwrap();
    assert_error("settings", &error, ErrorCode::InvalidConfig, Section::Request, "native.");
    assert!(Session::open(&model, &Config::new()).is_ok());
}
