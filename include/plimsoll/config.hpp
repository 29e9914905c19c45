/// Settings for a runtime, a model or a session.
#ifndef PLIMSOLL_CONFIG_HPP
#define PLIMSOLL_CONFIG_HPP

#include "handle.hpp"

#include <initializer_list>

namespace plimsoll {
inline namespace PLIMSOLL_CPP {

/// Settings as keys and values. Every key has a default. What is made with a configuration copies it.
///
/// Ownership: owns the settings. Threads: one at a time. Errors: see each call. Since: 0.1.
class config : public detail::handle<config, plimsoll_config, plimsoll_config_free> {
public:
    /// A key and its value.
    using setting = std::pair<std::string_view, std::string_view>;

    /// An empty configuration: every default holds.
    ///
    /// Ownership: the object owns it. Threads: any. Errors: none but `internal`. Since: 0.1.
    static returned<config> create() { return made(plimsoll_config_new); }

    /// A configuration of these settings.
    ///
    /// Ownership: copies the texts. Threads: any. Errors: as set(). Since: 0.1.
    static returned<config> create(std::initializer_list<setting> settings) {
        auto made = create();
#if defined(PLIMSOLL_NO_EXCEPTIONS)
        for (auto at = settings.begin(); made && at != settings.end(); ++at) {
            auto done = made->set(at->first, at->second);
            if (!done) {
                return done.error();
            }
        }
#else
        for (const setting &each : settings) {
            made.set(each.first, each.second);
        }
#endif
        return made;
    }

#if !defined(PLIMSOLL_NO_EXCEPTIONS)
    /// As create().
    config() : config(create()) {}
    /// As create() with these settings: `plimsoll::config config{{"memory.budget", "512MiB"}};`
    config(std::initializer_list<setting> settings) : config(create(settings)) {}
#endif

    /// Sets one key, such as "memory.budget" to "512MiB". An empty value takes the setting back. The keys for a runtime begin
    /// with "memory." and "guard.", for a model with "native.", "plugin." and "engine.", for a session with "session."; the
    /// error for an unknown key lists them all.
    ///
    /// Ownership: copies both texts. Threads: one at a time. Errors: `invalid_config` with the reason, `invalid_utf8`; the
    /// configuration is then unchanged. Since: 0.1.
    chained<config> set(std::string_view key, std::string_view value) {
        detail::call_error failure;
        plimsoll_status code =
            plimsoll_config_set(get(), key.data(), key.size(), value.data(), value.size(), failure.out());
        return detail::chain(code, failure, *this);
    }

private:
    friend handle;
    config(adopted, plimsoll_config *raw) noexcept : handle(raw) {}
};

} // namespace PLIMSOLL_CPP
} // namespace plimsoll

#endif
