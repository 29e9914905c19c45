/* Tickets: bytes granted before a run. */
#include "check.h"

SUITE("tickets");

static plimsoll_runtime *runtime;
static plimsoll_model *model;

static plimsoll_ticket *admit(const plimsoll_session *session, const plimsoll_request *request, plimsoll_verdict *verdict) {
    plimsoll_ticket *ticket = NULL;
    verdict->struct_size = sizeof *verdict;
    CHECK_OK(plimsoll_admit(session, request, verdict, &ticket, &error));
    return ticket;
}

static plimsoll_status use(const plimsoll_session *session, const plimsoll_request *request,
                           const plimsoll_ticket *ticket, plimsoll_error **error) {
    return plimsoll_generate(session, request, ticket, NULL, NULL, NULL, NULL, error);
}

static bool same_numbers(const plimsoll_verdict *a, const plimsoll_verdict *b) {
    return a->decision == b->decision && a->asked_tokens == b->asked_tokens && a->granted_tokens == b->granted_tokens
           && a->fits_tokens == b->fits_tokens && a->bytes_asked == b->bytes_asked && a->bytes_free == b->bytes_free
           && a->kv_bytes == b->kv_bytes && a->kv_held_bytes == b->kv_held_bytes && a->request_bytes == b->request_bytes
           && a->workspace_bytes == b->workspace_bytes && a->evict_bytes == b->evict_bytes
           && a->evict_sessions == b->evict_sessions && a->retry_after_ms == b->retry_after_ms;
}

/* A what-if changes nothing, and the admission after it says the same. */
static void what_if_is_admit(void) {
    plimsoll_session *session = open_session(model);
    plimsoll_request *request = request_of("hello", 20);
    plimsoll_memory before = memory_of(runtime);
    plimsoll_verdict guess = what_if(session, request), verdict;
    plimsoll_memory after = memory_of(runtime);
    CHECK_EQ(before.used_bytes, after.used_bytes);
    CHECK_EQ(before.accepted_count, after.accepted_count);
    plimsoll_ticket *ticket = admit(session, request, &verdict);
    CHECK(ticket != NULL);
    CHECK(same_numbers(&guess, &verdict));
    CHECK_EQ(verdict.decision, PLIMSOLL_DECISION_ACCEPT);
    CHECK(reason_is(&verdict, "fits"));
    /* What was asked is what is leased now. */
    after = memory_of(runtime);
    CHECK_EQ(after.used_bytes - before.used_bytes, verdict.bytes_asked);
    CHECK_EQ(after.accepted_count, before.accepted_count + 1);
    plimsoll_ticket_free(ticket);
    CHECK_EQ(memory_of(runtime).used_bytes, before.used_bytes);
    plimsoll_request_free(request);
    plimsoll_session_free(session);
}

/* The number behind the n-th `"key":` of a JSON text, or -1. */
static long long number(const char *json, const char *key, int n) {
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *at = strstr(json, quoted);
    while (at != NULL && n-- > 0) {
        at = strstr(at + 1, quoted);
    }
    return at == NULL ? -1 : atoll(at + strlen(quoted));
}

static char *copy_of(plimsoll_text *text) {
    plimsoll_str json = plimsoll_text_str(text);
    char *copy = calloc(1, json.len + 1);
    REQUIRE(copy != NULL);
    memcpy(copy, json.ptr, json.len);
    plimsoll_text_free(text);
    return copy;
}

/* The price line by line: its lines are the verdict's numbers, and in a ticket they have owners. */
static void a_price_has_lines(void) {
    plimsoll_session *session = open_session(model);
    plimsoll_request *request = request_of("hello", 20);
    plimsoll_text *text = NULL;
    CHECK_OK(plimsoll_what_if_json(session, request, &text, &error));
    char *guess = copy_of(text);
    plimsoll_verdict verdict;
    plimsoll_ticket *ticket = admit(session, request, &verdict);
    CHECK_OK(plimsoll_ticket_json(ticket, &text, &error));
    char *price = copy_of(text);
    CHECK_EQ(number(price, "new_bytes", 0), verdict.bytes_asked);
    CHECK_EQ(number(guess, "new_bytes", 0), verdict.bytes_asked);
    CHECK(strstr(guess, "\"owner\"") == NULL && strstr(price, "\"owner\"") != NULL);
    static const char *const whats[] = {"\"kv\"", "\"ring\"", "\"buffers\"", "\"workspace\""};
    for (size_t i = 0; i < sizeof whats / sizeof *whats; i++) {
        CHECK(strstr(price, whats[i]) != NULL);
    }
    /* Each line's bytes are its last member. */
    long long sum = 0;
    for (int n = 0; number(price, "bytes", n) >= 0; n++) {
        sum += number(price, "bytes", n);
    }
    CHECK_EQ(sum, verdict.kv_bytes + verdict.request_bytes + verdict.workspace_bytes);
    free(guess);
    free(price);
    /* A ticket that was used still says what it was. */
    CHECK_OK(use(session, request, ticket, &error));
    CHECK_OK(plimsoll_ticket_json(ticket, &text, &error));
    plimsoll_text_free(text);
    plimsoll_ticket_free(ticket);
    plimsoll_request_free(request);
    plimsoll_session_free(session);
}

static void a_ticket_runs_once(void) {
    plimsoll_session *session = open_session(model);
    plimsoll_request *request = request_of("hello", 20);
    plimsoll_verdict verdict;
    plimsoll_ticket *ticket = admit(session, request, &verdict);
    plimsoll_result result = {.struct_size = sizeof result};
    CHECK_OK(plimsoll_generate(session, request, ticket, NULL, NULL, NULL, &result, &error));
    CHECK_EQ(result.generated_tokens, 20);
    CHECK_EQ(result.leased_bytes, verdict.bytes_asked);
    CHECK_EQ(result.kv_bytes, verdict.kv_bytes);
    CHECK_ERROR(PLIMSOLL_ERR_TICKET_CONSUMED, use(session, request, ticket, &error));
    plimsoll_stream *stream = NULL;
    CHECK_ERROR(PLIMSOLL_ERR_TICKET_CONSUMED,
                plimsoll_stream_start(session, request, ticket, NULL, &stream, &error));
    plimsoll_ticket_free(ticket);
    CHECK_EQ(memory_of(runtime).request_bytes, 0);
    plimsoll_request_free(request);
    plimsoll_session_free(session);
}

/* For another session, another request or another turn it is not good, and stays good for its own. */
static void a_ticket_is_for_one_run(void) {
    plimsoll_session *session = open_session(model), *other = open_session(model);
    plimsoll_request *request = request_of("hello", 8), *more = request_of("hello", 9);
    plimsoll_verdict verdict;
    enum { MISMATCH = PLIMSOLL_ERR_TICKET_MISMATCH };
    plimsoll_ticket *ticket = admit(session, request, &verdict);
    CHECK_ERROR(MISMATCH, use(other, request, ticket, &error));
    CHECK_ERROR(MISMATCH, use(session, more, ticket, &error));
    CHECK_OK(plimsoll_request_add_message(request, "user", 4, "more", 4, &error));
    CHECK_ERROR(MISMATCH, use(session, request, ticket, &error));
    CHECK_OK(plimsoll_request_clear(request, &error));
    CHECK_OK(plimsoll_request_add_message(request, "user", 4, "hello", 5, &error));
    CHECK_OK(use(session, request, ticket, &error));
    plimsoll_ticket_free(ticket);
    plimsoll_request_free(request), plimsoll_request_free(more);
    plimsoll_session_free(session), plimsoll_session_free(other);
    CHECK_EQ(memory_of(runtime).request_bytes, 0);
}

/* A session with a ticket outstanding runs nothing else. */
static void one_ticket_at_a_time(void) {
    plimsoll_session *session = open_session(model);
    plimsoll_request *request = request_of("hello", 8);
    plimsoll_verdict verdict, second;
    plimsoll_ticket *ticket = admit(session, request, &verdict);
    CHECK(admit(session, request, &second) == NULL);
    CHECK_EQ(second.decision, PLIMSOLL_DECISION_REJECT);
    CHECK(reason_is(&second, "busy"));
    CHECK_ERROR(PLIMSOLL_ERR_BUSY, use(session, request, NULL, &error));
    CHECK_OK(use(session, request, ticket, &error));
    CHECK_OK(use(session, request, NULL, &error));
    plimsoll_ticket_free(ticket);
    plimsoll_request_free(request);
    plimsoll_session_free(session);
}

static void freed_after_everything_else(void) {
    plimsoll_runtime *own = runtime_of(NULL);
    plimsoll_model *loaded = load(own);
    plimsoll_session *session = open_session(loaded);
    plimsoll_request *request = request_of("hello", 8);
    plimsoll_verdict verdict;
    plimsoll_ticket *ticket = admit(session, request, &verdict);
    CHECK(ticket != NULL);
    plimsoll_request_free(request);
    plimsoll_model_unload(loaded);
    plimsoll_session_free(session);
    CHECK(memory_of(own).request_bytes > 0);
    plimsoll_ticket_free(ticket);
    CHECK_EQ(memory_of(own).used_bytes, 0);
    plimsoll_runtime_free(own);
}

/* The bytes of an expired ticket come back by themselves, and the session runs on without it. */
static void a_ticket_expires(void) {
    const char *const pairs[] = {"guard.ticket_ttl_s", "0.05", NULL};
    plimsoll_runtime *hasty = runtime_of(pairs);
    plimsoll_model *loaded = load(hasty);
    plimsoll_session *session = open_session(loaded);
    plimsoll_request *request = request_of("hello", 8);
    plimsoll_verdict verdict;
    plimsoll_ticket *ticket = admit(session, request, &verdict);
    CHECK(memory_of(hasty).request_bytes > 0);
    const struct timespec pause = {0, 50 * 1000 * 1000};
    for (int i = 0; i < 200 && memory_of(hasty).request_bytes > 0; i++) {
        nanosleep(&pause, NULL);
    }
    CHECK_EQ(memory_of(hasty).request_bytes, 0);
    CHECK_ERROR(PLIMSOLL_ERR_TICKET_EXPIRED, use(session, request, ticket, &error));
    CHECK_OK(use(session, request, NULL, &error));
    plimsoll_ticket_free(ticket);
    plimsoll_request_free(request);
    plimsoll_session_free(session);
    plimsoll_model_unload(loaded);
    plimsoll_runtime_free(hasty);
}

int main(void) {
    /* With a budget: what else the machine does would show in the numbers. */
    runtime = runtime_of_bytes(UINT64_C(1) << 30);
    model = load(runtime);
    RUN(what_if_is_admit);
    RUN(a_price_has_lines);
    RUN(a_ticket_runs_once);
    RUN(a_ticket_is_for_one_run);
    RUN(one_ticket_at_a_time);
    RUN(freed_after_everything_else);
    RUN(a_ticket_expires);
    plimsoll_model_unload(model);
    plimsoll_runtime_free(runtime);
    return RESULT();
}
