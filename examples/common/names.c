#include "names.h"

#include <stdio.h>

const char *decision_name(int32_t decision) {
    switch (decision) {
    case PLIMSOLL_DECISION_ACCEPT: return "accept";
    case PLIMSOLL_DECISION_SHRINK: return "shrink";
    case PLIMSOLL_DECISION_ROUTE: return "route";
    case PLIMSOLL_DECISION_REJECT: return "reject";
    default: return "unknown";
    }
}

const char *pressure_name(int32_t pressure) {
    switch (pressure) {
    case PLIMSOLL_PRESSURE_LOW: return "low";
    case PLIMSOLL_PRESSURE_MEDIUM: return "medium";
    case PLIMSOLL_PRESSURE_HIGH: return "high";
    case PLIMSOLL_PRESSURE_CRITICAL: return "critical";
    case PLIMSOLL_PRESSURE_EMERGENCY: return "emergency";
    default: return "unknown";
    }
}

const char *ending_name(int32_t ending) {
    switch (ending) {
    case PLIMSOLL_ENDING_END_OF_TEXT: return "end_of_text";
    case PLIMSOLL_ENDING_LENGTH: return "length";
    case PLIMSOLL_ENDING_STOP_STRING: return "stop_string";
    case PLIMSOLL_ENDING_STOPPED: return "stopped";
    case PLIMSOLL_ENDING_CANCELLED: return "cancelled";
    case PLIMSOLL_ENDING_DEADLINE: return "deadline";
    default: return "unknown";
    }
}

const char *status_name(plimsoll_status status) {
    switch (status) {
    case PLIMSOLL_OK: return "ok";
    case PLIMSOLL_ERR_INVALID_ARGUMENT: return "invalid_argument";
    case PLIMSOLL_ERR_NULL_POINTER: return "null_pointer";
    case PLIMSOLL_ERR_INVALID_UTF8: return "invalid_utf8";
    case PLIMSOLL_ERR_INVALID_CONFIG: return "invalid_config";
    case PLIMSOLL_ERR_INVALID_STRUCT_SIZE: return "invalid_struct_size";
    case PLIMSOLL_ERR_REENTRANT: return "reentrant";
    case PLIMSOLL_ERR_TICKET_EXPIRED: return "ticket_expired";
    case PLIMSOLL_ERR_TICKET_CONSUMED: return "ticket_consumed";
    case PLIMSOLL_ERR_TICKET_MISMATCH: return "ticket_mismatch";
    case PLIMSOLL_ERR_POISONED: return "poisoned";
    case PLIMSOLL_ERR_UNSUPPORTED: return "unsupported";
    case PLIMSOLL_ERR_EMPTY_REQUEST: return "empty_request";
    case PLIMSOLL_ERR_PROMPT_TOO_LONG: return "prompt_too_long";
    case PLIMSOLL_ERR_INVALID_TOKEN: return "invalid_token";
    case PLIMSOLL_ERR_MEMORY_REFUSED: return "memory_refused";
    case PLIMSOLL_ERR_OUT_OF_MEMORY: return "out_of_memory";
    case PLIMSOLL_ERR_QUEUE_FULL: return "queue_full";
    case PLIMSOLL_ERR_BUSY: return "busy";
    case PLIMSOLL_ERR_MODEL_NOT_FOUND: return "model_not_found";
    case PLIMSOLL_ERR_MODEL_MALFORMED: return "model_malformed";
    case PLIMSOLL_ERR_MODEL_UNSUPPORTED: return "model_unsupported";
    case PLIMSOLL_ERR_TOKENIZER: return "tokenizer";
    case PLIMSOLL_ERR_TEMPLATE: return "template";
    case PLIMSOLL_ERR_ENGINE_FAILED: return "engine_failed";
    case PLIMSOLL_ERR_ENGINE_CLOSED: return "engine_closed";
    case PLIMSOLL_ERR_LOAD_CANCELLED: return "load_cancelled";
    case PLIMSOLL_ERR_INTERNAL: return "internal";
    default: return "unknown";
    }
}

const char *size_text(uint64_t bytes, char buffer[SIZE_TEXT]) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1024 && unit + 1 < sizeof units / sizeof *units) {
        value /= 1024;
        unit++;
    }
    snprintf(buffer, SIZE_TEXT, "%.*f %s", unit > 0 && value < 100 ? 1 : 0, value, units[unit]);
    return buffer;
}
