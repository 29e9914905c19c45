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
