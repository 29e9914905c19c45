// Owning: moves, what is left of a moved-from object, assigning over a live one, orders of destruction, C handles.
#include "check.hpp"

#include <memory>
#include <optional>

namespace pl = plimsoll;
using namespace std::chrono_literals;
using check::request_of;

namespace {

template <class... Classes>
constexpr bool only_move() {
    return ((std::is_nothrow_move_constructible_v<Classes> && std::is_nothrow_move_assignable_v<Classes> &&
             !std::is_copy_constructible_v<Classes> && !std::is_copy_assignable_v<Classes>)&&...);
}
static_assert(only_move<pl::config, pl::runtime, pl::model, pl::session, pl::request, pl::ticket, pl::stream, pl::text,
                        pl::cancel_token, pl::admission>());
static_assert(std::is_nothrow_copy_constructible_v<pl::error>, "what is thrown must be copied without a fault");
static_assert(sizeof(pl::session) == sizeof(void *));
// A view into a text that is gone by the end of the line does not compile.
template <class Text, class = void>
constexpr bool has_view = false;
template <class Text>
constexpr bool has_view<Text, std::void_t<decltype(std::declval<Text>().view())>> = true;
static_assert(has_view<pl::text &> && has_view<const pl::text &> && !has_view<pl::text>);
static_assert(!std::is_convertible_v<pl::text, std::string_view> && std::is_convertible_v<pl::text &, std::string_view>);

// Every call on an object that was moved from fails, or answers with nothing; none crashes.
void moved_from() {
    pl::runtime runtime;
    pl::model model = check::load(runtime);
    pl::session session = model.open_session();
    pl::request request = request_of("hello", 4);
    pl::cancel_token cancel;
    pl::config config;
    pl::ticket ticket = session.admit(request).ticket;
    pl::text text = runtime.memory_stats_json();

    const pl::runtime runtime2 = std::move(runtime);
    const pl::model model2 = std::move(model);
    const pl::session session2 = std::move(session);
    const pl::request request2 = std::move(request);
    const pl::cancel_token cancel2 = std::move(cancel);
    const pl::config config2 = std::move(config);
    const pl::text text2 = std::move(text);
    const pl::ticket ticket2 = std::move(ticket);
    CHECK(runtime2 && model2 && session2 && request2 && cancel2 && config2 && text2 && ticket2);
    CHECK(!runtime && !model && !session && !request && !cancel && !config && !text && !ticket);

    CHECK_ERROR(null_pointer, (void)runtime.memory_stats());
    CHECK_ERROR(null_pointer, (void)runtime.memory_stats_json());
    CHECK_ERROR(null_pointer, (void)runtime.load("test", check::tiny));
    CHECK(!runtime.can_allocate(1) && !runtime.is_low_memory(0));
    CHECK_ERROR(null_pointer, (void)model.facts());
    CHECK_ERROR(null_pointer, (void)model.tokenize("a"));
    CHECK_ERROR(null_pointer, (void)model.render({{"user", "a"}}));
    CHECK_ERROR(null_pointer, model.check_integrity());
    CHECK_ERROR(null_pointer, (void)model.open_session());
    CHECK_ERROR(null_pointer, model.attach_engine(config2));
    CHECK(model.token_bytes(1).empty());
    CHECK(session.id() == 0 && session.kv_bytes() == 0);
    CHECK_ERROR(null_pointer, session.reset());
    CHECK_ERROR(null_pointer, (void)session.evict());
    CHECK_ERROR(null_pointer, (void)session.what_if(request2));
    CHECK_ERROR(null_pointer, (void)session.admit(request2));
    CHECK_ERROR(null_pointer, (void)session.generate(request2));
    CHECK_ERROR(null_pointer, (void)session.start(request2));
    CHECK_ERROR(null_pointer, (void)session2.generate(request));
    CHECK_ERROR(null_pointer, request.set_text("a"));
    CHECK_ERROR(null_pointer, request.set_seed(1));
    CHECK_ERROR(null_pointer, config.set("memory.budget", "1GiB"));
    CHECK(text.view().empty() && text.str().empty() && !text2.view().empty());
    cancel.raise();

    // What may be left out may not be empty: a budget, a grant or a way to cancel would be lost without a word.
    CHECK_ERROR(null_pointer, (void)pl::runtime(config));
    CHECK_ERROR(null_pointer, (void)pl::runtime::create(config));
    CHECK_ERROR(null_pointer, (void)runtime2.load("test", check::tiny, config));
    CHECK_ERROR(null_pointer, (void)model2.open_session(config));
    CHECK_ERROR(null_pointer, (void)session2.generate(request2, ticket));
    CHECK_ERROR(null_pointer, (void)session2.start(request2, ticket));
    CHECK_ERROR(null_pointer, (void)session2.generate(request2, nullptr, &cancel));
    CHECK_ERROR(null_pointer, (void)session2.start(request2, &cancel));

    pl::stream stream = session2.start(request2, ticket2, &cancel2);
    pl::stream stream2 = std::move(stream);
    CHECK(stream2 && !stream);
    CHECK_ERROR(null_pointer, (void)stream.next());
    CHECK_ERROR(null_pointer, (void)stream.result());
    CHECK_ERROR(null_pointer, (void)stream.begin());
    stream.cancel();
    CHECK_EQ(std::distance(stream2.begin(), stream2.end()), 4);
}

// Assigning frees what was there: the bytes say so.
void assigned_over() {
    const pl::runtime runtime;
    pl::model model = check::load(runtime);
    const std::uint64_t loaded = runtime.memory_stats().used_bytes;
    model = check::load(runtime, "tests/golden/gguf/llama3-q8_0.gguf");
    CHECK(runtime.memory_stats().weights_bytes == model.facts().weights_bytes);

    pl::session session = model.open_session();
    CHECK(check::run(session, request_of("hello", 8)).numbers.kv_bytes > 0);
    session = model.open_session();
    CHECK_EQ(runtime.memory_stats().active_sessions, 1U);
    CHECK(check::in_a_moment([&] { return runtime.memory_stats().kv_bytes == 0; }));

    const pl::request request = request_of("hello", 200);
    pl::ticket ticket = session.admit(request).ticket;
    CHECK(runtime.memory_stats().request_bytes > 0);
    ticket = pl::ticket::adopt(nullptr);
    CHECK(runtime.memory_stats().request_bytes == 0 && !ticket);

    // A live stream that is assigned over is cancelled; then its session runs the next request.
    pl::stream stream = session.start(request);
    CHECK_EQ(stream.next().kind, pl::event_kind::token);
    const pl::session other = model.open_session();
    stream = other.start(request_of("hello", 3));
    CHECK_EQ(check::run(session, request_of("hello", 2)).tokens.size(), 2U);
    CHECK_EQ(std::distance(stream.begin(), stream.end()), 3);

    // Assigning an object to itself leaves it as it is.
    pl::session &same = session;
    session = std::move(same);
    CHECK(session && session.id() > 0);
    std::swap(model, model);
    CHECK_EQ(model.facts().context_length, check::tiny_context);
    CHECK(loaded > 0);
}

// Whatever goes first, what is left works, and at the end nothing is left.
void any_order_of_destruction() {
    std::optional<pl::runtime> runtime(std::in_place);
    std::optional<pl::model> model = check::load(*runtime);
    std::optional<pl::session> session = model->open_session();
    std::optional<pl::cancel_token> cancel(std::in_place);
    std::optional<pl::request> request = request_of("hello", 16);
    runtime.reset();
    model.reset();
    CHECK_EQ(check::run(*session, *request).tokens.size(), 16U);
    std::optional<pl::stream> stream = session->start(*request, &*cancel);
    cancel.reset();
    request.reset();
    session.reset();
    CHECK_EQ(std::distance(stream->begin(), stream->end()), 16);
    CHECK_EQ(stream->result().generated_tokens, 16U);
    stream.reset();

    const pl::runtime watched;
    std::optional<pl::admission> admission;
    {
        const pl::model loaded = check::load(watched);
        const pl::session brief = loaded.open_session();
        admission = brief.admit(request_of("hello", 8));
    }
    CHECK(watched.memory_stats().request_bytes > 0);
    admission.reset();
    CHECK(check::in_a_moment([&] { return watched.memory_stats().used_bytes == 0; }));
}

// Classes and C calls share handles.
void handles_of_c() {
    plimsoll_config *raw = nullptr;
    CHECK_EQ(plimsoll_config_new(&raw, nullptr), PLIMSOLL_OK);
    pl::config config = pl::config::adopt(raw);
    config.set("memory.budget", "64MiB");
    CHECK_EQ(config.get(), raw);
    plimsoll_runtime *runtime = nullptr;
    CHECK_EQ(plimsoll_runtime_new(config.get(), &runtime, nullptr), PLIMSOLL_OK);
    CHECK_EQ(pl::runtime::adopt(runtime).memory_stats().capacity_bytes, 64U << 20);
    plimsoll_config *released = config.release();
    CHECK(released == raw && !config && config.get() == nullptr);
    plimsoll_config_free(released);
    const pl::session none = pl::session::adopt(nullptr);
    CHECK(!none);
}

// The const members of a model, of sessions and of a request, from several threads at once.
void used_by_many_threads() {
    const pl::runtime runtime;
    const pl::model model = check::load(runtime);
    const pl::request request = request_of("hello", 12);
    const check::answer expected = check::run(model.open_session(), request);
    std::vector<check::answer> answers(8);
    std::vector<std::thread> threads;
    for (check::answer &answer : answers) {
        threads.emplace_back([&] { answer = check::run(model.open_session(), request); });
    }
    for (std::thread &thread : threads) {
        thread.join();
    }
    for (const check::answer &answer : answers) {
        CHECK(answer.tokens == expected.tokens && answer.text == expected.text);
    }
}

} // namespace

int main() {
    check::suite = "cpp handles";
    RUN(moved_from);
    RUN(assigned_over);
    RUN(any_order_of_destruction);
    RUN(handles_of_c);
    RUN(used_by_many_threads);
    return check::result();
}
