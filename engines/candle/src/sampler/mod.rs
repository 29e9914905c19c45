//! Chooses the next token from logits.
//!
//! The order is fixed: log-probabilities of the model's own distribution, penalties, then either the largest logit or
//! temperature, `top_k`, `top_p`, `min_p` and one draw. Ties go to the lower id, sums run in a fixed order, so the same
//! seed over the same logits gives the same tokens.
//!
//! What a request keeps is a [`Sampler`]; what it uses while it chooses is a [`Scratch`], of which there are as many as requests
//! choose side by side, allocated when the model loads. Choosing allocates nothing.

mod border;
mod counts;
mod distribution;
mod maxima;
mod nucleus;
mod scratch;

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

pub(crate) use scratch::Scratch;

use border::Enough;
use counts::Counts;
use distribution::Distribution;
use nucleus::{LISTED, Weighed};
use plimsoll_engine::{EngineError, Entropy, Request, Sampling, Shape, TokenEvent, TopLogprob};
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// One request's way of choosing tokens: its settings, its random numbers, the tokens it has seen.
#[derive(Debug)]
pub(crate) struct Sampler {
    sampling: Sampling,
    rng: Xoshiro256PlusPlus,
    counts: Option<Counts>,
}

impl Sampler {
    /// Heap bytes of a sampler for a request of this shape; `None` on overflow.
    pub(crate) fn bytes(shape: &Shape) -> Option<u64> {
        if !shape.penalties {
            return Some(0);
        }
        Counts::bytes(u64::from(shape.prompt_tokens).checked_add(u64::from(shape.max_tokens))?)
    }

    /// The sampler of a request, with its memory reserved. The seed is the request's own, else one from `entropy`.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] for a setting out of its range, [`EngineError::OutOfMemory`].
    pub(crate) fn new(request: &Request, entropy: &dyn Entropy) -> Result<Self, EngineError> {
        let sampling = request.sampling.clone();
        sampling.validate().map_err(|setting| EngineError::Invalid(setting.to_string()))?;
        let seed = sampling.seed.unwrap_or_else(|| entropy.seed());
        let counts = match sampling.penalises() {
            true => Some(Counts::new(&request.tokens, request.max_tokens)?),
            false => None,
        };
        Ok(Sampler { sampling, rng: Xoshiro256PlusPlus::seed_from_u64(seed), counts })
    }

    /// Chooses a token after these logits, one per id. `tops` is cleared and filled with the request's alternatives,
    /// most likely first; it allocates only when its capacity is below the number the request asked for.
    ///
    /// # Errors
    /// [`EngineError::Execution`] when a logit is NaN or +inf, when all are -inf, or when there are not as many as the
    /// vocabulary has ids. The sampler is then unchanged.
    pub(crate) fn sample(
        &mut self,
        logits: &[f32],
        scratch: &mut Scratch,
        tops: &mut Vec<TopLogprob>,
    ) -> Result<TokenEvent, EngineError> {
        let model = scratch.measure(logits)?;
        scratch.tops(logits, &model, self.sampling.top_logprobs as usize, tops);
        let id = self.choose(logits, &model, scratch);
        if let Some(counts) = &mut self.counts {
            counts.add(id);
        }
        Ok(TokenEvent { id, logprob: model.logprob(logits[id as usize]) })
    }

    fn choose(&mut self, logits: &[f32], model: &Distribution, scratch: &mut Scratch) -> u32 {
        let greedy = self.sampling.temperature == 0.0;
        let Some(counts) = &self.counts else {
            return match greedy {
                true => scratch.argmax(logits, model.largest),
                false => self.draw(logits, model.largest, Some(model.total), scratch),
            };
        };
        let mut penalised = std::mem::take(&mut scratch.penalised);
        penalised.copy_from_slice(logits);
        counts.penalise(&self.sampling, &mut penalised);
        let largest = scratch.survey(&penalised).largest;
        let id = match greedy {
            true => scratch.argmax(&penalised, largest),
            false => self.draw(&penalised, largest, None, scratch),
        };
        scratch.penalised = penalised;
        id
    }

    /// One draw from the logits, surveyed, at the request's temperature, truncated as it asks. `total` is the sum of the
    /// weights where they are those of temperature 1 already.
    fn draw(&mut self, logits: &[f32], largest: f32, total: Option<f64>, scratch: &mut Scratch) -> u32 {
        // 53 bits: every value is exact and below 1.
        let uniform = (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let Sampling { temperature, top_k, top_p, min_p, .. } = self.sampling;
        let Scratch { weights, candidates, maxima, level, .. } = scratch;
        // Of the least temperatures the inverse would be infinite, and no number times the largest logit's 0.
        let scale = temperature.recip().min(f32::MAX);
        let k = top_k as usize;
        // The likeliest token weighs 1, so `min_p` is a bound on the weight itself.
        let truncates = k > 0 && k < logits.len();
        if truncates && k <= LISTED {
            let likeliest = maxima::top_k(*level, logits, maxima, k, candidates);
            let weigh = |id: &u32| distribution::weight(logits[*id as usize], largest, scale);
            likeliest.iter().for_each(|id| weights[*id as usize] = weigh(id));
            let kept = match top_p < 1.0 {
                false => likeliest,
                true => {
                    let total: f64 = likeliest.iter().map(|id| f64::from(weights[*id as usize])).sum();
                    nucleus::prefix(likeliest, weights, f64::from(top_p) * total)
                }
            };
            return nucleus::pick(kept, weights, min_p, uniform);
        }
        let mut total = match total {
            Some(total) if scale == 1.0 => total,
            _ => distribution::weigh(*level, logits, largest, scale, weights),
        };
        let weighed = Weighed { level: *level, logits, maxima, largest, scale };
        if truncates {
            nucleus::cut(weighed, weights, Enough::Count(k), total, candidates);
            total = distribution::sum(*level, weights, 0.0).0;
        }
        if top_p < 1.0 {
            let enough = f64::from(top_p) * total;
            if let Some(kept) = nucleus::list(weighed, weights, enough, candidates) {
                return nucleus::pick(kept, weights, min_p, uniform);
            }
            nucleus::cut(weighed, weights, Enough::Weight(enough), total, candidates);
        }
        distribution::pick(*level, weights, min_p, uniform)
    }
}
