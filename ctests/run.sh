#!/usr/bin/env bash
# Tests the C ABI: the header, the exported symbols, the programs of this folder, the chat program, and all of it again
# under valgrind. Run from the repository's root, after `make build check-library`:
#
#     ctests/run.sh [LIB_DIR [CHECK_LIB_DIR [BIN_DIR]]]
#
# LIB_DIR has the released library; CHECK_LIB_DIR one over the system's allocator with the feature `faults`; BIN_DIR chat and
# bench. Prints a line per test and the sums; the exit status is 0 when all passed. What a tool is missing for is said.
set -u
cd "$(dirname "$0")/.."
lib=$(realpath "${1:-build/lib}") check_lib=$(realpath "${2:-build/check/lib}") bin=$(realpath "${3:-build/bin}")
out=build/ctests
header=include/plimsoll.h
warnings="-Wall -Wextra -Wpedantic -Werror"
programs="arguments generate streams tickets memory handles threads models"
passed=0 failed=0 skipped=0
rm -rf "$out" && mkdir -p "$out"

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

# run_program NAME LIB_DIR: counts the lines that the program prints, one per test.
run_program() {
    LD_LIBRARY_PATH=$2 timeout 300 "$out/$1" >"$out/$1.txt" 2>"$out/$1.err"
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

# --- The header ---
for compiler in gcc clang; do
    if ! have $compiler; then skip "header: C with $compiler (not installed)"; continue; fi
    for std in c99 c11 c17; do
        strict="$compiler -std=$std $warnings -Wstrict-prototypes -Iinclude"
        test_that "header: $compiler -std=$std, twice in a unit" $strict -c ctests/twice.c -o "$out/twice.o"
        test_that "header: $compiler -std=$std, second unit" $strict -c ctests/unit.c -o "$out/unit.o"
        test_that "header: $compiler -std=$std, layout" $strict -c ctests/layout.c -o "$out/layout.o"
        test_that "header: $compiler -std=$std, two units linked" \
            $compiler "$out/twice.o" "$out/unit.o" -L"$lib" -lplimsoll -Wl,-rpath,"$lib" -o "$out/twice"
        test_that "header: $compiler -std=$std, two units run" "$out/twice"
    done
done
for compiler in g++ clang++; do
    if ! have $compiler; then skip "header: C++ with $compiler (not installed)"; continue; fi
    for std in c++17 c++20; do
        strict="$compiler -std=$std $warnings -Iinclude -x c++"
        test_that "header: $compiler -std=$std, twice in a unit" $strict -c ctests/twice.c -o "$out/twice.o"
        test_that "header: $compiler -std=$std, second unit" $strict -c ctests/unit.c -o "$out/unit.o"
        test_that "header: $compiler -std=$std, layout" $strict -c ctests/layout.c -o "$out/layout.o"
        test_that "header: $compiler -std=$std, two units linked" \
            $compiler "$out/twice.o" "$out/unit.o" -L"$lib" -lplimsoll -Wl,-rpath,"$lib" -o "$out/twice"
        test_that "header: $compiler -std=$std, two units run" "$out/twice"
    done
done

# --- The library ---
declared >"$out/declared"
nm -D --defined-only "$lib/libplimsoll.so" | awk '{ print $NF }' | sort -u >"$out/exported"
test_that "library: exports the header's functions and nothing else" diff "$out/declared" "$out/exported"
test_that "library: the header has functions" test "$(wc -l <"$out/declared")" -ge 60
readelf -d "$lib/libplimsoll.so" >"$out/dynamic"
test_that "library: the soname carries the major version" grep -q 'SONAME.*\[libplimsoll\.so\.0\]' "$out/dynamic"
test_that "library: stays loaded after dlclose()" grep -q 'NODELETE' "$out/dynamic"
test_that "library: the archive links" gcc -Iinclude ctests/twice.c ctests/unit.c "$lib/libplimsoll.a" \
    -lpthread -lm -ldl -lgcc_s -o "$out/archive"
test_that "library: the archive runs" "$out/archive"
fallible >"$out/fallible"
grep -oE '^ *X\(plimsoll_[a-z0-9_]+' ctests/panic.c | sed 's/.*(//' | sort -u >"$out/forced"
test_that "library: a panic is forced in every fallible call" diff "$out/fallible" "$out/forced"

# --- The programs ---
for program in $programs panic leak; do
    test_that "$program: compiles" gcc -std=c99 $warnings -Wstrict-prototypes -g -O1 -Iinclude -Ictests \
        "ctests/$program.c" -L"$lib" -lplimsoll -lm -lpthread -o "$out/$program"
done
for program in $programs; do run_program "$program" "$lib"; done
run_program panic "$check_lib"
. ctests/chat.sh
. ctests/bench.sh

# --- Under valgrind ---
# Valgrind runs one thread at a time; without --fair-sched a spinning thread may keep the others out for seconds.
memcheck="valgrind --fair-sched=yes --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite,indirect --show-leak-kinds=definite,indirect"
under_memcheck() { LD_LIBRARY_PATH=$check_lib timeout 900 $memcheck "$@"; }
if ! have valgrind; then
    skip "valgrind: NOT INSTALLED, so no program was checked for leaks and bad accesses"
else
    under_memcheck "$out/leak" >"$out/leak.txt" 2>&1
    leak_status=$?
    if [ $leak_status -eq 99 ] && grep -q 'definitely lost: [1-9]' "$out/leak.txt" &&
        grep -q 'plimsoll_config_new' "$out/leak.txt"; then
        ok "valgrind: reports the planted leak"
        for program in $programs panic; do
            test_that "valgrind: $program" under_memcheck "$out/$program"
        done
        test_that "valgrind: bench" under_memcheck "$bin/bench" --model tests/golden/models/llama3 --prefill 16 \
            --decode 4 --depth 32 --batch 1,4 --reps 1
        test_that "valgrind: chat" under_memcheck "$bin/chat" --model "$chat_model" --threads 2 --json \
            -p "hello" --max-tokens 8 --ignore-eos
    else
        fail "valgrind: does not report the planted leak (exit status $leak_status), so it proves nothing"
        sed 's/^/    /' "$out/leak.txt" | tail -n 40
    fi
fi

echo
[ $skipped -eq 0 ] || echo "$skipped SKIPPED for want of a tool"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
