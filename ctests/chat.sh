# The chat program's transcripts. Sourced by run.sh.
# --- Two turns, as text ---
printf '%s\n' "What is plimsoll?" "hello" /stats /nonsense /reset "hello" /quit "never read" |
    chat >"$out/text" 2>"$out/text.err"
test_that "chat: a transcript ends well" test "${PIPESTATUS[1]}" -eq 0
test_that "chat: three answers with their numbers" test "$(grep -cE '^\[accept.* tokens in, .* held \| .* out, .* tokens/s \| leased .*, session KV .*, free .*\]$' "$out/text")" -eq 3
for row in '^host +[0-9.]+ MiB, [0-9.]+ % in use: [a-z]+$' '^  owner +MiB +share$' '^  weights of model 1 +[0-9.]+ +[0-9.]+ %$' \
    '^  kv of session 1 +[0-9.]+ +[0-9.]+ %$' '^pressure  [a-z]+, [0-9]+ changes?, ' '^alerts    [a-z0-9]'; do
    test_that "chat: /stats shows $row" grep -qE "$row" "$out/text"
done
test_that "chat: an unknown command is said" grep -q 'no such command' "$out/text"
test_that "chat: /reset is said" grep -q 'begins anew' "$out/text"
test_that "chat: nothing on stderr" test ! -s "$out/text.err"
test_that "chat: no colours in a pipe" bash -c "! grep -q $'\033' '$out/text'"

# --- Two turns, as JSON ---
printf '%s\n' "What is plimsoll?" "hello" /stats /reset "hello" | chat --json >"$out/json" 2>"$out/json.err"
results() { line '"event":"result"' "$out/json" "$1"; }
test_that "chat: three results" test "$(grep -c '"event":"result"' "$out/json")" -eq 3
test_that "chat: the first turn holds nothing" test "$(results 1 | number cached_tokens)" = 0
test_that "chat: the second turn computes only what is new" at_least "$(results 2 | number cached_tokens)" 1
test_that "chat: after /reset nothing is held" test "$(results 3 | number cached_tokens)" = 0
if have python3; then
    test_that "chat: every line is JSON, and tokens make up the text" python3 ctests/transcript.py "$out/json"
else
    skip "chat: parsing its JSON lines (no python3)"
fi

# --- One question ---
chat -p "hello" >"$out/one" 2>"$out/one.err"
test_that "chat -p: only the answer on stdout" bash -c "[ \$(wc -l <'$out/one') -ge 1 ] && ! grep -q 'tokens/s' '$out/one'"
test_that "chat -p: the numbers on stderr" grep -q '^\[accept' "$out/one.err"
chat -p "hello" --logprobs 3 --max-tokens 4 --ignore-eos >"$out/logprobs" 2>&1
test_that "chat --logprobs: a line per token" test "$(grep -cE '^ +-?[0-9.]+  ".*"   of ".*" [0-9.]+ %, ".*" [0-9.]+ %, ' "$out/logprobs")" -eq 4
chat -p "hello" --raw --max-tokens 4 --ignore-eos --json >"$out/raw" 2>&1
test_that "chat --raw: fewer tokens without the template" test "$(line '"event":"result"' "$out/raw" | number prompt_tokens)" -lt "$(results 1 | number prompt_tokens)"
chat -p "hello" --system "Be brief." --json --max-tokens 4 >"$out/system" 2>&1
test_that "chat --system: the message comes first" test "$(line '"event":"result"' "$out/system" | number prompt_tokens)" -gt "$(results 3 | number prompt_tokens)"
for i in 1 2; do chat -p "hello" --json --temperature 1.5 --seed 42 --ignore-eos --max-tokens 16 >"$out/seed$i" 2>&1; done
test_that "chat --seed: the same answer again" test "$(grep -o '"id":[0-9]*' "$out/seed1" | tr -d '\n')" = "$(grep -o '"id":[0-9]*' "$out/seed2" | tr -d '\n')"

# --- Mistakes on the command line ---
refuses() { chat "$@" >"$out/log2" 2>&1; [ $? -eq 2 ] && grep -q '^chat: ' "$out/log2"; }
for mistake in "--no-such-flag" "--max-tokens 0" "--max-tokens x" "--temperature nan" "--temperature" "--top-p 2" \
    "--memory lots" "--threads 0" "--backend gpu" "--kv f64" "--logprobs 21" "--seed -1" "--raw --system x"; do
    test_that "chat $mistake: exit status 2" refuses $mistake
done
test_that "chat --help" bash -c "LD_LIBRARY_PATH=$lib '$bin/chat' --help | grep -q -- --memory"
test_that "chat --version" bash -c "LD_LIBRARY_PATH=$lib '$bin/chat' --version | grep -q 'plimsoll 0'"
chat --model no/such/model -p x >"$out/none" 2>&1
test_that "chat: a model that is not there is exit status 1" test $? -eq 1
test_that "chat: and says why" grep -q '^error 300 (model_not_found)' "$out/none"

# --- Budgets ---
# A load that does not fit: the numbers, and exit status 1.
chat --memory 1MiB -p hello --json >"$out/load" 2>&1
test_that "chat --memory: a refused load is exit status 1" test $? -eq 1
refused_load=$(line '"event":"error"' "$out/load")
test_that "chat --memory: a refused load has its code" test "$(echo "$refused_load" | number code)" = 200
test_that "chat --memory: a refused load asks for more than is free" test "$(echo "$refused_load" | number bytes_asked)" -gt "$(echo "$refused_load" | number bytes_free)"
# Budgets from what the model takes by itself: reserve and threshold leave 85 % of the budget.
memory=$(line '"event":"stats"' "$out/json")
kv=$(results 1 | number leased_bytes)
loaded=$(echo "$memory" | grep -oE '"purpose":"(weights|workspace|text|tables)","bytes":[0-9]+' | cut -d : -f 3 | awk '{ sum += $1 } END { print sum }')
tight=$(((loaded + kv / 4) * 100 / 85 + 4096))
printf '%s\n' hello "hello again" | chat --memory "$tight" --ignore-eos --json >"$out/shrink" 2>&1
test_that "chat --memory: it shrinks and goes on" test "$(grep -c '"event":"result".*"decision":"shrink"' "$out/shrink")" -ge 1
test_that "chat --memory: the shrink has its numbers" test "$(line '"decision":"shrink"' "$out/shrink" | number granted_tokens)" -lt 512
tiny=$((loaded * 100 / 85 + 4096))
printf '%s\n' hello hello /stats | chat --memory "$tiny" --json >"$out/refuse" 2>&1
test_that "chat --memory: it refuses and goes on" test "$(grep -c '"event":"error","code":200' "$out/refuse")" -eq 2
test_that "chat --memory: the refusals are counted" test "$(line '"event":"stats"' "$out/refuse" | number rejected_count)" = 2
printf '%s\n' hello | chat --memory "$tiny" >"$out/refuse.text" 2>&1
test_that "chat --memory: a refusal as text" grep -qE '^refused \(budget\): [0-9.]+ [KM]?i?B asked, [0-9.]+ [KM]?i?B free' "$out/refuse.text"

# --- Ctrl-C ---
mkfifo "$out/keys"
LD_LIBRARY_PATH=$lib "$bin/chat" --model "$chat_model" --threads 2 --json --ignore-eos --max-tokens 2000 \
    <"$out/keys" >"$out/stopped" 2>&1 &
chat_pid=$!
exec 9>"$out/keys"
echo "tell me everything" >&9
test_that "Ctrl-C: the answer begins" wait_for '"event":"token"' "$out/stopped"
kill -INT $chat_pid
test_that "Ctrl-C: stops the answer" wait_for '"event":"result".*"ending":"cancelled"' "$out/stopped"
echo "/stats" >&9
test_that "Ctrl-C: not the program" wait_for '"event":"stats"' "$out/stopped"
echo "/quit" >&9
exec 9>&-
wait $chat_pid
test_that "Ctrl-C: the program ends well" test $? -eq 0

# --- On a terminal ---
if have python3; then
    test_that "chat: on a terminal" env LD_LIBRARY_PATH="$lib" timeout 120 python3 ctests/terminal.py "$bin/chat" "$chat_model"
else
    skip "chat: on a terminal (no python3)"
fi
