# The ABI against the one that is written down, planted breaks that must be seen, and the programs of earlier releases. Sourced
# by run.sh.

# --- Programs of 0.1: with their own header on this library, and with this header ---
for headers in ctests/abi-0.1 include; do
    for source in ctests/abi-0.1/*.c; do
        name="abi: 0.1's $(basename "$source" .c).c with $headers/plimsoll.h"
        test_that "$name: compiles" gcc -std=c99 $warnings -Wstrict-prototypes -g -O1 -I"$headers" \
            -include "$headers/plimsoll.h" "$source" -L"$lib" -lplimsoll -o "$out/old"
        test_that "$name: runs" env LD_LIBRARY_PATH="$lib" timeout 120 "$out/old"
    done
done
gcc -E -P -x c ctests/abi-0.1/plimsoll.h | grep -oE '\bplimsoll_[a-z0-9_]+\(' | sort -u >"$out/released"
grep -ohE '\bplimsoll_[a-z0-9_]+\(' ctests/abi-0.1/*.c ctests/abi-0.1/common.h | sort -u >"$out/called"
test_that "abi: 0.1's programs make every call of 0.1" diff "$out/released" "$out/called"

# --- The guard ---
guard() { ctests/abi-check.sh "$@"; }
# planted NAME WANTED SED...: the header after SED, and a library that exports it, against the written ABI: the same (0), an
# addition that can be accepted (1), or a break that cannot (2).
planted() {
    local name=$1 wanted=$2 status folder=$out/abi/planted
    shift 2
    rm -rf "$folder" && mkdir -p "$folder/baseline" && cp ctests/abi/* "$folder/baseline"
    sed "$@" include/plimsoll.h >"$folder/plimsoll.h"
    if cmp -s include/plimsoll.h "$folder/plimsoll.h"; then fail "abi: $name: nothing was planted"; return; fi
    guard stand-in "$folder/plimsoll.h" "$folder/planted.so" >"$out/log" 2>&1 &&
        guard check "$folder/plimsoll.h" "$folder/planted.so" "$folder/baseline" "$folder/work" >"$out/log" 2>&1
    status=$?
    if [ $status -eq "$wanted" ]; then ok "abi: $name: is told"; else fail "abi: $name: $status"; sed 's/^/    /' "$out/log"; fi
    guard accept "$folder/plimsoll.h" "$folder/planted.so" "$folder/baseline" "$folder/work" >"$out/log" 2>&1
    status=$?
    if [ "$wanted" -eq 2 ]; then
        test_that "abi: $name: cannot be accepted" test $status -eq 2
        test_that "abi: $name: what is written stays" diff -r ctests/abi "$folder/baseline"
    else
        test_that "abi: $name: is accepted" test $status -eq 0
        test_that "abi: $name: and is then the same" guard check "$folder/plimsoll.h" "$folder/planted.so" "$folder/baseline" "$folder/work"
    fi
}

if ! have abidiff || ! have abidw; then
    skip "abi: NOT COMPARED with what is written down (abigail-tools not installed)"
else
    test_that "abi: the library is what is written down (else: make abi-accept)" \
        guard check include/plimsoll.h "$lib/libplimsoll.so" ctests/abi "$out/abi/now"
    version='s/^#define PLIMSOLL_ABI_VERSION .*/#define PLIMSOLL_ABI_VERSION 99/'
    planted "a parameter's name" 0 's/plimsoll_session_id(const plimsoll_session \*session)/plimsoll_session_id(const plimsoll_session *which)/'
    planted "a new function" 1 "$version; s/^uint64_t plimsoll_session_id/uint64_t plimsoll_session_tokens(const plimsoll_session *session);\n&/"
    planted "a new constant" 1 "$version; s/^#define PLIMSOLL_ERR_BUSY 203/&\n#define PLIMSOLL_ERR_NEW 204/"
    for struct in memory progress model_facts verdict event result; do
        planted "a last member of plimsoll_$struct" 1 "$version; s/^} plimsoll_$struct;/    uint64_t newest;\n&/"
    done
    released=$(grep '^#define PLIMSOLL_ABI_VERSION ' ctests/abi-0.1/plimsoll.h)
    planted "a new function under an old ABI version" 2 "s/^#define PLIMSOLL_ABI_VERSION .*/$released/; "'s/^uint64_t plimsoll_session_id/uint64_t plimsoll_session_tokens(const plimsoll_session *session);\n&/'
    planted "a function that is gone" 2 '/^uint64_t plimsoll_session_id(/d'
    planted "a function with another name" 2 "$version; s/plimsoll_session_id(/plimsoll_session_number(/"
    planted "a shorter parameter" 2 "$version; s/\(plimsoll_request_set_seed(.*\)uint64_t value/\1uint32_t value/"
    planted "a parameter more" 2 "$version; s/^int32_t plimsoll_error_section(const plimsoll_error \*error/&, int32_t more/"
    planted "a parameter less" 2 "$version; s/, plimsoll_text \*\*out, plimsoll_error \*\*error/, plimsoll_text **out/; s/^plimsoll_status plimsoll_session_reset(const plimsoll_session \*session, plimsoll_error \*\*error)/plimsoll_status plimsoll_session_reset(const plimsoll_session *session)/"
    planted "a parameter that is no longer const" 2 "$version; s/plimsoll_session_id(const plimsoll_session/plimsoll_session_id(plimsoll_session/"
    planted "another type to return" 2 "$version; s/^int64_t plimsoll_error_retry_after_ms/uint64_t plimsoll_error_retry_after_ms/"
    planted "a callback's parameter less" 2 "$version; s/(\*plimsoll_on_progress)(const plimsoll_progress \*progress, void \*user_data)/(*plimsoll_on_progress)(const plimsoll_progress *progress)/"
    planted "a member in the middle" 2 "$version; s/^    uint64_t limit_bytes;/    uint64_t newest;\n&/"
    planted "members in the middle and at the end" 2 "$version; s/^    uint64_t limit_bytes;/    uint64_t newer;\n&/; s/^} plimsoll_memory;/    uint64_t newest;\n&/"
    planted "two members that changed places" 2 "$version; s/^    uint64_t limit_bytes;/    uint64_t OTHER;/; s/^    uint64_t used_bytes;/    uint64_t limit_bytes;/; s/OTHER/used_bytes/"
    planted "a member that is gone" 2 "$version; /^    uint64_t peak_bytes;/d"
    planted "the last member gone" 2 "$version; /^    uint64_t heap_bytes;/d"
    planted "a member's type" 2 "$version; s/^    double tokens_per_second;/    uint64_t tokens_per_second;/"
    planted "a member's size" 2 "$version; s/^    uint64_t heap_bytes;/    uint32_t heap_bytes;/"
    planted "a struct without struct_size that grew" 2 "$version; s/^} plimsoll_logprob;/    float more;\n&/"
    planted "a struct that is passed by value and grew" 2 "$version; s/^} plimsoll_str;/    size_t more;\n&/"
    planted "another status type" 2 "$version; s/^typedef int32_t plimsoll_status;/typedef int64_t plimsoll_status;/"
    planted "a constant's number" 2 "$version; s/^#define PLIMSOLL_ERR_BUSY 203/#define PLIMSOLL_ERR_BUSY 299/"
    planted "a constant that is gone" 2 "$version; /^#define PLIMSOLL_ERR_BUSY /d"

    # The library alone: it lacks a function that the header has, has one that it has not, or another soname.
    mkdir -p "$out/abi/less"
    sed '/^uint64_t plimsoll_session_id(/d' include/plimsoll.h >"$out/abi/less/plimsoll.h"
    guard stand-in "$out/abi/less/plimsoll.h" "$out/abi/less/lacks.so"
    guard check include/plimsoll.h "$out/abi/less/lacks.so" ctests/abi "$out/abi/less/work" >"$out/log" 2>&1
    test_that "abi: a library without a function of the header" test $? -eq 2
    guard check "$out/abi/less/plimsoll.h" "$lib/libplimsoll.so" ctests/abi "$out/abi/less/work" >"$out/log" 2>&1
    test_that "abi: a library with a function that the header lacks" test $? -eq 3
    guard stand-in include/plimsoll.h "$out/abi/less/soname.so" libplimsoll.so.1
    guard check include/plimsoll.h "$out/abi/less/soname.so" ctests/abi "$out/abi/less/work" >"$out/log" 2>&1
    test_that "abi: a library with another soname" test $? -eq 2
fi
