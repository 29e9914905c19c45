//! Whether the numbers of a configuration are within fixed ranges.

use std::fmt::{Debug, Display};
use std::ops::RangeInclusive;

use crate::config::{MAX_CONTEXT, MAX_VOCAB, ModelConfig, RopeScaling};
use crate::{FormatError, Result};

impl ModelConfig {
    /// Checks every number against its range: vocabulary 1 to 2²², hidden 1 to 65,536, intermediate 1 to 2²⁰,
    /// layers 1 to 512, heads 1 to 1,024, head width 2 to 512 and even, context 1 to 2²⁴.
    ///
    /// # Errors
    /// Names the first number out of range. `file` is the file they came from.
    pub fn check(&self, file: &str) -> Result<()> {
        within(file, "the vocabulary", self.vocab_size, 1..=MAX_VOCAB)?;
        within(file, "the hidden size", self.hidden_size, 1..=65_536)?;
        within(file, "the intermediate size", self.intermediate_size, 1..=1 << 20)?;
        within(file, "the number of layers", self.layers, 1..=512)?;
        within(file, "the number of attention heads", self.heads, 1..=1024)?;
        within(file, "the number of key/value heads", self.kv_heads, 1..=self.heads)?;
        within(file, "the head dimension", self.head_dim, 2..=512)?;
        within(file, "the context length", self.context_length, 1..=MAX_CONTEXT)?;
        within(file, "the norm's epsilon", self.rms_norm_eps, f64::MIN_POSITIVE..=1.0)?;
        within(file, "the rotary base", self.rope.theta, 1.0..=1e12)?;
        if !self.heads.is_multiple_of(self.kv_heads) {
            let what =
                format_args!("{} heads are no multiple of {} key/value heads", self.heads, self.kv_heads);
            return Err(FormatError::malformed(file, what));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(FormatError::malformed(
                file,
                format_args!("the head dimension {} is odd", self.head_dim),
            ));
        }
        if let RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } =
            self.rope.scaling
        {
            within(file, "the rotary scaling's factor", factor, 1.0..=1e6)?;
            within(file, "the rotary scaling's low_freq_factor", low_freq_factor, f64::MIN_POSITIVE..=1e6)?;
            within(file, "the rotary scaling's high_freq_factor", high_freq_factor, f64::MIN_POSITIVE..=1e6)?;
            within(
                file,
                "the rotary scaling's original context",
                original_context as usize,
                1..=MAX_CONTEXT,
            )?;
            if high_freq_factor <= low_freq_factor {
                return Err(FormatError::malformed(file, "high_freq_factor is not above low_freq_factor"));
            }
        }
        self.check_ids(file, "bos", &self.bos)?;
        self.check_ids(file, "eos", &self.eos)
    }

    /// Checks that token ids are below the vocabulary's size.
    pub(crate) fn check_ids(&self, file: &str, what: &str, ids: &[u32]) -> Result<()> {
        match ids.iter().find(|id| **id as usize >= self.vocab_size) {
            None => Ok(()),
            Some(id) => {
                let what =
                    format_args!("{what} token {id} is not below the vocabulary's {}", self.vocab_size);
                Err(FormatError::malformed(file, what))
            }
        }
    }
}

/// `value` in `range`, which refuses NaN too, or an error that names it.
fn within<T: PartialOrd + Display + Debug>(
    file: &str,
    what: &str,
    value: T,
    range: RangeInclusive<T>,
) -> Result<()> {
    if range.contains(&value) {
        return Ok(());
    }
    let (low, high) = (range.start(), range.end());
    Err(FormatError::malformed(file, format_args!("{what} is {value}; it must be from {low} to {high}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::tiny_config;

    #[test]
    fn a_sound_configuration_passes() {
        tiny_config().check("t").unwrap();
    }

    #[test]
    fn every_number_has_its_range() {
        type Spoil = fn(&mut ModelConfig);
        let cases: &[(&str, Spoil)] = &[
            ("vocabulary", |c| c.vocab_size = MAX_VOCAB + 1),
            ("hidden", |c| c.hidden_size = 0),
            ("intermediate", |c| c.intermediate_size = usize::MAX),
            ("layers", |c| c.layers = 513),
            ("layers", |c| c.layers = 0),
            ("attention heads", |c| c.heads = 0),
            ("key/value heads", |c| c.kv_heads = c.heads + 1),
            ("multiple", |c| (c.heads, c.kv_heads) = (6, 4)),
            ("odd", |c| c.head_dim = 3),
            ("head dimension", |c| c.head_dim = 514),
            ("context", |c| c.context_length = 1 << 31),
            ("epsilon", |c| c.rms_norm_eps = f64::NAN),
            ("epsilon", |c| c.rms_norm_eps = f64::INFINITY),
            ("epsilon", |c| c.rms_norm_eps = 0.0),
            ("rotary base", |c| c.rope.theta = f64::NAN),
            ("bos token", |c| c.bos = vec![c.vocab_size as u32]),
            ("eos token", |c| c.eos = vec![u32::MAX]),
        ];
        for (word, break_it) in cases {
            let mut config = tiny_config();
            break_it(&mut config);
            let error = config.check("t").unwrap_err().to_string();
            assert!(error.contains(word), "{word}: {error}");
        }
    }

    #[test]
    fn rotary_scaling_has_its_ranges() {
        for (factor, low, high, context) in
            [(0.0, 1.0, 4.0, 8192), (f64::NAN, 1.0, 4.0, 8192), (8.0, 4.0, 4.0, 8192), (8.0, 1.0, 4.0, 0)]
        {
            let mut config = tiny_config();
            config.rope.scaling = RopeScaling::Llama3 {
                factor,
                low_freq_factor: low,
                high_freq_factor: high,
                original_context: context,
            };
            assert!(config.check("t").is_err(), "{factor} {low} {high} {context}");
        }
    }
}
