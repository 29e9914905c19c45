//! The sampler against its plain definition.

use super::*;
use crate::backend::cpu::kernels::reference::Random;
use plimsoll_engine::{RequestId, SessionKey};
use proptest::prelude::*;
use std::sync::Arc;

struct Fixed(u64);
impl Entropy for Fixed {
    fn seed(&self) -> u64 {
        self.0
    }
}

fn request(sampling: Sampling, prompt: &[u32], max_tokens: u32) -> Request {
    Request {
        id: RequestId(1),
        session: SessionKey(1),
        tokens: prompt.to_vec(),
        shared_prefix: 0,
        max_tokens,
        sampling,
        stop_tokens: Arc::from([]),
        deadline: None,
        keep_kv: false,
    }
}

fn sampler(sampling: Sampling, prompt: &[u32]) -> Sampler {
    Sampler::new(&request(sampling, prompt, 100_000), &Fixed(1)).unwrap()
}

fn logits(seed: u64, len: usize, spread: f32) -> Vec<f32> {
    Random::new(seed).floats(len).iter().map(|value| value * spread).collect()
}

/// How often each id comes in so many draws over the same logits, each by a fresh request state.
fn frequencies(sampling: &Sampling, prompt: &[u32], logits: &[f32], draws: u64) -> Vec<f64> {
    let mut scratch = Scratch::new(logits.len()).unwrap();
    let mut counts = vec![0.0; logits.len()];
    for seed in 0..draws {
        let sampling = Sampling { seed: Some(seed), ..sampling.clone() };
        let token = sampler(sampling, prompt).sample(logits, &mut scratch, &mut Vec::new()).unwrap();
        counts[token.id as usize] += 1.0 / draws as f64;
    }
    counts
}

#[test]
fn draws_follow_the_distribution() {
    let logits = logits(1, 40, 3.0);
    let prompt = [3, 5, 5, 9];
    let base = Sampling { temperature: 1.0, ..Sampling::default() };
    let cases = [
        base.clone(),
        Sampling { temperature: 0.3, ..base.clone() },
        Sampling { temperature: 2.5, top_k: 5, ..base.clone() },
        Sampling { top_p: 0.7, ..base.clone() },
        Sampling { min_p: 0.3, ..base.clone() },
        Sampling { top_k: 20, top_p: 0.9, min_p: 0.1, repetition_penalty: 1.7, ..base },
    ];
    for sampling in cases {
        let want =
            reference::probabilities(&sampling, &reference::penalised(&sampling, &prompt, &[], &logits));
        let draws = 20_000;
        let got = frequencies(&sampling, &prompt, &logits, draws);
        for id in 0..logits.len() {
            // Five standard deviations; what has no chance never comes.
            let allowed = 5.0 * (want[id] * (1.0 - want[id]) / draws as f64).sqrt();
            assert!((got[id] - want[id]).abs() <= allowed, "{sampling:?} id {id}: {} {}", got[id], want[id]);
        }
    }
}

#[test]
fn greedy_takes_the_lowest_of_the_largest() {
    let mut scratch = Scratch::new(5).unwrap();
    let mut greedy = sampler(Sampling::default(), &[0]);
    let token =
        greedy.sample(&[1.0, 3.0, 3.0, f32::NEG_INFINITY, 0.0], &mut scratch, &mut Vec::new()).unwrap();
    assert_eq!(token.id, 1);
    let truncated = Sampling { temperature: 1.0, top_k: 1, ..Sampling::default() };
    let token =
        sampler(truncated, &[0]).sample(&[1.0, 3.0, 3.0, 0.0, 0.0], &mut scratch, &mut Vec::new()).unwrap();
    assert_eq!(token.id, 1);
}

#[test]
fn extreme_temperatures_are_harmless() {
    let mut scratch = Scratch::new(4).unwrap();
    let logits = [-3e38, 1.0, 3e38, f32::NEG_INFINITY];
    for temperature in [f32::from_bits(1), 1e-30, 100.0] {
        let sampling = Sampling { temperature, seed: Some(3), top_p: 0.999, ..Sampling::default() };
        assert_eq!(sampler(sampling, &[0]).sample(&logits, &mut scratch, &mut Vec::new()).unwrap().id, 2);
    }
}

#[test]
fn the_seed_decides() {
    let logits = logits(2, 1000, 2.0);
    let mut scratch = Scratch::new(1000).unwrap();
    let mut run = |seed: Option<u64>, entropy: u64| -> Vec<u32> {
        let sampling = Sampling { temperature: 1.0, seed, ..Sampling::default() };
        let mut sampler = Sampler::new(&request(sampling, &[1], 50), &Fixed(entropy)).unwrap();
        (0..50).map(|_| sampler.sample(&logits, &mut scratch, &mut Vec::new()).unwrap().id).collect()
    };
    assert_eq!(run(Some(7), 1), run(Some(7), 2));
    assert_ne!(run(Some(7), 1), run(Some(8), 1));
    assert_eq!(run(None, 5), run(Some(5), 1));
    assert_ne!(run(None, 5), run(None, 6));
}

#[test]
fn logits_that_are_no_distribution_are_errors_and_change_nothing() {
    let mut scratch = Scratch::new(70).unwrap();
    let sampling =
        Sampling { temperature: 1.0, repetition_penalty: 1.1, seed: Some(1), ..Sampling::default() };
    let mut spoilt = sampler(sampling.clone(), &[1]);
    let mut clean = sampler(sampling, &[1]);
    let mut tops = Vec::new();
    for bad in [f32::NAN, f32::INFINITY] {
        for at in [0, 31, 69] {
            let mut logits = vec![0.0; 70];
            logits[at] = bad;
            let error = spoilt.sample(&logits, &mut scratch, &mut tops).unwrap_err();
            assert!(error.to_string().contains(&format!("token {at} is")), "{error}");
        }
    }
    assert!(spoilt.sample(&[f32::NEG_INFINITY; 70], &mut scratch, &mut tops).is_err());
    assert!(spoilt.sample(&[0.0; 69], &mut scratch, &mut tops).is_err());
    let logits = logits(3, 70, 1.0);
    for _ in 0..20 {
        assert_eq!(
            spoilt.sample(&logits, &mut scratch, &mut tops),
            clean.sample(&logits, &mut scratch, &mut tops)
        );
    }
}

#[test]
fn memory_is_what_was_priced() {
    let shape = |penalties| Shape { prompt_tokens: 3, max_tokens: 5, top_logprobs: 0, penalties };
    assert_eq!(Sampler::bytes(&shape(false)), Some(0));
    assert_eq!(Sampler::bytes(&shape(true)), Some(8 * 8));
    assert_eq!(Scratch::bytes(1000), Some(12_000));
    assert_eq!(Scratch::new(1000).unwrap().held(), 12_000);
    assert_eq!(Scratch::bytes(usize::MAX / 4), None);
    assert!(matches!(Scratch::new(usize::MAX / 4), Err(EngineError::OutOfMemory { .. })));
    let nan = Sampling { temperature: f32::NAN, ..Sampling::default() };
    assert!(matches!(Sampler::new(&request(nan, &[1], 1), &Fixed(0)), Err(EngineError::Invalid(_))));
}

#[test]
fn a_nucleus_wider_than_one_round_is_the_sorted_prefix() {
    let logits = logits(4, 5000, 0.5);
    for (top_k, top_p) in [(0, 0.5), (0, 0.97), (2000, 0.9), (300, 0.999), (4999, 1.0)] {
        let sampling = Sampling { temperature: 1.0, top_k, top_p, ..Sampling::default() };
        let wide: Vec<f64> = logits.iter().map(|logit| f64::from(*logit)).collect();
        let want = reference::probabilities(&sampling, &wide);
        let mut scratch = Scratch::new(5000).unwrap();
        scratch.weigh(&logits, 1.0);
        let k = if top_k == 0 { 5000 } else { top_k as usize };
        let kept = nucleus::truncate(&scratch.weights, &logits, k, top_p, &mut scratch.candidates);
        assert!(kept.is_sorted_by(|a, b| logits[*a as usize] >= logits[*b as usize]));
        let count = want.iter().filter(|probability| **probability > 0.0).count();
        // Rounding may move the border by one token.
        assert!(kept.len().abs_diff(count) <= 1, "{} {count}", kept.len());
        assert!(kept[..count.min(kept.len())].iter().all(|id| want[*id as usize] > 0.0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn tokens_and_logprobs_follow_the_definition(
        logits in prop::collection::vec(prop_oneof![20 => -20.0f32..20.0, 1 => Just(f32::NEG_INFINITY)], 2..300),
        prompt in prop::collection::vec(0u32..300, 1..30),
        seed in any::<u64>(),
        temperature in prop_oneof![Just(0.0f32), 0.05f32..5.0],
        top_k in 0u32..320,
        top_p in 0.01f32..=1.0,
        min_p in prop_oneof![Just(0.0f32), 0.0f32..1.0],
        penalties in prop_oneof![Just((1.0f32, 0.0f32, 0.0f32)), (0.5f32..2.0, -2.0f32..2.0, -2.0f32..2.0)],
        top_logprobs in 0u32..=20,
    ) {
        prop_assume!(logits.iter().any(|logit| logit.is_finite()));
        let (repetition_penalty, presence_penalty, frequency_penalty) = penalties;
        let sampling = Sampling {
            temperature, top_k, top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty,
            seed: Some(seed), top_logprobs,
        };
        let mut sampler = sampler(sampling.clone(), &prompt);
        let mut scratch = Scratch::new(logits.len()).unwrap();
        let mut tops = Vec::with_capacity(20);
        let logprobs = reference::logprobs(&logits);
        let mut answer: Vec<u32> = Vec::new();
        for _ in 0..8 {
            let adjusted = reference::penalised(&sampling, &prompt, &answer, &logits);
            let token = sampler.sample(&logits, &mut scratch, &mut tops).unwrap();
            let id = token.id as usize;
            prop_assert!((f64::from(token.logprob) - logprobs[id]).abs() < 1e-4);
            if temperature == 0.0 {
                let most = adjusted.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                prop_assert!(adjusted[id] >= most - 1e-4);
            } else {
                // Borders are decided in f32 here and in f64 there: a little slack on both settings.
                let slack = Sampling { top_p: (top_p + 1e-4).min(1.0), min_p: min_p * 0.999, ..sampling.clone() };
                let probability = reference::probabilities(&slack, &adjusted)[id];
                let ties = adjusted.iter().filter(|logit| (**logit - adjusted[id]).abs() < 1e-4).count();
                prop_assert!(probability > 0.0 || ties > 1, "{id} {:?}", adjusted);
            }
            prop_assert_eq!(tops.len(), logits.len().min(top_logprobs as usize));
            for (rank, top) in tops.iter().enumerate() {
                let logit = logits[top.id as usize];
                let before = logits.iter().enumerate()
                    .filter(|(id, other)| **other > logit || (**other == logit && (*id as u32) < top.id)).count();
                prop_assert_eq!(before, rank);
            }
            answer.push(token.id);
        }
    }
}
