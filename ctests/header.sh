# The header in every dialect, with warnings as errors. Sourced by run.sh.
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
