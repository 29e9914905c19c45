//! The blocks of one sequence, and how many of them it needs.

use crate::{KvBlock, Limits};
use plimsoll_engine::Lease;

/// Which layers a block is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layers {
    /// Those that keep every token.
    Whole,
    /// Those with a sliding window.
    Rolling,
}

/// Layers whose attention has a sliding window. Their blocks are freed, or serve again, once they lie wholly behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rolling {
    /// Bytes of one block over these layers.
    pub block_bytes: u64,
    /// Positions that a token attends to, its own included; at least 1.
    pub window: usize,
}

impl Rolling {
    /// The first position that the token at `position` attends to.
    pub fn first(&self, position: usize) -> usize {
        (position + 1).saturating_sub(self.window)
    }
}

/// Numbers of blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) whole: usize,
    pub(crate) rolling: usize,
}

impl Need {
    /// Bytes of so many blocks; `None` on overflow.
    pub(crate) fn bytes(self, limits: &Limits) -> Option<u64> {
        let rolling = limits.rolling.map_or(0, |rolling| rolling.block_bytes);
        let whole = u64::try_from(self.whole).ok()?.checked_mul(limits.block_bytes)?;
        whole.checked_add(u64::try_from(self.rolling).ok()?.checked_mul(rolling)?)
    }

    /// What is missing where so many are held.
    pub(crate) fn beyond(self, held: Need) -> Need {
        Need {
            whole: self.whole.saturating_sub(held.whole),
            rolling: self.rolling.saturating_sub(held.rolling),
        }
    }
}

impl Limits {
    /// The most blocks at once of a sequence of `total` tokens, from now that `position` of its tokens have KV and at most
    /// `left` others are known: a step feeds no more than these. `None` where blocks hold no tokens.
    ///
    /// In a step the rolling layers see the window before its first token and its own tokens, wherever these fall in their
    /// blocks: those of a prompt first, then one at a time.
    pub(crate) fn need(&self, total: usize, position: usize, left: usize) -> Option<Need> {
        let block = self.block_tokens;
        let blocks = total.checked_add(block.checked_sub(1)?)? / block;
        let rolling = match self.rolling {
            None => 0,
            Some(rolling) => {
                let first = rolling.first(position) / block;
                let spanned = |fed: usize| {
                    let seen = rolling.window.checked_sub(1)?.checked_add(fed)?;
                    seen.checked_sub(1)?.div_ceil(block).checked_add(1)
                };
                let known = position.checked_add(left)?.div_ceil(block).saturating_sub(first);
                let prefill = known.min(spanned(left.clamp(1, self.max_step_tokens.max(1)))?);
                blocks.saturating_sub(first).min(prefill.max(spanned(1)?))
            }
        };
        Some(Need { whole: if self.block_bytes > 0 { blocks } else { 0 }, rolling })
    }
}

/// The KV blocks of one sequence.
#[derive(Debug)]
pub struct BlockTable<B> {
    /// Blocks of the layers that keep every token: position `p` is in number `p / block_tokens`. None where all layers
    /// roll.
    pub whole: Vec<KvBlock<B>>,
    /// Blocks of the layers with a window: position `p` is in number `p / block_tokens - first`. None where none rolls.
    pub rolling: Vec<KvBlock<B>>,
    /// How many blocks before `rolling` lay behind the window and are gone.
    pub first: usize,
}

impl<B> Default for BlockTable<B> {
    fn default() -> Self {
        BlockTable { whole: Vec::new(), rolling: Vec::new(), first: 0 }
    }
}

impl<B> BlockTable<B> {
    /// The blocks of these layers, and the number of blocks before the first of them.
    pub fn of(&self, layers: Layers) -> (&[KvBlock<B>], usize) {
        match layers {
            Layers::Whole => (&self.whole, 0),
            Layers::Rolling => (&self.rolling, self.first),
        }
    }

    /// Whether there are blocks for `fed` tokens from `position` on and for all that they attend to.
    pub fn covers(&self, limits: &Limits, position: usize, fed: usize) -> bool {
        let Some(end) = position.checked_add(fed) else { return false };
        let reaches = |blocks: usize| blocks.saturating_mul(limits.block_tokens) >= end;
        let whole = limits.block_bytes == 0 || reaches(self.whole.len());
        whole
            && limits.rolling.is_none_or(|rolling| {
                reaches(self.first.saturating_add(self.rolling.len()))
                    && self.first.saturating_mul(limits.block_tokens) <= rolling.first(position)
            })
    }

    pub(crate) fn held(&self) -> Need {
        Need { whole: self.whole.len(), rolling: self.rolling.len() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.rolling.is_empty()
    }

    /// Gives back what lies behind the window at `position`: such blocks serve again for positions to come.
    pub(crate) fn roll(&mut self, limits: &Limits, position: usize) {
        if let Some(rolling) = limits.rolling {
            let first = rolling.first(position) / limits.block_tokens;
            let behind = first.saturating_sub(self.first).min(self.rolling.len());
            self.rolling.rotate_left(behind);
            self.first += behind;
        }
    }

    /// Frees the last blocks beyond so many.
    pub(crate) fn truncate(&mut self, need: Need) {
        let keep = |blocks: &[KvBlock<B>], most: usize| most.min(blocks.len());
        let whole = self.whole.drain(keep(&self.whole, need.whole)..);
        let rolling = self.rolling.drain(keep(&self.rolling, need.rolling)..);
        free(whole.chain(rolling));
    }

    /// Frees all blocks.
    pub(crate) fn clear(&mut self) {
        self.truncate(Need::default());
    }

    /// Puts these blocks before its own, for which it has room.
    pub(crate) fn prepend(&mut self, mut before: BlockTable<B>) {
        for (blocks, before) in
            [(&mut self.whole, &mut before.whole), (&mut self.rolling, &mut before.rolling)]
        {
            let own = blocks.len();
            blocks.append(before);
            blocks.rotate_left(own);
        }
        self.first = before.first;
    }
}

/// Frees blocks, and gives their bytes back in as few steps as they have leases that join: the books are locked once and not for
/// each block.
fn free<B>(blocks: impl Iterator<Item = KvBlock<B>>) {
    let mut sum: Option<Lease> = None;
    for block in blocks {
        let lease = block.into_lease();
        match &mut sum {
            // What does not join goes back by itself.
            Some(sum) => drop(sum.absorb(lease)),
            None => sum = Some(lease),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        block_tokens: 4,
        block_bytes: 10,
        rolling: Some(Rolling { block_bytes: 3, window: 6 }),
        max_sequences: 1,
        max_step_tokens: 8,
        context_length: 64,
    };

    #[test]
    fn the_need_is_the_most_that_any_step_touches() {
        for window in 1..12 {
            for total in 1..40 {
                for prompt in 1..=total {
                    let limits = Limits { rolling: Some(Rolling { block_bytes: 3, window }), ..LIMITS };
                    let need = limits.need(total, 0, prompt).unwrap();
                    assert_eq!(need.whole, total.div_ceil(4));
                    // Every way to begin: a step may feed less than it could.
                    let mut most = 0;
                    for start in 0..prompt {
                        for fed in 1..=8.min(prompt - start) {
                            let first = (start + 1).saturating_sub(window) / 4;
                            most = most.max((start + fed).div_ceil(4) - first);
                        }
                    }
                    for position in prompt..total {
                        let first = (position + 1).saturating_sub(window) / 4;
                        most = most.max((position + 1).div_ceil(4) - first);
                    }
                    assert!(need.rolling >= most, "window {window} total {total} prompt {prompt}");
                    assert!(need.rolling <= most + 1, "window {window} total {total} prompt {prompt}");
                    assert_eq!(need.bytes(&limits), Some(need.whole as u64 * 10 + need.rolling as u64 * 3));
                }
            }
        }
    }

    #[test]
    fn layers_that_are_not_there_need_nothing() {
        let none = Limits { rolling: None, ..LIMITS };
        assert_eq!(none.need(9, 0, 9), Some(Need { whole: 3, rolling: 0 }));
        let all = Limits { block_bytes: 0, ..LIMITS };
        assert_eq!(all.need(64, 0, 30), Some(Need { whole: 0, rolling: 4 }));
        assert_eq!(all.need(64, 40, 1), Some(Need { whole: 0, rolling: 3 }));
        assert_eq!(all.need(64, 60, 1), Some(Need { whole: 0, rolling: 3 }));
        assert_eq!(Limits { block_tokens: 0, ..LIMITS }.need(1, 0, 1), None);
        assert_eq!(LIMITS.need(usize::MAX, 0, 1), None);
    }
}
