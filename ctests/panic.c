/* A panic inside the library, forced by PLIMSOLL_PANIC_IN in a build with the feature `faults`: the call says INTERNAL, the
 * session or stream it happened in can only be freed, and the runtime works on. */
#include "check.h"

SUITE("panic");

static plimsoll_runtime *runtime;
static plimsoll_model *model;
static plimsoll_session *session;
static plimsoll_request *request;
static plimsoll_config *config;
static plimsoll_stream *stream;

static uint32_t ids[4];
static size_t count;
static plimsoll_text *text;
static plimsoll_model *loaded;
static plimsoll_runtime *new_runtime;
static plimsoll_config *new_config;
static plimsoll_request *new_request;
static plimsoll_session *new_session;
static plimsoll_cancel *new_cancel;
static plimsoll_stream *new_stream;
static plimsoll_buffer *new_buffer;
static plimsoll_pool pool = {.struct_size = sizeof pool};
static plimsoll_memory memory = {.struct_size = sizeof memory};
static plimsoll_monitor_snapshot snapshot = {.struct_size = sizeof snapshot};
static uint64_t id;
static plimsoll_model_facts facts = {.struct_size = sizeof facts};
static plimsoll_verdict verdict = {.struct_size = sizeof verdict};
static plimsoll_result result = {.struct_size = sizeof result};
static plimsoll_event event = {.struct_size = sizeof event};
static plimsoll_engine_table table = {.struct_size = sizeof table};

/* Every call that returns a status, so that ctests/run.sh can compare the list with the header. */
#define CALLS(X)                                                                                                       \
    X(plimsoll_config_new, (&new_config, error))                                                                       \
    X(plimsoll_config_set, (config, "guard.reserve_mb", 16, "1", 1, error))                                            \
    X(plimsoll_log_set, (NULL, PLIMSOLL_LOG_OFF, NULL, NULL, error))                                                   \
    X(plimsoll_runtime_new, (NULL, &new_runtime, error))                                                               \
    X(plimsoll_memory_stats, (runtime, &memory, error))                                                                \
    X(plimsoll_memory_stats_json, (runtime, &text, error))                                                             \
    X(plimsoll_memory_report, (runtime, &text, error))                                                                 \
    X(plimsoll_monitor_get_snapshot, (runtime, -1, &snapshot, error))                                                  \
    X(plimsoll_monitor_history_json, (runtime, &text, error))                                                          \
    X(plimsoll_monitor_alerts_json, (runtime, &text, error))                                                           \
    X(plimsoll_monitor_on_alert, (runtime, NULL, NULL, NULL, error))                                                   \
    X(plimsoll_cleanup_register, (runtime, "a", 1, NULL, NULL, NULL, &id, error))                                      \
    X(plimsoll_cleanup_unregister, (runtime, 1, error))                                                                \
    X(plimsoll_memory_cleanup, (runtime, &id, error))                                                                  \
    X(plimsoll_pool_acquire, (runtime, 1, &new_buffer, error))                                                         \
    X(plimsoll_pool_stats, (runtime, &pool, error))                                                                    \
    X(plimsoll_model_load, (runtime, "a", 1, TINY, strlen(TINY), NULL, NULL, NULL, &loaded, error))                    \
    X(plimsoll_model_attach, (runtime, "a", 1, NULL, 0, &table, NULL, NULL, NULL, &loaded, error))                     \
    X(plimsoll_engine_attach, (model, config, error))                                                                  \
    X(plimsoll_model_get_facts, (model, &facts, error))                                                                \
    X(plimsoll_model_tokenize, (model, "a", 1, ids, 4, &count, error))                                                 \
    X(plimsoll_model_render, (model, NULL, 0, &text, error))                                                           \
    X(plimsoll_model_render_request, (model, request, &text, error))                                                   \
    X(plimsoll_model_check_integrity, (model, error))                                                                  \
    X(plimsoll_model_evict, (model, NULL, error))                                                                      \
    X(plimsoll_session_open, (model, NULL, &new_session, error))                                                       \
    X(plimsoll_request_new, (&new_request, error))                                                                     \
    X(plimsoll_request_add_message, (request, "user", 4, "a", 1, error))                                               \
    X(plimsoll_request_add_message_json, (request, "{}", 2, error))                                                    \
    X(plimsoll_request_set_tools, (request, "[]", 2, error))                                                           \
    X(plimsoll_request_set_text, (request, "a", 1, error))                                                             \
    X(plimsoll_request_set_tokens, (request, ids, 4, error))                                                           \
    X(plimsoll_request_clear, (request, error))                                                                        \
    X(plimsoll_request_add_stop, (request, "a", 1, error))                                                             \
    X(plimsoll_request_set_max_tokens, (request, 1, error))                                                            \
    X(plimsoll_request_set_min_tokens, (request, 1, error))                                                            \
    X(plimsoll_request_set_temperature, (request, 1, error))                                                           \
    X(plimsoll_request_set_top_k, (request, 1, error))                                                                 \
    X(plimsoll_request_set_top_p, (request, 1, error))                                                                 \
    X(plimsoll_request_set_min_p, (request, 0, error))                                                                 \
    X(plimsoll_request_set_repetition_penalty, (request, 1, error))                                                    \
    X(plimsoll_request_set_presence_penalty, (request, 1, error))                                                      \
    X(plimsoll_request_set_frequency_penalty, (request, 1, error))                                                     \
    X(plimsoll_request_set_seed, (request, 1, error))                                                                  \
    X(plimsoll_request_set_top_logprobs, (request, 1, error))                                                          \
    X(plimsoll_request_set_ignore_eos, (request, 0, error))                                                            \
    X(plimsoll_request_set_degradable, (request, 1, error))                                                            \
    X(plimsoll_request_set_deadline_ms, (request, 1, error))                                                           \
    X(plimsoll_request_set_wait_ms, (request, 1, error))                                                               \
    X(plimsoll_request_set_priority, (request, 1, error))                                                              \
    X(plimsoll_request_set_answers, (request, 1, error))                                                               \
    X(plimsoll_ticket_json, (NULL, &text, error))                                                                      \
    X(plimsoll_cancel_new, (&new_cancel, error))

#define SESSION_CALLS(X)                                                                                               \
    X(plimsoll_admit, (session, request, &verdict, NULL, error))                                                       \
    X(plimsoll_what_if_json, (session, request, &text, error))                                                         \
    X(plimsoll_generate, (session, request, NULL, NULL, NULL, NULL, &result, error))                                   \
    X(plimsoll_generate_answers, (session, request, NULL, NULL, NULL, NULL, &result, 1, error))                        \
    X(plimsoll_stream_start, (session, request, NULL, NULL, &new_stream, error))                                       \
    X(plimsoll_session_reset, (session, error))                                                                        \
    X(plimsoll_session_evict, (session, NULL, error))

#define STREAM_CALLS(X)                                                                                                \
    X(plimsoll_stream_next, (stream, -1, &event, error))                                                               \
    X(plimsoll_stream_result, (stream, &result, error))                                                                \
    X(plimsoll_stream_answer, (stream, 0, &result, NULL, error))

typedef struct {
    const char *name;
    plimsoll_status (*call)(plimsoll_error **error);
} forced;

#define DEFINE(name, arguments)                           \
    static plimsoll_status call_##name(plimsoll_error **error) { \
        return name arguments;                            \
    }
#define ENTRY(name, arguments) {#name, call_##name},
CALLS(DEFINE)
SESSION_CALLS(DEFINE)
STREAM_CALLS(DEFINE)
static const forced calls[] = {CALLS(ENTRY)};
static const forced session_calls[] = {SESSION_CALLS(ENTRY)};
static const forced stream_calls[] = {STREAM_CALLS(ENTRY)};
enum { CALL_COUNT = sizeof calls / sizeof *calls, SESSION_COUNT = 6, STREAM_COUNT = 2 };

/* Calls with the panic forced. */
static void force(const forced *f) {
    plimsoll_error *error = NULL;
    setenv("PLIMSOLL_PANIC_IN", f->name, 1);
    CHECK_EQ(f->call(&error), PLIMSOLL_ERR_INTERNAL);
    unsetenv("PLIMSOLL_PANIC_IN");
    CHECK_EQ(plimsoll_error_code(error), PLIMSOLL_ERR_INTERNAL);
    CHECK_EQ(plimsoll_error_section(error), PLIMSOLL_SECTION_INTERNAL);
    plimsoll_str message = plimsoll_error_message(error);
    CHECK(message.len > strlen(f->name) && memcmp(message.ptr, f->name, strlen(f->name)) == 0);
    plimsoll_error_free(error);
}

static void check_works(void) {
    plimsoll_session *fresh = open_session(model);
    plimsoll_request *plain = request_of("hello", 4);
    answer *a = run(fresh, plain);
    CHECK_EQ(a->result.generated_tokens, 4);
    free(a);
    plimsoll_request_free(plain);
    plimsoll_session_free(fresh);
    check_idle(runtime, model);
}

/* Calls that belong to no session: an error, and the same call works right after. */
static void every_call_survives(void) {
    for (size_t i = 0; i < CALL_COUNT; i++) {
        force(&calls[i]);
    }
    CHECK(text == NULL && loaded == NULL && new_runtime == NULL && new_config == NULL && new_request == NULL
          && new_session == NULL && new_cancel == NULL && count == 0 && id == 0);
    check_works();
}

static void a_session_is_poisoned(void) {
    for (size_t i = 0; i < SESSION_COUNT; i++) {
        session = open_session(model);
        free(run(session, request));
        force(&session_calls[i]);
        CHECK(new_stream == NULL);
        for (size_t j = 0; j < SESSION_COUNT; j++) {
            CHECK_ERROR(PLIMSOLL_ERR_POISONED, session_calls[j].call(&error));
        }
        CHECK(plimsoll_session_id(session) > 0);
        plimsoll_session_free(session);
        check_works();
    }
}

static void a_stream_is_poisoned(void) {
    for (size_t i = 0; i < STREAM_COUNT; i++) {
        session = open_session(model);
        CHECK_OK(plimsoll_stream_start(session, request, NULL, NULL, &stream, &error));
        force(&stream_calls[i]);
        for (size_t j = 0; j < STREAM_COUNT; j++) {
            CHECK_ERROR(PLIMSOLL_ERR_POISONED, stream_calls[j].call(&error));
        }
        plimsoll_stream_free(stream);
        /* It was the stream's fault: the session goes on. */
        CHECK_OK(plimsoll_session_reset(session, &error));
        free(run(session, request));
        plimsoll_session_free(session);
        check_works();
    }
}

int main(void) {
    runtime = runtime_of(NULL);
    model = load(runtime);
    request = request_of("hello", 16);
    config = config_of(NULL);
    RUN(every_call_survives);
    RUN(a_session_is_poisoned);
    RUN(a_stream_is_poisoned);
    plimsoll_config_free(config);
    plimsoll_request_free(request);
    plimsoll_model_unload(model);
    plimsoll_runtime_free(runtime);
    return RESULT();
}
