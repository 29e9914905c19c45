/// Functions of the host that the library calls, and the way around what they throw.
#ifndef PLIMSOLL_CALLBACK_HPP
#define PLIMSOLL_CALLBACK_HPP

#include "error.hpp"

#include <exception>
#include <functional>

namespace plimsoll {
inline namespace PLIMSOLL_CPP {

/// What a callback wants.
///
/// Since: 0.1.
enum class flow {
    /// Go on.
    go_on,
    /// Stop the answer, or the load.
    stop,
};

/// A function of the host that is told of something and may stop it: a std::function<flow(const Argument &)> that also takes
/// functions that return nothing and so never stop. Empty, it is not called.
///
/// Ownership: owns a copy of the function. Threads: that of the call it is given to. Errors: what it throws comes out of that
/// call; after that it is not called again. Since: 0.1.
template <class Argument>
class callback {
public:
    /// No function.
    callback() noexcept = default;
    callback(std::nullptr_t) noexcept {}

    /// A copy of a function, a lambda, a std::function: one that returns plimsoll::flow, or nothing.
    template <class Function, class = std::enable_if_t<!std::is_same_v<std::decay_t<Function>, callback> &&
                                                       std::is_invocable_v<std::decay_t<Function> &, const Argument &>>>
    callback(Function &&function) {
        using returns = std::invoke_result_t<std::decay_t<Function> &, const Argument &>;
        static_assert(std::is_void_v<returns> || std::is_same_v<returns, flow>,
                      "a callback returns plimsoll::flow, or nothing to go on always");
        if (is_empty(function)) {
            return;
        }
        if constexpr (std::is_void_v<returns>) {
            function_ = [function = std::forward<Function>(function)](const Argument &argument) mutable {
                std::invoke(function, argument);
                return flow::go_on;
            };
        } else {
            function_ = std::forward<Function>(function);
        }
    }

    /// Whether there is a function.
    explicit operator bool() const noexcept { return static_cast<bool>(function_); }

    /// Calls the function, which must be there.
    flow operator()(const Argument &argument) const { return function_(argument); }

private:
    template <class Function>
    static bool is_empty(const Function &) noexcept {
        return false;
    }
    template <class Signature>
    static bool is_empty(const std::function<Signature> &function) noexcept {
        return !function;
    }

    std::function<flow(const Argument &)> function_;
};

namespace detail {

/// Stands between one C call and the callback that was given to it.
template <class Argument, class Raw>
class trampoline {
public:
    explicit trampoline(const callback<Argument> &function) noexcept : function_(function) {}
    trampoline(const trampoline &) = delete;
    trampoline &operator=(const trampoline &) = delete;

    /// What the C call takes: NULL without a function, so that it is not called for nothing.
    using entry_type = std::int32_t (*)(const Raw *, void *);
    entry_type entry() const noexcept { return function_ ? &enter : nullptr; }

    /// Throws on what the function threw. To be called once the C call is back.
    void rethrow() const {
#if !defined(PLIMSOLL_NO_EXCEPTIONS)
        if (thrown_) {
            std::rethrow_exception(thrown_);
        }
#endif
    }

private:
    static std::int32_t enter(const Raw *raw, void *user_data) noexcept {
        auto *self = static_cast<trampoline *>(user_data);
#if defined(PLIMSOLL_NO_EXCEPTIONS)
        return self->function_(Argument::from(*raw)) == flow::stop;
#else
        if (self->thrown_) {
            return 1; /* it has had its say; a load still tells of its failure */
        }
        try {
            return self->function_(Argument::from(*raw)) == flow::stop;
        } catch (...) {
            self->thrown_ = std::current_exception();
            return 1;
        }
#endif
    }

    const callback<Argument> &function_;
#if !defined(PLIMSOLL_NO_EXCEPTIONS)
    std::exception_ptr thrown_;
#endif
};

} // namespace detail
} // namespace PLIMSOLL_CPP
} // namespace plimsoll

#endif
