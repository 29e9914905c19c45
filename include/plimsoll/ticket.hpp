/// Bytes granted ahead of a run.
#ifndef PLIMSOLL_TICKET_HPP
#define PLIMSOLL_TICKET_HPP

#include "structs.hpp"
#include "text.hpp"

namespace plimsoll {
inline namespace PLIMSOLL_CPP {

/// Bytes granted for one run of one request in one session. They return when the run ends, when the ticket goes, or when it
/// expires.
///
/// Ownership: owns the grant until a run consumes it. Threads: `const` by several at once. Errors: none. Since: 0.1.
class ticket : public detail::handle<ticket, plimsoll_ticket, plimsoll_ticket_free> {
public:
    /// What was granted, as session::what_if_json() writes it. Each line also has its "owner" in the ledger: what is new, of one
    /// owner, is what this ticket holds until it is used, goes or expires.
    ///
    /// Ownership: the text owns it. Threads: any. Errors: `null_pointer` when moved from. Since: 0.1.
    returned<text> json() const {
        detail::call_error failure;
        plimsoll_text *raw = nullptr;
        plimsoll_status code = plimsoll_ticket_json(get(), &raw, failure.out());
        return detail::finish(code, failure, [raw] { return text::adopt(raw); });
    }

private:
    friend handle;
    ticket(adopted, plimsoll_ticket *raw) noexcept : handle(raw) {}
};

/// What session::admit() answers.
///
/// Ownership: owns the ticket. Since: 0.1.
struct admission {
    /// The decision and its numbers.
    plimsoll::verdict verdict;
    /// The granted bytes; empty when the request was refused.
    plimsoll::ticket ticket;

    /// Whether there is a ticket.
    explicit operator bool() const noexcept { return static_cast<bool>(ticket); }
};

} // namespace PLIMSOLL_CPP
} // namespace plimsoll

#endif
