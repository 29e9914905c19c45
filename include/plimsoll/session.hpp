/// A conversation with a model.
#ifndef PLIMSOLL_SESSION_HPP
#define PLIMSOLL_SESSION_HPP

#include "callback.hpp"
#include "cancel.hpp"
#include "request.hpp"
#include "stream.hpp"
#include "ticket.hpp"

#include <vector>

namespace plimsoll {
inline namespace PLIMSOLL_CPP {

/// Hears of a request's events, on the thread that called session::generate(), with no lock held. Once it says flow::stop no
/// further event comes. Getters, and raising a cancel token, are allowed inside; running another request of the same session
/// is not (`reentrant`), nor is destroying or moving what runs.
///
/// Since: 0.1.
using event_callback = callback<event>;

/// A conversation with a model. It remembers what was said: each request adds to it. One request runs at a time, in arrival
/// order.
///
/// Ownership: owns the conversation; keeps what it needs of the model. Threads: `const` by several at once. Errors: see each
/// call. Since: 0.1.
class session : public detail::handle<session, plimsoll_session, plimsoll_session_free> {
public:
    /// Its id, as in the memory statistics; 0 when moved from.
    ///
    /// Ownership: a plain number. Threads: any. Errors: none. Since: 0.1.
    std::uint64_t id() const noexcept { return plimsoll_session_id(get()); }

    /// Bytes of KV that it holds now.
    ///
    /// Ownership: a plain number. Threads: any. Errors: none. Since: 0.1.
    std::uint64_t kv_bytes() const noexcept { return plimsoll_session_kv_bytes(get()); }

    /// Forgets the conversation and gives its KV back.
    ///
    /// Ownership: borrows the session. Threads: waits behind the session's requests. Errors: `reentrant` inside its own
    /// callback, `busy` while a stream is open, `poisoned`. Since: 0.1.
    returned<void> reset() const {
        detail::call_error failure;
        return detail::finish(plimsoll_session_reset(get(), failure.out()), failure);
    }

    /// Gives its KV back, keeps the conversation, and returns how many bytes that freed: the next request computes it again.
    /// The guard does the same to idle sessions when others need the bytes.
    ///
    /// Ownership: borrows the session. Threads: waits behind the session's requests. Errors: as reset(). Since: 0.1.
    returned<std::uint64_t> evict() const {
        detail::call_error failure;
        std::uint64_t freed = 0;
        plimsoll_status code = plimsoll_session_evict(get(), &freed, failure.out());
        return detail::finish(code, failure, [freed] { return freed; });
    }

    /// Prices a request against the memory there is now, and changes nothing. A refusal is a verdict, not an error.
    ///
    /// Ownership: borrows the request. Threads: any. Errors: what is wrong with the request itself, such as `empty_request`,
    /// `invalid_argument`, `prompt_too_long`, `template_failed`, `tokenizer`; `poisoned`. Since: 0.1.
    returned<verdict> what_if(const request &asked) const {
        detail::call_error failure;
        auto raw = detail::sized<plimsoll_verdict>();
        plimsoll_status code = plimsoll_admit(get(), asked.get(), &raw, nullptr, failure.out());
        return detail::finish(code, failure, [&raw] { return verdict::from(raw); });
    }

    /// What admit() would decide now as a JSON object: decision, reason, the verdict's numbers, and "items", the price line by
    /// line: "region", "what" ("kv", "kv_held", "ring", "buffers", "workspace", "load"), "purpose" (the ledger's column), "bytes", and
    /// "new", whether a grant books them. "new_bytes" is the sum of the new lines.
    ///
    /// Ownership: borrows the request; the text owns the JSON. Threads: any. Errors: as what_if(). Since: 0.1.
    returned<text> what_if_json(const request &asked) const {
        detail::call_error failure;
        plimsoll_text *raw = nullptr;
        plimsoll_status code = plimsoll_what_if_json(get(), asked.get(), &raw, failure.out());
        return detail::finish(code, failure, [raw] { return text::adopt(raw); });
    }

    /// The same, and grants the bytes: the ticket has them until a run consumes it, it goes, or it expires.
    ///
    /// Ownership: borrows the request; the admission owns the ticket. Threads: any. Errors: as what_if(). Since: 0.1.
    returned<admission> admit(const request &asked) const {
        detail::call_error failure;
        auto raw = detail::sized<plimsoll_verdict>();
        plimsoll_ticket *granted = nullptr;
        plimsoll_status code = plimsoll_admit(get(), asked.get(), &raw, &granted, failure.out());
        return detail::finish(code, failure, [&] { return admission{verdict::from(raw), ticket::adopt(granted)}; });
    }

    /// Runs a request and returns its numbers when the answer has ended; events go to `on_event`. The request is admitted
    /// first; with a ticket it was, and the run consumes the ticket when it starts. The answer joins the conversation, also
    /// when it was stopped, cancelled or late, or when `on_event` threw; after an error the conversation is as it was before.
    ///
    /// Ownership: borrows all. Threads: any; `on_event` is called on this one. Errors: `memory_refused` with its numbers,
    /// `queue_full`, `out_of_memory`, `busy` while a stream or a ticket of the session is outstanding, `reentrant`, `ticket_*`,
    /// `empty_request`, `invalid_argument`, `invalid_token`, `prompt_too_long`, `template_failed`, `tokenizer`, `engine_*`,
    /// `poisoned`, `null_pointer` for an empty ticket or token; what `on_event` throws. Since: 0.1.
    returned<result> generate(const request &asked, const event_callback &on_event = {},
                              const cancel_token *cancel = nullptr) const {
        return run(asked, nullptr, on_event, cancel);
    }
    /// The same with what admit() granted.
    returned<result> generate(const request &asked, const ticket &granted, const event_callback &on_event = {},
                              const cancel_token *cancel = nullptr) const {
        return run(asked, &granted, on_event, cancel);
    }

    /// As generate(), and returns the numbers of the first `count` answers of a request for several, answer 0 first. The events
    /// say which answer they are of.
    ///
    /// Ownership: as generate(). Threads: as generate(). Errors: those of generate(); `invalid_argument` when `count` is more than
    /// the request's answers; std::bad_alloc, before anything runs. Since: 0.1.
    returned<std::vector<result>> generate_answers(const request &asked, std::size_t count,
                                                   const event_callback &on_event = {},
                                                   const cancel_token *cancel = nullptr) const {
        return run_all(asked, nullptr, count, on_event, cancel);
    }
    /// The same with what admit() granted.
    returned<std::vector<result>> generate_answers(const request &asked, const ticket &granted, std::size_t count,
                                                   const event_callback &on_event = {},
                                                   const cancel_token *cancel = nullptr) const {
        return run_all(asked, &granted, count, on_event, cancel);
    }

    /// Starts a request whose events are pulled from the stream. Until that has ended or is gone the session runs nothing else.
    ///
    /// Ownership: borrows all; the stream owns the run. Threads: any. Errors: as generate(). Since: 0.1.
    returned<stream> start(const request &asked, const cancel_token *cancel = nullptr) const {
        return started(asked, nullptr, cancel);
    }
    /// The same with what admit() granted.
    returned<stream> start(const request &asked, const ticket &granted, const cancel_token *cancel = nullptr) const {
        return started(asked, &granted, cancel);
    }

private:
    /// Answers of one request at most.
    static constexpr std::size_t most_answers = 128;

    friend handle;
    session(adopted, plimsoll_session *raw) noexcept : handle(raw) {}

    /// An empty object must not pass for one that was left out: the run would be neither paid for nor cancelled by it.
    template <class Handle>
    static bool is_empty(const Handle *object) noexcept {
        return object != nullptr && !*object;
    }
    template <class Handle>
    static auto raw_of(const Handle *object) noexcept -> decltype(object->get()) {
        return object == nullptr ? nullptr : object->get();
    }

    returned<result> run(const request &asked, const ticket *granted, const event_callback &on_event,
                         const cancel_token *cancel) const {
        detail::call_error failure;
        detail::trampoline<event, plimsoll_event> events(on_event);
        auto raw = detail::sized<plimsoll_result>();
        plimsoll_status code = PLIMSOLL_ERR_NULL_POINTER;
        if (!is_empty(granted) && !is_empty(cancel)) {
            code = plimsoll_generate(get(), asked.get(), raw_of(granted), raw_of(cancel), events.entry(), &events, &raw,
                                     failure.out());
        }
        events.rethrow();
        return detail::finish(code, failure, [&raw] { return result::from(raw); });
    }

    returned<std::vector<result>> run_all(const request &asked, const ticket *granted, std::size_t count,
                                          const event_callback &on_event, const cancel_token *cancel) const {
        detail::call_error failure;
        detail::trampoline<event, plimsoll_event> events(on_event);
        // More than any request has are refused before the array is looked at.
        std::vector<plimsoll_result> raw(count <= most_answers ? count : 0, detail::sized<plimsoll_result>());
        std::vector<result> results;
        results.reserve(raw.size());
        plimsoll_status code = PLIMSOLL_ERR_NULL_POINTER;
        if (!is_empty(granted) && !is_empty(cancel)) {
            code = plimsoll_generate_answers(get(), asked.get(), raw_of(granted), raw_of(cancel), events.entry(), &events,
                                             raw.data(), count, failure.out());
        }
        events.rethrow();
        return detail::finish(code, failure, [&raw, &results] {
            for (const plimsoll_result &one : raw) {
                results.push_back(result::from(one));
            }
            return std::move(results);
        });
    }

    returned<stream> started(const request &asked, const ticket *granted, const cancel_token *cancel) const {
        detail::call_error failure;
        plimsoll_stream *raw = nullptr;
        plimsoll_status code = PLIMSOLL_ERR_NULL_POINTER;
        if (!is_empty(granted) && !is_empty(cancel)) {
            code = plimsoll_stream_start(get(), asked.get(), raw_of(granted), raw_of(cancel), &raw, failure.out());
        }
        return detail::finish(code, failure, [raw] { return stream::adopt(raw); });
    }
};

} // namespace PLIMSOLL_CPP
} // namespace plimsoll

#endif
