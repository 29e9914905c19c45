/// What every class that owns a handle has in common.
#ifndef PLIMSOLL_HANDLE_HPP
#define PLIMSOLL_HANDLE_HPP

#include "error.hpp"

namespace plimsoll {
inline namespace PLIMSOLL_CPP {
namespace detail {

/// Owns a handle that `Free` frees. `Class` is the class that derives from this.
template <class Class, class Raw, void (*Free)(Raw *)>
class handle {
public:
    handle(const handle &) = delete;
    handle &operator=(const handle &) = delete;
    handle(handle &&other) noexcept : raw_(other.release()) {}
    handle &operator=(handle &&other) noexcept {
        if (this != &other) {
            Raw *before = std::exchange(raw_, other.release());
            Free(before);
        }
        return *this;
    }

    /// Takes over a handle that a C call returned.
    ///
    /// Ownership: takes `raw`. Threads: any. Errors: none. Since: 0.1.
    static Class adopt(Raw *raw) noexcept { return Class(adopted{}, raw); }

    /// The handle for a C call; NULL when there is none.
    ///
    /// Ownership: borrowed, lives until this object is destroyed or assigned to. Threads: as the object. Errors: none. Since: 0.1.
    Raw *get() const noexcept { return raw_; }

    /// Gives the handle up; this object has none from then on.
    ///
    /// Ownership: the caller frees it. Threads: one. Errors: none. Since: 0.1.
    [[nodiscard]] Raw *release() noexcept { return std::exchange(raw_, nullptr); }

    /// Whether there is a handle.
    explicit operator bool() const noexcept { return raw_ != nullptr; }

protected:
    /// Tells the constructor that takes a handle over from the others.
    struct adopted {};

    explicit handle(Raw *raw) noexcept : raw_(raw) {}
    ~handle() { Free(raw_); }

    /// Calls `make(&raw, error)` and takes over what it made.
    template <class Make>
    static returned<Class> made(Make &&make) {
        call_error failure;
        Raw *raw = nullptr;
        plimsoll_status code = make(&raw, failure.out());
        return finish(code, failure, [raw] { return adopt(raw); });
    }

private:
    Raw *raw_;
};

} // namespace detail
} // namespace PLIMSOLL_CPP
} // namespace plimsoll

#endif
