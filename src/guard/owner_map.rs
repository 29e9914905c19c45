//! Bytes by owner.

use plimsoll_engine::Owner;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Looked up four times for each request. Owners are numbered by this library alone, so that nobody chooses keys that collide.
pub(super) type OwnerMap = HashMap<Owner, u64, BuildHasherDefault<Mix>>;

/// The golden ratio's fraction of 2^64: products with it spread consecutive numbers over the upper bits.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// Words multiplied into each other.
#[derive(Default)]
pub(super) struct Mix(u64);

impl Mix {
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(SPREAD);
    }
}

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        // Tables take their slot from the lower bits, which the upper ones must reach.
        let folded = (self.0 ^ (self.0 >> 32)).wrapping_mul(SPREAD);
        folded ^ (folded >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.add(byte.into()));
    }

    fn write_u64(&mut self, word: u64) {
        self.add(word);
    }

    fn write_isize(&mut self, word: isize) {
        // The enum's variant.
        self.add(word.cast_unsigned() as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_engine::{ModelId, RequestId, SessionKey};
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    #[test]
    fn owners_that_follow_each_other_fall_into_slots_of_their_own() {
        let hasher = BuildHasherDefault::<Mix>::default();
        let number = |n| {
            let model = ModelId(n);
            [
                Owner::Weights(model),
                Owner::Workspace(model),
                Owner::Text(model),
                Owner::Tables(model),
                Owner::Kv(SessionKey(n)),
                Owner::Request(RequestId(n)),
            ]
        };
        let owners: Vec<Owner> = (0..4_096).flat_map(number).collect();
        let hashes: HashSet<u64> = owners.iter().map(|owner| hasher.hash_one(owner)).collect();
        assert_eq!(hashes.len(), owners.len());
        // Thrown at random, 24,576 balls miss 1 - (1 - 1/e^0.75) of 32,768 slots: 53 % are hit.
        let slots: HashSet<u64> = hashes.iter().map(|hash| hash & 0x7FFF).collect();
        assert!(slots.len() > 15_000, "{} of 32,768", slots.len());
        let tags: HashSet<u64> = hashes.iter().map(|hash| hash >> 57).collect();
        assert_eq!(tags.len(), 128);
    }
}
