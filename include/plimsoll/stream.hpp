/// Pulling the events of a running request.
#ifndef PLIMSOLL_STREAM_HPP
#define PLIMSOLL_STREAM_HPP

#include "handle.hpp"
#include "structs.hpp"

#include <iterator>

namespace plimsoll {
inline namespace PLIMSOLL_CPP {

/// A running request whose events are pulled, one by one or by a range-for:
///
///     for (const plimsoll::event &event : stream) { std::cout << event.text; }
///     plimsoll::result numbers = stream.result();
///
/// Tokens that are not pulled wait in memory that the request has paid for, so a slow reader slows nobody. Destroyed before its
/// end the stream cancels its request and waits for the step it is in.
///
/// Ownership: owns the run. Threads: one at a time, but cancel() from any. Errors: see each call. Since: 0.1.
class stream : public detail::handle<stream, plimsoll_stream, plimsoll_stream_free> {
public:
    class iterator;

    /// Waits for the next event. Its kind is event_kind::end when the answer has ended, and stays so.
    ///
    /// Ownership: what the event views lives until the next call on this stream. Threads: one at a time. Errors: `engine_*`,
    /// `out_of_memory` when the request failed, the same again on every later call; `poisoned`. Since: 0.1.
    returned<event> next() { return pull(-1); }

    /// The same for at most `timeout`, none when it is negative; the kind is event_kind::timeout when nothing came.
    returned<event> next(std::chrono::milliseconds timeout) { return pull(timeout.count() < 0 ? 0 : timeout.count()); }

    /// The numbers of an answer whose end has come.
    ///
    /// Ownership: the caller's. Threads: one at a time. Errors: `invalid_argument` before the end, `poisoned`; with
    /// PLIMSOLL_NO_EXCEPTIONS also the error that ended the stream, where a range-for cannot tell of it. Since: 0.1.
    returned<plimsoll::result> result() const {
#if defined(PLIMSOLL_NO_EXCEPTIONS)
        if (failed_) {
            return *failed_;
        }
#endif
        detail::call_error failure;
        auto raw = detail::sized<plimsoll_result>();
        plimsoll_status code = plimsoll_stream_result(get(), &raw, failure.out());
        return detail::finish(code, failure, [&raw] { return plimsoll::result::from(raw); });
    }

    /// The numbers of one of several answers, once the end has come; result() is that of answer 0.
    ///
    /// Ownership: the caller's. Threads: one at a time. Errors: as result(), and `invalid_argument` for an answer that was not
    /// asked for. Since: 0.1.
    returned<plimsoll::result> answer(std::uint32_t index) const {
#if defined(PLIMSOLL_NO_EXCEPTIONS)
        if (failed_) {
            return *failed_;
        }
#endif
        detail::call_error failure;
        auto raw = detail::sized<plimsoll_result>();
        plimsoll_status code = plimsoll_stream_answer(get(), index, &raw, nullptr, failure.out());
        return detail::finish(code, failure, [&raw] { return plimsoll::result::from(raw); });
    }

    /// The whole text of one of the answers, once the end has come.
    ///
    /// Ownership: lives as long as the stream. Threads: one at a time. Errors: as answer(). Since: 0.1.
    returned<std::string_view> answer_text(std::uint32_t index) const {
#if defined(PLIMSOLL_NO_EXCEPTIONS)
        if (failed_) {
            return *failed_;
        }
#endif
        detail::call_error failure;
        plimsoll_str text{};
        plimsoll_status code = plimsoll_stream_answer(get(), index, nullptr, &text, failure.out());
        return detail::finish(code, failure, [&text] { return detail::view(text); });
    }

    /// Cancels the request. It never blocks; the end still comes through next().
    ///
    /// Ownership: borrows the stream. Threads: any. Errors: none. Since: 0.1.
    void cancel() const noexcept { plimsoll_stream_cancel(get()); }

    /// The events up to the end, which is not one of them. begin() and each step pull an event, so go through them once; the
    /// stream must not be moved meanwhile.
    ///
    /// Ownership: an event lives until the next step. Threads: one at a time. Errors: as next(); with PLIMSOLL_NO_EXCEPTIONS
    /// the range ends, and result() has the error. Since: 0.1.
    iterator begin();
    iterator end() noexcept;

private:
    friend handle;
    stream(adopted, plimsoll_stream *raw) noexcept : handle(raw) {}

    returned<event> pull(std::int64_t timeout_ms) {
        detail::call_error failure;
        auto raw = detail::sized<plimsoll_event>();
        plimsoll_status code = plimsoll_stream_next(get(), timeout_ms, &raw, failure.out());
        auto pulled = detail::finish(code, failure, [&raw] { return event::from(raw); });
#if defined(PLIMSOLL_NO_EXCEPTIONS)
        if (!pulled) {
            failed_ = pulled.error();
        }
#endif
        return pulled;
    }

#if defined(PLIMSOLL_NO_EXCEPTIONS)
    std::optional<error> failed_;
#endif
};

/// An input iterator over the events of a stream.
///
/// Ownership: borrows the stream. Threads: one at a time. Errors: as stream::next(). Since: 0.1.
class stream::iterator {
public:
    using iterator_concept = std::input_iterator_tag;
    using iterator_category = std::input_iterator_tag;
    using value_type = event;
    using difference_type = std::ptrdiff_t;
    using pointer = const event *;
    using reference = const event &;

    /// The end of any stream.
    iterator() noexcept = default;

    /// The event, which lives until the next step.
    const event &operator*() const noexcept { return event_; }
    const event *operator->() const noexcept { return &event_; }
    /// Waits for the next event.
    iterator &operator++() {
        pull();
        return *this;
    }
    void operator++(int) { pull(); }
    /// Whether both are at the end, or at the same event of the same stream.
    friend bool operator==(const iterator &a, const iterator &b) noexcept { return a.stream_ == b.stream_; }
    friend bool operator!=(const iterator &a, const iterator &b) noexcept { return !(a == b); }

private:
    friend class stream;
    explicit iterator(stream &source) : stream_(&source) { pull(); }

    void pull() {
#if defined(PLIMSOLL_NO_EXCEPTIONS)
        auto pulled = stream_->next();
        event_ = pulled ? *pulled : event{event_kind::end, no_token, 0, {}, {}};
#else
        event_ = stream_->next();
#endif
        if (event_.kind == event_kind::end) {
            stream_ = nullptr;
        }
    }

    stream *stream_ = nullptr;
    event event_;
};

inline stream::iterator stream::begin() { return iterator(*this); }
inline stream::iterator stream::end() noexcept { return {}; }

} // namespace PLIMSOLL_CPP
} // namespace plimsoll

#endif
