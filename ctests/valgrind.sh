# The programs again, under valgrind. Sourced by run.sh.
# Valgrind runs one thread at a time; without --fair-sched a spinning thread may keep the others out for seconds.
memcheck="valgrind --fair-sched=yes --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite,indirect --show-leak-kinds=definite,indirect"
# Half an hour on a slow machine.
checked() { if scripts/late.sh; then skip "$1: IT WOULD NOT END IN TIME; run make test"; else test_that "$@"; fi; }
under_memcheck() { LD_LIBRARY_PATH=$check_lib timeout 900 $memcheck "$@"; }
if ! have valgrind; then
    skip "valgrind: NOT INSTALLED, so no program was checked for leaks and bad accesses"
else
    under_memcheck "$out/leak" >"$out/leak.txt" 2>&1
    leak_status=$?
    if [ $leak_status -eq 99 ] && grep -q 'definitely lost: [1-9]' "$out/leak.txt" &&
        grep -q 'plimsoll_config_new' "$out/leak.txt"; then
        ok "valgrind: reports the planted leak"
        for program in $programs panic; do
            checked "valgrind: $program" under_memcheck "$out/$program"
        done
        for program in ${cpp_programs:-}; do
            checked "valgrind: cpp $program" under_memcheck "$out/cpp/$program"
        done
        checked "valgrind: bench" under_memcheck "$bin/bench" --model tests/golden/models/llama3 --new 4 --reps 1 \
            --cells prefill-16,decode-32,batch-4,arrival-16,turn-16
        suite=$(${CARGO:-cargo} test -p plimsoll-plugin --test conformance --no-run --message-format=json 2>"$out/log2" |
            grep -oE '"executable":"[^"]*/conformance-[^"]*"' | cut -d '"' -f 4)
        checked "valgrind: the conformance suite on the example engine" under_memcheck "$suite"
        checked "valgrind: plugin_engine" under_memcheck "$bin/plugin_engine"
        checked "valgrind: chat" under_memcheck "$bin/chat" --model "$chat_model" --threads 2 --json \
            -p "hello" --max-tokens 8 --ignore-eos
        checked "valgrind: chat-cpp" under_memcheck "$bin/chat-cpp" --model "$chat_model" --threads 2 --json \
            -p "hello" --max-tokens 8 --ignore-eos
    else
        fail "valgrind: does not report the planted leak (exit status $leak_status), so it proves nothing"
        sed 's/^/    /' "$out/leak.txt" | tail -n 40
    fi
fi
