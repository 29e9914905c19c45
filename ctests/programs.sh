# This folder's programs. Sourced by run.sh.
# Those with a plug-in take the example's.
plug_in_of() { case $1 in plugin | arguments) echo examples/lookup/lookup.c ;; esac; }
for program in $programs panic leak; do
    test_that "$program: compiles" gcc -std=c99 $warnings -Wstrict-prototypes -g -O1 -Iinclude -Ictests -Iexamples \
        "ctests/$program.c" $(plug_in_of $program) -L"$lib" -lplimsoll -lm -lpthread -o "$out/$program"
done
for program in $programs; do run_program "$program" "$lib"; done
run_program panic "$check_lib"

plugin_engine() { LD_LIBRARY_PATH=$lib timeout 60 "$bin/plugin_engine" "$@"; }
plugin_engine >"$out/plugin_engine"
test_that "plugin_engine: ends well" test $? -eq 0
for row in '^engine lookup: ' '^  23 prompt tokens, 18 of them held before, 4 generated' ' free, 1 evictions$' '^  refused: .* bytes' \
    '^  [0-9]+ bytes asked, [0-9]+ free; [0-9]+ tokens would fit$' 'refused: .*more than was admitted' '^at the end 0 bytes are leased$'; do
    test_that "plugin_engine: prints $row" grep -qE "$row" "$out/plugin_engine"
done

LD_LIBRARY_PATH=$lib timeout 300 "$bin/overload" --sessions 60 --room 6 --turns 2 --threads 8 >"$out/overload" 2>&1
test_that "overload: ends well" test $? -eq 0
for row in '^ +1 +60 +0 ' '^ +2 +60 +0 .* [1-9][0-9]* +[1-9][0-9]* \([0-9]+ tokens\) ' '^120 of 120 answered, 0 failed' '^the promise was kept$'; do
    test_that "overload: prints $row" grep -qE "$row" "$out/overload"
done
