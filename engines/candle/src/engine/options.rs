//! How a model is loaded: the settings that decide its memory and its limits.

use crate::LoadError;
use crate::backend::{ExpertSpec, KvDtype, StepSpec, WindowSpec};
use crate::model;
use crate::weights::Quantize;
use plimsoll_formats::ModelConfig;
use std::thread::available_parallelism;

/// Which backend computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BackendKind {
    /// The project's own kernels over memory planned before the first token.
    #[default]
    Cpu,
    /// candle's tensors: slower, an independent oracle.
    Candle,
}

/// Settings of a load. [`Default`] suits a small machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Options {
    /// Which backend computes.
    pub backend: BackendKind,
    /// Element type of the KV cache. [`KvDtype::F32`] also keeps 16 bits or more of what meets 16-bit weights, where a processor's
    /// tiles would round it to bf16.
    pub kv_dtype: KvDtype,
    /// What matrices of plain numbers become when they are read; `None` keeps them as they are in the file.
    pub quantize: Option<Quantize>,
    /// Tokens per KV block: 16 or 32.
    pub block_tokens: u32,
    /// Threads that compute; 0 takes as many as the process may run at once.
    pub threads: u32,
    /// Most requests in one batch: 1 to 128.
    pub max_sequences: u32,
    /// Most tokens fed in one step, over all requests: at least `max_sequences`, at most 8192. 0 takes 512, or 256 for a model
    /// with sliding windows: those layers hold the KV of a step beside their window, for every session.
    pub max_step_tokens: u32,
    /// Milliseconds that a running request should wait at most for its next token while prompts of others come in: at most
    /// 60,000. Their chunks are cut to it, but have half of a step's time at least. Where several prompts come at once they
    /// may have more, and a step up to four times as long. 0 fills every step with as many tokens as it takes.
    pub step_ms: u32,
    /// Most tokens of one request, prompt and generated; 0 takes what the model was made for, which is also the most.
    pub context_length: u32,
    /// Most requests that wait for a place in the batch: 1 to 65,536.
    pub queue: u32,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            backend: BackendKind::Cpu,
            kv_dtype: KvDtype::F16,
            quantize: None,
            block_tokens: 16,
            threads: 0,
            max_sequences: 16,
            max_step_tokens: 0,
            step_ms: 50,
            context_length: 0,
            queue: 64,
        }
    }
}

impl Options {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`LoadError::Option`] names the first one out of it.
    pub fn validate(&self) -> Result<(), LoadError> {
        let check = |name, value: u32, fits: bool, range| match fits {
            true => Ok(()),
            false => Err(LoadError::Option { name, value: u64::from(value), range }),
        };
        let block = self.block_tokens;
        check("block_tokens", block, block == 16 || block == 32, "16 or 32")?;
        check("threads", self.threads, self.threads <= 256, "at most 256")?;
        check("max_sequences", self.max_sequences, (1..=128).contains(&self.max_sequences), "from 1 to 128")?;
        let step = self.max_step_tokens;
        let range = "at least max_sequences and at most 8192";
        check("max_step_tokens", step, step == 0 || (self.max_sequences..=8192).contains(&step), range)?;
        check("step_ms", self.step_ms, self.step_ms <= 60_000, "at most 60000")?;
        check("queue", self.queue, (1..=65_536).contains(&self.queue), "from 1 to 65536")
    }

    /// Most tokens of one request.
    pub(crate) fn context(&self, config: &ModelConfig) -> usize {
        match self.context_length {
            0 => config.context_length,
            limit => config.context_length.min(limit as usize),
        }
    }

    /// Most tokens of one step.
    fn step_tokens(&self, config: &ModelConfig) -> usize {
        match (self.max_step_tokens, &config.window) {
            (0, None) => 512,
            (0, Some(_)) => 256,
            (limit, _) => limit as usize,
        }
    }

    /// All that a step's memory depends on, for a model of this configuration. Expects checked options and a checked
    /// configuration. `factors` are the file's divisors of rotary speeds, where it has any.
    pub(crate) fn step_spec(&self, config: &ModelConfig, factors: &[f32]) -> StepSpec {
        let context = self.context(config);
        let threads = match self.threads {
            0 => available_parallelism().map_or(1, |threads| threads.get().min(256)),
            threads => threads as usize,
        };
        StepSpec {
            hidden: config.hidden_size,
            intermediate: widest(config),
            layers: config.layers,
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            vocab: config.vocab_size,
            context,
            max_rows: self.step_tokens(config),
            max_sequences: self.max_sequences as usize,
            block_tokens: self.block_tokens as usize,
            kv_dtype: self.kv_dtype,
            threads,
            ropes: model::rotations(config, context, factors),
            experts: config
                .experts
                .as_ref()
                .map(|experts| ExpertSpec { count: experts.count, used: experts.used }),
            window: config
                .window
                .as_ref()
                .map(|window| WindowSpec { tokens: window.tokens, layers: window.layers.clone() }),
        }
    }
}

/// The width of the widest feed-forward part that any layer has.
fn widest(config: &ModelConfig) -> usize {
    let Some(experts) = &config.experts else { return config.intermediate_size };
    let mixtures = experts.layers.iter().filter(|mixture| **mixture).count();
    let dense = if mixtures < config.layers { config.intermediate_size } else { 0 };
    dense.max(experts.intermediate_size).max(experts.shared.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_named() {
        Options::default().validate().unwrap();
        type Spoil = fn(&mut Options);
        let cases: [(&str, Spoil); 10] = [
            ("block_tokens", |o| o.block_tokens = 0),
            ("block_tokens", |o| o.block_tokens = 17),
            ("threads", |o| o.threads = 257),
            ("max_sequences", |o| o.max_sequences = 0),
            ("max_sequences", |o| o.max_sequences = 129),
            ("max_step_tokens", |o| o.max_step_tokens = 15),
            ("max_step_tokens", |o| o.max_step_tokens = 8193),
            ("step_ms", |o| o.step_ms = 60_001),
            ("queue", |o| o.queue = 0),
            ("queue", |o| o.queue = u32::MAX),
        ];
        for (expected, spoil) in cases {
            let mut options = Options::default();
            spoil(&mut options);
            let error = options.validate().unwrap_err();
            assert!(matches!(error, LoadError::Option { name, .. } if name == expected), "{error}");
        }
    }
}
