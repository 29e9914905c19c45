//! What the tests of this crate build model files with.

mod gguf;
mod safetensors;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) use gguf::{Gguf, tiny_gguf};
pub(crate) use safetensors::{safetensors, safetensors_raw, tiny_folder};

use crate::config::{Activation, Architecture, ModelConfig, Rope, RopeScaling};
use crate::key::FileId;
use crate::{Checkpoint, Dtype, Format, GenerationConfig, TensorInfo, TokenizerSource, expected_tensors};

/// A two-layer model that passes every check.
pub(crate) fn tiny_config() -> ModelConfig {
    ModelConfig {
        architecture: Architecture::Llama,
        vocab_size: 16,
        hidden_size: 32,
        intermediate_size: 64,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 8,
        context_length: 64,
        rms_norm_eps: 1e-5,
        rope: Rope { theta: 10_000.0, scaling: RopeScaling::None },
        window_rope: None,
        rotary_dim: 8,
        attention_scale: 8f64.sqrt().recip(),
        attention_softcap: None,
        logit_softcap: None,
        window: None,
        experts: None,
        activation: Activation::Silu,
        embedding_scale: None,
        post_norms: false,
        norms_less_one: false,
        rope_interleaved: false,
        tie_embeddings: true,
        qkv_bias: false,
        attention_out_bias: false,
        mlp_bias: false,
        qk_norm: false,
        bos: vec![1],
        eos: vec![2],
    }
}

/// The description of a complete model of [`tiny_config`]; its file does not exist.
pub(crate) fn tiny_checkpoint() -> Checkpoint {
    let config = tiny_config();
    let mut offset = 0;
    let tensors = expected_tensors(&config).into_iter().map(|(name, shape)| {
        let bytes = Dtype::F32.bytes_for(shape.iter().product()).unwrap();
        let info = TensorInfo { name: name.clone(), dtype: Dtype::F32, shape, file: 0, offset, bytes };
        offset += bytes;
        (name, info)
    });
    let id = FileId { device: 0, inode: 0, size: 0, modified_ns: 0 };
    Checkpoint {
        format: Format::Folder,
        files: vec![PathBuf::from("nowhere/model.safetensors")],
        tensors: tensors.collect(),
        config,
        tokenizer: TokenizerSource::Json(Vec::new()),
        chat_template: None,
        generation: GenerationConfig::default(),
        file_ids: vec![id],
        side_ids: Vec::new(),
    }
}

/// A folder of a test's own, removed at its end.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("plimsoll-formats-{}-{number}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
