//! Weights quantised at load: equal to candle's own quantisation, close to the original, priced to the byte.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};
use common::{
    BACKENDS, Bench, GoldenPrompt, Scratch, WEIGHTS, evaluator, exact, golden, onward, quantized_bound, worst,
};
use plimsoll_candle::{BackendKind, Environment, LoadError, LoadPlan, Options, Quantize};
use plimsoll_engine::{Engine, EngineError};
use plimsoll_formats::Dtype;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const ALL: [Quantize; 3] = [Quantize::Q8_0, Quantize::Q4_0, Quantize::Q4K];

/// The bundled model: rows of 256 and 768 in bf16, so that blocks of every type fit.
fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo")
}

fn options(backend: BackendKind, quantize: Option<Quantize>) -> Options {
    Options { quantize, ..exact(backend) }
}

/// What the documentation says a matrix becomes.
fn expected(quantize: Quantize, name: &str) -> GgmlDType {
    match quantize {
        Quantize::Q4_0 if name.contains(".layers.") => GgmlDType::Q4_0,
        Quantize::Q4K if name.contains(".layers.") => GgmlDType::Q4K,
        _ => GgmlDType::Q8_0,
    }
}

/// The bundled model with weights that went through candle's blocks and back.
fn round_trip(quantize: Quantize) -> Scratch {
    let scratch = Scratch::new(&format!("round-trip-{quantize:?}"));
    for name in ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(demo().join(name), scratch.0.join(name)).unwrap();
    }
    let mut tensors = candle_core::safetensors::load(demo().join("model.safetensors"), &Device::Cpu).unwrap();
    for (name, tensor) in &mut tensors {
        *tensor = tensor.to_dtype(DType::F32).unwrap();
        if tensor.rank() == 2 {
            let blocks = QTensor::quantize(tensor, expected(quantize, name)).unwrap();
            *tensor = blocks.dequantize(&Device::Cpu).unwrap();
        }
    }
    candle_core::safetensors::save(&tensors, scratch.0.join("model.safetensors")).unwrap();
    scratch
}

/// Logits of one text as the bundled model has them with these options.
fn reference(path: &Path, options: Options) -> Vec<GoldenPrompt> {
    let (_books, mut evaluator) = evaluator(path, options);
    let ids: Vec<u32> = (0..40).map(|i| i * 37 % 2048).collect();
    let logits = evaluator.logits(&ids, 64).unwrap();
    vec![GoldenPrompt { ids, logits }]
}

#[test]
fn logits_are_those_of_candles_blocks_and_close_to_the_original() {
    let original = reference(&demo(), options(BackendKind::Cpu, None));
    for (quantize, close) in ALL.into_iter().zip([0.02, 0.3, 0.2]) {
        let scratch = round_trip(quantize);
        let same = reference(&scratch.0, options(BackendKind::Cpu, None));
        for backend in BACKENDS {
            let (_books, mut evaluator) = evaluator(&demo(), options(backend, Some(quantize)));
            for chunk in [64, 5] {
                let error = worst(&mut evaluator, &same, chunk);
                let drift = worst(&mut evaluator, &original, chunk);
                println!("{backend:?} {quantize:?} in pieces of {chunk}: {error:.1e}, drift {drift:.1e}");
                assert!(
                    error <= quantized_bound(backend, chunk),
                    "{backend:?} {quantize:?} in pieces of {chunk}: {error}"
                );
                let close = close + quantized_bound(backend, chunk);
                assert!(drift > 1e-4 && drift < close, "{backend:?} {quantize:?}: {drift}");
            }
        }
    }
}

#[test]
fn bytes_are_priced_and_held_exactly() {
    let plain = LoadPlan::inspect(&demo(), options(BackendKind::Cpu, None)).unwrap();
    for quantize in ALL {
        let plan = LoadPlan::inspect(&demo(), options(BackendKind::Cpu, Some(quantize))).unwrap();
        let bytes = plan.checkpoint().tensors.values().map(|tensor| match tensor.shape[..] {
            [len] => len * 4,
            _ => {
                let dtype = expected(quantize, &tensor.name);
                // Panels of 16 rows, whole ones in this model, and cells of 256 inputs, where Q4_K has scales of whole bytes.
                let blocks = tensor.shape.iter().product::<u64>() / dtype.block_size() as u64;
                let spare = if dtype == GgmlDType::Q4K { 4 } else { 0 };
                assert!(tensor.shape[0].is_multiple_of(16) && tensor.shape[1].is_multiple_of(256));
                blocks * (dtype.type_size() as u64 + spare)
            }
        });
        let bytes: u64 = bytes.sum();
        assert_eq!(plan.weights_bytes(), bytes, "{quantize:?}");
        assert!(bytes < plain.weights_bytes() * 6 / 10);
        assert_ne!(plan.key(), plain.key());
        let bench = Bench::try_load(&demo(), options(BackendKind::Cpu, Some(quantize))).unwrap();
        assert_eq!((bench.engine.holdings().weights, bench.books.held(WEIGHTS)), (bytes, bytes));
    }
}

#[test]
fn rows_that_do_not_fit_and_blocks_of_the_file_are_left_alone() {
    // Rows of 64 and 96.
    let folder = golden().join("models/llama3");
    let bytes = |quantize| {
        LoadPlan::inspect(&folder, options(BackendKind::Cpu, Some(quantize))).unwrap().weights_bytes()
    };
    assert_eq!(bytes(Quantize::Q4K), bytes(Quantize::Q8_0));
    assert!(bytes(Quantize::Q4_0) < bytes(Quantize::Q8_0));
    let file = golden().join("gguf/llama3-q8_0.gguf");
    let plan = |quantize| LoadPlan::inspect(&file, options(BackendKind::Cpu, quantize)).unwrap();
    assert_eq!(plan(Some(Quantize::Q4_0)).weights_bytes(), plan(None).weights_bytes());
    // A GGUF file of plain numbers is quantised like a folder.
    let file = golden().join("gguf/llama3-f32.gguf");
    let plan = LoadPlan::inspect(&file, options(BackendKind::Cpu, Some(Quantize::Q8_0))).unwrap();
    let table = plan.checkpoint().tensors["model.embed_tokens.weight"].clone();
    assert_eq!(table.dtype, Dtype::F32);
    let q8_0 = Dtype::Q8_0.bytes_for(table.shape.iter().product()).unwrap();
    assert!(plan.weights_bytes() > q8_0 && plan.weights_bytes() < plan.checkpoint().weight_bytes() / 3);
}

#[test]
fn weights_that_are_not_numbers_are_named() {
    let scratch = Scratch::new("quantize-nan");
    for name in ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(demo().join(name), scratch.0.join(name)).unwrap();
    }
    let file = scratch.0.join("model.safetensors");
    let mut tensors: HashMap<String, Tensor> =
        candle_core::safetensors::load(demo().join("model.safetensors"), &Device::Cpu).unwrap();
    let name = "model.layers.2.mlp.up_proj.weight";
    let tensor = tensors.get_mut(name).unwrap();
    *tensor = (tensor.ones_like().unwrap() * f64::NAN).unwrap();
    candle_core::safetensors::save(&tensors, file).unwrap();
    let plan = LoadPlan::inspect(&scratch.0, options(BackendKind::Cpu, Some(Quantize::Q4K))).unwrap();
    let books = Arc::new(common::Books::default());
    let weights = books.lease(WEIGHTS, plan.weights_bytes());
    let workspace = books.lease(common::WORKSPACE, plan.workspace_bytes());
    let error = plan.load(weights, workspace, &Environment::default(), &onward).unwrap_err();
    assert!(matches!(error, LoadError::Engine(EngineError::Invalid(_))), "{error}");
    assert!(error.to_string().contains(name), "{error}");
    assert_eq!(books.total(), 0);
}
