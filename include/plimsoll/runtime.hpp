/// A runtime: one memory guard, and the models under it.
#ifndef PLIMSOLL_RUNTIME_HPP
#define PLIMSOLL_RUNTIME_HPP

#include "engine.hpp"
#include "model.hpp"
#include "monitor.hpp"
#include "pool.hpp"

namespace plimsoll {
inline namespace PLIMSOLL_CPP {

/// Hears of a load's progress, on the thread that called runtime::load(). flow::stop ends the load with `load_cancelled`.
///
/// Since: 0.1.
using progress_callback = callback<progress>;

/// One memory guard, and the models under it. Models and sessions made from it keep what they need and stay usable without it.
///
/// Ownership: owns the runtime. Threads: `const` by several at once. Errors: see each call. Since: 0.1.
class runtime : public detail::handle<runtime, plimsoll_runtime, plimsoll_runtime_free> {
public:
    /// A runtime with every default: the budget is what the machine or its cgroup allows.
    ///
    /// Ownership: the object owns it. Threads: any. Errors: none but `internal`. Since: 0.1.
    static returned<runtime> create() {
        return made([](plimsoll_runtime **out, plimsoll_error **failure) {
            return plimsoll_runtime_new(nullptr, out, failure);
        });
    }

    /// A runtime with the settings that begin with "memory.", "guard." and "monitor.".
    ///
    /// Ownership: copies the settings. Threads: any. Errors: `invalid_config`, `null_pointer` for an empty configuration.
    /// Since: 0.1.
    static returned<runtime> create(const config &settings) {
        /* An empty configuration must not pass for every default: a budget that got lost would be no budget. */
        return made([&settings](plimsoll_runtime **out, plimsoll_error **failure) -> plimsoll_status {
            return settings ? plimsoll_runtime_new(settings.get(), out, failure) : PLIMSOLL_ERR_NULL_POINTER;
        });
    }

#if !defined(PLIMSOLL_NO_EXCEPTIONS)
    /// As create().
    runtime() : runtime(create()) {}
    /// As create() with these settings.
    explicit runtime(const config &settings) : runtime(create(settings)) {}
#endif

    /// Loads a model: a folder with config.json, safetensors and tokenizer.json, or a .gguf file. The guard must grant its
    /// weights and its workspace first. Files that are loaded already, also through another path or by another thread at the
    /// same time, are shared, not loaded again. `settings` has the keys that begin with "native."; without it every default
    /// holds.
    ///
    /// Ownership: copies name, path and settings; the model keeps what it needs of the runtime. Threads: any, also
    /// concurrently; `on_progress` is called on this one. Errors: `model_*` for what is wrong with the files, `memory_refused`
    /// with the numbers, `out_of_memory`, `invalid_config`, `load_cancelled`, `null_pointer` for an empty configuration; what
    /// `on_progress` throws. Since: 0.1.
    returned<model> load(std::string_view name, std::string_view path, const progress_callback &on_progress = {}) const {
        return loaded(name, path, nullptr, on_progress);
    }
    /// The same with settings.
    returned<model> load(std::string_view name, std::string_view path, const config &settings,
                         const progress_callback &on_progress = {}) const {
        return loaded(name, path, &settings, on_progress);
    }

    /// A model over an engine of the host's own. `text_path` names what turns text into ids and back: a model's folder or .gguf
    /// file, whose weights are not read, or a tokenizer.json alone; empty for a model of token ids only. `settings` has the keys
    /// that begin with "plugin."; without it every default holds.
    ///
    /// Ownership: takes the engine, also when the call fails; copies the rest. Threads: any; describe() and load() of the engine
    /// run inside. Errors: `invalid_argument` for a description that makes no sense, `memory_refused` with the numbers,
    /// `engine_failed` and `out_of_memory` where it does not load, `model_*` and `tokenizer` for the text's files,
    /// `invalid_config`, `null_pointer` for no engine and for an empty configuration; std::bad_alloc. Since: 0.1.
    returned<model> attach(std::string_view name, std::string_view text_path, std::unique_ptr<engine> own) const {
        return attached(name, text_path, std::move(own), nullptr);
    }
    /// The same with settings.
    returned<model> attach(std::string_view name, std::string_view text_path, std::unique_ptr<engine> own,
                           const config &settings) const {
        return attached(name, text_path, std::move(own), &settings);
    }

    /// Whether the host may take `bytes` of memory for itself, and `margin` of them more, without coming near the limit. A
    /// cheap check: nothing is reserved. False when moved from.
    ///
    /// Ownership: borrows the runtime. Threads: any. Errors: none. Since: 0.1.
    bool can_allocate(std::uint64_t bytes, double margin = 0.1) const noexcept {
        return plimsoll_can_allocate(get(), bytes, margin) != 0;
    }

    /// Whether at least the share `threshold` (0 to 1) of the host's capacity is in use, by plimsoll and others. False when moved
    /// from.
    ///
    /// Ownership: borrows the runtime. Threads: any. Errors: none. Since: 0.1.
    bool is_low_memory(double threshold) const noexcept { return plimsoll_is_low_memory(get(), threshold) != 0; }

    /// The memory statistics.
    ///
    /// Ownership: the caller's. Threads: any. Errors: none but `internal`. Since: 0.1.
    returned<memory> memory_stats() const {
        detail::call_error failure;
        auto raw = detail::sized<plimsoll_memory>();
        plimsoll_status code = plimsoll_memory_stats(get(), &raw, failure.out());
        return detail::finish(code, failure, [&raw] { return memory::from(raw); });
    }

    /// The memory statistics as a JSON object: active_sessions, total_kv_mb, gpu_usage, gpu_free_mb, session_details,
    /// gpu_memory, the counters, the ledger by region and owner, and under "monitor" what the monitor knows: "regions" with
    /// their last snapshot, levels, peak and average, "system", "alerts" and "cleanup".
    ///
    /// Ownership: the text owns it. Threads: any. Errors: none but `internal`. Since: 0.1.
    returned<text> memory_stats_json() const {
        detail::call_error failure;
        plimsoll_text *raw = nullptr;
        plimsoll_status code = plimsoll_memory_stats_json(get(), &raw, failure.out());
        return detail::finish(code, failure, [raw] { return text::adopt(raw); });
    }

    /// Who has how much of the memory, how short it is, and what to look at: a table for people, in MiB. Its form may change; for
    /// programs there is memory_stats_json().
    ///
    /// Ownership: the text owns it. Threads: any. Errors: none but `internal`. Since: 0.1.
    returned<text> memory_report() const {
        detail::call_error failure;
        plimsoll_text *raw = nullptr;
        plimsoll_status code = plimsoll_memory_report(get(), &raw, failure.out());
        return detail::finish(code, failure, [raw] { return text::adopt(raw); });
    }

    /// What the monitor saw last of a region: -1 is the host's memory, else that of the device with this index.
    ///
    /// Ownership: the caller's. Threads: any. Errors: `invalid_argument` for a region that is not managed. Since: 0.1.
    returned<monitor_snapshot> monitor(std::int32_t region = -1) const {
        detail::call_error failure;
        auto raw = detail::sized<plimsoll_monitor_snapshot>();
        plimsoll_status code = plimsoll_monitor_get_snapshot(get(), region, &raw, failure.out());
        return detail::finish(code, failure, [&raw] { return monitor_snapshot::from(raw); });
    }

    /// The snapshots that are kept as a JSON object: "regions", each with its "snapshots", and "system", the oldest first.
    ///
    /// Ownership: the text owns it. Threads: any. Errors: none but `internal`. Since: 0.1.
    returned<text> monitor_history_json() const {
        detail::call_error failure;
        plimsoll_text *raw = nullptr;
        plimsoll_status code = plimsoll_monitor_history_json(get(), &raw, failure.out());
        return detail::finish(code, failure, [raw] { return text::adopt(raw); });
    }

    /// The alerts as a JSON object: "active", "cleared" (the last 32), and "raised", which counts them by kind.
    ///
    /// Ownership: the text owns it. Threads: any. Errors: none but `internal`. Since: 0.1.
    returned<text> monitor_alerts_json() const {
        detail::call_error failure;
        plimsoll_text *raw = nullptr;
        plimsoll_status code = plimsoll_monitor_alerts_json(get(), &raw, failure.out());
        return detail::finish(code, failure, [raw] { return text::adopt(raw); });
    }

    /// Has `function` hear of every alert from now on, in place of who did before; an empty one ends it. What it throws ends
    /// there; alerts_lost() counts it.
    ///
    /// Ownership: keeps `function` until another takes its place, or runtime, models and sessions are gone, and no alert is on
    /// its way to it. Threads: any. Errors: none but `internal`; std::bad_alloc. Since: 0.1.
    returned<void> on_alert(alert_callback function) const {
        detail::call_error failure;
        if (!function) {
            plimsoll_status code = plimsoll_monitor_on_alert(get(), nullptr, nullptr, nullptr, failure.out());
            return detail::finish(code, failure);
        }
        auto kept = std::make_unique<alert_callback>(std::move(function));
        /* The library drops it exactly once, also when the call fails. */
        plimsoll_status code =
            plimsoll_monitor_on_alert(get(), detail::on_alert, kept.release(), detail::on_alert_drop, failure.out());
        return detail::finish(code, failure);
    }

    /// Registers a function that frees memory in cleanups, after those registered before it. `name` stands for it in the
    /// statistics.
    ///
    /// Ownership: copies `name`; keeps `function` until it is taken back, or runtime, models and sessions are gone, and it does
    /// not run. Threads: any. Errors: `null_pointer` for an empty function, `invalid_utf8`; std::bad_alloc. Since: 0.1.
    returned<cleanup_id> on_cleanup(std::string_view name, cleanup_callback function) const {
        detail::call_error failure;
        cleanup_id id;
        auto *call = function ? detail::on_cleanup : nullptr;
        auto kept = std::make_unique<cleanup_callback>(std::move(function));
        /* The library drops it exactly once, also when the call fails. */
        plimsoll_status code = plimsoll_cleanup_register(get(), name.data(), name.size(), call, kept.release(),
                                                         detail::on_cleanup_drop, &id.value, failure.out());
        return detail::finish(code, failure, [id] { return id; });
    }

    /// Takes a cleanup function back, also from inside it. If a cleanup runs it now, that goes on to its end.
    ///
    /// Ownership: none. Threads: any. Errors: `invalid_argument` for one that is not registered. Since: 0.1.
    returned<void> remove_cleanup(cleanup_id id) const {
        detail::call_error failure;
        plimsoll_status code = plimsoll_cleanup_unregister(get(), id.value, failure.out());
        return detail::finish(code, failure);
    }

    /// Frees what can be: caches and pools, the KV of all idle sessions, whose conversations stay, and what registered functions
    /// free. Returns the bytes that came back by the books and by a reading of the machine.
    ///
    /// Ownership: none. Threads: any; the functions run on this one. Errors: `busy` while another thread cleans up, `reentrant`
    /// from a cleanup function. Since: 0.1.
    returned<std::uint64_t> cleanup() const {
        detail::call_error failure;
        std::uint64_t freed = 0;
        plimsoll_status code = plimsoll_memory_cleanup(get(), &freed, failure.out());
        return detail::finish(code, failure, [freed] { return freed; });
    }

    /// A buffer of at least `bytes` of host memory from the pool. The guard must grant it at its rounded size: below 1 MiB to
    /// 100 KiB, below 10 MiB to 1 MiB, below 100 MiB to 10 MiB, above to 50 MiB. An idle buffer of that size is used again, with
    /// what was in it; else it is fresh and zero.
    ///
    /// Ownership: the object owns it, and gives it back to the pool. Threads: any. Errors: `memory_refused` with the numbers,
    /// `out_of_memory`, `invalid_argument` for 0 bytes. Since: 0.1.
    returned<buffer> acquire(std::size_t bytes) const {
        detail::call_error failure;
        plimsoll_buffer *raw = nullptr;
        plimsoll_status code = plimsoll_pool_acquire(get(), bytes, &raw, failure.out());
        return detail::finish(code, failure, [raw] { return buffer::adopt(raw); });
    }

    /// What the pool holds and did.
    ///
    /// Ownership: the caller's. Threads: any. Errors: none but `internal`. Since: 0.1.
    returned<pool> pool_stats() const {
        detail::call_error failure;
        auto raw = detail::sized<plimsoll_pool>();
        plimsoll_status code = plimsoll_pool_stats(get(), &raw, failure.out());
        return detail::finish(code, failure, [&raw] { return pool::from(raw); });
    }

    /// Gives all idle buffers back to the system. Returns their bytes; 0 when moved from.
    ///
    /// Ownership: borrows the runtime. Threads: any. Errors: none. Since: 0.1.
    std::uint64_t trim_pool() const noexcept { return plimsoll_pool_trim(get()); }

private:
    friend handle;
    runtime(adopted, plimsoll_runtime *raw) noexcept : handle(raw) {}

    returned<model> attached(std::string_view name, std::string_view text_path, std::unique_ptr<engine> own,
                             const config *settings) const {
        detail::call_error failure;
        plimsoll_model *raw = nullptr;
        plimsoll_status code = PLIMSOLL_ERR_NULL_POINTER;
        if (own != nullptr && (settings == nullptr || *settings)) {
            auto kept = std::make_unique<detail::plugged>();
            kept->own = std::move(own);
            const plimsoll_engine_table table = detail::plugged::table();
            /* The library drops it exactly once, also when the call fails. */
            code = plimsoll_model_attach(get(), name.data(), name.size(), text_path.data(), text_path.size(), &table,
                                         kept.release(), detail::plugged::drop,
                                         settings == nullptr ? nullptr : settings->get(), &raw, failure.out());
        }
        return detail::finish(code, failure, [raw] { return model::adopt(raw); });
    }

    returned<model> loaded(std::string_view name, std::string_view path, const config *settings,
                           const progress_callback &on_progress) const {
        detail::trampoline<progress, plimsoll_progress> watch(on_progress);
        detail::call_error failure;
        plimsoll_model *raw = nullptr;
        plimsoll_status code = PLIMSOLL_ERR_NULL_POINTER;
        if (settings == nullptr || *settings) {
            code = plimsoll_model_load(get(), name.data(), name.size(), path.data(), path.size(),
                                       settings == nullptr ? nullptr : settings->get(), watch.entry(), &watch, &raw,
                                       failure.out());
        }
        /* Owned before anything is thrown. */
        model made_model = model::adopt(raw);
        watch.rethrow();
        return detail::finish(code, failure, [&made_model] { return std::move(made_model); });
    }
};

} // namespace PLIMSOLL_CPP
} // namespace plimsoll

#endif
