/// Engines of the host's own: plug-ins, written as a class.
#ifndef PLIMSOLL_ENGINE_HPP
#define PLIMSOLL_ENGINE_HPP

#include "error.hpp"

#include <chrono>
#include <memory>
#include <string>

namespace plimsoll {
inline namespace PLIMSOLL_CPP {

/// What an engine is, and what it holds besides its requests. See plimsoll_engine_description.
///
/// Since: 0.1.
struct engine_description {
    /// The engine's name, 1 to 64 bytes.
    std::string name;
    /// Most tokens of a conversation.
    std::uint32_t context_length = 0;
    /// Token ids are below this.
    std::uint32_t vocab_size = 0;
    /// Tokens per KV block.
    std::uint32_t block_tokens = 0;
    /// Most requests that run at once.
    std::uint32_t max_sequences = 0;
    /// Bytes of weights, leased before load().
    std::uint64_t weights_bytes = 0;
    /// Bytes of workspace, leased before load().
    std::uint64_t workspace_bytes = 0;
};

/// All that the price of a request depends on.
///
/// Since: 0.1.
struct engine_shape {
    /// Tokens of the whole conversation.
    std::uint32_t prompt_tokens = 0;
    /// Tokens that may be generated.
    std::uint32_t max_tokens = 0;
    /// Alternatives reported per token.
    std::uint32_t top_logprobs = 0;
    /// Whether tokens already seen are penalised.
    bool penalties = false;
};

/// What a request holds at its largest. See plimsoll_engine_price.
///
/// Since: 0.1.
struct engine_price {
    /// Bytes of the session's KV: whole blocks.
    std::uint64_t kv_bytes = 0;
    /// Bytes of one KV block.
    std::uint64_t kv_block_bytes = 0;
    /// Host bytes of the request itself.
    std::uint64_t request_bytes = 0;
};

/// A request, borrowed until start() returns. See plimsoll_engine_request.
///
/// Since: 0.1.
struct engine_request {
    std::uint64_t request = 0;
    std::uint64_t session = 0;
    span<const std::uint32_t> tokens;
    span<const std::uint32_t> stop_tokens;
    std::size_t shared_prefix = 0;
    std::uint32_t max_tokens = 0;
    std::uint32_t top_logprobs = 0;
    std::uint64_t kv_bytes = 0;
    std::uint64_t request_bytes = 0;
    std::optional<std::uint64_t> seed;
    bool keep_kv = false;
    float temperature = 0;
    std::uint32_t top_k = 0;
    float top_p = 1;
    float min_p = 0;
    float repetition_penalty = 1;
    float presence_penalty = 0;
    float frequency_penalty = 0;

    static engine_request from(const plimsoll_engine_request &raw) noexcept {
        engine_request r;
        r.request = raw.request;
        r.session = raw.session;
        r.tokens = {raw.tokens, raw.token_count};
        r.stop_tokens = {raw.stop_tokens, raw.stop_count};
        r.shared_prefix = raw.shared_prefix;
        r.max_tokens = raw.max_tokens;
        r.top_logprobs = raw.top_logprobs;
        r.kv_bytes = raw.kv_bytes;
        r.request_bytes = raw.request_bytes;
        if (raw.has_seed != 0) {
            r.seed = raw.seed;
        }
        r.keep_kv = raw.keep_kv != 0;
        r.temperature = raw.temperature;
        r.top_k = raw.top_k;
        r.top_p = raw.top_p;
        r.min_p = raw.min_p;
        r.repetition_penalty = raw.repetition_penalty;
        r.presence_penalty = raw.presence_penalty;
        r.frequency_penalty = raw.frequency_penalty;
        return r;
    }
};

/// What an engine's allocators hold, in bytes.
///
/// Since: 0.1.
struct engine_holdings {
    std::uint64_t weights_bytes = 0;
    std::uint64_t workspace_bytes = 0;
    std::uint64_t kv_bytes = 0;
};

/// What the library does for an engine. See plimsoll_engine_host for what each call promises and demands.
///
/// Ownership: a pointer that lives as long as the engine is loaded. Threads: any, several at once. Errors: each call answers a
/// status. Since: 0.1.
class engine_host {
public:
    /// No host: for an engine that is not loaded yet. Nothing may be called.
    engine_host() noexcept = default;
    explicit engine_host(const plimsoll_engine_host *raw) noexcept : raw_(raw) {}

    /// The request leaves the engine's queue.
    status begin(std::uint64_t request) const noexcept { return status{raw_->begin(raw_->context, request)}; }
    /// Takes bytes of KV for a session out of what its request was admitted with: before they are allocated.
    status lease_grow(std::uint64_t session, std::uint64_t bytes) const noexcept {
        return status{raw_->lease_grow(raw_->context, session, bytes)};
    }
    /// Gives bytes of a session's KV back: after they are freed.
    status lease_shrink(std::uint64_t session, std::uint64_t bytes) const noexcept {
        return status{raw_->lease_shrink(raw_->context, session, bytes)};
    }
    /// A token for the reader, with the likeliest tokens at its position.
    status emit_token(std::uint64_t request, std::uint32_t token, float logprob, span<const std::uint32_t> top_tokens = {},
                      span<const float> top_logprobs = {}) const noexcept {
        auto raw = detail::sized<plimsoll_engine_token>();
        raw.token = token;
        raw.logprob = logprob;
        raw.top_tokens = top_tokens.data();
        raw.top_logprobs = top_logprobs.data();
        raw.top_count = top_tokens.size() < top_logprobs.size() ? top_tokens.size() : top_logprobs.size();
        return status{raw_->emit_token(raw_->context, request, &raw)};
    }
    /// The request's end: exactly once for each that start() has taken.
    status emit_end(std::uint64_t request, ending how, std::size_t cached_tokens, std::size_t kv_tokens) const noexcept {
        auto raw = detail::sized<plimsoll_engine_end>();
        raw.ending = static_cast<std::int32_t>(how);
        raw.cached_tokens = cached_tokens;
        raw.kv_tokens = kv_tokens;
        return status{raw_->emit_end(raw_->context, request, &raw)};
    }
    /// The same of a request that failed.
    status emit_failure(std::uint64_t request, status why, std::string_view message = {}) const noexcept {
        auto raw = detail::sized<plimsoll_engine_end>();
        raw.status = static_cast<std::int32_t>(why);
        raw.message = message.data();
        raw.message_len = message.size();
        return status{raw_->emit_end(raw_->context, request, &raw)};
    }
    /// How the request should end now, if it should: cancelled, deadline, or stopped for one that has ended.
    std::optional<ending> interrupted(std::uint64_t request) const noexcept {
        std::int32_t how = raw_->interrupted(raw_->context, request);
        return how == 0 ? std::nullopt : std::optional<ending>(ending{how});
    }
    /// The answer to a reclaim() that answered status::busy.
    status reclaimed(std::uint64_t session) const noexcept { return status{raw_->reclaimed(raw_->context, session)}; }
    /// A line for the log.
    status log(log_level level, std::string_view text) const noexcept {
        return status{raw_->log(raw_->context, static_cast<std::int32_t>(level), text.data(), text.size())};
    }

private:
    const plimsoll_engine_host *raw_ = nullptr;
};

/// An engine of the host's own, for runtime::attach(). Members answer a status; what they throw is caught and counts as
/// status::engine_failed. See plimsoll_engine_table for what each promises, on which threads it is called, and what may not wait.
///
/// Ownership: the library owns it from attach() on; it is destroyed when its last model and session are gone, and ends its threads
/// and frees what it holds in its destructor. Since: 0.1.
class engine {
public:
    engine() = default;
    engine(const engine &) = delete;
    engine &operator=(const engine &) = delete;
    virtual ~engine() = default;

    /// What the engine is.
    virtual engine_description describe() = 0;
    /// Its weights and workspace are leased: it may allocate them, and keep `host`.
    virtual status load(engine_host host) = 0;
    /// The price of a request.
    virtual status estimate(const engine_shape &shape, engine_price &price) = 0;
    /// Takes a request, which it must not wait for, and owes one emit_end() or emit_failure().
    virtual status start(const engine_request &request) = 0;
    /// The request should end soon.
    virtual status cancel(std::uint64_t) { return status::ok; }
    /// Gives the KV of an idle session back: status::ok when it is answered, status::busy when reclaimed() answers later.
    virtual status reclaim(std::uint64_t session, std::uint64_t bytes, std::chrono::milliseconds deadline) = 0;
    /// What its allocators hold; status::unsupported takes what is leased for it.
    virtual status holdings(engine_holdings &) { return status::unsupported; }
};

namespace detail {

/// What the library has of an engine.
struct plugged {
    std::unique_ptr<engine> own;
    /// Lives until describe() has been read.
    engine_description description;

    template <class Body>
    static std::int32_t guarded(Body &&body) noexcept {
#if defined(PLIMSOLL_NO_EXCEPTIONS)
        return static_cast<std::int32_t>(body());
#else
        try {
            return static_cast<std::int32_t>(body());
        } catch (const std::bad_alloc &) {
            return PLIMSOLL_ERR_OUT_OF_MEMORY;
        } catch (...) {
            return PLIMSOLL_ERR_ENGINE_FAILED;
        }
#endif
    }

    static engine &of(void *self) noexcept { return *static_cast<plugged *>(self)->own; }

    static std::int32_t describe(void *arg, plimsoll_engine_description *out) noexcept {
        return guarded([&] {
            auto *self = static_cast<plugged *>(arg);
            const engine_description &d = self->description = self->own->describe();
            out->context_length = d.context_length;
            out->vocab_size = d.vocab_size;
            out->block_tokens = d.block_tokens;
            out->max_sequences = d.max_sequences;
            out->weights_bytes = d.weights_bytes;
            out->workspace_bytes = d.workspace_bytes;
            out->name = d.name.data();
            out->name_len = d.name.size();
            return status::ok;
        });
    }
    static std::int32_t load(void *self, const plimsoll_engine_host *host, void **out) noexcept {
        *out = self;
        return guarded([&] { return of(self).load(engine_host(host)); });
    }
    static std::int32_t estimate(void *self, const plimsoll_engine_shape *raw, plimsoll_engine_price *out) noexcept {
        return guarded([&] {
            const engine_shape shape{raw->prompt_tokens, raw->max_tokens, raw->top_logprobs, raw->penalties != 0};
            engine_price price;
            status answer = of(self).estimate(shape, price);
            out->kv_bytes = price.kv_bytes;
            out->kv_block_bytes = price.kv_block_bytes;
            out->request_bytes = price.request_bytes;
            return answer;
        });
    }
    static std::int32_t start(void *self, const plimsoll_engine_request *raw) noexcept {
        return guarded([&] { return of(self).start(engine_request::from(*raw)); });
    }
    static std::int32_t cancel(void *self, std::uint64_t request) noexcept {
        return guarded([&] { return of(self).cancel(request); });
    }
    static std::int32_t reclaim(void *self, std::uint64_t session, std::uint64_t bytes, std::uint32_t deadline) noexcept {
        return guarded([&] { return of(self).reclaim(session, bytes, std::chrono::milliseconds(deadline)); });
    }
    static std::int32_t holdings(void *self, plimsoll_engine_holdings *out) noexcept {
        return guarded([&] {
            engine_holdings held;
            status answer = of(self).holdings(held);
            out->weights_bytes = held.weights_bytes;
            out->workspace_bytes = held.workspace_bytes;
            out->kv_bytes = held.kv_bytes;
            return answer;
        });
    }
    static void free(void *self) noexcept { static_cast<plugged *>(self)->own.reset(); }
    static void drop(void *self) noexcept { delete static_cast<plugged *>(self); }

    static plimsoll_engine_table table() noexcept {
        auto raw = sized<plimsoll_engine_table>();
        raw.abi_version = PLIMSOLL_ENGINE_ABI_VERSION;
        raw.describe = describe;
        raw.load = load;
        raw.estimate = estimate;
        raw.start = start;
        raw.cancel = cancel;
        raw.reclaim = reclaim;
        raw.holdings = holdings;
        raw.free = free;
        return raw;
    }
};

} // namespace detail
} // namespace PLIMSOLL_CPP
} // namespace plimsoll

#endif
