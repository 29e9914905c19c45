// Every call of plimsoll.hpp for hosts without exceptions and RTTI: values or errors are returned.
#include "check.hpp"
#include "engine.hpp"

#if defined(__cpp_exceptions) || !defined(PLIMSOLL_NO_EXCEPTIONS)
#error "compile this with -fno-exceptions and PLIMSOLL_NO_EXCEPTIONS"
#endif

#include <array>
#include <atomic>
#include <memory>
#include <utility>

using namespace std::chrono_literals;
namespace pl = plimsoll;

namespace {

// A value that must be there.
template <class T>
T got(pl::expected<T> expected) {
    if (!expected) {
        check::fail(__FILE__, __LINE__) << expected.error().what() << '\n';
    }
    return std::move(expected).value();
}

// The code of a call that must fail with a text and a section.
template <class T>
pl::status code_of(const pl::expected<T> &expected) {
    if (expected.has_value()) {
        return pl::status::ok;
    }
    CHECK(expected.error().what()[0] != '\0' && to_string(expected.error().section()) != "unknown");
    return expected.error().code();
}

pl::runtime make_runtime() { return got(pl::runtime::create()); }

pl::model load(const pl::runtime &runtime, std::string_view path = check::tiny, std::string_view sequences = "16") {
    const auto config = got(pl::config::create({{"native.threads", "2"}, {"native.max_sequences", sequences}}));
    return got(runtime.load("test", path, config));
}

pl::request request_of(std::string_view text, std::uint32_t max_tokens) {
    pl::request request = got(pl::request::create());
    CHECK(request.add_message("user", text) && request.set_max_tokens(max_tokens) && request.set_ignore_eos(true));
    return request;
}

// A type that cannot be copied or made from nothing, to be held.
void expected_values() {
    pl::expected<std::unique_ptr<int>> one(std::make_unique<int>(7));
    CHECK(one && one.has_value() && **one == 7 && *one->get() == 7 && *std::as_const(one).value() == 7);
    CHECK(*std::as_const(one)->get() == 7 && **std::as_const(one) == 7);
    const std::unique_ptr<int> taken = *std::move(one);
    CHECK_EQ(*taken, 7);
    pl::expected<int> none(pl::error(PLIMSOLL_ERR_BUSY, nullptr));
    CHECK(!none && none.error().code() == pl::status::busy && none.error().what() == std::string_view("busy"));
    CHECK_EQ(std::move(none).value_or(3), 3);
    CHECK_EQ(pl::expected<int>(4).value_or(3), 4);
    pl::expected<void> nothing;
    nothing.value();
    CHECK(nothing && !pl::expected<void>(pl::error(PLIMSOLL_ERR_BUSY, nullptr)));
    static_assert(std::is_nothrow_move_constructible_v<pl::expected<pl::session>>);
}

void configurations_and_memory() {
    pl::config config = got(pl::config::create());
    CHECK(static_cast<bool>(config.set("memory.budget", "64MiB")) && config.set("guard.reserve_mb", "0"));
    CHECK(static_cast<bool>(config.set("guard.threshold", "1")));
    CHECK_EQ(code_of(config.set("no.such.key", "1")), pl::status::invalid_config);
    CHECK_EQ(code_of(pl::config::create({{"memory.budget", "lots"}, {"guard.threshold", "1"}})), pl::status::invalid_config);
    const pl::runtime runtime = got(pl::runtime::create(config));
    const pl::memory memory = got(runtime.memory_stats());
    CHECK(memory.capacity_bytes == 64U << 20 && memory.free_bytes == memory.limit_bytes);
    CHECK(runtime.can_allocate(memory.free_bytes, 0) && !runtime.can_allocate(memory.free_bytes));
    CHECK(runtime.is_low_memory(0) && !runtime.is_low_memory(0.99));
    const pl::text json = got(runtime.memory_stats_json());
    CHECK(json.view().front() == '{' && json.str().back() == '}');
}

void a_model() {
    const pl::runtime runtime = make_runtime();
    pl::model model = load(runtime);
    CHECK_EQ(got(model.facts()).context_length, check::tiny_context);
    const std::vector<std::uint32_t> tokens = got(model.tokenize("Hello, world"));
    std::string bytes;
    for (std::uint32_t token : tokens) {
        bytes += model.token_bytes(token);
    }
    CHECK_EQ(bytes, "Hello, world");
    std::array<std::uint32_t, 1> room{};
    CHECK_EQ(got(model.tokenize("Hello, world", room)), tokens.size());
    CHECK_EQ(room[0], tokens[0]);
    CHECK_EQ(code_of(model.tokenize("\xff")), pl::status::invalid_utf8);
    CHECK(got(model.render({{"user", "hello"}})).str().find("hello") != std::string::npos);
    CHECK_EQ(code_of(model.render({{"user", "\xff"}})), pl::status::invalid_utf8);
    CHECK(static_cast<bool>(model.check_integrity()));
    CHECK(static_cast<bool>(model.attach_engine(got(pl::config::create({{"engine.kind", "native"}})))));
    CHECK_EQ(code_of(model.attach_engine(got(pl::config::create({{"engine.kind", "vllm"}})))), pl::status::unsupported);
    check::engine_trace trace;
    {
        const pl::model own = got(runtime.attach("own", "", std::make_unique<check::repeater>(trace)));
        CHECK_EQ(got(own.facts()).engine, "repeater");
        pl::request ids = got(pl::request::create());
        const std::array<std::uint32_t, 2> prompt{5, 6};
        CHECK(ids.set_tokens(prompt) && ids.set_max_tokens(3));
        CHECK_EQ(got(got(own.open_session()).generate(ids)).generated_tokens, 3U);
        // A range that ends by an error says so, whatever is asked of the stream.
        const std::array<std::uint32_t, 1> fails{13};
        CHECK(ids.set_tokens(fails) && ids.set_answers(2));
        pl::stream failed = got(got(own.open_session()).start(ids));
        CHECK(failed.begin() == failed.end() && code_of(failed.result()) == pl::status::engine_failed);
        CHECK_EQ(code_of(failed.answer(1)), pl::status::engine_failed);
        CHECK_EQ(code_of(failed.answer_text(1)), pl::status::engine_failed);
    }
    CHECK_EQ(code_of(runtime.attach("own", "", nullptr)), pl::status::null_pointer);
    CHECK_EQ(trace.live, 0);
    CHECK_EQ(code_of(runtime.load("test", "no/such/model")), pl::status::model_not_found);

    pl::request request = got(pl::request::create());
    CHECK(static_cast<bool>(request.add_message_json(R"({"role": "user", "content": "hello"})")));
    CHECK(request.set_tools("[]") && request.clear_tools() && got(model.render_request(request)).str().find("hello") != std::string::npos);
    CHECK_EQ(code_of(request.set_tools("{}")), pl::status::invalid_argument);

    int calls = 0;
    CHECK_EQ(code_of(runtime.load("test", "tests/golden/models/llama-sharded",
                                  [&](const pl::progress &) { return ++calls != 3 ? pl::flow::go_on : pl::flow::stop; })),
             pl::status::load_cancelled);
    CHECK(calls >= 3);
}

void settings_of_a_request() {
    pl::request r = request_of("hello", 12);
    CHECK(r.set_min_tokens(2) && r.set_temperature(0.9F) && r.set_top_k(40) && r.set_top_p(0.95F) && r.set_min_p(0.01F));
    CHECK(r.set_repetition_penalty(1.1F) && r.set_presence_penalty(0.1F) && r.set_frequency_penalty(0.1F) && r.set_seed(7));
    CHECK(r.set_top_logprobs(2) && r.set_deadline(60s) && r.add_stop("never to be seen in an answer"));
    CHECK_EQ(code_of(r.set_temperature(-1)), pl::status::invalid_argument);
    CHECK_EQ(code_of(r.set_deadline(-1ms)), pl::status::invalid_argument);
    CHECK_EQ(code_of(r.set_wait(-1ms)), pl::status::invalid_argument);
    CHECK_EQ(code_of(r.add_stop("")), pl::status::invalid_argument);
    const pl::runtime runtime = make_runtime();
    const pl::model model = load(runtime);
    const pl::session session = got(model.open_session());
    CHECK_EQ(got(session.generate(r)).generated_tokens, 12U);
    CHECK(r.clear() && r.set_text("hello") && r.set_tokens(got(model.tokenize("hello"))));
    CHECK_EQ(got(session.generate(r)).generated_tokens, 12U);
    CHECK(static_cast<bool>(r.set_tokens({})));
    CHECK_EQ(code_of(session.generate(r)), pl::status::empty_request);
}

void a_session() {
    const pl::runtime runtime = make_runtime();
    const pl::model model = load(runtime);
    const pl::session session = got(model.open_session(got(pl::config::create({{"session.kv_limit_mb", "64"}}))));
    CHECK_EQ(code_of(model.open_session(got(pl::config::create({{"memory.budget", "1GiB"}})))), pl::status::invalid_config);
    const pl::request request = request_of("hello", 20);
    const pl::verdict guess = got(session.what_if(request));
    const pl::admission granted = got(session.admit(request));
    CHECK(granted && granted.verdict.bytes_asked == guess.bytes_asked);
    CHECK_EQ(code_of(session.generate(request)), pl::status::busy);
    std::string text;
    const pl::result result =
        got(session.generate(request, granted.ticket, [&text](const pl::event &event) { text += event.text; }));
    CHECK(result.generated_tokens == 20 && !text.empty() && session.id() > 0 && session.kv_bytes() == result.kv_bytes);
    CHECK_EQ(code_of(session.start(request, granted.ticket)), pl::status::ticket_consumed);
    CHECK_EQ(got(session.evict()), result.kv_bytes);
    CHECK(static_cast<bool>(session.reset()));
    pl::status inside = pl::status::ok;
    (void)got(session.generate(request, [&](const pl::event &) {
        inside = code_of(session.reset());
        return pl::flow::stop;
    }));
    CHECK_EQ(inside, pl::status::reentrant);
}

void a_stream() {
    const pl::runtime runtime = make_runtime();
    const pl::model model = load(runtime);
    const pl::session session = got(model.open_session());
    const pl::request request = request_of("hello", 20);
    pl::stream stream = got(session.start(request));
    CHECK_EQ(code_of(stream.result()), pl::status::invalid_argument);
    CHECK_EQ(got(stream.next()).kind, pl::event_kind::token);
    CHECK(got(stream.next(60s)).kind == pl::event_kind::token);
    int tokens = 2;
    for (const pl::event &event : stream) {
        tokens += event.kind == pl::event_kind::token;
    }
    CHECK(tokens == 20 && got(stream.result()).ending == pl::ending::length);

    pl::cancel_token cancel = got(pl::cancel_token::create());
    cancel.raise();
    pl::stream cancelled = got(session.start(request, &cancel));
    CHECK(cancelled.begin() == cancelled.end() && got(cancelled.result()).ending == pl::ending::cancelled);
    const pl::cancel_token other = std::move(cancel);
    CHECK_EQ(code_of(session.generate(request, nullptr, &cancel)), pl::status::null_pointer);
    CHECK(static_cast<bool>(other));

    // A range that ends by an error says so in its result.
    pl::stream moved = std::move(stream);
    CHECK(stream.begin() == stream.end());
    CHECK_EQ(code_of(stream.result()), pl::status::null_pointer);
    stream.cancel();
    CHECK_EQ(got(moved.result()).generated_tokens, 20U);
}

void refusals_have_their_numbers() {
    const pl::runtime runtime =
        got(pl::runtime::create(got(pl::config::create({{"memory.budget", "1MiB"}}))));
    const auto refused = runtime.load("test", check::slow);
    CHECK_EQ(code_of(refused), pl::status::memory_refused);
    CHECK(refused.error().is_refusal() && refused.error().bytes_asked() > refused.error().bytes_free());
    CHECK(!refused.error().retry_after() && refused.error().fits_tokens() == 0 && !refused.error().is_retryable());
    CHECK_EQ(got(runtime.memory_stats()).used_bytes, 0U);
}

void the_log() {
    std::atomic<int> lines{0};
    CHECK(static_cast<bool>(
        pl::set_log(pl::log_level::trace, [&](pl::log_level, std::string_view, std::string_view) { lines++; })));
    (void)load(make_runtime());
    CHECK(static_cast<bool>(pl::stop_log()));
    CHECK(lines > 0 && pl::log_lines_lost() == 0);
    CHECK_EQ(code_of(pl::set_log(pl::log_level{99}, nullptr)), pl::status::invalid_argument);
}

} // namespace

int main() {
    check::suite = "cpp expected";
    RUN(expected_values);
    RUN(configurations_and_memory);
    RUN(a_model);
    RUN(settings_of_a_request);
    RUN(a_session);
    RUN(a_stream);
    RUN(refusals_have_their_numbers);
    RUN(the_log);
    return check::result();
}
