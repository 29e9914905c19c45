/// What to say, how to choose tokens, when to stop.
#ifndef PLIMSOLL_REQUEST_HPP
#define PLIMSOLL_REQUEST_HPP

#include "handle.hpp"

namespace plimsoll {
inline namespace PLIMSOLL_CPP {

/// A request: it can be run again and again, also in several sessions. Setters return the request, to be chained; with
/// PLIMSOLL_NO_EXCEPTIONS an expected<void>. The default of each setting stands in brackets.
///
/// Ownership: owns the request. Threads: one at a time; runs may use it concurrently. Errors: see each call. Since: 0.1.
class request : public detail::handle<request, plimsoll_request, plimsoll_request_free> {
public:
    /// A request with every setting at its default and nothing to say yet.
    ///
    /// Ownership: the object owns it. Threads: any. Errors: none but `internal`. Since: 0.1.
    static returned<request> create() { return made(plimsoll_request_new); }

#if !defined(PLIMSOLL_NO_EXCEPTIONS)
    /// As create().
    request() : request(create()) {}
#endif

    /// Adds a message, such as role "user" with what the user said. Messages go through the model's chat template together with
    /// the session's conversation. A request that held text or tokens holds messages from then on.
    ///
    /// Ownership: copies both texts. Threads: one at a time. Errors: `invalid_utf8`. Since: 0.1.
    chained<request> add_message(std::string_view role, std::string_view content) {
        detail::call_error failure;
        plimsoll_status code = plimsoll_request_add_message(get(), role.data(), role.size(), content.data(), content.size(),
                                                            failure.out());
        return detail::chain(code, failure, *this);
    }

    /// Adds a message as a JSON object, as OpenAI's chat format has it: "role", and such fields as "content", "tool_calls",
    /// "tool_call_id" and "name". The model's chat template gets all fields, those that are null left out.
    ///
    /// Ownership: copies the text. Threads: one at a time. Errors: `invalid_argument` with line and column, `invalid_utf8`; the
    /// request is then unchanged. Since: 0.1.
    chained<request> add_message_json(std::string_view json) {
        detail::call_error failure;
        return detail::chain(plimsoll_request_add_message_json(get(), json.data(), json.size(), failure.out()), failure, *this);
    }

    /// Sets the functions that the model may call: a JSON list of descriptions, as OpenAI's chat format has them. The model's
    /// chat template renders them with the whole conversation. Give each turn of a session the same tools, or its KV has to be
    /// computed again.
    ///
    /// Ownership: copies the text. Threads: one at a time. Errors: `invalid_argument` with line and column, `invalid_utf8`; the
    /// request is then unchanged. Since: 0.1.
    chained<request> set_tools(std::string_view json) {
        detail::call_error failure;
        const char *first = json.data() == nullptr ? "" : json.data();
        return detail::chain(plimsoll_request_set_tools(get(), first, json.size(), failure.out()), failure, *this);
    }
    /// Takes the tools back.
    chained<request> clear_tools() {
        detail::call_error failure;
        return detail::chain(plimsoll_request_set_tools(get(), nullptr, 0, failure.out()), failure, *this);
    }

    /// Text instead of messages: appended to the session's text as it is, without a template.
    ///
    /// Ownership: copies the text. Threads: one at a time. Errors: `invalid_utf8`. Since: 0.1.
    chained<request> set_text(std::string_view content) {
        detail::call_error failure;
        return detail::chain(plimsoll_request_set_text(get(), content.data(), content.size(), failure.out()), failure, *this);
    }

    /// Token ids instead of messages: appended to the session's tokens as they are.
    ///
    /// Ownership: copies the ids. Threads: one at a time. Errors: none; an id beyond the vocabulary is refused when the request
    /// runs. Since: 0.1.
    chained<request> set_tokens(span<const std::uint32_t> tokens) {
        detail::call_error failure;
        return detail::chain(plimsoll_request_set_tokens(get(), tokens.data(), tokens.size(), failure.out()), failure, *this);
    }

    /// Takes messages, text and tokens back; settings and stop strings stay.
    ///
    /// Ownership: borrows the request. Threads: one at a time. Errors: none. Since: 0.1.
    chained<request> clear() {
        detail::call_error failure;
        return detail::chain(plimsoll_request_clear(get(), failure.out()), failure, *this);
    }

    /// Adds a text that ends the answer and is not part of it; at most 64, of at most 1024 bytes each.
    ///
    /// Ownership: copies the text. Threads: one at a time. Errors: `invalid_argument` when it is empty, too long or one too
    /// many, `invalid_utf8`. Since: 0.1.
    chained<request> add_stop(std::string_view content) {
        detail::call_error failure;
        return detail::chain(plimsoll_request_add_stop(get(), content.data(), content.size(), failure.out()), failure, *this);
    }

    /// Most tokens to generate [512]. The guard may grant fewer, down to min_tokens.
    ///
    /// Ownership: borrows the request. Threads: one at a time. Errors: none; 0 is refused when the request runs. Since: 0.1.
    chained<request> set_max_tokens(std::uint32_t value) { return set(plimsoll_request_set_max_tokens, value); }

    /// The fewest granted tokens that are still worth running [1]. Equal to max_tokens, the request is refused rather than
    /// shrunk.
    ///
    /// Ownership: borrows the request. Threads: one at a time. Errors: none; 0 and more than max_tokens are refused when the
    /// request runs. Since: 0.1.
    chained<request> set_min_tokens(std::uint32_t value) { return set(plimsoll_request_set_min_tokens, value); }

    /// How many answers to generate side by side [1], at most 128. All are granted or none; their price is that of one as often.
    /// The conversation goes on with answer 0. Answer i draws with the seed + i.
    ///
    /// Ownership: borrows the request. Threads: one at a time. Errors: `invalid_argument` for 0 and for too many; the request is
    /// then unchanged. Since: 0.1.
    chained<request> set_answers(std::uint32_t value) { return set(plimsoll_request_set_answers, value); }

    /// How much chance there is in the choice of tokens [0]: 0 always takes the likeliest.
    ///
    /// Ownership: borrows the request. Threads: one at a time. Errors: `invalid_argument` for a value out of its range (NaN
    /// included); the request is then unchanged. Since: 0.1.
    chained<request> set_temperature(float value) { return set(plimsoll_request_set_temperature, value); }

    /// Choose among the k likeliest tokens [0: among all].
    ///
    /// Ownership: borrows the request. Threads: one at a time. Errors: as set_temperature(). Since: 0.1.
    chained<request> set_top_k(std::uint32_t value) { return set(plimsoll_request_set_top_k, value); }

    /// Choose among the likeliest tokens whose probabilities reach this sum [1: among all].
    ///
    /// Ownership: borrows the request. Threads: one at a time. Errors: as set_temperature(). Since: 0.1.
    chained<request> set_top_p(float value) { return set(plimsoll_request_set_top_p, value); }

    /// Choose among tokens at least this fraction as likely as the likeliest [0: among all].
    ///
    /// Ownership: borrows the request. Threads: one at a time. Errors: as set_temperature(). Since: 0.1.
    chained<request> set_min_p(float value) { return set(plimsoll_request_set_min_p, value); }

    /// Divides the positive and multiplies the negative logits of tokens already seen [1].
    ///
    /// Ownership: borrows the request. Threads: one at a time. Errors: as set_temperature(). Since: 0.1.
    chained<request> set_repetition_penalty(float value) { return set(plimsoll_request_set_repetition_penalty, value); }

    /// Subtracted from the logit of every token generated before [0].
    ///
    /// Ownership: borrows the request. Threads: one at a time. Errors: as set_temperature(). Since: 0.1.
    chained<request> set_presence_penalty(float value) { return set(plimsoll_request_set_presence_penalty, value); }

    /// Subtracted from a token's logit for each time it was generated before [0].
    ///
    /// Ownership: borrows the request. Threads: one at a time. Errors: as set_temperature(). Since: 0.1.
    chained<request> set_frequency_penalty(float value) { return set(plimsoll_request_set_frequency_penalty, value); }

    /// Seed of the draws. The same seed gives the same text; without one each run draws its own.
    ///
    /// Ownership: borrows the request. Threads: one at a time. Errors: none. Since: 0.1.
    chained<request> set_seed(std::uint64_t value) { return set(plimsoll_request_set_seed, value); }

    /// Report this many of the likeliest tokens with each token, at most 20 [0].
    ///
    /// Ownership: borrows the request. Threads: one at a time. Errors: as set_temperature(). Since: 0.1.
    chained<request> set_top_logprobs(std::uint32_t value) { return set(plimsoll_request_set_top_logprobs, value); }

    /// Whether to generate on after end-of-text tokens [false].
    ///
    /// Ownership: borrows the request. Threads: one at a time. Errors: none. Since: 0.1.
    chained<request> set_ignore_eos(bool value) {
        return set(plimsoll_request_set_ignore_eos, static_cast<std::int32_t>(value));
    }

    /// Whether the request may be given fewer tokens and tamer sampling while memory is under pressure; if not, it is refused
    /// then [true].
    ///
    /// Ownership: borrows the request. Threads: one at a time. Errors: none. Since: 0.1.
    chained<request> set_degradable(bool value) {
        return set(plimsoll_request_set_degradable, static_cast<std::int32_t>(value));
    }

    /// Time limit of the answer from the call that starts it [0: none].
    ///
    /// Ownership: borrows the request. Threads: one at a time. Errors: `invalid_argument` for a negative time. Since: 0.1.
    chained<request> set_deadline(std::chrono::milliseconds value) {
        if (value.count() < 0) {
            return detail::chain(PLIMSOLL_ERR_INVALID_ARGUMENT, detail::call_error(), *this);
        }
        return set(plimsoll_request_set_deadline_ms, static_cast<std::uint64_t>(value.count()));
    }

    /// How long the request may wait for memory [0: it is refused at once]. Those who wait are granted in order of priority, and
    /// within one in order of arrival. A deadline and a cancel token end the waiting, too.
    ///
    /// Ownership: borrows the request. Threads: one at a time. Errors: `invalid_argument` for a negative time. Since: 0.1.
    chained<request> set_wait(std::chrono::milliseconds value) {
        if (value.count() < 0) {
            return detail::chain(PLIMSOLL_ERR_INVALID_ARGUMENT, detail::call_error(), *this);
        }
        return set(plimsoll_request_set_wait_ms, static_cast<std::uint64_t>(value.count()));
    }

    /// The request's place among those who wait for memory [0]: before all of a lower priority. From -128 to 127.
    ///
    /// Ownership: borrows the request. Threads: one at a time. Errors: `invalid_argument`. Since: 0.1.
    chained<request> set_priority(std::int32_t value) { return set(plimsoll_request_set_priority, value); }

private:
    friend handle;
    request(adopted, plimsoll_request *raw) noexcept : handle(raw) {}

    template <class Value>
    chained<request> set(plimsoll_status (*call)(plimsoll_request *, Value, plimsoll_error **), Value value) {
        detail::call_error failure;
        return detail::chain(call(get(), value, failure.out()), failure, *this);
    }
};

} // namespace PLIMSOLL_CPP
} // namespace plimsoll

#endif
