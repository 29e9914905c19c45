/* What the library holds of the process beyond the ledger: shown, and little. */
#include "check.h"

SUITE("host");

#define DEMO "models/demo"
enum { SESSIONS = 24, TURNS = 3 };

/* Bytes that lie idle in the pool: workspaces and rings for the next. */
static uint64_t idle_of(const plimsoll_runtime *runtime) {
    plimsoll_pool pool = {0};
    pool.struct_size = sizeof pool;
    CHECK_OK(plimsoll_pool_stats(runtime, &pool, &error));
    return pool.idle_bytes + pool.engine_idle_bytes;
}

/* No more than 1 MiB and a hundredth of what is leased. */
static void check_bound(const plimsoll_runtime *runtime, const char *when) {
    plimsoll_memory m = memory_of(runtime);
    uint64_t bound = ((uint64_t)1 << 20) + m.used_bytes / 100;
    if (m.unbooked_bytes > bound) {
        fprintf(stderr, "%s: %" PRIu64 " bytes are not leased, %" PRIu64 " may be; heap %" PRIu64 ", mapped %" PRIu64
                ", leased %" PRIu64 "\n", when, m.unbooked_bytes, bound, m.heap_bytes, m.mapped_bytes, m.used_bytes);
    }
    CHECK(m.unbooked_bytes <= bound);
    CHECK(m.heap_bytes > 0);
    uint64_t known = m.used_bytes + idle_of(runtime);
    CHECK(m.heap_bytes + m.mapped_bytes == known + m.unbooked_bytes || m.unbooked_bytes == 0);
}

static plimsoll_model *load_path(const plimsoll_runtime *runtime, const char *path) {
    plimsoll_model *model = NULL;
    CHECK_OK(plimsoll_model_load(runtime, "demo", 4, path, strlen(path), NULL, NULL, NULL, &model, &error));
    REQUIRE(model != NULL);
    return model;
}

static void what_no_lease_pays_for_is_little(void) {
    plimsoll_runtime *runtime = runtime_of(NULL);
    check_bound(runtime, "a runtime");
    plimsoll_model *model = load_path(runtime, DEMO);
    check_bound(runtime, "a model");
    plimsoll_memory loaded = memory_of(runtime);
    plimsoll_model_facts facts = facts_of(model);
    CHECK_EQ(loaded.text_bytes + loaded.tables_bytes, facts.host_bytes);
    /* The demo's vocabulary of 2,048 tokens with its patterns. */
    CHECK(loaded.text_bytes > 256 << 10 && loaded.text_bytes < 4 << 20);
    /* The workspace is mapped, all but some lists, and in memory from the start. */
    CHECK(loaded.mapped_bytes > loaded.workspace_bytes / 2 && loaded.mapped_bytes <= loaded.workspace_bytes);
    CHECK(loaded.resident_bytes <= loaded.mapped_bytes && loaded.resident_bytes >= loaded.mapped_bytes / 10 * 9);

    plimsoll_session *sessions[SESSIONS];
    for (int i = 0; i < SESSIONS; i++) {
        sessions[i] = open_session(model);
    }
    uint64_t talk = 0;
    for (int turn = 0; turn < TURNS; turn++) {
        for (int i = 0; i < SESSIONS; i++) {
            plimsoll_request *request = request_of("What is a lease, and who pays for it?", 12);
            free(run(sessions[i], request));
            plimsoll_request_free(request);
        }
        check_bound(runtime, "sessions that talk");
        CHECK(memory_of(runtime).talk_bytes > talk);
        talk = memory_of(runtime).talk_bytes;
    }
    for (int i = 0; i < SESSIONS; i++) {
        plimsoll_session_free(sessions[i]);
    }
    CHECK(kv_comes_back(runtime));
    CHECK_EQ(memory_of(runtime).talk_bytes, 0);
    check_bound(runtime, "closed sessions");
    plimsoll_model_unload(model);
    plimsoll_memory after = memory_of(runtime);
    CHECK_EQ(after.used_bytes, 0);
    check_bound(runtime, "no model");
    /* The workspace waits for the next load. */
    CHECK_EQ(after.mapped_bytes, loaded.mapped_bytes);
    CHECK(idle_of(runtime) > after.mapped_bytes);
    uint64_t idle = idle_of(runtime);
    CHECK_EQ(plimsoll_pool_trim(runtime), idle);
    CHECK_EQ(memory_of(runtime).mapped_bytes, 0);
    check_bound(runtime, "nothing idle");
    plimsoll_runtime_free(runtime);
}

/* What is left when models come and go does not grow. */
static void rounds_leave_nothing(void) {
    plimsoll_runtime *runtime = runtime_of(NULL);
    plimsoll_memory first = {0};
    for (int round = 0; round < 6; round++) {
        plimsoll_model *model = load_path(runtime, DEMO);
        plimsoll_session *session = open_session(model);
        plimsoll_request *request = request_of("hello", 2);
        free(run(session, request));
        plimsoll_request_free(request);
        plimsoll_session_free(session);
        CHECK(kv_comes_back(runtime));
        plimsoll_model_unload(model);
        plimsoll_memory now = memory_of(runtime);
        CHECK_EQ(now.used_bytes, 0);
        if (round == 0) {
            first = now;
        }
        CHECK(now.heap_bytes <= first.heap_bytes + 4096 && now.mapped_bytes == first.mapped_bytes);
    }
    /* Each round used the workspace and the ring of the one before. */
    plimsoll_pool pool = {0};
    pool.struct_size = sizeof pool;
    CHECK_OK(plimsoll_pool_stats(runtime, &pool, &error));
    CHECK_EQ(pool.engine_misses, 2);
    CHECK_EQ(pool.engine_hits, 2 * 5);
    CHECK_EQ(pool.engine_buffers_idle, 2);
    CHECK(plimsoll_pool_trim(runtime) > 0);
    CHECK_EQ(memory_of(runtime).mapped_bytes, 0);
    plimsoll_runtime_free(runtime);
}

int main(void) {
    RUN(what_no_lease_pays_for_is_little);
    RUN(rounds_leave_nothing);
    return RESULT();
}
