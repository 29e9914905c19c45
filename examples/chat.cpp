// A chat on the terminal in C++: load a model under a memory budget, open a session, and for each turn ask the guard, stream
// the answer, show the numbers. The twin of chat.c, with fewer options; POSIX for the terminal, C++17 for the rest.

#include "interrupts.hpp"
#include "views.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <stdexcept>

namespace pl = plimsoll;

namespace {

constexpr std::string_view help =
    "usage: chat-cpp [options]\n"
    "\n"
    "  --model PATH       a Hugging Face folder or a .gguf file [models/demo]\n"
    "  --memory SIZE      the budget, such as 512MiB [what the machine or its cgroup allows]\n"
    "  --system TEXT      a system message before the conversation\n"
    "  -p TEXT            one question: only its answer goes to stdout, then the program ends\n"
    "  --max-tokens N     most tokens of an answer [512]\n"
    "  --temperature X    how much chance there is; 0 takes the likeliest token [0]\n"
    "  --top-p X          choose among the likeliest tokens that make up this probability [1]\n"
    "  --seed N           the same seed gives the same answer\n"
    "  --ignore-eos       generate on after the model has ended its answer\n"
    "  --json             events as JSON lines\n"
    "  --threads N        computing threads [the machine's cores]\n"
    "  --help, --version\n"
    "\n"
    "In a chat: /stats /reset /help /quit. Ctrl-C stops an answer; twice at the prompt, or Ctrl-D, it ends the program.\n"
    "Exit status: 0; 1 when the model cannot be loaded or the one question fails; 2 for a mistake on the command line;\n"
    "130 when the one question is stopped.\n";

constexpr std::string_view commands = "/stats  memory by owner, sessions, decisions, alerts\n"
                                      "/reset  forget the conversation\n"
                                      "/quit   end the program";

// --- The command line -----------------------------------------------------------------------------------------------

struct usage_error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct options {
    std::string_view model = "models/demo", memory, threads, system;
    std::optional<std::string_view> question;
    std::optional<std::uint64_t> seed;
    std::uint32_t max_tokens = 512;
    float temperature = 0, top_p = 1;
    bool ignore_eos = false, json = false;
};

[[noreturn]] void not_a_value(std::string_view option, const std::string &text) {
    throw usage_error(std::string(option) + " does not take \"" + text + "\"");
}

template <class Integer>
Integer integer(std::string_view option, const std::string &text, Integer low) {
    Integer value{};
    const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (fault != std::errc() || *end != '\0' || value < low) {
        not_a_value(option, text);
    }
    return value;
}

float number(std::string_view option, const std::string &text) {
    char *end = nullptr;
    const float value = std::strtof(text.c_str(), &end);
    if (text.empty() || *end != '\0' || !std::isfinite(value)) {
        not_a_value(option, text);
    }
    return value;
}

// Nothing when the program has said what was asked and is done.
std::optional<options> parse(int argc, char **argv) {
    options o;
    for (int i = 1; i < argc; i++) {
        const std::string_view option = argv[i];
        const auto value = [&]() -> const char * {
            if (++i == argc) {
                throw usage_error(std::string(option) + " needs a value");
            }
            return argv[i];
        };
        if (option == "--model") o.model = value();
        else if (option == "--memory") o.memory = value();
        else if (option == "--threads") o.threads = value();
        else if (option == "--system") o.system = value();
        else if (option == "-p") o.question = value();
        else if (option == "--max-tokens") o.max_tokens = integer<std::uint32_t>(option, value(), 1);
        else if (option == "--temperature") o.temperature = number(option, value());
        else if (option == "--top-p") o.top_p = number(option, value());
        else if (option == "--seed") o.seed = integer<std::uint64_t>(option, value(), 0);
        else if (option == "--ignore-eos") o.ignore_eos = true;
        else if (option == "--json") o.json = true;
        else if (option == "--help") return std::cout << help, std::nullopt;
        else if (option == "--version") {
            std::cout << "chat-cpp (plimsoll " << pl::version() << ", ABI " << pl::abi_version() << ")\n";
            return std::nullopt;
        } else throw usage_error("unknown option " + std::string(option) + "; --help shows them");
    }
    return o;
}

// --- The chat -------------------------------------------------------------------------------------------------------

class chat {
public:
    chat(const options &o, view &shown)
        : options_(o), view_(shown), runtime_({{"memory.budget", o.memory}}), model_(load()), session_(model_.open_session()) {
        request_.set_max_tokens(o.max_tokens).set_temperature(o.temperature).set_top_p(o.top_p).set_ignore_eos(o.ignore_eos);
        if (o.seed) {
            request_.set_seed(*o.seed);
        }
    }

    // Asks the guard, and streams what it grants. Returns the exit status that a single question has.
    int turn(std::string_view text) try {
        say(text);
        const pl::admission admitted = session_.admit(request_);
        if (!admitted) {
            view_.refused(admitted.verdict);
            return 1;
        }
        const pl::cancel_token cancel;
        pl::stream stream = session_.start(request_, admitted.ticket, &cancel);
        std::string answer;
        {
            const cancelled_by_interrupt scope(cancel);
            for (const pl::event &event : stream) {
                view_.event(event);
                answer += event.text;
            }
        }
        const pl::result result = stream.result();
        view_.result(admitted.verdict, result, answer);
        begun_ = begun_ || !answer.empty();
        return result.ending == pl::ending::cancelled ? 130 : 0;
    } catch (const pl::error &error) {
        view_.failed(error);
        return 1;
    }

    void converse() {
        const bool prompt = isatty(STDIN_FILENO) == 1 && !options_.json;
        lines input;
        std::string line;
        for (int interrupts = 0; interrupts < 2;) {
            std::cout << (prompt ? "> " : "") << std::flush;
            const lines::found found = input.next(line);
            if (found == lines::found::line) {
                interrupts = 0;
                if (line == "/quit") {
                    return;
                }
                if (!line.empty()) {
                    line[0] == '/' ? command(line) : static_cast<void>(turn(line));
                }
                continue;
            }
            std::cout << (prompt ? "\n" : "");
            if (found == lines::found::end) {
                return;
            }
            interrupts++; // at the prompt Ctrl-C begins a new line; twice in a row it ends the program
        }
    }

    void greet() const {
        const pl::model_facts facts = model_.facts();
        const pl::memory memory = runtime_.memory_stats();
        std::cout << "plimsoll " << pl::version() << ": " << options_.model << ", engine " << facts.engine << ", context "
                  << facts.context_length << " tokens\nweights " << human(facts.weights_bytes) << ", workspace "
                  << human(facts.workspace_bytes) << ", free " << human(memory.free_bytes) << " of "
                  << human(memory.limit_bytes) << "\n/help shows the commands\n\n";
    }

private:
    // Tells of a load that takes its time, and stops it at Ctrl-C, which waits until the load is over.
    pl::model load() const {
        const bool terminal = isatty(STDERR_FILENO) == 1;
        const struct eraser {
            bool terminal;
            ~eraser() { std::cerr << (terminal ? "\r\033[K" : ""); }
        } afterwards{terminal};
        const auto start = std::chrono::steady_clock::now();
        return runtime_.load(
            "chat", options_.model, {{"native.threads", options_.threads}}, [&](const pl::progress &now) {
                if (terminal && std::chrono::steady_clock::now() - start > std::chrono::milliseconds(300)) {
                    std::cerr << "\rloading " << 100 * now.bytes_done / std::max<std::uint64_t>(now.bytes_total, 1) << " %";
                }
                return interrupt_waits() ? pl::flow::stop : pl::flow::go_on;
            });
    }

    void say(std::string_view text) {
        request_.clear();
        if (!options_.system.empty() && !begun_) {
            request_.add_message("system", options_.system);
        }
        request_.add_message("user", text);
    }

    void command(std::string_view line) try {
        if (line == "/stats") {
            view_.stats(runtime_);
        } else if (line == "/help") {
            view_.note(commands);
        } else if (line == "/reset") {
            session_.reset();
            begun_ = false;
            view_.note("the conversation begins anew");
        } else {
            view_.note("no such command; /help shows them");
        }
    } catch (const pl::error &error) {
        view_.failed(error);
    }

    const options &options_;
    view &view_;
    pl::runtime runtime_;
    pl::model model_;
    pl::session session_;
    pl::request request_; // settings stay, what is said changes from turn to turn
    bool begun_ = false;  // the conversation has a turn, and with it the system message
};

int run(const options &o) {
    std::unique_ptr<view> shown;
    if (o.json) {
        shown = std::make_unique<json_view>();
    } else {
        shown = std::make_unique<text_view>(o.question.has_value());
    }
    take_interrupts();
    try {
        chat talk(o, *shown);
        if (o.question) {
            return talk.turn(*o.question);
        }
        if (!o.json && isatty(STDOUT_FILENO) == 1) {
            talk.greet();
        }
        talk.converse();
        return 0;
    } catch (const pl::error &error) {
        // What the library does not take from the command line is the user's mistake.
        if (error.code() == pl::status::invalid_config || error.code() == pl::status::invalid_argument) {
            throw usage_error(error.what());
        }
        shown->failed(error);
        return 1;
    }
}

} // namespace

int main(int argc, char **argv) try {
    const std::optional<options> o = parse(argc, argv);
    return o ? run(*o) : 0;
} catch (const usage_error &error) {
    std::cerr << "chat-cpp: " << error.what() << '\n';
    return 2;
} catch (const std::exception &error) {
    std::cerr << "chat-cpp: " << error.what() << '\n';
    return 1;
}
