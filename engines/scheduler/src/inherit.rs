//! One prompt, several answers: its KV is computed once and copied to the lanes of the others.

use crate::kept::KeptTable;
use crate::running::Running;
use crate::step::attempt;
use crate::{BlockTable, KvBlock, Lane, Limits, StepExecutor};

/// Bytes that are copied between two steps, or one block: some milliseconds, for which all others wait.
const BETWEEN_STEPS: u64 = 64 << 20;

/// Copies prompts that are computed to the lanes that wait for them, as far as there is time before the next step. A lane whose
/// prompt was nowhere to be had goes on by itself.
///
/// Blocks of a prompt stay where they are as long as its lane or its session has them. Where layers roll they do not, so the lane
/// that has the prompt sits out steps until all have it.
pub(crate) fn hand_on<E: StepExecutor>(
    executor: &mut E,
    limits: &Limits,
    lanes: &mut [Lane<E>],
    running: &mut [Running],
    kept: &KeptTable<E::Block>,
) {
    let mut left = BETWEEN_STEPS;
    for index in 0..running.len() {
        let Some(beside) = running[index].waits_for() else { continue };
        let source = running.iter().position(|other| other.job.request.session == beside);
        if source.is_some_and(|at| !running[at].decodes()) {
            continue;
        }
        let tokens = running[index].prompt_tokens() - 1;
        let blocks = match source {
            Some(at) => lanes.get_disjoint_mut([at, index]).ok().and_then(|[from, to]| {
                let same = from.tokens.get(..=tokens) == to.tokens.get(..=tokens);
                same.then_some((&from.blocks, &mut to.blocks))
            }),
            None => kept.holding(beside, tokens).map(|from| (from, &mut lanes[index].blocks)),
        };
        let copied = blocks.map_or(Copied::Nothing, |(from, to)| {
            inherit(executor, limits, from, to, tokens, &mut running[index].inherited, &mut left)
        });
        match copied {
            Copied::Part => continue,
            // The last token runs: its logits choose the first of the answer.
            Copied::All => lanes[index].position = tokens,
            Copied::Nothing => lanes[index].blocks.first = 0,
        }
        running[index].heir = false;
    }
}

/// Whether a lane has blocks that would roll on while others still wait for them.
pub(crate) fn gives(limits: &Limits, running: &[Running], index: usize) -> bool {
    let session = running[index].job.request.session;
    limits.rolling.is_some()
        && running[index].decodes()
        && running.iter().any(|other| other.waits_for() == Some(session))
}

/// How much of a prompt a lane has.
enum Copied {
    All,
    /// So much that the next step comes first.
    Part,
    /// It cannot have it.
    Nothing,
}

/// Copies the KV of a sequence's first `tokens` tokens to the blocks of another, which holds nothing yet, block by block. `done` of
/// them were copied before.
fn inherit<E: StepExecutor>(
    executor: &mut E,
    limits: &Limits,
    from: &BlockTable<E::Block>,
    to: &mut BlockTable<E::Block>,
    tokens: usize,
    done: &mut usize,
    left: &mut u64,
) -> Copied {
    if tokens == 0 || !from.covers(limits, tokens, 0) {
        return Copied::Nothing;
    }
    let end = tokens.div_ceil(limits.block_tokens);
    // The next token looks back so far.
    let first = limits.rolling.map_or(0, |rolling| rolling.first(tokens) / limits.block_tokens);
    to.first = first;
    if !to.covers(limits, tokens, 1) {
        return Copied::Nothing;
    }
    let whole = if limits.block_bytes > 0 { end } else { 0 };
    let (rolling, bytes) = limits.rolling.map_or((0, 0), |rolling| (end - first, rolling.block_bytes));
    let behind = first.saturating_sub(from.first);
    let blocks = pairs(from.whole.get(..whole), to.whole.get(..whole), limits.block_bytes).zip(pairs(
        from.rolling.get(behind..behind + rolling),
        to.rolling.get(..rolling),
        bytes,
    ));
    let Some((whole, rolling)) = blocks else { return Copied::Nothing };
    for (from, to, bytes) in whole.chain(rolling).skip(*done) {
        if *left < bytes.min(BETWEEN_STEPS) {
            return Copied::Part;
        }
        if attempt(|| executor.copy(from.data(), to.data())) != Ok(true) {
            return Copied::Nothing;
        }
        *left = left.saturating_sub(bytes);
        *done += 1;
    }
    Copied::All
}

/// Blocks side by side, as many of either, and the bytes of each.
fn pairs<'a, B>(
    from: Option<&'a [KvBlock<B>]>,
    to: Option<&'a [KvBlock<B>]>,
    bytes: u64,
) -> Option<impl Iterator<Item = (&'a KvBlock<B>, &'a KvBlock<B>, u64)>> {
    let pairs = from?.iter().zip(to?);
    Some(pairs.map(move |(from, to)| (from, to, bytes)))
}
