/* Many threads: sessions of one model, loads of the same files, turns of one session. */
#include "check.h"

#include <pthread.h>

SUITE("threads");

enum { THREADS = 8, TURNS = 3 };

typedef struct {
    const plimsoll_runtime *runtime;
    const plimsoll_model *model;
    const plimsoll_session *session;
    plimsoll_model *loaded;
    answer answers[TURNS];
    plimsoll_status status;
    const char *text;
} worker;

static worker workers[THREADS];

/* Runs `work` on every worker at once. */
static void all_at_once(void *(*work)(void *)) {
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        REQUIRE(pthread_create(&threads[i], NULL, work, &workers[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
}

/* A conversation of several turns. The framework's checks are for the main thread: here only statuses are kept. */
static void *converse(void *user_data) {
    worker *w = user_data;
    plimsoll_session *session = NULL;
    plimsoll_request *request = NULL;
    w->status = plimsoll_session_open(w->model, NULL, &session, NULL);
    w->status = w->status ? w->status : plimsoll_request_new(&request, NULL);
    w->status = w->status ? w->status : plimsoll_request_set_max_tokens(request, 12, NULL);
    w->status = w->status ? w->status : plimsoll_request_set_ignore_eos(request, 1, NULL);
    for (int i = 0; i < TURNS && w->status == PLIMSOLL_OK; i++) {
        answer *a = &w->answers[i];
        memset(a, 0, sizeof *a);
        a->result.struct_size = sizeof a->result;
        w->status = plimsoll_request_clear(request, NULL);
        w->status = w->status ? w->status
                              : plimsoll_request_add_message(request, "user", 4, w->text, strlen(w->text), NULL);
        w->status = w->status ? w->status
                              : plimsoll_generate(session, request, NULL, NULL, collect, a, &a->result, NULL);
    }
    plimsoll_request_free(request);
    plimsoll_session_free(session);
    return NULL;
}

/* Together they answer as each does alone. */
static void sessions_together_as_alone(void) {
    static const char *const texts[] = {"hello", "what is this?", "1 + 1", "a longer question than the others, surely"};
    static answer alone[THREADS][TURNS];
    plimsoll_runtime *runtime = runtime_of(NULL);
    plimsoll_model *model = load(runtime);
    for (int i = 0; i < THREADS; i++) {
        workers[i].model = model;
        workers[i].text = texts[i % 4];
        converse(&workers[i]);
        CHECK_EQ(workers[i].status, PLIMSOLL_OK);
        memcpy(alone[i], workers[i].answers, sizeof alone[i]);
    }
    all_at_once(converse);
    for (int i = 0; i < THREADS; i++) {
        CHECK_EQ(workers[i].status, PLIMSOLL_OK);
        for (int turn = 0; turn < TURNS; turn++) {
            CHECK_EQ(workers[i].answers[turn].result.generated_tokens, 12);
            CHECK(same_tokens(&alone[i][turn], &workers[i].answers[turn]));
        }
    }
    CHECK(kv_comes_back(runtime));
    check_idle(runtime, model);
    plimsoll_memory memory = memory_of(runtime);
    CHECK_EQ(memory.request_bytes, 0);
    CHECK_EQ(memory.active_sessions, 0);
    CHECK_EQ(memory.accepted_count, 2 * THREADS * TURNS);
    plimsoll_model_unload(model);
    plimsoll_runtime_free(runtime);
}

static void *load_it(void *user_data) {
    worker *w = user_data;
    w->status = plimsoll_model_load(w->runtime, "test", 4, w->text, strlen(w->text), NULL, NULL, NULL, &w->loaded, NULL);
    return NULL;
}

static void *unload_it(void *user_data) {
    worker *w = user_data;
    plimsoll_model_unload(w->loaded);
    return NULL;
}

/* Eight loads through two paths make one copy; eight unloads give it back. */
static void concurrent_loads_share_one_copy(void) {
    plimsoll_runtime *runtime = runtime_of(NULL);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < THREADS; i++) {
            workers[i].runtime = runtime;
            workers[i].loaded = NULL;
            workers[i].text = i % 2 == 0 ? TINY : "tests/golden/models/../models/llama3";
        }
        all_at_once(load_it);
        for (int i = 0; i < THREADS; i++) {
            CHECK_EQ(workers[i].status, PLIMSOLL_OK);
            REQUIRE(workers[i].loaded != NULL);
            CHECK_EQ(memory_of(runtime).weights_bytes, facts_of(workers[i].loaded).weights_bytes);
        }
        all_at_once(unload_it);
        CHECK_EQ(memory_of(runtime).used_bytes, 0);
    }
    plimsoll_runtime_free(runtime);
}

static void *speak(void *user_data) {
    worker *w = user_data;
    plimsoll_request *request = NULL;
    answer *a = &w->answers[0];
    memset(a, 0, sizeof *a);
    a->result.struct_size = sizeof a->result;
    w->status = plimsoll_request_new(&request, NULL);
    w->status = w->status ? w->status : plimsoll_request_set_max_tokens(request, 4, NULL);
    w->status = w->status ? w->status : plimsoll_request_set_ignore_eos(request, 1, NULL);
    w->status = w->status ? w->status : plimsoll_request_add_message(request, "user", 4, "hi", 2, NULL);
    w->status = w->status ? w->status : plimsoll_generate(w->session, request, NULL, NULL, collect, a, &a->result, NULL);
    plimsoll_request_free(request);
    return NULL;
}

/* Requests of one session wait for each other: each sees the conversation with all the earlier ones in it. */
static void one_session_takes_turns(void) {
    plimsoll_runtime *runtime = runtime_of(NULL);
    plimsoll_model *model = load(runtime);
    plimsoll_session *session = open_session(model);
    for (int i = 0; i < THREADS; i++) {
        workers[i].session = session;
    }
    all_at_once(speak);
    for (int i = 0; i < THREADS; i++) {
        CHECK_EQ(workers[i].status, PLIMSOLL_OK);
        CHECK_EQ(workers[i].answers[0].result.generated_tokens, 4);
        for (int j = 0; j < i; j++) {
            CHECK(workers[i].answers[0].result.prompt_tokens != workers[j].answers[0].result.prompt_tokens);
        }
    }
    plimsoll_session_free(session);
    plimsoll_model_unload(model);
    CHECK_EQ(memory_of(runtime).used_bytes, 0);
    plimsoll_runtime_free(runtime);
}

int main(void) {
    RUN(sessions_together_as_alone);
    RUN(concurrent_loads_share_one_copy);
    RUN(one_session_takes_turns);
    return RESULT();
}
