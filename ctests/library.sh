# The shared library and the archive. Sourced by run.sh.
declared >"$out/declared"
nm -D --defined-only "$lib/libplimsoll.so" | awk '{ print $NF }' | sort -u >"$out/exported"
test_that "library: exports the header's functions and nothing else" diff "$out/declared" "$out/exported"
test_that "library: the header has functions" test "$(wc -l <"$out/declared")" -ge 60
so=$lib/libplimsoll.so archive=$lib/libplimsoll.a
readelf -dW "$so" >"$out/dynamic"
readelf -SlW "$so" >"$out/sections"
test_that "library: the soname carries the major version" grep -q 'SONAME.*\[libplimsoll\.so\.0\]' "$out/dynamic"
needs=$(sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' "$out/dynamic" | grep -v '^ld-linux' | sort | tr '\n' ' ')
test_that "library: needs $needs" test "$needs" = "libc.so.6 libgcc_s.so.1 libm.so.6 "
size=$(stat -Lc %s "$so")
test_that "library: has $((size / 1000000)).$((size / 100000 % 10)) MB, less than 20" test "$size" -lt 20000000
test_that "library: is stripped" bash -c "! grep -qE ' \.(symtab|debug)' '$out/sections'"
test_that "library: stays loaded after dlclose()" grep -q 'FLAGS_1.*NODELETE' "$out/dynamic"
# A library that is loaded late finds little room for thread-local variables of the initial kind.
test_that "library: has no thread-local variables that dlopen() may refuse" bash -c "! grep -q STATIC_TLS '$out/dynamic'"
test_that "library: is bound at once, its tables read-only" bash -c \
    "grep -q 'FLAGS_1.*NOW' '$out/dynamic' && grep -q GNU_RELRO '$out/sections' && ! grep -q TEXTREL '$out/dynamic'"
test_that "library: no stack that can be executed" grep -qE 'GNU_STACK .* RW +0' "$out/sections"
test_that "library: a host that opens it at run time compiles" gcc -std=gnu11 $warnings -O1 -Iinclude -Ictests \
    ctests/dlopen.c -ldl -o "$out/dlopen"
run_program dlopen "$lib" "$so"

nm -g --defined-only "$archive" 2>/dev/null | awk 'NF == 3 { print $NF }' | sort -u >"$out/archived"
size=$(stat -Lc %s "$archive")
test_that "library: the archive has $((size / 1000000)) MB, less than 40" test "$size" -lt 40000000
test_that "library: the archive has the header's functions and nothing else" diff "$out/declared" "$out/archived"
test_that "library: the archive links" gcc -Iinclude ctests/twice.c ctests/unit.c "$archive" -lm -lpthread -ldl -o "$out/archive"
test_that "library: the archive runs" "$out/archive"
test_that "library: another Rust library" rustc --edition 2024 --crate-type staticlib -O ctests/other_rust.rs \
    -o "$out/libother.a"
for order in "$archive $out/libother.a" "$out/libother.a $archive"; do
    test_that "library: the archive links beside it" gcc -Iinclude ctests/beside.c $order -lm -lpthread -ldl -o "$out/beside"
    test_that "library: and both run" "$out/beside"
done
fallible >"$out/fallible"
grep -oE '^ *X\(plimsoll_[a-z0-9_]+' ctests/panic.c | sed 's/.*(//' | sort -u >"$out/forced"
test_that "library: a panic is forced in every fallible call" diff "$out/fallible" "$out/forced"
