//! The sampler against its plain definition.

use super::*;
use crate::backend::cpu::kernels::Level;
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
        beside: None,
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
    // Three words for each id, and one for each lane of a group of 1024.
    assert_eq!(Scratch::bytes(1000), Some(12_000 + 128));
    assert_eq!(Scratch::new(1000).unwrap().held(), 12_128);
    assert_eq!(Scratch::bytes(usize::MAX / 4), None);
    assert!(matches!(Scratch::new(usize::MAX / 4), Err(EngineError::OutOfMemory { .. })));
    let nan = Sampling { temperature: f32::NAN, ..Sampling::default() };
    assert!(matches!(Sampler::new(&request(nan, &[1], 1), &Fixed(0)), Err(EngineError::Invalid(_))));
}

/// The ids that `top_p` keeps, by both ways.
fn nuclei(logits: &[f32], temperature: f32, top_p: f32) -> (Option<Vec<u32>>, Vec<u32>) {
    let mut scratch = Scratch::new(logits.len()).unwrap();
    let largest = scratch.survey(logits).largest;
    let Scratch { weights, candidates, maxima, level, .. } = &mut scratch;
    let scale = temperature.recip();
    let total = distribution::weigh(*level, logits, largest, scale, weights);
    let enough = f64::from(top_p) * total;
    let weighed = Weighed { level: *level, logits, maxima, largest, scale };
    let listed = nucleus::list(weighed, weights, enough, candidates).map(<[u32]>::to_vec);
    nucleus::cut(weighed, weights, Enough::Weight(enough), total, candidates);
    let kept = weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0);
    (listed, kept.map(|(id, _)| id as u32).collect())
}

#[test]
fn both_ways_to_a_nucleus_keep_the_sorted_prefix() {
    // Steep, flat, and with many equals at the border (adding 0 makes -0 one of them).
    let shapes: [fn(f32) -> f32; 3] = [|x| x * 40.0, |x| x / 2.0, |x| (x * 6.0).round() + 0.0];
    let (mut were_listed, mut were_many) = (false, false);
    for (seed, shape) in (4..).zip(shapes) {
        let logits: Vec<f32> = logits(seed, 20_000, 1.0).into_iter().map(shape).collect();
        for (temperature, top_p) in [(1.0, 0.1), (1.0, 0.5), (0.7, 0.97), (3.0, 0.9), (1.0, 0.999)] {
            let sampling = Sampling { temperature, top_p, ..Sampling::default() };
            let wide: Vec<f64> = logits.iter().map(|logit| f64::from(*logit)).collect();
            let want = reference::probabilities(&sampling, &wide);
            let (listed, kept) = nuclei(&logits, temperature, top_p);
            were_many |= listed.is_none();
            for mut got in listed.into_iter().inspect(|_| were_listed = true).chain([kept]) {
                // Rounding may move the border by a token or, where there are thousands, by some.
                let wanted = want.iter().filter(|probability| **probability > 0.0).count();
                let slack = 1 + wanted / 2000;
                assert!(got.len().abs_diff(wanted) <= slack, "{seed} {top_p}: {} {wanted}", got.len());
                got.retain(|id| want[*id as usize] == 0.0);
                assert!(got.len() <= slack, "{seed} {top_p}: others are kept");
            }
        }
    }
    assert!(were_listed && were_many);
}

/// Makes logits of random numbers between -1 and 1.
type Form = fn(f32) -> f32;

#[test]
fn a_cut_keeps_what_sorting_keeps() {
    // Steep; flat; nearly equal, so that different logits have equal weights; classes of equal ones; one of them; steps so
    // high that most weigh nothing; and a part without a chance.
    let shapes: [Form; 7] = [
        |x| x * 40.0,
        |x| x / 2.0,
        |x| x * 1e-6,
        |x| (x * 4.0).round() + 0.0,
        |_| -3.0,
        |x| (x * 2.0).round() * 60.0,
        |x| if x < 0.2 { f32::NEG_INFINITY } else { x },
    ];
    for (seed, shape) in (20..).zip(shapes) {
        for len in [40, 2049, 30_011] {
            let logits: Vec<f32> = logits(seed, len, 1.0).into_iter().map(shape).collect();
            let mut sorted: Vec<u32> = (0..len as u32).collect();
            sorted.sort_by(|a, b| maxima::by_logit(&logits, *a, *b));
            let mut scratch = Scratch::new(len).unwrap();
            let largest = scratch.survey(&logits).largest;
            let Scratch { weights, candidates, maxima, level, .. } = &mut scratch;
            let weighed = Weighed { level: *level, logits: &logits, maxima, largest, scale: 1.0 };
            for share in [0.0, 0.001, 0.3, 0.5, 0.9, 0.999, 1.0] {
                let count = ((share * len as f64) as usize).max(1);
                let total = distribution::weigh(*level, &logits, largest, 1.0, weights);
                let mut most: Vec<u32> = sorted[..count].to_vec();
                most.retain(|id| weights[*id as usize] > 0.0);
                most.sort_unstable();
                let weighs = weights.clone();
                nucleus::cut(weighed, weights, Enough::Count(count), total, candidates);
                let kept = |weights: &[f32]| -> Vec<u32> {
                    (0..len as u32).filter(|id| weights[*id as usize] > 0.0).collect()
                };
                assert_eq!(kept(weights), most, "{count} of {len}, seed {seed}");

                weights.copy_from_slice(&weighs);
                // A share of 1 is no cut: tails may weigh less than what sums are rounded by.
                let enough = share.min(0.999) * total;
                nucleus::cut(weighed, weights, Enough::Weight(enough), total, candidates);
                let got = kept(weights);
                let mut prefix = nucleus::prefix(&sorted, &weighs, enough).to_vec();
                prefix.retain(|id| weighs[*id as usize] > 0.0);
                // Sums of groups are rounded, so the border may lie some tokens beside it; the order is the same.
                let mut same: Vec<u32> = sorted[..got.len()].to_vec();
                same.sort_unstable();
                assert_eq!(got, same, "{share} of {len}, seed {seed}");
                let slack = prefix.len() / 5000 + usize::from(share > 0.99) * len / 300 + 1;
                assert!(got.len().abs_diff(prefix.len()) <= slack, "{share} {len} {seed}: {}", got.len());
                weights.iter().zip(&weighs).for_each(|(got, was)| assert!(*got == 0.0 || got == was));
            }
        }
    }
}

#[test]
fn many_likely_tokens_are_drawn_from_as_few() {
    let logits = logits(7, 6000, 0.5);
    let base = Sampling { temperature: 0.8, ..Sampling::default() };
    for sampling in [Sampling { top_k: 3000, ..base.clone() }, Sampling { top_k: 3000, top_p: 0.4, ..base }] {
        let wide: Vec<f64> = logits.iter().map(|logit| f64::from(*logit)).collect();
        let want = reference::probabilities(&sampling, &wide);
        let got = frequencies(&sampling, &[0], &logits, 4000);
        let outside = got.iter().zip(&want).filter(|(got, want)| **got > 0.0 && **want == 0.0);
        assert!(outside.count() <= 1, "rounding may move the border by a token");
        for tenth in 0..10 {
            let ids = tenth * 600..(tenth + 1) * 600;
            let (got, want) = (got[ids.clone()].iter().sum::<f64>(), want[ids].iter().sum::<f64>());
            assert!((got - want).abs() <= 5.0 * (want * (1.0 - want) / 4000.0).sqrt(), "{got} {want}");
        }
    }
}

#[test]
fn flat_distributions_are_drawn_from_as_steep_ones() {
    let logits = logits(6, 5000, 0.5);
    let sampling = Sampling { temperature: 0.8, top_p: 0.6, min_p: 0.4, ..Sampling::default() };
    let wide: Vec<f64> = logits.iter().map(|logit| f64::from(*logit)).collect();
    let want = reference::probabilities(&sampling, &wide);
    let draws = 4000;
    let got = frequencies(&sampling, &[0], &logits, draws);
    // Half of the ids, so few draws of each: tenths of the vocabulary are compared.
    for tenth in 0..10 {
        let ids = tenth * 500..(tenth + 1) * 500;
        let (got, want) = (got[ids.clone()].iter().sum::<f64>(), want[ids].iter().sum::<f64>());
        assert!((got - want).abs() <= 5.0 * (want * (1.0 - want) / draws as f64).sqrt(), "{got} {want}");
    }
    let outside = got.iter().zip(&want).filter(|(got, want)| **got > 0.0 && **want == 0.0);
    assert!(outside.count() <= 2, "rounding may move the border by a token");
}

#[test]
fn all_levels_choose_alike() {
    let settings = [
        Sampling { temperature: 0.0, ..Sampling::default() },
        Sampling { temperature: 0.9, top_k: 40, top_p: 0.95, ..Sampling::default() },
        Sampling { temperature: 1.0, top_p: 0.9, ..Sampling::default() },
        Sampling { temperature: 1.3, min_p: 0.02, repetition_penalty: 1.2, ..Sampling::default() },
    ];
    for (seed, spread) in [(8, 0.5), (9, 12.0)] {
        let logits = logits(seed, 30_011, spread);
        for sampling in &settings {
            let sampling = Sampling { seed: Some(seed), top_logprobs: 7, ..sampling.clone() };
            let run = |level| {
                let mut scratch = Scratch::new(logits.len()).unwrap();
                scratch.level = level;
                let mut sampler = sampler(sampling.clone(), &[1, 2, 3]);
                let mut tops = Vec::new();
                let mut sample = || {
                    let token = sampler.sample(&logits, &mut scratch, &mut tops).unwrap();
                    (token, tops.clone())
                };
                (0..20).map(|_| sample()).collect::<Vec<_>>()
            };
            let want = run(Level::all()[0]);
            Level::all().into_iter().for_each(|level| assert_eq!(run(level), want, "{level:?}"));
        }
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
