/// plimsoll for C++17 and later: classes that own the handles of plimsoll.h. Header-only; link the library as a C program does.
///
/// Conventions of every class and function, over those of plimsoll.h:
/// - A class that owns a handle can be moved and not copied. Moved from, it is empty: `explicit operator bool` is false, a
///   fallible call fails with status::null_pointer, any other does nothing or answers 0. Assigning to one that owns a handle
///   frees that first. Handles keep what they need of each other, so objects may go in any order.
/// - What is made from a C handle takes it over with adopt(); get() lends it, release() gives it up.
/// - A call that fails throws plimsoll::error. With PLIMSOLL_NO_EXCEPTIONS defined nothing throws: what would return T returns
///   plimsoll::expected<T>, constructors that could fail are gone, and create() stays. Callbacks must not throw then, and memory
///   that the standard library cannot get ends the program. `returned<T>` below is one or the other.
/// - `const` members may be called by several threads at once, the others by one thread at a time, whichever it is.
/// - Text goes in as std::string_view, UTF-8. A std::string_view or span that comes out is borrowed for as long as its
///   function says.
/// - What a callback throws is caught before it reaches the library, and thrown again when the call that took the callback
///   is back. The log's callback has no such call: see set_log().
/// - Numbers that the library knows and this header does not, from a newer release, come through as values of their enum.
///
/// Units of one program may differ in their C++ standard and in PLIMSOLL_NO_EXCEPTIONS: each kind has an inline namespace of
/// its own.
#ifndef PLIMSOLL_HPP
#define PLIMSOLL_HPP

#include "plimsoll/base.hpp"
#include "plimsoll/callback.hpp"
#include "plimsoll/cancel.hpp"
#include "plimsoll/config.hpp"
#include "plimsoll/engine.hpp"
#include "plimsoll/enums.hpp"
#include "plimsoll/error.hpp"
#include "plimsoll/handle.hpp"
#include "plimsoll/log.hpp"
#include "plimsoll/model.hpp"
#include "plimsoll/monitor.hpp"
#include "plimsoll/pool.hpp"
#include "plimsoll/request.hpp"
#include "plimsoll/runtime.hpp"
#include "plimsoll/session.hpp"
#include "plimsoll/stream.hpp"
#include "plimsoll/structs.hpp"
#include "plimsoll/text.hpp"
#include "plimsoll/ticket.hpp"

#endif
