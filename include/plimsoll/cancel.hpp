/// Ending requests from elsewhere.
#ifndef PLIMSOLL_CANCEL_HPP
#define PLIMSOLL_CANCEL_HPP

#include "handle.hpp"

namespace plimsoll {
inline namespace PLIMSOLL_CPP {

/// A flag that ends every request it was given to. It may go while they run: each holds its own reference.
///
/// Ownership: owns the flag. Threads: raise() from any. Errors: see each call. Since: 0.1.
class cancel_token : public detail::handle<cancel_token, plimsoll_cancel, plimsoll_cancel_free> {
public:
    /// A token that is not raised.
    ///
    /// Ownership: the object owns it. Threads: any. Errors: none but `internal`. Since: 0.1.
    static returned<cancel_token> create() { return made(plimsoll_cancel_new); }

#if !defined(PLIMSOLL_NO_EXCEPTIONS)
    /// As create().
    cancel_token() : cancel_token(create()) {}
#endif

    /// Cancels every request that was or will be given this token. It never blocks and may be called from any thread, a
    /// callback or a signal handler, and more than once. The requests end within one step, their bytes come back, and then the
    /// result says ending::cancelled.
    ///
    /// Ownership: borrows the token. Threads: any. Errors: none. Since: 0.1.
    void raise() const noexcept { plimsoll_cancel_raise(get()); }

private:
    friend handle;
    cancel_token(adopted, plimsoll_cancel *raw) noexcept : handle(raw) {}
};

} // namespace PLIMSOLL_CPP
} // namespace plimsoll

#endif
