/* Running requests and pulling their events. */
#include "check.h"

#include <pthread.h>

SUITE("streams");

static plimsoll_runtime *runtime;
static plimsoll_model *model;

static plimsoll_stream *start(const plimsoll_session *session, const plimsoll_request *request) {
    plimsoll_stream *stream = NULL;
    CHECK_OK(plimsoll_stream_start(session, request, NULL, NULL, &stream, &error));
    REQUIRE(stream != NULL);
    return stream;
}

/* Pulls until the end and returns the answer. */
static answer *pull(plimsoll_stream *stream) {
    answer *a = calloc(1, sizeof *a);
    plimsoll_event event = {.struct_size = sizeof event};
    REQUIRE(a != NULL);
    a->result.struct_size = sizeof a->result;
    do {
        event.kind = PLIMSOLL_EVENT_END; /* stays when the call fails */
        CHECK_OK(plimsoll_stream_next(stream, -1, &event, &error));
        collect(&event, a);
    } while (event.kind != PLIMSOLL_EVENT_END);
    CHECK_OK(plimsoll_stream_result(stream, &a->result, &error));
    return a;
}

static void pulled_as_called_back(void) {
    plimsoll_session *one = open_session(model), *other = open_session(model);
    plimsoll_request *request = request_of("hello", 40);
    answer *expected = run(one, request);
    plimsoll_stream *stream = start(other, request);
    answer *pulled = pull(stream);
    CHECK(same_tokens(expected, pulled));
    CHECK_EQ(pulled->text_len, expected->text_len);
    CHECK(memcmp(pulled->text, expected->text, expected->text_len) == 0);
    CHECK_EQ(pulled->result.ending, PLIMSOLL_ENDING_LENGTH);
    CHECK_EQ(pulled->result.generated_tokens, 40);
    /* The end comes again, and so do its numbers. */
    plimsoll_event event = {.struct_size = sizeof event};
    CHECK_OK(plimsoll_stream_next(stream, 0, &event, &error));
    CHECK_EQ(event.kind, PLIMSOLL_EVENT_END);
    CHECK_EQ(event.token, UINT32_MAX);
    plimsoll_stream_free(stream);
    free(expected), free(pulled);
    plimsoll_request_free(request);
    plimsoll_session_free(one), plimsoll_session_free(other);
    check_idle(runtime, model);
}

/* Behind a request that fills the batch nothing comes for a while. False when this thread was kept waiting so long that the
 * request ahead had ended before it looked. */
static bool waited_in_line(plimsoll_model *slow) {
    plimsoll_session *ahead = open_session(slow), *behind = open_session(slow);
    plimsoll_request *request = request_of("hello", SLOW_TOKENS);
    plimsoll_stream *first = start(ahead, request), *second = start(behind, request);
    plimsoll_event event = {.struct_size = sizeof event};
    plimsoll_result result = {.struct_size = sizeof result};
    bool waited = true;
    for (int64_t timeout = 0; waited && timeout < 3; timeout++) {
        CHECK_OK(plimsoll_stream_next(second, timeout, &event, &error));
        waited = event.kind == PLIMSOLL_EVENT_TIMEOUT;
        CHECK(waited == (event.token == UINT32_MAX));
    }
    CHECK_ERROR(PLIMSOLL_ERR_INVALID_ARGUMENT, plimsoll_stream_result(second, &result, &error));
    /* Now it is its turn. */
    plimsoll_stream_free(first);
    CHECK_OK(plimsoll_stream_next(second, -1, &event, &error));
    CHECK_EQ(event.kind, PLIMSOLL_EVENT_TOKEN);
    plimsoll_stream_free(second);
    plimsoll_request_free(request);
    plimsoll_session_free(ahead), plimsoll_session_free(behind);
    return waited;
}

static void nothing_came_in_time(void) {
    plimsoll_model *slow = load_for(runtime, SLOW, "1");
    bool waited = false;
    for (int attempt = 0; !waited && attempt < 10; attempt++) { waited = waited_in_line(slow); }
    CHECK(waited);
    plimsoll_model_unload(slow);
}

/* While a stream is open its session runs nothing else; its reader may be this very thread. */
static void an_open_stream_holds_its_session(void) {
    plimsoll_session *session = open_session(model);
    plimsoll_request *request = request_of("hello", 16);
    plimsoll_stream *stream = start(session, request), *another = NULL;
    enum { BUSY = PLIMSOLL_ERR_BUSY };
    CHECK_ERROR(BUSY, plimsoll_generate(session, request, NULL, NULL, NULL, NULL, NULL, &error));
    CHECK_ERROR(BUSY, plimsoll_stream_start(session, request, NULL, NULL, &another, &error));
    CHECK_ERROR(BUSY, plimsoll_session_reset(session, &error));
    CHECK_ERROR(BUSY, plimsoll_session_evict(session, NULL, &error));
    CHECK(another == NULL);
    plimsoll_verdict verdict = what_if(session, request);
    CHECK_EQ(verdict.decision, PLIMSOLL_DECISION_REJECT);
    free(pull(stream));
    /* It has ended: the session is free, although the stream is not freed yet. */
    CHECK_OK(plimsoll_session_reset(session, &error));
    answer *a = run(session, request);
    CHECK_EQ(a->result.generated_tokens, 16);
    free(a);
    plimsoll_stream_free(stream);
    plimsoll_request_free(request);
    plimsoll_session_free(session);
    check_idle(runtime, model);
}

static void freed_while_it_runs(void) {
    plimsoll_session *session = open_session(model);
    plimsoll_request *request = request_of("hello", 200);
    for (int pulled = 0; pulled < 3; pulled++) {
        plimsoll_stream *stream = start(session, request);
        plimsoll_event event = {.struct_size = sizeof event};
        for (int i = 0; i < pulled; i++) {
            CHECK_OK(plimsoll_stream_next(stream, -1, &event, &error));
            CHECK_EQ(event.kind, PLIMSOLL_EVENT_TOKEN);
        }
        plimsoll_stream_free(stream);
        check_idle(runtime, model);
        CHECK_OK(plimsoll_session_reset(session, &error));
    }
    plimsoll_request_free(request);
    plimsoll_session_free(session);
}

static void *cancel_it(void *stream) {
    plimsoll_stream_cancel(stream);
    return NULL;
}

/* Another thread cancels while this one waits for events. */
static void cancelled_from_another_thread(void) {
    plimsoll_model *slow = load_for(runtime, SLOW, "1");
    plimsoll_session *session = open_session(slow);
    plimsoll_request *request = request_of("hello", SLOW_TOKENS);
    plimsoll_stream *stream = start(session, request);
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, cancel_it, stream) == 0);
    answer *a = pull(stream);
    pthread_join(thread, NULL);
    CHECK_EQ(a->result.ending, PLIMSOLL_ENDING_CANCELLED);
    CHECK(a->result.generated_tokens < SLOW_TOKENS);
    plimsoll_stream_cancel(stream);
    free(a);
    plimsoll_stream_free(stream);
    check_idle(runtime, slow);
    plimsoll_request_free(request);
    plimsoll_session_free(session);
    plimsoll_model_unload(slow);
}

/* A short event struct gets only what it has room for. */
static void short_events(void) {
    plimsoll_session *session = open_session(model);
    plimsoll_request *request = request_of("hello", 1);
    plimsoll_stream *stream = start(session, request);
    plimsoll_event event;
    memset(&event, 0xa5, sizeof event);
    event.struct_size = offsetof(plimsoll_event, logprob);
    CHECK_OK(plimsoll_stream_next(stream, -1, &event, &error));
    CHECK_EQ(event.struct_size, offsetof(plimsoll_event, logprob));
    CHECK_EQ(event.kind, PLIMSOLL_EVENT_TOKEN);
    CHECK(event.token < facts_of(model).vocab_size);
    CHECK_EQ(event.top_count, 0xa5a5a5a5u);
    event.struct_size = 0;
    CHECK_ERROR(PLIMSOLL_ERR_INVALID_STRUCT_SIZE, plimsoll_stream_next(stream, -1, &event, &error));
    CHECK_ERROR(PLIMSOLL_ERR_NULL_POINTER, plimsoll_stream_next(stream, -1, NULL, &error));
    plimsoll_stream_free(stream);
    plimsoll_request_free(request);
    plimsoll_session_free(session);
}

int main(void) {
    runtime = runtime_of(NULL);
    model = load(runtime);
    RUN(pulled_as_called_back);
    RUN(nothing_came_in_time);
    RUN(an_open_stream_holds_its_session);
    RUN(freed_while_it_runs);
    RUN(cancelled_from_another_thread);
    RUN(short_events);
    plimsoll_model_unload(model);
    plimsoll_runtime_free(runtime);
    return RESULT();
}
