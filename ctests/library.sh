# The shared library and the archive. Sourced by run.sh.
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
