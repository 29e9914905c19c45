/// A loaded model.
#ifndef PLIMSOLL_MODEL_HPP
#define PLIMSOLL_MODEL_HPP

#include "config.hpp"
#include "session.hpp"
#include "text.hpp"

#include <vector>

namespace plimsoll {
inline namespace PLIMSOLL_CPP {

/// A loaded model under a logical name. Its memory is freed when it and its last session are gone and no other model shares its
/// files.
///
/// Ownership: owns the model; keeps what it needs of the runtime. Threads: `const` by several at once. Errors: see each call.
/// Since: 0.1.
class model : public detail::handle<model, plimsoll_model, plimsoll_model_unload> {
public:
    /// Its facts.
    ///
    /// Ownership: the caller's. Threads: any. Errors: none but `internal`. Since: 0.1.
    returned<model_facts> facts() const {
        detail::call_error failure;
        auto raw = detail::sized<plimsoll_model_facts>();
        plimsoll_status code = plimsoll_model_get_facts(get(), &raw, failure.out());
        return detail::finish(code, failure, [&raw] { return model_facts::from(raw); });
    }

    /// Frees its weights, its workspace, its tables and the KV of its sessions, and returns how many bytes that were; 0 for one that
    /// is not loaded. Model, sessions and conversations stay good: the next request that is granted loads it again, from the same
    /// path. One that was loaded with "model.unload" set to "idle" is also unloaded by itself, when nobody uses it and room is needed.
    ///
    /// Ownership: nothing moves. Threads: any. Errors: `busy` while a request of it runs or waits, a ticket is outstanding, or it is
    /// being loaded; `unsupported` for a plug-in. Since: 0.1.
    returned<std::uint64_t> evict() const {
        detail::call_error failure;
        std::uint64_t freed = 0;
        plimsoll_status code = plimsoll_model_evict(get(), &freed, failure.out());
        return detail::finish(code, failure, [freed] { return freed; });
    }

    /// Whether it is loaded. One that is not stays good, and its next request loads it again.
    ///
    /// Ownership: nothing moves. Threads: any. Errors: none. Since: 0.1.
    bool is_loaded() const noexcept { return plimsoll_model_is_loaded(get()) != 0; }

    /// Attaches a further engine, named by the key "engine.kind". A loaded model has its native engine from the start, so
    /// "native" changes nothing; "vllm" and "trtllm" are not supported yet and say so, and so does "plugin": see
    /// runtime::attach().
    ///
    /// Ownership: borrows the configuration. Threads: one at a time. Errors: `unsupported`, `invalid_config`. Since: 0.1.
    returned<void> attach_engine(const config &settings) {
        detail::call_error failure;
        return detail::finish(plimsoll_engine_attach(get(), settings.get(), failure.out()), failure);
    }

    /// The bytes that a token stands for: not always whole characters, so not always UTF-8 by themselves. Empty for an id beyond
    /// the vocabulary.
    ///
    /// Ownership: borrowed, lives as long as the model. Threads: any. Errors: none. Since: 0.1.
    std::string_view token_bytes(std::uint32_t token) const noexcept {
        return detail::view(plimsoll_model_token_bytes(get(), token));
    }

    /// Token ids of a text.
    ///
    /// Ownership: the caller's. Threads: any. Errors: `tokenizer`, `prompt_too_long`, `invalid_utf8`; std::bad_alloc.
    /// Since: 0.1.
    returned<std::vector<std::uint32_t>> tokenize(std::string_view content) const {
        /* Most texts have fewer tokens than half their bytes; the others are tokenised again. */
        std::vector<std::uint32_t> tokens(content.size() / 2 + 8);
        std::size_t count = 0;
        detail::call_error failure;
        plimsoll_status code = tokens_of(content, tokens, count, failure);
        if (code == PLIMSOLL_OK && count > tokens.size()) {
            tokens.resize(count);
            code = tokens_of(content, tokens, count, failure);
        }
        return detail::finish(code, failure, [&] {
            tokens.resize(count);
            return std::move(tokens);
        });
    }

    /// Token ids of a text, as many of them as `out` has room for. Returns how many there are.
    ///
    /// Ownership: borrows all. Threads: any. Errors: `tokenizer`, `prompt_too_long`, `invalid_utf8`. Since: 0.1.
    returned<std::size_t> tokenize(std::string_view content, span<std::uint32_t> out) const {
        std::size_t count = 0;
        detail::call_error failure;
        plimsoll_status code = tokens_of(content, out, count, failure);
        return detail::finish(code, failure, [count] { return count; });
    }

    /// Messages as the model's chat template writes them, up to where an answer begins.
    ///
    /// Ownership: borrows the messages. Threads: any. Errors: `template_failed`, `invalid_utf8`; std::bad_alloc. Since: 0.1.
    returned<text> render(span<const message> messages) const {
        std::vector<plimsoll_message> raw_messages;
        raw_messages.reserve(messages.size());
        for (const message &each : messages) {
            raw_messages.push_back({detail::str(each.role), detail::str(each.content)});
        }
        detail::call_error failure;
        plimsoll_text *raw = nullptr;
        plimsoll_status code =
            plimsoll_model_render(get(), raw_messages.data(), raw_messages.size(), &raw, failure.out());
        return detail::finish(code, failure, [raw] { return text::adopt(raw); });
    }
    /// The same of a list: `model.render({{"user", "Hello!"}})`.
    returned<text> render(std::initializer_list<message> messages) const {
        return render(span<const message>(messages.begin(), messages.size()));
    }

    /// A request's messages and tools as the model's chat template writes them, up to where an answer begins: the text of a new
    /// session's first turn.
    ///
    /// Ownership: borrows the request. Threads: any. Errors: `template_failed`; `invalid_argument` for a request of text or
    /// tokens; std::bad_alloc. Since: 0.1.
    returned<text> render_request(const request &what) const {
        detail::call_error failure;
        plimsoll_text *raw = nullptr;
        plimsoll_status code = plimsoll_model_render_request(get(), what.get(), &raw, failure.out());
        return detail::finish(code, failure, [raw] { return text::adopt(raw); });
    }

    /// Compares what the model's allocators hold with what the ledger has booked for it, to the byte.
    ///
    /// Ownership: borrows the model. Threads: any. Errors: `internal` naming what differs, `busy` while a request of the model
    /// waits or runs. Since: 0.1.
    returned<void> check_integrity() const {
        detail::call_error failure;
        return detail::finish(plimsoll_model_check_integrity(get(), failure.out()), failure);
    }

    /// Opens a session. `settings` has the keys that begin with "session."; without it every default holds.
    ///
    /// Ownership: copies the settings; the session keeps what it needs of the model. Threads: any. Errors: `invalid_config`,
    /// `null_pointer` for an empty configuration. Since: 0.1.
    returned<session> open_session() const { return opened(nullptr); }
    /// The same with settings.
    returned<session> open_session(const config &settings) const { return opened(&settings); }

private:
    friend handle;
    model(adopted, plimsoll_model *raw) noexcept : handle(raw) {}

    plimsoll_status tokens_of(std::string_view content, span<std::uint32_t> out, std::size_t &count,
                              detail::call_error &failure) const noexcept {
        return plimsoll_model_tokenize(get(), content.data(), content.size(), out.data(), out.size(), &count, failure.out());
    }

    returned<session> opened(const config *settings) const {
        detail::call_error failure;
        plimsoll_session *raw = nullptr;
        plimsoll_status code = PLIMSOLL_ERR_NULL_POINTER;
        if (settings == nullptr || *settings) {
            code = plimsoll_session_open(get(), settings == nullptr ? nullptr : settings->get(), &raw, failure.out());
        }
        return detail::finish(code, failure, [raw] { return session::adopt(raw); });
    }
};

} // namespace PLIMSOLL_CPP
} // namespace plimsoll

#endif
