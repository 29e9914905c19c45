//! A small spec and steps over it, for the tests of this backend.

use super::*;
use crate::backend::cpu::kernels::reference::Random;
use crate::backend::cpu::kernels::{dequantise, with_format};
use crate::backend::{KvDtype, RopeSpec, Span};
use plimsoll_engine::{Accounts, Lease, Owner, Region, RequestId};
use plimsoll_scheduler::{BlockTable, KvBlock};

/// Sizes that are no round numbers, for the paths that handle rests.
pub(crate) fn spec() -> StepSpec {
    StepSpec {
        hidden: 40,
        intermediate: 72,
        layers: 2,
        heads: 6,
        kv_heads: 2,
        head_dim: 20,
        vocab: 131,
        context: 200,
        max_rows: 50,
        max_sequences: 3,
        block_tokens: 16,
        kv_dtype: KvDtype::F16,
        threads: 2,
        ropes: vec![RopeSpec {
            inv_freq: (0..10).map(|i| 0.6f32.powi(i)).collect(),
            magnitude: 1.0,
            interleaved: false,
        }],
        experts: None,
        window: None,
    }
}

struct NoBooks;
impl Accounts for NoBooks {
    fn release(&self, _: Region, _: Owner, _: u64) {}
}

/// A block with a lease that no ledger issued.
pub(crate) fn leased<B>(block: B, bytes: u64) -> KvBlock<B> {
    let owner = Owner::Request(RequestId(1));
    KvBlock::new(block, Lease::issue(Arc::new(NoBooks), Region::Host, owner, bytes))
}

/// Attention to all tokens before a row, as most layers have it.
pub(crate) fn everything(spec: &StepSpec) -> Attention {
    Attention { scale: 1.0 / (spec.head_dim as f32).sqrt(), softcap: None, window: None }
}

/// Sequences side by side.
pub(crate) struct Sequences<B> {
    /// First row, rows, position and blocks of each.
    pub(crate) list: Vec<(usize, usize, usize, BlockTable<B>)>,
}

impl<B: Send + Sync> Spans<B> for Sequences<B> {
    fn count(&self) -> usize {
        self.list.len()
    }

    fn span(&self, index: usize) -> Span<'_, B> {
        let (first_row, rows, position, blocks) = &self.list[index];
        Span { first_row: *first_row, rows: *rows, position: *position, blocks }
    }
}

/// Sequences of `(rows, position)` one after the other with their blocks.
pub(crate) fn sequences<B: Backend>(backend: &mut B, shapes: &[(usize, usize)]) -> Sequences<B::Block> {
    let block_tokens = backend.spec().block_tokens;
    let mut first_row = 0;
    let mut list = Vec::new();
    for &(rows, position) in shapes {
        let count = (position + rows).div_ceil(block_tokens);
        let mut of = |layers| -> Vec<_> {
            let bytes = backend.spec().block_bytes(layers).unwrap();
            let count = if bytes > 0 { count } else { 0 };
            (0..count).map(|_| leased(backend.allocate_block(layers).unwrap(), bytes)).collect()
        };
        let blocks = BlockTable { whole: of(Layers::Whole), rolling: of(Layers::Rolling), first: 0 };
        list.push((first_row, rows, position, blocks));
        first_row += rows;
    }
    Sequences { list }
}

/// Random bytes of a matrix in its stored format, of values around and below 1.
pub(crate) fn stored(dtype: Dtype, values: usize, random: &mut Random) -> Vec<u8> {
    // Where a block has half-precision scales, and the largest number that they are multiplied with.
    let (scales, largest): (&[usize], f32) = match dtype {
        Dtype::F32 => return random.floats(values).iter().flat_map(|value| value.to_le_bytes()).collect(),
        Dtype::F16 | Dtype::BF16 => {
            let store = |value| match dtype {
                Dtype::F16 => half::f16::from_f32(value).to_le_bytes(),
                _ => half::bf16::from_f32(value).to_le_bytes(),
            };
            return random.floats(values).into_iter().flat_map(store).collect();
        }
        Dtype::Q4_0 => (&[0], 8.0),
        Dtype::Q4_1 => (&[0, 2], 16.0),
        Dtype::Q5_0 => (&[0], 16.0),
        Dtype::Q5_1 => (&[0, 2], 32.0),
        Dtype::Q8_0 => (&[0], 128.0),
        Dtype::Q2K => (&[80, 82], 45.0),
        Dtype::Q3K => (&[108], 128.0),
        Dtype::Q4K => (&[0, 2], 945.0),
        Dtype::Q5K => (&[0, 2], 1953.0),
        Dtype::Q6K => (&[208], 4096.0),
        Dtype::IQ4NL => (&[0], 127.0),
        Dtype::IQ4XS => (&[0], 4064.0),
        Dtype::MXFP4 => (&[], 12.0),
    };
    let (bytes, blocks) = (dtype.block_bytes() as usize, values / dtype.block_len() as usize);
    let mut stored: Vec<u8> = (0..blocks * bytes).map(|_| ((random.float() + 1.0) * 128.0) as u8).collect();
    for block in stored.chunks_mut(bytes) {
        for at in scales {
            let scale = half::f16::from_f32((0.5 + random.float() / 2.0) / largest);
            block[*at..at + 2].copy_from_slice(&scale.to_le_bytes());
        }
        if dtype == Dtype::MXFP4 {
            block[0] = 120 + (random.float() * 4.0) as u8;
        }
    }
    stored
}

/// A reader over bytes.
pub(crate) fn from_bytes(bytes: &[u8]) -> impl FnMut(&mut [u8]) -> Result<(), EngineError> + '_ {
    let mut at = 0;
    move |piece| {
        piece.copy_from_slice(&bytes[at..at + piece.len()]);
        at += piece.len();
        Ok(())
    }
}

/// A matrix of random values.
pub(crate) fn matrix<B: Backend>(dtype: Dtype, rows: usize, cols: usize, random: &mut Random) -> B::Matrix {
    let bytes = stored(dtype, rows * cols, random);
    B::load_matrix(dtype, rows, cols, &mut from_bytes(&bytes)).unwrap()
}

/// A vector of random values.
pub(crate) fn vector<B: Backend>(len: usize, random: &mut Random) -> B::Vector {
    let bytes = stored(Dtype::F32, len, random);
    B::load_vector(Dtype::F32, len, &mut from_bytes(&bytes)).unwrap()
}

fn fill(backend: &mut CpuBackend, slot: Slot, rows: usize, random: &mut Random) -> Vec<f32> {
    let [values] = backend.arena.areas([Area::Slot(slot, rows)]).unwrap();
    values.iter_mut().for_each(|value| *value = random.float());
    values.to_vec()
}

fn read(backend: &mut CpuBackend, slot: Slot, rows: usize) -> Vec<f32> {
    backend.arena.areas([Area::Slot(slot, rows)]).unwrap()[0].to_vec()
}

#[test]
fn products_follow_the_definition_for_every_format_and_number_of_rows() {
    let mut random = Random::new(7);
    for (dtype, kv_dtype) in
        Dtype::ALL.into_iter().flat_map(|dtype| [(dtype, KvDtype::F16), (dtype, KvDtype::F32)])
    {
        // Inputs beyond one panel, in whole blocks.
        let cols = if dtype.block_len() == 256 { 768 } else { 544 };
        let spec = StepSpec { hidden: cols, intermediate: 83, kv_dtype, ..spec() };
        let exact = spec.is_exact();
        let mut backend = CpuBackend::new(spec).unwrap();
        let bytes = stored(dtype, 83 * cols, &mut random);
        let matrix = CpuBackend::load_matrix(dtype, 83, cols, &mut from_bytes(&bytes)).unwrap();
        let bias = vector::<CpuBackend>(83, &mut random);
        let mut weights = vec![0.0; 83 * cols];
        with_format!(dtype, F => dequantise::<F>(Level::detect(), &bytes, &mut weights));
        for (rows, how, bias) in [
            (1, Into::Set, None),
            (3, Into::Add, Some(&bias)),
            (16, Into::Set, Some(&bias)),
            (17, Into::Add, Some(&bias)),
            (50, Into::Set, Some(&bias)),
            (49, Into::Set, None),
        ] {
            let input = fill(&mut backend, Slot::Normed, rows, &mut random);
            let before = fill(&mut backend, Slot::Gate, rows, &mut random);
            backend.matmul(&matrix, bias, Slot::Normed, Slot::Gate, how, rows).unwrap();
            let got = read(&mut backend, Slot::Gate, rows);
            for row in 0..rows {
                for output in 0..83 {
                    let terms = input[row * cols..][..cols].iter().zip(&weights[output * cols..][..cols]);
                    let products: Vec<f64> = terms.map(|(x, w)| f64::from(*x) * f64::from(*w)).collect();
                    let mut want: f64 = products.iter().sum();
                    let magnitude: f64 = products.iter().map(|product| product.abs()).sum();
                    let tiled = Level::detect().name() == "amx" && rows > matmul::EXACT_ROWS;
                    // On tiles blocks and their inputs are rounded to bf16; so are inputs of bf16 weights, or to twice as many
                    // bits, as those of f16.
                    let halved = match dtype {
                        Dtype::F32 => 0.0,
                        _ if !tiled => 0.0,
                        Dtype::BF16 if !exact => 1.0 / 250.0,
                        Dtype::BF16 | Dtype::F16 => 1.0 / 32000.0,
                        _ => 1.0 / 124.0,
                    };
                    // Inputs, which are below 1, are rounded to whole numbers of 15 bits or of 8.
                    let rounded = match (dtype.is_quantized(), rows <= matmul::EXACT_ROWS) {
                        (true, true) => 1.0 / 32512.0,
                        (true, false) if !tiled => 1.0 / 254.0,
                        _ => 0.0,
                    };
                    let rounded: f64 = rounded
                        * weights[output * cols..][..cols].iter().map(|w| f64::from(w.abs())).sum::<f64>();
                    want += bias.map_or(0.0, |bias| f64::from(bias.values()[output]));
                    want += if how == Into::Add { f64::from(before[row * 83 + output]) } else { 0.0 };
                    let got = f64::from(got[row * 83 + output]);
                    assert!(
                        (got - want).abs() < (4e-7 + halved) * magnitude + rounded,
                        "{dtype:?} {rows} rows, {row} {output}: {got} {want}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_row_of_few_is_the_same_bits_as_alone() {
    let mut backend = CpuBackend::new(spec()).unwrap();
    let mut random = Random::new(8);
    let matrix = matrix::<CpuBackend>(Dtype::BF16, 72, 40, &mut random);
    let rows = matmul::EXACT_ROWS;
    let inputs = fill(&mut backend, Slot::Normed, rows, &mut random);
    backend.matmul(&matrix, None, Slot::Normed, Slot::Gate, Into::Set, rows).unwrap();
    let together = read(&mut backend, Slot::Gate, rows);
    for row in 0..rows {
        backend.arena.areas([Area::Slot(Slot::Normed, 1)]).unwrap()[0]
            .copy_from_slice(&inputs[row * 40..][..40]);
        backend.matmul(&matrix, None, Slot::Normed, Slot::Gate, Into::Set, 1).unwrap();
        assert_eq!(read(&mut backend, Slot::Gate, 1), together[row * 72..][..72]);
    }
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let mut backend = CpuBackend::new(spec()).unwrap();
    let mut random = Random::new(9);
    let table = matrix::<CpuBackend>(Dtype::F32, 131, 40, &mut random);
    let short = vector::<CpuBackend>(3, &mut random);
    let is_execution =
        |result: Result<(), EngineError>| assert!(matches!(result, Err(EngineError::Execution(_))));
    is_execution(backend.embed(&table, &[130, 131]));
    is_execution(backend.embed(&table, &[0; 51]));
    is_execution(backend.rms_norm(Slot::Hidden, &short, 1e-5, Slot::Normed, 1));
    is_execution(backend.head_norm(Slot::Query, &short, 1e-5, 1));
    is_execution(backend.matmul(&table, None, Slot::Normed, Slot::Gate, Into::Set, 1));
    is_execution(backend.matmul(&table, Some(&short), Slot::Last, Slot::Logits, Into::Set, 1));
    is_execution(backend.matmul(&table, None, Slot::Last, Slot::Logits, Into::Set, 4));
    is_execution(backend.select(&[50]));
    is_execution(backend.rope_prepare(&[0; 51]));
    is_execution(backend.logits(4).map(|_| ()));
    is_execution(backend.rope(1, 1));
    is_execution(backend.gate(Activation::Silu, 73, 1));
    is_execution(backend.add(Slot::Query, Slot::Hidden, 1));
    // There are no experts.
    is_execution(backend.router(1, 1).map(|_| ()));
    is_execution(backend.gather(&[50]));
    is_execution(backend.scatter(Slot::Hidden, &[1], &[]));
    is_execution(backend.scatter(Slot::Last, &[3], &[1.0]));
    let mut other = CpuBackend::new(spec()).unwrap();
    let theirs = sequences(&mut other, &[(1, 0)]);
    is_execution(backend.store_kv(0, &theirs));
    let everything = everything(&spec());
    is_execution(backend.attention(0, everything, &theirs));
    is_execution(other.store_kv(2, &theirs));
    // Two sequences cannot have the same rows, nor a step more sequences than are planned for.
    let mut shared = sequences(&mut other, &[(3, 0), (1, 0)]);
    shared.list[1].0 = 2;
    is_execution(other.attention(0, everything, &shared));
    let many = sequences(&mut other, &[(1, 0), (1, 0), (1, 0), (1, 0)]);
    is_execution(other.attention(0, everything, &many));
    let odd = StepSpec { block_tokens: 24, ..spec() };
    assert!(matches!(CpuBackend::new(odd), Err(EngineError::Invalid(_))));
    let mut short = sequences(&mut other, &[(3, 15)]);
    short.list[0].3.whole.pop();
    is_execution(other.store_kv(0, &short));
    let many = sequences(&mut other, &[(30, 0), (21, 0)]);
    is_execution(other.attention(0, everything, &many));
}

#[test]
fn stretches_cover_all_panels_once_by_twos_and_grow_smaller() {
    for threads in [1, 2, 3] {
        let pool = pool::Pool::new(threads).unwrap();
        let workers = matmul::Workers { level: Level::detect(), pool: &pool, threads, exact: false };
        for all in (0..80).chain([304, 9496]) {
            let seen = std::sync::Mutex::new(Vec::new());
            matmul::stretches(workers, all, &|panels, thread| {
                assert!(thread < threads);
                seen.lock().unwrap().push(panels);
            });
            let mut seen = seen.into_inner().unwrap();
            seen.sort_by_key(|panels| panels.start);
            let ends = seen.iter().scan(0, |end, panels| Some(std::mem::replace(end, panels.end)));
            assert!(
                ends.zip(&seen).all(|(end, panels)| end == panels.start && end % 2 == 0),
                "{all}: {seen:?}"
            );
            assert_eq!(seen.last().map_or(0, |panels| panels.end), all);
            let lengths = || seen.iter().map(|panels| panels.len().next_multiple_of(2));
            assert!(lengths().is_sorted_by(|earlier, later| *later <= earlier + 2), "{all}: {seen:?}");
            let tasks = seen.len().max(1);
            assert!(lengths().next().unwrap_or(0) <= 2 * all / tasks + 4, "{all}: {seen:?}");
            assert!(all < 80 || lengths().next_back() < Some(all / tasks / 4 + 4), "{all}: {seen:?}");
            assert!(lengths().all(|length| length > 0), "{all}: {seen:?}");
        }
    }
}
