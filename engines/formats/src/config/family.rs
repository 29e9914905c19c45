//! What sets one family apart from the others: the table that both readers work from.

use crate::config::{Activation, Architecture};
use crate::{FormatError, Result};

/// The facts about a family that its files leave unsaid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Family {
    pub(crate) architecture: Architecture,
    /// `model_type` in `config.json`.
    pub(crate) folder: &'static str,
    /// `general.architecture` in GGUF; some families share one.
    pub(crate) gguf: &'static str,
    /// What sizes are where a folder leaves them out; all others must be there.
    pub(crate) sizes: &'static [(&'static str, usize)],
    /// The norm's epsilon where a folder leaves it out.
    pub(crate) eps: f64,
    /// The rotary base where a folder leaves it out.
    pub(crate) theta: f64,
    /// The rotary base of the layers with a window, where they have one of their own.
    pub(crate) window_theta: Option<f64>,
    /// Only a part of each head may rotate.
    pub(crate) partial_rotary: bool,
    /// The context a model with stretched positions was first trained on, where a folder leaves it out; otherwise its
    /// context length.
    pub(crate) original_context: Option<u64>,
    /// Rows of Q and K in GGUF are ordered for rotating neighbours.
    pub(crate) interleaved: bool,
    pub(crate) window: WindowRule,
    pub(crate) bias: Bias,
    /// The key `mlp_bias` is heeded.
    pub(crate) mlp_bias: bool,
    pub(crate) qk_norm: bool,
    pub(crate) tied: bool,
    pub(crate) activation: Activation,
    /// Gemma's ways: norms after both parts of a layer too, stored less one in folders, embeddings multiplied by the
    /// root of the hidden size, and a scale of attention scores of its own.
    pub(crate) gemma: bool,
    /// Soft caps of attention scores and logits where a folder leaves them out; `None` in families without the keys.
    pub(crate) soft_caps: Option<(Option<f64>, Option<f64>)>,
    /// GGUF's `ffn_up` has the rows of the gate too, before its own.
    pub(crate) fused_up: bool,
    pub(crate) experts: Option<ExpertsRule>,
}

/// Which layers have a window. The key `layer_types` overrides the last three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WindowRule {
    /// None.
    Never,
    /// All, where there is a window at all.
    Every {
        /// The window where a folder has no such key.
        tokens: Option<usize>,
        /// Only if the key `use_sliding_window` is true.
        switched: bool,
    },
    /// Those from the key `max_window_layers` on, if `use_sliding_window` is true.
    From,
    /// Every other one of those below `max_window_layers`, if `use_sliding_window` is true.
    EvenBelow,
    /// All but the last of each run of so many.
    Period(usize),
}

/// The tokens of a window where a folder with a window has no key for it.
pub(crate) const WINDOW: usize = 4096;
/// `max_window_layers` where a folder has no such key.
pub(crate) const MAX_WINDOW_LAYERS: usize = 28;

/// Which projections of attention have biases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bias {
    /// None.
    Never,
    /// All four, if `attention_bias` is true.
    Keyed,
    /// Q, K and V.
    Qkv,
    /// Q, K and V, unless `qkv_bias` is false.
    QkvUnlessKeyed,
}

/// How a family's mixture of experts is described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExpertsRule {
    /// Experts have a width of their own; otherwise the feed-forward part's.
    pub(crate) own_width: bool,
    /// One expert is every token's.
    pub(crate) shared: bool,
    /// Whether weights are divided by their sum, where a folder does not say.
    pub(crate) normalise_folder: bool,
    /// The same for GGUF files.
    pub(crate) normalise_gguf: bool,
}

const LLAMA: Family = Family {
    architecture: Architecture::Llama,
    folder: "llama",
    gguf: "llama",
    sizes: &[],
    eps: 1e-6,
    theta: 10_000.0,
    window_theta: None,
    partial_rotary: false,
    original_context: None,
    interleaved: true,
    window: WindowRule::Never,
    bias: Bias::Keyed,
    mlp_bias: true,
    qk_norm: false,
    tied: false,
    activation: Activation::Silu,
    gemma: false,
    soft_caps: None,
    fused_up: false,
    experts: None,
};

const MISTRAL: Family = Family {
    architecture: Architecture::Mistral,
    folder: "mistral",
    window: WindowRule::Every { tokens: Some(WINDOW), switched: false },
    bias: Bias::Never,
    mlp_bias: false,
    ..LLAMA
};

const QWEN2: Family = Family {
    architecture: Architecture::Qwen2,
    folder: "qwen2",
    gguf: "qwen2",
    interleaved: false,
    window: WindowRule::From,
    bias: Bias::Qkv,
    mlp_bias: false,
    ..LLAMA
};

const QWEN3: Family = Family {
    architecture: Architecture::Qwen3,
    folder: "qwen3",
    gguf: "qwen3",
    sizes: &[("head_dim", 128)],
    bias: Bias::Keyed,
    qk_norm: true,
    ..QWEN2
};

const GEMMA2: Family = Family {
    architecture: Architecture::Gemma2,
    folder: "gemma2",
    gguf: "gemma2",
    sizes: &[("head_dim", 256)],
    interleaved: false,
    window: WindowRule::Period(2),
    mlp_bias: false,
    tied: true,
    activation: Activation::GeluTanh,
    gemma: true,
    soft_caps: Some((Some(50.0), Some(30.0))),
    ..LLAMA
};

/// Every family, in the order of [`Architecture`].
pub(crate) static FAMILIES: [Family; Architecture::ALL.len()] = [
    LLAMA,
    MISTRAL,
    Family {
        architecture: Architecture::Mixtral,
        folder: "mixtral",
        eps: 1e-5,
        theta: 1e6,
        window: WindowRule::Every { tokens: None, switched: false },
        experts: Some(ExpertsRule {
            own_width: false,
            shared: false,
            normalise_folder: true,
            normalise_gguf: true,
        }),
        ..MISTRAL
    },
    QWEN2,
    QWEN3,
    Family {
        architecture: Architecture::Qwen2Moe,
        folder: "qwen2_moe",
        gguf: "qwen2moe",
        window: WindowRule::EvenBelow,
        bias: Bias::QkvUnlessKeyed,
        experts: Some(ExpertsRule {
            own_width: true,
            shared: true,
            normalise_folder: false,
            normalise_gguf: false,
        }),
        ..QWEN2
    },
    Family {
        architecture: Architecture::Qwen3Moe,
        folder: "qwen3_moe",
        gguf: "qwen3moe",
        sizes: &[],
        window: WindowRule::Every { tokens: Some(WINDOW), switched: true },
        experts: Some(ExpertsRule {
            own_width: true,
            shared: false,
            normalise_folder: false,
            normalise_gguf: true,
        }),
        ..QWEN3
    },
    Family {
        architecture: Architecture::Phi3,
        folder: "phi3",
        gguf: "phi3",
        eps: 1e-5,
        partial_rotary: true,
        original_context: Some(4096),
        interleaved: false,
        window: WindowRule::Every { tokens: None, switched: false },
        fused_up: true,
        ..MISTRAL
    },
    GEMMA2,
    Family {
        architecture: Architecture::Gemma3,
        folder: "gemma3_text",
        gguf: "gemma3",
        sizes: &[
            ("vocab_size", 262_208),
            ("num_attention_heads", 8),
            ("num_key_value_heads", 4),
            ("head_dim", 256),
            ("max_position_embeddings", 131_072),
        ],
        theta: 1e6,
        window_theta: Some(10_000.0),
        window: WindowRule::Period(6),
        qk_norm: true,
        soft_caps: Some((None, None)),
        ..GEMMA2
    },
];

impl Family {
    /// The family with that `model_type`.
    pub(crate) fn of_folder(file: &str, name: &str) -> Result<&'static Self> {
        let found = FAMILIES.iter().find(|family| family.folder == name);
        found.ok_or_else(|| unknown(file, name, FAMILIES.iter().map(|family| family.folder)))
    }

    /// The family of a GGUF file with that `general.architecture`. `experts` and `window` say what the file has, which
    /// tells those apart that share a name.
    pub(crate) fn of_gguf(file: &str, name: &str, experts: bool, window: bool) -> Result<&'static Self> {
        let mut found = FAMILIES.iter().filter(|family| family.gguf == name);
        let Some(first) = found.next() else {
            let mut names: Vec<_> = FAMILIES.iter().map(|family| family.gguf).collect();
            names.dedup();
            return Err(unknown(file, name, names.into_iter()));
        };
        let mut others = found.filter(|family| match experts {
            true => family.experts.is_some(),
            false => window && family.experts.is_none(),
        });
        Ok(others.next().unwrap_or(first))
    }

    /// What a size is where a folder leaves it out.
    pub(crate) fn size(&self, key: &str) -> Option<usize> {
        self.sizes.iter().find(|(known, _)| *known == key).map(|(_, size)| *size)
    }
}

/// The refusal of an architecture, with those that are supported.
fn unknown(file: &str, name: &str, known: impl Iterator<Item = &'static str>) -> FormatError {
    let known: Vec<_> = known.collect();
    let known = known.join(", ");
    FormatError::unsupported(file, format_args!("architecture {name:?}; supported are {known}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_architectures() {
        for (architecture, family) in Architecture::ALL.into_iter().zip(&FAMILIES) {
            assert_eq!(architecture, family.architecture);
            assert_eq!(Family::of_folder("t", architecture.name()).unwrap().architecture, architecture);
        }
    }

    #[test]
    fn families_that_share_a_name_are_told_apart() {
        for (name, experts, window, expected) in [
            ("llama", false, false, Architecture::Llama),
            ("llama", false, true, Architecture::Mistral),
            ("llama", true, false, Architecture::Mixtral),
            ("llama", true, true, Architecture::Mixtral),
            ("qwen2moe", true, false, Architecture::Qwen2Moe),
            ("phi3", false, true, Architecture::Phi3),
            ("gemma3", false, true, Architecture::Gemma3),
        ] {
            let family = Family::of_gguf("t", name, experts, window).unwrap();
            assert_eq!(family.architecture, expected, "{name} {experts} {window}");
        }
    }

    #[test]
    fn others_are_refused_with_those_that_are_known() {
        let error = Family::of_folder("t", "mamba").unwrap_err().to_string();
        let known = "llama, mistral, mixtral, qwen2, qwen3, qwen2_moe, qwen3_moe, phi3, gemma2, gemma3_text";
        assert!(error.contains(&format!("architecture \"mamba\"; supported are {known}")), "{error}");
        let error = Family::of_gguf("t", "mamba", false, false).unwrap_err().to_string();
        let known = "llama, qwen2, qwen3, qwen2moe, qwen3moe, phi3, gemma2, gemma3";
        assert!(error.contains(&format!("supported are {known}")), "{error}");
    }
}
