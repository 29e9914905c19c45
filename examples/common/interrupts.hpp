// Ctrl-C in a C++ program that streams: it cancels the running answer, or interrupts the wait for a line. POSIX.
#ifndef EXAMPLES_INTERRUPTS_HPP
#define EXAMPLES_INTERRUPTS_HPP

#include "plimsoll.hpp"

#include <atomic>
#include <csignal>
#include <string>
#include <sys/select.h>
#include <unistd.h>

// The token of the running answer. SIGINT is blocked but while an answer runs or a line is waited for, and the threads of the
// library inherit that it is: so it comes to the main thread, and never to a token that is gone.
inline std::atomic<plimsoll_cancel *> running{nullptr};
static_assert(std::atomic<plimsoll_cancel *>::is_always_lock_free, "or a signal handler could not read it");

inline void block_interrupts(int how) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    pthread_sigmask(how, &set, nullptr);
}

inline void take_interrupts() {
    struct sigaction action = {};
    action.sa_handler = [](int) { plimsoll_cancel_raise(running.load()); }; // safe in a signal handler, and for NULL
    action.sa_flags = SA_RESTART;
    sigaction(SIGINT, &action, nullptr);
    block_interrupts(SIG_BLOCK);
}

inline bool interrupt_waits() { // blocked, it waits to come
    sigset_t pending;
    sigpending(&pending);
    return sigismember(&pending, SIGINT) == 1;
}

// While it lives Ctrl-C raises the token.
class cancelled_by_interrupt {
public:
    explicit cancelled_by_interrupt(const plimsoll::cancel_token &token) {
        running = token.get();
        block_interrupts(SIG_UNBLOCK);
    }
    cancelled_by_interrupt(const cancelled_by_interrupt &) = delete;
    cancelled_by_interrupt &operator=(const cancelled_by_interrupt &) = delete;
    ~cancelled_by_interrupt() {
        block_interrupts(SIG_BLOCK);
        running = nullptr;
    }
};

// Lines of any length from standard input, and the interrupts that come while waiting for one.
class lines {
public:
    enum class found { line, interrupt, end };

    // The next line without its end. Waiting lets SIGINT through, and checking for it is one step with that.
    found next(std::string &line) {
        for (std::size_t searched = 0;;) {
            const std::size_t end = unread_.find('\n', searched);
            if (end != std::string::npos || (ended_ && !unread_.empty())) {
                line = unread_.substr(0, end);
                unread_.erase(0, end == std::string::npos ? end : end + 1);
                return found::line;
            }
            if (ended_) {
                return found::end;
            }
            searched = unread_.size();
            sigset_t mask;
            pthread_sigmask(SIG_SETMASK, nullptr, &mask);
            sigdelset(&mask, SIGINT);
            fd_set set;
            FD_ZERO(&set);
            FD_SET(STDIN_FILENO, &set);
            if (pselect(STDIN_FILENO + 1, &set, nullptr, nullptr, nullptr, &mask) < 0) {
                return found::interrupt;
            }
            char bytes[4096];
            const ssize_t got = read(STDIN_FILENO, bytes, sizeof bytes);
            ended_ = got <= 0;
            unread_.append(bytes, got > 0 ? static_cast<std::size_t>(got) : 0);
        }
    }

private:
    std::string unread_;
    bool ended_ = false;
};

#endif
