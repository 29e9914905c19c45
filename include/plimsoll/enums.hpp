/// The numbers of plimsoll.h as enums, and their names.
#ifndef PLIMSOLL_ENUMS_HPP
#define PLIMSOLL_ENUMS_HPP

#include "base.hpp"

namespace plimsoll {
inline namespace PLIMSOLL_CPP {

/// The outcome of a call. 1xx are the caller's mistakes, 2xx resources, 3xx model and engine, 9xx internal. Numbers are never
/// changed and never reused.
///
/// Since: 0.1.
enum class status : std::int32_t {
    /// Success.
    ok = PLIMSOLL_OK,
    /// An argument is out of its range.
    invalid_argument = PLIMSOLL_ERR_INVALID_ARGUMENT,
    /// A required pointer is NULL.
    null_pointer = PLIMSOLL_ERR_NULL_POINTER,
    /// Text is not UTF-8.
    invalid_utf8 = PLIMSOLL_ERR_INVALID_UTF8,
    /// A configuration key is unknown or its value does not parse.
    invalid_config = PLIMSOLL_ERR_INVALID_CONFIG,
    /// The struct_size of a caller's struct is not set.
    invalid_struct_size = PLIMSOLL_ERR_INVALID_STRUCT_SIZE,
    /// A blocking call was made on a handle from inside its own callback.
    reentrant = PLIMSOLL_ERR_REENTRANT,
    /// The ticket's time is over; its bytes are back.
    ticket_expired = PLIMSOLL_ERR_TICKET_EXPIRED,
    /// The ticket was used before.
    ticket_consumed = PLIMSOLL_ERR_TICKET_CONSUMED,
    /// The ticket was granted for another session, request or turn.
    ticket_mismatch = PLIMSOLL_ERR_TICKET_MISMATCH,
    /// A panic happened in this handle before; it can only be freed.
    poisoned = PLIMSOLL_ERR_POISONED,
    /// The library has this call but not yet this use of it.
    unsupported = PLIMSOLL_ERR_UNSUPPORTED,
    /// The request has no message, no text and no tokens.
    empty_request = PLIMSOLL_ERR_EMPTY_REQUEST,
    /// The conversation does not fit in the model's context.
    prompt_too_long = PLIMSOLL_ERR_PROMPT_TOO_LONG,
    /// A token id is not below the vocabulary's size.
    invalid_token = PLIMSOLL_ERR_INVALID_TOKEN,
    /// The guard refused: the bytes are not there. The error carries the numbers.
    memory_refused = PLIMSOLL_ERR_MEMORY_REFUSED,
    /// The system refused memory that the guard had granted.
    out_of_memory = PLIMSOLL_ERR_OUT_OF_MEMORY,
    /// Too many requests wait.
    queue_full = PLIMSOLL_ERR_QUEUE_FULL,
    /// The session has a request, a stream or a ticket outstanding.
    busy = PLIMSOLL_ERR_BUSY,
    /// No model at this path, or a file of it is missing or unreadable.
    model_not_found = PLIMSOLL_ERR_MODEL_NOT_FOUND,
    /// A model file is damaged or contradicts itself.
    model_malformed = PLIMSOLL_ERR_MODEL_MALFORMED,
    /// The model is of a kind that is not supported.
    model_unsupported = PLIMSOLL_ERR_MODEL_UNSUPPORTED,
    /// The tokenizer cannot be built or cannot encode a text.
    tokenizer = PLIMSOLL_ERR_TOKENIZER,
    /// The chat template is missing, or failed, or went over its limits.
    template_failed = PLIMSOLL_ERR_TEMPLATE,
    /// The engine failed while it ran a request.
    engine_failed = PLIMSOLL_ERR_ENGINE_FAILED,
    /// The engine is shutting down.
    engine_closed = PLIMSOLL_ERR_ENGINE_CLOSED,
    /// Loading was stopped by the caller's progress callback.
    load_cancelled = PLIMSOLL_ERR_LOAD_CANCELLED,
    /// A fault of plimsoll: a caught panic or a broken invariant.
    internal = PLIMSOLL_ERR_INTERNAL,
};

/// What part of plimsoll an error comes from.
///
/// Since: 0.1.
enum class section : std::int32_t {
    /// Section of arguments, configuration and requests.
    request = PLIMSOLL_SECTION_REQUEST,
    /// Section of reading models.
    loading = PLIMSOLL_SECTION_LOADING,
    /// Section of memory and admission.
    memory = PLIMSOLL_SECTION_MEMORY,
    /// Section of running models.
    generation = PLIMSOLL_SECTION_GENERATION,
    /// Section of freeing and evicting.
    cleanup = PLIMSOLL_SECTION_CLEANUP,
    /// Section of engines' health.
    health = PLIMSOLL_SECTION_HEALTH,
    /// Section of credentials.
    authentication = PLIMSOLL_SECTION_AUTHENTICATION,
    /// Section of plimsoll's own faults.
    internal = PLIMSOLL_SECTION_INTERNAL,
};

/// How much a log line matters.
///
/// Since: 0.1.
enum class log_level : std::int32_t {
    /// Nothing.
    off = PLIMSOLL_LOG_OFF,
    /// What failed.
    error = PLIMSOLL_LOG_ERROR,
    /// What looks wrong.
    warn = PLIMSOLL_LOG_WARN,
    /// Models, sessions, decisions.
    info = PLIMSOLL_LOG_INFO,
    /// Every request.
    debug = PLIMSOLL_LOG_DEBUG,
    /// Every step.
    trace = PLIMSOLL_LOG_TRACE,
};

/// How far a load is.
///
/// Since: 0.1.
enum class load_state : std::int32_t {
    /// It has its memory and waits to read.
    queued = PLIMSOLL_LOAD_QUEUED,
    /// Weights come in from their files.
    reading = PLIMSOLL_LOAD_READING,
    /// Workspace and decoder are being set up.
    preparing = PLIMSOLL_LOAD_PREPARING,
    /// A first token has gone through every layer.
    warm = PLIMSOLL_LOAD_WARM,
    /// Requests are taken.
    ready = PLIMSOLL_LOAD_READY,
    /// It ended with an error, which the call returns.
    failed = PLIMSOLL_LOAD_FAILED,
};

/// What the guard decided about a request.
///
/// Since: 0.1.
enum class decision : std::int32_t {
    /// It runs as asked.
    accept = PLIMSOLL_DECISION_ACCEPT,
    /// It runs with fewer tokens.
    shrink = PLIMSOLL_DECISION_SHRINK,
    /// Another engine takes it.
    route = PLIMSOLL_DECISION_ROUTE,
    /// It does not run.
    reject = PLIMSOLL_DECISION_REJECT,
};

/// How short memory is, and what requests give up for it.
///
/// Since: 0.1.
enum class pressure : std::int32_t {
    /// There is enough memory.
    low = PLIMSOLL_PRESSURE_LOW,
    /// 0.9 of the tokens, top_p at most 0.9.
    medium = PLIMSOLL_PRESSURE_MEDIUM,
    /// 0.7 of the tokens, temperature at most 0.5, half of the batch at once.
    high = PLIMSOLL_PRESSURE_HIGH,
    /// Half of the tokens, greedy, a quarter of the batch.
    critical = PLIMSOLL_PRESSURE_CRITICAL,
    /// 0.3 of the tokens, greedy, one request at a time.
    emergency = PLIMSOLL_PRESSURE_EMERGENCY,
};

/// How full a region is to whoever watches it; no request gives up anything for it.
///
/// Since: 0.1.
enum class memory_level : std::int32_t {
    /// Less than 0.60 of the capacity is in use.
    low = PLIMSOLL_MEMORY_LOW,
    /// From 0.60 on.
    moderate = PLIMSOLL_MEMORY_MODERATE,
    /// From 0.80 on.
    high = PLIMSOLL_MEMORY_HIGH,
    /// From 0.90 on.
    critical = PLIMSOLL_MEMORY_CRITICAL,
};

/// What an alert is about.
///
/// Since: 0.1.
enum class alert_kind : std::int32_t {
    /// A region is used above "monitor.alert_pressure".
    pressure = PLIMSOLL_ALERT_PRESSURE,
    /// A session holds more of its KV limit than "monitor.alert_session".
    session = PLIMSOLL_ALERT_SESSION,
    /// More of the requests are refused than "monitor.alert_refusals".
    refusals = PLIMSOLL_ALERT_REFUSALS,
    /// There are more evictions a minute than "monitor.alert_evictions".
    evictions = PLIMSOLL_ALERT_EVICTIONS,
    /// Bytes per live object rise steadily, or outlive their object.
    leak = PLIMSOLL_ALERT_LEAK,
};

/// What an event of a running request is.
///
/// Since: 0.1.
enum class event_kind : std::int32_t {
    /// A token came, with the text that is now certain.
    token = PLIMSOLL_EVENT_TOKEN,
    /// Text that was held back is released; there is no token.
    text = PLIMSOLL_EVENT_TEXT,
    /// The answer has ended; from stream::next() only.
    end = PLIMSOLL_EVENT_END,
    /// Nothing came in time; from stream::next() only.
    timeout = PLIMSOLL_EVENT_TIMEOUT,
};

/// Why an answer ended.
///
/// Since: 0.1.
enum class ending : std::int32_t {
    /// The model ended the answer.
    end_of_text = PLIMSOLL_ENDING_END_OF_TEXT,
    /// The granted tokens are used up.
    length = PLIMSOLL_ENDING_LENGTH,
    /// A stop string came.
    stop_string = PLIMSOLL_ENDING_STOP_STRING,
    /// The callback stopped it.
    stopped = PLIMSOLL_ENDING_STOPPED,
    /// It was cancelled.
    cancelled = PLIMSOLL_ENDING_CANCELLED,
    /// Its deadline passed.
    deadline = PLIMSOLL_ENDING_DEADLINE,
};

/// The name of a status, such as "busy"; "unknown" for one that this header does not have.
///
/// Ownership: static. Threads: any. Errors: none. Since: 0.1.
constexpr std::string_view to_string(status value) noexcept {
    switch (value) {
    case status::ok: return "ok";
    case status::invalid_argument: return "invalid_argument";
    case status::null_pointer: return "null_pointer";
    case status::invalid_utf8: return "invalid_utf8";
    case status::invalid_config: return "invalid_config";
    case status::invalid_struct_size: return "invalid_struct_size";
    case status::reentrant: return "reentrant";
    case status::ticket_expired: return "ticket_expired";
    case status::ticket_consumed: return "ticket_consumed";
    case status::ticket_mismatch: return "ticket_mismatch";
    case status::poisoned: return "poisoned";
    case status::unsupported: return "unsupported";
    case status::empty_request: return "empty_request";
    case status::prompt_too_long: return "prompt_too_long";
    case status::invalid_token: return "invalid_token";
    case status::memory_refused: return "memory_refused";
    case status::out_of_memory: return "out_of_memory";
    case status::queue_full: return "queue_full";
    case status::busy: return "busy";
    case status::model_not_found: return "model_not_found";
    case status::model_malformed: return "model_malformed";
    case status::model_unsupported: return "model_unsupported";
    case status::tokenizer: return "tokenizer";
    case status::template_failed: return "template";
    case status::engine_failed: return "engine_failed";
    case status::engine_closed: return "engine_closed";
    case status::load_cancelled: return "load_cancelled";
    case status::internal: return "internal";
    }
    return "unknown";
}

/// The name of a section, such as "internal"; "unknown" for one that this header does not have.
///
/// Ownership: static. Threads: any. Errors: none. Since: 0.1.
constexpr std::string_view to_string(section value) noexcept {
    switch (value) {
    case section::request: return "request";
    case section::loading: return "loading";
    case section::memory: return "memory";
    case section::generation: return "generation";
    case section::cleanup: return "cleanup";
    case section::health: return "health";
    case section::authentication: return "authentication";
    case section::internal: return "internal";
    }
    return "unknown";
}

/// The name of a log level, such as "trace"; "unknown" for one that this header does not have.
///
/// Ownership: static. Threads: any. Errors: none. Since: 0.1.
constexpr std::string_view to_string(log_level value) noexcept {
    switch (value) {
    case log_level::off: return "off";
    case log_level::error: return "error";
    case log_level::warn: return "warn";
    case log_level::info: return "info";
    case log_level::debug: return "debug";
    case log_level::trace: return "trace";
    }
    return "unknown";
}

/// The name of a load state, such as "failed"; "unknown" for one that this header does not have.
///
/// Ownership: static. Threads: any. Errors: none. Since: 0.1.
constexpr std::string_view to_string(load_state value) noexcept {
    switch (value) {
    case load_state::queued: return "queued";
    case load_state::reading: return "reading";
    case load_state::preparing: return "preparing";
    case load_state::warm: return "warm";
    case load_state::ready: return "ready";
    case load_state::failed: return "failed";
    }
    return "unknown";
}

/// The name of a decision, such as "reject"; "unknown" for one that this header does not have.
///
/// Ownership: static. Threads: any. Errors: none. Since: 0.1.
constexpr std::string_view to_string(decision value) noexcept {
    switch (value) {
    case decision::accept: return "accept";
    case decision::shrink: return "shrink";
    case decision::route: return "route";
    case decision::reject: return "reject";
    }
    return "unknown";
}

/// The name of a level of pressure, such as "high"; "unknown" for one that this header does not have.
///
/// Ownership: static. Threads: any. Errors: none. Since: 0.1.
constexpr std::string_view to_string(pressure value) noexcept {
    switch (value) {
    case pressure::low: return "low";
    case pressure::medium: return "medium";
    case pressure::high: return "high";
    case pressure::critical: return "critical";
    case pressure::emergency: return "emergency";
    }
    return "unknown";
}

/// The name of a memory level, such as "moderate"; "unknown" for one that this header does not have.
///
/// Ownership: static. Threads: any. Errors: none. Since: 0.1.
constexpr std::string_view to_string(memory_level value) noexcept {
    switch (value) {
    case memory_level::low: return "low";
    case memory_level::moderate: return "moderate";
    case memory_level::high: return "high";
    case memory_level::critical: return "critical";
    }
    return "unknown";
}

/// The name of an alert's kind, such as "leak"; "unknown" for one that this header does not have.
///
/// Ownership: static. Threads: any. Errors: none. Since: 0.1.
constexpr std::string_view to_string(alert_kind value) noexcept {
    switch (value) {
    case alert_kind::pressure: return "pressure";
    case alert_kind::session: return "session";
    case alert_kind::refusals: return "refusals";
    case alert_kind::evictions: return "evictions";
    case alert_kind::leak: return "leak";
    }
    return "unknown";
}

/// The name of a event kind, such as "timeout"; "unknown" for one that this header does not have.
///
/// Ownership: static. Threads: any. Errors: none. Since: 0.1.
constexpr std::string_view to_string(event_kind value) noexcept {
    switch (value) {
    case event_kind::token: return "token";
    case event_kind::text: return "text";
    case event_kind::end: return "end";
    case event_kind::timeout: return "timeout";
    }
    return "unknown";
}

/// The name of a ending, such as "deadline"; "unknown" for one that this header does not have.
///
/// Ownership: static. Threads: any. Errors: none. Since: 0.1.
constexpr std::string_view to_string(ending value) noexcept {
    switch (value) {
    case ending::end_of_text: return "end_of_text";
    case ending::length: return "length";
    case ending::stop_string: return "stop_string";
    case ending::stopped: return "stopped";
    case ending::cancelled: return "cancelled";
    case ending::deadline: return "deadline";
    }
    return "unknown";
}

} // namespace PLIMSOLL_CPP
} // namespace plimsoll

#endif
