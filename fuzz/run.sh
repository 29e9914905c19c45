#!/usr/bin/env bash
# Runs each fuzz target for some seconds from its seeds, under AddressSanitizer. Usage: fuzz/run.sh [TARGET...]
#   FUZZ_SECONDS   seconds for each target [60]
#   PROOFS_UNTIL   from when on no further target is begun, nor cargo-fuzz built (scripts/late.sh)
# Needs nightly Rust and cargo-fuzz, which `make fuzz` builds; says loudly what it skips. The last line is the count of passed,
# failed and skipped targets.
set -u
cd "$(dirname "$0")/.."
seconds=${FUZZ_SECONDS:-60}
targets=${*:-gguf safetensors config tokenizer template calls}
tool=${CARGO_FUZZ:-cargo-fuzz}
target_dir=${FUZZ_TARGET_DIR:-${CARGO_TARGET_DIR:-target}/fuzz}
mkdir -p "$target_dir"
target_dir=$(cd "$target_dir" && pwd)

skip() {
    printf '\n!!! FUZZING IS SKIPPED: %s !!!\n\n' "$1"
    printf '0 passed, 0 failed, %d skipped\n' "$(wc -w <<<"$targets")"
    exit 0
}
rustup run nightly rustc --version >/dev/null 2>&1 || skip "no nightly Rust (rustup toolchain install nightly)"
scripts/late.sh && skip "it would not end in time; run make fuzz"
# The Makefile knows which version, and builds it once.
[ -z "${CARGO_FUZZ:-}" ] || [ -x "$tool" ] || make --no-print-directory "$tool" || exit
command -v "$tool" >/dev/null 2>&1 || skip "no cargo-fuzz (make fuzz builds it)"

passed=0
failed=0
skipped=0
for target in $targets; do
    if scripts/late.sh; then
        printf '\n!!! FUZZING %s IS SKIPPED: it would not end in time; run make fuzz !!!\n\n' "$target"
        skipped=$((skipped + 1))
        continue
    fi
    mkdir -p "fuzz/corpus/$target" "fuzz/artifacts/$target"
    options=(-max_total_time="$seconds" -timeout=20 -rss_limit_mb=3000 -malloc_limit_mb=512 -print_final_stats=1)
    # Headers, not weights: long inputs only slow the search.
    options+=(-max_len=65536)
    if [ -f "fuzz/dictionaries/$target.dict" ]; then options+=(-dict="fuzz/dictionaries/$target.dict"); fi
    log="$target_dir/$target.log"
    if RUSTUP_TOOLCHAIN=nightly CARGO_TARGET_DIR="$target_dir" "$tool" run "$target" \
        "fuzz/corpus/$target" "fuzz/seeds/$target" -- "${options[@]}" >"$log" 2>&1; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        # A target that never ran has shown nothing.
        if [ "${runs:-0}" -gt 0 ]; then
            printf 'ok fuzz %s: %s inputs in %s s\n' "$target" "$runs" "$seconds"
            passed=$((passed + 1))
            continue
        fi
    fi
    printf 'FAILED fuzz %s: the input is kept in fuzz/artifacts/%s; its end:\n' "$target" "$target"
    tail -40 "$log"
    failed=$((failed + 1))
done
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" -eq 0 ]
