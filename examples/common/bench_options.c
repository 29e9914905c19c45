#include "bench_options.h"

#include "args.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALL_CELLS "prefill-512,prefill-2048,decode,decode-2048,batch-4,batch-8,batch-16,arrival-512,turn-1024,chat-1024"

static const char HELP[] =
    "usage: bench --model PATH [options]\n"
    "\n"
    "  --model PATH     a Hugging Face folder or a .gguf file\n"
    "  --cells NAMES    what to measure, with commas between [all of the default lengths]\n"
    "  --new N          tokens generated in each timed decode, at least 2; half as many in batches [128]\n"
    "  --threads N      computing threads [2]\n"
    "  --kv-type NAME   elements of the KV cache, as native.kv_type takes them [f16]\n"
    "  --set KEY=VALUE  another setting of the model, such as native.step_ms=0; may be repeated\n"
    "  --reps N         repetitions; the median counts [3]\n"
    "  --json           one JSON object a line: the load, each cell, memory\n"
    "  --help\n"
    "\n"
    "cells:\n"
    "  prefill-N   a prompt of N tokens until its first token\n"
    "  decode      further tokens of an answer; decode-N with N tokens before them\n"
    "  batch-N     further tokens of N answers to prompts of 128 tokens, together\n"
    "  arrival-N   time between the tokens of 4 answers while a prompt of N tokens comes in, and its first token\n"
    "  turn-N      first token of a second turn of 32 tokens after one of N\n"
    "  chat-N      the same with messages, which are rendered and tokenised\n"
    "\n"
    "What does not fit in the model's context is said and left out.\n";

static const char *const KIND_NAMES[KINDS] = {"prefill", "decode", "batch", "arrival", "turn", "chat"};

static cell parse_cell(const char *name, size_t length) {
    cell c = {.kind = KINDS};
    if (length < sizeof c.name) {
        memcpy(c.name, name, length);
        const char *dash = strchr(c.name, '-');
        size_t word = dash == NULL ? length : (size_t)(dash - c.name);
        for (int kind = 0; kind < KINDS; kind++) {
            if (strlen(KIND_NAMES[kind]) == word && memcmp(c.name, KIND_NAMES[kind], word) == 0) {
                c.kind = (cell_kind)kind;
            }
        }
        char *end = NULL;
        unsigned long number = dash != NULL && dash[1] >= '1' && dash[1] <= '9' ? strtoul(dash + 1, &end, 10) : 0;
        bool bare = dash == NULL && c.kind == DECODE;
        unsigned long most = c.kind == BATCH ? MAX_SEQUENCES : 1 << 24;
        if (c.kind != KINDS && (bare || (number >= 1 && number <= most && *end == '\0'))) {
            /* The shortest prompt there is has one token. */
            c.number = bare ? 1 : (uint32_t)number;
            return c;
        }
    }
    usage_error("bench", "--cells: %.*s is no cell", (int)length, name);
}

static void parse_cells(bench_options *o, const char *names) {
    o->cell_count = 0;
    for (;;) {
        size_t length = strcspn(names, ",");
        if (o->cell_count == MAX_CELLS) {
            usage_error("bench", "--cells: more than %d", MAX_CELLS);
        }
        o->cells[o->cell_count++] = parse_cell(names, length);
        if (names[length] == '\0') {
            return;
        }
        names += length + 1;
    }
}

bench_options parse_bench_options(int argc, char **argv) {
    bench_options o = {.kv_type = "f16", .decode = 128, .threads = 2, .reps = 3};
    parse_cells(&o, ALL_CELLS);
    args a = args_of("bench", argc, argv);
    while (args_next(&a)) {
        if (args_is(&a, "--model")) {
            o.model = args_text(&a);
        } else if (args_is(&a, "--cells")) {
            parse_cells(&o, args_text(&a));
        } else if (args_is(&a, "--new")) {
            o.decode = (uint32_t)args_integer(&a, 2, 1 << 24);
        } else if (args_is(&a, "--threads")) {
            o.threads = (uint32_t)args_integer(&a, 1, 256);
        } else if (args_is(&a, "--kv-type")) {
            o.kv_type = args_text(&a);
        } else if (args_is(&a, "--set")) {
            const char *setting = args_text(&a);
            if (o.setting_count == MAX_SETTINGS || strchr(setting, '=') == NULL) {
                usage_error("bench", "--set %s: not KEY=VALUE, or one too many", setting);
            }
            o.settings[o.setting_count++] = setting;
        } else if (args_is(&a, "--reps")) {
            o.reps = (uint32_t)args_integer(&a, 1, MAX_REPS);
        } else if (args_is(&a, "--json")) {
            o.json = true;
        } else if (args_is(&a, "--help")) {
            fputs(HELP, stdout);
            exit(0);
        } else {
            args_unknown(&a);
        }
    }
    if (o.model == NULL) {
        usage_error("bench", "--model is missing");
    }
    return o;
}
