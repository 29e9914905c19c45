# plimsoll.hpp in every dialect, its programs, its twin of the chat program, and these again under sanitizers. Sourced by run.sh.
# valgrind.sh runs what is in cpp_programs.
cpp_programs="calls answers callbacks handles engines monitor expected"
cpp_warnings="$warnings -Wshadow -Wconversion -Iinclude"
without="-fno-exceptions -fno-rtti -DPLIMSOLL_NO_EXCEPTIONS"
mkdir -p "$out/cpp"

# mode_of PROGRAM: the flags that it is compiled with besides.
mode_of() { [ "$1" = expected ] && echo "$without"; }
# build_cpp COMPILER STD PROGRAM [FLAGS...]: as $out/cpp/PROGRAM.
build_cpp() {
    local compiler=$1 std=$2 program=$3
    shift 3
    # shellcheck disable=SC2046 # flags are words
    $compiler -std=$std $cpp_warnings -g -Ictests/cpp $(mode_of "$program") "ctests/cpp/$program.cpp" "$@" -L"$lib" -lplimsoll \
        -lpthread -o "$out/cpp/$program"
}

# --- The header ---
cpp_compilers=
for compiler in g++ clang++; do
    if have $compiler; then cpp_compilers="$cpp_compilers $compiler"; else skip "cpp: $compiler (not installed)"; fi
done
for compiler in $cpp_compilers; do
    for std in c++17 c++20 c++2b; do
        if ! $compiler -std=$std -fsyntax-only -x c++ /dev/null 2>/dev/null; then skip "cpp: $compiler -std=$std (unknown to it)"; continue; fi
        test_that "cpp: $compiler -std=$std, with exceptions" $compiler -std=$std $cpp_warnings -Ictests/cpp -fsyntax-only ctests/cpp/calls.cpp
        test_that "cpp: $compiler -std=$std, without" $compiler -std=$std $cpp_warnings $without -Ictests/cpp -fsyntax-only ctests/cpp/expected.cpp
    done
    for unit in "throwing17 c++17" "throwing17_too c++17" "throwing20 c++20" "expected17 c++17 $without" "expected20 c++20 $without"; do
        set -- $unit
        name=$1 std=$2
        shift 2
        test_that "cpp: $compiler, unit $name" $compiler -std=$std $cpp_warnings -O2 "$@" -DUNIT="$name" -c ctests/cpp/unit.cpp -o "$out/cpp/$name.o"
    done
    test_that "cpp: $compiler, five units linked" $compiler -std=c++17 $cpp_warnings ctests/cpp/units.cpp "$out"/cpp/{throwing17,throwing17_too,throwing20,expected17,expected20}.o \
        -L"$lib" -lplimsoll -lpthread -o "$out/cpp/units"
    test_that "cpp: $compiler, five units run" env LD_LIBRARY_PATH="$lib" "$out/cpp/units"
done
if [ -z "$cpp_compilers" ]; then return; fi
compiler=${cpp_compilers##* } first=$(echo $cpp_compilers | cut -d ' ' -f 1)
for file in include/plimsoll/*.hpp; do
    test_that "cpp: $file includes what it needs" $first -std=c++17 $cpp_warnings -fsyntax-only -x c++ "$file"
done
refuses_to_compile() { ! $first "$@" -Iinclude -fsyntax-only ctests/cpp/unit.cpp -DUNIT=unit >"$out/log2" 2>&1 && grep -q "$expected_error" "$out/log2"; }
expected_error='without exceptions define PLIMSOLL_NO_EXCEPTIONS' test_that "cpp: no exceptions and no macro is said" refuses_to_compile -std=c++17 -fno-exceptions
expected_error='needs C++17' test_that "cpp: C++14 is said" refuses_to_compile -std=c++14

# --- The programs ---
# In one dialect with one compiler, then in another with the other.
for dialect in "$first c++17" "$compiler c++20"; do
    for program in $cpp_programs; do
        test_that "cpp: $program compiles with $dialect" build_cpp $dialect $program -O2
        run_program cpp/$program "$lib"
    done
done
# Once more, counting the calls of each function.
covered() {
    rm -rf "$out/cpp/coverage" && mkdir -p "$out/cpp/coverage"
    for program in $cpp_programs; do
        # shellcheck disable=SC2046
        g++ -std=c++17 -O0 -g --coverage -fkeep-inline-functions -Iinclude -Ictests/cpp $(mode_of $program) -c "ctests/cpp/$program.cpp" \
            -o "$out/cpp/coverage/$program.o" &&
            g++ --coverage "$out/cpp/coverage/$program.o" -L"$lib" -lplimsoll -lpthread -o "$out/cpp/coverage/$program" &&
            LD_LIBRARY_PATH=$lib "$out/cpp/coverage/$program" &&
            gcov --json-format --stdout "$out/cpp/coverage/$program.gcda" >"$out/cpp/coverage/$program.json" || return 1
    done
    python3 ctests/cpp/wrapped.py include "$out"/cpp/coverage/*.json
}
if have python3; then
    test_that "cpp: all of plimsoll.h is wrapped" python3 ctests/cpp/wrapped.py include
    mkdir -p "$out/cpp/planted" && cp -r include/plimsoll "$out/cpp/planted" &&
        sed 's/^plimsoll_status plimsoll_config_new(/plimsoll_status plimsoll_config_newer(void);\n&/' "$header" >"$out/cpp/planted/plimsoll.h"
    planted() { ! python3 ctests/cpp/wrapped.py "$out/cpp/planted" >"$out/log2" && [ "$(cat "$out/log2")" = "not wrapped: plimsoll_config_newer" ]; }
    test_that "cpp: a function without a wrapper is seen" planted
    if have g++ && have gcov; then test_that "cpp: every function of plimsoll.hpp is called" covered
    else skip "cpp: whether every function is called (no g++ or gcov)"; fi
else
    skip "cpp: whether all is wrapped and called (no python3)"
fi

# --- Under sanitizers ---
# Over the system's allocator, so that a handle is a block that they know of. Planted faults must be found, or silence means
# nothing.
sanitizers="-fsanitize=address,undefined -fno-sanitize-recover=all"
sanitized() { LD_LIBRARY_PATH=$check_lib ASAN_OPTIONS=detect_leaks=1 timeout 600 "$@"; }
finds() { ! sanitized "$out/cpp/planted_faults" "$1" >"$out/log2" 2>&1 && grep -q "$2" "$out/log2"; }
if echo 'int main() {}' | $first $sanitizers -x c++ - -o "$out/cpp/none" 2>/dev/null && "$out/cpp/none"; then
    test_that "cpp: faults compile with sanitizers" $first -std=c++17 -g -O1 $sanitizers -Iinclude ctests/cpp/faults.cpp -L"$lib" -lplimsoll -o "$out/cpp/planted_faults"
    test_that "cpp: sanitizers find a planted leak" finds leak 'LeakSanitizer'
    test_that "cpp: sanitizers find a handle freed twice" finds twice 'AddressSanitizer'
    test_that "cpp: sanitizers find a read after the end" finds after 'AddressSanitizer'
    test_that "cpp: sanitizers find an overflow" finds overflow 'signed integer overflow'
    for program in $cpp_programs; do
        test_that "cpp: $program compiles with sanitizers" build_cpp $first c++20 $program -O1 $sanitizers
        test_that "cpp: $program with sanitizers" sanitized "$out/cpp/$program"
    done
else
    skip "cpp: sanitizers ($first has none here)"
fi
# What valgrind runs is without them.
for program in $cpp_programs; do
    test_that "cpp: $program compiles for valgrind" build_cpp $first c++17 $program
done

# --- The chat program ---
if [ -x "$bin/chat-cpp" ]; then . ctests/cpp/chat.sh; else fail "cpp: there is no $bin/chat-cpp"; fi
