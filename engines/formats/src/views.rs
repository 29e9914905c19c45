//! Fused and stacked tensors as views of their parts. The rows of a part follow each other in the file, so a part is a
//! tensor like any other, with its own offset and length.

use std::collections::BTreeMap;

use crate::names::{LAYER, split_layer};
use crate::source::reserved;
use crate::{Dtype, FormatError, ModelConfig, Result, TensorInfo, Text};

/// Replaces every tensor that holds the parts of several by those parts. `tensors` have this project's names.
///
/// # Errors
/// A tensor has another shape than the configuration says, or a part is there twice.
pub(crate) fn split(
    tensors: BTreeMap<String, TensorInfo>,
    config: &ModelConfig,
    file: &str,
) -> Result<BTreeMap<String, TensorInfo>> {
    let (whole, parted): (BTreeMap<_, _>, BTreeMap<_, _>) =
        tensors.into_iter().partition(|(name, _)| Fused::of(name, config).is_none());
    let mut split = whole;
    for (name, tensor) in &mut split {
        // GGUF drops the dimension of one row.
        if name.ends_with(".mlp.shared_expert_gate.weight") && tensor.shape.len() == 1 {
            tensor.shape.insert(0, 1);
        }
    }
    for (name, tensor) in parted {
        let Some(fused) = Fused::of(&name, config) else { continue };
        for part in fused.views(&tensor)? {
            if let Some(twice) = split.insert(part.name.clone(), part) {
                return Err(FormatError::malformed(
                    file,
                    format_args!("tensor {:?} appears twice", twice.name),
                ));
            }
        }
    }
    Ok(split)
}

/// How a tensor holds its parts.
struct Fused {
    /// The shape it must have; the parts divide its first dimension, or its second if it is a stack.
    shape: Vec<u64>,
    /// What each part's name begins with.
    prefix: String,
    /// For a stack, how many times the parts follow each other; their names then have the number.
    stack: Option<u64>,
    /// The parts, with their rows.
    parts: Vec<(&'static str, u64)>,
    /// What each part's name ends with.
    suffix: &'static str,
}

impl Fused {
    /// How the tensor of that name holds its parts, if it does.
    fn of(name: &str, config: &ModelConfig) -> Option<Self> {
        let (layer, rest) = name.strip_prefix(LAYER).and_then(split_layer)?;
        let hidden = config.hidden_size as u64;
        let (q, kv) = (config.q_width() as u64, config.kv_width() as u64);
        let qkv = [("q_proj", q), ("k_proj", kv), ("v_proj", kv)];
        let inner = config.intermediate_size as u64;
        let gated = |inner: u64| vec![("gate_proj", inner), ("up_proj", inner)];
        let of = |part: &str,
                  columns: Option<u64>,
                  stack: Option<u64>,
                  parts: Vec<(&'static str, u64)>,
                  suffix| {
            let rows: u64 = parts.iter().map(|(_, rows)| rows).sum();
            let shape = stack.into_iter().chain([rows]).chain(columns).collect();
            Some(Fused { shape, prefix: format!("{LAYER}{layer}.{part}."), stack, parts, suffix })
        };
        match rest {
            "self_attn.qkv_proj.weight" => of("self_attn", Some(hidden), None, qkv.to_vec(), ".weight"),
            "self_attn.qkv_proj.bias" => of("self_attn", None, None, qkv.to_vec(), ".bias"),
            "mlp.gate_up_proj.weight" => of("mlp", Some(hidden), None, gated(inner), ".weight"),
            _ => {
                let experts =
                    config.experts.as_ref().filter(|experts| experts.layers.get(layer) == Some(&true))?;
                let (count, inner) = (Some(experts.count as u64), experts.intermediate_size as u64);
                let stack = |parts, columns| of("mlp.experts", Some(columns), count, parts, ".weight");
                match rest.strip_prefix("mlp.experts.")? {
                    "gate_proj.weight" => stack(vec![("gate_proj", inner)], hidden),
                    "up_proj.weight" => stack(vec![("up_proj", inner)], hidden),
                    "down_proj.weight" => stack(vec![("down_proj", hidden)], inner),
                    "gate_up_proj.weight" => stack(gated(inner), hidden),
                    _ => None,
                }
            }
        }
    }

    /// The parts, in the order of their bytes.
    fn views(&self, tensor: &TensorInfo) -> Result<Vec<TensorInfo>> {
        if tensor.shape != self.shape {
            return Err(FormatError::Shape {
                tensor: Text::new(&tensor.name),
                expected: self.shape.clone(),
                found: tensor.shape.clone(),
            });
        }
        let stack = self.stack.unwrap_or(1);
        let columns = match (self.stack, self.shape.len()) {
            (None, 1) => None,
            _ => self.shape.last(),
        };
        // Both are within the configuration's ranges.
        let mut views = reserved(stack as usize * self.parts.len(), "descriptions of parts")?;
        let mut offset = tensor.offset;
        for number in 0..stack {
            for (part, rows) in &self.parts {
                let name = match self.stack {
                    Some(_) => format!("{}{number}.{part}{}", self.prefix, self.suffix),
                    None => format!("{}{part}{}", self.prefix, self.suffix),
                };
                let shape: Vec<u64> = [*rows].into_iter().chain(columns.copied()).collect();
                let bytes = rows_bytes(tensor.dtype, &shape).ok_or_else(|| self.cut(tensor))?;
                views.push(TensorInfo { name, dtype: tensor.dtype, shape, file: tensor.file, offset, bytes });
                offset = offset.checked_add(bytes).ok_or_else(|| self.cut(tensor))?;
            }
        }
        match tensor.offset.checked_add(tensor.bytes) == Some(offset) {
            true => Ok(views),
            false => Err(self.cut(tensor)),
        }
    }

    /// That the parts do not end where rows of the file do.
    fn cut(&self, tensor: &TensorInfo) -> FormatError {
        let (name, dtype) = (&tensor.name, tensor.dtype);
        FormatError::unsupported(name, format_args!("its {dtype} blocks do not end with its parts"))
    }
}

/// Bytes of a part; `None` if its rows are no whole number of blocks.
fn rows_bytes(dtype: Dtype, shape: &[u64]) -> Option<u64> {
    let row = *shape.last()?;
    if !row.is_multiple_of(dtype.block_len()) {
        return None;
    }
    dtype.bytes_for(shape.iter().try_fold(1_u64, |product, dim| product.checked_mul(*dim))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Experts;
    use crate::testing::tiny_config;

    fn tensor(name: &str, dtype: Dtype, shape: &[u64]) -> (String, TensorInfo) {
        let bytes = dtype.bytes_for(shape.iter().product()).unwrap();
        (
            name.to_owned(),
            TensorInfo { name: name.to_owned(), dtype, shape: shape.to_vec(), file: 3, offset: 1000, bytes },
        )
    }

    /// A name after its layer, with shape, offset and bytes.
    type View = (String, Vec<u64>, u64, u64);

    /// The views of a tensor, in the order of their bytes.
    fn views(config: &ModelConfig, name: &str, dtype: Dtype, shape: &[u64]) -> Result<Vec<View>> {
        let name = format!("model.layers.1.{name}");
        let split = split([tensor(&name, dtype, shape)].into(), config, "t")?;
        assert!(split.iter().all(|(name, view)| *name == view.name && view.file == 3 && view.dtype == dtype));
        let mut views: Vec<_> = split.into_values().collect();
        views.sort_by_key(|view| view.offset);
        let short = |name: &str| name.strip_prefix("model.layers.1.").unwrap().to_owned();
        Ok(views.into_iter().map(|view| (short(&view.name), view.shape, view.offset, view.bytes)).collect())
    }

    fn mixed() -> ModelConfig {
        let mut config = tiny_config();
        config.experts = Some(Experts {
            count: 3,
            used: 2,
            intermediate_size: 64,
            shared: None,
            normalise: true,
            layers: vec![false, true],
        });
        config
    }

    #[test]
    fn fused_rows_become_parts() {
        let config = tiny_config();
        let found = views(&config, "self_attn.qkv_proj.weight", Dtype::F32, &[64, 32]).unwrap();
        let view =
            |name: &str, shape: &[u64], offset, bytes| (name.to_owned(), shape.to_vec(), offset, bytes);
        let expected = [
            view("self_attn.q_proj.weight", &[32, 32], 1000, 4096),
            view("self_attn.k_proj.weight", &[16, 32], 5096, 2048),
            view("self_attn.v_proj.weight", &[16, 32], 7144, 2048),
        ];
        assert_eq!(found, expected);
        let found = views(&config, "self_attn.qkv_proj.bias", Dtype::F16, &[64]).unwrap();
        assert_eq!(found[2], view("self_attn.v_proj.bias", &[16], 1096, 32));
        let found = views(&config, "mlp.gate_up_proj.weight", Dtype::Q8_0, &[128, 32]).unwrap();
        let expected = [
            view("mlp.gate_proj.weight", &[64, 32], 1000, 64 * 34),
            view("mlp.up_proj.weight", &[64, 32], 1000 + 64 * 34, 64 * 34),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn stacks_become_experts() {
        let config = mixed();
        let found = views(&config, "mlp.experts.down_proj.weight", Dtype::Q8_0, &[3, 32, 64]).unwrap();
        let names: Vec<_> = found.iter().map(|view| view.0.as_str()).collect();
        let expected = [
            "mlp.experts.0.down_proj.weight",
            "mlp.experts.1.down_proj.weight",
            "mlp.experts.2.down_proj.weight",
        ];
        assert_eq!(names, expected);
        assert!(found.iter().all(|view| view.1 == [32, 64] && view.3 == 32 * 68));
        let found = views(&config, "mlp.experts.gate_up_proj.weight", Dtype::F32, &[3, 128, 32]).unwrap();
        let names: Vec<_> = found.iter().map(|view| view.0.as_str()).collect();
        assert_eq!(
            names[..3],
            [
                "mlp.experts.0.gate_proj.weight",
                "mlp.experts.0.up_proj.weight",
                "mlp.experts.1.gate_proj.weight",
            ]
        );
        assert_eq!(found.len(), 6);
    }

    #[test]
    fn other_shapes_and_doubles_are_refused() {
        let config = mixed();
        for (name, shape) in [
            ("self_attn.qkv_proj.weight", &[32, 64][..]),
            ("self_attn.qkv_proj.weight", &[64]),
            ("self_attn.qkv_proj.bias", &[64, 32]),
            ("mlp.gate_up_proj.weight", &[64, 32]),
            // As other families store them, columns first.
            ("mlp.experts.gate_up_proj.weight", &[3, 32, 128]),
            ("mlp.experts.down_proj.weight", &[3, 64, 32]),
            ("mlp.experts.down_proj.weight", &[4, 32, 64]),
            ("mlp.experts.down_proj.weight", &[32, 64]),
        ] {
            let error = views(&config, name, Dtype::F32, shape).unwrap_err();
            assert!(matches!(error, FormatError::Shape { .. }), "{name} {shape:?}: {error}");
        }
        let twice = [
            tensor("model.layers.0.self_attn.qkv_proj.weight", Dtype::F32, &[64, 32]),
            tensor("model.layers.0.self_attn.k_proj.weight", Dtype::F32, &[16, 32]),
        ];
        assert!(split(twice.into(), &config, "t").unwrap_err().to_string().contains("twice"));
        // A layer without experts keeps the stack, for the message that refuses it.
        let name = "model.layers.0.mlp.experts.down_proj.weight";
        let kept = split([tensor(name, Dtype::F32, &[3, 32, 64])].into(), &config, "t").unwrap();
        assert!(kept.contains_key(name));
    }
}
