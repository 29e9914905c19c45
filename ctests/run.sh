#!/usr/bin/env bash
# Tests what a host gets: the headers, the exported symbols, the programs of this folder, the chat programs, and all of it
# again under valgrind. Run from the repository's root, after `make build check-library`:
#
#     [PARTS="header library ..."] ctests/run.sh [LIB_DIR [CHECK_LIB_DIR [BIN_DIR]]]
#
# LIB_DIR has the released library; CHECK_LIB_DIR one over the system's allocator with the feature `faults`; BIN_DIR chat,
# chat-cpp, bench and plugin_engine. Each part is a file of this folder; without PARTS all of them run. Prints a line per test and the sums; the exit
# status is 0 when all passed. What a tool is missing for is said.
set -u
cd "$(dirname "$0")/.."
lib=$(realpath "${1:-build/lib}") check_lib=$(realpath "${2:-build/check/lib}") bin=$(realpath "${3:-build/bin}")
out=build/ctests
header=include/plimsoll.h
warnings="-Wall -Wextra -Wpedantic -Werror"
programs="arguments generate streams answers tickets memory handles threads models unload plugin monitor pool"
rm -rf "$out" && mkdir -p "$out"
. ctests/common.sh
# valgrind runs what programs and cpp built.
for part in ${PARTS:-header library programs chat bench cpp go docs abi install rust valgrind}; do . "ctests/$part.sh"; done

echo
[ $skipped -eq 0 ] || echo "$skipped SKIPPED for want of a tool or of time"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
