// Engines of the host's own, as classes.
#include "check.hpp"
#include "engine.hpp"

#include <array>
#include <stdexcept>
#include <string>
#include <vector>

using namespace std::chrono_literals;
namespace pl = plimsoll;

namespace {

class thrower : public check::repeater {
public:
    using repeater::repeater;
    pl::status fail() override { throw std::runtime_error("not for the library"); }
};

pl::request ids_of(std::vector<std::uint32_t> ids, std::uint32_t max_tokens) {
    pl::request r;
    r.set_tokens(ids).set_max_tokens(max_tokens).set_min_tokens(max_tokens);
    return r;
}

void plug_ins() {
    const pl::runtime runtime;
    check::engine_trace trace;
    {
        const pl::model own = runtime.attach("own", "", std::make_unique<thrower>(trace));
        const pl::model_facts facts = own.facts();
        CHECK(facts.engine == "repeater" && facts.weights_bytes == 100 && facts.workspace_bytes == 10);
        pl::session session = own.open_session();
        pl::request r = ids_of({5, 6, 7}, 4);
        r.set_seed(9).set_top_logprobs(2).set_temperature(0.5F).set_top_k(3).set_top_p(0.5F).set_min_p(0.25F);
        r.set_repetition_penalty(1.5F).set_presence_penalty(0.5F).set_frequency_penalty(0.25F);
        const check::answer a = check::run(session, r);
        CHECK(a.tokens == (std::vector<std::uint32_t>{5, 6, 7, 5}));
        CHECK_EQ(trace.refused, 1);
        const pl::engine_request &seen = trace.last;
        CHECK(seen.session == session.id() && seen.request > 0 && seen.seed == 9U && seen.keep_kv && seen.max_tokens == 4);
        CHECK(seen.top_logprobs == 2 && seen.top_k == 3 && seen.stop_tokens.empty() && seen.shared_prefix == 0);
        CHECK(seen.kv_bytes == 7 * check::repeater::token_bytes && seen.request_bytes == 8 + 2 + 1);
        const std::array<float, 6> settings{seen.temperature,        seen.top_p,            seen.min_p,
                                            seen.repetition_penalty, seen.presence_penalty, seen.frequency_penalty};
        CHECK(settings == (std::array<float, 6>{0.5F, 0.5F, 0.25F, 1.5F, 0.5F, 0.25F}));
        CHECK_EQ(session.kv_bytes(), 6 * check::repeater::token_bytes);
        own.check_integrity();
        CHECK_EQ(session.evict(), 6 * check::repeater::token_bytes);
        CHECK_ERROR(engine_failed, check::run(own.open_session(), ids_of({13}, 2)));
        CHECK_ERROR(engine_failed, check::run(own.open_session(), ids_of({14}, 2)));
        CHECK_EQ(check::run(own.open_session(), ids_of({15}, 2)).tokens.size(), 2U);
        CHECK_EQ(trace.live, 1);
    }
    CHECK_EQ(trace.live, 0);

    const pl::config patience{{"plugin.grace_ms", "20"}};
    {
        const pl::model own = runtime.attach("own", "models/demo", std::make_unique<check::sleeper>(trace), patience);
        pl::session session = own.open_session();
        CHECK_EQ(check::run(session, ids_of({1}, 2).set_deadline(1ms)).numbers.ending, pl::ending::deadline);
        CHECK_EQ(own.facts().kv_bytes, 0U);
    }
    CHECK_EQ(trace.live, 0);

    CHECK_ERROR(null_pointer, (void)runtime.attach("own", "", nullptr));
    CHECK_ERROR(model_not_found, (void)runtime.attach("own", "no/such", std::make_unique<thrower>(trace)));
    trace.loads = pl::status::out_of_memory;
    CHECK_ERROR(out_of_memory, (void)runtime.attach("own", "", std::make_unique<thrower>(trace)));
    trace.describes = pl::status::internal;
    CHECK_ERROR(invalid_argument, (void)runtime.attach("own", "", std::make_unique<thrower>(trace)));
    CHECK_EQ(trace.live, 0);
}

} // namespace

int main() {
    check::suite = "cpp engines";
    RUN(plug_ins);
    return check::result();
}
