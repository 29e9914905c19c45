//! The JSON files of a folder: I1 (the index) and C1 (the configuration).

use crate::attack::{Attack, Outcome, spoilt};
use crate::common::Scratch;
use plimsoll::ErrorCode::ModelMalformed;
use serde_json::{Value, json};
use std::os::unix::fs::symlink;

const INDEX: &str = "model.safetensors.index.json";
const CONFIG: &str = "config.json";

fn index(what: impl Into<String>, change: impl Fn(&Scratch) + 'static) -> Attack {
    Attack::load("I1", what, ModelMalformed, spoilt("llama-sharded", change)).but(Outcome::Refused)
}

fn points_to(name: &'static str) -> impl Fn(&Scratch) {
    move |folder| folder.edit(INDEX, |index| index["weight_map"]["model.norm.weight"] = json!(name))
}

fn config(what: impl Into<String>, change: impl Fn(&Scratch) + 'static) -> Attack {
    Attack::load("C1", what, ModelMalformed, spoilt("llama3", change))
}

fn set(key: &'static str, value: Value) -> Attack {
    let what = format!("{key} = {value}");
    config(what, move |folder| folder.edit(CONFIG, |config| config[key] = value.clone()))
}

/// All of them.
pub(crate) fn all() -> Vec<Attack> {
    let mut attacks = Vec::new();
    for name in
        ["../../etc/passwd", "/etc/passwd", "a/../../b", "..", ".", "", "a\0b", "C:\\x", "absent.safetensors"]
    {
        attacks.push(index(format!("a shard named {name:?}"), points_to(name)));
    }
    attacks.push(index("a shard that is a link out of the folder", |folder| {
        std::fs::remove_file(folder.file("model-00002-of-00002.safetensors")).unwrap();
        symlink("/etc/passwd", folder.file("model-00002-of-00002.safetensors")).unwrap();
    }));
    attacks.push(index("a million shards", |folder| {
        let map: Vec<_> = (0..1_000_000).map(|i| format!("\"{i:x}\":\"{i:x}.safetensors\"")).collect();
        folder.write(INDEX, format!("{{\"weight_map\":{{{}}}}}", map.join(",")));
    }));
    attacks.push(index("a tensor in two shards", |folder| {
        let bytes = folder.read("model-00001-of-00002.safetensors");
        folder.write("model-00002-of-00002.safetensors", bytes);
    }));

    for value in
        [json!(1_000_000_000), json!(-1), json!(1e308), json!("12"), json!(0), json!(null), json!([2])]
    {
        attacks.push(set("num_hidden_layers", value));
    }
    attacks.push(set("hidden_size", json!(0)));
    attacks.push(set("vocab_size", json!(1_u64 << 40)));
    attacks.push(set("max_position_embeddings", json!(1_u64 << 40)));
    attacks.push(set("sliding_window", json!(-1)).but(Outcome::Refused));
    for factor in ["0", "NaN", "-1", "1e999", "\"8\""] {
        attacks.push(
            config(format!("a rotary factor of {factor}"), move |folder| {
                let config = String::from_utf8(folder.read(CONFIG)).unwrap();
                let config: Value = serde_json::from_str(&config).unwrap();
                let mut config = config.as_object().unwrap().clone();
                config.remove("rope_parameters");
                config.remove("rope_scaling");
                let text = serde_json::to_string(&config).unwrap();
                let scaling = format!(",\"rope_scaling\":{{\"rope_type\":\"linear\",\"factor\":{factor}}}}}");
                folder.write(CONFIG, text.trim_end_matches('}').to_owned() + &scaling);
            })
            .but(Outcome::Refused),
        );
    }
    attacks.push(
        config("code to run", |folder| {
            folder.edit(CONFIG, |config| config["auto_map"] = json!({"AutoModelForCausalLM": "evil.Model"}));
            folder.write("evil.py", "import os; os.system('touch /tmp/evil')");
        })
        .but(Outcome::Harmless),
    );
    attacks.push(config("nested 100,000 deep", |folder| {
        folder.write(CONFIG, format!("{{\"x\":{}", "[".repeat(100_000)));
    }));
    attacks.push(config("200 MB", |folder| {
        let file = std::fs::File::create(folder.file(CONFIG)).unwrap();
        file.set_len(200_000_000).unwrap();
    }));
    attacks.push(
        config("a byte order mark", |folder| {
            let bytes = folder.read(CONFIG);
            folder.write(CONFIG, [&b"\xef\xbb\xbf"[..], &bytes].concat());
        })
        .but(Outcome::Refused),
    );
    attacks.push(config("a key twice", |folder| {
        let text = String::from_utf8(folder.read(CONFIG)).unwrap();
        folder.write(CONFIG, text.replacen('{', "{\"hidden_size\": 64,", 1));
    }));
    attacks
}
