#!/usr/bin/env bash
# Runs the models of loom/tests in every interleaving with few preemptions. Usage: loom/run.sh [cargo test's arguments...]
#   LOOM_MAX_PREEMPTIONS   how often a thread is stopped where it could go on [3]; 5 takes minutes
#   LOOM_TARGET_DIR        where cargo builds [$CARGO_TARGET_DIR/loom]
set -eu
cd "$(dirname "$0")/.."
target_dir=${LOOM_TARGET_DIR:-${CARGO_TARGET_DIR:-target}/loom}
export LOOM_MAX_PREEMPTIONS=${LOOM_MAX_PREEMPTIONS:-3}
RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR="$target_dir" \
    ${CARGO:-cargo} test --quiet --manifest-path loom/Cargo.toml --no-fail-fast "$@"
