//! Which tensors a configuration calls for, and whether a checkpoint has exactly those.

use std::fmt::Write;

use crate::config::RopeScaling;
use crate::names::{EMBEDDING, FINAL_NORM, LAYER, OUTPUT, split_layer};
use crate::{Checkpoint, Dtype, Experts, FormatError, ModelConfig, Result, Text};

/// The shape of a vector or a matrix, outermost dimension first.
#[derive(Clone, Copy)]
enum Shape {
    Vector([u64; 1]),
    Matrix([u64; 2]),
}

impl Shape {
    fn dims(&self) -> &[u64] {
        match self {
            Self::Vector(dims) => dims,
            Self::Matrix(dims) => dims,
        }
    }
}

/// Every tensor of a model: those that occur once, in each layer, in layers of either kind, and in each expert.
struct Expected<'a> {
    config: &'a ModelConfig,
    global: Vec<(&'static str, Shape)>,
    layer: Vec<(&'static str, Shape)>,
    /// In layers without experts.
    dense: Vec<(&'static str, Shape)>,
    /// In layers with experts.
    mixed: Vec<(&'static str, Shape)>,
    /// In each expert, after [`EXPERTS`] and its number.
    expert: Vec<(&'static str, Shape)>,
}

/// What the names of an expert's tensors begin with, after the layer's; its number and a dot follow.
const EXPERTS: &str = "mlp.experts.";

impl<'a> Expected<'a> {
    fn of(config: &'a ModelConfig) -> Self {
        let hidden = config.hidden_size;
        let mut global = vec![(EMBEDDING, matrix(config.vocab_size, hidden)), (FINAL_NORM, vector(hidden))];
        if !config.tie_embeddings {
            global.push((OUTPUT, matrix(config.vocab_size, hidden)));
        }
        let divisors = vector(config.rotary_dim / 2);
        match config.rope.scaling {
            RopeScaling::Factors => global.push((RopeScaling::FACTORS, divisors)),
            RopeScaling::LongFactors { .. } => {
                global.push((RopeScaling::SHORT_FACTORS, divisors));
                global.push((RopeScaling::LONG_FACTORS, divisors));
            }
            _ => {}
        }
        let inner = config.intermediate_size;
        let mut dense =
            gated(["mlp.gate_proj.weight", "mlp.up_proj.weight", "mlp.down_proj.weight"], inner, hidden);
        if config.mlp_bias {
            dense.push(("mlp.gate_proj.bias", vector(inner)));
            dense.push(("mlp.up_proj.bias", vector(inner)));
            dense.push(("mlp.down_proj.bias", vector(hidden)));
        }
        let (mut mixed, mut expert) = (Vec::new(), Vec::new());
        if let Some(experts) = &config.experts {
            mixed.push(("mlp.gate.weight", matrix(experts.count, hidden)));
            if let Some(inner) = experts.shared {
                mixed.push(("mlp.shared_expert_gate.weight", matrix(1, hidden)));
                mixed.extend(gated(SHARED, inner, hidden));
            }
            let names = ["gate_proj.weight", "up_proj.weight", "down_proj.weight"];
            expert = gated(names, experts.intermediate_size, hidden);
        }
        Self { config, global, layer: layer(config), dense, mixed, expert }
    }

    /// The mixture of a layer, if it has one.
    fn experts(&self, layer: usize) -> Option<&Experts> {
        self.config.experts.as_ref().filter(|experts| experts.layers.get(layer) == Some(&true))
    }

    /// Calls `visit` for each tensor until it fails. Names are built one at a time, so a configuration that
    /// promises many layers or experts costs nothing before their tensors are found.
    fn visit(&self, mut visit: impl FnMut(&str, &[u64]) -> Result<()>) -> Result<()> {
        for (name, shape) in &self.global {
            visit(name, shape.dims())?;
        }
        let mut full = String::new();
        let mut named = |name: std::fmt::Arguments<'_>, shape: &Shape| {
            full.clear();
            // Writing to a string cannot fail.
            let _ = full.write_fmt(name);
            visit(&full, shape.dims())
        };
        for index in 0..self.config.layers {
            let experts = self.experts(index);
            let own = if experts.is_some() { &self.mixed } else { &self.dense };
            for (name, shape) in self.layer.iter().chain(own) {
                named(format_args!("{LAYER}{index}.{name}"), shape)?;
            }
            for expert in 0..experts.map_or(0, |experts| experts.count) {
                for (name, shape) in &self.expert {
                    named(format_args!("{LAYER}{index}.{EXPERTS}{expert}.{name}"), shape)?;
                }
            }
        }
        Ok(())
    }

    fn contains(&self, name: &str) -> bool {
        let within = |list: &[(&str, Shape)], name: &str| list.iter().any(|(known, _)| *known == name);
        if within(&self.global, name) {
            return true;
        }
        let Some((index, rest)) = name.strip_prefix(LAYER).and_then(split_layer) else { return false };
        if index >= self.config.layers {
            return false;
        }
        let Some(experts) = self.experts(index) else {
            return within(&self.layer, rest) || within(&self.dense, rest);
        };
        match rest.strip_prefix(EXPERTS).and_then(split_layer) {
            Some((expert, part)) => expert < experts.count && within(&self.expert, part),
            None => within(&self.layer, rest) || within(&self.mixed, rest),
        }
    }
}

const SHARED: [&str; 3] = [
    "mlp.shared_expert.gate_proj.weight",
    "mlp.shared_expert.up_proj.weight",
    "mlp.shared_expert.down_proj.weight",
];

fn vector(len: usize) -> Shape {
    Shape::Vector([len as u64])
}

fn matrix(rows: usize, columns: usize) -> Shape {
    Shape::Matrix([rows as u64, columns as u64])
}

/// A gated feed-forward part: the gate, what it gates, and the way back.
fn gated(names: [&'static str; 3], inner: usize, hidden: usize) -> Vec<(&'static str, Shape)> {
    let [gate, up, down] = names;
    vec![(gate, matrix(inner, hidden)), (up, matrix(inner, hidden)), (down, matrix(hidden, inner))]
}

/// Attention and the norms, which every layer has.
fn layer(config: &ModelConfig) -> Vec<(&'static str, Shape)> {
    let (hidden, q, kv) = (config.hidden_size, config.q_width(), config.kv_width());
    let mut layer = vec![
        ("input_layernorm.weight", vector(hidden)),
        ("self_attn.q_proj.weight", matrix(q, hidden)),
        ("self_attn.k_proj.weight", matrix(kv, hidden)),
        ("self_attn.v_proj.weight", matrix(kv, hidden)),
        ("self_attn.o_proj.weight", matrix(hidden, q)),
        ("post_attention_layernorm.weight", vector(hidden)),
    ];
    if config.post_norms {
        layer.push(("pre_feedforward_layernorm.weight", vector(hidden)));
        layer.push(("post_feedforward_layernorm.weight", vector(hidden)));
    }
    if config.qkv_bias {
        layer.push(("self_attn.q_proj.bias", vector(q)));
        layer.push(("self_attn.k_proj.bias", vector(kv)));
        layer.push(("self_attn.v_proj.bias", vector(kv)));
    }
    if config.attention_out_bias {
        layer.push(("self_attn.o_proj.bias", vector(hidden)));
    }
    if config.qk_norm {
        layer.push(("self_attn.q_norm.weight", vector(config.head_dim)));
        layer.push(("self_attn.k_norm.weight", vector(config.head_dim)));
    }
    layer
}

/// Every tensor a model of this configuration has, with its shape, outermost dimension first: `[out, in]` for a
/// matrix. Expects a configuration that passes [`ModelConfig::check`].
pub fn expected_tensors(config: &ModelConfig) -> Vec<(String, Vec<u64>)> {
    let mut all = Vec::new();
    let done = Expected::of(config).visit(|name, shape| {
        all.push((name.to_owned(), shape.to_vec()));
        Ok(())
    });
    debug_assert!(done.is_ok(), "the visitor never fails");
    all
}

/// Buffers some exporters write beside the weights; they follow from the configuration.
fn is_ignored(name: &str, config: &ModelConfig) -> bool {
    name.ends_with("rotary_emb.inv_freq")
        || name.ends_with(".attn_rot_embd.weight")
        || (name == OUTPUT && config.tie_embeddings)
}

/// The tensors whose numbers go into rotary positions.
const DIVISORS: [&str; 3] = [RopeScaling::FACTORS, RopeScaling::SHORT_FACTORS, RopeScaling::LONG_FACTORS];

impl Checkpoint {
    /// Checks that every tensor the configuration calls for is present with its shape and a fitting type, and that
    /// there are no others but ignorable ones. [`crate::open`] has done this already.
    ///
    /// # Errors
    /// Names the first tensor that is missing, misshapen or unknown.
    pub fn verify(&self) -> Result<()> {
        let expected = Expected::of(&self.config);
        expected.visit(|name, shape| {
            let Some(found) = self.tensors.get(name) else {
                return Err(FormatError::TensorMissing { tensor: Text::new(name), expected: shape.to_vec() });
            };
            if found.shape != shape {
                return Err(FormatError::Shape {
                    tensor: Text::new(name),
                    expected: shape.to_vec(),
                    found: found.shape.clone(),
                });
            }
            let fits = match shape.len() {
                _ if DIVISORS.contains(&name) => found.dtype == Dtype::F32,
                1 => !found.dtype.is_quantized(),
                _ => true,
            };
            if !fits {
                let what = format_args!("tensor {name} of type {}", found.dtype);
                return Err(FormatError::unsupported(&self.name(), what));
            }
            Ok(())
        })?;
        let stray =
            self.tensors.keys().find(|name| !expected.contains(name) && !is_ignored(name, &self.config));
        match stray {
            None => Ok(()),
            Some(name) => Err(FormatError::TensorUnexpected {
                tensor: Text::new(name),
                architecture: self.config.architecture.name(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{tiny_checkpoint, tiny_config};

    #[test]
    fn the_list_has_every_part_once() {
        let mut config = tiny_config();
        config.tie_embeddings = false;
        config.qkv_bias = true;
        config.qk_norm = true;
        let all = expected_tensors(&config);
        assert_eq!(all.len(), 3 + config.layers * (9 + 3 + 2));
        let mut names: Vec<_> = all.iter().map(|(name, _)| name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all.len());
        let q = all.iter().find(|(name, _)| name == "model.layers.1.self_attn.q_proj.weight").unwrap();
        assert_eq!(q.1, [config.q_width() as u64, config.hidden_size as u64]);
    }

    #[test]
    fn a_complete_checkpoint_passes() {
        tiny_checkpoint().verify().unwrap();
    }

    #[test]
    fn a_missing_tensor_is_named() {
        let mut model = tiny_checkpoint();
        model.tensors.remove("model.layers.1.mlp.up_proj.weight");
        let error = model.verify().unwrap_err();
        assert!(error.to_string().contains("model.layers.1.mlp.up_proj.weight"), "{error}");
    }

    #[test]
    fn a_wrong_shape_is_named_with_both() {
        let mut model = tiny_checkpoint();
        model.tensors.get_mut("model.norm.weight").unwrap().shape = vec![3];
        let error = model.verify().unwrap_err();
        assert!(matches!(&error, FormatError::Shape { found, .. } if found == &[3]), "{error}");
    }

    #[test]
    fn an_unknown_tensor_is_refused_and_a_buffer_ignored() {
        let mut model = tiny_checkpoint();
        let extra = model.tensors["model.norm.weight"].clone();
        model.tensors.insert("model.layers.0.self_attn.rotary_emb.inv_freq".into(), extra.clone());
        model.verify().unwrap();
        model.tensors.insert("model.layers.9.input_layernorm.weight".into(), extra);
        assert!(matches!(model.verify(), Err(FormatError::TensorUnexpected { .. })));
    }

    #[test]
    fn a_quantized_norm_is_refused() {
        let mut model = tiny_checkpoint();
        model.tensors.get_mut("model.norm.weight").unwrap().dtype = Dtype::Q8_0;
        assert!(matches!(model.verify(), Err(FormatError::Unsupported { .. })));
    }

    fn mixed_config() -> ModelConfig {
        let mut config = tiny_config();
        config.experts = Some(Experts {
            count: 4,
            used: 2,
            intermediate_size: 16,
            shared: Some(8),
            normalise: true,
            layers: vec![false, true],
        });
        config
    }

    #[test]
    fn experts_are_in_their_layers_only() {
        let config = mixed_config();
        let all = expected_tensors(&config);
        assert_eq!(all.len(), 2 + (6 + 3) + (6 + 1 + 4 + 4 * 3));
        let expected = Expected::of(&config);
        assert!(all.iter().all(|(name, _)| expected.contains(name)));
        let shape =
            |name: &str| all.iter().find(|(known, _)| known == name).map(|(_, shape)| shape.as_slice());
        assert_eq!(shape("model.layers.1.mlp.gate.weight"), Some(&[4, 32][..]));
        assert_eq!(shape("model.layers.1.mlp.experts.3.down_proj.weight"), Some(&[32, 16][..]));
        assert_eq!(shape("model.layers.1.mlp.shared_expert.up_proj.weight"), Some(&[8, 32][..]));
        assert_eq!(shape("model.layers.1.mlp.shared_expert_gate.weight"), Some(&[1, 32][..]));
        for name in [
            "model.layers.0.mlp.gate.weight",
            "model.layers.1.mlp.up_proj.weight",
            "model.layers.1.mlp.experts.4.up_proj.weight",
            "model.layers.1.mlp.experts.00.up_proj.weight",
            "model.layers.0.mlp.experts.0.up_proj.weight",
            "model.layers.1.mlp.experts.up_proj.weight",
        ] {
            assert!(!expected.contains(name) && shape(name).is_none(), "{name}");
        }
    }

    #[test]
    fn a_promise_of_many_experts_costs_nothing() {
        let mut model = tiny_checkpoint();
        model.config = mixed_config();
        model.config.experts.as_mut().unwrap().count = 1_000_000;
        let error = model.verify().unwrap_err().to_string();
        assert!(error.contains("model.layers.1.mlp.gate.weight of shape [1000000, 32]"), "{error}");
    }
}
