/* Every setting of a request, and an answer through a callback. */
#include "common.h"

typedef struct {
    char text[4096];
    size_t len;
    uint32_t tokens;
    uint32_t tops;
} answer;

static int32_t collect(const plimsoll_event *event, void *user_data) {
    answer *a = user_data;
    CHECK(event->struct_size >= sizeof *event);
    CHECK(a->len + event->text.len < sizeof a->text);
    if (event->text.len > 0) {
        memcpy(a->text + a->len, event->text.ptr, event->text.len);
        a->len += event->text.len;
    }
    a->tokens += event->kind == PLIMSOLL_EVENT_TOKEN;
    a->tops += event->top_count;
    if (event->top_count > 0) {
        CHECK(event->kind == PLIMSOLL_EVENT_TOKEN && event->top[0].logprob <= 0 && event->logprob <= event->top[0].logprob);
        CHECK(event->top_count < 2 || event->top[1].logprob <= event->top[0].logprob);
    }
    return 0;
}

static void set_everything(plimsoll_request *request) {
    CHECK(plimsoll_request_set_min_tokens(request, 4, NULL) == PLIMSOLL_OK);
    CHECK(plimsoll_request_set_temperature(request, 0.5f, NULL) == PLIMSOLL_OK);
    CHECK(plimsoll_request_set_top_k(request, 40, NULL) == PLIMSOLL_OK);
    CHECK(plimsoll_request_set_top_p(request, 0.9f, NULL) == PLIMSOLL_OK);
    CHECK(plimsoll_request_set_min_p(request, 0.01f, NULL) == PLIMSOLL_OK);
    CHECK(plimsoll_request_set_repetition_penalty(request, 1.1f, NULL) == PLIMSOLL_OK);
    CHECK(plimsoll_request_set_presence_penalty(request, 0.1f, NULL) == PLIMSOLL_OK);
    CHECK(plimsoll_request_set_frequency_penalty(request, 0.1f, NULL) == PLIMSOLL_OK);
    CHECK(plimsoll_request_set_seed(request, 42, NULL) == PLIMSOLL_OK);
    CHECK(plimsoll_request_set_top_logprobs(request, 2, NULL) == PLIMSOLL_OK);
    CHECK(plimsoll_request_set_ignore_eos(request, 1, NULL) == PLIMSOLL_OK);
    CHECK(plimsoll_request_set_deadline_ms(request, 60000, NULL) == PLIMSOLL_OK);
    CHECK(plimsoll_request_add_stop(request, "no such text", 12, NULL) == PLIMSOLL_OK);
    CHECK(plimsoll_request_set_temperature(request, -1.0f, NULL) == PLIMSOLL_ERR_INVALID_ARGUMENT);
}

int main(void) {
    static answer first, second;
    BORDERED(plimsoll_result) result;
    uint32_t tokens[64];
    size_t count = 0;
    plimsoll_runtime *runtime = runtime_of("256MiB");
    plimsoll_model *model = NULL;
    plimsoll_session *session = NULL;
    plimsoll_request *request = request_of("Hello!", 8);

    CHECK(plimsoll_model_load(runtime, "m", 1, MODEL, strlen(MODEL), NULL, NULL, NULL, &model, NULL) == PLIMSOLL_OK);
    CHECK(plimsoll_session_open(model, NULL, &session, NULL) == PLIMSOLL_OK);
    set_everything(request);
    SET_BORDER(result);
    CHECK(plimsoll_generate(session, request, NULL, NULL, collect, &first, &result.value, NULL) == PLIMSOLL_OK);
    CHECK_BORDER(result);
    CHECK(result.value.ending == PLIMSOLL_ENDING_LENGTH && result.value.decision == PLIMSOLL_DECISION_ACCEPT);
    CHECK(result.value.generated_tokens == 8 && result.value.granted_tokens == 8 && first.tokens == 8 && first.tops == 16);
    CHECK(result.value.cached_tokens == 0 && result.value.prompt_tokens > 0 && result.value.tokens_per_second > 0);
    CHECK(result.value.kv_bytes == plimsoll_session_kv_bytes(session) && result.value.bytes_free > 0);
    CHECK(result.value.leased_bytes > 0 && result.value.prefill_us + result.value.decode_us > 0);

    /* The same seed on an empty conversation: the same text. */
    CHECK(plimsoll_session_reset(session, NULL) == PLIMSOLL_OK);
    CHECK(plimsoll_session_kv_bytes(session) == 0);
    CHECK(plimsoll_generate(session, request, NULL, NULL, collect, &second, NULL, NULL) == PLIMSOLL_OK);
    CHECK(second.len == first.len && memcmp(second.text, first.text, first.len) == 0);

    /* Text and tokens instead of messages. */
    CHECK(plimsoll_request_clear(request, NULL) == PLIMSOLL_OK);
    CHECK(plimsoll_generate(session, request, NULL, NULL, NULL, NULL, NULL, NULL) == PLIMSOLL_ERR_EMPTY_REQUEST);
    CHECK(plimsoll_request_set_text(request, "Hello", 5, NULL) == PLIMSOLL_OK);
    CHECK(plimsoll_generate(session, request, NULL, NULL, NULL, NULL, NULL, NULL) == PLIMSOLL_OK);
    CHECK(plimsoll_model_tokenize(model, "Hello", 5, tokens, 64, &count, NULL) == PLIMSOLL_OK && count > 0);
    CHECK(plimsoll_request_set_tokens(request, tokens, count, NULL) == PLIMSOLL_OK);
    CHECK(plimsoll_generate(session, request, NULL, NULL, NULL, NULL, NULL, NULL) == PLIMSOLL_OK);
    plimsoll_request_free(request);
    plimsoll_session_free(session);
    plimsoll_model_unload(model);
    plimsoll_runtime_free(runtime);
    return 0;
}
