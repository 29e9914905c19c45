//! Whether the numbers of a configuration are within fixed ranges.

use std::fmt::{Debug, Display};
use std::ops::RangeInclusive;

use crate::config::{Experts, MAX_CONTEXT, MAX_VOCAB, ModelConfig};
use crate::{FormatError, Result};

/// The most experts of one layer.
const MAX_EXPERTS: usize = 1024;
/// The most experts of all layers together; the largest published models have a third of it.
const MAX_ALL_EXPERTS: usize = 1 << 16;

impl ModelConfig {
    /// Checks every number against its range: vocabulary 1 to 2²², hidden 1 to 65,536, intermediate 1 to 2²⁰,
    /// layers 1 to 512, heads 1 to 1,024, head width 2 to 512 and even, context 1 to 2²⁴, experts 1 to 1,024 in a
    /// layer and 65,536 in all.
    ///
    /// # Errors
    /// Names the first number out of range. `file` is the file they came from.
    pub fn check(&self, file: &str) -> Result<()> {
        within(file, "the vocabulary", self.vocab_size, 1..=MAX_VOCAB)?;
        within(file, "the hidden size", self.hidden_size, 1..=65_536)?;
        within(file, "the intermediate size", self.intermediate_size, 1..=1 << 20)?;
        check_layers(file, self.layers)?;
        within(file, "the number of attention heads", self.heads, 1..=1024)?;
        within(file, "the number of key/value heads", self.kv_heads, 1..=self.heads)?;
        within(file, "the head dimension", self.head_dim, 2..=512)?;
        within(file, "the context length", self.context_length, 1..=MAX_CONTEXT)?;
        within(file, "the norm's epsilon", self.rms_norm_eps, f64::MIN_POSITIVE..=1.0)?;
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
        within(file, "the scale of attention scores", self.attention_scale, f64::MIN_POSITIVE..=1e3)?;
        let factors = [
            ("the soft cap of attention scores", self.attention_softcap),
            ("the soft cap of logits", self.logit_softcap),
            ("the scale of embeddings", self.embedding_scale),
        ];
        for (what, factor) in factors {
            within(file, what, factor.unwrap_or(1.0), f64::MIN_POSITIVE..=1e6)?;
        }
        if !self.rotary_dim.is_multiple_of(2) || !(2..=self.head_dim).contains(&self.rotary_dim) {
            let what =
                format_args!("{} of {} dimensions of a head are to rotate", self.rotary_dim, self.head_dim);
            return Err(FormatError::malformed(file, what));
        }
        self.rope.check(file, self.rotary_dim)?;
        if let Some(rope) = &self.window_rope {
            rope.check(file, self.rotary_dim)?;
        }
        if let Some(window) = &self.window {
            within(file, "the sliding window", window.tokens, 1..=MAX_CONTEXT)?;
            within(
                file,
                "the number of layers in the window's list",
                window.layers.len(),
                self.layers..=self.layers,
            )?;
        }
        if let Some(experts) = &self.experts {
            self.check_experts(file, experts)?;
        }
        self.check_ids(file, "bos", &self.bos)?;
        self.check_ids(file, "eos", &self.eos)
    }

    fn check_experts(&self, file: &str, experts: &Experts) -> Result<()> {
        within(file, "the number of experts", experts.count, 1..=MAX_EXPERTS)?;
        within(
            file,
            "the number of experts of all layers",
            experts.count * self.layers,
            1..=MAX_ALL_EXPERTS,
        )?;
        within(file, "the number of experts that a token goes through", experts.used, 1..=experts.count)?;
        within(file, "the width of an expert", experts.intermediate_size, 1..=1 << 20)?;
        within(file, "the width of the shared expert", experts.shared.unwrap_or(1), 1..=1 << 20)?;
        // Each expert of a file is described on its own, which must cost less than its numbers do.
        let elements = self.hidden_size * experts.intermediate_size;
        within(file, "the number of elements of an expert's matrix", elements, 64..=usize::MAX)?;
        within(
            file,
            "the number of layers in the experts' list",
            experts.layers.len(),
            self.layers..=self.layers,
        )
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

/// Checks the number of layers alone, before a list with an entry for each is made.
pub(crate) fn check_layers(file: &str, layers: usize) -> Result<()> {
    within(file, "the number of layers", layers, 1..=512)
}

/// `value` in `range`, which refuses NaN too, or an error that names it.
pub(super) fn within<T: PartialOrd + Display + Debug>(
    file: &str,
    what: impl Display,
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
    use crate::config::Window;
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
            ("attention scores", |c| c.attention_scale = f64::NAN),
            ("soft cap of attention", |c| c.attention_softcap = Some(0.0)),
            ("soft cap of logits", |c| c.logit_softcap = Some(f64::INFINITY)),
            ("scale of embeddings", |c| c.embedding_scale = Some(-1.0)),
            ("3 of 8 dimensions", |c| c.rotary_dim = 3),
            ("0 of 8 dimensions", |c| c.rotary_dim = 0),
            ("10 of 8 dimensions", |c| c.rotary_dim = 10),
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
    fn windows_and_experts_have_their_ranges() {
        type Spoil = fn(&mut ModelConfig);
        let cases: &[(&str, Spoil)] = &[
            ("the sliding window is 0", |c| c.window.as_mut().unwrap().tokens = 0),
            ("window's list is 1", |c| c.window.as_mut().unwrap().layers = vec![true]),
            ("number of experts is 0", |c| c.experts.as_mut().unwrap().count = 0),
            ("number of experts is 1000000", |c| c.experts.as_mut().unwrap().count = 1_000_000),
            ("experts of all layers is 66000", |c| {
                (c.layers, c.experts.as_mut().unwrap().count) = (66, 1000);
                c.window = None;
            }),
            ("goes through is 5", |c| c.experts.as_mut().unwrap().used = 5),
            ("goes through is 0", |c| c.experts.as_mut().unwrap().used = 0),
            ("width of an expert is 0", |c| c.experts.as_mut().unwrap().intermediate_size = 0),
            ("shared expert is 0", |c| c.experts.as_mut().unwrap().shared = Some(0)),
            ("elements of an expert's matrix is 32", |c| c.experts.as_mut().unwrap().intermediate_size = 1),
            ("experts' list is 3", |c| c.experts.as_mut().unwrap().layers = vec![true; 3]),
        ];
        let mut sound = tiny_config();
        sound.window = Some(Window { tokens: 8, layers: vec![true, false] });
        sound.experts = Some(Experts {
            count: 4,
            used: 2,
            intermediate_size: 16,
            shared: Some(8),
            normalise: true,
            layers: vec![true; 2],
        });
        sound.check("t").unwrap();
        for (word, break_it) in cases {
            let mut config = sound.clone();
            break_it(&mut config);
            let error = config.check("t").unwrap_err().to_string();
            assert!(error.contains(word), "{word}: {error}");
        }
    }
}
