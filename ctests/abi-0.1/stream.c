/* An answer that is pulled, and one that is cancelled; from a stream and from elsewhere. */
#include "common.h"

/* Pulls to the end; the number of tokens that came. */
static uint32_t drain(plimsoll_stream *stream, char *text, size_t capacity, size_t *len) {
    uint32_t tokens = 0;
    BORDERED(plimsoll_event) event;
    for (;;) {
        SET_BORDER(event);
        CHECK(plimsoll_stream_next(stream, 5000, &event.value, NULL) == PLIMSOLL_OK);
        CHECK_BORDER(event);
        CHECK(event.value.kind != PLIMSOLL_EVENT_TIMEOUT);
        if (event.value.kind == PLIMSOLL_EVENT_END) {
            return tokens;
        }
        tokens += event.value.kind == PLIMSOLL_EVENT_TOKEN;
        if (event.value.text.len > 0 && *len + event.value.text.len <= capacity) {
            memcpy(text + *len, event.value.text.ptr, event.value.text.len);
            *len += event.value.text.len;
        }
    }
}

int main(void) {
    char text[1024];
    size_t len = 0;
    BORDERED(plimsoll_result) result;
    plimsoll_runtime *runtime = runtime_of("256MiB");
    plimsoll_model *model = NULL;
    plimsoll_session *session = NULL;
    plimsoll_stream *stream = NULL;
    plimsoll_cancel *cancel = NULL;
    plimsoll_request *request = request_of("Hello!", 64), *endless = request_of("Hello!", 1500);

    CHECK(plimsoll_model_load(runtime, "m", 1, MODEL, strlen(MODEL), NULL, NULL, NULL, &model, NULL) == PLIMSOLL_OK);
    CHECK(plimsoll_session_open(model, NULL, &session, NULL) == PLIMSOLL_OK);
    CHECK(plimsoll_stream_start(session, request, NULL, NULL, &stream, NULL) == PLIMSOLL_OK);
    SET_BORDER(result);
    CHECK(drain(stream, text, sizeof text, &len) > 0);
    CHECK(len >= 5 && memcmp(text, "Hello", 5) == 0);
    CHECK(plimsoll_stream_result(stream, &result.value, NULL) == PLIMSOLL_OK);
    CHECK_BORDER(result);
    CHECK(result.value.ending == PLIMSOLL_ENDING_END_OF_TEXT);
    plimsoll_stream_free(stream);

    CHECK(plimsoll_request_set_ignore_eos(endless, 1, NULL) == PLIMSOLL_OK);
    CHECK(plimsoll_stream_start(session, endless, NULL, NULL, &stream, NULL) == PLIMSOLL_OK);
    CHECK(plimsoll_session_reset(session, NULL) == PLIMSOLL_ERR_BUSY);
    CHECK(plimsoll_stream_result(stream, &result.value, NULL) == PLIMSOLL_ERR_INVALID_ARGUMENT);
    plimsoll_stream_cancel(stream);
    CHECK(drain(stream, text, sizeof text, &len) < 1500);
    CHECK(plimsoll_stream_result(stream, &result.value, NULL) == PLIMSOLL_OK);
    CHECK(result.value.ending == PLIMSOLL_ENDING_CANCELLED);
    plimsoll_stream_free(stream);

    CHECK(plimsoll_cancel_new(&cancel, NULL) == PLIMSOLL_OK);
    plimsoll_cancel_raise(cancel);
    CHECK(plimsoll_generate(session, endless, NULL, cancel, NULL, NULL, &result.value, NULL) == PLIMSOLL_OK);
    CHECK(result.value.ending == PLIMSOLL_ENDING_CANCELLED);
    plimsoll_cancel_free(cancel);
    plimsoll_request_free(endless);
    plimsoll_request_free(request);
    plimsoll_session_free(session);
    plimsoll_model_unload(model);
    plimsoll_runtime_free(runtime);
    return 0;
}
