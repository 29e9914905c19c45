/* A small test framework, and what the programs here share: models, sessions and collected answers.
 *
 * A program is a list of tests; each prints "ok SUITE: TEST" or "FAIL SUITE: TEST". Its exit status is 0 when all passed. */
#ifndef CTESTS_CHECK_H
#define CTESTS_CHECK_H

/* For nanosleep(), pthreads, mkdtemp(), setenv(). */
#define _POSIX_C_SOURCE 200809L

#include "plimsoll.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

extern const char *check_suite; /* each program names itself */
extern int check_failures;

#define SUITE(name)                  \
    const char *check_suite = (name); \
    int check_failures

/* Runs `void test(void)`. */
#define RUN(test)                                                                           \
    do {                                                                                    \
        int before_ = check_failures;                                                       \
        test();                                                                             \
        printf("%s %s: %s\n", check_failures == before_ ? "ok" : "FAIL", check_suite, #test); \
        fflush(stdout);                                                                     \
    } while (0)

#define RESULT() (check_failures == 0 ? 0 : 1)

static inline void check_fail(const char *file, int line) {
    check_failures++;
    fprintf(stderr, "%s:%d: ", file, line);
}

#define CHECK(condition)                                     \
    do {                                                     \
        if (!(condition)) {                                  \
            check_fail(__FILE__, __LINE__);                  \
            fprintf(stderr, "not true: %s\n", #condition);   \
        }                                                    \
    } while (0)

#define CHECK_EQ(left, right)                                                                                  \
    do {                                                                                                       \
        long long left_ = (long long)(left), right_ = (long long)(right);                                      \
        if (left_ != right_) {                                                                                 \
            check_fail(__FILE__, __LINE__);                                                                    \
            fprintf(stderr, "%s is %lld, %s is %lld\n", #left, left_, #right, right_);                         \
        }                                                                                                      \
    } while (0)

/* Stops the whole program: without this nothing after it makes sense. */
#define REQUIRE(condition)                                               \
    do {                                                                 \
        if (!(condition)) {                                              \
            check_fail(__FILE__, __LINE__);                              \
            fprintf(stderr, "required: %s\n", #condition);               \
            printf("FAIL %s: stopped in %s\n", check_suite, __func__);   \
            exit(1);                                                     \
        }                                                                \
    } while (0)

/* A fallible call that must fail with `code`: its error must carry the same code, a section and a text. The call names
 * `&error` as its last argument. */
#define CHECK_ERROR(code, call)                                                           \
    do {                                                                                  \
        plimsoll_error *error = NULL;                                                     \
        CHECK_EQ((call), (code));                                                         \
        CHECK_EQ(plimsoll_error_code(error), (code));                                     \
        CHECK(plimsoll_error_section(error) > 0 && plimsoll_error_message(error).len > 0); \
        plimsoll_error_free(error);                                                       \
    } while (0)

/* A fallible call that must succeed; it names `&error` as its last argument. */
#define CHECK_OK(call)                                                                            \
    do {                                                                                          \
        plimsoll_error *error = NULL;                                                             \
        if ((call) != PLIMSOLL_OK) {                                                              \
            plimsoll_str message_ = plimsoll_error_message(error);                                \
            check_fail(__FILE__, __LINE__);                                                       \
            fprintf(stderr, "%s: error %" PRId32 ", %.*s\n", #call, plimsoll_error_code(error),   \
                    (int)message_.len, message_.ptr);                                             \
        }                                                                                         \
        plimsoll_error_free(error);                                                               \
    } while (0)

/* --- Models --------------------------------------------------------------------------------------------------------- */

/* A few hundred KiB of random weights: a token takes microseconds. */
#define TINY "tests/golden/models/llama3"
#define TINY_GGUF "tests/golden/gguf/llama3-q8_0.gguf"
#define TINY_CONTEXT 256
/* The bundled model, which answers and is a thousand times as much work: for what has to happen while a request runs. Its
 * context has 2048 tokens. */
#define SLOW "models/demo"
enum { SLOW_TOKENS = 1900 };

/* A configuration of the given keys and values, ended by NULL. */
static inline plimsoll_config *config_of(const char *const pairs[]) {
    plimsoll_config *config = NULL;
    REQUIRE(plimsoll_config_new(&config, NULL) == PLIMSOLL_OK);
    for (; pairs != NULL && pairs[0] != NULL; pairs += 2) {
        CHECK_OK(plimsoll_config_set(config, pairs[0], strlen(pairs[0]), pairs[1], strlen(pairs[1]), &error));
    }
    return config;
}

static inline plimsoll_runtime *runtime_of(const char *const pairs[]) {
    plimsoll_runtime *runtime = NULL;
    plimsoll_config *config = config_of(pairs);
    CHECK_OK(plimsoll_runtime_new(config, &runtime, &error));
    REQUIRE(runtime != NULL);
    plimsoll_config_free(config);
    return runtime;
}

/* A runtime of exactly this many bytes: neither threshold nor reserve takes any, and a full one degrades nobody and loses no
 * KV to the monitor, however long a test takes. */
static inline plimsoll_runtime *runtime_of_bytes(uint64_t bytes) {
    char budget[24];
    snprintf(budget, sizeof budget, "%" PRIu64, bytes);
    const char *const pairs[] = {"memory.budget",    budget, "guard.threshold", "1",   "guard.reserve_mb", "0",
                                 "guard.degrade", "off",  "monitor.cleanup", "off", NULL};
    return runtime_of(pairs);
}

static inline plimsoll_status try_load(const plimsoll_runtime *runtime, const char *path, plimsoll_model **model,
                                       plimsoll_error **error) {
    return plimsoll_model_load(runtime, "test", strlen("test"), path, strlen(path), NULL, NULL, NULL, model, error);
}

/* Loads with two threads and room for `sequences` in a batch. */
static inline plimsoll_model *load_for(const plimsoll_runtime *runtime, const char *path, const char *sequences) {
    plimsoll_model *model = NULL;
    const char *const pairs[] = {"native.threads", "2", "native.max_sequences", sequences, NULL};
    plimsoll_config *config = config_of(pairs);
    CHECK_OK(plimsoll_model_load(runtime, "test", strlen("test"), path, strlen(path), config, NULL, NULL, &model, &error));
    REQUIRE(model != NULL);
    plimsoll_config_free(config);
    return model;
}

static inline plimsoll_model *load(const plimsoll_runtime *runtime) {
    return load_for(runtime, TINY, "16");
}

static inline plimsoll_model_facts facts_of(const plimsoll_model *model) {
    plimsoll_model_facts facts = {.struct_size = sizeof facts};
    CHECK_OK(plimsoll_model_get_facts(model, &facts, &error));
    return facts;
}

static inline plimsoll_memory memory_of(const plimsoll_runtime *runtime) {
    plimsoll_memory memory = {.struct_size = sizeof memory};
    CHECK_OK(plimsoll_memory_stats(runtime, &memory, &error));
    return memory;
}

static inline void pause_briefly(void) {
    const struct timespec pause = {0, 10 * 1000 * 1000};
    nanosleep(&pause, NULL);
}

/* Whether no session holds KV, at the latest in a moment: the engine's thread gives the KV of a closed session back. */
static inline bool kv_comes_back(const plimsoll_runtime *runtime) {
    for (int i = 0; i < 500 && memory_of(runtime).kv_bytes > 0; i++) {
        pause_briefly();
    }
    return memory_of(runtime).kv_bytes == 0;
}

/* The bytes of requests that have ended are back, and the books add up, at the latest in a moment: while the engine's thread
 * frees the KV of a closed session, a block may be gone whose lease is not back yet. */
static inline void check_idle(const plimsoll_runtime *runtime, const plimsoll_model *model) {
    CHECK_EQ(memory_of(runtime).request_bytes, 0);
    plimsoll_status status = plimsoll_model_check_integrity(model, NULL);
    for (int i = 0; i < 500 && status != PLIMSOLL_OK; i++) {
        pause_briefly();
        status = plimsoll_model_check_integrity(model, NULL);
    }
    CHECK_EQ(status, PLIMSOLL_OK);
}

static inline plimsoll_session *open_session(const plimsoll_model *model) {
    plimsoll_session *session = NULL;
    CHECK_OK(plimsoll_session_open(model, NULL, &session, &error));
    REQUIRE(session != NULL);
    return session;
}

/* --- Requests and answers ------------------------------------------------------------------------------------------- */

/* One user message, `max_tokens` greedy tokens whatever the model thinks of ending. */
static inline plimsoll_request *request_of(const char *text, uint32_t max_tokens) {
    plimsoll_request *request = NULL;
    REQUIRE(plimsoll_request_new(&request, NULL) == PLIMSOLL_OK);
    CHECK_OK(plimsoll_request_add_message(request, "user", strlen("user"), text, strlen(text), &error));
    CHECK_OK(plimsoll_request_set_max_tokens(request, max_tokens, &error));
    CHECK_OK(plimsoll_request_set_ignore_eos(request, 1, &error));
    return request;
}

typedef struct {
    uint32_t tokens[TINY_CONTEXT];
    uint32_t token_count;
    char text[16 * TINY_CONTEXT];
    size_t text_len;
    plimsoll_result result;
} answer;

/* An on_event that fills an answer. */
static inline int32_t collect(const plimsoll_event *event, void *user_data) {
    answer *a = user_data;
    if (event->kind == PLIMSOLL_EVENT_TOKEN && a->token_count < TINY_CONTEXT) {
        a->tokens[a->token_count++] = event->token;
    }
    if (event->text.len > 0 && a->text_len + event->text.len <= sizeof a->text) {
        memcpy(a->text + a->text_len, event->text.ptr, event->text.len);
        a->text_len += event->text.len;
    }
    return 0;
}

/* Runs a request that must succeed. */
static inline answer *run(const plimsoll_session *session, const plimsoll_request *request) {
    answer *a = calloc(1, sizeof *a);
    REQUIRE(a != NULL);
    a->result.struct_size = sizeof a->result;
    CHECK_OK(plimsoll_generate(session, request, NULL, NULL, collect, a, &a->result, &error));
    return a;
}

static inline bool same_tokens(const answer *a, const answer *b) {
    return a->token_count == b->token_count && memcmp(a->tokens, b->tokens, a->token_count * sizeof *a->tokens) == 0;
}

static inline plimsoll_verdict what_if(const plimsoll_session *session, const plimsoll_request *request) {
    plimsoll_verdict verdict = {.struct_size = sizeof verdict};
    CHECK_OK(plimsoll_admit(session, request, &verdict, NULL, &error));
    return verdict;
}

static inline bool reason_is(const plimsoll_verdict *verdict, const char *reason) {
    return verdict->reason.len == strlen(reason) && memcmp(verdict->reason.ptr, reason, verdict->reason.len) == 0;
}

#endif
