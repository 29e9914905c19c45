/* What stands between Go and plimsoll.h.
 *
 * A Go pointer that is none, such as the address 4 of an empty list or a number as user data, stops the program when the
 * garbage collector meets it. So numbers go through as uintptr_t, and empty texts come without their address. */
#ifndef PLIMSOLL_GO_SHIM_H
#define PLIMSOLL_GO_SHIM_H

#include <plimsoll.h>
#include <pthread.h>
#include <stdlib.h>

/* The calls with callbacks: `call` is a cgo.Handle, or 0 for no callback. */
plimsoll_status plimsoll_go_generate(const plimsoll_session *session, const plimsoll_request *request,
                                     const plimsoll_ticket *ticket, const plimsoll_cancel *cancel, uintptr_t call,
                                     plimsoll_result *results, size_t count, plimsoll_error **error);
plimsoll_status plimsoll_go_model_load(const plimsoll_runtime *runtime, const char *name, size_t name_len,
                                       const char *path, size_t path_len, const plimsoll_config *config, uintptr_t call,
                                       plimsoll_model **out, plimsoll_error **error);
plimsoll_status plimsoll_go_log_set(int32_t level, uintptr_t call, plimsoll_error **error);
plimsoll_status plimsoll_go_on_alert_set(const plimsoll_runtime *runtime, uintptr_t call, plimsoll_error **error);
plimsoll_status plimsoll_go_cleanup_register(const plimsoll_runtime *runtime, const char *name, size_t name_len, uintptr_t call,
                                             uint64_t *id, plimsoll_error **error);

static inline plimsoll_str plimsoll_go_tidy(plimsoll_str text) {
    return text.len > 0 ? text : (plimsoll_str){NULL, 0};
}

static inline plimsoll_str plimsoll_go_error_message(const plimsoll_error *error) {
    return plimsoll_go_tidy(plimsoll_error_message(error));
}

static inline plimsoll_str plimsoll_go_text_str(const plimsoll_text *text) {
    return plimsoll_go_tidy(plimsoll_text_str(text));
}

static inline plimsoll_str plimsoll_go_token_bytes(const plimsoll_model *model, uint32_t token) {
    return plimsoll_go_tidy(plimsoll_model_token_bytes(model, token));
}

/* Waits for the next event. */
static inline plimsoll_status plimsoll_go_stream_next(plimsoll_stream *stream, plimsoll_event *event,
                                                      plimsoll_error **error) {
    plimsoll_status status = plimsoll_stream_next(stream, -1, event, error);
    event->text = plimsoll_go_tidy(event->text);
    event->top = event->top_count > 0 ? event->top : NULL;
    return status;
}

/* A number of the calling thread. */
static inline uintptr_t plimsoll_go_thread(void) {
    return (uintptr_t)pthread_self();
}

#endif
