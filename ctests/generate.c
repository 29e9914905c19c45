/* Running requests with a callback: answers, turns, stops, cancels, deadlines, and what is wrong with a request. */
#include "check.h"

#include <math.h>
#include <pthread.h>

SUITE("generate");

static plimsoll_runtime *runtime;
static plimsoll_model *model;

static void an_answer_and_its_numbers(void) {
    plimsoll_session *session = open_session(model);
    plimsoll_request *request = request_of("hello", 24);
    answer *a = run(session, request);
    const plimsoll_result *r = &a->result;
    CHECK_EQ(r->struct_size, sizeof *r);
    CHECK_EQ(r->ending, PLIMSOLL_ENDING_LENGTH);
    CHECK_EQ(r->decision, PLIMSOLL_DECISION_ACCEPT);
    CHECK_EQ(r->generated_tokens, 24);
    CHECK_EQ(r->granted_tokens, 24);
    CHECK_EQ(a->token_count, 24);
    CHECK(r->prompt_tokens > 0 && r->cached_tokens == 0);
    CHECK(r->prefill_us > 0 && r->decode_us > 0 && r->tokens_per_second > 0);
    CHECK(r->kv_bytes > 0 && r->leased_bytes >= r->kv_bytes && r->bytes_free > 0);
    CHECK_EQ(plimsoll_session_kv_bytes(session), r->kv_bytes);
    for (uint32_t i = 0; i < a->token_count; i++) {
        CHECK(a->tokens[i] < facts_of(model).vocab_size);
    }
    free(a);
    plimsoll_request_free(request);
    plimsoll_session_free(session);
    check_idle(runtime, model);
}

/* The same conversation again is the same answer; a second turn computes only what is new. */
static void turns_keep_their_kv(void) {
    plimsoll_session *one = open_session(model), *other = open_session(model);
    plimsoll_request *first = request_of("hello", 12), *second = request_of("and now?", 12);
    answer *a = run(one, first), *b = run(other, first), *c = run(one, second), *d = run(other, second);
    CHECK(same_tokens(a, b) && same_tokens(c, d));
    CHECK(c->result.cached_tokens >= a->result.prompt_tokens);
    CHECK(c->result.cached_tokens < c->result.prompt_tokens);
    CHECK(c->result.prompt_tokens > a->result.prompt_tokens);
    /* After a reset nothing is held, and the first answer comes again. */
    CHECK_OK(plimsoll_session_reset(one, &error));
    CHECK_EQ(plimsoll_session_kv_bytes(one), 0);
    answer *again = run(one, first);
    CHECK_EQ(again->result.cached_tokens, 0);
    CHECK(same_tokens(a, again));
    free(a), free(b), free(c), free(d), free(again);
    plimsoll_request_free(first), plimsoll_request_free(second);
    plimsoll_session_free(one), plimsoll_session_free(other);
    check_idle(runtime, model);
}

static void a_seed_repeats_its_answer(void) {
    plimsoll_session *session = open_session(model);
    plimsoll_request *request = request_of("hello", 32);
    CHECK_OK(plimsoll_request_set_temperature(request, 1.5f, &error));
    CHECK_OK(plimsoll_request_set_seed(request, 7, &error));
    answer *a = run(session, request);
    CHECK_OK(plimsoll_session_reset(session, &error));
    answer *b = run(session, request);
    CHECK_OK(plimsoll_session_reset(session, &error));
    CHECK_OK(plimsoll_request_set_seed(request, 8, &error));
    answer *c = run(session, request);
    CHECK(same_tokens(a, b));
    CHECK(!same_tokens(a, c));
    free(a), free(b), free(c);
    plimsoll_request_free(request);
    plimsoll_session_free(session);
}

typedef struct {
    uint32_t events;
    bool wrong;
} logprob_check;

static int32_t on_logprobs(const plimsoll_event *event, void *user_data) {
    logprob_check *check = user_data;
    if (event->kind != PLIMSOLL_EVENT_TOKEN) {
        return 0;
    }
    check->events++;
    /* Greedy: the chosen token is the likeliest. The rest follow in order, and all are logarithms of probabilities. */
    check->wrong |= event->top_count != 5 || event->top[0].token != event->token || event->top[0].logprob != event->logprob;
    double sum = 0;
    for (uint32_t i = 0; i < event->top_count; i++) {
        check->wrong |= !(event->top[i].logprob <= 0) || (i > 0 && event->top[i].logprob > event->top[i - 1].logprob);
        sum += exp((double)event->top[i].logprob);
    }
    check->wrong |= !(sum <= 1.0001);
    return 0;
}

static void logprobs_are_in_order(void) {
    plimsoll_session *session = open_session(model);
    plimsoll_request *request = request_of("hello", 8);
    logprob_check check = {0, false};
    CHECK_OK(plimsoll_request_set_top_logprobs(request, 5, &error));
    CHECK_OK(plimsoll_generate(session, request, NULL, NULL, on_logprobs, &check, NULL, &error));
    CHECK_EQ(check.events, 8);
    CHECK(!check.wrong);
    plimsoll_request_free(request);
    plimsoll_session_free(session);
}

/* A stop string taken from the answer itself: the answer ends before it. */
static void a_stop_string_is_cut_off(void) {
    plimsoll_session *session = open_session(model);
    plimsoll_request *request = request_of("hello", 48);
    answer *whole = run(session, request);
    size_t at = whole->text_len / 2, len = 2;
    while (at > 0 && ((unsigned char)whole->text[at] & 0xc0) == 0x80) {
        at--;
    }
    while (at + len < whole->text_len && ((unsigned char)whole->text[at + len] & 0xc0) == 0x80) {
        len++;
    }
    REQUIRE(at + len <= whole->text_len);
    size_t first = 0;
    while (memcmp(whole->text + first, whole->text + at, len) != 0) {
        first++;
    }
    CHECK_OK(plimsoll_request_add_stop(request, whole->text + at, len, &error));
    CHECK_OK(plimsoll_session_reset(session, &error));
    answer *cut = run(session, request);
    CHECK_EQ(cut->result.ending, PLIMSOLL_ENDING_STOP_STRING);
    CHECK_EQ(cut->text_len, first);
    CHECK(memcmp(cut->text, whole->text, first) == 0);
    free(whole), free(cut);
    plimsoll_request_free(request);
    plimsoll_session_free(session);
    check_idle(runtime, model);
}

static int32_t stop_at_three(const plimsoll_event *event, void *user_data) {
    answer *a = user_data;
    collect(event, a);
    return a->token_count >= 3 ? -7 : 0;
}

static void a_callback_stops(void) {
    plimsoll_session *session = open_session(model);
    plimsoll_request *request = request_of("hello", 64);
    answer *a = calloc(1, sizeof *a);
    REQUIRE(a != NULL);
    a->result.struct_size = sizeof a->result;
    CHECK_OK(plimsoll_generate(session, request, NULL, NULL, stop_at_three, a, &a->result, &error));
    CHECK_EQ(a->result.ending, PLIMSOLL_ENDING_STOPPED);
    CHECK_EQ(a->token_count, 3);
    CHECK_EQ(a->result.generated_tokens, 3);
    free(a);
    /* The session goes on from what was read. */
    a = run(session, request);
    CHECK_EQ(a->result.generated_tokens, 64);
    free(a);
    plimsoll_request_free(request);
    plimsoll_session_free(session);
    check_idle(runtime, model);
}

typedef struct {
    const plimsoll_session *session, *other;
    const plimsoll_request *request;
    bool done;
} inside;

/* What may be called in a callback, and what may not. */
static int32_t call_back(const plimsoll_event *event, void *user_data) {
    inside *in = user_data;
    (void)event;
    if (in->done) {
        return 0;
    }
    in->done = true;
    plimsoll_stream *stream = NULL;
    enum { REENTRANT = PLIMSOLL_ERR_REENTRANT };
    CHECK_ERROR(REENTRANT, plimsoll_generate(in->session, in->request, NULL, NULL, NULL, NULL, NULL, &error));
    CHECK_ERROR(REENTRANT, plimsoll_stream_start(in->session, in->request, NULL, NULL, &stream, &error));
    CHECK_ERROR(REENTRANT, plimsoll_session_reset(in->session, &error));
    CHECK_ERROR(REENTRANT, plimsoll_session_evict(in->session, NULL, &error));
    CHECK(stream == NULL);
    plimsoll_verdict verdict = what_if(in->session, in->request);
    CHECK_EQ(verdict.decision, PLIMSOLL_DECISION_REJECT);
    CHECK(reason_is(&verdict, "busy"));
    CHECK(plimsoll_session_id(in->session) > 0 && plimsoll_session_kv_bytes(in->session) > 0);
    CHECK(memory_of(runtime).request_bytes > 0);
    CHECK_EQ(facts_of(model).context_length, TINY_CONTEXT);
    answer *a = run(in->other, in->request);
    CHECK_EQ(a->result.generated_tokens, 16);
    free(a);
    return 0;
}

static void calls_from_a_callback(void) {
    plimsoll_session *session = open_session(model), *other = open_session(model);
    plimsoll_request *request = request_of("hello", 16);
    inside in = {session, other, request, false};
    plimsoll_result result = {.struct_size = sizeof result};
    CHECK_OK(plimsoll_generate(session, request, NULL, NULL, call_back, &in, &result, &error));
    CHECK(in.done);
    CHECK_EQ(result.generated_tokens, 16);
    plimsoll_request_free(request);
    plimsoll_session_free(session), plimsoll_session_free(other);
    check_idle(runtime, model);
}

static void cancelled_before_the_start(void) {
    plimsoll_session *session = open_session(model);
    plimsoll_request *request = request_of("hello", 64);
    plimsoll_cancel *cancel = NULL;
    answer a = {.result = {.struct_size = sizeof a.result}};
    CHECK_OK(plimsoll_cancel_new(&cancel, &error));
    plimsoll_cancel_raise(cancel);
    plimsoll_cancel_raise(cancel);
    CHECK_OK(plimsoll_generate(session, request, NULL, cancel, collect, &a, &a.result, &error));
    CHECK_EQ(a.result.ending, PLIMSOLL_ENDING_CANCELLED);
    CHECK_EQ(a.token_count, 0);
    plimsoll_cancel_free(cancel);
    plimsoll_request_free(request);
    plimsoll_session_free(session);
    check_idle(runtime, model);
}

static void *raise_it(void *cancel) {
    plimsoll_cancel_raise(cancel);
    return NULL;
}

typedef struct {
    plimsoll_cancel *cancel;
    uint32_t tokens;
} cancelling;

/* At the first token another thread raises the token. */
static int32_t cancel_elsewhere(const plimsoll_event *event, void *user_data) {
    cancelling *c = user_data;
    pthread_t thread;
    c->tokens += event->kind == PLIMSOLL_EVENT_TOKEN;
    if (c->tokens == 1) {
        REQUIRE(pthread_create(&thread, NULL, raise_it, c->cancel) == 0);
        pthread_join(thread, NULL);
    }
    return 0;
}

static void cancelled_from_another_thread(void) {
    plimsoll_model *slow = load_for(runtime, SLOW, "1");
    plimsoll_session *session = open_session(slow);
    plimsoll_request *request = request_of("hello", SLOW_TOKENS);
    cancelling c = {NULL, 0};
    plimsoll_result result = {.struct_size = sizeof result};
    CHECK_OK(plimsoll_cancel_new(&c.cancel, &error));
    CHECK_OK(plimsoll_generate(session, request, NULL, c.cancel, cancel_elsewhere, &c, &result, &error));
    CHECK_EQ(result.ending, PLIMSOLL_ENDING_CANCELLED);
    CHECK(result.generated_tokens >= 1 && result.generated_tokens < SLOW_TOKENS);
    CHECK_EQ(result.generated_tokens, c.tokens);
    plimsoll_cancel_free(c.cancel);
    check_idle(runtime, slow);
    /* The session works on. */
    CHECK_OK(plimsoll_request_set_max_tokens(request, 4, &error));
    answer *a = run(session, request);
    CHECK_EQ(a->result.generated_tokens, 4);
    free(a);
    plimsoll_request_free(request);
    plimsoll_session_free(session);
    plimsoll_model_unload(slow);
}

static void a_deadline_ends_the_answer(void) {
    plimsoll_model *slow = load_for(runtime, SLOW, "1");
    plimsoll_session *session = open_session(slow);
    plimsoll_request *request = request_of("hello", SLOW_TOKENS);
    plimsoll_result result = {.struct_size = sizeof result};
    CHECK_OK(plimsoll_request_set_deadline_ms(request, 20, &error));
    CHECK_OK(plimsoll_generate(session, request, NULL, NULL, NULL, NULL, &result, &error));
    CHECK_EQ(result.ending, PLIMSOLL_ENDING_DEADLINE);
    CHECK(result.generated_tokens < SLOW_TOKENS);
    check_idle(runtime, slow);
    plimsoll_request_free(request);
    plimsoll_session_free(session);
    plimsoll_model_unload(slow);
}

/* Each is refused, and the session and its conversation are as they were. */
static void requests_that_cannot_run(void) {
    plimsoll_session *session = open_session(model);
    plimsoll_request *request = request_of("hello", 8), *bad = request_of("hello", 8);
    answer *before = run(session, request);
    CHECK_OK(plimsoll_session_reset(session, &error));

    CHECK_OK(plimsoll_request_clear(bad, &error));
    CHECK_ERROR(PLIMSOLL_ERR_EMPTY_REQUEST, plimsoll_generate(session, bad, NULL, NULL, NULL, NULL, NULL, &error));
    CHECK_ERROR(PLIMSOLL_ERR_EMPTY_REQUEST, plimsoll_admit(session, bad, NULL, NULL, &error));
    CHECK_OK(plimsoll_request_set_text(bad, NULL, 0, &error));
    CHECK_ERROR(PLIMSOLL_ERR_EMPTY_REQUEST, plimsoll_generate(session, bad, NULL, NULL, NULL, NULL, NULL, &error));
    CHECK_OK(plimsoll_request_set_tokens(bad, NULL, 0, &error));
    CHECK_ERROR(PLIMSOLL_ERR_EMPTY_REQUEST, plimsoll_generate(session, bad, NULL, NULL, NULL, NULL, NULL, &error));

    uint32_t tokens[TINY_CONTEXT + 8] = {facts_of(model).vocab_size};
    CHECK_OK(plimsoll_request_set_tokens(bad, tokens, 1, &error));
    CHECK_ERROR(PLIMSOLL_ERR_INVALID_TOKEN, plimsoll_generate(session, bad, NULL, NULL, NULL, NULL, NULL, &error));
    tokens[0] = UINT32_MAX;
    CHECK_OK(plimsoll_request_set_tokens(bad, tokens, 2, &error));
    CHECK_ERROR(PLIMSOLL_ERR_INVALID_TOKEN, plimsoll_generate(session, bad, NULL, NULL, NULL, NULL, NULL, &error));

    for (size_t i = 0; i < TINY_CONTEXT + 8; i++) {
        tokens[i] = (uint32_t)(i % 7 + 3);
    }
    for (size_t count = TINY_CONTEXT; count <= TINY_CONTEXT + 8; count += 8) {
        CHECK_OK(plimsoll_request_set_tokens(bad, tokens, count, &error));
        CHECK_ERROR(PLIMSOLL_ERR_PROMPT_TOO_LONG, plimsoll_generate(session, bad, NULL, NULL, NULL, NULL, NULL, &error));
        CHECK_ERROR(PLIMSOLL_ERR_PROMPT_TOO_LONG, plimsoll_admit(session, bad, NULL, NULL, &error));
    }
    size_t length = 4 << 20;
    char *text = malloc(length);
    REQUIRE(text != NULL);
    memset(text, 'a', length);
    CHECK_OK(plimsoll_request_set_text(bad, text, length, &error));
    CHECK_ERROR(PLIMSOLL_ERR_PROMPT_TOO_LONG, plimsoll_generate(session, bad, NULL, NULL, NULL, NULL, NULL, &error));
    free(text);

    CHECK_OK(plimsoll_request_set_text(bad, "a", 1, &error));
    CHECK_OK(plimsoll_request_set_max_tokens(bad, 0, &error));
    CHECK_ERROR(PLIMSOLL_ERR_INVALID_ARGUMENT, plimsoll_generate(session, bad, NULL, NULL, NULL, NULL, NULL, &error));
    CHECK_OK(plimsoll_request_set_max_tokens(bad, 4, &error));
    CHECK_OK(plimsoll_request_set_min_tokens(bad, 5, &error));
    CHECK_ERROR(PLIMSOLL_ERR_INVALID_ARGUMENT, plimsoll_generate(session, bad, NULL, NULL, NULL, NULL, NULL, &error));

    answer *after = run(session, request);
    CHECK(same_tokens(before, after));
    CHECK_EQ(before->result.prompt_tokens, after->result.prompt_tokens);
    free(before), free(after);
    plimsoll_request_free(request), plimsoll_request_free(bad);
    plimsoll_session_free(session);
    check_idle(runtime, model);
}

/* A message may be empty: its template still says who speaks. */
static void an_empty_message_is_answered(void) {
    plimsoll_session *session = open_session(model);
    plimsoll_request *request = request_of("", 4);
    answer *a = run(session, request);
    CHECK_EQ(a->result.generated_tokens, 4);
    CHECK(a->result.prompt_tokens > 0);
    free(a);
    plimsoll_request_free(request);
    plimsoll_session_free(session);
}

/* max_tokens beyond the context: shrunk to what the context has left, unless the request forbids it. */
static void more_tokens_than_the_context(void) {
    plimsoll_session *session = open_session(model);
    plimsoll_request *request = request_of("hello", UINT32_MAX);
    plimsoll_verdict verdict = what_if(session, request);
    CHECK_EQ(verdict.decision, PLIMSOLL_DECISION_SHRINK);
    CHECK(reason_is(&verdict, "context"));
    CHECK_EQ(verdict.asked_tokens, UINT32_MAX);
    answer *a = run(session, request);
    CHECK_EQ(a->result.decision, PLIMSOLL_DECISION_SHRINK);
    CHECK_EQ(a->result.granted_tokens, verdict.granted_tokens);
    CHECK_EQ(a->result.generated_tokens, verdict.granted_tokens);
    CHECK(a->result.prompt_tokens + a->result.granted_tokens <= TINY_CONTEXT);
    free(a);
    CHECK_OK(plimsoll_session_reset(session, &error));
    CHECK_OK(plimsoll_request_set_min_tokens(request, UINT32_MAX, &error));
    CHECK_ERROR(PLIMSOLL_ERR_PROMPT_TOO_LONG, plimsoll_generate(session, request, NULL, NULL, NULL, NULL, NULL, &error));
    plimsoll_request_free(request);
    plimsoll_session_free(session);
    check_idle(runtime, model);
}

int main(void) {
    runtime = runtime_of(NULL);
    model = load(runtime);
    RUN(an_answer_and_its_numbers);
    RUN(turns_keep_their_kv);
    RUN(a_seed_repeats_its_answer);
    RUN(logprobs_are_in_order);
    RUN(a_stop_string_is_cut_off);
    RUN(a_callback_stops);
    RUN(calls_from_a_callback);
    RUN(cancelled_before_the_start);
    RUN(cancelled_from_another_thread);
    RUN(a_deadline_ends_the_answer);
    RUN(requests_that_cannot_run);
    RUN(an_empty_message_is_answered);
    RUN(more_tokens_than_the_context);
    plimsoll_model_unload(model);
    plimsoll_runtime_free(runtime);
    return RESULT();
}
