//! The sampler's definition, in plain double precision: sort everything, keep a prefix.

use plimsoll_engine::Sampling;

/// The log-probability of every id.
pub(super) fn logprobs(logits: &[f32]) -> Vec<f64> {
    let most = logits.iter().fold(f64::NEG_INFINITY, |most, logit| most.max(f64::from(*logit)));
    let sum: f64 = logits.iter().map(|logit| (f64::from(*logit) - most).exp()).sum();
    logits.iter().map(|logit| f64::from(*logit) - most - sum.ln()).collect()
}

/// The logits after penalties for a prompt and an answer so far.
pub(super) fn penalised(sampling: &Sampling, prompt: &[u32], answer: &[u32], logits: &[f32]) -> Vec<f64> {
    let penalise = |(id, logit): (usize, &f32)| {
        let id = id as u32;
        let times = answer.iter().filter(|token| **token == id).count() as f64;
        let mut logit = f64::from(*logit);
        if times > 0.0 || prompt.contains(&id) {
            let penalty = f64::from(sampling.repetition_penalty);
            logit = if logit > 0.0 { logit / penalty } else { logit * penalty };
        }
        if times > 0.0 {
            logit -= f64::from(sampling.presence_penalty) + times * f64::from(sampling.frequency_penalty);
        }
        logit
    };
    logits.iter().enumerate().map(penalise).collect()
}

/// The probability of each id to be drawn.
pub(super) fn probabilities(sampling: &Sampling, logits: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b)));
    let most = logits[order[0]];
    let weight = |id: &usize| ((logits[*id] - most) / f64::from(sampling.temperature)).exp();
    if sampling.top_k > 0 {
        order.truncate(sampling.top_k as usize);
    }
    let total: f64 = order.iter().map(weight).sum();
    let mut sum = 0.0;
    let mut kept = Vec::new();
    for id in order {
        kept.push(id);
        sum += weight(&id);
        if sum >= f64::from(sampling.top_p) * total {
            break;
        }
    }
    kept.retain(|id| weight(id) >= f64::from(sampling.min_p));
    let total: f64 = kept.iter().map(weight).sum();
    let mut probabilities = vec![0.0; logits.len()];
    for id in kept {
        probabilities[id] = weight(&id) / total;
    }
    probabilities
}
