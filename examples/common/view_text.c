#include "names.h"
#include "view.h"

#include <inttypes.h>
#include <math.h>
#include <unistd.h>

#define DIM "\033[2m"
#define RED "\033[31m"
#define PLAIN "\033[0m"

/* A model may generate anything, also bytes that command a terminal: these are left out there. */
static void put(FILE *out, bool tty, plimsoll_str text) {
    if (!tty) {
        fwrite(text.ptr, 1, text.len, out);
        return;
    }
    for (size_t i = 0; i < text.len; i++) {
        unsigned char byte = (unsigned char)text.ptr[i];
        if ((byte >= 0x20 && byte != 0x7f) || byte == '\n' || byte == '\t') {
            fputc(byte, out);
        }
    }
}

/* A token's bytes in quotes; what is not printable ASCII or part of a longer character is escaped. */
static void put_token(FILE *out, plimsoll_str bytes) {
    fputc('"', out);
    for (size_t i = 0; i < bytes.len; i++) {
        unsigned char byte = (unsigned char)bytes.ptr[i];
        if (byte == '"' || byte == '\\') {
            fprintf(out, "\\%c", byte);
        } else if (byte == '\n') {
            fputs("\\n", out);
        } else if (byte >= 0x20 && byte < 0x7f) {
            fputc(byte, out);
        } else {
            fprintf(out, "\\x%02x", byte);
        }
    }
    fputc('"', out);
}

static void put_logprobs(view *v, const plimsoll_model *model, const plimsoll_event *event) {
    fprintf(v->answers, "%8.3f  ", event->logprob);
    put_token(v->answers, plimsoll_model_token_bytes(model, event->token));
    const char *before = "   of ";
    for (uint32_t i = 0; i < event->top_count; i++, before = ", ") {
        fputs(before, v->answers);
        put_token(v->answers, plimsoll_model_token_bytes(model, event->top[i].token));
        fprintf(v->answers, " %.1f %%", 100 * exp(event->top[i].logprob));
    }
    fputc('\n', v->answers);
}

static void end_line(view *v) {
    if (v->midline) {
        fputc('\n', v->answers);
        v->midline = false;
    }
    fflush(v->answers);
}

static void show_event(view *v, const plimsoll_model *model, const plimsoll_event *event) {
    if (!v->logprobs) {
        put(v->answers, v->answers_tty, event->text);
        v->midline = v->midline || event->text.len > 0;
    } else if (event->kind == PLIMSOLL_EVENT_TOKEN) {
        put_logprobs(v, model, event);
    }
    fflush(v->answers);
}

static void show_result(view *v, const plimsoll_verdict *verdict, const plimsoll_result *result, plimsoll_str text) {
    if (v->logprobs) {
        put(v->answers, v->answers_tty, text);
        v->midline = true;
    }
    end_line(v);
    FILE *out = v->numbers;
    fputs(v->numbers_tty ? DIM : "", out);
    fprintf(out, "[%s", decision_name(result->decision));
    if (result->decision == PLIMSOLL_DECISION_SHRINK) {
        fprintf(out, " from %" PRIu32 " to %" PRIu32 " tokens (%.*s: %s asked, %s free)", verdict->asked_tokens,
                result->granted_tokens, (int)verdict->reason.len, verdict->reason.ptr, HUMAN(verdict->bytes_asked),
                HUMAN(verdict->bytes_free));
    }
    if (result->degraded & (PLIMSOLL_DEGRADED_TOP_P | PLIMSOLL_DEGRADED_TEMPERATURE)) {
        fprintf(out, ", sampling tamed by %s memory pressure", pressure_name(result->pressure));
    }
    if (result->ending != PLIMSOLL_ENDING_END_OF_TEXT) {
        fprintf(out, ", ended by %s", ending_name(result->ending));
    }
    fprintf(out, " | %" PRIu32 " tokens in, %" PRIu32 " of them held | %" PRIu32 " out, %.1f tokens/s",
            result->prompt_tokens, result->cached_tokens, result->generated_tokens, result->tokens_per_second);
    fprintf(out, " | leased %s, session KV %s, free %s]%s\n", HUMAN(result->leased_bytes), HUMAN(result->kv_bytes),
            HUMAN(result->bytes_free), v->numbers_tty ? PLAIN : "");
    fflush(out);
}

static void show_refusal_numbers(FILE *out, uint64_t asked, uint64_t free_bytes, uint32_t fits, int64_t retry_after_ms) {
    fprintf(out, "%s asked, %s free", HUMAN(asked), HUMAN(free_bytes));
    if (fits > 0) {
        fprintf(out, ", %" PRIu32 " tokens would fit", fits);
    }
    if (retry_after_ms >= 0) {
        fprintf(out, ", try again in %" PRId64 " ms", retry_after_ms);
    }
}

static void show_refused(view *v, const plimsoll_verdict *verdict) {
    end_line(v);
    FILE *out = v->numbers;
    fprintf(out, "%srefused (%.*s): ", v->numbers_tty ? RED : "", (int)verdict->reason.len, verdict->reason.ptr);
    show_refusal_numbers(out, verdict->bytes_asked, verdict->bytes_free, verdict->fits_tokens, verdict->retry_after_ms);
    fprintf(out, "%s\n", v->numbers_tty ? PLAIN : "");
    fflush(out);
}

static void show_failed(view *v, const plimsoll_error *error) {
    end_line(v);
    FILE *out = v->numbers;
    plimsoll_status code = plimsoll_error_code(error);
    plimsoll_str message = plimsoll_error_message(error);
    fprintf(out, "%serror %" PRId32 " (%s): %.*s", v->numbers_tty ? RED : "", code, status_name(code), (int)message.len,
            message.ptr);
    if (code == PLIMSOLL_ERR_MEMORY_REFUSED) {
        fputs(" [", out);
        show_refusal_numbers(out, plimsoll_error_bytes_asked(error), plimsoll_error_bytes_free(error),
                             plimsoll_error_fits_tokens(error), plimsoll_error_retry_after_ms(error));
        fputc(']', out);
    }
    fprintf(out, "%s\n", v->numbers_tty ? PLAIN : "");
    fflush(out);
}

static void show_memory(view *v, const plimsoll_runtime *runtime) {
    plimsoll_text *report = NULL;
    plimsoll_error *error = NULL;
    if (plimsoll_memory_report(runtime, &report, &error) != PLIMSOLL_OK) {
        v->failed(v, error);
        plimsoll_error_free(error);
        return;
    }
    end_line(v);
    plimsoll_str text = plimsoll_text_str(report);
    fwrite(text.ptr, 1, text.len, v->numbers);
    fflush(v->numbers);
    plimsoll_text_free(report);
}

static void show_note(view *v, const char *text) {
    end_line(v);
    fprintf(v->numbers, "%s\n", text);
    fflush(v->numbers);
}

view view_text(bool one_shot, bool logprobs) {
    view v = {show_event, show_result, show_refused, show_failed, show_memory, show_note, stdout, stdout,
              false,      false,       logprobs,     false};
    v.numbers = one_shot ? stderr : stdout;
    v.answers_tty = isatty(STDOUT_FILENO) == 1;
    v.numbers_tty = isatty(one_shot ? STDERR_FILENO : STDOUT_FILENO) == 1;
    return v;
}
