/// What the library tells in numbers. The structs are plain values; `from()` reads one from its C struct.
#ifndef PLIMSOLL_STRUCTS_HPP
#define PLIMSOLL_STRUCTS_HPP

#include "error.hpp"

namespace plimsoll {
inline namespace PLIMSOLL_CPP {

/// What the guard knows of host memory and sessions. Sizes are bytes; the rest, each session, each device and the ledger by
/// owner, is in runtime::memory_stats_json().
///
/// Since: 0.1.
struct memory {
    /// What there is: the budget, or what the machine or its cgroup allows.
    std::uint64_t capacity_bytes = 0;
    /// What may be leased of it, after threshold and reserve.
    std::uint64_t limit_bytes = 0;
    /// What is leased.
    std::uint64_t used_bytes = 0;
    /// What may still be leased.
    std::uint64_t free_bytes = 0;
    /// The most that was ever leased at once.
    std::uint64_t peak_bytes = 0;
    /// Leased for weights.
    std::uint64_t weights_bytes = 0;
    /// Leased for workspaces.
    std::uint64_t workspace_bytes = 0;
    /// Leased for KV, in all regions.
    std::uint64_t kv_bytes = 0;
    /// Leased for running requests and for tickets.
    std::uint64_t request_bytes = 0;
    /// Open sessions.
    std::uint64_t active_sessions = 0;
    /// Requests granted as asked.
    std::uint64_t accepted_count = 0;
    /// Requests granted with fewer tokens.
    std::uint64_t shrunk_count = 0;
    /// Requests refused.
    std::uint64_t rejected_count = 0;
    /// Requests given to another engine.
    std::uint64_t routed_count = 0;
    /// Requests that ran degraded under memory pressure.
    std::uint64_t degraded_count = 0;
    /// Times that a session lost its KV.
    std::uint64_t evictions = 0;
    /// Live heap bytes of the library in this process, whatever owns them; 0 when the library does not count them.
    std::uint64_t heap_bytes = 0;
    /// Times that the level of pressure changed.
    std::uint64_t pressure_changes = 0;
    /// How short memory is now.
    plimsoll::pressure pressure{};
    /// Leased for tokenizers and chat templates.
    std::uint64_t text_bytes = 0;
    /// Leased for engines' queues and tables, and for descriptions of models.
    std::uint64_t tables_bytes = 0;
    /// What sessions remember: messages, text, tokens. It is part of the heap; no lease pays for it.
    std::uint64_t talk_bytes = 0;
    /// Bytes that the library has mapped in this process beside its heap: the workspaces of all runtimes, idle ones included.
    std::uint64_t mapped_bytes = 0;
    /// Of these, bytes whose pages are in memory.
    std::uint64_t resident_bytes = 0;
    /// What heap and mappings hold beyond `used_bytes` and what lies idle in the pool; 0 when the library does not count its heap.
    /// A lease for memory of somebody else, such as a plug-in's, hides as much; what another runtime of the process holds counts
    /// here.
    std::uint64_t unbooked_bytes = 0;
    /// Models of the native engine that are loaded, or about to be.
    std::uint64_t models_loaded = 0;
    /// Models that are unloaded until their next request.
    std::uint64_t models_unloaded = 0;
    /// Times that a model was unloaded, to make room or because it was asked for.
    std::uint64_t unloads = 0;
    /// Times that an unloaded model was loaded again.
    std::uint64_t reloads = 0;

    static memory from(const plimsoll_memory &raw) noexcept {
        return {raw.capacity_bytes,  raw.limit_bytes,     raw.used_bytes,     raw.free_bytes,    raw.peak_bytes,
                raw.weights_bytes,   raw.workspace_bytes, raw.kv_bytes,       raw.request_bytes, raw.active_sessions,
                raw.accepted_count,  raw.shrunk_count,    raw.rejected_count, raw.routed_count,  raw.degraded_count,
                raw.evictions,       raw.heap_bytes,      raw.pressure_changes, plimsoll::pressure{raw.pressure},
                raw.text_bytes,      raw.tables_bytes,    raw.talk_bytes,      raw.mapped_bytes,  raw.resident_bytes,
                raw.unbooked_bytes,  raw.models_loaded,   raw.models_unloaded, raw.unloads,       raw.reloads};
    }
};

/// What the monitor saw last of one region, what its snapshots come to, and the machine's figures beside them. Sizes are bytes.
///
/// Since: 0.1.
struct monitor_snapshot {
    /// How long ago it was taken.
    std::chrono::milliseconds age{};
    /// What there is.
    std::uint64_t capacity_bytes = 0;
    /// In use, by plimsoll and by others.
    std::uint64_t used_bytes = 0;
    /// In use by nobody.
    std::uint64_t free_bytes = 0;
    /// Of what is in use, what plimsoll has leased.
    std::uint64_t ours_bytes = 0;
    /// Of what is in use, what others use.
    std::uint64_t others_bytes = 0;
    /// What may still be leased, after threshold and reserve.
    std::uint64_t leasable_bytes = 0;
    /// The most that was in use.
    std::uint64_t peak_bytes = 0;
    /// What was in use on average.
    std::uint64_t average_bytes = 0;
    /// Snapshots taken.
    std::uint64_t snapshots = 0;
    /// Times that it rose to moderate or above.
    std::uint64_t moderate_events = 0;
    /// Times that it rose to high or above.
    std::uint64_t high_events = 0;
    /// Times that it rose to critical.
    std::uint64_t critical_events = 0;
    /// Of the time of the machine's cores, the share that they were busy since the snapshot before; 0 to 1.
    double cpu = 0;
    /// Of the same time, the share that they worked for this process.
    double cpu_own = 0;
    /// The machine's memory, whatever bounds the process; 0 where nothing tells of it, as the next two.
    std::uint64_t memory_total_bytes = 0;
    /// Of it, what can still be taken.
    std::uint64_t memory_available_bytes = 0;
    /// Of it, what this process has in memory.
    std::uint64_t resident_bytes = 0;
    /// Live heap bytes of the library; 0 when it does not count them.
    std::uint64_t heap_bytes = 0;
    /// Of these, what no owner of the ledger has.
    std::uint64_t unbooked_bytes = 0;
    /// Cleanups so far.
    std::uint64_t cleanup_runs = 0;
    /// Bytes that came back in all of them.
    std::uint64_t cleanup_freed_bytes = 0;
    /// How long ago the last one ended.
    std::optional<std::chrono::milliseconds> cleanup_age;
    /// How full the region is.
    memory_level level{};
    /// Alerts that are active.
    std::uint32_t alerts = 0;

    static monitor_snapshot from(const plimsoll_monitor_snapshot &raw) noexcept {
        monitor_snapshot made;
        made.age = std::chrono::milliseconds(static_cast<std::int64_t>(raw.age_ms));
        made.capacity_bytes = raw.capacity_bytes;
        made.used_bytes = raw.used_bytes;
        made.free_bytes = raw.free_bytes;
        made.ours_bytes = raw.ours_bytes;
        made.others_bytes = raw.others_bytes;
        made.leasable_bytes = raw.leasable_bytes;
        made.peak_bytes = raw.peak_bytes;
        made.average_bytes = raw.average_bytes;
        made.snapshots = raw.snapshots;
        made.moderate_events = raw.moderate_events;
        made.high_events = raw.high_events;
        made.critical_events = raw.critical_events;
        made.cpu = raw.cpu;
        made.cpu_own = raw.cpu_own;
        made.memory_total_bytes = raw.memory_total_bytes;
        made.memory_available_bytes = raw.memory_available_bytes;
        made.resident_bytes = raw.resident_bytes;
        made.heap_bytes = raw.heap_bytes;
        made.unbooked_bytes = raw.unbooked_bytes;
        made.cleanup_runs = raw.cleanup_runs;
        made.cleanup_freed_bytes = raw.cleanup_freed_bytes;
        if (raw.cleanup_age_ms >= 0) {
            made.cleanup_age = std::chrono::milliseconds(raw.cleanup_age_ms);
        }
        made.level = memory_level{raw.level};
        made.alerts = raw.alerts;
        return made;
    }
};

/// An alert that was raised or cleared.
///
/// Ownership: borrows its text until the callback returns. Since: 0.1.
struct alert {
    /// What it is about.
    alert_kind kind{};
    /// Whether it was raised; else it is over.
    bool raised = false;
    /// What was measured: a fraction, or evictions a minute. Of a leak the fraction by which bytes per live object rose; 1 where
    /// the object is gone.
    double value = 0;
    /// What it has to be above.
    double threshold = 0;
    /// The bytes in question: used, held, leaked; 0 where it is about requests.
    std::uint64_t bytes = 0;
    /// The session, as the statistics name it; 0 where it is about none.
    std::uint64_t session = 0;
    /// The region: -1 is the host's memory, else it is that of the device with this index; -2 where it is about none.
    std::int32_t region = 0;
    /// All of it in a sentence.
    std::string_view text;

    static alert from(const plimsoll_alert &raw) noexcept {
        return {alert_kind{raw.kind}, raw.raised != 0, raw.value,  raw.threshold,
                raw.bytes,            raw.session,     raw.region, detail::view(raw.text)};
    }
};

/// How far a load is.
///
/// Since: 0.1.
struct progress {
    /// What it is doing.
    load_state state{};
    /// The file being read, from 0; `shards` when all are read.
    std::uint32_t shard = 0;
    /// Files that hold weights.
    std::uint32_t shards = 0;
    /// Bytes of weights read so far.
    std::uint64_t bytes_done = 0;
    /// Bytes of weights to read.
    std::uint64_t bytes_total = 0;

    static progress from(const plimsoll_progress &raw) noexcept {
        return {load_state{raw.state}, raw.shard, raw.shards, raw.bytes_done, raw.bytes_total};
    }
};

/// Facts of a model.
///
/// Since: 0.1.
struct model_facts {
    /// Most tokens of a conversation.
    std::uint32_t context_length = 0;
    /// Token ids are below this.
    std::uint32_t vocab_size = 0;
    /// Bytes of weights in memory.
    std::uint64_t weights_bytes = 0;
    /// Bytes of workspace.
    std::uint64_t workspace_bytes = 0;
    /// Bytes of KV of all its sessions now.
    std::uint64_t kv_bytes = 0;
    /// Tokens per KV block.
    std::uint32_t block_tokens = 0;
    /// Most requests in one batch.
    std::uint32_t max_sequences = 0;
    /// The engine's name.
    std::string engine;
    /// Host bytes leased for it beside weights and workspace: tokenizer, chat template, the engine's tables; 0 for a plug-in.
    std::uint64_t host_bytes = 0;

    static model_facts from(const plimsoll_model_facts &raw) {
        return {raw.context_length, raw.vocab_size,   raw.weights_bytes, raw.workspace_bytes,
                raw.kv_bytes,       raw.block_tokens, raw.max_sequences, std::string(detail::view(raw.engine)),
                raw.host_bytes};
    }
};

/// One message of a conversation, for model::render().
///
/// Ownership: borrows both texts. Since: 0.1.
struct message {
    /// Who speaks: "system", "user", "assistant".
    std::string_view role;
    /// What is said.
    std::string_view content;
};

/// What was decided about a request, and every number behind it. Sizes are bytes.
///
/// Since: 0.1.
struct verdict {
    /// The decision.
    plimsoll::decision decision{};
    /// max_tokens asked for.
    std::uint32_t asked_tokens = 0;
    /// max_tokens granted; 0 when refused.
    std::uint32_t granted_tokens = 0;
    /// The largest max_tokens that would be granted now.
    std::uint32_t fits_tokens = 0;
    /// New bytes that the request needs.
    std::uint64_t bytes_asked = 0;
    /// Bytes free for it, before anything is evicted.
    std::uint64_t bytes_free = 0;
    /// KV of the whole session when the request ends at its longest.
    std::uint64_t kv_bytes = 0;
    /// Of these, what the session holds already.
    std::uint64_t kv_held_bytes = 0;
    /// Host bytes of the request itself.
    std::uint64_t request_bytes = 0;
    /// The engine's workspace that the request shares; paid when the model was loaded.
    std::uint64_t workspace_bytes = 0;
    /// KV that idle sessions lose for this request; their conversations stay.
    std::uint64_t evict_bytes = 0;
    /// How many sessions these are.
    std::uint32_t evict_sessions = 0;
    /// Of a refusal, after what time to try again; nothing for a grant and for what can never fit.
    std::optional<std::chrono::milliseconds> retry_after;
    /// What bounds the request, such as "fits", "context", "budget", "session_limit"; static.
    std::string_view reason;
    /// How short memory was.
    plimsoll::pressure pressure{};
    /// The memory that bounds the request: -1 is the host's, else it is that of the device with this index.
    std::int32_t region = -1;
    /// How long the request waited for this.
    std::chrono::milliseconds waited{0};
    /// Of a refusal, the request's place in the line, or the one that it would have had; the first is 1. 0 for a grant, and
    /// where waiting does not help.
    std::uint32_t position = 0;
    /// What loading the request's model again takes, of the bytes asked; 0 for one that is loaded.
    std::uint64_t load_bytes = 0;
    /// What idle models take that are unloaded for this request.
    std::uint64_t unload_bytes = 0;
    /// How many models these are.
    std::uint64_t unload_models = 0;
    /// How many answers this is about. Bytes are those of all together, tokens those of each.
    std::uint32_t answers = 1;
    /// Where the KV is: -1 is the host's memory, else that of the device with this index.
    std::int32_t kv_region = -1;

    /// Whether the request would run.
    bool is_granted() const noexcept { return decision != plimsoll::decision::reject; }

    static verdict from(const plimsoll_verdict &raw) noexcept {
        verdict v{plimsoll::decision{raw.decision}, raw.asked_tokens,  raw.granted_tokens,  raw.fits_tokens,
                  raw.bytes_asked,                  raw.bytes_free,    raw.kv_bytes,        raw.kv_held_bytes,
                  raw.request_bytes,                raw.workspace_bytes, raw.evict_bytes,   raw.evict_sessions,
                  std::nullopt,                     detail::view(raw.reason), plimsoll::pressure{raw.pressure}, raw.region,
                  std::chrono::milliseconds(raw.waited_ms), raw.position, raw.load_bytes, raw.unload_bytes,
                  raw.unload_models, raw.answers, raw.kv_region};
        if (raw.retry_after_ms >= 0) {
            v.retry_after = std::chrono::milliseconds(raw.retry_after_ms);
        }
        return v;
    }
};

/// One of the likeliest tokens at a position: its id `token`, and `logprob`, the natural logarithm of its probability.
///
/// Since: 0.1.
using token_logprob = plimsoll_logprob;

/// The `token` of an event that has none.
inline constexpr std::uint32_t no_token = UINT32_MAX;

/// Something that happened in a running request.
///
/// Ownership: borrows `top` and `text`, which live until the callback returns or the next call on the stream. Since: 0.1.
struct event {
    /// What it is.
    event_kind kind{};
    /// The token's id; no_token where there is none.
    std::uint32_t token = no_token;
    /// The natural logarithm of its probability, before sampling settings; 0 where there is no token.
    float logprob = 0;
    /// The likeliest tokens at this position, likeliest first, when the request asked for them.
    span<const token_logprob> top;
    /// Text that is now certain: whole UTF-8 characters, and no part of a stop string. Often empty.
    std::string_view text;
    /// Which answer it is of: 0 for the first, which is the only one unless the request asks for more.
    std::uint32_t answer = 0;

    static event from(const plimsoll_event &raw) noexcept {
        return {event_kind{raw.kind},   raw.token, raw.logprob, {raw.top, raw.top_count},
                detail::view(raw.text), raw.answer};
    }
};

/// Bits of result::degraded: memory pressure left fewer tokens.
inline constexpr std::uint32_t degraded_tokens = PLIMSOLL_DEGRADED_TOKENS;
/// It lowered top_p.
inline constexpr std::uint32_t degraded_top_p = PLIMSOLL_DEGRADED_TOP_P;
/// It lowered the temperature; at 0 the answer is greedy.
inline constexpr std::uint32_t degraded_temperature = PLIMSOLL_DEGRADED_TEMPERATURE;

/// A finished answer's numbers.
///
/// Since: 0.1.
struct result {
    /// Why the answer ended.
    plimsoll::ending ending{};
    /// What was decided before.
    plimsoll::decision decision{};
    /// Tokens of the conversation up to where the answer began.
    std::uint32_t prompt_tokens = 0;
    /// Of these, tokens whose KV the session already held.
    std::uint32_t cached_tokens = 0;
    /// Tokens generated, an end-of-text token left out.
    std::uint32_t generated_tokens = 0;
    /// max_tokens granted.
    std::uint32_t granted_tokens = 0;
    /// From submission to the first step.
    std::chrono::microseconds queued{};
    /// From the first step to the first token.
    std::chrono::microseconds prefill{};
    /// From the first token to the last.
    std::chrono::microseconds decode{};
    /// Generated tokens per second after the first; 0 for fewer than two.
    double tokens_per_second = 0;
    /// Bytes that were leased for this request.
    std::uint64_t leased_bytes = 0;
    /// Bytes of KV that the session holds now.
    std::uint64_t kv_bytes = 0;
    /// Bytes free in the region of the KV now.
    std::uint64_t bytes_free = 0;
    /// How short memory was when the request was admitted.
    plimsoll::pressure pressure{};
    /// What that changed: bits of degraded_tokens, degraded_top_p and degraded_temperature.
    std::uint32_t degraded = 0;
    /// Which answer this is; the conversation goes on with 0.
    std::uint32_t answer = 0;
    /// How many there are.
    std::uint32_t answers = 1;

    static result from(const plimsoll_result &raw) noexcept {
        return {plimsoll::ending{raw.ending},
                plimsoll::decision{raw.decision},
                raw.prompt_tokens,
                raw.cached_tokens,
                raw.generated_tokens,
                raw.granted_tokens,
                std::chrono::microseconds(raw.queued_us),
                std::chrono::microseconds(raw.prefill_us),
                std::chrono::microseconds(raw.decode_us),
                raw.tokens_per_second,
                raw.leased_bytes,
                raw.kv_bytes,
                raw.bytes_free,
                plimsoll::pressure{raw.pressure},
                raw.degraded,
                raw.answer,
                raw.answers};
    }
};

} // namespace PLIMSOLL_CPP
} // namespace plimsoll

#endif
