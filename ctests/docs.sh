# The code blocks of docs/: every ```c, ```cpp and ```go block whose first line is not `// fragment` is a whole program. It is
# compiled against the library and run here, in the repository's root; it must exit with 0. When the next block is ```text,
# each of its lines must occur in the output. Sourced by run.sh.

here=$PWD

# blocks PAGE DIR: one file per program, DIR/LINE.LANGUAGE, and what its output must hold in DIR/LINE.text.
blocks() {
    awk -v dir="$2" '
        !inside && /^```/ {
            inside = 1
            language = substr($0, 4)
            file = "/dev/null"
            if (language == "c" || language == "cpp" || language == "go") file = dir "/" (program = NR) "." language
            else {
                if (language == "text" && program) file = dir "/" program ".text"
                program = 0
            }
            printf "" >file
            next
        }
        inside && /^```$/ { inside = 0; close(file); next }
        inside { print >file }
    ' "$1"
}

compile_c() { gcc -std=gnu11 $warnings -Wstrict-prototypes -Iinclude "$1" -L"$lib" -lplimsoll -lm -lpthread -o "$2"; }
compile_cpp() { g++ -std=c++17 $warnings -Iinclude "$1" -L"$lib" -lplimsoll -lpthread -o "$2"; }
# A module of its own beside the page's blocks, which finds the package of examples/go here.
compile_go() {
    local module
    module=$(sed -n 's/^module //p' examples/go/go.mod)
    mkdir -p "$1.module" && cp "$1" "$1.module/main.go" || return 1
    printf 'module page\n\ngo 1.19\n\nrequire %s v0.0.0\n\nreplace %s => %s\n' "$module" "$module" "$here/examples/go" >"$1.module/go.mod"
    (cd "$1.module" && GOFLAGS=-mod=mod GOPROXY=off PKG_CONFIG_PATH=$lib/pkgconfig CGO_CFLAGS="-I$here/include" \
        CGO_LDFLAGS="-L$lib -lplimsoll" go build -o "$2" .)
}

# block NAME SOURCE: compiles and runs one program; says in $log what went wrong.
block() {
    local base=${1%.*} language=${1##*.} log=$1.log line
    "compile_$language" "$1" "$base.bin" >"$log" 2>&1 || return 1
    LD_LIBRARY_PATH=$lib timeout 120 "$base.bin" >"$base.out" 2>>"$log" </dev/null || { echo "exit status $?" >>"$log"; return 1; }
    [ ! -e "$base.text" ] || while IFS= read -r line; do
        grep -qF -- "$line" "$base.out" || { echo "not in the output: $line"; cat "$base.out"; return 1; } >>"$log"
    done <"$base.text"
}

# page FILE DIR: a line per program, "ok", "FAIL" or "SKIPPED" with its place.
page() {
    local source tool
    rm -rf "$2" && mkdir -p "$2" && blocks "$1" "$2"
    for source in $(ls "$2" | grep -E '\.(c|cpp|go)$' | sort -n); do
        head -n 1 "$2/$source" | grep -q '^// fragment' && continue
        case $source in *.c) tool=gcc ;; *.cpp) tool=g++ ;; *.go) tool=go ;; esac
        if ! have $tool; then echo "SKIPPED $1:${source%.*}, $tool is not installed"
        elif block "$2/$source"; then echo "ok $1:${source%.*}"
        else echo "FAIL $1:${source%.*} ($2/$source.log)"
        fi
    done
}

page ctests/docs-planted.md "$here/$out/planted" >"$out/planted.txt"
test_that "docs: the runner runs what it should and sees what is wrong" diff - "$out/planted.txt" <<END
ok ctests/docs-planted.md:5
ok ctests/docs-planted.md:33
FAIL ctests/docs-planted.md:45 ($here/$out/planted/45.c.log)
FAIL ctests/docs-planted.md:49 ($here/$out/planted/49.c.log)
FAIL ctests/docs-planted.md:55 ($here/$out/planted/55.c.log)
END
# The others are written by programs and have tables.
for file in docs/c.md docs/answers.md docs/cpp.md docs/go.md; do
    page "$file" "$here/$out/docs/$(basename "$file" .md)" >"$out/docs.txt"
    while read -r verdict place log; do
        case $verdict in
        ok) ok "docs: $place" ;;
        SKIPPED) skip "docs: $place $log" ;;
        *) fail "docs: $place"; log=${log#(} && sed 's/^/    /' "${log%)}" | tail -n 40 ;;
        esac
    done <"$out/docs.txt"
    test_that "docs: $file has programs" test -s "$out/docs.txt"
done
