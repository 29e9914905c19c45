//! The report for people.

use super::*;

#[test]
fn who_has_what_is_a_table() {
    const MIB: u64 = 1 << 20;
    let clock = Arc::new(ManualClock::default());
    let probe = Arc::new(Mutex::new(None::<Reading>));
    let guard = MemoryGuard::new(exact(100 * MIB, None), probe, clock.clone()).unwrap();
    let lease = |owner, bytes| guard.lease(Region::Host, owner, bytes).unwrap();
    let weights = lease(Owner::Weights(ModelId(1)), 60 * MIB);
    let _workspace = lease(Owner::Workspace(ModelId(1)), 30 * MIB);
    clock.advance(SECOND);
    guard.cleanup().unwrap();
    guard.tick();
    clock.advance(3 * SECOND);
    let expected = "\
host                              100.0 MiB, 90.0 % in use: critical
  leased                           90.0
  at most so far                   90.0
  others                            0.0
  free                             10.0 of 100.0 that may be leased
  owner                             MiB    share
  weights of model 1             60.000   66.7 %
  workspace of model 1           30.000   33.3 %
pressure  low, 0 changes, 0 degraded
sessions  0 open, 0 evictions
requests  0 accepted, 0 shrunk, 0 refused, 0 routed
cleanups  2, 0.0 MiB came back; the last was 3 s ago
alerts    90.0 % of host memory are used, the mark is 85.0 % (for 3 s)
";
    assert_eq!(guard.report(), expected);
    drop(weights);
    let _many: Vec<_> = (0..30).map(|id| lease(Owner::Weights(ModelId(id)), MIB / 8)).collect();
    clock.advance(SECOND);
    guard.tick();
    let report = guard.report();
    assert!(report.contains("\n  11 more                         1.375    4.1 %\n"), "{report}");
    assert!(report.ends_with("alerts    none\n"), "{report}");
}
