//! The families of decoders.

use crate::config::family::FAMILIES;

/// A family of decoders this project runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// Llama 2 and 3, and models of the same structure.
    Llama,
    /// Mistral: attention in a sliding window, where the model has one.
    Mistral,
    /// Mixtral: Mistral with a mixture of experts.
    Mixtral,
    /// Qwen 2 and 2.5: biases on Q, K and V.
    Qwen2,
    /// Qwen 3: a norm on each head of Q and K.
    Qwen3,
    /// Qwen 1.5 and 2 with a mixture of experts, one of them shared by all tokens.
    Qwen2Moe,
    /// Qwen 3 with a mixture of experts.
    Qwen3Moe,
    /// Phi 3 and 4: fused matrices, positions that stretch by two lists of divisors.
    Phi3,
    /// Gemma 2: norms around both parts of a layer, soft caps, a window in every other layer.
    Gemma2,
    /// Gemma 3 for text: norms around both parts and on heads, a window in five layers of six.
    Gemma3,
}

impl Architecture {
    /// Every supported architecture.
    pub const ALL: [Self; 10] = [
        Self::Llama,
        Self::Mistral,
        Self::Mixtral,
        Self::Qwen2,
        Self::Qwen3,
        Self::Qwen2Moe,
        Self::Qwen3Moe,
        Self::Phi3,
        Self::Gemma2,
        Self::Gemma3,
    ];

    /// The name in Hugging Face's configurations.
    pub const fn name(self) -> &'static str {
        FAMILIES[self as usize].folder
    }
}
