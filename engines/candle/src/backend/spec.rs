//! The sizes that a step's memory follows from.

use super::Slot;
use plimsoll_engine::EngineError;
use plimsoll_scheduler::{Layers, Rolling};

/// Most threads of one backend.
pub const MAX_THREADS: usize = 1024;

/// Element type of the KV cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum KvDtype {
    /// 4 bytes per value.
    F32,
    /// 2 bytes per value.
    #[default]
    F16,
    /// 8 bits per value and a scale of 2 bytes for every [`KvDtype::SCALED`] values of a head, which must be whole.
    Q8_0,
}

impl KvDtype {
    /// Values that share a scale.
    pub const SCALED: usize = 32;

    /// Bytes of one head's keys (or values) of one token; `None` on overflow or where the width is no whole number of
    /// scales.
    pub fn bytes(self, head_dim: usize) -> Option<usize> {
        match self {
            KvDtype::F32 => head_dim.checked_mul(4),
            KvDtype::F16 => head_dim.checked_mul(2),
            KvDtype::Q8_0 if head_dim.is_multiple_of(Self::SCALED) => {
                (head_dim / Self::SCALED).checked_mul(Self::SCALED + 2)
            }
            KvDtype::Q8_0 => None,
        }
    }
}

/// Most rotations that a model's layers choose from.
pub(crate) const MAX_ROPES: usize = 2;

/// Rotary embedding: which pairs turn, and how fast.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeSpec {
    /// Radians per position for each pair, scaling included; at most `head_dim / 2` of them. With `n` pairs the first
    /// `2 n` dimensions of a head turn, the others stay.
    pub inv_freq: Vec<f32>,
    /// What sines and cosines are multiplied by.
    pub magnitude: f32,
    /// True: pairs are neighbours (2i, 2i+1). False: halves (i, i + n).
    pub interleaved: bool,
}

/// Mixtures of experts, in the layers that have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpertSpec {
    /// Experts in a layer.
    pub count: usize,
    /// Experts that a token goes through, at most `count`.
    pub used: usize,
}

/// Layers with a sliding window, whose KV is kept only as far back as it reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowSpec {
    /// Positions that a token attends to, its own included.
    pub tokens: usize,
    /// For each layer, whether it is one of them.
    pub layers: Vec<bool>,
}

/// All that a step's memory depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct StepSpec {
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the widest feed-forward part, a layer's or an expert's.
    pub intermediate: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head, of keys and of values.
    pub head_dim: usize,
    /// Ids are below this.
    pub vocab: usize,
    /// Most tokens of one sequence.
    pub context: usize,
    /// Most tokens fed in one step.
    pub max_rows: usize,
    /// Most sequences in one step, hence most rows of logits.
    pub max_sequences: usize,
    /// Tokens per KV block.
    pub block_tokens: usize,
    /// Element type of the KV cache.
    pub kv_dtype: KvDtype,
    /// Threads that compute.
    pub threads: usize,
    /// The rotations that layers choose from: one or two.
    pub ropes: Vec<RopeSpec>,
    /// Mixtures of experts; `None` in a model without.
    pub experts: Option<ExpertSpec>,
    /// Layers with a window; `None` in a model without.
    pub window: Option<WindowSpec>,
}

impl StepSpec {
    /// Whether KV in f32 asks for all bits: then inputs of 16-bit weights keep at least as many as these.
    pub fn is_exact(&self) -> bool {
        self.kv_dtype == KvDtype::F32
    }

    /// Bytes of one KV block over the layers of a kind:
    /// `layers * block_tokens * kv_heads * 2 * bytes of a head`, see [`KvDtype::bytes`]; `None` on overflow.
    pub fn block_bytes(&self, layers: Layers) -> Option<u64> {
        let per_token = self.kv_dtype.bytes(self.head_dim)?.checked_mul(2)?.checked_mul(self.kv_heads)?;
        let layers = self.layers_of(layers);
        u64::try_from(layers.checked_mul(self.block_tokens)?.checked_mul(per_token)?).ok()
    }

    /// How many layers are of this kind.
    pub fn layers_of(&self, layers: Layers) -> usize {
        let windowed = self
            .window
            .as_ref()
            .map_or(0, |window| window.layers.iter().take(self.layers).filter(|layer| **layer).count());
        match layers {
            Layers::Whole => self.layers - windowed,
            Layers::Rolling => windowed,
        }
    }

    /// In which kind of block a layer's KV is, and its number among the layers there; `None` where there is no such layer.
    pub fn place(&self, layer: usize) -> Option<(Layers, usize)> {
        if layer >= self.layers {
            return None;
        }
        let Some(window) = &self.window else { return Some((Layers::Whole, layer)) };
        let windowed = window.layers.get(layer).copied()?;
        let number = window.layers[..layer].iter().filter(|other| **other == windowed).count();
        Some((if windowed { Layers::Rolling } else { Layers::Whole }, number))
    }

    /// What a scheduler has to know of the layers with a window; `None` on overflow.
    pub fn rolling(&self) -> Option<Option<Rolling>> {
        let Some(window) = &self.window else { return Some(None) };
        Some(Some(Rolling { block_bytes: self.block_bytes(Layers::Rolling)?, window: window.tokens }))
    }

    /// Most rows of a slot and the values in each; `None` on overflow.
    pub fn extent(&self, slot: Slot) -> Option<(usize, usize)> {
        Some(match slot {
            Slot::Hidden | Slot::Normed => (self.max_rows, self.hidden),
            Slot::Query | Slot::Attended => (self.max_rows, self.heads.checked_mul(self.head_dim)?),
            Slot::Key | Slot::Value => (self.max_rows, self.kv_heads.checked_mul(self.head_dim)?),
            Slot::Gate | Slot::Up => (self.max_rows, self.intermediate),
            Slot::Routed => (self.max_rows, self.experts.map_or(0, |_| self.hidden)),
            Slot::Router => (self.max_rows, self.experts.map_or(0, |experts| experts.count)),
            Slot::Last => (self.max_sequences, self.hidden),
            Slot::Logits => (self.max_sequences, self.vocab),
        })
    }

    /// Checks what every backend builds on: no size is 0, heads share key heads evenly, the rotation covers a head.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] names the size.
    pub fn validate(&self) -> Result<(), EngineError> {
        let invalid = |what: String| Err(EngineError::Invalid(what));
        let sizes = [
            ("hidden", self.hidden),
            ("intermediate", self.intermediate),
            ("layers", self.layers),
            ("heads", self.heads),
            ("kv_heads", self.kv_heads),
            ("head_dim", self.head_dim),
            ("vocab", self.vocab),
            ("context", self.context),
            ("max_rows", self.max_rows),
            ("max_sequences", self.max_sequences),
            ("block_tokens", self.block_tokens),
            ("threads", self.threads),
        ];
        if let Some((name, _)) = sizes.iter().find(|(_, size)| *size == 0) {
            return invalid(format!("{name} must not be 0"));
        }
        if self.threads > MAX_THREADS {
            return invalid(format!("threads is {}; it must be at most {MAX_THREADS}", self.threads));
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return invalid(format!("{} heads cannot share {} key heads evenly", self.heads, self.kv_heads));
        }
        if self.kv_dtype == KvDtype::Q8_0 && !self.head_dim.is_multiple_of(KvDtype::SCALED) {
            return invalid(format!(
                "KV in q8_0 needs heads of a multiple of {} values; this model's have {}",
                KvDtype::SCALED,
                self.head_dim
            ));
        }
        if self.ropes.is_empty() || self.ropes.len() > MAX_ROPES {
            return invalid(format!("a model has one or {MAX_ROPES} rotations, not {}", self.ropes.len()));
        }
        for pairs in self.ropes.iter().map(|rope| rope.inv_freq.len()) {
            if pairs == 0 || pairs > self.head_dim / 2 {
                let width = self.head_dim;
                return invalid(format!("a head of {width} values cannot be rotated in {pairs} pairs"));
            }
        }
        if let Some(WindowSpec { tokens, layers }) = &self.window
            && (*tokens == 0 || layers.len() != self.layers || !layers.contains(&true))
        {
            return invalid(format!(
                "a window of {tokens} tokens in {} of {} layers",
                layers.len(),
                self.layers
            ));
        }
        if let Some(ExpertSpec { count, used }) = self.experts
            && (used == 0 || used > count)
        {
            return invalid(format!("a token cannot go through {used} of {count} experts"));
        }
        Ok(())
    }
}
