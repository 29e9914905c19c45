//! The committed C header is the one that the sources give.

#![cfg(feature = "capi")]
#![allow(clippy::unwrap_used)]

use std::path::Path;

#[test]
fn the_committed_header_has_not_drifted() {
    let generated = include_str!(concat!(env!("OUT_DIR"), "/plimsoll.h"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/plimsoll.h");
    if std::env::var_os("PLIMSOLL_UPDATE_HEADER").is_some() {
        std::fs::write(&path, generated).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    let first = committed.lines().zip(generated.lines()).position(|(old, new)| old != new);
    assert!(
        committed == generated,
        "include/plimsoll.h differs from the sources at line {:?}: run `make header`, then review the difference",
        first.map_or(committed.lines().count().min(generated.lines().count()), |line| line) + 1
    );
}
