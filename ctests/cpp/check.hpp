// What the C++ tests share: a small framework in the manner of ../check.h, and models, sessions and requests to test with.
//
// A program is a list of tests; each prints "ok SUITE: TEST" or "FAIL SUITE: TEST". Its exit status is 0 when all passed.
#ifndef CTESTS_CHECK_HPP
#define CTESTS_CHECK_HPP

#include "plimsoll.hpp"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace check {

inline const char *suite = "";
inline int failures = 0;

template <class T>
decltype(auto) shown(const T &value) {
    if constexpr (std::is_enum_v<T>) {
        return static_cast<std::underlying_type_t<T>>(value);
    } else {
        return (value);
    }
}

inline std::ostream &fail(const char *file, int line) {
    failures++;
    return std::cerr << file << ':' << line << ": ";
}

template <class Left, class Right>
void equal(const Left &left, const Right &right, const char *what, const char *file, int line) {
    if (!(left == right)) {
        fail(file, line) << what << ": " << shown(left) << " and " << shown(right) << '\n';
    }
}

inline void run(void (*test)(), const char *name) {
    int before = failures;
#if defined(PLIMSOLL_NO_EXCEPTIONS)
    test();
#else
    try {
        test();
    } catch (const std::exception &thrown) {
        fail(name, 0) << "threw " << thrown.what() << '\n';
    }
#endif
    std::cout << (failures == before ? "ok " : "FAIL ") << suite << ": " << name << std::endl;
}

inline int result() { return failures == 0 ? 0 : 1; }

// A few hundred KiB of random weights: a token takes microseconds.
inline constexpr std::string_view tiny = "tests/golden/models/llama3";
inline constexpr std::uint32_t tiny_context = 256;
// The bundled model, a thousand times as much work, for what has to happen while a request runs.
inline constexpr std::string_view slow = "models/demo";
inline constexpr std::uint32_t slow_tokens = 1900;

// Whether `condition` holds, at the latest in a moment: the engine's thread gives the KV of a closed session back.
template <class Condition>
bool in_a_moment(Condition condition) {
    for (int i = 0; i < 500 && !condition(); i++) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return condition();
}

#if !defined(PLIMSOLL_NO_EXCEPTIONS)
inline plimsoll::model load(const plimsoll::runtime &runtime, std::string_view path = tiny, std::string_view sequences = "16") {
    return runtime.load("test", path, {{"native.threads", "2"}, {"native.max_sequences", sequences}});
}

// One user message, `max_tokens` greedy tokens whatever the model thinks of ending.
inline plimsoll::request request_of(std::string_view text, std::uint32_t max_tokens) {
    plimsoll::request request;
    request.add_message("user", text).set_max_tokens(max_tokens).set_ignore_eos(true);
    return request;
}

struct answer {
    std::vector<std::uint32_t> tokens;
    std::string text;
    plimsoll::result numbers;

    void add(const plimsoll::event &event) {
        if (event.kind == plimsoll::event_kind::token) {
            tokens.push_back(event.token);
        }
        text += event.text;
    }
};

inline answer run(const plimsoll::session &session, const plimsoll::request &request) {
    answer a;
    a.numbers = session.generate(request, [&a](const plimsoll::event &event) { a.add(event); });
    return a;
}

// The code that `call` fails with; ok when it does not.
template <class Call>
plimsoll::status code_of(Call call) {
    try {
        call();
    } catch (const plimsoll::error &thrown) {
        if (thrown.what()[0] == '\0' || to_string(thrown.section()) == "unknown") {
            fail(thrown.what(), 0) << "an error without a text or section\n";
        }
        return thrown.code();
    }
    return plimsoll::status::ok;
}
#endif

} // namespace check

#define RUN(test) check::run(test, #test)

#define CHECK(condition)                                                   \
    do {                                                                   \
        if (!(condition)) {                                                \
            check::fail(__FILE__, __LINE__) << "not true: " #condition "\n"; \
        }                                                                  \
    } while (false)

#define CHECK_EQ(left, right) check::equal((left), (right), #left " == " #right, __FILE__, __LINE__)

// A statement that must throw plimsoll::error with this code.
#define CHECK_ERROR(name, ...) CHECK_EQ(check::code_of([&] { __VA_ARGS__; }), plimsoll::status::name)

#endif
