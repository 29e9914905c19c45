#!/usr/bin/env bash
# Compares the ABI of a library with the one that is written down.
#
#     ctests/abi-check.sh check  HEADER LIBRARY BASELINE WORK     0: the same; 1: something was added; 2: something broke
#     ctests/abi-check.sh accept HEADER LIBRARY BASELINE WORK     writes additions down; 2: refuses everything else
#     ctests/abi-check.sh stand-in HEADER OUT.so [SONAME]         a library that exports what the header declares
#
# BASELINE is a folder: plimsoll.abi, which abidw makes, and constants, for the header's numbers are macros. The library was
# compiled from Rust and is stripped; the C types that a host sees are the header's. So abidw reads a stand-in: each function
# that LIBRARY exports, with LIBRARY's soname, and the header's declaration as its definition. That the header is what the Rust
# sources say is tests/header.rs' to prove.
#
# An addition is a new function, a new constant, or a new last member of a struct that begins with struct_size. It needs a
# PLIMSOLL_ABI_VERSION above that of the last release. Exit status 3: the comparison itself failed.
set -uo pipefail
cd "$(dirname "$0")/.."
released=ctests/abi-0.1/plimsoll.h

give_up() { echo "abi: $*" >&2; exit 3; }

# flat HEADER: its declarations, one a line.
flat() { gcc -E -P -x c "$1" | tr '\n' ' ' | sed 's/}/}\n/g; s/; */;\n/g'; }
prototypes() { flat "$1" | grep -E '^[a-z].*\bplimsoll_[a-z0-9_]+\(' | grep -v '^typedef'; }
constants() { sed -n 's/^#define \(PLIMSOLL_[A-Z0-9_]*\) \(.*\)/\1 \2/p' "$1" | grep -vE '^PLIMSOLL_(VERSION_|ABI_VERSION )' | sort; }
abi_version() { sed -n 's/^#define PLIMSOLL_ABI_VERSION //p' "$1"; }
# Structs that may grow at their end.
growing() { gcc -E -P -x c "$1" | tr -s '\n ' ' ' | grep -oE 'typedef struct \{ size_t struct_size;[^}]*\} plimsoll_[a-z0-9_]+' | sed 's/.*} //'; }

# stand_in HEADER NAMES SONAME OUT: NAMES is a file of the functions that are to be there.
stand_in() {
    { echo '#include "plimsoll.h"'
      prototypes "$1" | grep -wFf "$2" | sed 's/;$/ { __builtin_trap(); }/'; } >"$4.c"
    gcc -g -O0 -fPIC -shared -I"$(dirname "$1")" -Wl,-soname,"$3" "$4.c" -o "$4"
}

# additions_only REPORT: whether abidiff's report tells of nothing but members that were inserted.
additions_only() {
    ! grep -vE "^(Functions|Variables) changes summary: 0 Removed, |^$|^[0-9]+ functions? with some indirect sub-type change:$|^ +\[C\] 'function |^ +parameter [0-9]+ of type '.*' has sub-type changes:$|^ +underlying type 'typedef .*\*' changed:$|^ +in (pointed to|unqualified underlying) type '.*':$|^ +underlying type 'struct plimsoll_[a-z_]+' changed:$|^ +type size (changed from|hasn't changed)|^ +[0-9]+ data member insertions?:$|^ +'[^']+', at offset [0-9]+ \(in bits\)$|^ +(pointed to |unqualified underlying )?type 'typedef .*' changed, as reported earlier$" "$1"
}

mode=${1-}
if [ "$mode" = stand-in ] && [ $# -ge 3 ]; then
    prototypes "$2" | grep -oE '\bplimsoll_[a-z0-9_]+\(' | tr -d '(' >"$3.names"
    stand_in "$2" "$3.names" "${4:-libplimsoll.so.0}" "$3"
    exit
fi
case $mode in check | accept) ;; *) sed -n 's/^#  *ctests/ctests/p' "$0" >&2; exit 3 ;; esac
[ $# -eq 5 ] || give_up "needs header, library, baseline and a folder to work in"
new_header=$2 library=$3 baseline=$4 work=$5
command -v abidw >/dev/null && command -v abidiff >/dev/null || give_up "abidw and abidiff are not installed (Debian: abigail-tools)"
mkdir -p "$work"

# --- What there is ---
nm -D --defined-only "$library" | awk '{ print $NF }' | sort -u >"$work/names"
[ -s "$work/names" ] || give_up "$library exports nothing"
prototypes "$new_header" | grep -oE '\bplimsoll_[a-z0-9_]+\(' | tr -d '(' | sort -u >"$work/declared"
undeclared=$(comm -23 "$work/names" "$work/declared")
[ -z "$undeclared" ] || give_up "$library exports what $new_header does not declare: $undeclared"
soname=$(readelf -dW "$library" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p')
stand_in "$new_header" "$work/names" "$soname" "$work/stand-in.so" || give_up "the header does not compile"
abidw --headers-dir "$(dirname "$new_header")" --drop-private-types --no-show-locs --no-comp-dir-path --no-corpus-path \
    --no-architecture --no-elf-needed --no-parameter-names --type-id-style hash "$work/stand-in.so" >"$work/plimsoll.abi" ||
    give_up "abidw failed"
constants "$new_header" >"$work/constants"

# --- Against what was written down ---
{
    printf '[suppress_type]\ntype_kind = struct\nhas_data_member_inserted_at = end\nhas_size_change = yes\nname_regexp = ^(%s)$\n' \
        "$(growing "$new_header" | paste -sd '|')"
} >"$work/grown"
compare() { abidiff "$@" "$baseline/plimsoll.abi" "$work/plimsoll.abi"; local status=$?; [ $((status & 3)) -eq 0 ] || give_up "abidiff failed"; return $status; }
compare --harmless >"$work/all"
changed=$?
compare --no-added-syms --suppressions "$work/grown" >"$work/breaks"
broken=$?
compare --no-added-syms --harmless >"$work/members"
additions_only "$work/members" >"$work/more-than-members" || broken=4
lost=$(comm -23 "$baseline/constants" "$work/constants")
gained=$(comm -13 "$baseline/constants" "$work/constants")

if [ $changed -eq 0 ] && [ -z "$lost$gained" ]; then echo "abi: as written down"; exit 0; fi
if [ $broken -ne 0 ] || [ -n "$lost" ]; then
    echo "abi: programs that were built for an earlier version break:"
    [ -z "$lost" ] || printf 'constants that are gone or have another value:\n%s\n' "$lost"
    cat "$work/all"
    exit 2
fi
echo "abi: something was added:"
[ -z "$gained" ] || printf 'constants:\n%s\n' "$gained"
[ $changed -eq 0 ] || cat "$work/all"
if [ "$(abi_version "$new_header")" -le "$(abi_version "$released")" ]; then
    echo "abi: additions need a larger PLIMSOLL_ABI_VERSION than $released has: src/capi/version.rs"
    exit 2
fi
if [ "$mode" = check ]; then
    echo "abi: \`make abi-accept\` writes it down"
    exit 1
fi
cp "$work/plimsoll.abi" "$work/constants" "$baseline/"
echo "abi: written down in $baseline"
