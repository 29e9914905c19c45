/// Host memory that is used again.
#ifndef PLIMSOLL_POOL_HPP
#define PLIMSOLL_POOL_HPP

#include "handle.hpp"

namespace plimsoll {
inline namespace PLIMSOLL_CPP {

/// What the pool holds and did, in bytes and numbers of buffers. The figures named `engine_` are of the library's own memory, workspaces
/// of models and rings of requests; the others are of buffers.
struct pool {
    /// Buffers in use: their rounded sizes, which are leased.
    std::uint64_t in_use_bytes = 0;
    /// Idle buffers, which are leased to nobody.
    std::uint64_t idle_bytes = 0;
    /// The most that idle buffers may have, those of the library's own included.
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
    /// Workspaces and rings in use, which are leased to their models and requests.
    std::uint64_t engine_in_use_bytes = 0;
    /// Idle ones, which are leased to nobody.
    std::uint64_t engine_idle_bytes = 0;
    /// Workspaces and rings in use.
    std::uint64_t engine_buffers_in_use = 0;
    /// Idle ones.
    std::uint64_t engine_buffers_idle = 0;
    /// Times that an idle one was used again.
    std::uint64_t engine_hits = 0;
    /// Times that one came from the system.
    std::uint64_t engine_misses = 0;
    /// Idle ones that went back to the system.
    std::uint64_t engine_evictions = 0;

    static pool from(const plimsoll_pool &raw) noexcept {
        return {raw.in_use_bytes,
                raw.idle_bytes,
                raw.pool_limit_bytes,
                raw.buffers_in_use,
                raw.buffers_idle,
                raw.hits,
                raw.misses,
                raw.pool_evictions,
                raw.engine_in_use_bytes,
                raw.engine_idle_bytes,
                raw.engine_buffers_in_use,
                raw.engine_buffers_idle,
                raw.engine_hits,
                raw.engine_misses,
                raw.engine_evictions};
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
