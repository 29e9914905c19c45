//! What a request takes, as a plain formula.

use super::super::engine::price;

/// What is asked for: prompt, tokens, the fewest tokens, answers.
pub(super) type Asked = (u32, u32, u32, u32);

/// What so many answers take: the KV of one, how many there are, the bytes of all requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Price {
    one: u64,
    answers: u64,
    request: u64,
}

impl Price {
    pub(super) fn of((prompt, _, _, answers): Asked, tokens: u32) -> Self {
        let ((one, request), answers) = (price(prompt, tokens), u64::from(answers.max(1)));
        Price { one, answers, request: request * answers }
    }

    pub(super) fn kv(self) -> u64 {
        self.one * self.answers
    }

    /// KV that is new where a session holds some: one of the answers goes on with it.
    pub(super) fn new_kv(self, held: u64) -> u64 {
        self.one.saturating_sub(held) + self.one * (self.answers - 1)
    }

    pub(super) fn request(self) -> u64 {
        self.request
    }
}
