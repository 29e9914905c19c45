//! Prices against a table that was computed from the models' configurations by other means.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{BACKENDS, Bench, Scratch, exact, golden, request};
use plimsoll_candle::{BackendKind, KvDtype, LoadPlan, Options};
use plimsoll_engine::{Engine, FinishReason, Request, Shape};
use serde_json::{Map, Value, json};
use std::path::Path;

fn table() -> Map<String, Value> {
    let bytes = std::fs::read(golden().join("expected_bytes.json")).unwrap();
    let table: Value = serde_json::from_slice(&bytes).unwrap();
    let configs = table["configs"].as_object().unwrap().clone();
    assert!(configs.len() >= 8);
    configs
}

fn options(row: &Value, backend: BackendKind) -> Options {
    let kv_dtype = match row["kv_type"].as_str().unwrap() {
        "f32" => KvDtype::F32,
        "f16" => KvDtype::F16,
        "q8_0" => KvDtype::Q8_0,
        other => panic!("{other}"),
    };
    let block_tokens = u32::try_from(row["block_tokens"].as_u64().unwrap()).unwrap();
    // The other backend has no such blocks.
    let backend = if kv_dtype == KvDtype::Q8_0 { BackendKind::Cpu } else { backend };
    Options { kv_dtype, block_tokens, ..exact(backend) }
}

/// A folder of this shape whose weights are a hole in a file: nothing but its header takes room on the disk.
fn hollow(folder: &Path, entry: &Value, dtype: &str, size: u64) {
    let mut config = entry["config"].as_object().unwrap().clone();
    config.insert("rms_norm_eps".into(), json!(1e-6));
    config.insert("max_position_embeddings".into(), json!(4096));
    config.insert("rope_theta".into(), json!(10000.0));
    config.insert("bos_token_id".into(), json!(1));
    config.insert("eos_token_id".into(), json!(2));
    std::fs::write(folder.join("config.json"), Value::Object(config).to_string()).unwrap();
    std::fs::write(folder.join("tokenizer.json"), "{}").unwrap();
    let (mut header, mut end) = (Map::new(), 0);
    for tensor in entry["tensors"].as_array().unwrap() {
        let (name, shape) = (tensor["name"].as_str().unwrap(), &tensor["shape"]);
        let bytes =
            shape.as_array().unwrap().iter().map(|side| side.as_u64().unwrap()).product::<u64>() * size;
        for layer in 0..tensor["count"].as_u64().unwrap() {
            let info = json!({ "dtype": dtype, "shape": shape, "data_offsets": [end, end + bytes] });
            header.insert(name.replace('*', &layer.to_string()), info);
            end += bytes;
        }
    }
    let header = Value::Object(header).to_string().into_bytes();
    let length = header.len() as u64;
    let file = folder.join("model.safetensors");
    std::fs::write(&file, [length.to_le_bytes().to_vec(), header].concat()).unwrap();
    std::fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(8 + length + end).unwrap();
}

#[test]
fn weights_and_blocks_of_every_shape_have_the_bytes_of_the_table() {
    for (name, entry) in table() {
        if entry["plain"] == false {
            let plan =
                LoadPlan::inspect(&golden().join("models").join(&name), exact(BackendKind::Cpu)).unwrap();
            assert_eq!(Some(plan.weights_bytes()), entry["weight_bytes"]["f32"].as_u64(), "{name}");
            continue;
        }
        for (dtype, key, size) in [("F32", "f32", 4), ("F16", "f16", 2), ("BF16", "bf16", 2)] {
            let scratch = Scratch::new(&format!("hollow-{name}-{key}"));
            hollow(&scratch.0, &entry, dtype, size);
            let plan = LoadPlan::inspect(&scratch.0, exact(BackendKind::Cpu)).unwrap();
            assert_eq!(Some(plan.weights_bytes()), entry["weight_bytes"][key].as_u64(), "{name} {key}");
            if key != "f16" {
                continue;
            }
            for (row, backend) in entry["kv"].as_array().unwrap().iter().zip(BACKENDS.iter().cycle()) {
                let plan = LoadPlan::inspect(&scratch.0, options(row, *backend)).unwrap();
                let kv = row["blocks"].as_u64().unwrap() * plan.block_bytes();
                assert_eq!(Some(kv), row["kv_bytes"].as_u64(), "{name} {row}");
            }
        }
    }
}

#[test]
fn quantised_weights_have_the_bytes_of_the_table() {
    let table = table();
    let index: Value =
        serde_json::from_slice(&std::fs::read(golden().join("gguf/index.json")).unwrap()).unwrap();
    let quantised = index["files"].as_array().unwrap().iter().filter(|file| file["type"] == "Q8_0");
    let mut checked = 0;
    for file in quantised {
        let plan = LoadPlan::inspect(&golden().join(file["file"].as_str().unwrap()), exact(BackendKind::Cpu));
        let model = file["folder"].as_str().unwrap().trim_start_matches("models/");
        let expected = table[model]["weight_bytes"]["q8_0"].as_u64();
        assert_eq!(Some(plan.unwrap().weights_bytes()), expected, "{file}");
        checked += 1;
    }
    assert!(checked > 0);
}

#[test]
fn requests_are_priced_and_allocated_as_in_the_table() {
    for backend in BACKENDS {
        for (name, entry) in table() {
            if !golden().join("models").join(&name).exists() {
                continue;
            }
            for row in entry["kv"].as_array().unwrap() {
                let bench = Bench::load(&name, options(row, backend));
                let tokens = u32::try_from(row["tokens"].as_u64().unwrap()).unwrap();
                let block_tokens = bench.engine.capabilities().block_tokens;
                let max_tokens = tokens.div_ceil(3);
                let shape = Shape {
                    prompt_tokens: tokens - max_tokens,
                    max_tokens,
                    top_logprobs: 3,
                    penalties: false,
                };
                let price = bench.engine.estimate(&shape).unwrap();
                assert_eq!(Some(price.kv_bytes), row["kv_bytes"].as_u64(), "{name} {row}");
                assert_eq!(price.workspace_bytes, bench.engine.holdings().workspace);
                // The last token's KV is never written; where that would leave a block over, less is kept than priced.
                let whole = tokens.div_ceil(block_tokens) == (tokens - 1).div_ceil(block_tokens);
                if !(2..=bench.engine.capabilities().context_length).contains(&tokens) || !whole {
                    continue;
                }
                // Of layers with a window more is held while a request runs than is kept.
                if row["rolling_blocks"].is_u64() {
                    continue;
                }
                let prompt = vec![7; shape.prompt_tokens as usize];
                let answer = bench.run(Request { keep_kv: true, ..request(1, &prompt, max_tokens) });
                assert_eq!(answer.finish.reason, FinishReason::Length);
                assert_eq!(bench.engine.holdings().kv, price.kv_bytes, "{name} {row}");
            }
        }
    }
}
