/// Host memory that is used again.
#ifndef PLIMSOLL_POOL_HPP
#define PLIMSOLL_POOL_HPP

#include "handle.hpp"

namespace plimsoll {
inline namespace PLIMSOLL_CPP {

/// What the pool holds and did, in bytes and numbers of buffers.
struct pool {
    /// Buffers in use: their rounded sizes, which are leased.
    std::uint64_t in_use_bytes = 0;
    /// Idle buffers, which are leased to nobody.
    std::uint64_t idle_bytes = 0;
    /// The most that idle buffers may have.
    std::uint64_t pool_limit_bytes = 0;
    /// Buffers in use.
    std::uint64_t buffers_in_use = 0;
    /// Idle buffers.
    std::uint64_t buffers_idle = 0;
    /// Times that an idle buffer was used again.
    std::uint64_t hits = 0;
    /// Times that a buffer came from the system.
    std::uint64_t misses = 0;
    /// Idle buffers that went back to the system.
    std::uint64_t pool_evictions = 0;

    static pool from(const plimsoll_pool &raw) noexcept {
        return {raw.in_use_bytes, raw.idle_bytes, raw.pool_limit_bytes, raw.buffers_in_use,
                raw.buffers_idle, raw.hits,       raw.misses,           raw.pool_evictions};
    }
};

/// Host memory from a runtime's pool. Destroyed, it goes back to the pool.
///
/// Ownership: owns the buffer, and keeps what it needs of the runtime. Threads: the memory is its holder's to guard. Errors: none.
/// Since: 0.1.
class buffer : public detail::handle<buffer, plimsoll_buffer, plimsoll_pool_release> {
public:
    /// Its memory, at a multiple of 4096; NULL when moved from.
    ///
    /// Ownership: lives as long as this object's handle. Threads: any. Errors: none. Since: 0.1.
    void *data() const noexcept { return plimsoll_buffer_data(get()); }

    /// Bytes that may be used, at least as many as were asked for; 0 when moved from.
    ///
    /// Ownership: borrows the buffer. Threads: any. Errors: none. Since: 0.1.
    std::size_t size() const noexcept { return plimsoll_buffer_size(get()); }

private:
    friend handle;
    buffer(adopted, plimsoll_buffer *raw) noexcept : handle(raw) {}
};

} // namespace PLIMSOLL_CPP
} // namespace plimsoll

#endif
