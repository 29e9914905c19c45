//! A folder's mixture of experts.

use crate::config::Experts;
use crate::hf::keys::{FILE, Keys, absent};
use crate::{FormatError, Result};

/// `layers` is within its range. `intermediate` is the feed-forward part's width.
pub(super) fn read(keys: &Keys<'_>, layers: usize, intermediate: usize) -> Result<Option<Experts>> {
    let Some(rule) = keys.family.experts else { return Ok(None) };
    let count = match keys.size("num_local_experts")? {
        Some(count) => count,
        None => keys.need("num_experts")?,
    };
    let step = keys.size("decoder_sparse_step")?.unwrap_or(1);
    if step == 0 {
        return Err(FormatError::malformed(FILE, "decoder_sparse_step is 0"));
    }
    let dense = keys.fields.ids(FILE, "mlp_only_layers")?.unwrap_or_default();
    let mixed = |layer: usize| {
        let listed = dense.iter().any(|dense| *dense as usize == layer);
        !rule.own_width || (!listed && (layer + 1).is_multiple_of(step))
    };
    let list: Vec<bool> = (0..layers).map(mixed).collect();
    if !list.contains(&true) {
        return Ok(None);
    }
    let normalise = keys.fields.flag(FILE, "norm_topk_prob")?;
    Ok(Some(Experts {
        count,
        used: keys.size("num_experts_per_tok")?.ok_or_else(|| absent("num_experts_per_tok"))?,
        intermediate_size: if rule.own_width { keys.need("moe_intermediate_size")? } else { intermediate },
        shared: if rule.shared { Some(keys.need("shared_expert_intermediate_size")?) } else { None },
        // Only those with experts of their own width have the key.
        normalise: normalise.filter(|_| rule.own_width).unwrap_or(rule.normalise_folder),
        layers: list,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Family;
    use crate::hf::keys::WANTED;
    use crate::json::Fields;

    fn experts(family: &str, text: &str) -> Result<Option<Experts>> {
        let fields = Fields::parse(FILE, text.as_bytes(), WANTED)?;
        read(&Keys { fields: &fields, family: Family::of_folder(FILE, family)? }, 4, 96)
    }

    const QWEN: &str = r#"{"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 24,
        "shared_expert_intermediate_size": 40, "norm_topk_prob": true, "decoder_sparse_step": 2, "mlp_only_layers": [3]}"#;

    #[test]
    fn each_family_has_its_keys() {
        let mixtral = experts("mixtral", r#"{"num_local_experts": 8, "num_experts_per_tok": 2}"#).unwrap();
        let expected = Experts {
            count: 8,
            used: 2,
            intermediate_size: 96,
            shared: None,
            normalise: true,
            layers: vec![true; 4],
        };
        assert_eq!(mixtral, Some(expected.clone()));
        let qwen = Experts { intermediate_size: 24, layers: vec![false, true, false, false], ..expected };
        assert_eq!(experts("qwen3_moe", QWEN).unwrap(), Some(qwen.clone()));
        assert_eq!(experts("qwen2_moe", QWEN).unwrap(), Some(Experts { shared: Some(40), ..qwen.clone() }));
        let silent = QWEN.replace(r#""norm_topk_prob": true, "#, "");
        assert!(!experts("qwen3_moe", &silent).unwrap().unwrap().normalise);
        assert_eq!(experts("llama", QWEN).unwrap(), None);
        let dense = QWEN.replace("[3]", "[0, 1, 2, 3]");
        assert_eq!(experts("qwen3_moe", &dense).unwrap(), None);
    }

    #[test]
    fn what_is_missing_or_of_another_type_is_named() {
        for (from, to, word) in [
            (r#""num_experts": 8, "#, "", "num_experts is missing"),
            (r#""num_experts_per_tok": 2, "#, "", "num_experts_per_tok is missing"),
            (r#""moe_intermediate_size": 24,"#, "", "moe_intermediate_size is missing"),
            (r#""shared_expert_intermediate_size": 40, "#, "", "shared_expert_intermediate_size is missing"),
            (r#""num_experts": 8"#, r#""num_experts": "8""#, "num_experts is the string"),
            (r#""num_experts": 8"#, r#""num_experts": 1e9"#, "num_experts is 1e9"),
            (r#""decoder_sparse_step": 2"#, r#""decoder_sparse_step": 0"#, "decoder_sparse_step is 0"),
            ("[3]", "[-3]", "mlp_only_layers is a list"),
            (r#""norm_topk_prob": true"#, r#""norm_topk_prob": 1"#, "norm_topk_prob is 1"),
        ] {
            assert!(QWEN.contains(from), "{from}");
            let error = experts("qwen2_moe", &QWEN.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(word), "{word}: {error}");
        }
    }
}
