//! Raw limits: memory read and arithmetic done by all threads at once, with nothing else to do.

use super::peaks::Arithmetic;
use crate::backend::cpu::buffer::Buffer;
use crate::backend::cpu::kernels::{Level, per_level};
use crate::backend::cpu::pool::Pool;
use plimsoll_engine::EngineError;
use std::hint::black_box;
use std::time::Instant;

/// Bytes of a turn of reading.
const READ: usize = 64 << 20;
/// Fewest bytes that one task reads.
const PART: usize = 16 << 10;
/// Tasks of each thread: late threads take fewer.
const TASKS: usize = 8;

/// Memory to read, as large as anything that is measured, and where the next turn begins.
pub(super) struct Limits {
    level: Level,
    memory: Buffer,
    at: usize,
}

impl Limits {
    /// Memory of so many bytes, written once.
    ///
    /// # Errors
    /// [`EngineError::OutOfMemory`].
    pub(super) fn new(level: Level, bytes: usize) -> Result<Self, EngineError> {
        let mut fill = |piece: &mut [u8]| {
            piece.fill(1);
            Ok(())
        };
        Ok(Limits { level, memory: Buffer::filled(bytes, 1 << 20, &mut fill)?, at: 0 })
    }

    /// Bytes a second of a read of memory that is gone over in turn, `set` bytes of it.
    pub(super) fn read(&mut self, pool: &Pool, threads: usize, set: usize) -> f64 {
        // SAFETY: any bytes make words, and `align_to` minds size and alignment.
        let words = unsafe { self.memory.bytes().align_to::<u64>().1 };
        let set = &words[..(set / size_of::<u64>()).clamp(1, words.len())];
        let turn = set.len().min(READ / size_of::<u64>());
        if self.at + turn > set.len() {
            self.at = 0;
        }
        let words = &set[self.at..self.at + turn];
        self.at += turn;
        // Little memory is read several times, each part by the thread that has it.
        let times = READ / 4 / size_of_val(words).min(READ / 4);
        let tasks = (size_of_val(words) / PART).clamp(1, TASKS * threads);
        let part = words.len().div_ceil(tasks);
        let level = self.level;
        let seconds = spread(pool, threads, tasks, &|task| {
            let from = (task * part).min(words.len());
            let part = &words[from..(from + part).min(words.len())];
            for _ in 0..times {
                black_box(sum(level, black_box(part)));
            }
        });
        (times * size_of_val(words)) as f64 / seconds
    }

    /// Operations a second; a multiplication and an addition are two.
    pub(super) fn peak(&self, pool: &Pool, threads: usize, arithmetic: Arithmetic) -> f64 {
        let tasks = TASKS * threads;
        let seconds = spread(pool, threads, tasks, &|_| arithmetic.run(self.level));
        tasks as f64 * arithmetic.operations() / seconds
    }
}

/// Seconds of tasks on so many threads: all of the pool's, or the caller alone.
fn spread(pool: &Pool, threads: usize, tasks: usize, task: &(dyn Fn(usize) + Sync)) -> f64 {
    let all = || match threads {
        1 => (0..tasks).for_each(task),
        _ => pool.run(tasks, &|number, _| task(number)),
    };
    if threads > 1 {
        // The others wake up before the clock starts.
        pool.run(threads, &|_, _| {});
    }
    timed(threads, all)
}

/// Seconds that something takes: of one thread those that it ran, of several those that passed.
pub(super) fn timed(threads: usize, run: impl FnOnce()) -> f64 {
    if threads > 1 {
        let start = Instant::now();
        run();
        return start.elapsed().as_secs_f64();
    }
    let start = ran();
    run();
    ran() - start
}

/// Seconds that this thread has run.
fn ran() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock is there on Linux and macOS, and the pointer is to a whole value.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

per_level! {
    /// A sum that the compiler makes wide and takes no time but for reading. It asks for nothing ahead and leaves that to the
    /// processor, as `benches/peers/limits.c` does, so a single thread's kernel that asks in two places may well read faster.
    fn sum[_simd](words: &[u64]) -> u64 {
        let mut sums = [0u64; 32];
        for line in words.as_chunks::<32>().0 {
            for (sum, word) in sums.iter_mut().zip(line) {
                *sum = sum.wrapping_add(*word);
            }
        }
        sums.iter().fold(0, |total, sum| total.wrapping_add(*sum))
    }
}
