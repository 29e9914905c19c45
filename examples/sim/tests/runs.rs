//! Whole runs: what they must keep to, that they repeat, and that a fault is found.

use plimsoll_sim::plan::Plan;
use plimsoll_sim::workload::{Clients, Workload};
use plimsoll_sim::{Fault, chart};

/// Ten thousand requests of all there is; the run itself checks what it must keep to.
fn mixed(seed: u64, clients: Clients) {
    let report =
        Plan::new(seed, 10_000, Workload::mixed(clients)).run().unwrap_or_else(|failure| panic!("{failure}"));
    assert!(report.requests > 9_900, "{report}");
    // The run is worth something only if all of this happens in it.
    for happened in [
        report.shrunk,
        report.delayed,
        report.never,
        report.evictions,
        report.recomputed.0,
        report.cut_short.0,
        report.cut_short.1,
        report.maximal,
    ] {
        assert!(happened > 0, "{report}");
    }
}

#[test]
fn callers_who_retry_are_all_served() {
    (1..=2).for_each(|seed| mixed(seed, Clients::Retry));
}

#[test]
fn callers_in_a_line_are_all_served() {
    (1..=3).for_each(|seed| mixed(seed, Clients::Line));
}

#[test]
fn memory_is_as_full_as_an_offline_packer_would_have_it() {
    for clients in [Clients::Retry, Clients::Line] {
        for seed in 1..=2 {
            let plan = Plan::new(seed, 1_500, Workload::packing(clients));
            let report = plan.run().unwrap_or_else(|failure| panic!("{failure}"));
            let ratio = report.ratio.unwrap();
            assert!((0.95..1.05).contains(&ratio), "{clients:?}: {report}");
        }
    }
}

#[test]
fn few_lanes_and_a_long_queue_keep_the_promises() {
    // Six lanes: most of what is granted waits for one, and its KV is leased long before it is allocated.
    for seed in 1..=2 {
        let mut plan = Plan::new(seed, 3_000, Workload::mixed(Clients::Retry));
        plan.setup.max_sequences = 6;
        let report = plan.run().unwrap_or_else(|failure| panic!("{failure}"));
        assert!(report.queued(0.5).as_millis() > 0, "{report}");
    }
}

#[test]
fn the_same_seed_decides_the_same() {
    for clients in [Clients::Retry, Clients::Line] {
        let run = |seed| {
            let mut plan = Plan::new(seed, 1_500, Workload::mixed(clients));
            plan.picture = true;
            let report = plan.run().unwrap_or_else(|failure| panic!("{failure}"));
            (report.digest, report.to_string(), chart::draw(&report))
        };
        let first = run(7);
        assert_eq!(first, run(7));
        assert_ne!(first.0, run(8).0);
        assert!(first.2.starts_with("<svg") && first.2.ends_with("</svg>\n"));
    }
}

#[test]
fn planted_faults_are_found_and_the_seed_is_told() {
    let cases = [(Fault::LeakedBlock, "kv"), (Fault::ShortEstimate, "KV")];
    for (fault, word) in cases {
        let mut plan = Plan::new(5, 2_000, Workload::mixed(Clients::Retry));
        plan.fault = Some(fault);
        let failure = plan.run().unwrap_err();
        assert!(failure.what.0.contains(word), "{failure}");
        let told = failure.to_string();
        assert!(
            told.starts_with("seed 5, request ") && told.ends_with("again: sim 5 2000 mixed-retry"),
            "{told}"
        );
    }
}
