//! Rotary positions in `config.json`: `rope_theta` with `rope_scaling`, or `rope_parameters` with both inside, in some
//! families once for each kind of layer.

use crate::config::{MAX_CONTEXT, Rope, RopeScaling};
use crate::hf::keys::{FILE, Keys, unsupported};
use crate::json::Fields;
use crate::{FormatError, Result};

/// How a model's heads turn.
#[derive(Debug, PartialEq)]
pub(super) struct Positions {
    pub(super) rope: Rope,
    /// Of the layers with a window, where it differs.
    pub(super) window_rope: Option<Rope>,
    /// How many dimensions of a head turn.
    pub(super) rotary_dim: usize,
}

/// `context` is the model's context length in tokens.
pub(super) fn read(keys: &Keys<'_>, head_dim: usize, context: usize) -> Result<Positions> {
    let fields = keys.fields;
    let newer = fields.object(FILE, "rope_parameters")?;
    let classic = fields.object(FILE, "rope_scaling")?;
    let (mut full, mut windowed) = (newer, None);
    if let Some(newer) = newer {
        let kinds = ["full_attention", "sliding_attention"];
        match (kinds.into_iter().find(|kind| newer.has(kind)), keys.family.window_theta) {
            (Some(kind), None) => {
                return unsupported(format_args!("rotary positions that differ between layers ({kind})"));
            }
            (Some(_), Some(_)) => {
                full = newer.object(FILE, kinds[0])?;
                windowed = newer.object(FILE, kinds[1])?;
            }
            (None, Some(_)) => {
                return unsupported(format_args!("rope_parameters without the kinds of layers"));
            }
            (None, None) => {}
        }
    }
    if full.is_some() && classic.is_some() && kind(full)? != kind(classic)? {
        return Err(FormatError::malformed(FILE, "rope_parameters and rope_scaling are of different types"));
    }
    let full = full.or(classic);

    let reader = Reader { keys, context };
    let rope = reader.rope(full, fields.number(FILE, "rope_theta")?.unwrap_or(keys.family.theta))?;
    let window_rope = match keys.family.window_theta {
        None => None,
        Some(theta) => {
            let theta = fields.number(FILE, "rope_local_base_freq")?.unwrap_or(theta);
            Some(reader.rope(windowed, theta)?).filter(|windowed| *windowed != rope)
        }
    };
    Ok(Positions { rope, window_rope, rotary_dim: rotary_dim(keys, full, head_dim)? })
}

/// The kind of scaling.
fn kind(fields: Option<&Fields>) -> Result<&str> {
    let Some(fields) = fields else { return Ok("default") };
    let kind = fields.text(FILE, "rope_type")?;
    Ok(kind.or(fields.text(FILE, "type")?).unwrap_or("default"))
}

/// How many dimensions of a head turn.
fn rotary_dim(keys: &Keys<'_>, fields: Option<&Fields>, head_dim: usize) -> Result<usize> {
    const PART: &str = "partial_rotary_factor";
    let nested = fields.map(|fields| fields.number(FILE, PART)).transpose()?.flatten();
    let part = nested.or(keys.fields.number(FILE, PART)?).unwrap_or(1.0);
    if part == 1.0 {
        return Ok(head_dim);
    }
    if !keys.family.partial_rotary {
        return unsupported(format_args!("partial rotary positions ({part} of each head)"));
    }
    if !(0.0..=1.0).contains(&part) {
        return Err(FormatError::malformed(FILE, format_args!("{PART} is {part}; it must be from 0 to 1")));
    }
    // Rounded down, as transformers does.
    Ok((head_dim as f64 * part) as usize)
}

/// Reads one description of rotary positions.
struct Reader<'a> {
    keys: &'a Keys<'a>,
    context: usize,
}

impl Reader<'_> {
    /// The positions that `fields` describes; `theta` is the base if it has none.
    fn rope(&self, fields: Option<&Fields>, theta: f64) -> Result<Rope> {
        let Some(fields) = fields else { return Ok(Rope { theta, scaling: RopeScaling::None }) };
        let theta = fields.number(FILE, "rope_theta")?.unwrap_or(theta);
        let phi = self.keys.family.original_context.is_some();
        let scaling = match kind(Some(fields))? {
            "default" => RopeScaling::None,
            "linear" => RopeScaling::Linear { factor: need(fields, "factor")? },
            "llama3" => RopeScaling::Llama3 {
                factor: need(fields, "factor")?,
                low_freq_factor: need(fields, "low_freq_factor")?,
                high_freq_factor: need(fields, "high_freq_factor")?,
                original_context: match self.original(fields)? {
                    Some(context) => context,
                    None => return Err(absent(ORIGINAL)),
                },
            },
            "yarn" if !phi => self.yarn(fields)?,
            // The name while it was new.
            "su" if phi => self.long(fields)?,
            "longrope" => self.long(fields)?,
            other => {
                return unsupported(format_args!(
                    "rotary scaling of type {other:?}; default, linear, llama3, yarn and longrope are built"
                ));
            }
        };
        Ok(Rope { theta, scaling })
    }

    fn yarn(&self, fields: &Fields) -> Result<RopeScaling> {
        let number = |key: &str| fields.number(FILE, key);
        let (original, factor) = self.stretch(fields)?;
        let mscale = |scale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * scale * factor.ln() + 1.0 };
        let attention_factor =
            match (number("attention_factor")?, number("mscale")?, number("mscale_all_dim")?) {
                (Some(given), ..) => given,
                (None, Some(one), Some(all)) if one != 0.0 && all != 0.0 => mscale(one) / mscale(all),
                _ => mscale(1.0),
            };
        Ok(RopeScaling::Yarn {
            factor,
            original_context: original,
            beta_fast: number("beta_fast")?.filter(|beta| *beta != 0.0).unwrap_or(32.0),
            beta_slow: number("beta_slow")?.filter(|beta| *beta != 0.0).unwrap_or(1.0),
            attention_factor,
            truncate: fields.flag(FILE, "truncate")?.unwrap_or(true),
        })
    }

    fn long(&self, fields: &Fields) -> Result<RopeScaling> {
        if let Some(key) = ["short_mscale", "long_mscale"].into_iter().find(|key| fields.get(key).is_some()) {
            return unsupported(format_args!("rotary scaling with {key}"));
        }
        let list = |key: &str| fields.numbers(FILE, key)?.ok_or_else(|| absent(key));
        let (original, factor) = self.stretch(fields)?;
        let attention_factor = match fields.number(FILE, "attention_factor")? {
            Some(given) => given,
            None if factor <= 1.0 => 1.0,
            None => (1.0 + factor.ln() / f64::from(original).ln()).sqrt(),
        };
        Ok(RopeScaling::LongRope {
            short: list("short_factor")?,
            long: list("long_factor")?,
            original_context: original,
            attention_factor,
        })
    }

    /// The context the model was first trained on, and by how much it is stretched.
    fn stretch(&self, fields: &Fields) -> Result<(u32, f64)> {
        let original = match self.original(fields)? {
            Some(original) => original,
            None => fit(self.keys.family.original_context.unwrap_or(self.context as u64))?,
        };
        let implied = self.context as f64 / f64::from(original.max(1));
        Ok((original, fields.number(FILE, "factor")?.unwrap_or(implied)))
    }

    /// The context the model was first trained on: the key at the top goes before the one inside.
    fn original(&self, fields: &Fields) -> Result<Option<u32>> {
        let outer = self.keys.fields.whole(FILE, ORIGINAL)?;
        outer.or(fields.whole(FILE, ORIGINAL)?).map(fit).transpose()
    }
}

const ORIGINAL: &str = "original_max_position_embeddings";

fn fit(context: u64) -> Result<u32> {
    u32::try_from(context).map_err(|_| FormatError::too_large(FILE, ORIGINAL, context, MAX_CONTEXT as u64))
}

fn absent(key: &str) -> FormatError {
    FormatError::malformed(FILE, format_args!("the key {key} of rotary scaling is missing"))
}

fn need(fields: &Fields, key: &str) -> Result<f64> {
    fields.number(FILE, key)?.ok_or_else(|| absent(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Family;
    use crate::hf::keys::WANTED;

    fn positions(family: &str, text: &str) -> Result<Positions> {
        let fields = Fields::parse(FILE, text.as_bytes(), WANTED)?;
        read(&Keys { fields: &fields, family: Family::of_folder(FILE, family)? }, 16, 1024)
    }

    fn rope(text: &str) -> Result<Rope> {
        Ok(positions("llama", text)?.rope)
    }

    const LLAMA3: &str = r#""factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4,
        "original_max_position_embeddings": 8192"#;

    #[test]
    fn both_layouts_agree() {
        let expected = Rope {
            theta: 500_000.0,
            scaling: RopeScaling::Llama3 {
                factor: 32.0,
                low_freq_factor: 1.0,
                high_freq_factor: 4.0,
                original_context: 8192,
            },
        };
        for text in [
            format!(r#"{{"rope_theta": 500000, "rope_scaling": {{"rope_type": "llama3", {LLAMA3}}}}}"#),
            format!(r#"{{"rope_theta": 500000, "rope_scaling": {{"type": "llama3", {LLAMA3}}}}}"#),
            format!(r#"{{"rope_parameters": {{"rope_theta": 500000.0, "rope_type": "llama3", {LLAMA3}}}}}"#),
        ] {
            assert_eq!(rope(&text).unwrap(), expected);
        }
        assert_eq!(rope("{}").unwrap(), Rope { theta: 10_000.0, scaling: RopeScaling::None });
        assert_eq!(rope(r#"{"rope_scaling": null}"#).unwrap().scaling, RopeScaling::None);
        let linear = rope(r#"{"rope_scaling": {"type": "linear", "factor": 4}}"#).unwrap();
        assert_eq!(linear.scaling, RopeScaling::Linear { factor: 4.0 });
    }

    fn yarn(text: &str) -> (f64, u32, f64, f64, f64, bool) {
        match rope(&format!(r#"{{"rope_scaling": {{"rope_type": "yarn", {text}}}}}"#)).unwrap().scaling {
            RopeScaling::Yarn {
                factor,
                original_context,
                beta_fast,
                beta_slow,
                attention_factor,
                truncate,
            } => (factor, original_context, beta_fast, beta_slow, attention_factor, truncate),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn yarn_has_its_defaults() {
        let plain = 0.1 * 4f64.ln() + 1.0;
        assert_eq!(yarn(r#""factor": 4"#), (4.0, 1024, 32.0, 1.0, plain, true));
        assert_eq!(yarn(r#""original_max_position_embeddings": 256"#), (4.0, 256, 32.0, 1.0, plain, true));
        let all =
            r#""factor": 2, "beta_fast": 16, "beta_slow": 2, "attention_factor": 1.5, "truncate": false"#;
        assert_eq!(yarn(all), (2.0, 1024, 16.0, 2.0, 1.5, false));
        let (.., attention_factor, _) = yarn(r#""factor": 4, "mscale": 2, "mscale_all_dim": 1"#);
        assert_eq!(attention_factor, (0.2 * 4f64.ln() + 1.0) / plain);
        assert_eq!(yarn(r#""factor": 0.5"#).4, 1.0);
    }

    #[test]
    fn phi_has_two_lists_and_turns_a_part() {
        let text = r#"{"original_max_position_embeddings": 256, "partial_rotary_factor": 0.75, "rope_scaling":
            {"type": "longrope", "short_factor": [1, 1.5, 2], "long_factor": [2.0, 4.0, 8.0]}}"#;
        let found = positions("phi3", text).unwrap();
        let scaling = RopeScaling::LongRope {
            short: vec![1.0, 1.5, 2.0],
            long: vec![2.0, 4.0, 8.0],
            original_context: 256,
            attention_factor: (1.0 + 4f64.ln() / 256f64.ln()).sqrt(),
        };
        assert_eq!((found.rotary_dim, found.rope.scaling), (12, scaling.clone()));
        assert_eq!(positions("phi3", &text.replace("longrope", "su")).unwrap().rope.scaling, scaling);
        let short = text.replace(r#""original_max_position_embeddings": 256, "#, "");
        let RopeScaling::LongRope { original_context, attention_factor, .. } =
            positions("phi3", &short).unwrap().rope.scaling
        else {
            panic!("no lists")
        };
        assert_eq!((original_context, attention_factor), (4096, 1.0));
    }

    #[test]
    fn layers_with_a_window_may_turn_otherwise() {
        let classic = r#"{"rope_scaling": {"rope_type": "linear", "factor": 8.0}}"#;
        let newer = r#"{"rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000}}}"#;
        let full = Rope { theta: 1e6, scaling: RopeScaling::Linear { factor: 8.0 } };
        let windowed = Rope { theta: 10_000.0, scaling: RopeScaling::None };
        for text in [classic, newer] {
            let found = positions("gemma3_text", text).unwrap();
            assert_eq!((&found.rope, found.window_rope.as_ref()), (&full, Some(&windowed)));
        }
        let same = r#"{"rope_theta": 10000.0, "rope_local_base_freq": 10000.0}"#;
        assert_eq!(positions("gemma3_text", same).unwrap().window_rope, None);
    }

    #[test]
    fn what_is_incomplete_or_other_is_refused() {
        for (family, text, word) in [
            ("llama", r#"{"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}"#, "missing"),
            ("llama", r#"{"rope_scaling": {"rope_type": "linear"}}"#, "factor of rotary scaling is missing"),
            ("llama", r#"{"rope_scaling": {"rope_type": "linear", "factor": "8"}}"#, "factor is the string"),
            ("llama", r#"{"rope_scaling": {"type": "dynamic", "factor": 8.0}}"#, "dynamic"),
            ("llama", r#"{"rope_scaling": {"type": "ntk", "factor": 8.0}}"#, "ntk"),
            ("llama", r#"{"rope_scaling": {"type": "su", "factor": 8.0}}"#, "\"su\""),
            ("phi3", r#"{"rope_scaling": {"type": "yarn", "factor": 8.0}}"#, "yarn"),
            (
                "phi3",
                r#"{"rope_scaling": {"type": "longrope"}}"#,
                "short_factor of rotary scaling is missing",
            ),
            (
                "phi3",
                r#"{"rope_scaling": {"type": "longrope", "short_factor": [1, "2"]}}"#,
                "a list of numbers",
            ),
            ("phi3", r#"{"rope_scaling": {"type": "longrope", "short_mscale": 1.1}}"#, "short_mscale"),
            ("phi3", r#"{"partial_rotary_factor": 1.5}"#, "is 1.5; it must be"),
            ("phi3", r#"{"partial_rotary_factor": -1}"#, "is -1; it must be"),
            (
                "llama",
                r#"{"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}"#,
                "partial",
            ),
            (
                "llama",
                r#"{"rope_scaling": {"type": "yarn", "original_max_position_embeddings": 4294967296}}"#,
                "4294967296",
            ),
            (
                "llama",
                r#"{"rope_scaling": {"type": "llama3"}, "rope_parameters": {"rope_type": "default"}}"#,
                "different",
            ),
            (
                "llama",
                r#"{"rope_parameters": {"full_attention": {"rope_type": "default"}}}"#,
                "differ between",
            ),
            ("gemma3_text", r#"{"rope_parameters": {"rope_type": "default"}}"#, "without the kinds"),
            ("llama", r#"{"rope_scaling": 3}"#, "an object is needed"),
        ] {
            let error = positions(family, text).unwrap_err().to_string();
            assert!(error.contains(word), "{word}: {error}");
        }
    }
}
