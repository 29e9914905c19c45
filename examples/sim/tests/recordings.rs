//! Recordings of real runs, played again.

use plimsoll_sim::record::record;
use plimsoll_sim::replay::replay;

const KEPT: &str = include_str!("recordings/scripted.jsonl");

#[test]
fn the_kept_recording_is_played_as_it_was() {
    let replayed = replay(KEPT).unwrap_or_else(|broken| panic!("{broken}"));
    assert_eq!(replayed.events as usize, KEPT.lines().count() - 2);
    let total = &replayed.total;
    for happened in [total.accepted, total.shrunk, total.rejected, total.evictions] {
        assert!(happened > 0, "{replayed}");
    }
}

#[test]
fn a_run_of_just_now_is_played_as_it_was() {
    let recording = record(std::process::id().into(), 12).unwrap_or_else(|broken| panic!("{broken}"));
    let replayed = replay(&recording).unwrap_or_else(|broken| panic!("{broken}\n{recording}"));
    assert!(replayed.total.accepted > 0, "{replayed}");
    assert_eq!(replay(&recording), Ok(replayed));
}

#[test]
fn a_recording_that_was_changed_is_told_by_its_line() {
    let line = KEPT.lines().position(|line| line.contains(r#""decision":"shrink""#)).unwrap();
    let spoilt: Vec<String> = KEPT
        .lines()
        .enumerate()
        .map(
            |(at, text)| {
                if at == line { text.replace(r#""granted":"#, r#""granted":1"#) } else { text.into() }
            },
        )
        .collect();
    let broken = replay(&spoilt.join("\n")).unwrap_err();
    assert!(broken.0.starts_with(&format!("line {}: it was ", line + 1)), "{broken}");
    let fewer =
        KEPT.lines().filter(|line| !line.contains(r#""event":"open""#)).collect::<Vec<_>>().join("\n");
    assert!(replay(&fewer).unwrap_err().0.contains("there is no conversation"));
    assert!(replay("{}").unwrap_err().0.contains("two lines"));
    assert!(replay("{}\n{}").unwrap_err().0.starts_with("line 1: "));
}
