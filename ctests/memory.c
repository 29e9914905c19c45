/* Budgets: shrinking, refusing, evicting, and the numbers that tell of it. */
#include "check.h"

#include <math.h>

SUITE("memory");

/* What a loaded TINY takes. */
static uint64_t model_bytes;

/* More than two short conversations take, and less than a block of KV. */
#define TALK 4096

static void statistics(void) {
    plimsoll_runtime *runtime = runtime_of_bytes(64 << 20);
    plimsoll_memory memory = memory_of(runtime);
    CHECK_EQ(memory.capacity_bytes, 64 << 20);
    CHECK_EQ(memory.limit_bytes, 64 << 20);
    CHECK_EQ(memory.free_bytes, 64 << 20);
    CHECK_EQ(memory.used_bytes, 0);
    plimsoll_model *model = load(runtime);
    plimsoll_session *session = open_session(model);
    plimsoll_request *request = request_of("hello", 8);
    free(run(session, request));
    memory = memory_of(runtime);
    plimsoll_model_facts facts = facts_of(model);
    CHECK_EQ(memory.weights_bytes, facts.weights_bytes);
    CHECK_EQ(memory.workspace_bytes, facts.workspace_bytes);
    CHECK_EQ(memory.kv_bytes, facts.kv_bytes);
    CHECK_EQ(memory.kv_bytes, plimsoll_session_kv_bytes(session));
    CHECK_EQ(memory.request_bytes, 0);
    CHECK_EQ(memory.text_bytes + memory.tables_bytes, facts.host_bytes);
    CHECK_EQ(memory.used_bytes, memory.weights_bytes + memory.workspace_bytes + memory.kv_bytes + facts.host_bytes);
    CHECK_EQ(memory.free_bytes, memory.limit_bytes - memory.used_bytes - memory.talk_bytes);
    CHECK(memory.peak_bytes > memory.used_bytes);
    CHECK_EQ(memory.active_sessions, 1);
    CHECK_EQ(memory.accepted_count, 1);

    plimsoll_text *text = NULL;
    CHECK_OK(plimsoll_memory_stats_json(runtime, &text, &error));
    plimsoll_str json = plimsoll_text_str(text);
    char *copy = calloc(1, json.len + 1);
    REQUIRE(copy != NULL);
    memcpy(copy, json.ptr, json.len);
    static const char *const members[] = {"active_sessions", "total_kv_mb", "gpu_usage", "gpu_free_mb", "session_details",
                                          "gpu_memory", "rejected_count", "routed_count", "degraded_count", "evictions",
                                          "ledger", "process", "mapped_bytes", "resident_bytes", "unbooked_bytes", "talk_bytes"};
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        CHECK(strstr(copy, members[i]) != NULL);
    }
    free(copy);
    plimsoll_text_free(text);

    CHECK_EQ(plimsoll_can_allocate(runtime, memory.free_bytes, 0), 1);
    CHECK_EQ(plimsoll_can_allocate(runtime, memory.free_bytes + 1, 0), 0);
    CHECK_EQ(plimsoll_can_allocate(runtime, memory.free_bytes, 0.1), 0);
    CHECK_EQ(plimsoll_can_allocate(runtime, memory.free_bytes / 2, 0.5), 1);
    CHECK_EQ(plimsoll_can_allocate(runtime, memory.free_bytes / 2, 1.5), 0);
    /* A margin that is negative or no number is none. */
    CHECK_EQ(plimsoll_can_allocate(runtime, memory.free_bytes, -1), 1);
    CHECK_EQ(plimsoll_can_allocate(runtime, memory.free_bytes + 1, (double)NAN), 0);
    CHECK_EQ(plimsoll_is_low_memory(runtime, 0.99), 0);
    CHECK_EQ(plimsoll_is_low_memory(runtime, 0), 1);

    plimsoll_request_free(request);
    plimsoll_session_free(session);
    CHECK(kv_comes_back(runtime));
    plimsoll_model_unload(model);
    CHECK_EQ(memory_of(runtime).used_bytes, 0);
    plimsoll_runtime_free(runtime);
}

/* A load that does not fit is refused with its numbers; with just enough it loads. */
static void a_load_is_refused(void) {
    plimsoll_runtime *runtime = runtime_of_bytes(model_bytes - 1);
    const char *const pairs[] = {"native.threads", "2", "native.max_sequences", "16", NULL};
    plimsoll_config *config = config_of(pairs);
    plimsoll_model *model = NULL;
    plimsoll_error *error = NULL;
    CHECK_EQ(plimsoll_model_load(runtime, "test", 4, TINY, strlen(TINY), config, NULL, NULL, &model, &error),
             PLIMSOLL_ERR_MEMORY_REFUSED);
    CHECK(model == NULL);
    CHECK_EQ(plimsoll_error_section(error), PLIMSOLL_SECTION_MEMORY);
    CHECK(plimsoll_error_bytes_asked(error) > plimsoll_error_bytes_free(error));
    plimsoll_error_free(error);
    plimsoll_config_free(config);
    CHECK_EQ(memory_of(runtime).used_bytes, 0);
    plimsoll_runtime_free(runtime);

    runtime = runtime_of_bytes(model_bytes);
    model = load(runtime);
    CHECK_EQ(memory_of(runtime).free_bytes, 0);
    /* Now there is no room for any request. */
    plimsoll_session *session = open_session(model);
    plimsoll_request *request = request_of("hello", 8);
    plimsoll_verdict verdict = what_if(session, request);
    CHECK_EQ(verdict.decision, PLIMSOLL_DECISION_REJECT);
    CHECK(reason_is(&verdict, "budget"));
    CHECK(verdict.bytes_asked > 0 && verdict.bytes_free == 0 && verdict.granted_tokens == 0);
    CHECK_EQ(verdict.fits_tokens, 0);
    CHECK_EQ(verdict.retry_after_ms, -1);
    error = NULL;
    CHECK_EQ(plimsoll_generate(session, request, NULL, NULL, NULL, NULL, NULL, &error), PLIMSOLL_ERR_MEMORY_REFUSED);
    CHECK_EQ(plimsoll_error_bytes_asked(error), verdict.bytes_asked);
    CHECK_EQ(plimsoll_error_bytes_free(error), 0);
    CHECK_EQ(plimsoll_error_fits_tokens(error), 0);
    CHECK_EQ(plimsoll_error_retry_after_ms(error), -1);
    plimsoll_error_free(error);
    CHECK_EQ(memory_of(runtime).rejected_count, 1);
    plimsoll_request_free(request);
    plimsoll_session_free(session);
    plimsoll_model_unload(model);
    plimsoll_runtime_free(runtime);
}

/* With room for a short answer a long one is shrunk to it, and runs to its last token. */
static void a_request_is_shrunk(void) {
    plimsoll_runtime *wide = runtime_of_bytes(256 << 20);
    plimsoll_model *model = load(wide);
    plimsoll_session *session = open_session(model);
    plimsoll_request *request = request_of("hello", 50);
    uint64_t bytes = what_if(session, request).bytes_asked;
    plimsoll_session_free(session);
    plimsoll_model_unload(model);
    plimsoll_runtime_free(wide);

    plimsoll_runtime *runtime = runtime_of_bytes(model_bytes + bytes + TALK);
    model = load(runtime);
    session = open_session(model);
    CHECK_EQ(what_if(session, request).decision, PLIMSOLL_DECISION_ACCEPT);
    CHECK_OK(plimsoll_request_set_max_tokens(request, 200, &error));
    plimsoll_verdict verdict = what_if(session, request);
    CHECK_EQ(verdict.decision, PLIMSOLL_DECISION_SHRINK);
    CHECK(reason_is(&verdict, "budget"));
    CHECK_EQ(verdict.asked_tokens, 200);
    CHECK(verdict.granted_tokens >= 50 && verdict.granted_tokens < 200);
    CHECK_EQ(verdict.fits_tokens, verdict.granted_tokens);
    answer *a = run(session, request);
    CHECK_EQ(a->result.decision, PLIMSOLL_DECISION_SHRINK);
    CHECK_EQ(a->result.ending, PLIMSOLL_ENDING_LENGTH);
    CHECK_EQ(a->result.generated_tokens, verdict.granted_tokens);
    free(a);
    CHECK_EQ(memory_of(runtime).shrunk_count, 1);

    /* Who wants all of it or nothing is refused, and told what would fit. */
    CHECK_OK(plimsoll_session_reset(session, &error));
    CHECK_OK(plimsoll_request_set_min_tokens(request, 200, &error));
    plimsoll_error *error = NULL;
    CHECK_EQ(plimsoll_generate(session, request, NULL, NULL, NULL, NULL, NULL, &error), PLIMSOLL_ERR_MEMORY_REFUSED);
    CHECK_EQ(plimsoll_error_fits_tokens(error), verdict.granted_tokens);
    uint64_t left = bytes + TALK - memory_of(runtime).talk_bytes;
    CHECK_EQ(plimsoll_error_bytes_free(error), left);
    CHECK(plimsoll_error_bytes_asked(error) > left);
    plimsoll_error_free(error);
    CHECK_EQ(memory_of(runtime).rejected_count, 1);
    check_idle(runtime, model);
    plimsoll_request_free(request);
    plimsoll_session_free(session);
    plimsoll_model_unload(model);
    plimsoll_runtime_free(runtime);
}

/* A session that lost its KV answers as if it had not. */
static void evicted_and_recomputed(void) {
    plimsoll_runtime *runtime = runtime_of(NULL);
    plimsoll_model *model = load(runtime);
    plimsoll_session *kept = open_session(model), *lost = open_session(model);
    plimsoll_request *first = request_of("hello", 20), *second = request_of("and now?", 20);
    free(run(kept, first));
    free(run(lost, first));
    uint64_t held = plimsoll_session_kv_bytes(lost), freed = 0;
    CHECK_OK(plimsoll_session_evict(lost, &freed, &error));
    CHECK(freed == held && held > 0);
    CHECK_EQ(plimsoll_session_kv_bytes(lost), 0);
    answer *a = run(kept, second), *b = run(lost, second);
    CHECK(same_tokens(a, b));
    CHECK_EQ(a->result.prompt_tokens, b->result.prompt_tokens);
    CHECK(a->result.cached_tokens > 0);
    CHECK_EQ(b->result.cached_tokens, 0);
    CHECK_EQ(memory_of(runtime).evictions, 1);
    check_idle(runtime, model);
    free(a), free(b);
    plimsoll_request_free(first), plimsoll_request_free(second);
    plimsoll_session_free(kept), plimsoll_session_free(lost);
    plimsoll_model_unload(model);
    plimsoll_runtime_free(runtime);
}

/* With room for the KV of one session, the idle one gives its KV to the one that runs. */
static void the_idle_give_way(void) {
    plimsoll_runtime *wide = runtime_of_bytes(256 << 20);
    plimsoll_model *model = load(wide);
    plimsoll_session *one = open_session(model);
    plimsoll_request *request = request_of("hello", 100);
    uint64_t bytes = what_if(one, request).bytes_asked;
    plimsoll_session_free(one);
    plimsoll_model_unload(model);
    plimsoll_runtime_free(wide);

    plimsoll_runtime *runtime = runtime_of_bytes(model_bytes + bytes + TALK);
    model = load(runtime);
    one = open_session(model);
    plimsoll_session *two = open_session(model);
    answer *a = run(one, request);
    uint64_t held = plimsoll_session_kv_bytes(one);
    plimsoll_verdict verdict = what_if(two, request);
    CHECK_EQ(verdict.decision, PLIMSOLL_DECISION_ACCEPT);
    CHECK_EQ(verdict.evict_sessions, 1);
    CHECK_EQ(verdict.evict_bytes, held);
    CHECK_EQ(plimsoll_session_kv_bytes(one), held);
    answer *b = run(two, request);
    CHECK(same_tokens(a, b));
    CHECK_EQ(plimsoll_session_kv_bytes(one), 0);
    CHECK_EQ(memory_of(runtime).evictions, 1);
    check_idle(runtime, model);
    free(a), free(b);
    plimsoll_request_free(request);
    plimsoll_session_free(one), plimsoll_session_free(two);
    plimsoll_model_unload(model);
    plimsoll_runtime_free(runtime);
}

/* What a closed session held is there for the next one, although the engine gives it back in its own time. */
static void the_closed_give_way(void) {
    plimsoll_runtime *wide = runtime_of_bytes(256 << 20);
    plimsoll_model *model = load(wide);
    plimsoll_session *session = open_session(model);
    plimsoll_request *request = request_of("hello", 100);
    uint64_t bytes = what_if(session, request).bytes_asked;
    plimsoll_session_free(session);
    plimsoll_model_unload(model);
    plimsoll_runtime_free(wide);

    plimsoll_runtime *runtime = runtime_of_bytes(model_bytes + bytes + TALK);
    model = load(runtime);
    for (int i = 0; i < 5; i++) {
        session = open_session(model);
        answer *a = run(session, request);
        CHECK_EQ(a->result.decision, PLIMSOLL_DECISION_ACCEPT);
        CHECK_EQ(a->result.generated_tokens, 100);
        free(a);
        plimsoll_session_free(session);
    }
    plimsoll_request_free(request);
    plimsoll_model_unload(model);
    plimsoll_runtime_free(runtime);
}

/* A session has at most what its own limit allows, whatever is free. */
static void a_session_has_its_limit(void) {
    plimsoll_runtime *runtime = runtime_of(NULL);
    plimsoll_model *model = load(runtime);
    const char *const pairs[] = {"session.kv_limit_mb", "0", NULL};
    plimsoll_config *config = config_of(pairs);
    plimsoll_session *session = NULL;
    CHECK_OK(plimsoll_session_open(model, config, &session, &error));
    plimsoll_config_free(config);
    plimsoll_request *request = request_of("hello", 8);
    plimsoll_verdict verdict = what_if(session, request);
    CHECK_EQ(verdict.decision, PLIMSOLL_DECISION_REJECT);
    CHECK(reason_is(&verdict, "session_limit"));
    CHECK_EQ(verdict.retry_after_ms, -1);
    CHECK_ERROR(PLIMSOLL_ERR_MEMORY_REFUSED, plimsoll_generate(session, request, NULL, NULL, NULL, NULL, NULL, &error));
    plimsoll_request_free(request);
    plimsoll_session_free(session);
    plimsoll_model_unload(model);
    plimsoll_runtime_free(runtime);
}

int main(void) {
    plimsoll_runtime *runtime = runtime_of(NULL);
    plimsoll_model *model = load(runtime);
    plimsoll_model_facts facts = facts_of(model);
    model_bytes = facts.weights_bytes + facts.workspace_bytes + facts.host_bytes;
    plimsoll_model_unload(model);
    plimsoll_runtime_free(runtime);
    RUN(statistics);
    RUN(a_load_is_refused);
    RUN(a_request_is_shrunk);
    RUN(evicted_and_recomputed);
    RUN(the_idle_give_way);
    RUN(the_closed_give_way);
    RUN(a_session_has_its_limit);
    return RESULT();
}
