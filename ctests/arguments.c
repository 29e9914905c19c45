/* Arguments that are wrong: NULL, text that is not UTF-8, sizes that are not set, values out of range. */
#include "check.h"

#include "lookup/lookup.h"

#include <math.h>

SUITE("arguments");

static plimsoll_runtime *runtime;
static plimsoll_model *model;
static plimsoll_session *session;
static plimsoll_request *request;

static void versions(void) {
    char expected[32];
    snprintf(expected, sizeof expected, "%d.%d.%d", PLIMSOLL_VERSION_MAJOR, PLIMSOLL_VERSION_MINOR,
             PLIMSOLL_VERSION_PATCH);
    CHECK(strcmp(plimsoll_version(), expected) == 0);
    CHECK_EQ(plimsoll_abi_version(), PLIMSOLL_ABI_VERSION);
}

static void null_is_freed_and_read(void) {
    plimsoll_error_free(NULL);
    plimsoll_text_free(NULL);
    plimsoll_config_free(NULL);
    plimsoll_runtime_free(NULL);
    plimsoll_model_unload(NULL);
    plimsoll_session_free(NULL);
    plimsoll_request_free(NULL);
    plimsoll_cancel_free(NULL);
    plimsoll_cancel_raise(NULL);
    plimsoll_ticket_free(NULL);
    plimsoll_stream_free(NULL);
    plimsoll_stream_cancel(NULL);
    CHECK_EQ(plimsoll_error_code(NULL), PLIMSOLL_OK);
    CHECK_EQ(plimsoll_error_section(NULL), 0);
    CHECK_EQ(plimsoll_error_message(NULL).len, 0);
    CHECK_EQ(plimsoll_error_is_retryable(NULL), 0);
    CHECK_EQ(plimsoll_error_bytes_asked(NULL), 0);
    CHECK_EQ(plimsoll_error_bytes_free(NULL), 0);
    CHECK_EQ(plimsoll_error_fits_tokens(NULL), 0);
    CHECK_EQ(plimsoll_error_retry_after_ms(NULL), -1);
    CHECK_EQ(plimsoll_text_str(NULL).len, 0);
    CHECK_EQ(plimsoll_session_id(NULL), 0);
    CHECK_EQ(plimsoll_session_kv_bytes(NULL), 0);
    CHECK_EQ(plimsoll_model_token_bytes(NULL, 0).len, 0);
    CHECK_EQ(plimsoll_can_allocate(NULL, 1, 0), 0);
    CHECK_EQ(plimsoll_is_low_memory(NULL, 0.5), 0);
}

/* Every pointer that a call requires, one at a time. */
static void null_is_refused(void) {
    enum { NUL = PLIMSOLL_ERR_NULL_POINTER };
    plimsoll_config *config = config_of(NULL);
    plimsoll_text *text = NULL;
    plimsoll_model *loaded = NULL;
    plimsoll_stream *stream = NULL;
    plimsoll_event event = {.struct_size = sizeof event};
    plimsoll_result result = {.struct_size = sizeof result};
    plimsoll_verdict verdict = {.struct_size = sizeof verdict};
    plimsoll_memory memory = {.struct_size = sizeof memory};
    plimsoll_model_facts facts = {.struct_size = sizeof facts};
    size_t count = 0;

    CHECK_ERROR(NUL, plimsoll_config_new(NULL, &error));
    CHECK_ERROR(NUL, plimsoll_config_set(NULL, "a", 1, "b", 1, &error));
    CHECK_ERROR(NUL, plimsoll_config_set(config, NULL, 1, "b", 1, &error));
    CHECK_ERROR(NUL, plimsoll_config_set(config, "memory.budget", 13, NULL, 1, &error));
    CHECK_ERROR(NUL, plimsoll_runtime_new(NULL, NULL, &error));
    CHECK_ERROR(NUL, plimsoll_memory_stats(NULL, &memory, &error));
    CHECK_ERROR(NUL, plimsoll_memory_stats(runtime, NULL, &error));
    CHECK_ERROR(NUL, plimsoll_memory_stats_json(NULL, &text, &error));
    CHECK_ERROR(NUL, plimsoll_memory_stats_json(runtime, NULL, &error));
    CHECK_ERROR(NUL, try_load(NULL, TINY, &loaded, &error));
    CHECK_ERROR(NUL, try_load(runtime, TINY, NULL, &error));
    CHECK_ERROR(NUL, plimsoll_model_load(runtime, "a", 1, NULL, 1, NULL, NULL, NULL, &loaded, &error));
    CHECK_ERROR(NUL, plimsoll_model_load(runtime, NULL, 1, TINY, strlen(TINY), NULL, NULL, NULL, &loaded, &error));
    plimsoll_engine_table table = lookup_table();
    CHECK_ERROR(NUL, plimsoll_model_attach(NULL, "a", 1, NULL, 0, &table, NULL, NULL, NULL, &loaded, &error));
    CHECK_ERROR(NUL, plimsoll_model_attach(runtime, "a", 1, NULL, 0, NULL, NULL, NULL, NULL, &loaded, &error));
    CHECK_ERROR(NUL, plimsoll_model_attach(runtime, "a", 1, NULL, 0, &table, NULL, NULL, NULL, NULL, &error));
    CHECK_ERROR(NUL, plimsoll_model_attach(runtime, NULL, 1, NULL, 0, &table, NULL, NULL, NULL, &loaded, &error));
    CHECK_ERROR(NUL, plimsoll_model_attach(runtime, "a", 1, NULL, 1, &table, NULL, NULL, NULL, &loaded, &error));
    CHECK_ERROR(NUL, plimsoll_engine_attach(NULL, config, &error));
    CHECK_ERROR(NUL, plimsoll_model_get_facts(NULL, &facts, &error));
    CHECK_ERROR(NUL, plimsoll_model_get_facts(model, NULL, &error));
    CHECK_ERROR(NUL, plimsoll_model_tokenize(NULL, "a", 1, NULL, 0, &count, &error));
    CHECK_ERROR(NUL, plimsoll_model_tokenize(model, "a", 1, NULL, 0, NULL, &error));
    CHECK_ERROR(NUL, plimsoll_model_tokenize(model, "a", 1, NULL, 1, &count, &error));
    CHECK_ERROR(NUL, plimsoll_model_tokenize(model, NULL, 1, NULL, 0, &count, &error));
    CHECK_ERROR(NUL, plimsoll_model_render(NULL, NULL, 0, &text, &error));
    CHECK_ERROR(NUL, plimsoll_model_render(model, NULL, 1, &text, &error));
    CHECK_ERROR(NUL, plimsoll_model_render(model, NULL, 0, NULL, &error));
    CHECK_ERROR(NUL, plimsoll_model_render_request(NULL, request, &text, &error));
    CHECK_ERROR(NUL, plimsoll_model_render_request(model, NULL, &text, &error));
    CHECK_ERROR(NUL, plimsoll_model_render_request(model, request, NULL, &error));
    CHECK_ERROR(NUL, plimsoll_model_check_integrity(NULL, &error));
    CHECK_ERROR(NUL, plimsoll_model_evict(NULL, NULL, &error));
    CHECK_EQ(plimsoll_model_is_loaded(NULL), 0);
    CHECK_ERROR(NUL, plimsoll_session_open(NULL, NULL, &session, &error));
    CHECK_ERROR(NUL, plimsoll_session_open(model, NULL, NULL, &error));
    CHECK_ERROR(NUL, plimsoll_session_reset(NULL, &error));
    CHECK_ERROR(NUL, plimsoll_session_evict(NULL, NULL, &error));
    CHECK_ERROR(NUL, plimsoll_request_new(NULL, &error));
    CHECK_ERROR(NUL, plimsoll_request_add_message(NULL, "user", 4, "a", 1, &error));
    CHECK_ERROR(NUL, plimsoll_request_add_message(request, NULL, 4, "a", 1, &error));
    CHECK_ERROR(NUL, plimsoll_request_add_message(request, "user", 4, NULL, 1, &error));
    CHECK_ERROR(NUL, plimsoll_request_add_message_json(NULL, "{}", 2, &error));
    CHECK_ERROR(NUL, plimsoll_request_add_message_json(request, NULL, 2, &error));
    CHECK_ERROR(NUL, plimsoll_request_set_tools(NULL, "[]", 2, &error));
    CHECK_ERROR(NUL, plimsoll_request_set_tools(request, NULL, 2, &error));
    CHECK_ERROR(NUL, plimsoll_request_set_text(NULL, "a", 1, &error));
    CHECK_ERROR(NUL, plimsoll_request_set_text(request, NULL, 1, &error));
    CHECK_ERROR(NUL, plimsoll_request_set_tokens(NULL, NULL, 0, &error));
    CHECK_ERROR(NUL, plimsoll_request_set_tokens(request, NULL, 1, &error));
    CHECK_ERROR(NUL, plimsoll_request_clear(NULL, &error));
    CHECK_ERROR(NUL, plimsoll_request_add_stop(NULL, "a", 1, &error));
    CHECK_ERROR(NUL, plimsoll_request_add_stop(request, NULL, 1, &error));
    CHECK_ERROR(NUL, plimsoll_request_set_max_tokens(NULL, 1, &error));
    CHECK_ERROR(NUL, plimsoll_request_set_min_tokens(NULL, 1, &error));
    CHECK_ERROR(NUL, plimsoll_request_set_temperature(NULL, 1, &error));
    CHECK_ERROR(NUL, plimsoll_request_set_top_k(NULL, 1, &error));
    CHECK_ERROR(NUL, plimsoll_request_set_top_p(NULL, 1, &error));
    CHECK_ERROR(NUL, plimsoll_request_set_min_p(NULL, 0, &error));
    CHECK_ERROR(NUL, plimsoll_request_set_repetition_penalty(NULL, 1, &error));
    CHECK_ERROR(NUL, plimsoll_request_set_presence_penalty(NULL, 0, &error));
    CHECK_ERROR(NUL, plimsoll_request_set_frequency_penalty(NULL, 0, &error));
    CHECK_ERROR(NUL, plimsoll_request_set_seed(NULL, 1, &error));
    CHECK_ERROR(NUL, plimsoll_request_set_top_logprobs(NULL, 1, &error));
    CHECK_ERROR(NUL, plimsoll_request_set_ignore_eos(NULL, 1, &error));
    CHECK_ERROR(NUL, plimsoll_request_set_degradable(NULL, 1, &error));
    CHECK_ERROR(NUL, plimsoll_request_set_deadline_ms(NULL, 1, &error));
    CHECK_ERROR(NUL, plimsoll_cancel_new(NULL, &error));
    CHECK_ERROR(NUL, plimsoll_admit(NULL, request, &verdict, NULL, &error));
    CHECK_ERROR(NUL, plimsoll_admit(session, NULL, &verdict, NULL, &error));
    CHECK_ERROR(NUL, plimsoll_what_if_json(NULL, request, &text, &error));
    CHECK_ERROR(NUL, plimsoll_what_if_json(session, NULL, &text, &error));
    CHECK_ERROR(NUL, plimsoll_what_if_json(session, request, NULL, &error));
    CHECK_ERROR(NUL, plimsoll_ticket_json(NULL, &text, &error));
    CHECK_ERROR(NUL, plimsoll_generate(NULL, request, NULL, NULL, NULL, NULL, &result, &error));
    CHECK_ERROR(NUL, plimsoll_generate(session, NULL, NULL, NULL, NULL, NULL, &result, &error));
    CHECK_ERROR(NUL, plimsoll_stream_start(NULL, request, NULL, NULL, &stream, &error));
    CHECK_ERROR(NUL, plimsoll_stream_start(session, NULL, NULL, NULL, &stream, &error));
    CHECK_ERROR(NUL, plimsoll_stream_start(session, request, NULL, NULL, NULL, &error));
    CHECK_ERROR(NUL, plimsoll_stream_next(NULL, 0, &event, &error));
    CHECK_ERROR(NUL, plimsoll_stream_result(NULL, &result, &error));
    CHECK_ERROR(NUL, plimsoll_stream_answer(NULL, 0, &result, NULL, &error));
    CHECK_ERROR(NUL, plimsoll_generate_answers(NULL, NULL, NULL, NULL, NULL, NULL, &result, 1, &error));
    CHECK(text == NULL && loaded == NULL && stream == NULL && count == 0);
    plimsoll_config_free(config);
}

/* Errors are optional: without a place for one the status alone comes back. */
static void no_error_is_wanted(void) {
    CHECK_EQ(plimsoll_config_new(NULL, NULL), PLIMSOLL_ERR_NULL_POINTER);
    CHECK_EQ(plimsoll_generate(session, NULL, NULL, NULL, NULL, NULL, NULL, NULL), PLIMSOLL_ERR_NULL_POINTER);
}

static void text_is_utf8(void) {
    static const char *const bad[] = {"\xff", "ab\x80", "\xc3", "\xed\xa0\x80", "\xf5\x80\x80\x80", "\xc0\xaf"};
    enum { UTF8 = PLIMSOLL_ERR_INVALID_UTF8 };
    plimsoll_config *config = config_of(NULL);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        size_t len = strlen(bad[i]), count = 0;
        plimsoll_message message = {{"user", 4}, {bad[i], len}};
        plimsoll_text *text = NULL;
        plimsoll_model *loaded = NULL;
        CHECK_ERROR(UTF8, plimsoll_config_set(config, bad[i], len, "1", 1, &error));
        CHECK_ERROR(UTF8, plimsoll_config_set(config, "memory.budget", 13, bad[i], len, &error));
        CHECK_ERROR(UTF8, try_load(runtime, bad[i], &loaded, &error));
        CHECK_ERROR(UTF8, plimsoll_model_tokenize(model, bad[i], len, NULL, 0, &count, &error));
        CHECK_ERROR(UTF8, plimsoll_model_render(model, &message, 1, &text, &error));
        CHECK_ERROR(UTF8, plimsoll_request_add_message(request, "user", 4, bad[i], len, &error));
        CHECK_ERROR(UTF8, plimsoll_request_add_message(request, bad[i], len, "a", 1, &error));
        CHECK_ERROR(UTF8, plimsoll_request_set_text(request, bad[i], len, &error));
        CHECK_ERROR(UTF8, plimsoll_request_add_stop(request, bad[i], len, &error));
    }
    plimsoll_config_free(config);
}

static void struct_size_is_set(void) {
    enum { SIZE = PLIMSOLL_ERR_INVALID_STRUCT_SIZE };
    plimsoll_memory memory = {.struct_size = 0, .capacity_bytes = 7};
    plimsoll_model_facts facts = {.struct_size = 1};
    plimsoll_verdict verdict = {.struct_size = 3};
    plimsoll_result result = {.struct_size = sizeof(size_t) - 1};
    CHECK_ERROR(SIZE, plimsoll_memory_stats(runtime, &memory, &error));
    CHECK_EQ(memory.capacity_bytes, 7);
    CHECK_ERROR(SIZE, plimsoll_model_get_facts(model, &facts, &error));
    CHECK_ERROR(SIZE, plimsoll_admit(session, request, &verdict, NULL, &error));
    CHECK_ERROR(SIZE, plimsoll_generate(session, request, NULL, NULL, NULL, NULL, &result, &error));
}

/* A program of an older header has a shorter struct, one of a newer header a longer. */
static void short_and_long_structs(void) {
    union {
        plimsoll_memory memory;
        unsigned char bytes[sizeof(plimsoll_memory) + 64];
    } place;
    const size_t sizes[] = {16, 24, sizeof(plimsoll_memory), sizeof(plimsoll_memory) + 64};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t written = sizes[i] < sizeof place.memory ? sizes[i] : sizeof place.memory;
        memset(place.bytes, 0xa5, sizeof place.bytes);
        place.memory.struct_size = sizes[i];
        CHECK_OK(plimsoll_memory_stats(runtime, &place.memory, &error));
        CHECK_EQ(place.memory.struct_size, written);
        CHECK_EQ(place.memory.capacity_bytes, memory_of(runtime).capacity_bytes);
        for (size_t at = written; at < sizeof place.bytes; at++) {
            CHECK_EQ(place.bytes[at], 0xa5);
        }
    }
}

static void numbers_in_their_ranges(void) {
    enum { INVALID = PLIMSOLL_ERR_INVALID_ARGUMENT };
    const float nan = (float)NAN, infinite = (float)INFINITY;
    CHECK_ERROR(INVALID, plimsoll_request_set_temperature(request, nan, &error));
    CHECK_ERROR(INVALID, plimsoll_request_set_temperature(request, infinite, &error));
    CHECK_ERROR(INVALID, plimsoll_request_set_temperature(request, -1, &error));
    CHECK_ERROR(INVALID, plimsoll_request_set_top_p(request, nan, &error));
    CHECK_ERROR(INVALID, plimsoll_request_set_top_p(request, 1.5f, &error));
    CHECK_ERROR(INVALID, plimsoll_request_set_top_p(request, -0.5f, &error));
    CHECK_ERROR(INVALID, plimsoll_request_set_min_p(request, nan, &error));
    CHECK_ERROR(INVALID, plimsoll_request_set_min_p(request, 2, &error));
    CHECK_ERROR(INVALID, plimsoll_request_set_repetition_penalty(request, nan, &error));
    CHECK_ERROR(INVALID, plimsoll_request_set_repetition_penalty(request, 0, &error));
    CHECK_ERROR(INVALID, plimsoll_request_set_presence_penalty(request, nan, &error));
    CHECK_ERROR(INVALID, plimsoll_request_set_frequency_penalty(request, infinite, &error));
    CHECK_ERROR(INVALID, plimsoll_request_set_top_logprobs(request, 21, &error));
    CHECK_ERROR(INVALID, plimsoll_request_set_top_logprobs(request, UINT32_MAX, &error));
    CHECK_ERROR(INVALID, plimsoll_request_add_stop(request, "", 0, &error));
    static const char *const no_tools[] = {"", "{}", "null", "[1]", "[{}", "[{}] ]", "[{\"a\": NaN}]"};
    for (size_t i = 0; i < sizeof no_tools / sizeof *no_tools; i++) {
        CHECK_ERROR(INVALID, plimsoll_request_set_tools(request, no_tools[i], strlen(no_tools[i]), &error));
        CHECK_ERROR(INVALID, plimsoll_request_add_message_json(request, no_tools[i], strlen(no_tools[i]), &error));
    }
    CHECK_ERROR(INVALID, plimsoll_request_add_message_json(request, "{\"role\": 1}", 11, &error));
    CHECK_OK(plimsoll_request_set_tools(request, "[]", 2, &error));
    CHECK_OK(plimsoll_request_set_tools(request, NULL, 0, &error));
    CHECK_EQ(plimsoll_can_allocate(runtime, UINT64_MAX, 0), 0);
    /* The request is as it was. */
    answer *a = run(session, request);
    CHECK_EQ(a->result.generated_tokens, 4);
    free(a);
    CHECK_OK(plimsoll_session_reset(session, &error));
}

static void stop_strings_have_limits(void) {
    plimsoll_request *many = request_of("a", 1);
    char text[1025];
    memset(text, 'x', sizeof text);
    CHECK_ERROR(PLIMSOLL_ERR_INVALID_ARGUMENT, plimsoll_request_add_stop(many, text, 1025, &error));
    for (int i = 0; i < 64; i++) {
        CHECK_OK(plimsoll_request_add_stop(many, text, 1024, &error));
    }
    CHECK_ERROR(PLIMSOLL_ERR_INVALID_ARGUMENT, plimsoll_request_add_stop(many, "a", 1, &error));
    plimsoll_request_free(many);
}

static void settings_are_checked(void) {
    static const char *const bad[][2] = {
        {"no.such.key", "1"},      {"memory.budget", "-1"},      {"memory.budget", "5 parsecs"}, {"guard.threshold", "nan"},
        {"guard.threshold", "1.5"}, {"native.threads", "0"},      {"native.backend", "gpu"},      {"native.kv_type", "f64"},
        {"native.block_tokens", "17"}, {"guard.ticket_ttl_s", "inf"}, {"", "1"},                  {"memory.budget", "1e400GiB"},
    };
    plimsoll_config *config = config_of(NULL);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_ERROR(PLIMSOLL_ERR_INVALID_CONFIG,
                    plimsoll_config_set(config, bad[i][0], strlen(bad[i][0]), bad[i][1], strlen(bad[i][1]), &error));
    }
    plimsoll_config_free(config);

    /* A key of a model in the configuration of a runtime, and the other way round. */
    const char *const models[] = {"native.threads", "2", NULL}, *const runtimes[] = {"memory.budget", "1GiB", NULL};
    plimsoll_runtime *other = NULL;
    plimsoll_session *opened = NULL;
    config = config_of(models);
    CHECK_ERROR(PLIMSOLL_ERR_INVALID_CONFIG, plimsoll_runtime_new(config, &other, &error));
    CHECK_ERROR(PLIMSOLL_ERR_INVALID_CONFIG, plimsoll_session_open(model, config, &opened, &error));
    plimsoll_config_free(config);
    plimsoll_model *loaded = NULL;
    config = config_of(runtimes);
    CHECK_ERROR(PLIMSOLL_ERR_INVALID_CONFIG,
                plimsoll_model_load(runtime, "a", 1, TINY, strlen(TINY), config, NULL, NULL, &loaded, &error));
    plimsoll_config_free(config);
    CHECK(other == NULL && opened == NULL && loaded == NULL);
}

/* Engines that later releases bring. */
static void engines_to_come(void) {
    static const char *const kinds[] = {"vllm", "trtllm", "plugin"};
    for (size_t i = 0; i < 3; i++) {
        const char *const pairs[] = {"engine.kind", kinds[i], NULL};
        plimsoll_config *config = config_of(pairs);
        CHECK_ERROR(PLIMSOLL_ERR_UNSUPPORTED, plimsoll_engine_attach(model, config, &error));
        plimsoll_config_free(config);
    }
    const char *const native[] = {"engine.kind", "native", NULL};
    plimsoll_config *config = config_of(native);
    CHECK_OK(plimsoll_engine_attach(model, config, &error));
    plimsoll_config_free(config);
}

int main(void) {
    runtime = runtime_of(NULL);
    model = load(runtime);
    session = open_session(model);
    request = request_of("hello", 4);
    RUN(versions);
    RUN(null_is_freed_and_read);
    RUN(null_is_refused);
    RUN(no_error_is_wanted);
    RUN(text_is_utf8);
    RUN(struct_size_is_set);
    RUN(short_and_long_structs);
    RUN(numbers_in_their_ranges);
    RUN(stop_strings_have_limits);
    RUN(settings_are_checked);
    RUN(engines_to_come);
    plimsoll_request_free(request);
    plimsoll_session_free(session);
    plimsoll_model_unload(model);
    plimsoll_runtime_free(runtime);
    return RESULT();
}
