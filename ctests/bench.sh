# The bench program, on a golden model: that it measures what it says. Sourced by run.sh.
bench() { LD_LIBRARY_PATH=$lib timeout 120 "$bin/bench" --model tests/golden/models/llama3 --reps 2 --new 16 "$@"; }

bench --cells prefill-64,decode,decode-100,batch-1,batch-3,arrival-16,turn-64 >"$out/bench" 2>"$out/bench.err"
test_that "bench: ends well" test $? -eq 0
for row in '^load +[0-9.]+ s ' '^prefill-64 +[0-9.]+ tokens/s +64 tokens in [0-9.]+ ms$' \
    '^decode +[0-9.]+ tokens/s +16 tokens in ' '^decode-100 +[0-9.]+ tokens/s +16 tokens in ' \
    '^batch-1 +-?[0-9.]+ tokens/s +8 tokens in ' '^batch-3 +-?[0-9.]+ tokens/s +24 tokens in .*all_decoding_per_second [0-9.]+' \
    '^arrival-16 .*between_p50_ms [0-9.]+, between_p99_ms [0-9.]+, between_max_ms [0-9.]+$' \
    '^turn-64 +[0-9.]+ tokens/s +33 tokens in .*held_tokens 79' '^memory +[0-9.]+ MiB +at the most resident, [0-9.]+ [KM]iB leased$'; do
    test_that "bench: prints $row" grep -qE "$row" "$out/bench"
done
test_that "bench: no number is 0" bash -c "! grep -qE ' 0\.0+ tokens/s' '$out/bench'"
bench --json --cells prefill-64,decode-2048,batch-2 --kv-type f32 --set native.step_ms=0 >"$out/bench.json" 2>"$out/bench.err"
test_that "bench --json: ends well" test $? -eq 0
test_that "bench: a depth beyond the context is said and left out" grep -q 'decode-2048 left out: 2065 tokens.*256' "$out/bench.err"
if have python3; then
    test_that "bench --json: is JSON with every figure" python3 -c "
import json
load, prefill, batch, memory = map(json.loads, open('$out/bench.json'))
assert load['cell'] == 'load' and load['seconds'] > 0 and load['kv_type'] == 'f32' and load['threads'] == 2
assert prefill['cell'] == 'prefill-64' and prefill['tokens'] == 64 and prefill['tokens_per_second'] > 0
assert batch['cell'] == 'batch-2' and batch['tokens'] == 16 and batch['whole_seconds'] > 0 and batch['first_tokens_seconds'] > 0
assert memory['peak_bytes'] > load['weights_bytes'] > 0 and load['workspace_bytes'] > 0
assert memory['leased_bytes'] > load['weights_bytes'] + load['workspace_bytes']"
else
    skip "bench: parsing its JSON (no python3)"
fi
bench_refuses() { LD_LIBRARY_PATH=$lib "$bin/bench" "$@" >"$out/log2" 2>&1; [ $? -eq 2 ] && grep -q '^bench: ' "$out/log2"; }
for mistake in "" "--model x --cells batch-0" "--model x --cells decode,,batch-1" "--model x --cells batch-129" "--model x --cells prefill" \
    "--model x --new 1" "--model x --reps 0" "--model x --set y" "--what"; do
    test_that "bench $mistake: exit status 2" bench_refuses $mistake
done
