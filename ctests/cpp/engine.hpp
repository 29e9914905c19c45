// An engine for the tests: repeats the prompt, inside of start(), and keeps what it has leased.
#ifndef CTESTS_CPP_ENGINE_HPP
#define CTESTS_CPP_ENGINE_HPP

#include "plimsoll.hpp"

#include <map>
#include <mutex>
#include <utility>

namespace check {

namespace pl = plimsoll;

// What a test sees of an engine that the library owns.
struct engine_trace {
    int live = 0;
    int refused = 0;
    pl::engine_request last;
    pl::status describes = pl::status::ok;
    pl::status loads = pl::status::ok;
};

class repeater : public pl::engine {
public:
    static constexpr std::uint64_t token_bytes = 40;

    explicit repeater(engine_trace &trace) : trace_(trace) { trace_.live++; }
    ~repeater() override { trace_.live--; }

    pl::engine_description describe() override {
        pl::engine_description d;
        d.name = "repeater";
        d.context_length = trace_.describes == pl::status::ok ? 200 : 0;
        d.vocab_size = 1000;
        d.block_tokens = 1;
        d.max_sequences = 1;
        d.weights_bytes = 100;
        d.workspace_bytes = 10;
        return d;
    }
    pl::status load(pl::engine_host host) override {
        host_ = host;
        (void)host_.log(pl::log_level::debug, "a repeater is loaded");
        return trace_.loads;
    }
    pl::status estimate(const pl::engine_shape &shape, pl::engine_price &price) override {
        price.kv_block_bytes = token_bytes;
        price.kv_bytes = token_bytes * (shape.prompt_tokens + shape.max_tokens);
        price.request_bytes = 8 + shape.top_logprobs + (shape.penalties ? 1U : 0U);
        return pl::status::ok;
    }
    pl::status start(const pl::engine_request &r) override {
        trace_.last = r;
        if (host_.begin(r.request) != pl::status::ok || host_.interrupted(r.request)) {
            return pl::status::internal;
        }
        trace_.refused += host_.lease_grow(r.session, r.kv_bytes + 1) == pl::status::memory_refused;
        if (r.tokens[0] == 13) {
            return host_.emit_failure(r.request, pl::status::engine_failed, "thirteen");
        }
        if (r.tokens[0] == 14) {
            return fail();
        }
        (void)host_.lease_grow(r.session, r.kv_bytes);
        const std::uint32_t ids[2] = {1, 2};
        const float logprobs[2] = {-1, -2};
        for (std::uint32_t i = 0; i < r.max_tokens; i++) {
            (void)host_.emit_token(r.request, r.tokens[i % r.tokens.size()], -1.0F, ids, logprobs);
        }
        const std::size_t all = r.tokens.size() + r.max_tokens, kept = r.keep_kv ? all - 1 : 0;
        (void)host_.lease_shrink(r.session, (all - kept) * token_bytes);
        hold(r.session, kept * token_bytes);
        return host_.emit_end(r.request, pl::ending::length, 0, kept);
    }
    pl::status reclaim(std::uint64_t session, std::uint64_t bytes, std::chrono::milliseconds deadline) override {
        if (deadline.count() <= 0 || hold(session, 0) != bytes) {
            return pl::status::internal;
        }
        (void)host_.lease_shrink(session, bytes);
        (void)host_.reclaimed(session);
        return pl::status::busy;
    }
    pl::status holdings(pl::engine_holdings &held) override {
        const std::lock_guard<std::mutex> lock(mutex_);
        held.weights_bytes = 100;
        held.workspace_bytes = 10;
        for (const auto &each : held_) {
            held.kv_bytes += each.second;
        }
        return pl::status::ok;
    }

protected:
    virtual pl::status fail() { return pl::status::engine_failed; }

private:
    std::uint64_t hold(std::uint64_t session, std::uint64_t bytes) {
        const std::lock_guard<std::mutex> lock(mutex_);
        return std::exchange(held_[session], bytes);
    }

    engine_trace &trace_;
    pl::engine_host host_;
    std::mutex mutex_;
    std::map<std::uint64_t, std::uint64_t> held_;
};

// Leaves what it may to the base class: it is told of a cancel, and never says what it holds.
class sleeper : public repeater {
public:
    using repeater::repeater;
    pl::status start(const pl::engine_request &) override { return pl::status::ok; }
    pl::status cancel(std::uint64_t request) override { return pl::engine::cancel(request); }
    pl::status holdings(pl::engine_holdings &held) override { return pl::engine::holdings(held); }
};

} // namespace check

#endif
