/// What failed: one error type, thrown or returned.
#ifndef PLIMSOLL_ERROR_HPP
#define PLIMSOLL_ERROR_HPP

#include "enums.hpp"

#include <chrono>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>

namespace plimsoll {
inline namespace PLIMSOLL_CPP {

/// A failed call: its code and section, a text with its causes, and for refusals the numbers. what() is the text.
///
/// Ownership: owns its text; a copy shares it and cannot fail. Threads: a plain value. Errors: none. Since: 0.1.
class PLIMSOLL_CPP_VISIBLE error : public std::runtime_error {
public:
    /// Copies what `raw` says of a call that returned `code`; NULL says nothing but the code.
    ///
    /// Ownership: borrows `raw`. Errors: std::bad_alloc for the copy. Since: 0.1.
    error(plimsoll_status code, const plimsoll_error *raw)
        : std::runtime_error(text_of(code, raw)),
          code_(plimsoll::status{raw == nullptr ? code : plimsoll_error_code(raw)}),
          section_(section_of(code, raw)), retryable_(plimsoll_error_is_retryable(raw) != 0),
          fits_tokens_(plimsoll_error_fits_tokens(raw)), bytes_asked_(plimsoll_error_bytes_asked(raw)),
          bytes_free_(plimsoll_error_bytes_free(raw)), retry_after_ms_(plimsoll_error_retry_after_ms(raw)) {}

    /// Its code.
    plimsoll::status code() const noexcept { return code_; }
    /// What part of plimsoll it comes from.
    plimsoll::section section() const noexcept { return section_; }
    /// Whether the same call may succeed later without a change.
    bool is_retryable() const noexcept { return retryable_; }
    /// Whether the guard refused, so that the numbers below mean something.
    bool is_refusal() const noexcept { return code_ == plimsoll::status::memory_refused; }
    /// Of a refusal, the bytes that were asked for; else 0.
    std::uint64_t bytes_asked() const noexcept { return bytes_asked_; }
    /// Of a refusal, the bytes that were free for it; else 0.
    std::uint64_t bytes_free() const noexcept { return bytes_free_; }
    /// Of a refusal, the largest max_tokens that would have been granted; else 0.
    std::uint32_t fits_tokens() const noexcept { return fits_tokens_; }
    /// Of a refusal, after what time to try again; nothing when it can never fit or no time is known.
    std::optional<std::chrono::milliseconds> retry_after() const noexcept {
        if (retry_after_ms_ < 0) {
            return std::nullopt;
        }
        return std::chrono::milliseconds(retry_after_ms_);
    }

private:
    static std::string text_of(plimsoll_status code, const plimsoll_error *raw) {
        std::string_view text = detail::view(plimsoll_error_message(raw));
        return std::string(text.empty() ? to_string(plimsoll::status{code}) : text);
    }

    /// Without an error of the library the fault is an empty object that was passed.
    static plimsoll::section section_of(plimsoll_status code, const plimsoll_error *raw) noexcept {
        if (raw == nullptr) {
            return code < 200 ? plimsoll::section::request : plimsoll::section::internal;
        }
        return plimsoll::section{plimsoll_error_section(raw)};
    }

    plimsoll::status code_;
    plimsoll::section section_;
    bool retryable_;
    std::uint32_t fits_tokens_;
    std::uint64_t bytes_asked_, bytes_free_;
    std::int64_t retry_after_ms_;
};

/// A value or the error that came instead: what calls return with PLIMSOLL_NO_EXCEPTIONS. Asking for the one that is not there
/// ends the program.
///
/// Ownership: owns what it holds. Threads: a plain value. Errors: none. Since: 0.1.
template <class T>
class [[nodiscard]] expected {
public:
    using value_type = T;
    using error_type = plimsoll::error;

    /// Holds one or the other.
    expected(T value) : held_(std::in_place_index<0>, std::move(value)) {}
    expected(plimsoll::error error) : held_(std::in_place_index<1>, std::move(error)) {}

    /// Whether it holds a value.
    bool has_value() const noexcept { return held_.index() == 0; }
    explicit operator bool() const noexcept { return has_value(); }

    /// The value.
    T &value() & noexcept { return *there(std::get_if<0>(&held_)); }
    const T &value() const & noexcept { return *there(std::get_if<0>(&held_)); }
    T &&value() && noexcept { return std::move(value()); }
    T &operator*() & noexcept { return value(); }
    const T &operator*() const & noexcept { return value(); }
    T &&operator*() && noexcept { return std::move(value()); }
    T *operator->() noexcept { return &value(); }
    const T *operator->() const noexcept { return &value(); }

    /// The error.
    const plimsoll::error &error() const noexcept { return *there(std::get_if<1>(&held_)); }

    /// The value, or `other` where there is an error.
    template <class U>
    T value_or(U &&other) && {
        return has_value() ? std::move(value()) : static_cast<T>(std::forward<U>(other));
    }

private:
    template <class U>
    static U *there(U *pointer) noexcept {
        if (pointer == nullptr) {
            std::abort();
        }
        return pointer;
    }

    std::variant<T, plimsoll::error> held_;
};

/// Success, or an error.
///
/// Ownership: owns what it holds. Threads: a plain value. Errors: none. Since: 0.1.
template <>
class [[nodiscard]] expected<void> {
public:
    using value_type = void;
    using error_type = plimsoll::error;

    /// Success.
    expected() noexcept = default;
    /// An error.
    expected(plimsoll::error error) : error_(std::move(error)) {}

    /// Whether it is success.
    bool has_value() const noexcept { return !error_.has_value(); }
    explicit operator bool() const noexcept { return has_value(); }

    /// Ends the program unless it is success.
    void value() const noexcept {
        if (!has_value()) {
            std::abort();
        }
    }
    /// The error.
    const plimsoll::error &error() const noexcept {
        if (has_value()) {
            std::abort();
        }
        return *error_;
    }

private:
    std::optional<plimsoll::error> error_;
};

/// What a call that may fail returns: T itself, or with PLIMSOLL_NO_EXCEPTIONS an expected<T>. Setters return `chained<T>`, the
/// object itself for the next setter, or an expected<void>.
///
/// Since: 0.1.
#if defined(PLIMSOLL_NO_EXCEPTIONS)
template <class T>
using returned = expected<T>;
template <class T>
using chained = expected<void>;
#else
template <class T>
using returned = T;
template <class T>
using chained = T &;
#endif

namespace detail {

/// The error of one C call.
class call_error {
public:
    call_error() = default;
    call_error(const call_error &) = delete;
    call_error &operator=(const call_error &) = delete;
    ~call_error() { plimsoll_error_free(raw_); }

    /// What the C call takes. One call only.
    plimsoll_error **out() noexcept { return &raw_; }
    const plimsoll_error *get() const noexcept { return raw_; }

private:
    plimsoll_error *raw_ = nullptr;
};

#if defined(PLIMSOLL_NO_EXCEPTIONS)
/// What a C call that returned `code` becomes: `value()` when it succeeded.
template <class Value>
returned<std::invoke_result_t<Value>> finish(plimsoll_status code, const call_error &failure, Value &&value) {
    if (code != PLIMSOLL_OK) {
        return plimsoll::error(code, failure.get());
    }
    return value();
}
inline expected<void> finish(plimsoll_status code, const call_error &failure) {
    if (code != PLIMSOLL_OK) {
        return plimsoll::error(code, failure.get());
    }
    return {};
}
template <class T>
expected<void> chain(plimsoll_status code, const call_error &failure, T &) {
    return finish(code, failure);
}
#else
inline void finish(plimsoll_status code, const call_error &failure) {
    if (code != PLIMSOLL_OK) {
        throw plimsoll::error(code, failure.get());
    }
}
/// What a C call that returned `code` becomes: `value()` when it succeeded.
template <class Value>
returned<std::invoke_result_t<Value>> finish(plimsoll_status code, const call_error &failure, Value &&value) {
    finish(code, failure);
    return value();
}
template <class T>
T &chain(plimsoll_status code, const call_error &failure, T &object) {
    finish(code, failure);
    return object;
}
#endif

} // namespace detail
} // namespace PLIMSOLL_CPP
} // namespace plimsoll

#endif
