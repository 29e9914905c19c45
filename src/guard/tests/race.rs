//! Many threads at the limit.

use super::*;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

// Miri runs some hundred times slower than the machine.
const THREADS: u64 = if cfg!(miri) { 3 } else { 8 };
const ROUNDS: u64 = if cfg!(miri) { 50 } else { 400 };
const LIMIT: u64 = 1_000;

/// A small generator, so that threads differ and runs repeat.
fn next(state: &mut u64) -> u32 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as u32
}

#[test]
fn racing_requests_never_pass_the_limit() {
    let config = GuardConfig { reclaim_deadline: Duration::from_secs(5), ..exact(LIMIT, None) };
    let world = World::new(config, Region::Host);
    let granted = AtomicU64::new(0);
    let running = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut looks = 0_u64;
            while running.load(Ordering::Acquire) {
                assert!(world.used(Region::Host) <= LIMIT);
                world.check();
                looks += 1;
            }
            looks
        });
        let work = |seed: u64| {
            let mut random = seed;
            let mut seat = world.seat();
            for round in 0..ROUNDS {
                if round % 50 == 49 {
                    seat = world.seat();
                }
                let request = ask(1 + next(&mut random) % 10, 1 + next(&mut random) % 10, 1);
                let (verdict, grant) = world.guard.admit(&seat, &request).unwrap();
                assert_eq!(grant.is_some(), verdict.decision != Decision::Reject, "{verdict}");
                let Some(grant) = grant else {
                    std::thread::yield_now();
                    continue;
                };
                granted.fetch_add(1, Ordering::Relaxed);
                assert_eq!(grant.granted_tokens, verdict.granted_tokens);
                assert_eq!(seat.kv_bytes(), verdict.kv_bytes.max(verdict.kv_held));
                std::thread::yield_now();
                let kept = u64::from(next(&mut random) % 3) * 100;
                match next(&mut random) % 4 {
                    0 => drop(grant),
                    _ => world.engine.finish(grant, kept),
                }
            }
        };
        let workers: Vec<_> = (1..=THREADS).map(|seed| scope.spawn(move || work(seed))).collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        running.store(false, Ordering::Release);
        assert!(watcher.join().unwrap() > 0);
    });
    let stats = world.guard.stats();
    assert!(stats.host().peak <= LIMIT && stats.host().peak > LIMIT * 9 / 10, "{:?}", stats.host());
    assert!(
        granted.load(Ordering::Relaxed) > ROUNDS && stats.shrunk_count > 0 && stats.evictions > 0,
        "{stats:?}"
    );
    assert_eq!(stats.host().used, 0, "all sessions are closed");
    assert_eq!((stats.active_sessions, stats.ledger.len()), (0, 0));
    world.check();
}

#[test]
fn a_session_has_one_grant_however_many_ask() {
    let world = World::host(100_000);
    let seat = world.seat();
    let inside = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    let (verdict, grant) = world.guard.admit(&seat, &ask(4, 4, 1)).unwrap();
                    match grant {
                        Some(grant) => {
                            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                            std::thread::yield_now();
                            assert_eq!(inside.fetch_sub(1, Ordering::SeqCst), 1);
                            world.engine.finish(grant, 100);
                        }
                        None => assert_eq!(verdict.reason, Reason::Busy),
                    }
                }
            });
        }
    });
    world.check();
    assert_eq!(seat.kv_bytes(), 100);
}
