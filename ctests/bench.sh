# The bench program, on a golden model: that it measures what it says. Sourced by run.sh.
bench() { LD_LIBRARY_PATH=$lib timeout 120 "$bin/bench" --model tests/golden/models/llama3 --reps 2 --prefill 64 --decode 16 "$@"; }

bench --depth 100 --batch 1,3 >"$out/bench" 2>"$out/bench.err"
test_that "bench: ends well" test $? -eq 0
for row in '^load +[0-9.]+ s ' '^prefill +[0-9.]+ tokens/s +64 tokens, first token after' '^decode +[0-9.]+ tokens/s +16 tokens at depth 0$' \
    '^decode +[0-9.]+ tokens/s +16 tokens at depth 100$' '^batch of 1 +[0-9.]+ tokens/s' '^batch of 3 +[0-9.]+ tokens/s +[0-9.]+ per sequence' \
    '^peak memory +[0-9.]+ MiB$'; do
    test_that "bench: prints $row" grep -qE "$row" "$out/bench"
done
test_that "bench: no number is 0" bash -c "! grep -qE ' 0\.0+ tokens/s' '$out/bench'"
bench --json --depth 2048 --batch 2 >"$out/bench.json" 2>"$out/bench.err"
test_that "bench --json: ends well" test $? -eq 0
test_that "bench: a depth beyond the context is said and left out" grep -q 'left out: 2048 + 16 tokens.*256' "$out/bench.err"
if have python3; then
    test_that "bench --json: is JSON with every figure" python3 -c "
import json
b = json.load(open('$out/bench.json'))
assert b['prefill']['tokens'] == 64 and b['prefill']['tokens_per_second'] > 0 and b['prefill']['first_token_seconds'] > 0
assert [d['depth'] for d in b['decode']] == [0] and b['decode'][0]['tokens_per_second'] > 0
assert [s['sequences'] for s in b['batch']] == [2] and b['batch'][0]['tokens_per_second_each'] > 0
assert b['load_seconds'] > 0 and b['peak_bytes'] > b['weights_bytes'] > 0 and b['workspace_bytes'] > 0"
else
    skip "bench: parsing its JSON (no python3)"
fi
bench_refuses() { LD_LIBRARY_PATH=$lib "$bin/bench" "$@" >"$out/log2" 2>&1; [ $? -eq 2 ] && grep -q '^bench: ' "$out/log2"; }
for mistake in "" "--model x --batch 0" "--model x --batch 1,,2" "--model x --batch 129" "--model x --decode 1" "--model x --reps 0" "--what"; do
    test_that "bench $mistake: exit status 2" bench_refuses $mistake
done
