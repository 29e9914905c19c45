# This folder's programs. Sourced by run.sh.
for program in $programs panic leak; do
    test_that "$program: compiles" gcc -std=c99 $warnings -Wstrict-prototypes -g -O1 -Iinclude -Ictests \
        "ctests/$program.c" -L"$lib" -lplimsoll -lm -lpthread -o "$out/$program"
done
for program in $programs; do run_program "$program" "$lib"; done
run_program panic "$check_lib"
