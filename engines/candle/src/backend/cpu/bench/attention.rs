//! Attention over paged KV: one new token with many held, and a prompt.

use super::{Arithmetic, Bench, BenchError, Random, Work, spec};
use crate::backend::cpu::{Block, CpuBackend};
use crate::backend::{Attention, Backend, KvDtype, Slot, Span, Spans};
use plimsoll_engine::{Accounts, EngineError, Lease, Owner, Region, RequestId};
use plimsoll_scheduler::{BlockTable, KvBlock, Layers};
use std::sync::Arc;

/// Tokens that the cache has room for.
const TOKENS: usize = 2048;
/// Rows and position of a decode step, and of a prompt's first and last ones.
const STEPS: [(usize, usize, &str); 3] =
    [(1, TOKENS - 1, "2048 held"), (512, 0, "prompt"), (512, TOKENS - 512, "prompt's end")];

/// Blocks need leases, and nobody keeps books here.
struct NoBooks;

impl Accounts for NoBooks {
    fn release(&self, _: Region, _: Owner, _: u64) {}
}

/// One sequence.
struct One {
    rows: usize,
    position: usize,
    blocks: BlockTable<Block>,
}

impl Spans<Block> for One {
    fn count(&self) -> usize {
        1
    }

    fn span(&self, _: usize) -> Span<'_, Block> {
        Span { first_row: 0, rows: self.rows, position: self.position, blocks: &self.blocks }
    }
}

pub(super) fn all(bench: &mut Bench<'_>) -> Result<(), BenchError> {
    for (kv, name) in [(KvDtype::F16, "f16"), (KvDtype::Q8_0, "q8_0")] {
        let of_step = |(rows, _, shape): &(usize, usize, &str)| {
            bench.wants(&["attend", name, shape, &rows.to_string()])
        };
        if !STEPS.iter().any(of_step) {
            continue;
        }
        let per_layer = spec(&bench.options, 1, kv).block_bytes(Layers::Whole);
        let bytes = |tokens: usize| usize::try_from(per_layer?).ok()?.checked_mul(tokens.div_ceil(16));
        let layers = (bench.options.set_bytes / bytes(TOKENS).ok_or(EngineError::PriceOverflow)?).max(1);
        let mut backend = CpuBackend::new(spec(&bench.options, layers, kv))?;
        let mut one = One { rows: 512, position: 0, blocks: BlockTable::default() };
        let block_bytes = backend.spec().block_bytes(Layers::Whole).ok_or(EngineError::PriceOverflow)?;
        let books: Arc<dyn Accounts> = Arc::new(NoBooks);
        for _ in 0..TOKENS / backend.spec().block_tokens {
            let owner = Owner::Request(RequestId(1));
            let lease = Lease::issue(Arc::clone(&books), Region::Host, owner, block_bytes);
            one.blocks.whole.push(KvBlock::new(backend.allocate_block(Layers::Whole)?, lease));
        }
        let mut random = Random::new();
        for slot in [Slot::Query, Slot::Key, Slot::Value] {
            random.fill(backend.written(slot, one.rows)?);
        }
        for position in (0..TOKENS).step_by(one.rows) {
            one.position = position;
            (0..layers).try_for_each(|layer| backend.store_kv(layer, &one))?;
        }
        for (rows, position, shape) in STEPS {
            (one.rows, one.position) = (rows, position);
            let StepSizes { pairs, tokens } = StepSizes::of(rows, position);
            let bytes = bytes(tokens).ok_or(EngineError::PriceOverflow)?;
            let work = Work {
                names: ["attend", name, shape].map(str::to_owned),
                rows,
                threads: bench.options.threads,
                bytes,
                set: bytes * layers,
                operations: (4 * pairs * backend.spec().heads * backend.spec().head_dim) as f64,
                arithmetic: arithmetic(bench, kv, rows),
            };
            let attention = Attention { scale: 0.125, softcap: None, window: None };
            let mut layer = 0;
            bench.measure(&work, || {
                layer = (layer + 1) % layers;
                backend.attention(layer, attention, &one)
            })?;
        }
    }
    Ok(())
}

/// What a step looks at.
struct StepSizes {
    /// Rows times the tokens that each looks at.
    pairs: usize,
    /// Tokens of which KV is read.
    tokens: usize,
}

impl StepSizes {
    fn of(rows: usize, position: usize) -> Self {
        StepSizes { pairs: (position + 1..=position + rows).sum(), tokens: position + rows }
    }
}

/// On tiles each product is as many as keys and values have planes.
fn arithmetic(bench: &Bench<'_>, kv: KvDtype, rows: usize) -> Option<(Arithmetic, f64)> {
    let planes = if kv == KvDtype::Q8_0 { 1.0 } else { 2.0 };
    let tiles = Arithmetic::tiles(bench.level).filter(|_| rows > 1).map(|tiles| (tiles, planes));
    tiles.or(Arithmetic::floats(bench.level).map(|floats| (floats, 1.0)))
}
