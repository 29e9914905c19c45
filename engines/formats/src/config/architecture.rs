//! The families of decoders.

use crate::{FormatError, Result};

/// A family of decoders this project runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// Llama 2 and 3, and models of the same structure.
    Llama,
    /// Qwen 2 and 2.5: biases on Q, K and V.
    Qwen2,
    /// Qwen 3: a norm on each head of Q and K.
    Qwen3,
}

impl Architecture {
    /// Every supported architecture.
    pub const ALL: [Self; 3] = [Self::Llama, Self::Qwen2, Self::Qwen3];

    /// The name both formats use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        }
    }

    /// The architecture of that name, or an error that lists the supported ones.
    pub(crate) fn named(file: &str, name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            FormatError::unsupported(file, format_args!("architecture {name:?}; supported are {known}"))
        })
    }
}
