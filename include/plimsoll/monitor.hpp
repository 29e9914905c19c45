/// Functions of the host that the memory monitor calls.
#ifndef PLIMSOLL_MONITOR_HPP
#define PLIMSOLL_MONITOR_HPP

#include "structs.hpp"

#include <atomic>
#include <functional>
#include <limits>
#include <memory>

namespace plimsoll {
inline namespace PLIMSOLL_CPP {

/// Hears of an alert that was raised or cleared, on a thread of the library or on the one that asked for a snapshot. Any call may
/// be made inside.
///
/// Since: 0.1.
using alert_callback = std::function<void(const alert &)>;

/// Frees memory of the host's. It is told how many bytes are needed, cleanup_all for all there are, and returns how many it
/// believes to have freed. Any call may be made inside but runtime::cleanup(). What it throws counts as a failure, which the
/// statistics show; the next callback runs.
///
/// Since: 0.1.
using cleanup_callback = std::function<std::uint64_t(std::uint64_t bytes_wanted)>;

/// What a cleanup callback is told when everything that can be freed should be.
///
/// Since: 0.1.
inline constexpr std::uint64_t cleanup_all = std::numeric_limits<std::uint64_t>::max();

/// A registered cleanup callback, to take it back by.
///
/// Since: 0.1.
struct cleanup_id {
    /// The library's number for it.
    std::uint64_t value = 0;
};

namespace detail {

inline std::atomic<std::uint64_t> alerts_lost{0};

inline void on_alert(const plimsoll_alert *raw, void *user_data) noexcept {
    const auto &function = *static_cast<const alert_callback *>(user_data);
#if defined(PLIMSOLL_NO_EXCEPTIONS)
    function(alert::from(*raw));
#else
    try {
        function(alert::from(*raw));
    } catch (...) {
        alerts_lost.fetch_add(1, std::memory_order_relaxed);
    }
#endif
}

inline void on_alert_drop(void *user_data) noexcept { delete static_cast<alert_callback *>(user_data); }

inline std::uint64_t on_cleanup(std::uint64_t bytes_wanted, void *user_data) noexcept {
    const auto &function = *static_cast<const cleanup_callback *>(user_data);
#if defined(PLIMSOLL_NO_EXCEPTIONS)
    return function(bytes_wanted);
#else
    try {
        return function(bytes_wanted);
    } catch (...) {
        return std::numeric_limits<std::uint64_t>::max(); /* it failed */
    }
#endif
}

inline void on_cleanup_drop(void *user_data) noexcept { delete static_cast<cleanup_callback *>(user_data); }

} // namespace detail

/// How many alerts were lost because their function threw, in the units of this kind.
///
/// Ownership: a plain number. Threads: any. Errors: none. Since: 0.1.
inline std::uint64_t alerts_lost() noexcept { return detail::alerts_lost.load(std::memory_order_relaxed); }

} // namespace PLIMSOLL_CPP
} // namespace plimsoll

#endif
