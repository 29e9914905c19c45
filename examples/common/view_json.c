#include "json.h"
#include "names.h"
#include "view.h"

#include <string.h>

static json open_event(view *v, const char *name) {
    json j = json_to(v->answers);
    json_open(&j, NULL, '{');
    json_name(&j, "event", name);
    return j;
}

static void close_event(json *j) {
    json_close(j, '}');
    json_end_line(j);
}

static void show_event(view *v, const plimsoll_model *model, const plimsoll_event *event) {
    bool token = event->kind == PLIMSOLL_EVENT_TOKEN;
    json j = open_event(v, token ? "token" : "text");
    if (token) {
        json_unsigned(&j, "id", event->token);
    }
    json_text(&j, "text", event->text.ptr, event->text.len);
    if (token) {
        json_number(&j, "logprob", (double)event->logprob);
        json_open(&j, "top", '[');
        for (uint32_t i = 0; i < event->top_count; i++) {
            const plimsoll_logprob *top = &event->top[i];
            plimsoll_str bytes = plimsoll_model_token_bytes(model, top->token);
            json_open(&j, NULL, '{');
            json_unsigned(&j, "id", top->token);
            json_text(&j, "text", bytes.ptr, bytes.len);
            json_number(&j, "logprob", (double)top->logprob);
            json_close(&j, '}');
        }
        json_close(&j, ']');
    }
    close_event(&j);
}

static void show_result(view *v, const plimsoll_verdict *verdict, const plimsoll_result *result, plimsoll_str text) {
    json j = open_event(v, "result");
    json_text(&j, "text", text.ptr, text.len);
    json_name(&j, "ending", ending_name(result->ending));
    json_name(&j, "decision", decision_name(result->decision));
    json_text(&j, "reason", verdict->reason.ptr, verdict->reason.len);
    json_name(&j, "pressure", pressure_name(result->pressure));
    json_unsigned(&j, "degraded", result->degraded);
    json_unsigned(&j, "asked_tokens", verdict->asked_tokens);
    json_unsigned(&j, "granted_tokens", result->granted_tokens);
    json_unsigned(&j, "prompt_tokens", result->prompt_tokens);
    json_unsigned(&j, "cached_tokens", result->cached_tokens);
    json_unsigned(&j, "generated_tokens", result->generated_tokens);
    json_number(&j, "tokens_per_second", result->tokens_per_second);
    json_unsigned(&j, "queued_us", result->queued_us);
    json_unsigned(&j, "prefill_us", result->prefill_us);
    json_unsigned(&j, "decode_us", result->decode_us);
    json_unsigned(&j, "bytes_asked", verdict->bytes_asked);
    json_unsigned(&j, "leased_bytes", result->leased_bytes);
    json_unsigned(&j, "kv_bytes", result->kv_bytes);
    json_unsigned(&j, "bytes_free", result->bytes_free);
    close_event(&j);
}

static void numbers(json *j, uint64_t asked, uint64_t free_bytes, uint32_t fits, int64_t retry_after_ms) {
    json_unsigned(j, "bytes_asked", asked);
    json_unsigned(j, "bytes_free", free_bytes);
    json_unsigned(j, "fits_tokens", fits);
    json_integer(j, "retry_after_ms", retry_after_ms);
}

static void show_refused(view *v, const plimsoll_verdict *verdict) {
    json j = open_event(v, "error");
    json_integer(&j, "code", PLIMSOLL_ERR_MEMORY_REFUSED);
    json_name(&j, "name", status_name(PLIMSOLL_ERR_MEMORY_REFUSED));
    json_name(&j, "message", "the guard refused the request");
    json_text(&j, "reason", verdict->reason.ptr, verdict->reason.len);
    numbers(&j, verdict->bytes_asked, verdict->bytes_free, verdict->fits_tokens, verdict->retry_after_ms);
    close_event(&j);
}

static void show_failed(view *v, const plimsoll_error *error) {
    plimsoll_status code = plimsoll_error_code(error);
    plimsoll_str message = plimsoll_error_message(error);
    json j = open_event(v, "error");
    json_integer(&j, "code", code);
    json_name(&j, "name", status_name(code));
    json_text(&j, "message", message.ptr, message.len);
    numbers(&j, plimsoll_error_bytes_asked(error), plimsoll_error_bytes_free(error), plimsoll_error_fits_tokens(error),
            plimsoll_error_retry_after_ms(error));
    close_event(&j);
}

static void show_memory(view *v, const plimsoll_runtime *runtime) {
    plimsoll_text *stats = NULL;
    plimsoll_error *error = NULL;
    if (plimsoll_memory_stats_json(runtime, &stats, &error) != PLIMSOLL_OK) {
        v->failed(v, error);
        plimsoll_error_free(error);
        return;
    }
    json j = open_event(v, "stats");
    plimsoll_str text = plimsoll_text_str(stats);
    json_raw(&j, "memory", text.ptr, text.len);
    close_event(&j);
    plimsoll_text_free(stats);
}

static void show_note(view *v, const char *text) {
    json j = open_event(v, "note");
    json_name(&j, "text", text);
    close_event(&j);
}

view view_json(void) {
    view v = {show_event, show_result, show_refused, show_failed, show_memory, show_note, stdout, stdout,
              false,      false,       false,        false};
    return v;
}
