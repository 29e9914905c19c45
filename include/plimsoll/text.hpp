/// Text that the library made.
#ifndef PLIMSOLL_TEXT_HPP
#define PLIMSOLL_TEXT_HPP

#include "handle.hpp"

namespace plimsoll {
inline namespace PLIMSOLL_CPP {

/// Text that the library made and this object owns: JSON, a rendered conversation.
///
/// Ownership: owns the text. Threads: `const` by several at once. Errors: none. Since: 0.1.
class text : public detail::handle<text, plimsoll_text, plimsoll_text_free> {
public:
    /// Its bytes, UTF-8; empty when moved from.
    ///
    /// Ownership: borrowed, lives as long as this object's handle. Threads: any. Errors: none. Since: 0.1.
    std::string_view view() const & noexcept { return detail::view(plimsoll_text_str(get())); }
    /// Not of a text that is about to go: keep it, or copy it with str().
    std::string_view view() const && = delete;
    /// As view().
    operator std::string_view() const & noexcept { return view(); }
    operator std::string_view() const && = delete;

    /// A copy of them.
    ///
    /// Ownership: the caller's. Threads: any. Errors: std::bad_alloc. Since: 0.1.
    std::string str() const { return std::string(static_cast<const text &>(*this).view()); }

private:
    friend handle;
    text(adopted, plimsoll_text *raw) noexcept : handle(raw) {}
};

} // namespace PLIMSOLL_CPP
} // namespace plimsoll

#endif
