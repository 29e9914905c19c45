/* How fast a model runs: prefill, decode, several sequences together, tokens of some while another's prompt comes in, and a
 * conversation's second turn. Prompts are random token ids and answers go on after end-of-text tokens, so every run does the
 * same work. The common part of all cells is in common/sequence.c. */
#define _POSIX_C_SOURCE 200809L

#include "bench_options.h"
#include "json.h"
#include "names.h"
#include "process.h"
#include "sequence.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Tokens of prompts of sequences that run together, of the sequences that decode when another arrives, of their answers
 * before it does, and of a second turn. */
enum { BATCH_PROMPT = 128, DECODING = 4, WARM = 16, NEW_TURN = 32 };

typedef struct {
    bench_options options;
    plimsoll_runtime *runtime;
    plimsoll_model *model;
    plimsoll_model_facts facts;
    double load_seconds;
    uint64_t load_peak;
} bench;

/* --- Setting up -------------------------------------------------------------------------------------------------- */

static void set_text(plimsoll_config *config, const char *key, size_t key_length, const char *value) {
    plimsoll_error *error = NULL;
    expect(plimsoll_config_set(config, key, key_length, value, strlen(value), &error), &error);
}

static void set(plimsoll_config *config, const char *key, uint64_t value) {
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, value);
    set_text(config, key, strlen(key), text);
}

static void open_bench(bench *b) {
    const bench_options *o = &b->options;
    plimsoll_error *error = NULL;
    plimsoll_config *config = NULL;
    expect(plimsoll_config_new(&config, &error), &error);
    /* The machine's memory is the bound here, not what one session may have. */
    set(config, "guard.session_limit_mb", 1 << 20);
    set(config, "guard.kv_limit_mb", 1 << 20);
    expect(plimsoll_runtime_new(config, &b->runtime, &error), &error);
    plimsoll_config_free(config);

    uint32_t sequences = 1;
    for (size_t i = 0; i < o->cell_count; i++) {
        const cell *c = &o->cells[i];
        uint32_t needs = c->kind == BATCH ? c->number : c->kind == ARRIVAL ? DECODING + 1 : 1;
        sequences = needs > sequences ? needs : sequences;
    }
    config = NULL;
    expect(plimsoll_config_new(&config, &error), &error);
    set(config, "native.threads", o->threads);
    set(config, "native.max_sequences", sequences);
    set_text(config, "native.kv_type", strlen("native.kv_type"), o->kv_type);
    for (size_t i = 0; i < o->setting_count; i++) {
        const char *equals = strchr(o->settings[i], '=');
        set_text(config, o->settings[i], (size_t)(equals - o->settings[i]), equals + 1);
    }
    double start = seconds();
    expect(plimsoll_model_load(b->runtime, "bench", strlen("bench"), o->model, strlen(o->model), config, NULL, NULL,
                               &b->model, &error),
           &error);
    b->load_seconds = seconds() - start;
    b->load_peak = peak_bytes();
    plimsoll_config_free(config);
    b->facts.struct_size = sizeof b->facts;
    expect(plimsoll_model_get_facts(b->model, &b->facts, &error), &error);
}

static sequence new_prompt(const bench *b, uint32_t prompt, uint32_t wanted, uint64_t seed) {
    sequence s = new_sequence(b->model, wanted);
    ask_tokens(&s, b->facts.vocab_size, prompt, seed);
    return s;
}

/* --- Numbers ----------------------------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The value that a share of all are not above; sorts them. */
static double quantile(double *values, size_t count, double share) {
    qsort(values, count, sizeof *values, compare);
    size_t at = (size_t)(share * (double)(count - 1) + 0.5);
    return count == 0 ? 0 : values[at];
}

/* What came of a cell: tokens in so many seconds, and what else there is to say. */
typedef struct {
    uint32_t tokens;
    double seconds;
    struct {
        const char *name;
        double value;
    } more[8];
    size_t more_count;
} outcome;

static void add(outcome *o, const char *name, double value) {
    o->more[o->more_count].name = name;
    o->more[o->more_count++].value = value;
}

/* --- Cells ------------------------------------------------------------------------------------------------------- */

static outcome measure_prefill(const bench *b, uint32_t prompt) {
    double times[MAX_REPS];
    sequence s = new_prompt(b, prompt, 1, 1);
    for (uint32_t i = 0; i < b->options.reps; i++) {
        run_fresh(&s);
        times[i] = first_seconds(&s);
    }
    free_sequence(&s);
    return (outcome){.tokens = prompt, .seconds = quantile(times, b->options.reps, 0.5)};
}

static outcome measure_decode(const bench *b, uint32_t depth) {
    double times[MAX_REPS];
    sequence s = new_prompt(b, depth, b->options.decode + 1, 2);
    for (uint32_t i = 0; i < b->options.reps; i++) {
        run_fresh(&s);
        times[i] = decode_seconds(&s);
    }
    free_sequence(&s);
    return (outcome){.tokens = b->options.decode, .seconds = quantile(times, b->options.reps, 0.5)};
}

/* Seconds from the first start to the last end of sequences that begin together; tokens a second while all of them have
 * their first token and none its last. */
static double together(const bench *b, uint32_t count, uint32_t wanted, double *speed) {
    sequence sequences[MAX_SEQUENCES];
    for (uint32_t i = 0; i < count; i++) {
        sequences[i] = new_prompt(b, BATCH_PROMPT, wanted, 3 + i);
    }
    run_together(sequences, count);
    double start = sequences[0].start, end = sequences[0].end;
    double from = sequences[0].times[0], to = sequences[0].times[wanted - 1], inside = 0;
    for (uint32_t i = 0; i < count; i++) {
        const sequence *s = &sequences[i];
        start = s->start < start ? s->start : start;
        end = s->end > end ? s->end : end;
        from = s->times[0] > from ? s->times[0] : from;
        to = s->times[wanted - 1] < to ? s->times[wanted - 1] : to;
    }
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t k = 0; k < wanted; k++) {
            inside += sequences[i].times[k] > from && sequences[i].times[k] <= to;
        }
        free_sequence(&sequences[i]);
    }
    *speed = inside > 0 ? inside / (to - from) : 0;
    return end - start;
}

/* What further tokens take: a run with them less a run with one token each. */
static outcome measure_batch(const bench *b, uint32_t count) {
    double firsts[MAX_REPS], wholes[MAX_REPS], speeds[MAX_REPS];
    uint32_t wanted = b->options.decode / 2, reps = b->options.reps;
    for (uint32_t i = 0; i < reps; i++) {
        firsts[i] = together(b, count, 1, &speeds[i]);
        wholes[i] = together(b, count, wanted + 1, &speeds[i]);
    }
    double first = quantile(firsts, reps, 0.5), whole = quantile(wholes, reps, 0.5);
    outcome o = {.tokens = wanted * count, .seconds = whole - first};
    add(&o, "first_tokens_seconds", first);
    add(&o, "whole_seconds", whole);
    add(&o, "all_decoding_per_second", quantile(speeds, reps, 0.5));
    return o;
}

/* Tokens whose times are known. */
static uint32_t timed(const sequence *s) { return s->count < s->wanted ? s->count : s->wanted; }

/* One round: the gaps between tokens before the newcomer came and beside its prompt, each appended to its list. Less than 0
   if an answer ended before the newcomer's first token: this thread was held up. */
static double arrive(const bench *b, uint32_t prompt, double *before, size_t *before_count, double *beside,
                     size_t *beside_count) {
    sequence sequences[DECODING], newcomer = new_prompt(b, prompt, WARM, 9);
    uint32_t wanted = WARM + 64 + prompt / 8;
    for (uint32_t i = 0; i < DECODING; i++) {
        sequences[i] = new_prompt(b, BATCH_PROMPT, wanted, 3 + i);
    }
    pthread_t threads[DECODING];
    meeting m = {.warm = WARM};
    start_together(sequences, DECODING, &m, threads);
    wait_until_warm(&m, DECODING);
    run(&newcomer);
    stop_together(&m, threads, DECODING);
    double arrived = newcomer.start, first = newcomer.times[0];
    bool early = false;
    for (uint32_t i = 0; i < DECODING; i++) {
        uint32_t count = timed(&sequences[i]);
        early = early || count == 0 || sequences[i].times[count - 1] < first;
    }
    for (uint32_t i = 0; i < DECODING; i++) {
        const sequence *s = &sequences[i];
        uint32_t count = early ? 0 : timed(s);
        for (uint32_t k = 1; k < count; k++) {
            double from = s->times[k - 1], to = s->times[k];
            if (to <= arrived && k > WARM / 2) {
                before[(*before_count)++] = to - from;
            } else if (to > arrived && from < first) {
                beside[(*beside_count)++] = to - from;
            }
        }
        free_sequence(&sequences[i]);
    }
    free_sequence(&newcomer);
    return early ? -1 : first - arrived;
}

static outcome measure_arrival(const bench *b, uint32_t prompt) {
    size_t most = (size_t)b->options.reps * DECODING * (WARM + 64 + prompt / 8), before_count = 0, beside_count = 0;
    double firsts[MAX_REPS], *before = malloc(most * sizeof *before), *beside = malloc(most * sizeof *beside);
    if (before == NULL || beside == NULL) {
        fatal("no memory for gaps");
    }
    for (uint32_t i = 0; i < b->options.reps; i++) {
        uint32_t tries = 10;
        do {
            firsts[i] = arrive(b, prompt, before, &before_count, beside, &beside_count);
        } while (firsts[i] < 0 && --tries > 0);
        if (tries == 0) {
            fatal("answers end before the new prompt's first token");
        }
    }
    outcome o = {.tokens = prompt, .seconds = quantile(firsts, b->options.reps, 0.5)};
    add(&o, "alone_p50_ms", quantile(before, before_count, 0.5) * 1e3);
    add(&o, "between_p50_ms", quantile(beside, beside_count, 0.5) * 1e3);
    add(&o, "between_p99_ms", quantile(beside, beside_count, 0.99) * 1e3);
    add(&o, "between_max_ms", quantile(beside, beside_count, 1) * 1e3);
    free(before);
    free(beside);
    return o;
}

/* A message of about this many tokens. */
static char *message_of(uint32_t tokens) {
    static const char WORDS[] = "the ship takes on cargo until the water reaches its line ";
    size_t length = (size_t)tokens * 5;
    char *text = malloc(length + 1);
    if (text == NULL) {
        fatal("no memory for a message");
    }
    for (size_t i = 0; i < length; i++) {
        text[i] = WORDS[i % (sizeof WORDS - 1)];
    }
    text[length] = '\0';
    return text;
}

static void ask(const bench *b, sequence *s, bool messages, uint32_t tokens, uint64_t seed) {
    if (!messages) {
        ask_tokens(s, b->facts.vocab_size, tokens, seed);
        return;
    }
    char *text = message_of(tokens);
    ask_message(s, text);
    free(text);
}

/* Seconds that a what-if takes: rendering and tokenising the conversation, and the guard's walk. */
static double prepare_seconds(const sequence *s) {
    plimsoll_error *error = NULL;
    plimsoll_verdict verdict = {.struct_size = sizeof verdict};
    double start = seconds();
    expect(plimsoll_admit(s->session, s->request, &verdict, NULL, &error), &error);
    return seconds() - start;
}

/* The second turn's first token, beside what the same input takes in a session of its own, and a step of decode. */
static outcome measure_turn(const bench *b, uint32_t history, bool messages) {
    double times[MAX_REPS], fresh[MAX_REPS], steps[MAX_REPS], prepared[MAX_REPS];
    sequence s = new_sequence(b->model, WARM), other = new_sequence(b->model, WARM);
    plimsoll_result result = {0};
    for (uint32_t i = 0; i < b->options.reps; i++) {
        ask(b, &s, messages, history, 1);
        run_fresh(&s);
        ask(b, &s, messages, NEW_TURN, 2);
        prepared[i] = prepare_seconds(&s);
        run(&s);
        times[i] = first_seconds(&s);
        steps[i] = decode_seconds(&s) / (WARM - 1);
        result = s.result;
        ask(b, &other, messages, NEW_TURN, 2);
        run_fresh(&other);
        fresh[i] = first_seconds(&other);
    }
    free_sequence(&s);
    free_sequence(&other);
    uint32_t reps = b->options.reps;
    outcome o = {.tokens = result.prompt_tokens - result.cached_tokens, .seconds = quantile(times, reps, 0.5)};
    add(&o, "held_tokens", result.cached_tokens);
    add(&o, "alone_ms", quantile(fresh, reps, 0.5) * 1e3);
    add(&o, "prepare_ms", quantile(prepared, reps, 0.5) * 1e3);
    add(&o, "step_ms", quantile(steps, reps, 0.5) * 1e3);
    return o;
}

/* --- Reports ----------------------------------------------------------------------------------------------------- */

/* The most tokens that one sequence of a cell has. */
static uint64_t longest(const bench *b, const cell *c) {
    uint64_t n = c->number, decode = b->options.decode;
    switch (c->kind) {
    case DECODE: return n + decode + 1;
    case BATCH: return BATCH_PROMPT + decode / 2 + 1;
    case ARRIVAL: return n + BATCH_PROMPT + WARM + 64 + n / 8;
    case TURN: return n + NEW_TURN + (uint64_t)2 * WARM;
    case CHAT: return n * 5 / 3 + (uint64_t)4 * NEW_TURN + (uint64_t)2 * WARM;
    default: return n + 1;
    }
}

static outcome measure(const bench *b, const cell *c) {
    switch (c->kind) {
    case PREFILL: return measure_prefill(b, c->number);
    case DECODE: return measure_decode(b, c->number);
    case BATCH: return measure_batch(b, c->number);
    case ARRIVAL: return measure_arrival(b, c->number);
    default: return measure_turn(b, c->number, c->kind == CHAT);
    }
}

static void show_load(const bench *b) {
    const bench_options *o = &b->options;
    const plimsoll_model_facts *f = &b->facts;
    if (!o->json) {
        printf("%s, engine %.*s, %" PRIu32 " threads, median of %" PRIu32 "\n", o->model, (int)f->engine.len,
               f->engine.ptr, o->threads, o->reps);
        printf("%-14s %10.3f s      weights %s, workspace %s\n", "load", b->load_seconds, HUMAN(f->weights_bytes),
               HUMAN(f->workspace_bytes));
        return;
    }
    json j = json_to(stdout);
    json_open(&j, NULL, '{');
    json_name(&j, "cell", "load");
    json_name(&j, "model", o->model);
    json_text(&j, "engine", f->engine.ptr, f->engine.len);
    json_name(&j, "version", plimsoll_version());
    json_unsigned(&j, "threads", o->threads);
    json_name(&j, "kv_type", o->kv_type);
    json_unsigned(&j, "reps", o->reps);
    json_number(&j, "seconds", b->load_seconds);
    json_unsigned(&j, "weights_bytes", f->weights_bytes);
    json_unsigned(&j, "workspace_bytes", f->workspace_bytes);
    json_unsigned(&j, "peak_bytes", b->load_peak);
    json_close(&j, '}');
    json_end_line(&j);
}

static void show_cell(const bench *b, const cell *c, const outcome *o) {
    double speed = (double)o->tokens / o->seconds;
    if (!b->options.json) {
        printf("%-14s %10.1f tokens/s   %" PRIu32 " tokens in %.1f ms", c->name, speed, o->tokens, o->seconds * 1e3);
        for (size_t i = 0; i < o->more_count; i++) {
            printf(", %s %.*f", o->more[i].name, o->more[i].value < 100 ? 2 : 0, o->more[i].value);
        }
        printf("\n");
    } else {
        json j = json_to(stdout);
        json_open(&j, NULL, '{');
        json_name(&j, "cell", c->name);
        json_unsigned(&j, "tokens", o->tokens);
        json_number(&j, "seconds", o->seconds);
        json_number(&j, "tokens_per_second", speed);
        for (size_t i = 0; i < o->more_count; i++) {
            json_number(&j, o->more[i].name, o->more[i].value);
        }
        json_close(&j, '}');
        json_end_line(&j);
    }
    fflush(stdout);
}

static void show_memory(const bench *b) {
    plimsoll_error *error = NULL;
    plimsoll_memory memory = {.struct_size = sizeof memory};
    expect(plimsoll_memory_stats(b->runtime, &memory, &error), &error);
    if (!b->options.json) {
        printf("%-14s %10s  at the most resident, %s leased\n", "memory", HUMAN(peak_bytes()), HUMAN(memory.peak_bytes));
        return;
    }
    json j = json_to(stdout);
    json_open(&j, NULL, '{');
    json_name(&j, "cell", "memory");
    json_unsigned(&j, "peak_bytes", peak_bytes());
    json_unsigned(&j, "leased_bytes", memory.peak_bytes);
    json_close(&j, '}');
    json_end_line(&j);
}

int main(int argc, char **argv) {
    bench b = {.options = parse_bench_options(argc, argv)};
    open_bench(&b);
    show_load(&b);
    for (size_t i = 0; i < b.options.cell_count; i++) {
        const cell *c = &b.options.cells[i];
        uint64_t tokens = longest(&b, c);
        if (tokens > b.facts.context_length) {
            fprintf(stderr, "bench: %s left out: %" PRIu64 " tokens, the model's context has %" PRIu32 "\n", c->name,
                    tokens, b.facts.context_length);
            continue;
        }
        outcome o = measure(&b, c);
        show_cell(&b, c, &o);
    }
    show_memory(&b);
    plimsoll_model_unload(b.model);
    plimsoll_runtime_free(b.runtime);
    return 0;
}
