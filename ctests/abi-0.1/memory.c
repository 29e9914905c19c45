/* Prices, tickets, refusals and the memory's numbers. */
#include "common.h"

static void refused(const plimsoll_session *session, const plimsoll_request *request) {
    plimsoll_error *error = NULL;
    BORDERED(plimsoll_verdict) verdict;
    plimsoll_ticket *ticket = NULL;
    SET_BORDER(verdict);
    CHECK(plimsoll_admit(session, request, &verdict.value, &ticket, NULL) == PLIMSOLL_OK);
    CHECK_BORDER(verdict);
    CHECK(verdict.value.decision == PLIMSOLL_DECISION_REJECT && ticket == NULL && verdict.value.granted_tokens == 0);
    CHECK(plimsoll_generate(session, request, NULL, NULL, NULL, NULL, NULL, &error) == PLIMSOLL_ERR_MEMORY_REFUSED);
    CHECK(plimsoll_error_code(error) == PLIMSOLL_ERR_MEMORY_REFUSED);
    CHECK(plimsoll_error_section(error) == PLIMSOLL_SECTION_MEMORY);
    CHECK(plimsoll_error_message(error).len > 0);
    CHECK(plimsoll_error_bytes_asked(error) == verdict.value.bytes_asked);
    CHECK(plimsoll_error_bytes_free(error) == verdict.value.bytes_free);
    CHECK(plimsoll_error_fits_tokens(error) == verdict.value.fits_tokens);
    CHECK(plimsoll_error_retry_after_ms(error) == verdict.value.retry_after_ms);
    CHECK(plimsoll_error_is_retryable(error) == (verdict.value.retry_after_ms >= 0));
    plimsoll_error_free(error);
}

int main(void) {
    BORDERED(plimsoll_verdict) verdict;
    BORDERED(plimsoll_memory) memory;
    plimsoll_text *json = NULL;
    plimsoll_ticket *ticket = NULL;
    plimsoll_config *config = NULL;
    plimsoll_runtime *runtime = runtime_of("22016KiB");
    plimsoll_model *model = NULL;
    plimsoll_session *session = NULL;
    plimsoll_request *request = request_of("What is a ticket?", 2000);
    uint64_t freed = 0;

    CHECK(plimsoll_config_new(&config, NULL) == PLIMSOLL_OK);
    CHECK(plimsoll_config_set(config, "native.threads", 14, "2", 1, NULL) == PLIMSOLL_OK);
    CHECK(plimsoll_model_load(runtime, "m", 1, MODEL, strlen(MODEL), config, NULL, NULL, &model, NULL) == PLIMSOLL_OK);
    CHECK(plimsoll_session_open(model, NULL, &session, NULL) == PLIMSOLL_OK);
    SET_BORDER(verdict);
    CHECK(plimsoll_admit(session, request, &verdict.value, NULL, NULL) == PLIMSOLL_OK);
    CHECK_BORDER(verdict);
    CHECK(verdict.value.decision == PLIMSOLL_DECISION_SHRINK && verdict.value.asked_tokens == 2000);
    CHECK(verdict.value.granted_tokens == verdict.value.fits_tokens && verdict.value.fits_tokens > 0);
    CHECK(verdict.value.kv_bytes > 0 && verdict.value.kv_held_bytes == 0 && verdict.value.request_bytes > 0);
    CHECK(verdict.value.evict_bytes == 0 && verdict.value.evict_sessions == 0 && verdict.value.retry_after_ms == -1);
    CHECK(verdict.value.reason.len == 6 && memcmp(verdict.value.reason.ptr, "budget", 6) == 0);
    CHECK(plimsoll_admit(session, request, &verdict.value, &ticket, NULL) == PLIMSOLL_OK && ticket != NULL);
    SET_BORDER(memory);
    CHECK(plimsoll_memory_stats(runtime, &memory.value, NULL) == PLIMSOLL_OK);
    CHECK_BORDER(memory);
    CHECK(memory.value.capacity_bytes == 22016 * 1024 && memory.value.limit_bytes < memory.value.capacity_bytes);
    CHECK(memory.value.used_bytes + memory.value.free_bytes <= memory.value.limit_bytes);
    CHECK(memory.value.weights_bytes > 0 && memory.value.workspace_bytes > 0 && memory.value.active_sessions == 1);
    CHECK(memory.value.shrunk_count == 1 && memory.value.accepted_count == 0 && memory.value.rejected_count == 0);
    CHECK(plimsoll_generate(session, request, ticket, NULL, NULL, NULL, NULL, NULL) == PLIMSOLL_OK);
    CHECK(plimsoll_generate(session, request, ticket, NULL, NULL, NULL, NULL, NULL) == PLIMSOLL_ERR_TICKET_CONSUMED);
    plimsoll_ticket_free(ticket);
    CHECK(plimsoll_session_evict(session, &freed, NULL) == PLIMSOLL_OK && freed > 0);
    CHECK(plimsoll_request_set_min_tokens(request, 2000, NULL) == PLIMSOLL_OK);
    CHECK(plimsoll_session_reset(session, NULL) == PLIMSOLL_OK);
    refused(session, request);
    CHECK(plimsoll_memory_stats_json(runtime, &json, NULL) == PLIMSOLL_OK);
    CHECK(plimsoll_text_str(json).len > 2 && plimsoll_text_str(json).ptr[0] == '{');
    plimsoll_text_free(json);
    CHECK(plimsoll_can_allocate(runtime, 1, 0.1) == 1 && plimsoll_can_allocate(runtime, UINT64_MAX / 2, 0.1) == 0);
    CHECK(plimsoll_is_low_memory(runtime, 0.0) == 1);
    plimsoll_config_free(config);
    plimsoll_request_free(request);
    plimsoll_session_free(session);
    CHECK(plimsoll_model_check_integrity(model, NULL) == PLIMSOLL_OK);
    plimsoll_model_unload(model);
    plimsoll_runtime_free(runtime);
    return 0;
}
