# The Go package and its chat program: format, vet, tests with the race detector, and what of the header they leave out.
# Sourced by run.sh.
go_out=$PWD/$out/go
mkdir -p "$go_out/home"
# Nothing is fetched, and nothing is written outside of build/: the home folder must stay empty.
in_go_tree() { (cd examples/go && HOME=$go_out/home XDG_CONFIG_HOME=$PWD/../../build/go/config PKG_CONFIG_PATH=$lib/pkgconfig \
    LD_LIBRARY_PATH=$lib timeout 900 "$@"); }
go_chat() { LD_LIBRARY_PATH=$lib timeout 120 "$go_out/chat" -model models/demo -threads 2 "$@"; }

# --- What of the header is not used, each with its reason: functions, constants, members ---
go_sources=$(ls examples/go/plimsoll/*.go | grep -v _test.go)
{
    grep -ohE '\bC\.(plimsoll_[a-z0-9_]+|PLIMSOLL_[A-Z0-9_]+)' $go_sources | cut -c 3-
    grep -ohE '\.[a-z][a-z0-9_]*\b' $go_sources
    grep -ohE '\bplimsoll_[a-z0-9_]+\(' examples/go/plimsoll/shim.[ch] | tr -d '('
} | sort -u >"$go_out/used"
{
    declared
    grep -oE '^#define PLIMSOLL_[A-Z0-9_]+ ' "$header" | cut -d ' ' -f 2
    # Members by their bare names, which is weak for those that several structs have. Those of plug-ins go with
    # plimsoll_model_attach.
    gcc -E -P -x c "$header" | awk '/^typedef struct \{/ { members = "" }
        /^ .*[ *][a-z0-9_]+;$/ { sub(/;$/, ""); sub(/.*[ *]/, "."); members = members $0 "\n" }
        /^\} / && !/plimsoll_engine_/ { printf "%s", members }'
} | sort -u >"$go_out/header"
comm -23 "$go_out/header" "$go_out/used" >"$go_out/unused"
test_that "go: the package leaves nothing out but what unused.txt says" diff \
    <(cut -d ' ' -f 1 examples/go/plimsoll/unused.txt | LC_ALL=C sort) <(LC_ALL=C sort "$go_out/unused")
test_that "go: unused.txt has a reason for each" bash -c "! awk 'NF < 3' examples/go/plimsoll/unused.txt | grep -q ."

if ! have go || ! have pkg-config; then
    skip "go: NOT INSTALLED (go and pkg-config), so the Go package was neither built nor tested"
else
    test_that "go: gofmt" bash -c '[ -z "$(gofmt -l examples/go)" ]'
    test_that "go: vet" in_go_tree go vet ./...
    test_that "go: no other module" bash -c "! grep -q require examples/go/go.mod && [ ! -e examples/go/go.sum ]"

    # --- The tests: a line each ---
    # Every pointer that is passed is checked; how to ask for that changed with Go 1.21.
    case $(go env GOVERSION) in go1.19* | go1.20*) check_pointers=GODEBUG=cgocheck=2 ;; *) check_pointers=GOEXPERIMENT=cgocheck2 ;; esac
    in_go_tree env $check_pointers go test -race -count=1 -v ./... >"$go_out/test.txt" 2>&1
    go_status=$? go_before=$failed go_passed=$passed
    while read -r _ verdict name _; do
        case $verdict in PASS:) ok "go: $name" ;; *) fail "go: $name" ;; esac
    done < <(grep -E '^--- (PASS|FAIL|SKIP): ' "$go_out/test.txt")
    if [ $go_status -ne 0 ] && [ $failed -eq $go_before ]; then fail "go: tests end with status $go_status"; fi
    if [ $failed -ne $go_before ]; then sed 's/^/    /' "$go_out/test.txt" | tail -n 60; fi
    test_that "go: tests were run" test $((passed - go_passed)) -ge 30
    test_that "go: nothing is written to the home folder" bash -c "[ -z \"\$(ls -A '$go_out/home')\" ]"

    # --- The chat program ---
    test_that "go: chat builds" in_go_tree go build -o "$go_out/chat" ./chat
    printf '%s\n' "Hello!" /stats /nonsense "Hello!" /reset "Hello!" /quit "never read" | go_chat >"$go_out/text" 2>"$go_out/numbers"
    test_that "go: chat: a transcript ends well" test "${PIPESTATUS[1]}" -eq 0
    test_that "go: chat: answers" grep -q '^> Hello! Ask me about plimsoll, or give me two small numbers to add\.$' "$go_out/text"
    test_that "go: chat: three answers with their numbers" test "$(grep -cE '^\[accept: .* tokens in, .* held; .* out, .* tokens/s; leased .*, free .*; .*\]$' "$go_out/numbers")" -eq 3
    test_that "go: chat: the second turn computes only what is new" bash -c "sed -n 2p '$go_out/numbers' | grep -qE ', [1-9][0-9]* held;'"
    test_that "go: chat: after /reset nothing is held" bash -c "sed -n 3p '$go_out/numbers' | grep -qE ': 10 tokens in, 0 held;'"
    test_that "go: chat: /stats" grep -qE '^  weights of model 1 +[0-9.]+ +[0-9.]+ %$' "$go_out/text"
    test_that "go: chat: /stats counts" grep -qE '^requests  1 accepted, 0 shrunk, 0 refused, 0 routed$' "$go_out/text"
    test_that "go: chat: an unknown command shows those there are" grep -q '/reset  forget' "$go_out/text"
    test_that "go: chat -p: only the answer on stdout" test "$(go_chat -p 'Hello!' 2>/dev/null)" = "Hello! Ask me about plimsoll, or give me two small numbers to add."
    go_chat -memory 1MiB -p hello >"$go_out/refused" 2>&1
    test_that "go: chat -memory: a refused load is exit status 1" test $? -eq 1
    test_that "go: chat -memory: and has its numbers" grep -qE '^[0-9.]+ MiB asked, [0-9.]+ KiB free' "$go_out/refused"
    go_chat -memory lots -p hello >"$go_out/mistake" 2>&1
    test_that "go: chat: a mistake on the command line is exit status 2" test $? -eq 2
    LD_LIBRARY_PATH=$lib "$go_out/chat" -model models/demo -threads 2 -ignore-eos -max-tokens 2000 -p hello >"$go_out/stopped" 2>"$go_out/stopped.err" &
    go_pid=$!
    test_that "go: chat: the answer begins" timeout 60 bash -c "until [ -s '$go_out/stopped' ]; do sleep 0.01; done"
    kill -INT $go_pid
    wait $go_pid
    test_that "go: chat: Ctrl-C stops the answer" test $? -eq 130
    test_that "go: chat: and says so" grep -q '; cancelled\]$' "$go_out/stopped.err"

    # --- Without a shared library ---
    PKG_CONFIG="pkg-config --static" test_that "go: chat builds without a shared library" in_go_tree go build \
        -ldflags "-linkmode external -extldflags '-static -lm'" -o "$go_out/static" ./chat
    test_that "go: static: no library at all" bash -c "! readelf -dW '$go_out/static' | grep -q NEEDED"
    test_that "go: static: answers" bash -c "'$go_out/static' -p 'Hello!' 2>&1 | grep -q '^Hello! Ask me'"
fi
