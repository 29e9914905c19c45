#!/usr/bin/env bash
# Runs the tests of leases, rings, cancel flags, block tables, the guard and the C functions under Miri, which sees every
# access out of bounds, use after free, leak, data race and broken aliasing rule. Usage: scripts/miri.sh
#   PROPTEST_CASES    random cases of each property: Miri is some hundred times slower than the machine [3]
#   MIRI_TARGET_DIR   where cargo builds [$CARGO_TARGET_DIR/miri]
# Needs nightly Rust with Miri; says loudly when it is skipped. Not run: kernels (assembly and vector instructions) and loading
# (files and mmap). Whatever hangs ends with its part after 20 minutes, as failed.
set -u
cd "$(dirname "$0")/.."
skip() {
    printf '\n!!! MIRI IS SKIPPED: %s !!!\n\n0 passed, 0 failed, 2 skipped\n' "$1"
    exit 0
}
rustup run nightly cargo miri --version >/dev/null 2>&1 ||
    skip "no Miri (rustup toolchain install nightly --component miri,rust-src)"
export RUSTUP_TOOLCHAIN=nightly PROPTEST_CASES=${PROPTEST_CASES:-3}
export CARGO_TARGET_DIR=${MIRI_TARGET_DIR:-${CARGO_TARGET_DIR:-target}/miri}
export MIRIFLAGS="-Zmiri-disable-isolation ${MIRIFLAGS:-}"
mkdir -p "$CARGO_TARGET_DIR"

passed=0
failed=0
part() {
    local name=$1 log="$CARGO_TARGET_DIR/$1.log" began=$SECONDS
    shift
    if timeout 1200 cargo miri test "$@" >"$log" 2>&1; then
        # A part without tests has shown nothing.
        tests=$(sed -n 's/^test result: ok. \([1-9][0-9]*\) passed.*/\1/p' "$log" | head -1)
        if [ "${tests:-0}" -gt 0 ]; then
            printf 'ok miri %s: %s tests in %d s\n' "$name" "$tests" $((SECONDS - began))
            passed=$((passed + 1))
            return
        fi
    fi
    printf 'FAILED miri %s; its end:\n' "$name"
    tail -60 "$log"
    failed=$((failed + 1))
}
part contract -p plimsoll-engine --lib
# Left out: loops over thousands of plans, which touch no memory of their own.
part scheduler -p plimsoll-scheduler --lib -- --skip the_need_is_the_most --skip pace::
# Left out: the monitor, whose tests turn hours of seconds; races, which are loom's; the probes, which read files and drivers;
# the plain model's histories, of which `make model` runs 20,000; and a loop over thousands of owners.
part guard -p plimsoll --lib --no-default-features --features capi -- guard:: --skip monitor:: --skip race:: --skip probe:: \
    --skip machine:: --skip owner_map::
part handles -p plimsoll --lib --no-default-features --features capi -- capi::
printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
