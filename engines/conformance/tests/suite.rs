//! The suite on scripted engines: it passes a good one and names what is wrong with a bad one.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

use plimsoll_conformance::scripted::{Fault, ScriptedConfig, scripted_subject};
use plimsoll_conformance::{Violation, suite};
use plimsoll_engine::Region;
use plimsoll_scheduler::Limits;

fn violations(config: &ScriptedConfig) -> Vec<Violation> {
    suite(&|| scripted_subject(config).expect("the engine loads")).err().unwrap_or_default()
}

fn found<'v>(violations: &'v [Violation], check: &str) -> &'v str {
    let violation = violations.iter().find(|violation| violation.check == check);
    violation.map_or_else(|| panic!("{check} finds nothing: {violations:?}"), |found| found.detail.as_str())
}

#[test]
fn a_good_engine_passes_on_the_host() {
    assert_eq!(violations(&ScriptedConfig::default()), []);
}

#[test]
fn a_good_engine_passes_on_a_device() {
    let limits =
        Limits { block_tokens: 32, block_bytes: 4096, max_sequences: 2, ..ScriptedConfig::default().limits };
    let config = ScriptedConfig { region: Region::Device(0), limits, queue: 3, ..ScriptedConfig::default() };
    assert_eq!(violations(&config), []);
}

#[test]
fn a_good_engine_of_the_smallest_limits_passes() {
    let limits = Limits {
        block_tokens: 1,
        block_bytes: 4,
        rolling: None,
        max_sequences: 1,
        max_step_tokens: 1,
        context_length: 160,
    };
    let config = ScriptedConfig { limits, queue: 1, ..ScriptedConfig::default() };
    assert_eq!(violations(&config), []);
}

#[test]
fn a_double_release_is_found() {
    let config = ScriptedConfig { fault: Some(Fault::DoubleRelease), ..ScriptedConfig::default() };
    let violations = violations(&config);
    let detail = found(&violations, "leases_return");
    assert!(detail.contains("released"), "{detail}");
}

#[test]
fn a_leaked_block_is_found() {
    let config = ScriptedConfig { fault: Some(Fault::LeakedBlock), ..ScriptedConfig::default() };
    let violations = violations(&config);
    let detail = found(&violations, "leases_return");
    assert!(detail.contains("KV, held and booked: 256 and 0"), "{detail}");
}

#[test]
fn an_unbooked_workspace_is_found() {
    let config = ScriptedConfig { fault: Some(Fault::UnbookedWorkspace), ..ScriptedConfig::default() };
    let violations = violations(&config);
    let detail = found(&violations, "fixed_memory_is_booked");
    assert!(detail.contains("workspace, held and booked: 8192 and 4096"), "{detail}");
}
