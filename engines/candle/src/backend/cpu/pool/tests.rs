//! Many short runs, asleep and awake, alone and beside other pools.

use super::*;
use std::time::{Duration, Instant};

#[test]
fn every_task_runs_once_in_every_run() {
    for threads in [1, 2, 5] {
        let pool = Pool::new(threads).unwrap();
        assert_eq!(pool.threads(), threads);
        for tasks in [0, 1, 2, 7, 300] {
            let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
            for run in 0..50 {
                if run % 20 == 19 {
                    // Long enough for the workers to fall asleep.
                    thread::sleep(Duration::from_millis(2));
                }
                pool.run(tasks, &|number, thread| {
                    assert!(thread < threads);
                    counts[number].fetch_add(1, Ordering::Relaxed);
                });
            }
            assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 50));
        }
    }
}

#[test]
fn tasks_that_run_together_have_different_threads() {
    let pool = Pool::new(4).unwrap();
    let busy: Vec<AtomicBool> = (0..4).map(|_| AtomicBool::new(false)).collect();
    pool.run(200, &|_, thread| {
        assert!(!busy[thread].swap(true, Ordering::AcqRel));
        thread::yield_now();
        busy[thread].store(false, Ordering::Release);
    });
}

#[test]
fn a_panic_reaches_the_caller_and_the_pool_works_on() {
    let pool = Pool::new(3).unwrap();
    for bad in [0, 5, 99] {
        let run = AssertUnwindSafe(|| {
            pool.run(100, &|number, _| assert!(number != bad, "task {number} fails"));
        });
        let panic = catch_unwind(run).unwrap_err();
        assert_eq!(panic.downcast_ref::<String>().unwrap(), &format!("task {bad} fails"));
        let done = AtomicUsize::new(0);
        pool.run(100, &|_, _| {
            done.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(done.into_inner(), 100);
    }
}

/// Runs whose tasks write plain memory that the caller then reads: what a lost or late task would spoil.
fn churn(pool: &Pool, runs: usize, seed: u64) {
    let mut random = seed;
    let mut values = vec![0u64; 64];
    for run in 0..runs {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let tasks = (random >> 33) as usize % values.len() + 1;
        match random >> 60 {
            // Gaps about as long as the spinning, so that runs meet workers on their way to sleep and back.
            0 => (0..(random >> 40) % 2000).for_each(|_| std::hint::spin_loop()),
            1 => thread::yield_now(),
            _ => {}
        }
        values.fill(0);
        let start = AtomicU64::new(values.as_mut_ptr() as u64);
        pool.run(tasks, &|number, _| {
            let value = start.load(Ordering::Relaxed) as *mut u64;
            // SAFETY: every task has a value of its own, which is read when the run is over.
            unsafe { *value.add(number) += run as u64 + number as u64 + 1 };
        });
        for (number, value) in values.iter().enumerate() {
            let want = if number < tasks { run as u64 + number as u64 + 1 } else { 0 };
            assert_eq!(*value, want, "task {number} of {tasks} in run {run}");
        }
    }
}

#[test]
fn short_runs_lose_nothing_whatever_the_workers_do() {
    for threads in [2, 3, 8] {
        churn(&Pool::new(threads).unwrap(), 20_000, threads as u64);
    }
}

#[test]
fn pools_side_by_side_do_not_disturb_each_other() {
    thread::scope(|scope| {
        for seed in 0..4 {
            scope.spawn(move || churn(&Pool::new(2 + seed as usize % 2).unwrap(), 5_000, seed));
        }
    });
}

#[test]
fn pools_come_and_go() {
    for threads in 1..=6 {
        for runs in [0, 1, 3] {
            churn(&Pool::new(threads).unwrap(), runs, 9);
        }
    }
}

#[test]
fn workers_are_left_asleep_while_the_cores_are_taken() {
    let pool = Pool::new(3).unwrap();
    // The workers fall asleep before they serve their first run.
    while pool.shared.sleepers.0.load(Ordering::Relaxed) < 2 {
        thread::yield_now();
    }
    let helped = AtomicUsize::new(0);
    let run = || {
        pool.run(50, &|_, thread| {
            helped.fetch_add(thread, Ordering::Relaxed);
            thread::yield_now();
        });
        helped.load(Ordering::Relaxed)
    };
    let others: Vec<_> = (0..cores().max(3)).map(|_| Awake::count()).collect();
    assert!((0..100).all(|_| run() == 0), "the caller works alone");
    drop(others);
    // Other tests have pools that are awake at times.
    let start = Instant::now();
    while run() == 0 {
        assert!(start.elapsed() < Duration::from_secs(60), "the workers help again");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn nobody_counts_as_awake_who_sleeps_or_is_gone() {
    // The count is the process's, and other tests run beside this one: it is compared when it stands still.
    let pools: Vec<Pool> = (0..3).map(|_| Pool::new(3).unwrap()).collect();
    let start = Instant::now();
    for pool in pools {
        churn(&pool, 50, 3);
        while pool.shared.sleepers.0.load(Ordering::Relaxed) < 2 {
            assert!(start.elapsed() < Duration::from_secs(60), "workers without work fall asleep");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// What a run costs when all threads are awake and take part. Not bounded by an assertion: the machine may be busy.
#[test]
fn the_cost_of_a_run_can_be_told() {
    let pool = Pool::new(2).unwrap();
    let mut least = Duration::MAX;
    for _ in 0..100 {
        let start = Instant::now();
        for _ in 0..20 {
            // Each task waits for the other, so that a run is there and back again.
            let begun = AtomicUsize::new(0);
            pool.run(2, &|_, _| {
                begun.fetch_add(1, Ordering::AcqRel);
                let mut turns = 0;
                while begun.load(Ordering::Acquire) < 2 && turns < 100_000 {
                    turns += 1;
                    std::hint::spin_loop();
                }
            });
        }
        least = least.min(start.elapsed() / 20);
    }
    assert!(least > Duration::ZERO);
    println!("a run of two tasks on two threads: {} ns", least.as_nanos());
}
