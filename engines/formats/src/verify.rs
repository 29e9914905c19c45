//! Which tensors a configuration calls for, and whether a checkpoint has exactly those.

use std::fmt::Write;

use crate::config::RopeScaling;
use crate::names::{EMBEDDING, FINAL_NORM, LAYER, OUTPUT, split_layer};
use crate::{Checkpoint, Dtype, FormatError, ModelConfig, Result, Text};

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

/// Every tensor of a model: those that occur once, and those that occur in each layer.
struct Expected {
    global: Vec<(&'static str, Shape)>,
    layer: Vec<(&'static str, Shape)>,
    layers: usize,
}

impl Expected {
    fn of(config: &ModelConfig) -> Self {
        let vector = |len: usize| Shape::Vector([len as u64]);
        let matrix = |rows: usize, columns: usize| Shape::Matrix([rows as u64, columns as u64]);
        let (hidden, q, kv) = (config.hidden_size, config.q_width(), config.kv_width());
        let inner = config.intermediate_size;

        let mut global = vec![(EMBEDDING, matrix(config.vocab_size, hidden)), (FINAL_NORM, vector(hidden))];
        if !config.tie_embeddings {
            global.push((OUTPUT, matrix(config.vocab_size, hidden)));
        }
        if config.rope.scaling == RopeScaling::Factors {
            global.push((RopeScaling::FACTORS, vector(config.head_dim / 2)));
        }

        let mut layer = vec![
            ("input_layernorm.weight", vector(hidden)),
            ("self_attn.q_proj.weight", matrix(q, hidden)),
            ("self_attn.k_proj.weight", matrix(kv, hidden)),
            ("self_attn.v_proj.weight", matrix(kv, hidden)),
            ("self_attn.o_proj.weight", matrix(hidden, q)),
            ("post_attention_layernorm.weight", vector(hidden)),
            ("mlp.gate_proj.weight", matrix(inner, hidden)),
            ("mlp.up_proj.weight", matrix(inner, hidden)),
            ("mlp.down_proj.weight", matrix(hidden, inner)),
        ];
        if config.qkv_bias {
            layer.push(("self_attn.q_proj.bias", vector(q)));
            layer.push(("self_attn.k_proj.bias", vector(kv)));
            layer.push(("self_attn.v_proj.bias", vector(kv)));
        }
        if config.attention_out_bias {
            layer.push(("self_attn.o_proj.bias", vector(hidden)));
        }
        if config.mlp_bias {
            layer.push(("mlp.gate_proj.bias", vector(inner)));
            layer.push(("mlp.up_proj.bias", vector(inner)));
            layer.push(("mlp.down_proj.bias", vector(hidden)));
        }
        if config.qk_norm {
            layer.push(("self_attn.q_norm.weight", vector(config.head_dim)));
            layer.push(("self_attn.k_norm.weight", vector(config.head_dim)));
        }
        Self { global, layer, layers: config.layers }
    }

    /// Calls `visit` for each tensor until it fails. Names are built one at a time, so a configuration that
    /// promises many layers costs nothing before their tensors are found.
    fn visit(&self, mut visit: impl FnMut(&str, &[u64]) -> Result<()>) -> Result<()> {
        for (name, shape) in &self.global {
            visit(name, shape.dims())?;
        }
        let mut full = String::new();
        for index in 0..self.layers {
            for (name, shape) in &self.layer {
                full.clear();
                // Writing to a string cannot fail.
                let _ = write!(full, "{LAYER}{index}.{name}");
                visit(&full, shape.dims())?;
            }
        }
        Ok(())
    }

    fn contains(&self, name: &str) -> bool {
        if self.global.iter().any(|(known, _)| *known == name) {
            return true;
        }
        let Some((index, rest)) = name.strip_prefix(LAYER).and_then(split_layer) else { return false };
        index < self.layers && self.layer.iter().any(|(known, _)| *known == rest)
    }
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
                _ if name == RopeScaling::FACTORS => found.dtype == Dtype::F32,
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
}
