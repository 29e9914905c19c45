/// What all of plimsoll.hpp shares: the mode it is compiled in, spans, and the library's version.
#ifndef PLIMSOLL_BASE_HPP
#define PLIMSOLL_BASE_HPP

#include "../plimsoll.h"

#if !(defined(_MSVC_LANG) ? _MSVC_LANG >= 201703L : __cplusplus >= 201703L)
#error "plimsoll.hpp needs C++17"
#endif

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

#if defined(__has_include)
#if __has_include(<version>)
#include <version>
#endif
#endif
#if defined(__cpp_lib_span)
#include <span>
#endif

#if !defined(PLIMSOLL_NO_EXCEPTIONS) && !defined(__cpp_exceptions) && !defined(_CPPUNWIND)
#error "without exceptions define PLIMSOLL_NO_EXCEPTIONS: calls then return plimsoll::expected"
#endif

/* Types differ with the standard and the mode, so their names do too: units of both kinds link into one program. */
#if defined(__cpp_lib_span) && defined(PLIMSOLL_NO_EXCEPTIONS)
#define PLIMSOLL_CPP cpp20_expected
#elif defined(__cpp_lib_span)
#define PLIMSOLL_CPP cpp20
#elif defined(PLIMSOLL_NO_EXCEPTIONS)
#define PLIMSOLL_CPP cpp17_expected
#else
#define PLIMSOLL_CPP cpp17
#endif

/* A type that is thrown must be the same one in every shared object of the program. */
#if defined(__GNUC__)
#define PLIMSOLL_CPP_VISIBLE __attribute__((visibility("default")))
#else
#define PLIMSOLL_CPP_VISIBLE
#endif

namespace plimsoll {
inline namespace PLIMSOLL_CPP {

#if defined(__cpp_lib_span)
/// A view of objects in a row: std::span where the standard library has it, else a class with the part of it needed here.
///
/// Ownership: borrows them. Threads: a plain value. Errors: none. Since: 0.1.
template <class T>
using span = std::span<T>;
#else
template <class T>
class span {
public:
    using element_type = T;
    using value_type = std::remove_cv_t<T>;
    using size_type = std::size_t;
    using iterator = T *;

    /// Of nothing, of `size` objects from `data` on, of an array.
    constexpr span() noexcept = default;
    constexpr span(T *data, std::size_t size) noexcept : data_(data), size_(size) {}

    template <std::size_t N>
    constexpr span(element_type (&array)[N]) noexcept : data_(array), size_(N) {}

    /// Of anything with data() and size(): std::vector, std::array, another span.
    template <class Container,
              class Data = std::remove_pointer_t<decltype(std::declval<Container &>().data())>,
              class = decltype(std::declval<Container &>().size()),
              class = std::enable_if_t<std::is_convertible_v<Data (*)[], T (*)[]> &&
                                       (std::is_const_v<T> || std::is_lvalue_reference_v<Container>)>>
    constexpr span(Container &&container) noexcept : data_(container.data()), size_(container.size()) {}

    /// As std::span has them: no index is checked.
    constexpr T *data() const noexcept { return data_; }
    constexpr std::size_t size() const noexcept { return size_; }
    constexpr bool empty() const noexcept { return size_ == 0; }
    constexpr T &operator[](std::size_t index) const noexcept { return data_[index]; }
    constexpr T &front() const noexcept { return data_[0]; }
    constexpr T &back() const noexcept { return data_[size_ - 1]; }
    constexpr T *begin() const noexcept { return data_; }
    constexpr T *end() const noexcept { return data_ + size_; }

private:
    T *data_ = nullptr;
    std::size_t size_ = 0;
};
#endif

/// The version of the library that is linked, such as "0.1.0".
///
/// Ownership: static. Threads: any. Errors: none. Since: 0.1.
inline std::string_view version() noexcept { return plimsoll_version(); }

/// The ABI number of the library that is linked. A program runs with every library whose number is at least its header's,
/// header_abi_version.
///
/// Ownership: a plain number. Threads: any. Errors: none. Since: 0.1.
inline std::uint32_t abi_version() noexcept { return plimsoll_abi_version(); }

/// The ABI number of the header that this program was compiled with.
inline constexpr std::uint32_t header_abi_version = PLIMSOLL_ABI_VERSION;

namespace detail {

inline std::string_view view(plimsoll_str text) noexcept { return {text.ptr, text.len}; }
inline plimsoll_str str(std::string_view text) noexcept { return {text.data(), text.size()}; }

/// A struct of plimsoll.h, all zero but its struct_size.
template <class Raw>
Raw sized() noexcept {
    Raw raw{};
    raw.struct_size = sizeof raw;
    return raw;
}

} // namespace detail
} // namespace PLIMSOLL_CPP
} // namespace plimsoll

#endif
