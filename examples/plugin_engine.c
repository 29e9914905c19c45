/* An engine of one's own under plimsoll's guard: lookup/, as a plug-in, in a budget of a few blocks. Shows what each turn finds,
 * what the ledger says after it, and what becomes of those who ask for more.
 *
 *     build/bin/plugin_engine [MODEL]
 *
 * MODEL, models/demo if it is not given, lends its tokenizer; its weights are not read. */
#include "lookup/lookup.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONTEXT = 1024, VOCABULARY = 1 << 20, BLOCKS = 26,
       /* Two sessions, and what is said in them. */
       TALK = 2600 };

/* Ends the program with the error's text when a call has failed. */
static void must(plimsoll_status status, plimsoll_error *error) {
    if (status == PLIMSOLL_OK) return;
    plimsoll_str text = plimsoll_error_message(error);
    fprintf(stderr, "plugin_engine: %.*s\n", (int)text.len, text.ptr);
    plimsoll_error_free(error);
    exit(1);
}

#define MUST(...)                              \
    do {                                       \
        plimsoll_error *error = NULL;          \
        plimsoll_status status = __VA_ARGS__;  \
        must(status, error);                   \
    } while (0)

static plimsoll_memory memory_of(const plimsoll_runtime *runtime) {
    plimsoll_memory memory = {.struct_size = sizeof memory};
    MUST(plimsoll_memory_stats(runtime, &memory, &error));
    return memory;
}

static void ledger(const plimsoll_runtime *runtime) {
    plimsoll_memory m = memory_of(runtime);
    printf("  ledger: %" PRIu64 " bytes of KV, %" PRIu64 " of workspace, %" PRIu64 " of requests; %" PRIu64 " free, %" PRIu64 " evictions\n",
           m.kv_bytes, m.workspace_bytes, m.request_bytes, m.free_bytes, m.evictions);
}

static plimsoll_runtime *runtime_of(uint64_t bytes) {
    plimsoll_config *config = NULL;
    plimsoll_runtime *runtime = NULL;
    char budget[24];
    int length = snprintf(budget, sizeof budget, "%" PRIu64, bytes);
    MUST(plimsoll_config_new(&config, &error));
    MUST(plimsoll_config_set(config, "memory.budget", 13, budget, (size_t)length, &error));
    MUST(plimsoll_config_set(config, "guard.threshold", 15, "1", 1, &error));
    MUST(plimsoll_config_set(config, "guard.reserve_mb", 16, "0", 1, &error));
    MUST(plimsoll_runtime_new(config, &runtime, &error));
    plimsoll_config_free(config);
    return runtime;
}

static plimsoll_model *attach(const plimsoll_runtime *runtime, const char *text_path, lookup_options options) {
    plimsoll_model *model = NULL;
    plimsoll_engine_table table = lookup_table();
    MUST(plimsoll_model_attach(runtime, "lookup", 6, text_path, strlen(text_path), &table, &options, NULL, NULL, &model, &error));
    plimsoll_str name = {NULL, 0};
    plimsoll_model_facts facts = {.struct_size = sizeof facts, .engine = name};
    MUST(plimsoll_model_get_facts(model, &facts, &error));
    printf("engine %.*s: a context of %u tokens, blocks of %" PRIu64 " bytes for %u tokens\n", (int)facts.engine.len, facts.engine.ptr,
           facts.context_length, lookup_block_bytes(), facts.block_tokens);
    return model;
}

static plimsoll_session *session_of(const plimsoll_model *model) {
    plimsoll_session *session = NULL;
    MUST(plimsoll_session_open(model, NULL, &session, &error));
    return session;
}

static int32_t print(const plimsoll_event *event, void *user_data) {
    (void)user_data;
    printf("%.*s", (int)event->text.len, event->text.ptr);
    return 0;
}

/* One turn of a session; what the guard or the engine refuses is told with its numbers. */
static void turn(const char *who, const plimsoll_session *session, const char *text, uint32_t max_tokens, uint32_t min_tokens) {
    plimsoll_request *request = NULL;
    plimsoll_result result = {.struct_size = sizeof result};
    plimsoll_error *failure = NULL;
    MUST(plimsoll_request_new(&request, &error));
    MUST(plimsoll_request_set_text(request, text, strlen(text), &error));
    MUST(plimsoll_request_set_max_tokens(request, max_tokens, &error));
    MUST(plimsoll_request_set_min_tokens(request, min_tokens, &error));
    MUST(plimsoll_request_set_ignore_eos(request, 1, &error));
    printf("%s: \"%s\" -> \"", who, text);
    plimsoll_status status = plimsoll_generate(session, request, NULL, NULL, max_tokens < 20 ? print : NULL, NULL, &result, &failure);
    if (status == PLIMSOLL_OK) {
        printf("%s\"\n  %u prompt tokens, %u of them held before, %u generated; %" PRIu64 " bytes of KV are kept\n",
               max_tokens < 20 ? "" : "...", result.prompt_tokens, result.cached_tokens, result.generated_tokens, result.kv_bytes);
    } else {
        plimsoll_str why = plimsoll_error_message(failure);
        printf("\"\n  refused: %.*s\n", (int)why.len, why.ptr);
        if (status == PLIMSOLL_ERR_MEMORY_REFUSED) {
            printf("  %" PRIu64 " bytes asked, %" PRIu64 " free; %u tokens would fit\n", plimsoll_error_bytes_asked(failure),
                   plimsoll_error_bytes_free(failure), plimsoll_error_fits_tokens(failure));
        }
        plimsoll_error_free(failure);
    }
    plimsoll_request_free(request);
}

int main(int argc, char **argv) {
    const char *text_path = argc > 1 ? argv[1] : "models/demo";
    const lookup_options options = {.context_length = CONTEXT, .vocab_size = VOCABULARY};
    /* Room for the workspace, some blocks, and as much for requests. */
    plimsoll_runtime *runtime = runtime_of(2 * BLOCKS * lookup_block_bytes() + TALK);
    plimsoll_model *model = attach(runtime, text_path, options);
    ledger(runtime);

    plimsoll_session *ada = session_of(model), *bob = session_of(model);
    turn("ada", ada, "the cat sat on the mat and the cat", 6, 6);
    ledger(runtime);
    turn("ada", ada, " and so did the", 4, 4);
    ledger(runtime);
    /* Needs what ada's idle session holds: the guard asks the plug-in for it. */
    turn("bob", bob, "a long answer takes the room that others only keep", 400, 400);
    ledger(runtime);
    turn("ada", ada, " who", 3, 3);
    turn("bob", bob, " more than there is", 500, 500);
    ledger(runtime);
    plimsoll_session_free(ada);
    plimsoll_session_free(bob);
    plimsoll_model_unload(model);

    /* One that asks for a byte more than its price: its request fails, and nothing else. */
    lookup_options greedy = options;
    greedy.appetite = 1;
    model = attach(runtime, text_path, greedy);
    plimsoll_session *eve = session_of(model);
    turn("eve", eve, "a byte more", 4, 4);
    plimsoll_session_free(eve);
    plimsoll_model_unload(model);
    printf("at the end %" PRIu64 " bytes are leased\n", memory_of(runtime).used_bytes);
    plimsoll_runtime_free(runtime);
    return 0;
}
