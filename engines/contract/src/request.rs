//! A request as an engine sees it: token ids in, sampling, limits.

use crate::{RequestId, SessionKey, Shape};
use std::sync::Arc;
use std::time::Duration;

/// The most alternatives a request may ask for per token.
pub const MAX_TOP_LOGPROBS: u32 = 20;

/// How the next token is chosen from the logits.
///
/// The order is fixed: penalties, then (unless greedy) temperature, `top_k`, `top_p`, `min_p`, one draw.
/// Reported log-probabilities are those of the model's own distribution, before any of these.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// 0 is greedy: the largest logit, the lowest id among equals.
    pub temperature: f32,
    /// Keep the k most likely tokens; 0 keeps all.
    pub top_k: u32,
    /// Keep the smallest set of tokens whose probabilities reach this sum; 1 keeps all.
    pub top_p: f32,
    /// Keep tokens at least this fraction as likely as the likeliest; 0 keeps all.
    pub min_p: f32,
    /// Divides positive and multiplies negative logits of tokens already seen; 1 changes nothing.
    pub repetition_penalty: f32,
    /// Subtracted from the logit of each token generated at least once.
    pub presence_penalty: f32,
    /// Subtracted from a token's logit for each time it was generated.
    pub frequency_penalty: f32,
    /// Seed of the draws; `None` takes one from the engine's entropy. The same seed gives the same text.
    pub seed: Option<u64>,
    /// Alternatives reported per token, at most [`MAX_TOP_LOGPROBS`].
    pub top_logprobs: u32,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            seed: None,
            top_logprobs: 0,
        }
    }
}

/// A sampling setting out of its range.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{name} is {value}; it must be {range}")]
pub struct InvalidSampling {
    /// The setting.
    pub name: &'static str,
    /// What was given.
    pub value: f64,
    /// What is allowed.
    pub range: &'static str,
}

impl Sampling {
    /// Checks every setting; NaN and infinities are refused.
    pub fn validate(&self) -> Result<(), InvalidSampling> {
        let check = |name, value: f32, low: f32, high: f32, range| {
            if value >= low && value <= high {
                Ok(())
            } else {
                Err(InvalidSampling { name, value: f64::from(value), range })
            }
        };
        check("temperature", self.temperature, 0.0, 100.0, "from 0 to 100")?;
        check("top_p", self.top_p, f32::MIN_POSITIVE, 1.0, "above 0 and at most 1")?;
        check("min_p", self.min_p, 0.0, 1.0, "from 0 to 1")?;
        check("repetition_penalty", self.repetition_penalty, 0.01, 100.0, "from 0.01 to 100")?;
        check("presence_penalty", self.presence_penalty, -100.0, 100.0, "from -100 to 100")?;
        check("frequency_penalty", self.frequency_penalty, -100.0, 100.0, "from -100 to 100")?;
        if self.top_logprobs > MAX_TOP_LOGPROBS {
            let value = f64::from(self.top_logprobs);
            return Err(InvalidSampling { name: "top_logprobs", value, range: "at most 20" });
        }
        Ok(())
    }

    /// Whether any penalty changes logits, so that token counts must be kept.
    pub fn penalises(&self) -> bool {
        self.repetition_penalty != 1.0 || self.presence_penalty != 0.0 || self.frequency_penalty != 0.0
    }
}

/// One request to an engine. Text stays above: ids go in, ids come out.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its name in the ledger and in logs.
    pub id: RequestId,
    /// The session whose KV it extends.
    pub session: SessionKey,
    /// The whole conversation so far; never empty, every id below the vocabulary's size.
    pub tokens: Vec<u32>,
    /// How many leading `tokens` are the same as those of the session's last request, so that KV which the engine still
    /// holds for them is valid. The engine reuses at most this many.
    pub shared_prefix: usize,
    /// Tokens that may be generated: what was granted, not what was asked.
    pub max_tokens: u32,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Ids that end the answer; empty to ignore end-of-text tokens.
    pub stop_tokens: Arc<[u32]>,
    /// When it must have ended, on the engine's [`crate::Clock`].
    pub deadline: Option<Duration>,
    /// Whether the session's KV is kept when the request ends.
    pub keep_kv: bool,
    /// The session whose request this is one more answer to: one of the same prompt, submitted before and still under way or
    /// kept. An engine may take the prompt's KV from there; and this one takes no place of its own in its queue.
    pub beside: Option<SessionKey>,
}

impl Request {
    /// What its price depends on; `None` where the prompt's length does not fit.
    pub fn shape(&self) -> Option<Shape> {
        Some(Shape {
            prompt_tokens: u32::try_from(self.tokens.len()).ok()?,
            max_tokens: self.max_tokens,
            top_logprobs: self.sampling.top_logprobs,
            penalties: self.sampling.penalises(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_named() {
        type Spoil = fn(&mut Sampling);
        let cases: [(&str, Spoil); 9] = [
            ("temperature", |s| s.temperature = f32::NAN),
            ("temperature", |s| s.temperature = f32::INFINITY),
            ("temperature", |s| s.temperature = -1.0),
            ("top_p", |s| s.top_p = 0.0),
            ("top_p", |s| s.top_p = f32::NAN),
            ("min_p", |s| s.min_p = 1.5),
            ("repetition_penalty", |s| s.repetition_penalty = 0.0),
            ("presence_penalty", |s| s.presence_penalty = f32::NEG_INFINITY),
            ("top_logprobs", |s| s.top_logprobs = u32::MAX),
        ];
        assert_eq!(Sampling::default().validate(), Ok(()));
        for (name, spoil) in cases {
            let mut sampling = Sampling::default();
            spoil(&mut sampling);
            assert_eq!(sampling.validate().unwrap_err().name, name);
        }
        let negative_zero = Sampling { temperature: -0.0, ..Sampling::default() };
        assert_eq!(negative_zero.validate(), Ok(()));
    }
}
