//! Opens every model that transformers and gguf-py wrote for the repository's golden tests.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use plimsoll_formats::{
    Architecture, Checkpoint, Format, ModelConfig, RopeScaling, Source, TokenizerSource, expected_tensors,
    fingerprint, open,
};

fn golden(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(kind)
}

/// Opens a model and checks what holds for every one of them.
fn opened(path: &Path) -> Checkpoint {
    let model = open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let files: Vec<_> = (0..model.files.len()).map(|index| model.open_file(index).unwrap()).collect();
    for (name, shape) in expected_tensors(&model.config) {
        let tensor = &model.tensors[&name];
        assert_eq!(tensor.shape, shape, "{name}");
        assert_eq!(tensor.dtype.bytes_for(shape.iter().product()), Some(tensor.bytes), "{name}");
        let mut last = [0];
        files[tensor.file].read_exact_at(tensor.offset + tensor.bytes - 1, &mut last).unwrap();
    }
    assert!(!model.generation.eos.is_empty(), "{}", path.display());
    assert_eq!(fingerprint(&model), fingerprint(&open(path).unwrap()));
    model
}

fn folders() -> Vec<PathBuf> {
    let mut found: Vec<_> =
        std::fs::read_dir(golden("models")).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.join("config.json").exists());
    found.sort();
    found
}

#[test]
fn every_folder_opens() {
    let models: Vec<_> = folders().iter().map(|path| opened(path)).collect();
    assert!(models.len() >= 8, "{} models", models.len());
    for model in &models {
        assert_eq!(model.format, Format::Folder);
        assert!(!model.config.rope_interleaved);
        assert!(matches!(&model.tokenizer, TokenizerSource::Json(bytes) if bytes.starts_with(b"{")));
    }
    for architecture in Architecture::ALL {
        assert!(models.iter().any(|model| model.config.architecture == architecture), "{architecture:?}");
    }
    assert!(models.iter().any(|model| model.files.len() > 1), "none is split");
    assert!(models.iter().any(|model| matches!(model.config.rope.scaling, RopeScaling::Llama3 { .. })));
}

#[test]
fn the_two_configuration_layouts_describe_rotary_positions() {
    let classic = opened(&golden("models/llama3")).config;
    let newer = opened(&golden("models/llama3-newconfig")).config;
    for config in [&classic, &newer] {
        assert!(matches!(config.rope.scaling, RopeScaling::Llama3 { factor: 8.0, .. }), "{config:?}");
    }
    assert_eq!(classic.rope, newer.rope);
}

/// The GGUF files with the folders they were made from.
fn ggufs() -> Vec<(PathBuf, PathBuf, String)> {
    let index = std::fs::read(golden("gguf/index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    let files = index["files"].as_array().unwrap().iter();
    files
        .map(|file| {
            let path = |key: &str| golden(file[key].as_str().unwrap());
            (path("file"), path("folder"), file["type"].as_str().unwrap().to_owned())
        })
        .collect()
}

/// What the formats say in different ways, said as a GGUF file does.
fn as_gguf(mut config: ModelConfig) -> ModelConfig {
    let single = |value: &mut f64| *value = f64::from(*value as f32);
    config.rope_interleaved =
        matches!(config.architecture, Architecture::Llama | Architecture::Mistral | Architecture::Mixtral);
    // Converters add the one that these norms lack.
    config.norms_less_one = false;
    single(&mut config.rms_norm_eps);
    single(&mut config.rope.theta);
    config.rope.scaling = match config.rope.scaling {
        RopeScaling::Llama3 { .. } => RopeScaling::Factors,
        RopeScaling::LongRope { original_context, mut attention_factor, .. } => {
            single(&mut attention_factor);
            RopeScaling::LongFactors { original_context, attention_factor }
        }
        same => same,
    };
    config
}

#[test]
fn every_gguf_file_describes_the_model_of_its_folder() {
    let files = ggufs();
    assert!(files.len() >= 15, "{} files", files.len());
    let mut architectures = Vec::new();
    for (file, folder, dtype) in files {
        let (ours, theirs) = (opened(&file), opened(&folder));
        assert_eq!(ours.format, Format::Gguf);
        let mut expected = as_gguf(theirs.config.clone());
        (expected.bos, expected.eos) = (ours.config.bos.clone(), ours.config.eos.clone());
        assert_eq!(ours.config, expected, "{}", file.display());
        architectures.push(ours.config.architecture);

        let matrix = &ours.tensors["model.layers.0.self_attn.v_proj.weight"];
        assert_eq!(matrix.dtype.name(), dtype, "{}", file.display());
        let TokenizerSource::Gguf(tokenizer) = &ours.tokenizer else { panic!("no tokenizer tables") };
        assert_eq!(tokenizer.tokens.len(), ours.config.vocab_size);
        let template =
            |model: &Checkpoint| model.chat_template.as_ref().map(|template| template.source.clone());
        assert_eq!(template(&ours), template(&theirs), "{}", file.display());
    }
    for architecture in Architecture::ALL {
        assert!(architectures.contains(&architecture), "{architecture:?}");
    }
}

/// The numbers of an F32 tensor.
fn numbers(model: &Checkpoint, name: &str) -> Vec<f32> {
    let tensor = &model.tensors[name];
    let mut bytes = vec![0; tensor.bytes as usize];
    model.open_file(tensor.file).unwrap().read_exact_at(tensor.offset, &mut bytes).unwrap();
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

#[test]
fn views_of_fused_and_stacked_tensors_hold_the_same_numbers() {
    // In the folders: fused; one tensor for each expert under two sets of names; stacked, with the gate.
    // In the files: fused, and stacked without the gate.
    for (model, parts) in [
        ("phi3-long", &["self_attn.q_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj"][..]),
        (
            "mixtral",
            &["mlp.gate", "mlp.experts.3.gate_proj", "mlp.experts.0.up_proj", "mlp.experts.2.down_proj"],
        ),
        ("qwen2-moe", &["mlp.shared_expert_gate", "mlp.shared_expert.up_proj", "mlp.experts.5.gate_proj"]),
        ("qwen3-moe", &["mlp.experts.5.gate_proj", "mlp.experts.1.up_proj", "mlp.experts.4.down_proj"]),
    ] {
        let folder = opened(&golden(&format!("models/{model}")));
        let file = opened(&golden(&format!("gguf/{model}-f32.gguf")));
        let mut seen = Vec::new();
        for part in parts {
            let name = format!("model.layers.1.{part}.weight");
            let found = numbers(&folder, &name);
            assert_eq!(found, numbers(&file, &name), "{model}: {name}");
            assert!(!seen.contains(&found), "{model}: {name} is another part's");
            seen.push(found);
        }
    }
}
