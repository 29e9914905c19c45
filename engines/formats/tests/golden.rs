//! Opens every model that transformers and gguf-py wrote for the repository's golden tests.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use plimsoll_formats::{
    Architecture, Checkpoint, Format, RopeScaling, Source, TokenizerSource, expected_tensors, fingerprint,
    open,
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

#[test]
fn every_gguf_file_describes_the_model_of_its_folder() {
    let files = ggufs();
    assert!(files.len() >= 6, "{} files", files.len());
    for (file, folder, dtype) in files {
        let (ours, theirs) = (opened(&file), opened(&folder));
        assert_eq!(ours.format, Format::Gguf);
        let llama = ours.config.architecture == Architecture::Llama;
        assert_eq!(ours.config.rope_interleaved, llama);
        let scaled = theirs.config.rope.scaling != RopeScaling::None;
        assert_eq!(ours.config.rope.scaling == RopeScaling::Factors, scaled, "{}", file.display());

        // What the formats say differently is set equal; all else must be.
        let mut expected = theirs.config.clone();
        expected.rope_interleaved = ours.config.rope_interleaved;
        expected.rope.scaling = ours.config.rope.scaling.clone();
        (expected.bos, expected.eos) = (ours.config.bos.clone(), ours.config.eos.clone());
        expected.rms_norm_eps = f64::from(expected.rms_norm_eps as f32);
        expected.rope.theta = f64::from(expected.rope.theta as f32);
        assert_eq!(ours.config, expected, "{}", file.display());

        let matrix = &ours.tensors["model.layers.0.mlp.up_proj.weight"];
        assert_eq!(matrix.dtype.name(), dtype, "{}", file.display());
        let TokenizerSource::Gguf(tokenizer) = &ours.tokenizer else { panic!("no tokenizer tables") };
        assert_eq!(tokenizer.tokens.len(), ours.config.vocab_size);
        let template =
            |model: &Checkpoint| model.chat_template.as_ref().map(|template| template.source.clone());
        assert_eq!(template(&ours), template(&theirs), "{}", file.display());
    }
}
