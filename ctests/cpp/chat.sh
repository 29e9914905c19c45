# The C++ chat program's transcripts. Sourced by cpp.sh; ../chat.sh has the helpers.
chat_cpp() { LD_LIBRARY_PATH=$lib timeout 120 "$bin/chat-cpp" --model "$chat_model" --threads 2 "$@"; }

printf '%s\n' "What is plimsoll?" "hello" /stats /nonsense /help /reset "hello" /quit "never read" | chat_cpp >"$out/text" 2>"$out/text.err"
test_that "chat-cpp: a transcript ends well" test "${PIPESTATUS[1]}" -eq 0
test_that "chat-cpp: three answers with their numbers" test "$(grep -cE '^\[accept.* tokens in, .* held \| .* out, .* tokens/s \| leased .*, session KV .*, free .*\]$' "$out/text")" -eq 3
test_that "chat-cpp: /stats tells of the memory" grep -qE '^  weights of model 1 +[0-9.]+ +[0-9.]+ %$' "$out/text"
test_that "chat-cpp: commands are answered" test "$(grep -cE 'no such command|begins anew|^/reset  forget' "$out/text")" -eq 3
test_that "chat-cpp: nothing on stderr" test ! -s "$out/text.err"
test_that "chat-cpp: no colours in a pipe" bash -c "! grep -q $'\033' '$out/text'"

printf '%s\n' "What is plimsoll?" "hello" /stats /reset "hello" | chat_cpp --json >"$out/json" 2>"$out/json.err"
printf '%s\n' "What is plimsoll?" "hello" /stats /reset "hello" | chat --json >"$out/json.c" 2>&1
answers() { grep -oE '"event":"result","text":"([^"\\]|\\.)*"|"(prompt|cached|generated)_tokens":[0-9]+' "$1"; }
test_that "chat-cpp: says what the C program says" diff <(answers "$out/json") <(answers "$out/json.c")
test_that "chat-cpp: three results" test "$(grep -c '"event":"result"' "$out/json")" -eq 3
test_that "chat-cpp: the second turn computes only what is new" at_least "$(line '"event":"result"' "$out/json" 2 | number cached_tokens)" 1
if have python3; then
    test_that "chat-cpp: every line is JSON, and tokens make up the text" python3 ctests/transcript.py "$out/json"
    test_that "chat-cpp: on a terminal" env LD_LIBRARY_PATH="$lib" timeout 120 python3 ctests/terminal.py "$bin/chat-cpp" "$chat_model"
else
    skip "chat-cpp: its JSON lines, and on a terminal (no python3)"
fi

chat_cpp -p "hello" >"$out/one" 2>"$out/one.err"
test_that "chat-cpp -p: only the answer on stdout" bash -c "[ \$(wc -l <'$out/one') -ge 1 ] && ! grep -q 'tokens/s' '$out/one'"
test_that "chat-cpp -p: the numbers on stderr" grep -q '^\[accept' "$out/one.err"
chat_cpp -p "hello" --system "Be brief." --json --max-tokens 4 --ignore-eos >"$out/system" 2>&1
test_that "chat-cpp --system: the message comes first" test "$(line '"event":"result"' "$out/system" | number prompt_tokens)" -gt "$(line '"event":"result"' "$out/json" 3 | number prompt_tokens)"
test_that "chat-cpp --max-tokens" test "$(line '"event":"result"' "$out/system" | number generated_tokens)" = 4
for i in 1 2; do chat_cpp -p "hello" --json --temperature 1.5 --top-p 0.9 --seed 42 --ignore-eos --max-tokens 16 >"$out/seed$i" 2>&1; done
test_that "chat-cpp --seed: the same answer again" test "$(grep -o '"id":[0-9]*' "$out/seed1" | tr -d '\n')" = "$(grep -o '"id":[0-9]*' "$out/seed2" | tr -d '\n')"

chat_cpp_refuses() { chat_cpp "$@" >"$out/log2" 2>&1; [ $? -eq 2 ] && grep -q '^chat-cpp: ' "$out/log2"; }
for mistake in "--no-such-flag" "--max-tokens 0" "--max-tokens 4294967296" "--max-tokens x" "--temperature nan" "--temperature" "--temperature -1" \
    "--top-p 2" "--memory lots" "--threads 0" "--seed -1"; do
    test_that "chat-cpp $mistake: exit status 2" chat_cpp_refuses $mistake
done
test_that "chat-cpp --help" bash -c "LD_LIBRARY_PATH=$lib '$bin/chat-cpp' --help | grep -q -- --memory"
test_that "chat-cpp --version" bash -c "LD_LIBRARY_PATH=$lib '$bin/chat-cpp' --version | grep -q 'plimsoll 0'"
chat_cpp --model no/such/model -p x >"$out/none" 2>&1
test_that "chat-cpp: a model that is not there is exit status 1" test $? -eq 1
test_that "chat-cpp: and says why" grep -q '^error 300 (model_not_found)' "$out/none"

# A refused load, a shrunk answer, and refused turns after which it goes on, each with its numbers.
chat_cpp --memory 1MiB -p hello >"$out/load" 2>&1
test_that "chat-cpp --memory: a refused load is exit status 1" test $? -eq 1
test_that "chat-cpp --memory: a refused load has its numbers" grep -qE '^error 200 \(memory_refused\): .*\[[0-9.]+ MiB asked, [0-9.]+ KiB free\]$' "$out/load"
loaded=$(line '"event":"stats"' "$out/json" | grep -oE '"purpose":"(weights|workspace|text|tables)","bytes":[0-9]+' | cut -d : -f 3 | awk '{ sum += $1 } END { print sum }')
kv=$(line '"event":"result"' "$out/json" | number leased_bytes)
printf '%s\n' hello "hello again" | chat_cpp --memory $(((loaded + kv / 4) * 100 / 85 + 4096)) --ignore-eos >"$out/shrink" 2>&1
test_that "chat-cpp --memory: it shrinks with the numbers" grep -qE '^\[shrink from 512 to [0-9]+ tokens \(budget: .* asked, .* free\), ended by length' "$out/shrink"
tiny=$((loaded * 100 / 85 + 4096))
printf '%s\n' hello hello /stats | chat_cpp --memory $tiny --json >"$out/refuse" 2>&1
test_that "chat-cpp --memory: it refuses and goes on" test "$(grep -c '"event":"error","code":200.*"bytes_asked":[1-9][0-9]*,"bytes_free":[0-9]*,"fits_tokens":[0-9]*,"retry_after_ms":-\?[0-9]*}' "$out/refuse")" -eq 2
test_that "chat-cpp --memory: the refusals are counted" test "$(line '"event":"stats"' "$out/refuse" | number rejected_count)" = 2
printf '%s\n' hello | chat_cpp --memory $tiny >"$out/refuse.text" 2>&1
test_that "chat-cpp --memory: a refusal as text" grep -qE '^refused \(budget\): [0-9.]+ [KM]?i?B asked, [0-9.]+ [KM]?i?B free' "$out/refuse.text"

rm -f "$out/keys" && mkfifo "$out/keys"
LD_LIBRARY_PATH=$lib "$bin/chat-cpp" --model "$chat_model" --threads 2 --json --ignore-eos --max-tokens 2000 <"$out/keys" >"$out/stopped" 2>&1 &
chat_pid=$!
exec 9>"$out/keys"
echo "tell me everything" >&9
test_that "chat-cpp, Ctrl-C: the answer begins" wait_for '"event":"token"' "$out/stopped"
kill -INT $chat_pid
test_that "chat-cpp, Ctrl-C: stops the answer" wait_for '"event":"result".*"ending":"cancelled"' "$out/stopped"
echo "/quit" >&9
exec 9>&-
wait $chat_pid
test_that "chat-cpp, Ctrl-C: the program ends well" test $? -eq 0
