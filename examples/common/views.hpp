// How chat.cpp shows what happens: as text for people, or as JSON lines for programs.
#ifndef EXAMPLES_VIEWS_HPP
#define EXAMPLES_VIEWS_HPP

#include "plimsoll.hpp"

#include <cstdio>
#include <iostream>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <unistd.h>

class view {
public:
    virtual ~view() = default;
    virtual void event(const plimsoll::event &event) = 0;
    virtual void result(const plimsoll::verdict &verdict, const plimsoll::result &result, std::string_view answer) = 0;
    virtual void refused(const plimsoll::verdict &verdict) = 0;
    virtual void failed(const plimsoll::error &error) = 0;
    virtual void stats(const plimsoll::runtime &runtime) = 0;
    virtual void note(std::string_view text) = 0;
};

// "1.5 MiB"
inline std::string human(std::uint64_t bytes) {
    static constexpr const char *units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    auto value = static_cast<double>(bytes);
    std::size_t unit = 0;
    for (; value >= 1024 && unit + 1 < std::size(units); unit++) {
        value /= 1024;
    }
    char text[32];
    std::snprintf(text, sizeof text, "%.*f %s", unit > 0 && value < 100 ? 1 : 0, value, units[unit]);
    return text;
}

// For people. Of one question only the answer goes to stdout.
class text_view : public view {
public:
    explicit text_view(bool one_shot)
        : numbers_(one_shot ? std::cerr : std::cout), answers_on_terminal_(isatty(STDOUT_FILENO) == 1) {
        if (isatty(one_shot ? STDERR_FILENO : STDOUT_FILENO) == 1) {
            dim_ = "\033[2m", red_ = "\033[31m", plain_ = "\033[0m";
        }
    }

    void event(const plimsoll::event &event) override {
        for (const char c : event.text) {
            // A model may generate anything, also bytes that command a terminal: these are left out there.
            const bool harmless = (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f) || c == '\n' || c == '\t';
            if (harmless || !answers_on_terminal_) {
                std::cout.put(c);
            }
            midline_ = true;
        }
        std::cout.flush();
    }

    void result(const plimsoll::verdict &verdict, const plimsoll::result &result, std::string_view) override {
        end_line();
        numbers_ << dim_ << '[' << to_string(result.decision);
        if (result.decision == plimsoll::decision::shrink) {
            numbers_ << " from " << verdict.asked_tokens << " to " << result.granted_tokens << " tokens (" << verdict.reason
                     << ": " << human(verdict.bytes_asked) << " asked, " << human(verdict.bytes_free) << " free)";
        }
        if ((result.degraded & (plimsoll::degraded_top_p | plimsoll::degraded_temperature)) != 0) {
            numbers_ << ", sampling tamed by " << to_string(result.pressure) << " memory pressure";
        }
        if (result.ending != plimsoll::ending::end_of_text) {
            numbers_ << ", ended by " << to_string(result.ending);
        }
        char speed[32];
        std::snprintf(speed, sizeof speed, "%.1f", result.tokens_per_second);
        numbers_ << " | " << result.prompt_tokens << " tokens in, " << result.cached_tokens << " of them held | "
                 << result.generated_tokens << " out, " << speed << " tokens/s | leased " << human(result.leased_bytes)
                 << ", session KV " << human(result.kv_bytes) << ", free " << human(result.bytes_free) << ']' << plain_
                 << std::endl;
    }

    void refused(const plimsoll::verdict &verdict) override {
        end_line();
        numbers_ << red_ << "refused (" << verdict.reason << "): ";
        show_numbers(verdict);
        numbers_ << plain_ << std::endl;
    }

    void failed(const plimsoll::error &error) override {
        end_line();
        numbers_ << red_ << "error " << static_cast<int>(error.code()) << " (" << to_string(error.code())
                 << "): " << error.what();
        if (error.is_refusal()) {
            plimsoll::verdict verdict;
            verdict.bytes_asked = error.bytes_asked();
            verdict.bytes_free = error.bytes_free();
            verdict.fits_tokens = error.fits_tokens();
            verdict.retry_after = error.retry_after();
            numbers_ << " [";
            show_numbers(verdict);
            numbers_ << ']';
        }
        numbers_ << plain_ << std::endl;
    }

    void stats(const plimsoll::runtime &runtime) override {
        const plimsoll::text report = runtime.memory_report();
        numbers_ << report.view() << std::flush;
    }

    void note(std::string_view text) override { numbers_ << text << std::endl; }

private:
    void end_line() {
        std::cout << (std::exchange(midline_, false) ? "\n" : "") << std::flush;
    }

    void show_numbers(const plimsoll::verdict &verdict) {
        numbers_ << human(verdict.bytes_asked) << " asked, " << human(verdict.bytes_free) << " free";
        if (verdict.fits_tokens > 0) {
            numbers_ << ", " << verdict.fits_tokens << " tokens would fit";
        }
        if (verdict.retry_after) {
            numbers_ << ", try again in " << verdict.retry_after->count() << " ms";
        }
    }

    std::ostream &numbers_;
    const char *dim_ = "", *red_ = "", *plain_ = "";
    bool answers_on_terminal_, midline_ = false;
};

// For programs: a line per event.
class json_view : public view {
public:
    void event(const plimsoll::event &event) override {
        if (event.kind == plimsoll::event_kind::token) {
            begin("token").member("id", event.token).member("text", event.text).member("logprob", event.logprob);
            std::cout << ",\"top\":[]";
        } else {
            begin("text").member("text", event.text);
        }
        end();
    }

    void result(const plimsoll::verdict &verdict, const plimsoll::result &result, std::string_view answer) override {
        begin("result").member("text", answer).member("ending", to_string(result.ending));
        member("decision", to_string(result.decision)).member("reason", verdict.reason);
        member("pressure", to_string(result.pressure)).member("degraded", result.degraded);
        member("asked_tokens", verdict.asked_tokens).member("granted_tokens", result.granted_tokens);
        member("prompt_tokens", result.prompt_tokens).member("cached_tokens", result.cached_tokens);
        member("generated_tokens", result.generated_tokens).member("tokens_per_second", result.tokens_per_second);
        member("queued_us", result.queued.count()).member("prefill_us", result.prefill.count());
        member("decode_us", result.decode.count()).member("bytes_asked", verdict.bytes_asked);
        member("leased_bytes", result.leased_bytes).member("kv_bytes", result.kv_bytes);
        member("bytes_free", result.bytes_free).end();
    }

    void refused(const plimsoll::verdict &verdict) override {
        const auto code = plimsoll::status::memory_refused;
        begin("error").member("code", static_cast<int>(code)).member("name", to_string(code));
        member("message", "the guard refused the request").member("reason", verdict.reason);
        numbers(verdict.bytes_asked, verdict.bytes_free, verdict.fits_tokens, verdict.retry_after);
    }

    void failed(const plimsoll::error &error) override {
        begin("error").member("code", static_cast<int>(error.code())).member("name", to_string(error.code()));
        member("message", error.what());
        numbers(error.bytes_asked(), error.bytes_free(), error.fits_tokens(), error.retry_after());
    }

    void stats(const plimsoll::runtime &runtime) override {
        const plimsoll::text memory = runtime.memory_stats_json();
        begin("stats");
        std::cout << ",\"memory\":" << memory.view();
        end();
    }

    void note(std::string_view text) override { begin("note").member("text", text).end(); }

private:
    json_view &begin(std::string_view event) {
        std::cout << "{\"event\":\"" << event << '"';
        return *this;
    }
    void end() { std::cout << '}' << std::endl; }

    void numbers(std::uint64_t asked, std::uint64_t free, std::uint32_t fits,
                 std::optional<std::chrono::milliseconds> retry_after) {
        member("bytes_asked", asked).member("bytes_free", free).member("fits_tokens", fits);
        member("retry_after_ms", retry_after ? retry_after->count() : -1).end();
    }

    template <class Value>
    json_view &member(std::string_view name, const Value &value) {
        std::cout << ",\"" << name << "\":";
        if constexpr (std::is_arithmetic_v<Value>) {
            std::cout << value;
        } else {
            quote(value);
        }
        return *this;
    }

    static void quote(std::string_view text) {
        std::cout << '"';
        for (const char c : text) {
            if (c == '"' || c == '\\') {
                std::cout << '\\' << c;
            } else if (static_cast<unsigned char>(c) < 0x20) {
                char escaped[8];
                std::snprintf(escaped, sizeof escaped, "\\u%04x", static_cast<unsigned>(c));
                std::cout << escaped;
            } else {
                std::cout << c;
            }
        }
        std::cout << '"';
    }
};

#endif
