// What callbacks say and throw: it comes out of the call they were given to, and leaves everything usable.
#include "check.hpp"

#include <atomic>
#include <memory>
#include <stdexcept>

namespace pl = plimsoll;
using check::request_of;

namespace {

const pl::runtime &runtime() {
    static const pl::runtime one;
    return one;
}

const pl::model &model() {
    static const pl::model one = check::load(runtime());
    return one;
}

constexpr std::string_view sharded = "tests/golden/models/llama-sharded";

// Exceptions of the host's own, of any type: not every one is a std::exception.
struct host_fault : std::runtime_error {
    using std::runtime_error::runtime_error;
};

void an_event_callback_throws() {
    const pl::session session = model().open_session();
    int events = 0;
    std::string said;
    try {
        (void)session.generate(request_of("hello", 60), [&](const pl::event &) {
            if (++events == 3) {
                throw host_fault("enough");
            }
        });
    } catch (const host_fault &thrown) {
        said = thrown.what();
    }
    CHECK_EQ(said, "enough");
    CHECK_EQ(events, 3);

    int number = 0;
    try {
        (void)session.generate(request_of("and now?", 60), [](const pl::event &) -> pl::flow { throw 7; });
    } catch (int thrown) {
        number = thrown;
    }
    CHECK_EQ(number, 7);

    // What was generated joined the conversation; the session and its bytes are as after any stopped answer.
    const pl::result next = session.generate(request_of("go on", 5));
    CHECK(next.generated_tokens == 5 && next.cached_tokens > 0);
    CHECK_EQ(runtime().memory_stats().request_bytes, 0U);
    model().check_integrity();
}

// Also an error of plimsoll itself, thrown in a callback, arrives as what it is.
void a_failing_call_in_a_callback() {
    const pl::session session = model().open_session();
    const pl::request request = request_of("hello", 16);
    CHECK_ERROR(reentrant, (void)session.generate(request, [&](const pl::event &) { (void)session.generate(request); }));
    CHECK_ERROR(reentrant, (void)session.generate(request, [&](const pl::event &) { session.reset(); }));
    CHECK_ERROR(reentrant, (void)session.generate(request, [&](const pl::event &) { (void)session.evict(); }));
    CHECK_ERROR(reentrant, (void)session.generate(request, [&](const pl::event &) { (void)session.start(request); }));

    // What may be called there, may.
    bool called = false;
    const pl::session other = model().open_session();
    const pl::result result = session.generate(request, [&](const pl::event &) {
        if (!std::exchange(called, true)) {
            CHECK_EQ(session.what_if(request).reason, "busy");
            CHECK(session.id() > 0 && session.kv_bytes() > 0 && runtime().memory_stats().request_bytes > 0);
            CHECK_EQ(other.generate(request).generated_tokens, 16U);
        }
    });
    CHECK(called && result.generated_tokens == 16);
}

void a_callback_stops() {
    const pl::session session = model().open_session();
    int events = 0;
    const pl::result result = session.generate(
        request_of("hello", 60), [&](const pl::event &) { return ++events < 3 ? pl::flow::go_on : pl::flow::stop; });
    CHECK(result.ending == pl::ending::stopped && events == 3 && result.generated_tokens == 3);
}

pl::flow stop_at_once(const pl::event &) { return pl::flow::stop; }

// A callback may be any function: an empty one is not called, one with state is called where it stands.
void kinds_of_callbacks() {
    const pl::session session = model().open_session();
    const pl::request request = request_of("hello", 6);
    CHECK_EQ(session.generate(request, nullptr).generated_tokens, 6U);
    CHECK_EQ(session.generate(request, std::function<void(const pl::event &)>()).generated_tokens, 6U);
    CHECK_EQ(session.generate(request, stop_at_once).generated_tokens, 1U);
    CHECK_EQ(session.generate(request, &stop_at_once).generated_tokens, 1U);
    const std::function<pl::flow(const pl::event &)> function = stop_at_once;
    CHECK_EQ(session.generate(request, function).generated_tokens, 1U);
    auto counted = std::make_shared<int>(0);
    const pl::event_callback kept = [counted, own = 0](const pl::event &) mutable { *counted = ++own; };
    CHECK(kept && !pl::event_callback() && !pl::event_callback(nullptr));
    CHECK_EQ(session.generate(request, kept).generated_tokens, 6U);
    CHECK(*counted >= 6);
    CHECK_EQ(counted.use_count(), 2);
}

// Wherever the callback throws, the load ends, the exception arrives, and nothing is left behind.
void a_progress_callback_throws() {
    const pl::runtime own;
    int thrown = 0;
    for (int after = 0; after < 64; after++) {
        int calls = 0;
        try {
            const pl::model loaded = own.load("test", sharded, [&](const pl::progress &) {
                if (calls++ == after) {
                    throw host_fault("no further");
                }
            });
            CHECK(calls <= after);
            break;
        } catch (const host_fault &) {
            thrown++;
            CHECK_EQ(calls, after + 1);
        }
        CHECK_EQ(own.memory_stats().used_bytes, 0U);
    }
    CHECK(thrown >= 2);
    CHECK_EQ(own.memory_stats().used_bytes, 0U);
}

void progress_is_told_and_stopped() {
    const pl::runtime own;
    std::vector<pl::progress> told;
    const pl::model loaded = own.load("test", sharded, {{"native.threads", "2"}}, [&](const pl::progress &now) {
        told.push_back(now);
        return pl::flow::go_on;
    });
    CHECK(told.size() >= 4 && told.back().state == pl::load_state::ready && told.back().shards > 1);
    for (std::size_t i = 1; i < told.size(); i++) {
        CHECK(told[i].state >= told[i - 1].state && told[i].bytes_done >= told[i - 1].bytes_done);
        CHECK(told[i].bytes_done <= told[i].bytes_total && told[i].shard <= told[i].shards);
    }
    CHECK_ERROR(load_cancelled, (void)own.load("test", check::tiny, [](const pl::progress &) { return pl::flow::stop; }));
}

// Log lines belong to no call, so what their callback throws is counted and ends there.
void a_log_callback_throws() {
    std::atomic<int> lines{0};
    const std::uint64_t before = pl::log_lines_lost();
    pl::set_log(pl::log_level::trace, [&](pl::log_level level, std::string_view target, std::string_view text) {
        if (to_string(level) == "unknown" || target.substr(0, 8) != "plimsoll" || text.empty()) {
            check::fail(__FILE__, __LINE__) << "a log line of " << target << '\n';
        }
        lines++;
        throw host_fault("cannot write");
    });
    const pl::runtime own;
    const pl::model loaded = check::load(own);
    CHECK_EQ(loaded.open_session().generate(request_of("hello", 4)).generated_tokens, 4U);
    pl::stop_log();
    CHECK(lines > 0);
    CHECK_EQ(pl::log_lines_lost() - before, static_cast<std::uint64_t>(lines.load()));
}

// A registration goes when the next comes, or when it was not taken.
void a_log_callback_goes_once() {
    const auto first = std::make_shared<int>(0), second = std::make_shared<int>(0), refused = std::make_shared<int>(0);
    pl::set_log(pl::log_level::debug, [first](pl::log_level, std::string_view, std::string_view) {});
    CHECK_EQ(first.use_count(), 2);
    CHECK_ERROR(invalid_argument,
                pl::set_log(pl::log_level{99}, [refused](pl::log_level, std::string_view, std::string_view) {}));
    CHECK_EQ(refused.use_count(), 1);
    CHECK_EQ(first.use_count(), 2);
    pl::set_log(pl::log_level::info, [second](pl::log_level, std::string_view, std::string_view) {});
    CHECK(check::in_a_moment([&] { return first.use_count() == 1; }));
    CHECK_EQ(second.use_count(), 2);
    pl::stop_log();
    CHECK(check::in_a_moment([&] { return second.use_count() == 1; }));
}

// In a range-for the exception of the loop's body leaves a running stream behind, which cancels its request.
void a_loop_body_throws() {
    const pl::model slow = check::load(runtime(), check::slow, "1");
    const pl::session session = slow.open_session();
    bool thrown = false;
    try {
        pl::stream stream = session.start(request_of("hello", check::slow_tokens));
        for (const pl::event &event : stream) {
            CHECK_EQ(event.kind, pl::event_kind::token);
            throw host_fault("enough");
        }
    } catch (const host_fault &) {
        thrown = true;
    }
    CHECK(thrown);
    CHECK_EQ(runtime().memory_stats().request_bytes, 0U);
    CHECK_EQ(session.generate(request_of("go on", 2)).generated_tokens, 2U);
}

} // namespace

int main() {
    check::suite = "cpp callbacks";
    RUN(an_event_callback_throws);
    RUN(a_failing_call_in_a_callback);
    RUN(a_callback_stops);
    RUN(kinds_of_callbacks);
    RUN(a_progress_callback_throws);
    RUN(progress_is_told_and_stopped);
    RUN(a_log_callback_throws);
    RUN(a_log_callback_goes_once);
    RUN(a_loop_body_throws);
    return check::result();
}
