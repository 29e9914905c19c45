//! Seeded random numbers.

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::time::Duration;

/// The same numbers for the same seed.
#[derive(Clone, Debug)]
pub struct Random(Xoshiro256PlusPlus);

impl Random {
    /// A stream of numbers for a seed.
    pub fn new(seed: u64) -> Random {
        Random(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// A whole number from `least` to `most`.
    pub fn between(&mut self, least: u32, most: u32) -> u32 {
        let span = u64::from(most.saturating_sub(least)) + 1;
        // The remainder favours small numbers by less than one in 2^32.
        least + (self.0.next_u64() % span) as u32
    }

    /// Whether a thing happens that happens so many times in a thousand.
    pub fn chance(&mut self, in_thousand: u32) -> bool {
        self.between(0, 999) < in_thousand
    }

    /// Above 0 and at most 1.
    fn unit(&mut self) -> f64 {
        ((self.0.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// A number from `least` to `most`; each doubling is as likely as any other.
    pub fn doubling(&mut self, least: u32, most: u32) -> u32 {
        let (low, high) = (f64::from(least.max(1)).ln(), f64::from(most.max(1)).ln());
        let drawn = (low + (high - low) * self.unit()).exp() as u32;
        drawn.clamp(least, most)
    }

    /// Time until the next of events that come this often on average, and independently.
    pub fn gap(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(-self.unit().ln())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_to_their_bounds_and_repeat() {
        let draw = |seed| {
            let mut random = Random::new(seed);
            (0..1000).map(|_| (random.between(3, 9), random.doubling(1, 700))).collect::<Vec<_>>()
        };
        let drawn = draw(1);
        assert!(drawn.iter().all(|&(a, b)| (3..=9).contains(&a) && (1..=700).contains(&b)));
        assert!((3..=9).all(|value| drawn.iter().any(|&(a, _)| a == value)));
        assert_eq!(drawn, draw(1));
        assert_ne!(drawn, draw(2));
        let mut random = Random::new(3);
        let mean = (0..10_000).map(|_| random.gap(Duration::from_secs(1)).as_secs_f64()).sum::<f64>() / 1e4;
        assert!((0.95..1.05).contains(&mean), "{mean}");
    }
}
