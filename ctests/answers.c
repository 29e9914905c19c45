/* Several answers of one request: prices, events, results by index, ends. */
#include "check.h"

SUITE("answers");

enum { ANSWERS = 3, TOKENS = 24 };

static plimsoll_runtime *runtime;
static plimsoll_model *model;

static plimsoll_request *several(uint32_t answers) {
    plimsoll_request *request = request_of("hello", TOKENS);
    CHECK_OK(plimsoll_request_set_temperature(request, 1.5f, &error));
    CHECK_OK(plimsoll_request_set_seed(request, 40, &error));
    CHECK_OK(plimsoll_request_set_answers(request, answers, &error));
    return request;
}

/* Sorts events by their answers. */
static int32_t collect_each(const plimsoll_event *event, void *user_data) {
    REQUIRE(event->answer < ANSWERS);
    return collect(event, (answer *)user_data + event->answer);
}

static answer *made(void) {
    answer *answers = calloc(ANSWERS, sizeof *answers);
    REQUIRE(answers != NULL);
    return answers;
}

static void an_answer_is_that_of_its_seed(void) {
    plimsoll_session *session = open_session(model);
    plimsoll_request *request = several(ANSWERS);
    answer *all = made();
    plimsoll_result results[ANSWERS];
    for (int i = 0; i < ANSWERS; i++) {
        results[i].struct_size = sizeof results[i];
    }
    CHECK_OK(plimsoll_generate_answers(session, request, NULL, NULL, collect_each, all, results, ANSWERS, &error));
    for (uint32_t i = 0; i < ANSWERS; i++) {
        plimsoll_session *other = open_session(model);
        plimsoll_request *one = several(1);
        CHECK_OK(plimsoll_request_set_seed(one, 40 + i, &error));
        answer *alone = run(other, one);
        CHECK(same_tokens(alone, &all[i]));
        CHECK_EQ(alone->result.answers, 1);
        CHECK_EQ(results[i].answer, i);
        CHECK_EQ(results[i].answers, ANSWERS);
        CHECK_EQ(results[i].generated_tokens, TOKENS);
        CHECK_EQ(results[i].ending, PLIMSOLL_ENDING_LENGTH);
        free(alone);
        plimsoll_request_free(one);
        plimsoll_session_free(other);
    }
    CHECK(!same_tokens(&all[0], &all[1]));
    free(all);
    plimsoll_request_free(request);
    plimsoll_session_free(session);
    check_idle(runtime, model);
}

static void a_price_is_that_of_one_as_often(void) {
    plimsoll_session *session = open_session(model);
    plimsoll_request *one = several(1), *request = several(ANSWERS);
    plimsoll_verdict alone = what_if(session, one), all = what_if(session, request);
    CHECK_EQ(alone.answers, 1);
    CHECK_EQ(all.answers, ANSWERS);
    CHECK_EQ(all.granted_tokens, TOKENS);
    CHECK_EQ(all.kv_bytes, ANSWERS * alone.kv_bytes);
    CHECK_EQ(all.request_bytes, ANSWERS * alone.request_bytes);
    CHECK_EQ(all.bytes_asked, ANSWERS * alone.bytes_asked);
    CHECK_EQ(all.kv_region, -1);
    uint64_t before = memory_of(runtime).used_bytes;
    plimsoll_ticket *ticket = NULL;
    CHECK_OK(plimsoll_admit(session, request, NULL, &ticket, &error));
    CHECK_EQ(memory_of(runtime).used_bytes - before, all.bytes_asked);
    plimsoll_result result = {.struct_size = sizeof result};
    CHECK_OK(plimsoll_generate(session, request, ticket, NULL, NULL, NULL, &result, &error));
    CHECK_EQ(result.leased_bytes, all.bytes_asked);
    CHECK_EQ(result.answers, ANSWERS);
    /* Only the first answer's KV is kept. */
    CHECK(result.kv_bytes <= alone.kv_bytes);
    plimsoll_ticket_free(ticket);
    plimsoll_request_free(one), plimsoll_request_free(request);
    plimsoll_session_free(session);
    check_idle(runtime, model);
}

static void pulled_answers_have_results_and_texts(void) {
    plimsoll_session *session = open_session(model);
    plimsoll_request *request = several(ANSWERS);
    plimsoll_stream *stream = NULL;
    CHECK_OK(plimsoll_stream_start(session, request, NULL, NULL, &stream, &error));
    REQUIRE(stream != NULL);
    answer *all = made();
    plimsoll_event event = {.struct_size = sizeof event};
    plimsoll_result result = {.struct_size = sizeof result};
    plimsoll_str text = {NULL, 0};
    uint32_t turns = 0, last = 0;
    CHECK_ERROR(PLIMSOLL_ERR_INVALID_ARGUMENT, plimsoll_stream_answer(stream, 0, &result, &text, &error));
    do {
        event.kind = PLIMSOLL_EVENT_END;
        CHECK_OK(plimsoll_stream_next(stream, -1, &event, &error));
        collect_each(&event, all);
        turns += event.answer != last;
        last = event.answer;
    } while (event.kind != PLIMSOLL_EVENT_END);
    CHECK(turns > TOKENS);
    for (uint32_t i = 0; i < ANSWERS; i++) {
        CHECK_OK(plimsoll_stream_answer(stream, i, &result, &text, &error));
        CHECK_EQ(result.answer, i);
        CHECK_EQ(result.generated_tokens, all[i].token_count);
        CHECK_EQ(text.len, all[i].text_len);
        CHECK(text.len == all[i].text_len && memcmp(text.ptr, all[i].text, text.len) == 0);
        CHECK_OK(plimsoll_stream_answer(stream, i, NULL, NULL, &error));
    }
    CHECK_ERROR(PLIMSOLL_ERR_INVALID_ARGUMENT, plimsoll_stream_answer(stream, ANSWERS, &result, &text, &error));
    CHECK_OK(plimsoll_stream_result(stream, &result, &error));
    CHECK_EQ(result.answer, 0);
    free(all);
    plimsoll_stream_free(stream);
    /* Half way, all bytes come back. */
    for (int events = 0; events < 5; events++) {
        CHECK_OK(plimsoll_stream_start(session, request, NULL, NULL, &stream, &error));
        for (int i = 0; i < events; i++) {
            CHECK_OK(plimsoll_stream_next(stream, -1, &event, &error));
        }
        plimsoll_stream_free(stream);
        check_idle(runtime, model);
    }
    plimsoll_request_free(request);
    plimsoll_session_free(session);
}

static void what_makes_no_sense_is_refused(void) {
    plimsoll_session *session = open_session(model);
    plimsoll_request *request = several(2);
    CHECK_ERROR(PLIMSOLL_ERR_INVALID_ARGUMENT, plimsoll_request_set_answers(request, 0, &error));
    CHECK_ERROR(PLIMSOLL_ERR_INVALID_ARGUMENT, plimsoll_request_set_answers(request, 129, &error));
    CHECK_ERROR(PLIMSOLL_ERR_NULL_POINTER, plimsoll_request_set_answers(NULL, 1, &error));
    CHECK_EQ(what_if(session, request).answers, 2);
    plimsoll_result results[3] = {{.struct_size = sizeof results[0]}, {.struct_size = sizeof results[0]}, {0}};
    CHECK_ERROR(PLIMSOLL_ERR_INVALID_ARGUMENT,
                plimsoll_generate_answers(session, request, NULL, NULL, NULL, NULL, results, 3, &error));
    CHECK_ERROR(PLIMSOLL_ERR_NULL_POINTER,
                plimsoll_generate_answers(session, request, NULL, NULL, NULL, NULL, NULL, 2, &error));
    results[1].struct_size--;
    CHECK_ERROR(PLIMSOLL_ERR_INVALID_STRUCT_SIZE,
                plimsoll_generate_answers(session, request, NULL, NULL, NULL, NULL, results, 2, &error));
    CHECK_OK(plimsoll_generate_answers(session, request, NULL, NULL, NULL, NULL, NULL, 0, &error));
    CHECK_OK(plimsoll_generate_answers(session, request, NULL, NULL, NULL, NULL, results, 1, &error));
    CHECK_EQ(results[0].answers, 2);
    plimsoll_request_free(request);
    plimsoll_session_free(session);
    check_idle(runtime, model);
}

int main(void) {
    runtime = runtime_of(NULL);
    model = load(runtime);
    RUN(an_answer_is_that_of_its_seed);
    RUN(a_price_is_that_of_one_as_often);
    RUN(pulled_answers_have_results_and_texts);
    RUN(what_makes_no_sense_is_refused);
    plimsoll_model_unload(model);
    plimsoll_runtime_free(runtime);
    return RESULT();
}
