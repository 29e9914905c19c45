/* A plug-in engine through the C ABI: turns, eviction, reclaims that are late, faults that stay with their request. */
#include "check.h"

#include "lookup/lookup.h"

#include <pthread.h>

SUITE("plugin");

/* More than what is said in two short conversations takes, and less than a session of blocks. */
#define TALK 3072

static plimsoll_runtime *runtime;

static plimsoll_model *attach_table(const plimsoll_engine_table *table, lookup_options *options, const char *text_path) {
    plimsoll_model *model = NULL;
    CHECK_OK(plimsoll_model_attach(runtime, "lookup", 6, text_path, strlen(text_path), table, options, NULL, NULL, &model, &error));
    REQUIRE(model != NULL);
    return model;
}

static plimsoll_model *attach(lookup_options options) {
    plimsoll_engine_table table = lookup_table();
    return attach_table(&table, &options, "");
}

static plimsoll_request *ids_of(uint32_t first, size_t count, uint32_t max_tokens) {
    uint32_t ids[256];
    plimsoll_request *request = NULL;
    REQUIRE(count <= 256 && plimsoll_request_new(&request, NULL) == PLIMSOLL_OK);
    for (size_t i = 0; i < count; i++) ids[i] = first + (uint32_t)i % 7;
    CHECK_OK(plimsoll_request_set_tokens(request, ids, count, &error));
    CHECK_OK(plimsoll_request_set_max_tokens(request, max_tokens, &error));
    CHECK_OK(plimsoll_request_set_min_tokens(request, max_tokens, &error));
    return request;
}

static uint64_t blocks_for(uint64_t tokens) {
    return (tokens + LOOKUP_BLOCK_TOKENS - 1) / LOOKUP_BLOCK_TOKENS * lookup_block_bytes();
}

/* What the ledger says is what the plug-in's allocators hold, and its cache saves the next turn. */
static void turns(void) {
    plimsoll_model *model = attach((lookup_options){0});
    plimsoll_model_facts facts = facts_of(model);
    CHECK_EQ(facts.engine.len, 6);
    CHECK_EQ(facts.vocab_size, 1000);
    CHECK_EQ(memory_of(runtime).workspace_bytes, facts.workspace_bytes);
    plimsoll_session *session = open_session(model);
    plimsoll_request *request = ids_of(5, 20, 9);
    answer *first = run(session, request);
    CHECK_EQ(first->token_count, 9);
    CHECK_EQ(first->tokens[0], 5 + 20 % 7); /* the ids go round */
    CHECK_EQ(first->result.cached_tokens, 0);
    CHECK_EQ(first->text_len, 0); /* a model of ids only */
    CHECK_EQ(plimsoll_session_kv_bytes(session), blocks_for(20 + 9 - 1));
    check_idle(runtime, model);
    answer *second = run(session, request);
    CHECK_EQ(second->result.cached_tokens, 20 + 9 - 1);
    CHECK_EQ(plimsoll_session_kv_bytes(session), blocks_for(20 + 9 + 20 + 9 - 1));
    check_idle(runtime, model);
    uint64_t freed = 0;
    CHECK_OK(plimsoll_session_evict(session, &freed, &error));
    CHECK_EQ(freed, blocks_for(20 + 9 + 20 + 9 - 1));
    check_idle(runtime, model);
    free(first), free(second);
    plimsoll_request_free(request);
    request = request_of("hello", 4);
    CHECK_ERROR(PLIMSOLL_ERR_TEMPLATE, plimsoll_generate(session, request, NULL, NULL, NULL, NULL, NULL, &error));
    CHECK_OK(plimsoll_request_set_text(request, "hello", 5, &error));
    CHECK_ERROR(PLIMSOLL_ERR_TOKENIZER, plimsoll_generate(session, request, NULL, NULL, NULL, NULL, NULL, &error));
    plimsoll_request_free(request);
    plimsoll_session_free(session);
    plimsoll_model_unload(model);
    CHECK_EQ(memory_of(runtime).used_bytes, 0);
}

/* Each of several answers is a session of its own for the plug-in, the others with nothing to keep; the conversation has the first.
 * There are more than its lanes and its queue have places for. */
enum { MANY = 16 };

static void several_answers(void) {
    plimsoll_model *model = attach((lookup_options){0});
    plimsoll_session *session = open_session(model);
    plimsoll_request *request = ids_of(5, 20, 9);
    plimsoll_verdict alone = what_if(session, request);
    CHECK_OK(plimsoll_request_set_answers(request, MANY, &error));
    plimsoll_verdict all = what_if(session, request);
    CHECK_EQ(all.bytes_asked, MANY * alone.bytes_asked);
    for (int turn = 0; turn < 2; turn++) {
        plimsoll_stream *stream = NULL;
        plimsoll_event event = {.struct_size = sizeof event};
        uint32_t tokens[MANY] = {0};
        CHECK_OK(plimsoll_stream_start(session, request, NULL, NULL, &stream, &error));
        do {
            event.kind = PLIMSOLL_EVENT_END;
            CHECK_OK(plimsoll_stream_next(stream, -1, &event, &error));
            tokens[event.answer % MANY] += event.kind == PLIMSOLL_EVENT_TOKEN;
        } while (event.kind != PLIMSOLL_EVENT_END);
        for (uint32_t i = 0; i < MANY; i++) {
            plimsoll_result result = {.struct_size = sizeof result};
            CHECK_OK(plimsoll_stream_answer(stream, i, &result, NULL, &error));
            CHECK_EQ(result.ending, PLIMSOLL_ENDING_LENGTH);
            CHECK_EQ(tokens[i], 9);
            CHECK(i == 0 || result.cached_tokens == 0);
        }
        plimsoll_stream_free(stream);
        CHECK_EQ(plimsoll_session_kv_bytes(session), blocks_for((uint64_t)(turn + 1) * 29 - 1));
        check_idle(runtime, model);
    }
    plimsoll_request_free(request);
    plimsoll_session_free(session);
    plimsoll_model_unload(model);
    CHECK_EQ(memory_of(runtime).used_bytes, 0);
}

/* With a model's text, messages go in and text comes out. */
static void text_of_a_model(void) {
    lookup_options options = {.vocab_size = 1 << 20};
    plimsoll_engine_table table = lookup_table();
    plimsoll_model *model = attach_table(&table, &options, SLOW);
    plimsoll_session *session = open_session(model);
    plimsoll_request *request = request_of("one two three one two", 4);
    answer *a = run(session, request);
    CHECK_EQ(a->token_count, 4);
    CHECK(a->text_len > 0);
    free(a);
    plimsoll_request_free(request);
    plimsoll_session_free(session);
    plimsoll_model_unload(model);
    plimsoll_model *none = NULL;
    CHECK_ERROR(PLIMSOLL_ERR_MODEL_NOT_FOUND,
                plimsoll_model_attach(runtime, "a", 1, "no/such", 7, &table, NULL, NULL, NULL, &none, &error));
    CHECK(none == NULL);
}

/* Idle sessions give their blocks back for others; what does not fit is refused with its numbers. */
static void sessions_make_room(void) {
    plimsoll_runtime *all = runtime;
    lookup_options options = {.context_length = 256, .max_sequences = 1};
    plimsoll_model *model = attach(options);
    uint64_t fixed = memory_of(runtime).used_bytes;
    plimsoll_model_unload(model);
    runtime = runtime_of_bytes(fixed + 10 * lookup_block_bytes() + 1024 + TALK);
    model = attach(options);
    plimsoll_session *holds = open_session(model), *wants = open_session(model);
    plimsoll_request *request = ids_of(5, 100, 12);
    free(run(holds, request));
    CHECK_EQ(plimsoll_session_kv_bytes(holds), blocks_for(111));
    free(run(wants, request));
    CHECK_EQ(plimsoll_session_kv_bytes(holds), 0);
    CHECK_EQ(memory_of(runtime).evictions, 1);
    check_idle(runtime, model);
    plimsoll_request_free(request);
    request = ids_of(5, 100, 12); /* with what was said before it never fits */
    plimsoll_error *error = NULL;
    CHECK_EQ(plimsoll_generate(holds, request, NULL, NULL, NULL, NULL, NULL, &error), PLIMSOLL_ERR_MEMORY_REFUSED);
    CHECK(plimsoll_error_bytes_asked(error) > plimsoll_error_bytes_free(error));
    plimsoll_error_free(error);
    plimsoll_request_free(request);
    plimsoll_session_free(holds);
    plimsoll_session_free(wants);
    plimsoll_model_unload(model);
    CHECK_EQ(memory_of(runtime).used_bytes, 0);
    plimsoll_runtime_free(runtime);
    runtime = all;
}

/* A reclaim that is not answered in time: the newcomer is refused and does not wait; the late answer counts. */
static const plimsoll_engine_host *lent_host;
static uint64_t asked_session, asked_bytes;
static int32_t (*load_of_lookup)(void *, const plimsoll_engine_host *, void **);
static int32_t (*reclaim_of_lookup)(void *, uint64_t, uint64_t, uint32_t);
static void *engine_of_lookup;

static int32_t load_and_note(void *user_data, const plimsoll_engine_host *host, void **engine) {
    lent_host = host;
    int32_t status = load_of_lookup(user_data, host, engine);
    engine_of_lookup = *engine;
    return status;
}

static int32_t reclaim_later(void *engine, uint64_t session, uint64_t bytes, uint32_t deadline_ms) {
    (void)engine;
    CHECK(deadline_ms >= 100);
    asked_session = session;
    asked_bytes = bytes;
    return PLIMSOLL_ERR_BUSY;
}

static void a_late_reclaim(void) {
    plimsoll_runtime *all = runtime;
    lookup_options options = {.context_length = 256, .max_sequences = 1};
    plimsoll_model *model = attach(options);
    uint64_t fixed = memory_of(runtime).used_bytes;
    plimsoll_model_unload(model);
    runtime = runtime_of_bytes(fixed + 10 * lookup_block_bytes() + 1024 + TALK);
    plimsoll_engine_table table = lookup_table();
    load_of_lookup = table.load;
    reclaim_of_lookup = table.reclaim;
    table.load = load_and_note;
    table.reclaim = reclaim_later;
    model = attach_table(&table, &options, "");
    plimsoll_session *holds = open_session(model), *wants = open_session(model);
    plimsoll_request *request = ids_of(5, 100, 12);
    free(run(holds, request));
    plimsoll_error *error = NULL;
    CHECK_EQ(plimsoll_generate(wants, request, NULL, NULL, NULL, NULL, NULL, &error), PLIMSOLL_ERR_MEMORY_REFUSED);
    CHECK(plimsoll_error_bytes_asked(error) > plimsoll_error_bytes_free(error));
    CHECK(plimsoll_error_retry_after_ms(error) > 0);
    plimsoll_error_free(error);
    CHECK_EQ(asked_session, plimsoll_session_id(holds));
    CHECK_EQ(asked_bytes, blocks_for(111));
    CHECK_EQ(reclaim_of_lookup(engine_of_lookup, asked_session, asked_bytes, 0), PLIMSOLL_OK);
    CHECK_EQ(lent_host->reclaimed(lent_host->context, asked_session), PLIMSOLL_OK);
    CHECK_EQ(lent_host->reclaimed(lent_host->context, asked_session), PLIMSOLL_ERR_INVALID_ARGUMENT);
    free(run(wants, request));
    CHECK_EQ(plimsoll_session_kv_bytes(holds), 0);
    plimsoll_request_free(request);
    plimsoll_session_free(holds);
    plimsoll_session_free(wants);
    plimsoll_model_unload(model); /* it has not answered for the session that was closed: its bytes return all the same */
    CHECK_EQ(memory_of(runtime).used_bytes, 0);
    plimsoll_runtime_free(runtime);
    runtime = all;
}

/* More than its lease: the request fails, the next engine's does not. */
static void more_than_its_lease(void) {
    plimsoll_model *greedy = attach((lookup_options){.appetite = 1}), *modest = attach((lookup_options){0});
    plimsoll_session *refused = open_session(greedy), *served = open_session(modest);
    plimsoll_request *request = ids_of(5, 20, 5);
    CHECK_ERROR(PLIMSOLL_ERR_ENGINE_FAILED, plimsoll_generate(refused, request, NULL, NULL, NULL, NULL, NULL, &error));
    check_idle(runtime, greedy);
    free(run(served, request));
    plimsoll_request_free(request);
    plimsoll_session_free(refused);
    plimsoll_session_free(served);
    plimsoll_model_unload(greedy);
    plimsoll_model_unload(modest);
    CHECK_EQ(memory_of(runtime).used_bytes, 0);
}

/* An engine that goes while requests run and wait ends them, and nothing stays booked. */
static void *generate_long(void *arg) {
    plimsoll_request *request = ids_of(5, 20, 200);
    plimsoll_status status = plimsoll_generate(arg, request, NULL, NULL, NULL, NULL, NULL, NULL);
    plimsoll_request_free(request);
    return status == PLIMSOLL_OK ? arg : NULL;
}

static void many_at_once(void) {
    plimsoll_model *model = attach((lookup_options){.step_us = 100, .max_sequences = 2});
    plimsoll_session *sessions[6];
    pthread_t threads[6];
    for (size_t i = 0; i < 6; i++) {
        sessions[i] = open_session(model);
        REQUIRE(pthread_create(&threads[i], NULL, generate_long, sessions[i]) == 0);
    }
    for (size_t i = 0; i < 6; i++) {
        void *served = NULL;
        pthread_join(threads[i], &served);
        CHECK(served == sessions[i]);
        plimsoll_session_free(sessions[i]);
    }
    plimsoll_session *session = open_session(model);
    plimsoll_request *request = ids_of(5, 20, 200);
    plimsoll_stream *stream = NULL;
    CHECK_OK(plimsoll_stream_start(session, request, NULL, NULL, &stream, &error));
    plimsoll_stream_free(stream); /* cancels it */
    plimsoll_request_free(request);
    plimsoll_session_free(session);
    plimsoll_model_unload(model);
    CHECK_EQ(memory_of(runtime).used_bytes, 0);
}

/* --- Tables that are no good --- */

static int dropped;
static void count_drop(void *user_data) {
    (void)user_data;
    dropped++;
}

static int32_t fails(void *user_data, const plimsoll_engine_host *host, void **engine) {
    (void)user_data, (void)host, (void)engine;
    return PLIMSOLL_ERR_OUT_OF_MEMORY;
}

static int32_t describes_nothing(void *user_data, plimsoll_engine_description *description) {
    (void)user_data, (void)description;
    return PLIMSOLL_OK;
}

static void refused(const plimsoll_engine_table *table, plimsoll_status wanted) {
    plimsoll_model *model = NULL;
    int before = dropped;
    CHECK_ERROR(wanted, plimsoll_model_attach(runtime, "a", 1, NULL, 0, table, NULL, count_drop, NULL, &model, &error));
    CHECK(model == NULL);
    CHECK_EQ(dropped, before + 1);
    CHECK_EQ(memory_of(runtime).used_bytes, 0);
}

static void tables_are_checked(void) {
    const plimsoll_engine_table good = lookup_table();
    plimsoll_engine_table table;
    refused(NULL, PLIMSOLL_ERR_NULL_POINTER);
    table = good, table.struct_size = 8;
    refused(&table, PLIMSOLL_ERR_INVALID_STRUCT_SIZE);
    table = good, table.abi_version = PLIMSOLL_ENGINE_ABI_VERSION + 1;
    refused(&table, PLIMSOLL_ERR_UNSUPPORTED);
    table = good, table.estimate = NULL;
    refused(&table, PLIMSOLL_ERR_INVALID_ARGUMENT);
    table = good, table.describe = describes_nothing;
    refused(&table, PLIMSOLL_ERR_INVALID_ARGUMENT);
    table = good, table.load = fails;
    refused(&table, PLIMSOLL_ERR_OUT_OF_MEMORY);

    plimsoll_runtime *tight = runtime_of_bytes(64);
    plimsoll_model *model = NULL;
    int before = dropped;
    CHECK_ERROR(PLIMSOLL_ERR_MEMORY_REFUSED,
                plimsoll_model_attach(tight, "a", 1, NULL, 0, &good, NULL, count_drop, NULL, &model, &error));
    CHECK_EQ(dropped, before + 1);
    plimsoll_runtime_free(tight);
    CHECK_OK(plimsoll_model_attach(runtime, "a", 1, NULL, 0, &good, NULL, count_drop, NULL, &model, &error));
    CHECK_EQ(dropped, before + 1);
    plimsoll_model_unload(model);
    CHECK_EQ(dropped, before + 2);
    CHECK_EQ(memory_of(runtime).used_bytes, 0);
}

int main(void) {
    runtime = runtime_of_bytes(8 << 20);
    RUN(turns);
    RUN(several_answers);
    RUN(text_of_a_model);
    RUN(sessions_make_room);
    RUN(a_late_reclaim);
    RUN(more_than_its_lease);
    RUN(many_at_once);
    RUN(tables_are_checked);
    plimsoll_runtime_free(runtime);
    return RESULT();
}
