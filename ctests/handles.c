/* Handles: orders of freeing, sharing of loaded files, log and progress callbacks, text. */
#include "check.h"

SUITE("handles");

/* Children keep what they need of their parents. */
static void freed_from_the_runtime_down(void) {
    plimsoll_runtime *runtime = runtime_of(NULL);
    plimsoll_model *model = load(runtime);
    plimsoll_runtime_free(runtime);
    plimsoll_session *session = open_session(model);
    plimsoll_model_unload(model);
    plimsoll_request *request = request_of("hello", 16);
    answer *a = run(session, request);
    CHECK_EQ(a->result.generated_tokens, 16);
    free(a);
    plimsoll_stream *stream = NULL;
    plimsoll_cancel *cancel = NULL;
    CHECK_OK(plimsoll_cancel_new(&cancel, &error));
    CHECK_OK(plimsoll_stream_start(session, request, NULL, cancel, &stream, &error));
    plimsoll_cancel_free(cancel);
    plimsoll_request_free(request);
    plimsoll_session_free(session);
    plimsoll_event event = {.struct_size = sizeof event};
    int tokens = 0;
    do {
        event.kind = PLIMSOLL_EVENT_END; /* stays when the call fails */
        CHECK_OK(plimsoll_stream_next(stream, -1, &event, &error));
        tokens += event.kind == PLIMSOLL_EVENT_TOKEN;
    } while (event.kind != PLIMSOLL_EVENT_END);
    CHECK_EQ(tokens, 16);
    plimsoll_stream_free(stream);
}

static void a_config_is_copied(void) {
    const char *const pairs[] = {"memory.budget", "64MiB", NULL};
    plimsoll_config *config = config_of(pairs);
    plimsoll_runtime *runtime = NULL;
    CHECK_OK(plimsoll_runtime_new(config, &runtime, &error));
    CHECK_OK(plimsoll_config_set(config, "memory.budget", 13, "1GiB", 4, &error));
    plimsoll_config_free(config);
    CHECK_EQ(memory_of(runtime).capacity_bytes, 64 << 20);
    plimsoll_runtime_free(runtime);
}

/* The same files through two paths are one copy, which goes with its last handle. */
static void files_are_shared(void) {
    plimsoll_runtime *runtime = runtime_of(NULL);
    plimsoll_model *one = load(runtime);
    uint64_t weights = memory_of(runtime).weights_bytes;
    plimsoll_model *two = load_for(runtime, "./tests/golden/../golden/models/llama3/", "16");
    CHECK_EQ(memory_of(runtime).weights_bytes, weights);
    CHECK_EQ(weights, facts_of(two).weights_bytes);
    plimsoll_session *session = open_session(two);
    plimsoll_model_unload(one);
    plimsoll_model_unload(two);
    CHECK_EQ(memory_of(runtime).weights_bytes, weights);
    plimsoll_session_free(session);
    CHECK_EQ(memory_of(runtime).used_bytes, 0);
    plimsoll_runtime_free(runtime);
}

typedef struct {
    uint64_t bytes;
    int32_t last;
    int calls, stop_after;
    bool wrong;
} progress;

static int32_t on_progress(const plimsoll_progress *now, void *user_data) {
    progress *p = user_data;
    p->wrong |= now->struct_size < sizeof *now || now->state < p->last || now->bytes_done < p->bytes
                || now->bytes_done > now->bytes_total || now->shard > now->shards || now->reserved != 0;
    p->last = now->state;
    p->bytes = now->bytes_done;
    return ++p->calls > p->stop_after;
}

static plimsoll_status load_watched(const plimsoll_runtime *runtime, progress *p, plimsoll_model **model,
                                    plimsoll_error **error) {
    const char *path = "tests/golden/models/llama-sharded";
    return plimsoll_model_load(runtime, "test", 4, path, strlen(path), NULL, on_progress, p, model, error);
}

static void progress_is_told(void) {
    plimsoll_runtime *runtime = runtime_of(NULL);
    plimsoll_model *model = NULL;
    progress p = {.stop_after = 1 << 30};
    CHECK_OK(load_watched(runtime, &p, &model, &error));
    CHECK(!p.wrong && p.calls >= 4);
    CHECK_EQ(p.last, PLIMSOLL_LOAD_READY);
    CHECK(p.bytes > 0);
    plimsoll_model_unload(model);
    plimsoll_runtime_free(runtime);
}

/* Wherever the callback stops it, the load ends and leaves nothing behind. */
static void a_load_is_stopped(void) {
    plimsoll_runtime *runtime = runtime_of(NULL);
    int stopped = 0;
    for (int after = 0; after < 64; after++) {
        plimsoll_model *model = NULL;
        plimsoll_error *error = NULL;
        progress p = {.stop_after = after};
        plimsoll_status status = load_watched(runtime, &p, &model, &error);
        if (status == PLIMSOLL_OK) {
            plimsoll_model_unload(model);
            CHECK_EQ(memory_of(runtime).used_bytes, 0);
            break;
        }
        stopped++;
        CHECK_EQ(status, PLIMSOLL_ERR_LOAD_CANCELLED);
        CHECK(model == NULL);
        CHECK_EQ(memory_of(runtime).used_bytes, 0);
        plimsoll_error_free(error);
    }
    CHECK(stopped >= 2);
    plimsoll_runtime_free(runtime);
}

typedef struct {
    int lines, dropped;
    bool wrong;
} journal;

static void on_log(int32_t level, plimsoll_str target, plimsoll_str text, void *user_data) {
    journal *j = user_data;
    j->lines++;
    j->wrong |= j->dropped > 0 || level < PLIMSOLL_LOG_ERROR || level > PLIMSOLL_LOG_TRACE || target.len < 8
                || memcmp(target.ptr, "plimsoll", 8) != 0 || text.len == 0;
}

static void on_drop(void *user_data) {
    journal *j = user_data;
    j->dropped++;
}

static void a_log_is_dropped_once(void) {
    journal first = {0}, second = {0}, refused = {0};
    CHECK_OK(plimsoll_log_set(on_log, PLIMSOLL_LOG_TRACE, &first, on_drop, &error));
    plimsoll_runtime *runtime = runtime_of(NULL);
    plimsoll_model *model = load(runtime);
    CHECK(first.lines > 0 && !first.wrong && first.dropped == 0);
    CHECK_ERROR(PLIMSOLL_ERR_INVALID_ARGUMENT, plimsoll_log_set(on_log, 99, &refused, on_drop, &error));
    CHECK_EQ(refused.dropped, 1);
    CHECK_OK(plimsoll_log_set(on_log, PLIMSOLL_LOG_OFF, &second, on_drop, &error));
    CHECK_EQ(first.dropped, 1);
    int lines = first.lines;
    plimsoll_model_unload(model);
    plimsoll_runtime_free(runtime);
    CHECK_EQ(first.lines, lines);
    CHECK_EQ(second.lines, 0);
    CHECK_EQ(second.dropped, 0);
    CHECK_OK(plimsoll_log_set(NULL, PLIMSOLL_LOG_OFF, NULL, NULL, &error));
    CHECK(first.dropped == 1 && second.dropped == 1 && refused.dropped == 1);
}

/* The bytes of a text's tokens are the text; ids beyond the vocabulary have none. */
static void text_to_tokens_and_back(void) {
    static const char text[] = "Hello, w\xc3\xb6rld! \xf0\x9f\x9a\xa2 1 + 2";
    plimsoll_runtime *runtime = runtime_of(NULL);
    plimsoll_model *model = load(runtime);
    size_t count = 0, again = 0, at = 0;
    uint32_t tokens[64] = {0};
    CHECK_OK(plimsoll_model_tokenize(model, text, strlen(text), NULL, 0, &count, &error));
    REQUIRE(count > 0 && count < 64);
    CHECK_OK(plimsoll_model_tokenize(model, text, strlen(text), tokens, count - 1, &again, &error));
    CHECK_EQ(again, count);
    CHECK_EQ(tokens[count - 1], 0);
    CHECK_OK(plimsoll_model_tokenize(model, text, strlen(text), tokens, 64, &again, &error));
    CHECK_EQ(again, count);
    char back[sizeof text + 64] = "";
    for (size_t i = 0; i < count; i++) {
        plimsoll_str bytes = plimsoll_model_token_bytes(model, tokens[i]);
        REQUIRE(at + bytes.len < sizeof back);
        memcpy(back + at, bytes.ptr, bytes.len);
        at += bytes.len;
    }
    /* The model may begin a text with a token of its own. */
    REQUIRE(at >= strlen(text));
    CHECK(memcmp(back + at - strlen(text), text, strlen(text)) == 0);
    CHECK_EQ(plimsoll_model_token_bytes(model, facts_of(model).vocab_size).len, 0);
    CHECK_EQ(plimsoll_model_token_bytes(model, UINT32_MAX).len, 0);

    plimsoll_message message = {{"user", 4}, {text, strlen(text)}};
    plimsoll_text *rendered = NULL;
    CHECK_OK(plimsoll_model_render(model, &message, 1, &rendered, &error));
    plimsoll_str out = plimsoll_text_str(rendered);
    char *copy = calloc(1, out.len + 1);
    REQUIRE(copy != NULL);
    memcpy(copy, out.ptr, out.len);
    CHECK(strstr(copy, text) != NULL && out.len > strlen(text));
    free(copy);
    plimsoll_text_free(rendered);
    plimsoll_model_unload(model);
    plimsoll_runtime_free(runtime);
}

int main(void) {
    RUN(freed_from_the_runtime_down);
    RUN(a_config_is_copied);
    RUN(files_are_shared);
    RUN(progress_is_told);
    RUN(a_load_is_stopped);
    RUN(a_log_is_dropped_once);
    RUN(text_to_tokens_and_back);
    return RESULT();
}
