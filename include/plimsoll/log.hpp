/// The library's log lines.
#ifndef PLIMSOLL_LOG_HPP
#define PLIMSOLL_LOG_HPP

#include "error.hpp"

#include <atomic>
#include <functional>
#include <memory>

namespace plimsoll {
inline namespace PLIMSOLL_CPP {

/// Hears of a log line: its level, the module that wrote it, and its text, both borrowed until it returns. It is called from any
/// thread, several at once, and must not call set_log() or stop_log().
///
/// Since: 0.1.
using log_callback = std::function<void(log_level, std::string_view target, std::string_view text)>;

namespace detail {

inline std::atomic<std::uint64_t> log_lines_lost{0};

inline void on_log(std::int32_t level, plimsoll_str target, plimsoll_str text, void *user_data) noexcept {
    const auto &function = *static_cast<const log_callback *>(user_data);
#if defined(PLIMSOLL_NO_EXCEPTIONS)
    function(log_level{level}, view(target), view(text));
#else
    try {
        function(log_level{level}, view(target), view(text));
    } catch (...) {
        log_lines_lost.fetch_add(1, std::memory_order_relaxed);
    }
#endif
}

inline void on_log_drop(void *user_data) noexcept { delete static_cast<log_callback *>(user_data); }

} // namespace detail

/// Sends the library's log lines up to `level` to `function`, for the whole process, in place of where they went before. Lines
/// never hold prompts or answers. Lines come from threads that belong to no call of the host, so what `function` throws ends
/// there; log_lines_lost() counts it.
///
/// Ownership: keeps `function` until another registration replaces it and no line is on its way to it any more. Threads: any.
/// Errors: `invalid_argument` for an unknown level. Since: 0.1.
inline returned<void> set_log(log_level level, log_callback function) {
    detail::call_error failure;
    if (!function) {
        plimsoll_status code = plimsoll_log_set(nullptr, static_cast<std::int32_t>(level), nullptr, nullptr, failure.out());
        return detail::finish(code, failure);
    }
    auto kept = std::make_unique<log_callback>(std::move(function));
    /* The library drops it exactly once, also when the call fails. */
    plimsoll_status code = plimsoll_log_set(detail::on_log, static_cast<std::int32_t>(level), kept.release(),
                                            detail::on_log_drop, failure.out());
    return detail::finish(code, failure);
}

/// Sends log lines nowhere, which is how it begins.
///
/// Ownership: the registration before is dropped, as by set_log(). Threads: any. Errors: none but `internal`. Since: 0.1.
inline returned<void> stop_log() { return set_log(log_level::off, nullptr); }

/// How many log lines ended in an exception of their callback, since the program began.
///
/// Ownership: a plain number. Threads: any. Errors: none. Since: 0.1.
inline std::uint64_t log_lines_lost() noexcept { return detail::log_lines_lost.load(std::memory_order_relaxed); }

} // namespace PLIMSOLL_CPP
} // namespace plimsoll

#endif
