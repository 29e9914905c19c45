//! Plain double-precision definitions and random data for tests.

/// A small generator of test data: reproducible, of no further quality.
pub(crate) struct Random(u64);

impl Random {
    /// Data that depends on the seed alone.
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A float in [-1, 1).
    pub(crate) fn float(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    }

    /// So many of them.
    pub(crate) fn floats(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.float()).collect()
    }
}

/// `softmax(capped(query . keys * scale)) . values` of every query over these tokens.
pub(crate) fn attention(
    query: &[f32],
    keys: &[f32],
    values: &[f32],
    shape: super::Shape,
    tokens: std::ops::Range<usize>,
) -> Vec<f64> {
    let (super::Shape { head_dim, scale, softcap }, from, held) = (shape, tokens.start, tokens.end);
    let mut out = Vec::new();
    for query in query.chunks(head_dim) {
        let score = |key: &[f32]| {
            let dot: f64 = query.iter().zip(key).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum();
            let score = dot * f64::from(scale);
            softcap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh())
        };
        let scores: Vec<f64> = keys.chunks(head_dim).take(held).skip(from).map(score).collect();
        let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
        let sum: f64 = weights.iter().sum();
        for i in 0..head_dim {
            let column = values.chunks(head_dim).skip(from).map(|value| f64::from(value[i]));
            out.push(weights.iter().zip(column).map(|(weight, value)| weight * value).sum::<f64>() / sum);
        }
    }
    out
}
