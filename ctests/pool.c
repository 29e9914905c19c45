/* The pool: buffers within the budget, used again, given back when their room is needed. */
#include "check.h"

SUITE("pool");

static plimsoll_pool pool_of(const plimsoll_runtime *runtime) {
    plimsoll_pool pool = {0};
    pool.struct_size = sizeof pool;
    CHECK_OK(plimsoll_pool_stats(runtime, &pool, &error));
    CHECK_EQ(pool.struct_size, sizeof pool);
    return pool;
}

static void used_again(void) {
    plimsoll_runtime *runtime = runtime_of_bytes(64 << 20);
    plimsoll_buffer *buffer = NULL;
    CHECK_OK(plimsoll_pool_acquire(runtime, 150000, &buffer, &error));
    CHECK_EQ(plimsoll_buffer_size(buffer), 200 << 10);
    unsigned char *bytes = plimsoll_buffer_data(buffer);
    REQUIRE(bytes != NULL);
    CHECK_EQ((uintptr_t)bytes % 4096, 0);
    CHECK_EQ(bytes[0], 0);
    memset(bytes, 7, plimsoll_buffer_size(buffer));
    plimsoll_pool pool = pool_of(runtime);
    CHECK_EQ(pool.in_use_bytes, 200 << 10);
    CHECK_EQ(pool.buffers_in_use, 1);
    CHECK_EQ(pool.misses, 1);
    CHECK_EQ(memory_of(runtime).used_bytes, 200 << 10);
    plimsoll_pool_release(buffer);
    CHECK_EQ(memory_of(runtime).used_bytes, 0);

    /* Freed parents: the buffer keeps what it needs. */
    CHECK_OK(plimsoll_pool_acquire(runtime, 200000, &buffer, &error));
    CHECK(plimsoll_buffer_data(buffer) == bytes);
    CHECK_EQ(bytes[0], 7);
    pool = pool_of(runtime);
    CHECK_EQ(pool.hits, 1);
    CHECK_EQ(pool.pool_limit_bytes, (uint64_t)2048 << 20);
    plimsoll_runtime_free(runtime);
    bytes[0] = 8;
    plimsoll_pool_release(buffer);
}

static void given_back(void) {
    plimsoll_runtime *runtime = runtime_of_bytes(16 << 20);
    plimsoll_buffer *small = NULL, *large = NULL;
    plimsoll_error *refused = NULL;
    CHECK_OK(plimsoll_pool_acquire(runtime, 8 << 20, &large, &error));
    plimsoll_pool_release(large);
    CHECK_EQ(pool_of(runtime).idle_bytes, 8 << 20);
    /* What lies idle is in nobody's way: 10 MiB fit, for which it has to go. */
    CHECK_OK(plimsoll_pool_acquire(runtime, 10 << 20, &large, &error));
    plimsoll_pool pool = pool_of(runtime);
    CHECK_EQ(pool.idle_bytes, 0);
    CHECK_EQ(pool.pool_evictions, 1);
    CHECK_EQ(plimsoll_pool_acquire(runtime, 7 << 20, &small, &refused), PLIMSOLL_ERR_MEMORY_REFUSED);
    CHECK_EQ(plimsoll_error_bytes_asked(refused), 7 << 20);
    CHECK_EQ(plimsoll_error_bytes_free(refused), 6 << 20);
    plimsoll_error_free(refused);
    plimsoll_pool_release(large);
    CHECK_EQ(pool_of(runtime).buffers_idle, 1);
    CHECK_EQ(plimsoll_pool_trim(runtime), 10 << 20);
    CHECK_EQ(pool_of(runtime).idle_bytes, 0);
    plimsoll_runtime_free(runtime);
}

/* What nobody takes goes back by itself. The first rounds of the library's timer find it too young. */
static void swept(void) {
    const char *const pairs[] = {"guard.pool_timeout_s", "1", NULL};
    plimsoll_runtime *runtime = runtime_of(pairs);
    plimsoll_buffer *buffer = NULL;
    CHECK_OK(plimsoll_pool_acquire(runtime, 1 << 20, &buffer, &error));
    plimsoll_pool_release(buffer);
    plimsoll_pool pool = pool_of(runtime);
    for (int i = 0; i < 10000 && pool.idle_bytes > 0; i++) {
        pause_briefly();
        pool = pool_of(runtime);
    }
    CHECK_EQ(pool.idle_bytes, 0);
    CHECK_EQ(pool.pool_evictions, 1);
    plimsoll_runtime_free(runtime);
}

/* The library's own memory has figures of its own, and leaves those of the host's buffers alone. */
static void the_librarys_own(void) {
    plimsoll_runtime *runtime = runtime_of(NULL);
    uint64_t workspace = 0;
    for (int round = 0; round < 2; round++) {
        plimsoll_model *model = load(runtime);
        plimsoll_session *session = open_session(model);
        plimsoll_pool pool = pool_of(runtime);
        CHECK_EQ(pool.engine_buffers_in_use, 1);
        CHECK(pool.engine_in_use_bytes > 1 << 20);
        CHECK(round == 0 || pool.engine_in_use_bytes == workspace);
        workspace = pool.engine_in_use_bytes;
        for (int turn = 0; turn < 2; turn++) {
            plimsoll_request *request = request_of("hello", 3);
            free(run(session, request));
            plimsoll_request_free(request);
        }
        plimsoll_session_free(session);
        CHECK(kv_comes_back(runtime));
        plimsoll_model_unload(model);
        pool = pool_of(runtime);
        CHECK_EQ(pool.engine_in_use_bytes, 0);
        CHECK_EQ(pool.engine_buffers_idle, 2);
        CHECK(pool.engine_idle_bytes > workspace);
        CHECK_EQ(pool.engine_misses, 2);
        CHECK_EQ(pool.engine_hits, round == 0 ? 1 : 4);
        CHECK_EQ(pool.misses + pool.hits + pool.idle_bytes + pool.in_use_bytes, 0);
    }
    CHECK(plimsoll_pool_trim(runtime) > workspace);
    CHECK_EQ(pool_of(runtime).engine_evictions, 2);
    CHECK_EQ(pool_of(runtime).pool_evictions, 0);
    plimsoll_runtime_free(runtime);
}

static void without_sense(void) {
    plimsoll_runtime *runtime = runtime_of_bytes(16 << 20);
    plimsoll_buffer *buffer = NULL;
    CHECK_EQ(plimsoll_pool_acquire(runtime, 0, &buffer, NULL), PLIMSOLL_ERR_INVALID_ARGUMENT);
    CHECK_EQ(plimsoll_pool_acquire(runtime, SIZE_MAX, &buffer, NULL), PLIMSOLL_ERR_INVALID_ARGUMENT);
    CHECK_EQ(plimsoll_pool_acquire(NULL, 1, &buffer, NULL), PLIMSOLL_ERR_NULL_POINTER);
    CHECK_EQ(plimsoll_pool_acquire(runtime, 1, NULL, NULL), PLIMSOLL_ERR_NULL_POINTER);
    CHECK(buffer == NULL);
    plimsoll_pool pool = {0};
    CHECK_EQ(plimsoll_pool_stats(runtime, &pool, NULL), PLIMSOLL_ERR_INVALID_STRUCT_SIZE);
    CHECK_EQ(plimsoll_pool_stats(runtime, NULL, NULL), PLIMSOLL_ERR_NULL_POINTER);
    CHECK(plimsoll_buffer_data(NULL) == NULL);
    CHECK_EQ(plimsoll_buffer_size(NULL), 0);
    CHECK_EQ(plimsoll_pool_trim(NULL), 0);
    plimsoll_pool_release(NULL);
    plimsoll_runtime_free(runtime);
}

int main(void) {
    RUN(used_again);
    RUN(given_back);
    RUN(swept);
    RUN(the_librarys_own);
    RUN(without_sense);
    return RESULT();
}
