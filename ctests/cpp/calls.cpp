// Every call of plimsoll.hpp, where calls throw.
#include "check.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <numeric>
#include <string>
#include <vector>
#if defined(__cpp_lib_ranges)
#include <ranges>
#endif

using namespace std::chrono_literals;
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

void versions() {
    CHECK_EQ(pl::version(), std::string_view(plimsoll_version()));
    CHECK_EQ(pl::abi_version(), plimsoll_abi_version());
    CHECK(pl::abi_version() >= pl::header_abi_version);
}

void names_of_numbers() {
    CHECK_EQ(to_string(pl::status::ok), "ok");
    CHECK_EQ(to_string(pl::status::template_failed), "template");
    CHECK_EQ(to_string(pl::status::memory_refused), "memory_refused");
    CHECK_EQ(to_string(pl::section::memory), "memory");
    CHECK_EQ(to_string(pl::log_level::warn), "warn");
    CHECK_EQ(to_string(pl::load_state::ready), "ready");
    CHECK_EQ(to_string(pl::decision::shrink), "shrink");
    CHECK_EQ(to_string(pl::pressure::emergency), "emergency");
    CHECK_EQ(to_string(pl::event_kind::timeout), "timeout");
    CHECK_EQ(to_string(pl::ending::end_of_text), "end_of_text");
    // Of a newer library.
    CHECK_EQ(to_string(pl::status{199}), "unknown");
    CHECK_EQ(to_string(pl::ending{77}), "unknown");
}

// Every member comes from the one it is named after.
void structs_come_through() {
    plimsoll_memory m{sizeof m, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, PLIMSOLL_PRESSURE_HIGH, 0,
                      19, 20, 21, 22, 23, 24, 25, 26, 27, 28};
    auto memory = pl::memory::from(m);
    const std::array<std::uint64_t, 28> members{
        memory.capacity_bytes,  memory.limit_bytes,     memory.used_bytes,     memory.free_bytes,    memory.peak_bytes,
        memory.weights_bytes,   memory.workspace_bytes, memory.kv_bytes,       memory.request_bytes, memory.active_sessions,
        memory.accepted_count,  memory.shrunk_count,    memory.rejected_count, memory.routed_count,  memory.degraded_count,
        memory.evictions,       memory.heap_bytes,      memory.pressure_changes, memory.text_bytes, memory.tables_bytes,
        memory.talk_bytes,      memory.mapped_bytes,    memory.resident_bytes, memory.unbooked_bytes,
        memory.models_loaded,   memory.models_unloaded, memory.unloads,        memory.reloads};
    std::array<std::uint64_t, 28> expected{};
    std::iota(expected.begin(), expected.end(), 1);
    CHECK(members == expected && memory.pressure == pl::pressure::high);

    auto pool = pl::pool::from({sizeof(plimsoll_pool), 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15});
    CHECK(pool.in_use_bytes == 1 && pool.idle_bytes == 2 && pool.pool_limit_bytes == 3 && pool.buffers_in_use == 4);
    CHECK(pool.buffers_idle == 5 && pool.hits == 6 && pool.misses == 7 && pool.pool_evictions == 8);
    CHECK(pool.engine_in_use_bytes == 9 && pool.engine_idle_bytes == 10 && pool.engine_buffers_in_use == 11);
    CHECK(pool.engine_buffers_idle == 12 && pool.engine_hits == 13 && pool.engine_misses == 14 && pool.engine_evictions == 15);

    auto progress = pl::progress::from({sizeof(plimsoll_progress), PLIMSOLL_LOAD_WARM, 2, 3, 0, 4, 5});
    CHECK(progress.state == pl::load_state::warm && progress.shard == 2 && progress.shards == 3);
    CHECK(progress.bytes_done == 4 && progress.bytes_total == 5);

    auto facts = pl::model_facts::from({sizeof(plimsoll_model_facts), 1, 2, 3, 4, 5, 6, 7, {"cpu", 3}, 8});
    CHECK(facts.context_length == 1 && facts.vocab_size == 2 && facts.weights_bytes == 3 && facts.workspace_bytes == 4);
    CHECK(facts.kv_bytes == 5 && facts.block_tokens == 6 && facts.max_sequences == 7 && facts.engine == "cpu" && facts.host_bytes == 8);

    plimsoll_verdict v{sizeof v, PLIMSOLL_DECISION_REJECT, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0, 12, {"budget", 6}, PLIMSOLL_PRESSURE_CRITICAL, 3, 4, 5,
                       13, 14, 15, 16, 17};
    auto verdict = pl::verdict::from(v);
    CHECK(verdict.decision == pl::decision::reject && !verdict.is_granted());
    CHECK(verdict.asked_tokens == 1 && verdict.granted_tokens == 2 && verdict.fits_tokens == 3);
    CHECK(verdict.bytes_asked == 4 && verdict.bytes_free == 5 && verdict.kv_bytes == 6 && verdict.kv_held_bytes == 7);
    CHECK(verdict.request_bytes == 8 && verdict.workspace_bytes == 9 && verdict.evict_bytes == 10);
    CHECK(verdict.evict_sessions == 11 && verdict.retry_after == 12ms && verdict.reason == "budget");
    CHECK(verdict.pressure == pl::pressure::critical && verdict.region == 3 && verdict.waited == 4ms && verdict.position == 5);
    CHECK(verdict.load_bytes == 13 && verdict.unload_bytes == 14 && verdict.unload_models == 15);
    CHECK(verdict.answers == 16 && verdict.kv_region == 17);
    v.retry_after_ms = -1;
    CHECK(!pl::verdict::from(v).retry_after);

    const plimsoll_logprob top[2] = {{3, -0.5F}, {4, -1.5F}};
    auto event = pl::event::from({sizeof(plimsoll_event), PLIMSOLL_EVENT_TOKEN, 3, -0.5F, 2, top, {"hi", 2}, 5, 0});
    CHECK(event.kind == pl::event_kind::token && event.token == 3 && event.text == "hi" && event.answer == 5);
    CHECK(std::abs(event.logprob + 0.5F) < 1e-6F && event.top.size() == 2 && event.top[1].token == 4);

    auto result = pl::result::from({sizeof(plimsoll_result), PLIMSOLL_ENDING_LENGTH, PLIMSOLL_DECISION_SHRINK, 1, 2, 3, 4, 5, 6,
                                    7, 8.5, 9, 10, 11, PLIMSOLL_PRESSURE_MEDIUM, PLIMSOLL_DEGRADED_TOP_P, 12, 13});
    CHECK(result.ending == pl::ending::length && result.decision == pl::decision::shrink);
    CHECK(result.prompt_tokens == 1 && result.cached_tokens == 2 && result.generated_tokens == 3);
    CHECK(result.granted_tokens == 4 && result.queued == 5us && result.prefill == 6us && result.decode == 7us);
    CHECK(std::abs(result.tokens_per_second - 8.5) < 1e-9 && result.leased_bytes == 9 && result.kv_bytes == 10);
    CHECK_EQ(result.bytes_free, 11U);
    CHECK(result.pressure == pl::pressure::medium && result.degraded == pl::degraded_top_p);
    CHECK(result.answer == 12 && result.answers == 13);
    CHECK_EQ(pl::degraded_tokens | pl::degraded_top_p | pl::degraded_temperature, 7U);
}

void configurations() {
    pl::config config;
    config.set("memory.budget", "64MiB").set("guard.reserve_mb", "0").set("guard.threshold", "1");
    CHECK_EQ(pl::runtime(config).memory_stats().capacity_bytes, 64U << 20);
    config.set("memory.budget", "32MiB");
    CHECK_EQ(pl::runtime::create(config).memory_stats().capacity_bytes, 32U << 20);
    const pl::runtime short_form({{"memory.budget", "16MiB"}});
    CHECK_EQ(short_form.memory_stats().capacity_bytes, 16U << 20);
    CHECK(static_cast<bool>(pl::config::create()) && static_cast<bool>(pl::config::create({{"memory.budget", "1GiB"}})));

    CHECK_ERROR(invalid_config, config.set("no.such.key", "1"));
    CHECK_ERROR(invalid_config, config.set("memory.budget", "lots"));
    CHECK_ERROR(invalid_utf8, config.set("memory.budget", "\xff"));
    CHECK_ERROR(invalid_config, pl::config({{"memory.budget", "1GiB"}, {"no.such.key", ""}}));
}

void memory_and_margins() {
    const pl::runtime small({{"memory.budget", "64MiB"}, {"guard.threshold", "1"}, {"guard.reserve_mb", "0"}});
    const pl::memory memory = small.memory_stats();
    CHECK(memory.limit_bytes == 64U << 20 && memory.free_bytes == memory.limit_bytes && memory.used_bytes == 0);
    CHECK(small.can_allocate(memory.free_bytes, 0) && !small.can_allocate(memory.free_bytes + 1, 0));
    CHECK(!small.can_allocate(memory.free_bytes) && small.can_allocate(memory.free_bytes / 2));
    CHECK(small.is_low_memory(0) && !small.is_low_memory(0.99));
    {
        const pl::buffer buffer = small.acquire(1000);
        CHECK(buffer.size() >= 1000 && reinterpret_cast<std::uintptr_t>(buffer.data()) % 4096 == 0);
        static_cast<char *>(buffer.data())[buffer.size() - 1] = 1;
        CHECK(small.pool_stats().in_use_bytes == buffer.size() && small.memory_stats().used_bytes == buffer.size());
    }
    CHECK(small.pool_stats().buffers_idle == 1 && small.memory_stats().used_bytes == 0);
    CHECK(small.trim_pool() > 0 && small.pool_stats().idle_bytes == 0 && small.pool_stats().pool_evictions == 1);
    CHECK_ERROR(memory_refused, (void)small.acquire(65U << 20));
    const pl::text json = small.memory_stats_json();
    CHECK(json.view().front() == '{' && json.view().back() == '}');
    CHECK(json.view().find("\"ledger\"") != std::string_view::npos);
    CHECK_EQ(json.str(), std::string(json.view()));
    const std::string_view implicit = json;
    CHECK_EQ(implicit.size(), json.view().size());
}

void facts_of_a_model() {
    const pl::model_facts facts = model().facts();
    CHECK_EQ(facts.context_length, check::tiny_context);
    CHECK(facts.vocab_size > 0 && facts.weights_bytes > 0 && facts.workspace_bytes > 0 && facts.block_tokens > 0);
    CHECK(facts.max_sequences == 16 && !facts.engine.empty());
    CHECK(model().token_bytes(facts.vocab_size).empty());
    model().check_integrity();
}

// The bytes of all tokens are the text, also of one with more tokens than were guessed.
void tokens_and_text() {
    for (std::string_view text : {std::string_view("Hello, world"), std::string_view(""), std::string_view("a"),
                                  std::string_view("\xF0\x9F\x9A\xA2\xC3\xA9\xE4\xBD\xA0 0 1 2 3 4 5 6 7 8 9 x y z q w v k j "
                                                   "~|`^ \xE2\x88\x83\xE2\x88\x80\xE2\x86\xAF\xE1\x9B\x9F\xE0\xBD\x80")}) {
        const std::vector<std::uint32_t> tokens = model().tokenize(text);
        std::string bytes;
        for (std::uint32_t token : tokens) {
            bytes += model().token_bytes(token);
        }
        CHECK_EQ(bytes, text);
        std::vector<std::uint32_t> some(tokens.size() / 2);
        CHECK_EQ(model().tokenize(text, some), tokens.size());
        CHECK(std::equal(some.begin(), some.end(), tokens.begin()));
        CHECK_EQ(model().tokenize(text, {}), tokens.size());
    }
    CHECK_ERROR(invalid_utf8, (void)model().tokenize("\xff"));
    std::array<std::uint32_t, 2> room{};
    CHECK_ERROR(invalid_utf8, (void)model().tokenize("\xff", room));
}

void rendering() {
    const pl::text one = model().render({{"user", "hello"}});
    const std::vector<pl::message> messages{{"system", "Be brief."}, {"user", "hello"}};
    const pl::text two = model().render(messages);
    CHECK(one.view().find("hello") != std::string_view::npos && two.view().find("Be brief.") != std::string_view::npos);
    CHECK(two.view().size() > one.view().size());
    CHECK_ERROR(invalid_utf8, (void)model().render({{"user", "\xff"}}));

    pl::request r = pl::request::create();
    r.add_message("system", "Be brief.").add_message_json(R"({"role": "user", "content": "hello", "name": null})");
    const std::string plain = model().render_request(r).str();
    CHECK_EQ(plain, two.str());
    r.set_tools(R"([{"type": "function", "function": {"name": "look_up"}}])");
    CHECK(model().render_request(r).str().find("hello") != std::string::npos);
    CHECK_ERROR(invalid_argument, r.set_tools("{}"));
    CHECK_ERROR(invalid_argument, r.set_tools({}));
    CHECK_ERROR(invalid_argument, r.add_message_json("{}"));
    r.clear_tools();
    CHECK_EQ(model().render_request(r).str(), plain);
    r.set_text("text");
    CHECK_ERROR(invalid_argument, (void)model().render_request(r));
}

// A copy of the tiny model whose template writes the tools that it is given. Without <filesystem>, parts of which the
// coverage build keeps and libstdc++ does not export.
class folder_with_tools {
public:
    folder_with_tools() {
        char name[] = "/tmp/plimsoll-ctest-XXXXXX";
        path_ = mkdtemp(name);
        for (const char *part : {"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"}) {
            std::ofstream(own(part), std::ios::binary)
                << std::ifstream(std::string(check::tiny) + '/' + part, std::ios::binary).rdbuf();
        }
        std::ofstream(own("chat_template.jinja"))
            << "{% for tool in tools or [] %}[{{ tool.function.name }}]{% endfor %}"
               "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}";
    }
    folder_with_tools(const folder_with_tools &) = delete;
    folder_with_tools &operator=(const folder_with_tools &) = delete;
    ~folder_with_tools() {
        for (const std::string &file : files_) {
            std::remove(file.c_str());
        }
        std::remove(path_.c_str());
    }
    const std::string &path() const { return path_; }

private:
    const std::string &own(const char *part) { return files_.emplace_back(path_ + '/' + part); }

    std::string path_;
    std::vector<std::string> files_;
};

void tools_and_json() {
    const folder_with_tools folder;
    const pl::model own = check::load(runtime(), folder.path());
    pl::request r;
    r.add_message_json(R"({"role": "user", "content": "hello"})");
    CHECK_EQ(own.render_request(r).str(), "user: hello\n");
    const std::string_view tools = R"([{"type": "function", "function": {"name": "look_up", "parameters": {}}}])";
    r.set_tools(tools);
    CHECK_EQ(own.render_request(r).str(), "[look_up]user: hello\n");
    CHECK_EQ(own.render_request(r.clear_tools()).str(), "user: hello\n");
    CHECK_ERROR(invalid_argument, r.set_tools(""));
    CHECK_ERROR(invalid_argument, r.set_tools({}));
    CHECK_ERROR(invalid_argument, r.set_tools("{}"));
    CHECK_ERROR(invalid_argument, r.add_message_json("[]"));
    CHECK_ERROR(invalid_utf8, r.add_message_json("\xff"));
    r.set_text("hello");
    CHECK_ERROR(invalid_argument, (void)own.render_request(r));
}

void engines() {
    pl::model own = check::load(runtime());
    own.attach_engine({{"engine.kind", "native"}});
    CHECK_ERROR(unsupported, own.attach_engine({{"engine.kind", "vllm"}}));
}

void settings_of_a_request() {
    pl::request r = pl::request::create();
    r.add_message("user", "hello").set_max_tokens(12).set_min_tokens(2).set_temperature(0.9F).set_top_k(40).set_top_p(0.95F);
    r.set_min_p(0.01F).set_repetition_penalty(1.1F).set_presence_penalty(0.1F).set_frequency_penalty(0.1F).set_seed(7);
    r.set_wait(10ms).set_priority(1);
    r.set_top_logprobs(2).set_ignore_eos(true).set_degradable(true).set_deadline(60s).add_stop("never to be seen in an answer");
    pl::session session = model().open_session();
    const check::answer a = check::run(session, r);
    session.reset();
    const check::answer b = check::run(session, r);
    CHECK(a.tokens == b.tokens && a.tokens.size() == 12);

    const float nan = std::numeric_limits<float>::quiet_NaN();
    CHECK_ERROR(invalid_argument, r.set_temperature(-1));
    CHECK_ERROR(invalid_argument, r.set_top_p(2));
    CHECK_ERROR(invalid_argument, r.set_min_p(nan));
    CHECK_ERROR(invalid_argument, r.set_repetition_penalty(0));
    CHECK_ERROR(invalid_argument, r.set_presence_penalty(nan));
    CHECK_ERROR(invalid_argument, r.set_frequency_penalty(nan));
    CHECK_ERROR(invalid_argument, r.set_top_logprobs(21));
    CHECK_ERROR(invalid_argument, r.set_deadline(-1ms));
    CHECK_ERROR(invalid_argument, r.set_wait(-1ms));
    CHECK_ERROR(invalid_argument, r.set_priority(128));
    CHECK_ERROR(invalid_argument, r.add_stop(""));
    CHECK_ERROR(invalid_utf8, r.add_message("user", "\xff"));
    CHECK_ERROR(invalid_utf8, r.set_text("\xff"));
    r.clear();
    CHECK_ERROR(empty_request, (void)session.what_if(r));
}

void text_and_tokens_instead_of_messages() {
    pl::session one = model().open_session(), other = model().open_session({{"session.kv_limit_mb", "64"}});
    const std::vector<std::uint32_t> tokens = model().tokenize("Once upon");
    pl::request text, ids;
    text.set_text("Once upon").set_max_tokens(6).set_ignore_eos(true);
    ids.set_tokens(tokens).set_max_tokens(6).set_ignore_eos(true);
    CHECK(check::run(one, ids).numbers.prompt_tokens == tokens.size());
    CHECK(check::run(other, text).tokens.size() == 6);
    ids.set_tokens({});
    CHECK_ERROR(empty_request, (void)one.generate(ids));
    const std::array<std::uint32_t, 1> beyond{UINT32_MAX};
    ids.set_tokens(beyond);
    CHECK_ERROR(invalid_token, (void)one.generate(ids));
    CHECK_ERROR(invalid_config, (void)model().open_session({{"session.kv_limit_mb", "some"}}));
}

void turns_of_a_session() {
    const pl::session session = model().open_session();
    CHECK(session.id() > 0 && session.kv_bytes() == 0);
    const check::answer first = check::run(session, request_of("hello", 10));
    CHECK(first.numbers.ending == pl::ending::length && first.numbers.decision == pl::decision::accept);
    CHECK(first.numbers.generated_tokens == 10 && first.tokens.size() == 10 && first.numbers.granted_tokens == 10);
    CHECK(first.numbers.prefill > 0us && first.numbers.decode > 0us && first.numbers.tokens_per_second > 0);
    CHECK(first.numbers.kv_bytes > 0 && session.kv_bytes() == first.numbers.kv_bytes);
    const check::answer second = check::run(session, request_of("and now?", 10));
    CHECK(second.numbers.cached_tokens >= first.numbers.prompt_tokens);
    const std::uint64_t held = session.kv_bytes();
    CHECK_EQ(session.evict(), held);
    CHECK_EQ(session.kv_bytes(), 0U);
    const check::answer third = check::run(session, request_of("and then?", 4));
    CHECK(third.numbers.cached_tokens == 0 && third.numbers.prompt_tokens > second.numbers.prompt_tokens);
    session.reset();
    CHECK(check::run(session, request_of("hello", 10)).tokens == first.tokens);
    CHECK_EQ(session.generate(request_of("no one listens", 3)).generated_tokens, 3U);
}

void a_model_goes_and_comes_back() {
    const pl::session session = model().open_session();
    const pl::request request = request_of("hello", 6);
    const check::answer first = check::run(session, request);
    const pl::model_facts facts = model().facts();
    CHECK(model().is_loaded() && model().evict() > facts.weights_bytes + facts.workspace_bytes);
    CHECK(!model().is_loaded() && model().evict() == 0 && session.kv_bytes() == 0);
    const pl::verdict guess = session.what_if(request);
    CHECK(guess.is_granted() && guess.load_bytes > facts.weights_bytes && guess.unload_models == 0);
    session.reset();
    CHECK(check::run(session, request).tokens == first.tokens && model().is_loaded());
    const pl::ticket ticket = session.admit(request).ticket;
    CHECK_ERROR(busy, (void)model().evict());
}

void tickets() {
    const pl::session session = model().open_session(), other = model().open_session();
    const pl::request request = request_of("hello", 20);
    const pl::verdict guess = session.what_if(request);
    CHECK(guess.is_granted() && guess.reason == "fits" && !guess.retry_after);
    // What the sessions of other tests held comes back in its own time.
    CHECK(check::in_a_moment([] { return runtime().memory_stats().kv_bytes == 0; }));
    const std::uint64_t before = runtime().memory_stats().used_bytes;
    const pl::admission granted = session.admit(request);
    CHECK(granted && granted.verdict.bytes_asked == guess.bytes_asked && granted.verdict.granted_tokens == 20);
    CHECK_EQ(runtime().memory_stats().used_bytes, before + guess.bytes_asked);
    const pl::text price = granted.ticket.json(), guessed = other.what_if_json(request);
    const std::string sum = "\"new_bytes\":" + std::to_string(guess.bytes_asked);
    CHECK(price.view().find(sum) != std::string_view::npos && guessed.view().find(sum) != std::string_view::npos);
    CHECK(price.view().find("\"owner\"") != std::string_view::npos);
    CHECK_ERROR(ticket_mismatch, (void)other.generate(request, granted.ticket));
    CHECK_ERROR(busy, (void)session.generate(request));
    int tokens = 0;
    const pl::result result = session.generate(request, granted.ticket, [&](const pl::event &) { tokens++; });
    CHECK(result.leased_bytes == guess.bytes_asked && tokens >= 20);
    CHECK_ERROR(ticket_consumed, (void)session.generate(request, granted.ticket));
    CHECK_ERROR(ticket_consumed, (void)session.start(request, granted.ticket));
    // One that does not run gives its bytes back.
    const std::uint64_t after = runtime().memory_stats().used_bytes;
    CHECK(session.admit(request).verdict.is_granted());
    CHECK_EQ(runtime().memory_stats().used_bytes, after);
    pl::admission streamed = session.admit(request);
    pl::stream stream = session.start(request, streamed.ticket);
    CHECK_EQ(std::distance(stream.begin(), stream.end()) >= 20, true);
}

void streams() {
    const pl::session one = model().open_session(), other = model().open_session();
    const pl::request request = request_of("hello", 40);
    const check::answer expected = check::run(one, request);
    check::answer pulled;
    pl::stream stream = other.start(request);
    CHECK_ERROR(invalid_argument, (void)stream.result());
    CHECK_ERROR(busy, other.reset());
    for (const pl::event &event : stream) {
        pulled.add(event);
    }
    pulled.numbers = stream.result();
    CHECK(pulled.tokens == expected.tokens && pulled.text == expected.text);
    CHECK(pulled.numbers.ending == pl::ending::length && pulled.numbers.generated_tokens == 40);
    CHECK_EQ(stream.next().kind, pl::event_kind::end);
    CHECK_EQ(stream.next(0ms).kind, pl::event_kind::end);
    CHECK_EQ(stream.next(-1ms).token, pl::no_token);
    CHECK(stream.begin() == stream.end() && !(stream.begin() != pl::stream::iterator()));

    // An algorithm of the standard library, on a new answer.
    pl::stream again = one.start(request_of("again", 8));
    const auto tokens = std::count_if(again.begin(), again.end(),
                                      [](const pl::event &event) { return event.kind == pl::event_kind::token; });
    CHECK_EQ(tokens, 8);
#if defined(__cpp_lib_ranges)
    static_assert(std::input_iterator<pl::stream::iterator>);
    static_assert(std::ranges::input_range<pl::stream>);
    pl::stream ranged = other.start(request_of("again", 8));
    std::size_t count = 0;
    std::ranges::for_each(ranged, [&count](std::uint32_t token) { count += token != pl::no_token; }, &pl::event::token);
    CHECK_EQ(count, 8U);
#endif
    // By hand.
    pl::stream by_hand = one.start(request_of("by hand", 2));
    pl::stream::iterator at = by_hand.begin();
    CHECK(at->kind == pl::event_kind::token && (*at).top.empty());
    at++;
    CHECK(at != by_hand.end());
}

void cancelling() {
    const pl::model slow = check::load(runtime(), check::slow, "1");
    const pl::session session = slow.open_session();
    const pl::request request = request_of("hello", check::slow_tokens);
    pl::cancel_token cancel;
    std::thread elsewhere;
    const pl::result stopped = session.generate(
        request,
        [&](const pl::event &) {
            if (!elsewhere.joinable()) {
                elsewhere = std::thread([&] { cancel.raise(); });
            }
        },
        &cancel);
    elsewhere.join();
    CHECK(stopped.ending == pl::ending::cancelled && stopped.generated_tokens < check::slow_tokens);

    // A raised token stops whatever it is given to; a stream also has its own.
    pl::stream at_once = session.start(request, &cancel);
    CHECK(at_once.begin() == at_once.end());
    CHECK_EQ(at_once.result().ending, pl::ending::cancelled);
    pl::stream stream = session.start(request);
    CHECK_EQ(stream.next().kind, pl::event_kind::token);
    stream.cancel();
    for ([[maybe_unused]] const pl::event &event : stream) {
    }
    CHECK_EQ(stream.result().ending, pl::ending::cancelled);

    pl::request hasty = request_of("hello", check::slow_tokens);
    hasty.set_deadline(20ms);
    CHECK_EQ(session.generate(hasty).ending, pl::ending::deadline);
    CHECK(static_cast<bool>(pl::cancel_token::create()));
}

// Behind a request that fills the batch nothing comes for a while. A loaded machine may be late to look, so it looks again.
void nothing_came_in_time() {
    const pl::model slow = check::load(runtime(), check::slow, "1");
    const pl::session ahead = slow.open_session(), behind = slow.open_session();
    const pl::request request = request_of("hello", check::slow_tokens);
    bool waited = false;
    for (int attempt = 0; !waited && attempt < 10; attempt++) {
        const pl::stream first = ahead.start(request);
        pl::stream second = behind.start(request);
        waited = second.next(1ms).kind == pl::event_kind::timeout && second.next(-5ms).kind == pl::event_kind::timeout;
    }
    CHECK(waited);
}

void refusals_have_their_numbers() {
    const pl::model_facts facts = model().facts();
    const std::string budget = std::to_string(facts.weights_bytes + facts.workspace_bytes + facts.host_bytes + 40000);
    const pl::runtime tight({{"memory.budget", budget}, {"guard.threshold", "1"}, {"guard.reserve_mb", "0"}});
    const pl::model loaded = check::load(tight);
    const pl::session session = loaded.open_session();
    pl::request request = request_of("hello", 200);
    request.set_min_tokens(200);
    const pl::verdict verdict = session.what_if(request);
    CHECK(!verdict.is_granted() && verdict.decision == pl::decision::reject && verdict.granted_tokens == 0);
    const pl::admission refused = session.admit(request);
    CHECK(!refused && !refused.ticket && refused.verdict.bytes_asked == verdict.bytes_asked);
    bool thrown = false;
    try {
        (void)session.generate(request);
    } catch (const pl::error &error) {
        thrown = true;
        const pl::error copy = error;
        CHECK(copy.code() == pl::status::memory_refused && copy.is_refusal() && copy.section() == pl::section::memory);
        CHECK(copy.bytes_asked() == verdict.bytes_asked && copy.bytes_free() == verdict.bytes_free);
        CHECK(copy.fits_tokens() == verdict.fits_tokens && copy.retry_after() == verdict.retry_after);
        CHECK(copy.bytes_asked() > copy.bytes_free() && copy.what() == std::string(error.what()));
    }
    CHECK(thrown);
    // What would fit, fits.
    CHECK(verdict.fits_tokens > 0);
    request.set_min_tokens(verdict.fits_tokens).set_max_tokens(verdict.fits_tokens);
    CHECK_EQ(session.generate(request).generated_tokens, verdict.fits_tokens);
    CHECK_ERROR(memory_refused, (void)pl::runtime({{"memory.budget", "1MiB"}}).load("test", check::slow));
    CHECK_ERROR(model_not_found, (void)tight.load("test", "no/such/model"));

    bool retryable = true;
    try {
        (void)tight.load("test", "no/such/model");
    } catch (const std::exception &error) {
        retryable = dynamic_cast<const pl::error &>(error).is_retryable();
        CHECK(!dynamic_cast<const pl::error &>(error).retry_after());
    }
    CHECK(!retryable);
}

} // namespace

int main() {
    check::suite = "cpp calls";
    RUN(versions);
    RUN(names_of_numbers);
    RUN(structs_come_through);
    RUN(configurations);
    RUN(memory_and_margins);
    RUN(facts_of_a_model);
    RUN(tokens_and_text);
    RUN(rendering);
    RUN(tools_and_json);
    RUN(engines);
    RUN(settings_of_a_request);
    RUN(text_and_tokens_instead_of_messages);
    RUN(turns_of_a_session);
    RUN(a_model_goes_and_comes_back);
    RUN(tickets);
    RUN(streams);
    RUN(cancelling);
    RUN(nothing_came_in_time);
    RUN(refusals_have_their_numbers);
    return check::result();
}
