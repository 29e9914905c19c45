/* The bench program's command line. */
#ifndef EXAMPLES_BENCH_OPTIONS_H
#define EXAMPLES_BENCH_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MAX_CELLS = 32, MAX_SETTINGS = 16, MAX_SEQUENCES = 128, MAX_REPS = 101 };

typedef enum { PREFILL, DECODE, BATCH, ARRIVAL, TURN, CHAT, KINDS } cell_kind;

typedef struct {
    char name[32];
    cell_kind kind;
    uint32_t number; /* tokens before, or sequences; 1 for a bare name */
} cell;

typedef struct {
    const char *model, *kv_type;
    uint32_t threads, reps, decode;
    cell cells[MAX_CELLS];
    size_t cell_count;
    const char *settings[MAX_SETTINGS]; /* KEY=VALUE */
    size_t setting_count;
    bool json;
} bench_options;

/* A mistake ends the program with status 2. */
bench_options parse_bench_options(int argc, char **argv);

#endif
