#include "_cgo_export.h"

/* The exported functions of Go take no const. */
static int32_t on_event(const plimsoll_event *event, void *user_data) {
    return plimsoll_go_on_event((plimsoll_event *)event, (uintptr_t)user_data);
}

static int32_t on_progress(const plimsoll_progress *progress, void *user_data) {
    return plimsoll_go_on_progress((plimsoll_progress *)progress, (uintptr_t)user_data);
}

static void on_log(int32_t level, plimsoll_str target, plimsoll_str text, void *user_data) {
    plimsoll_go_on_log(level, plimsoll_go_tidy(target), plimsoll_go_tidy(text), (uintptr_t)user_data);
}

static void on_log_drop(void *user_data) {
    plimsoll_go_on_log_drop((uintptr_t)user_data);
}

plimsoll_status plimsoll_go_generate(const plimsoll_session *session, const plimsoll_request *request,
                                     const plimsoll_ticket *ticket, const plimsoll_cancel *cancel, uintptr_t call,
                                     plimsoll_result *results, size_t count, plimsoll_error **error) {
    return plimsoll_generate_answers(session, request, ticket, cancel, on_event, (void *)call, results, count, error);
}

plimsoll_status plimsoll_go_model_load(const plimsoll_runtime *runtime, const char *name, size_t name_len,
                                       const char *path, size_t path_len, const plimsoll_config *config, uintptr_t call,
                                       plimsoll_model **out, plimsoll_error **error) {
    return plimsoll_model_load(runtime, name, name_len, path, path_len, config, call != 0 ? on_progress : NULL,
                               (void *)call, out, error);
}

plimsoll_status plimsoll_go_log_set(int32_t level, uintptr_t call, plimsoll_error **error) {
    if (call == 0) {
        return plimsoll_log_set(NULL, level, NULL, NULL, error);
    }
    return plimsoll_log_set(on_log, level, (void *)call, on_log_drop, error);
}

static void on_alert(const plimsoll_alert *alert, void *user_data) {
    plimsoll_go_on_alert((plimsoll_alert *)alert, plimsoll_go_tidy(alert->text), (uintptr_t)user_data);
}

static uint64_t on_cleanup(uint64_t bytes_wanted, void *user_data) {
    return plimsoll_go_on_cleanup(bytes_wanted, (uintptr_t)user_data);
}

static void on_drop(void *user_data) {
    plimsoll_go_on_drop((uintptr_t)user_data);
}

plimsoll_status plimsoll_go_on_alert_set(const plimsoll_runtime *runtime, uintptr_t call, plimsoll_error **error) {
    if (call == 0) {
        return plimsoll_monitor_on_alert(runtime, NULL, NULL, NULL, error);
    }
    return plimsoll_monitor_on_alert(runtime, on_alert, (void *)call, on_drop, error);
}

plimsoll_status plimsoll_go_cleanup_register(const plimsoll_runtime *runtime, const char *name, size_t name_len, uintptr_t call,
                                             uint64_t *id, plimsoll_error **error) {
    if (call == 0) {
        return plimsoll_cleanup_register(runtime, name, name_len, NULL, NULL, NULL, id, error);
    }
    return plimsoll_cleanup_register(runtime, name, name_len, on_cleanup, (void *)call, on_drop, id, error);
}
