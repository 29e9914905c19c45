#!/usr/bin/env bash
# Makes the static library that is handed out from the one that cargo builds:
#
#     scripts/archive.sh FROM.a HEADER TO.a
#
# One object that keeps what the header's functions reach, without debugging information and compiler's intermediate code, and
# with no global name but theirs: another Rust library, or another mimalloc, may be linked into the same program.
set -euo pipefail
from=$1 header=$2 to=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${CC:-cc}" -E -P -x c "$header" | grep -oE '\bplimsoll_[a-z0-9_]+\(' | tr -d '(' | sort -u | sed 's/^/-u /' >"$work/roots"
ld -r --gc-sections --force-group-allocation @"$work/roots" "$from" -o "$work/plimsoll.o"
objcopy --wildcard --keep-global-symbol='plimsoll_*' --remove-section=.llvmbc --remove-section=.llvmcmd --strip-unneeded \
    "$work/plimsoll.o"
# Deterministic, so that an unchanged library is left alone.
ar rcsD "$work/libplimsoll.a" "$work/plimsoll.o"
install -C -m 644 "$work/libplimsoll.a" "$to"
