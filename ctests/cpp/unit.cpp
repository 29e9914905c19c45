// A unit of a program whose units differ: compiled several times, each with its own UNIT, standard and mode.
#include "plimsoll.hpp"
#include "plimsoll.hpp"

#include <vector>

std::string UNIT();

#if defined(PLIMSOLL_NO_EXCEPTIONS)
std::string UNIT() {
    auto runtime = plimsoll::runtime::create();
    auto missing = runtime->load("unit", "no/such/model");
    auto loaded = runtime->load("unit", "tests/golden/models/llama3");
    if (missing || !loaded) {
        return "no error, or no model";
    }
    auto rendered = loaded->render({{"user", std::string(to_string(missing.error().code()))}});
    return rendered ? rendered->str() : rendered.error().what();
}
#else
std::string UNIT() {
    const plimsoll::runtime runtime;
    try {
        (void)runtime.load("unit", "no/such/model");
    } catch (const plimsoll::error &error) {
        const std::string code(to_string(error.code()));
        const std::vector<plimsoll::message> messages{{"user", code}};
        return runtime.load("unit", "tests/golden/models/llama3").render(messages).str();
    }
    return "no error";
}
#endif
