# What the parts of the suite share: counting, skipping, running. Sourced by run.sh.
passed=0 failed=0 skipped=0

# Go fetches nothing, and keeps what it builds here; a cache per header, since Go does not see when one outside of its own
# folders changes.
export GOCACHE=$PWD/build/go/cache-$(cksum <include/plimsoll.h | cut -d ' ' -f 1) GOPATH=$PWD/build/go/path GOENV=off GOFLAGS= GOPROXY=off GOTOOLCHAIN=local

ok() { passed=$((passed + 1)); echo "ok $*"; }
fail() { failed=$((failed + 1)); echo "FAIL $*"; }
skip() { skipped=$((skipped + 1)); echo "SKIPPED $*"; }
have() { command -v "$1" >/dev/null 2>&1; }

# test_that NAME COMMAND...: passes when the command does; shows what it wrote when it does not.
test_that() {
    local name=$1
    shift
    if "$@" >"$out/log" 2>&1; then ok "$name"; else fail "$name"; sed 's/^/    /' "$out/log" | tail -n 40; fi
}

# run_program NAME LIB_DIR ARGUMENTS...: counts the lines that the program prints, one per test.
run_program() {
    LD_LIBRARY_PATH=$2 timeout 300 "$out/$1" "${@:3}" >"$out/$1.txt" 2>"$out/$1.err"
    local status=$? good bad
    grep -E '^(ok|FAIL) ' "$out/$1.txt"
    good=$(grep -c '^ok ' "$out/$1.txt") bad=$(grep -c '^FAIL ' "$out/$1.txt")
    passed=$((passed + good)) failed=$((failed + bad))
    if [ "$bad" -ne 0 ] || [ "$status" -ne 0 ]; then sed 's/^/    /' "$out/$1.err" | tail -n 40; fi
    if [ "$bad" -eq 0 ] && { [ "$status" -ne 0 ] || [ "$good" -eq 0 ]; }; then
        fail "$1: exit status $status after $good tests"
    fi
}

declared() { gcc -E -P -x c "$header" | grep -oE '\bplimsoll_[a-z0-9_]+\(' | tr -d '(' | sort -u; }
fallible() { gcc -E -P -x c "$header" | grep -oE '\bplimsoll_status plimsoll_[a-z0-9_]+\(' | grep -v '_error_code(' |
    sed 's/.* //; s/(//' | sort -u; }

# --- What the chat programs' transcripts are read with ---
chat_model=${PLIMSOLL_CHAT_MODEL:-models/demo}
chat() { LD_LIBRARY_PATH=$lib timeout 120 "$bin/chat" --model "$chat_model" --threads 2 "$@"; }

# line PATTERN FILE [N]: the N-th line that matches, of a JSON transcript.
line() { grep -E "$1" "$2" | sed -n "${3:-1}p"; }
# number NAME: the number of that name in the JSON object on stdin.
number() { grep -oE "\"$1\":-?[0-9.]+" | head -n 1 | cut -d : -f 2; }
at_least() { [ -n "$1" ] && [ "${1%.*}" -ge "$2" ]; }
# Waits until a file has a line that matches.
wait_for() { for _ in $(seq 3000); do grep -q "$1" "$2" && return 0; sleep 0.01; done; return 1; }
