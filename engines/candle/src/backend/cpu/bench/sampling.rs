//! Choosing a token among 152,064, as large as vocabularies are.

use super::{Bench, BenchError, Random, Work};
use crate::sampler::{Sampler, Scratch};
use plimsoll_engine::{Entropy, Request, RequestId, Sampling, SessionKey};
use std::sync::Arc;

const VOCAB: usize = 152_064;

/// Seeds that do not matter: requests have their own.
struct NoEntropy;

impl Entropy for NoEntropy {
    fn seed(&self) -> u64 {
        0
    }
}

pub(super) fn all(bench: &mut Bench<'_>) -> Result<(), BenchError> {
    let base = Sampling { temperature: 1.0, seed: Some(1), ..Sampling::default() };
    let cases = [
        ("greedy", Sampling { temperature: 0.0, ..base.clone() }),
        ("top_k 40", Sampling { top_k: 40, ..base.clone() }),
        ("top_p 0.9", Sampling { top_p: 0.9, ..base }),
    ];
    let mut scratch = Scratch::new(VOCAB)?;
    // Most of a model's chances are a few tokens': cubes of even numbers have as thin a tail.
    let mut logits = vec![0.0; VOCAB];
    Random::new().fill(&mut logits);
    logits.iter_mut().for_each(|logit| *logit = 24.0 * logit.powi(3));
    for (name, sampling) in cases {
        let request = Request {
            id: RequestId(1),
            session: SessionKey(1),
            tokens: vec![1],
            shared_prefix: 0,
            max_tokens: 1,
            sampling,
            stop_tokens: Arc::from([]),
            deadline: None,
            keep_kv: false,
            beside: None,
        };
        let mut sampler = Sampler::new(&request, &NoEntropy)?;
        // Logits are read, and their weights written.
        let bytes = 2 * VOCAB * size_of::<f32>();
        let work = Work {
            names: ["sample", "f32", name].map(str::to_owned),
            rows: 1,
            threads: 1,
            bytes,
            set: bytes,
            operations: 0.0,
            arithmetic: None,
        };
        let mut tops = Vec::new();
        bench.measure(&work, || sampler.sample(&logits, &mut scratch, &mut tops).map(|_| ()))?;
    }
    Ok(())
}
