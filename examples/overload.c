/* Too many conversations for the memory there is: 200 sessions in a budget for 20. Nothing fails. Sessions that wait lose their
 * KV and have it computed again, requests shrink, and those that find no room are told when to come again, and do.
 *
 *     build/bin/overload [--sessions N] [--room N] [--turns N] [--threads N] [--model PATH]
 *
 * Prints what happened in each round, and the ledger before, at its fullest and after. The exit status is 0 when every turn of
 * every session was answered, no more was leased than the limit, and all of it came back. */
#define _POSIX_C_SOURCE 200809L

#include "args.h"
#include "names.h"
#include "plimsoll.h"
#include "process.h"
#include "sequence.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_THREADS = 64, TOKENS = 48, FEWEST = 12, CONVERSATION = 160 };

typedef struct {
    plimsoll_session *session;
    uint32_t held; /* tokens of the conversation after its last turn */
} conversation;

/* What happened in a round. */
typedef struct {
    uint64_t answered, failed, refused, shrunk, degraded, recomputed, recomputed_tokens, cached_tokens;
} events;

typedef struct {
    conversation *conversations;
    uint32_t count, first, step, turn;
    events seen;
    double *waits; /* of each of its conversations, seconds from the question to the answer's end */
    uint32_t waited;
} worker;

static const char *const QUESTIONS[] = {"What is a lease?", "How does a ship float?", "What is a token?", "Tell me about rain.",
                                        "What is memory?", "Why is the sea salty?", "What is a load line?", "Who are you?"};

static void pause_ms(int64_t ms) {
    struct timespec time = {ms / 1000, ms % 1000 * 1000000L};
    nanosleep(&time, NULL);
}

/* One turn, repeated while the guard or the queue sends it away. */
static void turn(worker *w, conversation *c, const char *question) {
    plimsoll_request *request = NULL;
    plimsoll_error *error = NULL;
    expect(plimsoll_request_new(&request, &error), &error);
    expect(plimsoll_request_add_message(request, "user", 4, question, strlen(question), &error), &error);
    expect(plimsoll_request_set_max_tokens(request, TOKENS, &error), &error);
    expect(plimsoll_request_set_min_tokens(request, FEWEST, &error), &error);
    plimsoll_result result = {.struct_size = sizeof result};
    double start = seconds();
    plimsoll_status status;
    while ((status = plimsoll_generate(c->session, request, NULL, NULL, NULL, NULL, &result, &error)) != PLIMSOLL_OK) {
        int64_t retry = plimsoll_error_retry_after_ms(error);
        if (retry < 0) {
            fprintf(stderr, "overload: a request failed: ");
            plimsoll_str text = plimsoll_error_message(error);
            fprintf(stderr, "%.*s\n", (int)text.len, text.ptr);
            plimsoll_error_free(error);
            w->seen.failed++;
            plimsoll_request_free(request);
            return;
        }
        plimsoll_error_free(error);
        error = NULL;
        w->seen.refused++;
        pause_ms(retry < 1 ? 1 : retry > 500 ? 500 : retry);
    }
    w->waits[w->waited++] = seconds() - start;
    w->seen.answered++;
    w->seen.shrunk += result.decision == PLIMSOLL_DECISION_SHRINK;
    w->seen.degraded += result.degraded != 0;
    w->seen.cached_tokens += result.cached_tokens;
    if (c->held > 0 && result.cached_tokens == 0) {
        w->seen.recomputed++;
        w->seen.recomputed_tokens += c->held;
    }
    c->held = result.prompt_tokens + result.generated_tokens;
    plimsoll_request_free(request);
}

static void *work(void *argument) {
    worker *w = argument;
    for (uint32_t at = w->first; at < w->count; at += w->step) {
        turn(w, &w->conversations[at], QUESTIONS[(at + w->turn) % (sizeof QUESTIONS / sizeof *QUESTIONS)]);
    }
    return NULL;
}

static plimsoll_memory memory_of(const plimsoll_runtime *runtime) {
    plimsoll_memory memory = {.struct_size = sizeof memory};
    plimsoll_error *error = NULL;
    expect(plimsoll_memory_stats(runtime, &memory, &error), &error);
    return memory;
}

static plimsoll_runtime *runtime_of(uint64_t budget) {
    plimsoll_config *config = NULL;
    plimsoll_runtime *runtime = NULL;
    plimsoll_error *error = NULL;
    expect(plimsoll_config_new(&config, &error), &error);
    if (budget > 0) {
        char text[24];
        int length = snprintf(text, sizeof text, "%" PRIu64, budget);
        expect(plimsoll_config_set(config, "memory.budget", 13, text, (size_t)length, &error), &error);
        expect(plimsoll_config_set(config, "guard.threshold", 15, "1", 1, &error), &error);
        expect(plimsoll_config_set(config, "guard.reserve_mb", 16, "0", 1, &error), &error);
    }
    expect(plimsoll_runtime_new(config, &runtime, &error), &error);
    plimsoll_config_free(config);
    return runtime;
}

static plimsoll_model *model_of(const plimsoll_runtime *runtime, const char *path) {
    plimsoll_model *model = NULL;
    plimsoll_error *error = NULL;
    expect(plimsoll_model_load(runtime, "demo", 4, path, strlen(path), NULL, NULL, NULL, &model, &error), &error);
    return model;
}

/* What a session with a conversation of CONVERSATION tokens and its running request take, and the model beside them. */
static uint64_t budget_for(const char *path, uint32_t sessions, uint64_t *each) {
    plimsoll_runtime *runtime = runtime_of(0);
    plimsoll_model *model = model_of(runtime, path);
    plimsoll_error *error = NULL;
    sequence probe = new_sequence(model, TOKENS);
    ask_tokens(&probe, 100, CONVERSATION - TOKENS, 1);
    plimsoll_verdict verdict = {.struct_size = sizeof verdict};
    expect(plimsoll_admit(probe.session, probe.request, &verdict, NULL, &error), &error);
    *each = verdict.kv_bytes + verdict.request_bytes;
    uint64_t model_bytes = memory_of(runtime).used_bytes;
    free_sequence(&probe);
    plimsoll_model_unload(model);
    plimsoll_runtime_free(runtime);
    return model_bytes + sessions * *each;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void add(events *sum, const events *more) {
    sum->answered += more->answered;
    sum->failed += more->failed;
    sum->refused += more->refused;
    sum->shrunk += more->shrunk;
    sum->degraded += more->degraded;
    sum->recomputed += more->recomputed;
    sum->recomputed_tokens += more->recomputed_tokens;
    sum->cached_tokens += more->cached_tokens;
}

/* A turn of every conversation, by several threads. */
static events round_of(conversation *all, uint32_t count, uint32_t number, uint32_t threads, double *waits) {
    worker workers[MAX_THREADS];
    pthread_t handles[MAX_THREADS];
    uint32_t share = (count + threads - 1) / threads;
    for (uint32_t i = 0; i < threads; i++) {
        workers[i] = (worker){.conversations = all, .count = count, .first = i, .step = threads, .turn = number,
                              .waits = calloc(share, sizeof(double))};
        if (workers[i].waits == NULL || pthread_create(&handles[i], NULL, work, &workers[i]) != 0) fatal("no thread");
    }
    events sum = {0};
    uint32_t waited = 0;
    for (uint32_t i = 0; i < threads; i++) {
        pthread_join(handles[i], NULL);
        add(&sum, &workers[i].seen);
        memcpy(waits + waited, workers[i].waits, workers[i].waited * sizeof(double));
        waited += workers[i].waited;
        free(workers[i].waits);
    }
    qsort(waits, waited, sizeof *waits, by_size);
    return sum;
}

static void show_ledger(const char *when, const plimsoll_memory *m) {
    printf("%-8s %10s leased: weights %s, workspace %s, KV %s, requests %s\n", when, HUMAN(m->used_bytes), HUMAN(m->weights_bytes),
           HUMAN(m->workspace_bytes), HUMAN(m->kv_bytes), HUMAN(m->request_bytes));
}

int main(int argc, char **argv) {
    uint32_t sessions = 200, room = 20, turns = 3, threads = 16;
    const char *path = "models/demo";
    args a = args_of("overload", argc, argv);
    while (args_next(&a)) {
        if (args_is(&a, "--sessions")) sessions = (uint32_t)args_integer(&a, 1, 100000);
        else if (args_is(&a, "--room")) room = (uint32_t)args_integer(&a, 1, 100000);
        else if (args_is(&a, "--turns")) turns = (uint32_t)args_integer(&a, 1, 100);
        else if (args_is(&a, "--threads")) threads = (uint32_t)args_integer(&a, 1, MAX_THREADS);
        else if (args_is(&a, "--model")) path = args_text(&a);
        else args_unknown(&a);
    }
    if (threads > sessions) threads = sessions;

    uint64_t each = 0, budget = budget_for(path, room, &each);
    plimsoll_runtime *runtime = runtime_of(budget);
    plimsoll_model *model = model_of(runtime, path);
    plimsoll_memory before = memory_of(runtime);
    printf("%" PRIu32 " sessions of %s each, %" PRIu32 " threads, in a budget of %s: the model and %" PRIu32 " sessions\n", sessions,
           HUMAN(each), threads, HUMAN(budget), room);
    show_ledger("before", &before);

    conversation *all = calloc(sessions, sizeof *all);
    double *waits = calloc(sessions, sizeof *waits);
    if (all == NULL || waits == NULL) fatal("no memory for the list of sessions");
    for (uint32_t i = 0; i < sessions; i++) {
        plimsoll_error *error = NULL;
        expect(plimsoll_session_open(model, NULL, &all[i].session, &error), &error);
    }
    printf("%5s %9s %7s %8s %7s %9s %8s %20s %22s\n", "round", "answered", "failed", "sent away", "shrunk", "degraded", "evicted",
           "computed again", "wait p50, p99");
    events total = {0};
    uint64_t evicted = before.evictions;
    for (uint32_t number = 0; number < turns; number++) {
        events seen = round_of(all, sessions, number, threads, waits);
        uint64_t now = memory_of(runtime).evictions;
        char again[32], wait[32];
        snprintf(again, sizeof again, "%" PRIu64 " (%" PRIu64 " tokens)", seen.recomputed, seen.recomputed_tokens);
        double p50 = seen.answered ? waits[seen.answered / 2] : 0, p99 = seen.answered ? waits[(seen.answered * 99 - 1) / 100] : 0;
        snprintf(wait, sizeof wait, "%.0f ms, %.0f ms", 1e3 * p50, 1e3 * p99);
        printf("%5" PRIu32 " %9" PRIu64 " %7" PRIu64 " %9" PRIu64 " %7" PRIu64 " %9" PRIu64 " %8" PRIu64 " %20s %22s\n", number + 1,
               seen.answered, seen.failed, seen.refused, seen.shrunk, seen.degraded, now - evicted, again, wait);
        evicted = now;
        add(&total, &seen);
    }
    plimsoll_memory full = memory_of(runtime);
    show_ledger("between", &full);
    for (uint32_t i = 0; i < sessions; i++) plimsoll_session_free(all[i].session);
    plimsoll_memory after = memory_of(runtime);
    /* A closed session's KV comes back when its engine answers. */
    for (int i = 0; i < 1000 && after.used_bytes != before.used_bytes; i++) {
        pause_ms(10);
        after = memory_of(runtime);
    }
    show_ledger("after", &after);
    uint64_t wanted = (uint64_t)sessions * turns;
    printf("%" PRIu64 " of %" PRIu64 " answered, %" PRIu64 " failed; at most %s of %s leased\n", total.answered, wanted, total.failed,
           HUMAN(after.peak_bytes), HUMAN(after.limit_bytes));
    bool kept = total.answered == wanted && after.peak_bytes <= after.limit_bytes && after.used_bytes == before.used_bytes;
    puts(kept ? "the promise was kept" : "THE PROMISE WAS BROKEN");
    free(waits);
    free(all);
    plimsoll_model_unload(model);
    plimsoll_runtime_free(runtime);
    return kept ? 0 : 1;
}
