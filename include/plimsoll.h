/* plimsoll: an embeddable LLM runtime that never runs out of memory.
 *
 * Conventions of every call:
 * - A fallible call returns PLIMSOLL_OK (0) or a PLIMSOLL_ERR_* code, writes its outputs only on PLIMSOLL_OK, and when
 *   `error` is not NULL fills it on failure with an error that the caller frees with plimsoll_error_free().
 * - Text goes in as pointer and length, UTF-8, without a final NUL; NULL is allowed for length 0. Text comes out borrowed,
 *   for as long as its call says, or as an owned handle. Nothing is freed with free().
 * - Handles are opaque. What is made from another handle keeps what it needs of it, so handles may be freed in any order;
 *   every _free and _unload accepts NULL. Freeing a handle that another thread uses is the caller's error.
 * - `const T *` may be used by several threads at once; `T *` by one thread at a time, whichever it is.
 * - A struct whose first member is struct_size is the caller's: set struct_size to its sizeof before the call. The library
 *   writes no more than that. Members are only ever appended.
 * - No call unwinds, throws or aborts. After a panic inside the library a call returns PLIMSOLL_ERR_INTERNAL, and its session
 *   or stream can only be freed; everything else works on.
 *
 * This file is generated; do not edit it.
 */

#ifndef PLIMSOLL_H
#define PLIMSOLL_H

#include <stddef.h>
#include <stdint.h>

/** The version that this header was released with. */
#define PLIMSOLL_VERSION_MAJOR 0
#define PLIMSOLL_VERSION_MINOR 1
#define PLIMSOLL_VERSION_PATCH 0

/**
 * The number of the ABI. It grows when calls or members are added; it never breaks a program built for a smaller one.
 */
#define PLIMSOLL_ABI_VERSION 2

/**
 * Success.
 */
#define PLIMSOLL_OK 0

/**
 * An argument is out of its range.
 */
#define PLIMSOLL_ERR_INVALID_ARGUMENT 100

/**
 * A required pointer is NULL.
 */
#define PLIMSOLL_ERR_NULL_POINTER 101

/**
 * Text is not UTF-8.
 */
#define PLIMSOLL_ERR_INVALID_UTF8 102

/**
 * A configuration key is unknown or its value does not parse.
 */
#define PLIMSOLL_ERR_INVALID_CONFIG 103

/**
 * The struct_size of a caller's struct is not set.
 */
#define PLIMSOLL_ERR_INVALID_STRUCT_SIZE 104

/**
 * A blocking call was made on a handle from inside its own callback.
 */
#define PLIMSOLL_ERR_REENTRANT 105

/**
 * The ticket's time is over; its bytes are back.
 */
#define PLIMSOLL_ERR_TICKET_EXPIRED 106

/**
 * The ticket was used before.
 */
#define PLIMSOLL_ERR_TICKET_CONSUMED 107

/**
 * The ticket was granted for another session, request or turn.
 */
#define PLIMSOLL_ERR_TICKET_MISMATCH 108

/**
 * A panic happened in this handle before; it can only be freed.
 */
#define PLIMSOLL_ERR_POISONED 109

/**
 * The library has this call but not yet this use of it.
 */
#define PLIMSOLL_ERR_UNSUPPORTED 110

/**
 * The request has no message, no text and no tokens.
 */
#define PLIMSOLL_ERR_EMPTY_REQUEST 111

/**
 * The conversation does not fit in the model's context.
 */
#define PLIMSOLL_ERR_PROMPT_TOO_LONG 112

/**
 * A token id is not below the vocabulary's size.
 */
#define PLIMSOLL_ERR_INVALID_TOKEN 113

/**
 * The guard refused: the bytes are not there. The error carries the numbers.
 */
#define PLIMSOLL_ERR_MEMORY_REFUSED 200

/**
 * The system refused memory that the guard had granted.
 */
#define PLIMSOLL_ERR_OUT_OF_MEMORY 201

/**
 * Too many requests wait.
 */
#define PLIMSOLL_ERR_QUEUE_FULL 202

/**
 * The session has a request, a stream or a ticket outstanding.
 */
#define PLIMSOLL_ERR_BUSY 203

/**
 * No model at this path, or a file of it is missing or unreadable.
 */
#define PLIMSOLL_ERR_MODEL_NOT_FOUND 300

/**
 * A model file is damaged or contradicts itself.
 */
#define PLIMSOLL_ERR_MODEL_MALFORMED 301

/**
 * The model is of a kind that is not supported.
 */
#define PLIMSOLL_ERR_MODEL_UNSUPPORTED 302

/**
 * The tokenizer cannot be built or cannot encode a text.
 */
#define PLIMSOLL_ERR_TOKENIZER 303

/**
 * The chat template is missing, or failed, or went over its limits.
 */
#define PLIMSOLL_ERR_TEMPLATE 304

/**
 * The engine failed while it ran a request.
 */
#define PLIMSOLL_ERR_ENGINE_FAILED 305

/**
 * The engine is shutting down.
 */
#define PLIMSOLL_ERR_ENGINE_CLOSED 306

/**
 * Loading was stopped by the caller's progress callback.
 */
#define PLIMSOLL_ERR_LOAD_CANCELLED 307

/**
 * A fault of plimsoll: a caught panic or a broken invariant.
 */
#define PLIMSOLL_ERR_INTERNAL 900

/**
 * Section of arguments, configuration and requests.
 */
#define PLIMSOLL_SECTION_REQUEST 1

/**
 * Section of reading models.
 */
#define PLIMSOLL_SECTION_LOADING 2

/**
 * Section of memory and admission.
 */
#define PLIMSOLL_SECTION_MEMORY 3

/**
 * Section of running models.
 */
#define PLIMSOLL_SECTION_GENERATION 4

/**
 * Section of freeing and evicting.
 */
#define PLIMSOLL_SECTION_CLEANUP 5

/**
 * Section of engines' health.
 */
#define PLIMSOLL_SECTION_HEALTH 6

/**
 * Section of credentials.
 */
#define PLIMSOLL_SECTION_AUTHENTICATION 7

/**
 * Section of plimsoll's own faults.
 */
#define PLIMSOLL_SECTION_INTERNAL 9

/**
 * Nothing.
 */
#define PLIMSOLL_LOG_OFF 0

/**
 * What failed.
 */
#define PLIMSOLL_LOG_ERROR 1

/**
 * What looks wrong.
 */
#define PLIMSOLL_LOG_WARN 2

/**
 * Models, sessions, decisions.
 */
#define PLIMSOLL_LOG_INFO 3

/**
 * Every request.
 */
#define PLIMSOLL_LOG_DEBUG 4

/**
 * Every step.
 */
#define PLIMSOLL_LOG_TRACE 5

/**
 * Less than 0.60 of the capacity is in use.
 */
#define PLIMSOLL_MEMORY_LOW 0

/**
 * From 0.60 on.
 */
#define PLIMSOLL_MEMORY_MODERATE 1

/**
 * From 0.80 on.
 */
#define PLIMSOLL_MEMORY_HIGH 2

/**
 * From 0.90 on.
 */
#define PLIMSOLL_MEMORY_CRITICAL 3

/**
 * A region is used above `monitor.alert_pressure`.
 */
#define PLIMSOLL_ALERT_PRESSURE 0

/**
 * A session holds more of its KV limit than `monitor.alert_session`.
 */
#define PLIMSOLL_ALERT_SESSION 1

/**
 * More of the requests are refused than `monitor.alert_refusals`.
 */
#define PLIMSOLL_ALERT_REFUSALS 2

/**
 * There are more evictions a minute than `monitor.alert_evictions`.
 */
#define PLIMSOLL_ALERT_EVICTIONS 3

/**
 * Bytes per live object rise steadily, or outlive their object.
 */
#define PLIMSOLL_ALERT_LEAK 4

/**
 * It has its memory and waits to read.
 */
#define PLIMSOLL_LOAD_QUEUED 0

/**
 * Weights come in from their files.
 */
#define PLIMSOLL_LOAD_READING 1

/**
 * Workspace and decoder are being set up.
 */
#define PLIMSOLL_LOAD_PREPARING 2

/**
 * A first token has gone through every layer.
 */
#define PLIMSOLL_LOAD_WARM 3

/**
 * Requests are taken.
 */
#define PLIMSOLL_LOAD_READY 4

/**
 * It ended with an error, which the call returns.
 */
#define PLIMSOLL_LOAD_FAILED 5

/**
 * The version of the interface between library and plug-ins. A plug-in puts the one of its header into its table; the library
 * takes all up to its own.
 */
#define PLIMSOLL_ENGINE_ABI_VERSION 1

/**
 * It runs as asked.
 */
#define PLIMSOLL_DECISION_ACCEPT 1

/**
 * It runs with fewer tokens.
 */
#define PLIMSOLL_DECISION_SHRINK 2

/**
 * Another engine takes it.
 */
#define PLIMSOLL_DECISION_ROUTE 3

/**
 * It does not run.
 */
#define PLIMSOLL_DECISION_REJECT 4

/**
 * There is enough memory.
 */
#define PLIMSOLL_PRESSURE_LOW 0

/**
 * 0.9 of the tokens, top_p at most 0.9.
 */
#define PLIMSOLL_PRESSURE_MEDIUM 1

/**
 * 0.7 of the tokens, temperature at most 0.5, half of the batch at once.
 */
#define PLIMSOLL_PRESSURE_HIGH 2

/**
 * Half of the tokens, greedy, a quarter of the batch.
 */
#define PLIMSOLL_PRESSURE_CRITICAL 3

/**
 * 0.3 of the tokens, greedy, one request at a time.
 */
#define PLIMSOLL_PRESSURE_EMERGENCY 4

/**
 * A token came, with the text that is now certain.
 */
#define PLIMSOLL_EVENT_TOKEN 1

/**
 * Text that was held back is released; there is no token.
 */
#define PLIMSOLL_EVENT_TEXT 2

/**
 * The answer has ended; from plimsoll_stream_next() only.
 */
#define PLIMSOLL_EVENT_END 3

/**
 * Nothing came in time; from plimsoll_stream_next() only.
 */
#define PLIMSOLL_EVENT_TIMEOUT 4

/**
 * The model ended the answer.
 */
#define PLIMSOLL_ENDING_END_OF_TEXT 1

/**
 * The granted tokens are used up.
 */
#define PLIMSOLL_ENDING_LENGTH 2

/**
 * A stop string came.
 */
#define PLIMSOLL_ENDING_STOP_STRING 3

/**
 * The callback stopped it.
 */
#define PLIMSOLL_ENDING_STOPPED 4

/**
 * It was cancelled.
 */
#define PLIMSOLL_ENDING_CANCELLED 5

/**
 * Its deadline passed.
 */
#define PLIMSOLL_ENDING_DEADLINE 6

/**
 * Memory pressure left fewer tokens.
 */
#define PLIMSOLL_DEGRADED_TOKENS 1

/**
 * Memory pressure lowered top_p.
 */
#define PLIMSOLL_DEGRADED_TOP_P 2

/**
 * Memory pressure lowered the temperature; at 0 the answer is greedy.
 */
#define PLIMSOLL_DEGRADED_TEMPERATURE 4

/**
 * Host memory from the pool, leased until it is released.
 */
typedef struct plimsoll_buffer plimsoll_buffer;

/**
 * A flag that ends every request it was given to. It may be freed while they run: each holds its own reference.
 */
typedef struct plimsoll_cancel plimsoll_cancel;

/**
 * Settings for a runtime, a model or a session, as keys and values. Every key has a default.
 */
typedef struct plimsoll_config plimsoll_config;

/**
 * An error: a code, its section, a text with its causes, and for refusals the numbers.
 */
typedef struct plimsoll_error plimsoll_error;

/**
 * A loaded model under a logical name.
 */
typedef struct plimsoll_model plimsoll_model;

/**
 * What to say, how to choose tokens, when to stop. A request can be run again and again, also in several sessions.
 */
typedef struct plimsoll_request plimsoll_request;

/**
 * A runtime: one memory guard, and the models under it.
 */
typedef struct plimsoll_runtime plimsoll_runtime;

/**
 * A conversation with a model.
 */
typedef struct plimsoll_session plimsoll_session;

/**
 * A running request whose events are pulled.
 */
typedef struct plimsoll_stream plimsoll_stream;

/**
 * Text that the caller owns.
 */
typedef struct plimsoll_text plimsoll_text;

/**
 * Bytes granted for one run of one request in one session. They return when the run ends, when the ticket is freed, or when
 * it expires.
 */
typedef struct plimsoll_ticket plimsoll_ticket;

/**
 * The outcome of a call: `PLIMSOLL_OK` (0), or one of the `PLIMSOLL_ERR_*` codes. 1xx are the caller's mistakes, 2xx
 * resources, 3xx model and engine, 4xx network, 9xx internal. Numbers are never changed and never reused.
 */
typedef int32_t plimsoll_status;

/**
 * Borrowed bytes, UTF-8 unless stated otherwise, without a final NUL. The function that returns it says for how long
 * they live. `ptr` is never NULL when `len` is not 0.
 */
typedef struct {
    /**
     * The first byte.
     */
    const char *ptr;
    /**
     * How many bytes.
     */
    size_t len;
} plimsoll_str;

/**
 * Hears of a log line: its level, the module that wrote it, and its text, both living until it returns. It is called from
 * any thread, several at once; it must not throw and must not call plimsoll_log_set().
 */
typedef void (*plimsoll_on_log)(int32_t level, plimsoll_str target, plimsoll_str text, void *user_data);

/**
 * Called once with the user data of a registration that has ended.
 */
typedef void (*plimsoll_on_drop)(void *user_data);

/**
 * What the guard knows of host memory and sessions. Sizes are bytes; the rest, each session, each device and the ledger by
 * owner, is in plimsoll_memory_stats_json().
 */
typedef struct {
    /**
     * In: bytes of this struct. Out: bytes of it that were written.
     */
    size_t struct_size;
    /**
     * What there is: the budget, or what the machine or its cgroup allows.
     */
    uint64_t capacity_bytes;
    /**
     * What may be leased of it, after threshold and reserve.
     */
    uint64_t limit_bytes;
    /**
     * What is leased.
     */
    uint64_t used_bytes;
    /**
     * What may still be leased.
     */
    uint64_t free_bytes;
    /**
     * The most that was ever leased at once.
     */
    uint64_t peak_bytes;
    /**
     * Leased for weights.
     */
    uint64_t weights_bytes;
    /**
     * Leased for workspaces.
     */
    uint64_t workspace_bytes;
    /**
     * Leased for KV, in all regions.
     */
    uint64_t kv_bytes;
    /**
     * Leased for running requests and for tickets.
     */
    uint64_t request_bytes;
    /**
     * Open sessions.
     */
    uint64_t active_sessions;
    /**
     * Requests granted as asked.
     */
    uint64_t accepted_count;
    /**
     * Requests granted with fewer tokens.
     */
    uint64_t shrunk_count;
    /**
     * Requests refused.
     */
    uint64_t rejected_count;
    /**
     * Requests given to another engine.
     */
    uint64_t routed_count;
    /**
     * Requests that ran degraded under memory pressure.
     */
    uint64_t degraded_count;
    /**
     * Times that a session lost its KV.
     */
    uint64_t evictions;
    /**
     * Live heap bytes of the library in this process, whatever owns them; 0 when the library does not count them.
     */
    uint64_t heap_bytes;
    /**
     * Times that the level of pressure changed.
     */
    uint64_t pressure_changes;
    /**
     * How short memory is now, one of `PLIMSOLL_PRESSURE_*`.
     */
    int32_t pressure;
    /**
     * Always 0.
     */
    uint32_t reserved;
    /**
     * Leased for tokenizers and chat templates.
     */
    uint64_t text_bytes;
    /**
     * Leased for engines' queues and tables, and for descriptions of models.
     */
    uint64_t tables_bytes;
    /**
     * What sessions remember: messages, text, tokens. It is part of the heap; no lease pays for it, and of a
     * configured budget so much less may be granted.
     */
    uint64_t talk_bytes;
    /**
     * Bytes that the library has mapped in this process beside its heap: the workspaces of all runtimes, idle ones included.
     */
    uint64_t mapped_bytes;
    /**
     * Of these, bytes whose pages are in memory.
     */
    uint64_t resident_bytes;
    /**
     * What heap and mappings hold beyond `used_bytes` and what lies idle in the pool; 0 when the library does not count its heap.
     * A lease for memory of somebody else, such as a plug-in's, hides as much; what another runtime of the process holds counts
     * here.
     */
    uint64_t unbooked_bytes;
    /**
     * Models of the native engine that are loaded, or about to be.
     */
    uint64_t models_loaded;
    /**
     * Models that are unloaded until their next request.
     */
    uint64_t models_unloaded;
    /**
     * Times that a model was unloaded, to make room or because it was asked for.
     */
    uint64_t unloads;
    /**
     * Times that an unloaded model was loaded again.
     */
    uint64_t reloads;
} plimsoll_memory;

/**
 * What the pool holds and did. Sizes are bytes. The figures named `engine_` are of the library's own memory, workspaces of models and
 * rings of requests; the others are of buffers from plimsoll_pool_acquire().
 */
typedef struct {
    /**
     * In: bytes of this struct. Out: bytes of it that were written.
     */
    size_t struct_size;
    /**
     * Buffers in use: their rounded sizes, which are leased.
     */
    uint64_t in_use_bytes;
    /**
     * Idle buffers, which are leased to nobody.
     */
    uint64_t idle_bytes;
    /**
     * The most that idle buffers may have, those of the library's own included.
     */
    uint64_t pool_limit_bytes;
    /**
     * Buffers in use.
     */
    uint64_t buffers_in_use;
    /**
     * Idle buffers.
     */
    uint64_t buffers_idle;
    /**
     * Times that an idle buffer was used again.
     */
    uint64_t hits;
    /**
     * Times that a buffer came from the system.
     */
    uint64_t misses;
    /**
     * Idle buffers that went back to the system.
     */
    uint64_t pool_evictions;
    /**
     * Workspaces and rings in use, which are leased to their models and requests.
     */
    uint64_t engine_in_use_bytes;
    /**
     * Idle ones, which are leased to nobody.
     */
    uint64_t engine_idle_bytes;
    /**
     * Workspaces and rings in use.
     */
    uint64_t engine_buffers_in_use;
    /**
     * Idle ones.
     */
    uint64_t engine_buffers_idle;
    /**
     * Times that an idle one was used again.
     */
    uint64_t engine_hits;
    /**
     * Times that one came from the system.
     */
    uint64_t engine_misses;
    /**
     * Idle ones that went back to the system.
     */
    uint64_t engine_evictions;
} plimsoll_pool;

/**
 * What the monitor saw last of one region, what its snapshots come to since the runtime was made, and the machine's figures
 * beside them. Sizes are bytes, times milliseconds.
 */
typedef struct {
    /**
     * In: bytes of this struct. Out: bytes of it that were written.
     */
    size_t struct_size;
    /**
     * How long ago it was taken.
     */
    uint64_t age_ms;
    /**
     * What there is.
     */
    uint64_t capacity_bytes;
    /**
     * In use, by plimsoll and by others.
     */
    uint64_t used_bytes;
    /**
     * In use by nobody.
     */
    uint64_t free_bytes;
    /**
     * Of what is in use, what plimsoll has leased.
     */
    uint64_t ours_bytes;
    /**
     * Of what is in use, what others use.
     */
    uint64_t others_bytes;
    /**
     * What may still be leased, after threshold and reserve.
     */
    uint64_t leasable_bytes;
    /**
     * The most that was in use.
     */
    uint64_t peak_bytes;
    /**
     * What was in use on average.
     */
    uint64_t average_bytes;
    /**
     * Snapshots taken.
     */
    uint64_t snapshots;
    /**
     * Times that it rose to moderate or above.
     */
    uint64_t moderate_events;
    /**
     * Times that it rose to high or above.
     */
    uint64_t high_events;
    /**
     * Times that it rose to critical.
     */
    uint64_t critical_events;
    /**
     * Of the time of the machine's cores, the share that they were busy since the snapshot before; 0 to 1.
     */
    double cpu;
    /**
     * Of the same time, the share that they worked for this process.
     */
    double cpu_own;
    /**
     * The machine's memory, whatever bounds the process; 0 where nothing tells of it, as the next two.
     */
    uint64_t memory_total_bytes;
    /**
     * Of it, what can still be taken.
     */
    uint64_t memory_available_bytes;
    /**
     * Of it, what this process has in memory.
     */
    uint64_t resident_bytes;
    /**
     * Live heap bytes of the library; 0 when it does not count them.
     */
    uint64_t heap_bytes;
    /**
     * Of these, what no owner of the ledger has.
     */
    uint64_t unbooked_bytes;
    /**
     * Cleanups so far.
     */
    uint64_t cleanup_runs;
    /**
     * Bytes that came back in all of them.
     */
    uint64_t cleanup_freed_bytes;
    /**
     * How long ago the last one ended; -1 before the first.
     */
    int64_t cleanup_age_ms;
    /**
     * How full the region is, one of `PLIMSOLL_MEMORY_*`.
     */
    int32_t level;
    /**
     * Alerts that are active.
     */
    uint32_t alerts;
} plimsoll_monitor_snapshot;

/**
 * An alert that was raised or cleared.
 */
typedef struct {
    /**
     * Bytes of this struct that the library filled.
     */
    size_t struct_size;
    /**
     * One of `PLIMSOLL_ALERT_*`.
     */
    int32_t kind;
    /**
     * 1 when it was raised, 0 when it is over.
     */
    int32_t raised;
    /**
     * What was measured: a fraction, or evictions a minute. Of a leak the fraction by which bytes per live object rose; 1 where
     * the object is gone.
     */
    double value;
    /**
     * What it has to be above.
     */
    double threshold;
    /**
     * The bytes in question: used, held, leaked; 0 where it is about requests.
     */
    uint64_t bytes;
    /**
     * The session, as the statistics name it; 0 where it is about none.
     */
    uint64_t session;
    /**
     * The region: -1 is the host's memory, else it is that of the device with this index; -2 where it is about none.
     */
    int32_t region;
    /**
     * Always 0.
     */
    uint32_t reserved;
    /**
     * All of it in a sentence; lives until the callback returns.
     */
    plimsoll_str text;
} plimsoll_alert;

/**
 * Hears of an alert. `alert` lives until it returns. It runs on a thread of the library, or on the one that asked for a
 * snapshot, with no lock held; any call may be made inside. It must not throw.
 */
typedef void (*plimsoll_on_alert)(const plimsoll_alert *alert, void *user_data);

/**
 * Frees memory of the host's. `bytes_wanted` is how much is needed, `UINT64_MAX` for all there is. Returns how many bytes it
 * believes to have freed, `UINT64_MAX` when it failed, which is counted. It runs on a thread of the library, or on the one that
 * asked for a cleanup, one thread at a time and with no lock held; any call may be made inside but plimsoll_memory_cleanup().
 * It must not throw.
 */
typedef uint64_t (*plimsoll_on_cleanup)(uint64_t bytes_wanted, void *user_data);

/**
 * How far a load is.
 */
typedef struct {
    /**
     * Bytes of this struct that the library filled.
     */
    size_t struct_size;
    /**
     * One of `PLIMSOLL_LOAD_*`.
     */
    int32_t state;
    /**
     * The file being read, from 0; `shards` when all are read.
     */
    uint32_t shard;
    /**
     * Files that hold weights.
     */
    uint32_t shards;
    /**
     * Always 0.
     */
    uint32_t reserved;
    /**
     * Bytes of weights read so far.
     */
    uint64_t bytes_done;
    /**
     * Bytes of weights to read.
     */
    uint64_t bytes_total;
} plimsoll_progress;

/**
 * Hears of a load's progress; runs on the loading thread. Returns 0 to go on, anything else to stop the load. `progress`
 * lives until it returns. It may use other models; what needs the one that is being loaded, a load of the same files or a request
 * of a session that it had before, is refused with `REENTRANT`.
 */
typedef int32_t (*plimsoll_on_progress)(const plimsoll_progress *progress, void *user_data);

/**
 * Facts of a model.
 */
typedef struct {
    /**
     * In: bytes of this struct. Out: bytes of it that were written.
     */
    size_t struct_size;
    /**
     * Most tokens of a conversation.
     */
    uint32_t context_length;
    /**
     * Token ids are below this.
     */
    uint32_t vocab_size;
    /**
     * Bytes of weights in memory.
     */
    uint64_t weights_bytes;
    /**
     * Bytes of workspace.
     */
    uint64_t workspace_bytes;
    /**
     * Bytes of KV of all its sessions now.
     */
    uint64_t kv_bytes;
    /**
     * Tokens per KV block.
     */
    uint32_t block_tokens;
    /**
     * Most requests in one batch.
     */
    uint32_t max_sequences;
    /**
     * The engine's name; lives as long as the model.
     */
    plimsoll_str engine;
    /**
     * Host bytes leased for it beside weights and workspace: tokenizer, chat template, the engine's tables; 0 for a plug-in.
     */
    uint64_t host_bytes;
} plimsoll_model_facts;

/**
 * One message of a conversation, for plimsoll_model_render().
 */
typedef struct {
    /**
     * Who speaks: "system", "user", "assistant".
     */
    plimsoll_str role;
    /**
     * What is said.
     */
    plimsoll_str content;
} plimsoll_message;

/**
 * What a plug-in engine is, and what it holds besides its requests. Filled by the plug-in's `describe`; the library has set
 * struct_size and all else to 0, and checks what comes back.
 */
typedef struct {
    /**
     * Bytes of this struct; write no member beyond them.
     */
    size_t struct_size;
    /**
     * Most tokens of a conversation: 1 to 2^30.
     */
    uint32_t context_length;
    /**
     * Token ids are below this: 1 to 2^30.
     */
    uint32_t vocab_size;
    /**
     * Tokens per KV block: 1 to context_length.
     */
    uint32_t block_tokens;
    /**
     * Most requests that run at once: 1 to 65536.
     */
    uint32_t max_sequences;
    /**
     * Bytes of weights, leased before `load`.
     */
    uint64_t weights_bytes;
    /**
     * Bytes of workspace that all requests share, leased before `load`.
     */
    uint64_t workspace_bytes;
    /**
     * The engine's name, UTF-8, 1 to 64 bytes; copied.
     */
    const char *name;
    /**
     * Bytes of the name.
     */
    size_t name_len;
} plimsoll_engine_description;

/**
 * A token that a plug-in has chosen.
 */
typedef struct {
    /**
     * Bytes of this struct, set by the plug-in.
     */
    size_t struct_size;
    /**
     * Its id, below the vocabulary's size.
     */
    uint32_t token;
    /**
     * The natural logarithm of its probability under the model: finite, at most 0.
     */
    float logprob;
    /**
     * The likeliest tokens at this position, likeliest first: top_count ids; copied.
     */
    const uint32_t *top_tokens;
    /**
     * The natural logarithms of their probabilities, as many.
     */
    const float *top_logprobs;
    /**
     * How many; what was not asked for is left out.
     */
    size_t top_count;
} plimsoll_engine_token;

/**
 * How a request has ended.
 */
typedef struct {
    /**
     * Bytes of this struct, set by the plug-in.
     */
    size_t struct_size;
    /**
     * `PLIMSOLL_OK`, or the `PLIMSOLL_ERR_*` code with which the request failed.
     */
    int32_t status;
    /**
     * Where it did not fail: `PLIMSOLL_ENDING_END_OF_TEXT`, `PLIMSOLL_ENDING_LENGTH`, or what interrupted() answered.
     */
    int32_t ending;
    /**
     * Leading tokens whose KV the session held before and that were not computed: at most shared_prefix, and not all.
     */
    size_t cached_tokens;
    /**
     * Leading tokens, of the prompt and then of the answer, whose KV the session holds now.
     */
    size_t kv_tokens;
    /**
     * Of a failure, what happened, UTF-8; copied. NULL with length 0 for none.
     */
    const char *message;
    /**
     * Bytes of the message.
     */
    size_t message_len;
} plimsoll_engine_end;

/**
 * What the library does for a plug-in. It is given to `load` and lives, like all it points to, until `free` returns; without a
 * `free`, until the call that lets the engine go. Every function takes `context` first, may be called from any thread, also
 * inside `start`, `cancel` and `reclaim`, waits for nothing, and answers `PLIMSOLL_OK` or a `PLIMSOLL_ERR_*` code. Calls for a
 * request that has ended are counted, told to the log, and otherwise ignored (`INVALID_ARGUMENT`).
 */
typedef struct {
    /**
     * Bytes of this struct.
     */
    size_t struct_size;
    /**
     * The library's `PLIMSOLL_ENGINE_ABI_VERSION`.
     */
    uint32_t abi_version;
    /**
     * Always 0.
     */
    uint32_t reserved;
    /**
     * The first argument of every function.
     */
    void *context;
    /**
     * The request leaves the plug-in's queue: from here on its time counts as computing. Without it, the first bytes or the
     * first token say so.
     */
    int32_t (*begin)(void *context, uint64_t request);
    /**
     * Takes bytes of KV for a session out of what its running request was admitted with: to be called before they are
     * allocated. `MEMORY_REFUSED` when the request has fewer left: then nothing was taken, and the request should fail.
     */
    int32_t (*lease_grow)(void *context, uint64_t session, uint64_t bytes);
    /**
     * Gives bytes of a session's KV back: to be called after they are freed. While its request runs they can be taken again; of
     * an idle session they return to the guard, which is for answers to `reclaim`. `INVALID_ARGUMENT` for more than it holds.
     */
    int32_t (*lease_shrink)(void *context, uint64_t session, uint64_t bytes);
    /**
     * A token for the reader. `token` lives until it returns. One that makes no sense (an id beyond the vocabulary, more tokens
     * than were granted, a probability above 1) fails the request.
     */
    int32_t (*emit_token)(void *context, uint64_t request, const plimsoll_engine_token *token);
    /**
     * The request's end: to be called exactly once for each request that `start` has taken, when its host bytes are freed and
     * its session's lease is what the session holds. The next request of the session may come before this returns. An end that
     * makes no sense is a failed one.
     */
    int32_t (*emit_end)(void *context, uint64_t request, const plimsoll_engine_end *end);
    /**
     * Whether the request should end now: 0, `PLIMSOLL_ENDING_CANCELLED`, `PLIMSOLL_ENDING_DEADLINE`, or
     * `PLIMSOLL_ENDING_STOPPED` for one that has ended. To be asked before each token.
     */
    int32_t (*interrupted)(void *context, uint64_t request);
    /**
     * The answer to a `reclaim` that returned `PLIMSOLL_ERR_BUSY`: whatever it gives back was given by lease_shrink().
     */
    int32_t (*reclaimed)(void *context, uint64_t session);
    /**
     * A line for the log: `level` is one of `PLIMSOLL_LOG_ERROR` to `PLIMSOLL_LOG_TRACE`, `text` UTF-8 of `text_len` bytes.
     */
    int32_t (*log)(void *context, int32_t level, const char *text, size_t text_len);
} plimsoll_engine_host;

/**
 * All that the price of a request depends on.
 */
typedef struct {
    /**
     * Bytes of this struct.
     */
    size_t struct_size;
    /**
     * Tokens of the whole conversation, those that the engine already holds included.
     */
    uint32_t prompt_tokens;
    /**
     * Tokens that may be generated.
     */
    uint32_t max_tokens;
    /**
     * Alternatives reported per token.
     */
    uint32_t top_logprobs;
    /**
     * 1 when tokens already seen are penalised, so that counts of them are kept; else 0.
     */
    int32_t penalties;
} plimsoll_engine_shape;

/**
 * What a request of some shape holds at its largest. Filled by the plug-in's `estimate`.
 */
typedef struct {
    /**
     * Bytes of this struct; write no member beyond them.
     */
    size_t struct_size;
    /**
     * Bytes of the session's KV, those that it already holds included: whole blocks, no more than prompt and granted tokens
     * need. The sum of all lease_grow() of a session without KV.
     */
    uint64_t kv_bytes;
    /**
     * Bytes of one KV block; the same for every shape.
     */
    uint64_t kv_block_bytes;
    /**
     * Host bytes of the request itself, paid for as long as it runs. The tokens on their way to the reader are the library's
     * and not to be counted.
     */
    uint64_t request_bytes;
} plimsoll_engine_price;

/**
 * A request. It and all it points to live until `start` returns: copy what is needed.
 */
typedef struct {
    /**
     * Bytes of this struct.
     */
    size_t struct_size;
    /**
     * Its number, which host functions take. Never used again.
     */
    uint64_t request;
    /**
     * The number of the session whose KV it extends. It has no other request under way.
     */
    uint64_t session;
    /**
     * The whole conversation so far: token_count ids, at least 1, each below the vocabulary's size.
     */
    const uint32_t *tokens;
    /**
     * How many.
     */
    size_t token_count;
    /**
     * Ids that end the answer and are not part of it: stop_count of them.
     */
    const uint32_t *stop_tokens;
    /**
     * How many; 0 to generate on after end-of-text tokens.
     */
    size_t stop_count;
    /**
     * KV of at most this many leading tokens may be reused from what the session holds: they are the same as before.
     */
    size_t shared_prefix;
    /**
     * Tokens that may be generated: what was granted.
     */
    uint32_t max_tokens;
    /**
     * Alternatives to report per token.
     */
    uint32_t top_logprobs;
    /**
     * Bytes of KV that lease_grow() will give in all: what was admitted less what the session holds.
     */
    uint64_t kv_bytes;
    /**
     * Host bytes of the request itself, paid for until its end.
     */
    uint64_t request_bytes;
    /**
     * The seed of its draws, where has_seed is not 0.
     */
    uint64_t seed;
    /**
     * Whether there is a seed.
     */
    int32_t has_seed;
    /**
     * Not 0: the session's KV is kept when the request ends. 0: all of it is freed and given back by lease_shrink() before
     * emit_end(), however the request ends, for nobody asks for it later; one that a plug-in with a `reclaim` ends with KV leased
     * has failed. So it is for all answers of a request but the first: each has a session of its own.
     */
    int32_t keep_kv;
    /**
     * 0 is greedy.
     */
    float temperature;
    /**
     * Choose among the k likeliest tokens; 0 for all.
     */
    uint32_t top_k;
    /**
     * Choose among the likeliest tokens whose probabilities reach this sum; 1 for all.
     */
    float top_p;
    /**
     * Choose among tokens at least this fraction as likely as the likeliest; 0 for all.
     */
    float min_p;
    /**
     * Divides positive and multiplies negative logits of tokens already seen; 1 for none.
     */
    float repetition_penalty;
    /**
     * Subtracted from the logit of every token generated before; 0 for none.
     */
    float presence_penalty;
    /**
     * Subtracted from a token's logit for each time it was generated; 0 for none.
     */
    float frequency_penalty;
    /**
     * Always 0.
     */
    uint32_t reserved;
} plimsoll_engine_request;

/**
 * What a plug-in's allocators hold.
 */
typedef struct {
    /**
     * Bytes of this struct; write no member beyond them.
     */
    size_t struct_size;
    /**
     * Bytes of weights.
     */
    uint64_t weights_bytes;
    /**
     * Bytes of workspace.
     */
    uint64_t workspace_bytes;
    /**
     * Bytes of KV, of running requests and of idle sessions.
     */
    uint64_t kv_bytes;
} plimsoll_engine_holdings;

/**
 * The functions of a plug-in engine. Set struct_size to the struct's sizeof, abi_version to `PLIMSOLL_ENGINE_ABI_VERSION`, and
 * slots that are not there to NULL; the table is copied. A slot returns `PLIMSOLL_OK` or a `PLIMSOLL_ERR_*` code, and must not
 * throw. `engine` is what `load` has made. No lock of the library is held while a slot runs.
 */
typedef struct {
    /**
     * Bytes of this struct.
     */
    size_t struct_size;
    /**
     * `PLIMSOLL_ENGINE_ABI_VERSION` of the header that the plug-in was compiled with.
     */
    uint32_t abi_version;
    /**
     * Always 0.
     */
    uint32_t reserved;
    /**
     * Required. Says what the engine is, before anything is loaded. Called once, by the thread that attaches.
     */
    int32_t (*describe)(void *user_data, plimsoll_engine_description *description);
    /**
     * Required. Makes the engine: its weights and workspace are leased. Called once, by the thread that attaches.
     */
    int32_t (*load)(void *user_data, const plimsoll_engine_host *host, void **engine);
    /**
     * Required. The price of a request: a function of the shape alone, which grows with max_tokens. Called from any thread,
     * several at once, often: it must not wait.
     */
    int32_t (*estimate)(void *engine, const plimsoll_engine_shape *shape, plimsoll_engine_price *price);
    /**
     * Required. Takes a request, to be run on a thread of the plug-in's own; it must not wait. Called from any thread, several
     * at once. `QUEUE_FULL` sends the caller away until later; one more answer to a request that was taken waits in the library
     * instead, and is brought again by a thread of the library's when there may be room, before any new request. Any other error
     * fails the request. After `PLIMSOLL_OK` the plug-in owes one emit_end().
     */
    int32_t (*start)(void *engine, const plimsoll_engine_request *request);
    /**
     * Optional. A request was cancelled or its deadline has passed: it should end soon. One that is unknown has ended and is to
     * be ignored. Without it, a plug-in learns of it by interrupted(). Called from threads of the library, several at once. A
     * request that has not ended a while later (plugin.grace_ms) is ended for its reader, and keeps its bytes booked until
     * the plug-in ends it.
     */
    int32_t (*cancel)(void *engine, uint64_t request);
    /**
     * Optional. Asks for `bytes`, all KV of an idle session, to be freed, given back by lease_shrink(), and answered within
     * `deadline_ms`: by returning `PLIMSOLL_OK`, or `PLIMSOLL_ERR_BUSY` and later host->reclaimed(). A plug-in that gives
     * nothing back answers all the same. Who waits for the bytes is refused when the time is over; a late answer still counts.
     * Also called when the session has closed. Called from threads of the library, several at once. A plug-in without it keeps
     * no KV between requests: at each end what the session held counts as given back.
     */
    int32_t (*reclaim)(void *engine, uint64_t session, uint64_t bytes, uint32_t deadline_ms);
    /**
     * Optional. What the plug-in's allocators hold now, which plimsoll_model_check_integrity() compares with the ledger. Without
     * it, what was leased counts as held. Called from any thread, several at once: it must not wait.
     */
    int32_t (*holdings)(void *engine, plimsoll_engine_holdings *holdings);
    /**
     * Optional. Ends the plug-in's threads and frees all that the engine holds; no other slot runs or will. Requests that have
     * not ended are ended by the library when it returns, and all leases return. Called once, from any thread but the
     * plug-in's own.
     */
    void (*free)(void *engine);
} plimsoll_engine_table;

/**
 * What was decided about a request, and every number behind it. Sizes are bytes.
 */
typedef struct {
    /**
     * In: bytes of this struct. Out: bytes of it that were written.
     */
    size_t struct_size;
    /**
     * One of `PLIMSOLL_DECISION_*`.
     */
    int32_t decision;
    /**
     * max_tokens asked for.
     */
    uint32_t asked_tokens;
    /**
     * max_tokens granted; 0 when refused.
     */
    uint32_t granted_tokens;
    /**
     * The largest max_tokens that would be granted now.
     */
    uint32_t fits_tokens;
    /**
     * New bytes that the request needs.
     */
    uint64_t bytes_asked;
    /**
     * Bytes free for it, before anything is evicted.
     */
    uint64_t bytes_free;
    /**
     * KV of the whole session when the request ends at its longest.
     */
    uint64_t kv_bytes;
    /**
     * Of these, what the session holds already.
     */
    uint64_t kv_held_bytes;
    /**
     * Host bytes of the request itself.
     */
    uint64_t request_bytes;
    /**
     * The engine's workspace that the request shares; paid when the model was loaded.
     */
    uint64_t workspace_bytes;
    /**
     * KV that idle sessions lose for this request; their conversations stay.
     */
    uint64_t evict_bytes;
    /**
     * How many sessions these are.
     */
    uint32_t evict_sessions;
    /**
     * Always 0.
     */
    uint32_t reserved;
    /**
     * Of a refusal, after how many milliseconds to try again; -1 for a grant and for what can never fit.
     */
    int64_t retry_after_ms;
    /**
     * What bounds the request, such as "fits", "context", "budget", "session_limit"; static.
     */
    plimsoll_str reason;
    /**
     * How short memory was, one of `PLIMSOLL_PRESSURE_*`.
     */
    int32_t pressure;
    /**
     * The memory that bounds the request: -1 is the host's, else it is that of the device with this index.
     */
    int32_t region;
    /**
     * How many milliseconds the request waited for this.
     */
    uint32_t waited_ms;
    /**
     * Of a refusal, the request's place in the line, or the one that it would have had; the first is 1. 0 for a grant, and
     * where waiting does not help.
     */
    uint32_t position;
    /**
     * What loading the request's model again takes, of the bytes asked; 0 for one that is loaded.
     */
    uint64_t load_bytes;
    /**
     * What idle models take that are unloaded for this request.
     */
    uint64_t unload_bytes;
    /**
     * How many models these are.
     */
    uint64_t unload_models;
    /**
     * How many answers this is about. Bytes are those of all together, tokens those of each.
     */
    uint32_t answers;
    /**
     * Where the KV is: -1 is the host's memory, else that of the device with this index.
     */
    int32_t kv_region;
} plimsoll_verdict;

/**
 * One of the likeliest tokens at a position.
 */
typedef struct {
    /**
     * Its id.
     */
    uint32_t token;
    /**
     * The natural logarithm of its probability.
     */
    float logprob;
} plimsoll_logprob;

/**
 * Something that happened in a running request. It and all it points to live until the callback returns or the next call on
 * the stream.
 */
typedef struct {
    /**
     * In, for plimsoll_stream_next(): bytes of this struct. Out: bytes of it that were written.
     */
    size_t struct_size;
    /**
     * One of `PLIMSOLL_EVENT_*`.
     */
    int32_t kind;
    /**
     * The token's id; `UINT32_MAX` where there is none.
     */
    uint32_t token;
    /**
     * The natural logarithm of its probability, before sampling settings; 0 where there is no token.
     */
    float logprob;
    /**
     * How many items `top` has.
     */
    uint32_t top_count;
    /**
     * The likeliest tokens at this position, likeliest first, when the request asked for them.
     */
    const plimsoll_logprob *top;
    /**
     * Text that is now certain: whole UTF-8 characters, and no part of a stop string. Often empty.
     */
    plimsoll_str text;
    /**
     * Which answer it is of: 0 for the first, which is the only one unless the request asks for more.
     */
    uint32_t answer;
    /**
     * Always 0.
     */
    uint32_t reserved;
} plimsoll_event;

/**
 * Hears of a request's events, on the thread that called plimsoll_generate(), with no lock held. Returns 0 to go on, anything
 * else to stop: no further event comes then. It must not throw. Getters, and raising a cancel token, are allowed inside;
 * running another request of the same session is not (`REENTRANT`), nor is freeing what runs.
 */
typedef int32_t (*plimsoll_on_event)(const plimsoll_event *event, void *user_data);

/**
 * A finished answer's numbers.
 */
typedef struct {
    /**
     * In: bytes of this struct. Out: bytes of it that were written.
     */
    size_t struct_size;
    /**
     * Why the answer ended, one of `PLIMSOLL_ENDING_*`.
     */
    int32_t ending;
    /**
     * What was decided before, one of `PLIMSOLL_DECISION_*`.
     */
    int32_t decision;
    /**
     * Tokens of the conversation up to where the answer began.
     */
    uint32_t prompt_tokens;
    /**
     * Of these, tokens whose KV the session already held.
     */
    uint32_t cached_tokens;
    /**
     * Tokens generated, an end-of-text token left out.
     */
    uint32_t generated_tokens;
    /**
     * max_tokens granted.
     */
    uint32_t granted_tokens;
    /**
     * Microseconds from submission to the first step.
     */
    uint64_t queued_us;
    /**
     * Microseconds from the first step to the first token.
     */
    uint64_t prefill_us;
    /**
     * Microseconds from the first token to the last.
     */
    uint64_t decode_us;
    /**
     * Generated tokens per second after the first; 0 for fewer than two.
     */
    double tokens_per_second;
    /**
     * Bytes that were leased for this request.
     */
    uint64_t leased_bytes;
    /**
     * Bytes of KV that the session holds now.
     */
    uint64_t kv_bytes;
    /**
     * Bytes free in the region of the KV now.
     */
    uint64_t bytes_free;
    /**
     * How short memory was when the request was admitted, one of `PLIMSOLL_PRESSURE_*`.
     */
    int32_t pressure;
    /**
     * What that changed: bits of `PLIMSOLL_DEGRADED_*`.
     */
    uint32_t degraded;
    /**
     * Which answer this is; the conversation goes on with 0.
     */
    uint32_t answer;
    /**
     * How many there are.
     */
    uint32_t answers;
} plimsoll_result;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The library's version as text, such as "0.1.0", with a final NUL.
 *
 * Ownership: static, never freed. Threads: any. Errors: none. Since: 0.1.
 */
const char *plimsoll_version(void);

/**
 * The ABI version of the library that is linked; compare it with `PLIMSOLL_ABI_VERSION` of the header.
 *
 * Ownership: a plain number. Threads: any. Errors: none. Since: 0.1.
 */
uint32_t plimsoll_abi_version(void);

/**
 * The code of an error; `PLIMSOLL_OK` for NULL.
 *
 * Ownership: borrows the error. Threads: any. Errors: none. Since: 0.1.
 */
plimsoll_status plimsoll_error_code(const plimsoll_error *error);

/**
 * The section of an error, one of `PLIMSOLL_SECTION_*`; 0 for NULL.
 *
 * Ownership: borrows the error. Threads: any. Errors: none. Since: 0.1.
 */
int32_t plimsoll_error_section(const plimsoll_error *error);

/**
 * The text of an error with its causes, at most about 1 KiB, control characters escaped; empty for NULL.
 *
 * Ownership: borrowed, lives until the error is freed. Threads: any. Errors: none. Since: 0.1.
 */
plimsoll_str plimsoll_error_message(const plimsoll_error *error);

/**
 * 1 when the same call may succeed later without a change, else 0.
 *
 * Ownership: borrows the error. Threads: any. Errors: none. Since: 0.1.
 */
int32_t plimsoll_error_is_retryable(const plimsoll_error *error);

/**
 * Of a refusal, the bytes that were asked for; else 0.
 *
 * Ownership: borrows the error. Threads: any. Errors: none. Since: 0.1.
 */
uint64_t plimsoll_error_bytes_asked(const plimsoll_error *error);

/**
 * Of a refusal, the bytes that were free for it; else 0.
 *
 * Ownership: borrows the error. Threads: any. Errors: none. Since: 0.1.
 */
uint64_t plimsoll_error_bytes_free(const plimsoll_error *error);

/**
 * Of a refusal, the largest max_tokens that would have been granted; else 0.
 *
 * Ownership: borrows the error. Threads: any. Errors: none. Since: 0.1.
 */
uint32_t plimsoll_error_fits_tokens(const plimsoll_error *error);

/**
 * Of a refusal, after how many milliseconds to try again; -1 when it can never fit or no time is known.
 *
 * Ownership: borrows the error. Threads: any. Errors: none. Since: 0.1.
 */
int64_t plimsoll_error_retry_after_ms(const plimsoll_error *error);

/**
 * Frees an error; NULL is fine.
 *
 * Ownership: takes the error. Threads: any. Errors: none. Since: 0.1.
 */
void plimsoll_error_free(plimsoll_error *error);

/**
 * The text's bytes; empty for NULL.
 *
 * Ownership: borrowed, lives until the text is freed. Threads: any. Errors: none. Since: 0.1.
 */
plimsoll_str plimsoll_text_str(const plimsoll_text *text);

/**
 * Frees a text; NULL is fine.
 *
 * Ownership: takes the text. Threads: one. Errors: none. Since: 0.1.
 */
void plimsoll_text_free(plimsoll_text *text);

/**
 * Makes an empty configuration: every default holds.
 *
 * Ownership: the caller frees `*out` with plimsoll_config_free(). Threads: any. Errors: `NULL_POINTER`. Since: 0.1.
 */
plimsoll_status plimsoll_config_new(plimsoll_config **out, plimsoll_error **error);

/**
 * Sets one key, such as "memory.budget" to "512MiB". An empty value takes the setting back. The keys for a runtime begin
 * with `memory.`, `guard.` and `monitor.`, for a model with `native.`, `plugin.` and `engine.`, for a session with `session.`; the error
 * for an unknown key lists them all.
 *
 * Ownership: copies both texts. Threads: one at a time per configuration. Errors: `INVALID_CONFIG` with the reason,
 * `INVALID_UTF8`, `NULL_POINTER`; the configuration is then unchanged. Since: 0.1.
 */
plimsoll_status plimsoll_config_set(plimsoll_config *config,
                                    const char *key,
                                    size_t key_len,
                                    const char *value,
                                    size_t value_len,
                                    plimsoll_error **error);

/**
 * Frees a configuration; NULL is fine. What was made with it is not affected.
 *
 * Ownership: takes the configuration. Threads: one. Errors: none. Since: 0.1.
 */
void plimsoll_config_free(plimsoll_config *config);

/**
 * Sends the library's log lines up to `level` (one of `PLIMSOLL_LOG_*`) to `on_log`, for the whole process; NULL or
 * `PLIMSOLL_LOG_OFF` sends them nowhere, which is how it begins. Lines never hold prompts or answers. `on_drop`, when not
 * NULL, is called exactly once with `user_data`: when another registration replaces this one and no line is on its way any
 * more, or at once when this call fails.
 *
 * Ownership: keeps `user_data` until `on_drop`. Threads: any. Errors: `INVALID_ARGUMENT` for an unknown level. Since: 0.1.
 */
plimsoll_status plimsoll_log_set(plimsoll_on_log on_log,
                                 int32_t level,
                                 void *user_data,
                                 plimsoll_on_drop on_drop,
                                 plimsoll_error **error);

/**
 * Makes a runtime. `config` takes the keys that begin with `memory.`, `guard.` and `monitor.`; NULL is every default: the
 * budget is then what the machine or its cgroup allows.
 *
 * Ownership: copies `config`; the caller frees `*out` with plimsoll_runtime_free(). Threads: any. Errors:
 * `INVALID_CONFIG`, `NULL_POINTER`. Since: 0.1.
 */
plimsoll_status plimsoll_runtime_new(const plimsoll_config *config,
                                     plimsoll_runtime **out,
                                     plimsoll_error **error);

/**
 * 1 when the host may take `bytes` of memory for itself, and `margin` of them more (0.1 is a tenth), without coming near
 * the limit, else 0; also 0 for NULL. A cheap check: nothing is reserved.
 *
 * Ownership: borrows the runtime. Threads: any. Errors: none. Since: 0.1.
 */
int32_t plimsoll_can_allocate(const plimsoll_runtime *runtime,
                              uint64_t bytes,
                              double margin);

/**
 * 1 when at least the share `threshold` (0 to 1) of the host's capacity is in use, by plimsoll and others, else 0; also 0
 * for NULL.
 *
 * Ownership: borrows the runtime. Threads: any. Errors: none. Since: 0.1.
 */
int32_t plimsoll_is_low_memory(const plimsoll_runtime *runtime,
                               double threshold);

/**
 * Frees a runtime; NULL is fine. Models and sessions made from it keep what they need and stay usable.
 *
 * Ownership: takes the runtime. Threads: one. Errors: none. Since: 0.1.
 */
void plimsoll_runtime_free(plimsoll_runtime *runtime);

/**
 * Writes the memory statistics. Set `memory->struct_size` first.
 *
 * Ownership: borrows the runtime. Threads: any. Errors: `INVALID_STRUCT_SIZE`, `NULL_POINTER`. Since: 0.1.
 */
plimsoll_status plimsoll_memory_stats(const plimsoll_runtime *runtime, plimsoll_memory *memory, plimsoll_error **error);

/**
 * Who has how much of the memory, how short it is, and what to look at: a table for people, in MiB. Its form may change; for
 * programs there is plimsoll_memory_stats_json().
 *
 * Ownership: the caller frees `*out` with plimsoll_text_free(). Threads: any. Errors: `NULL_POINTER`. Since: 0.1.
 */
plimsoll_status plimsoll_memory_report(const plimsoll_runtime *runtime,
                                       plimsoll_text **out,
                                       plimsoll_error **error);

/**
 * The memory statistics as a JSON object: active_sessions, total_kv_mb, gpu_usage, gpu_free_mb, session_details, gpu_memory,
 * the counters, the ledger by region and owner, and under "monitor" what the monitor knows: "regions" with their last snapshot,
 * levels, peak and average, "system", "alerts" and "cleanup"; under "process" what the library
 * holds of it.
 *
 * Ownership: the caller frees `*out` with plimsoll_text_free(). Threads: any. Errors: `NULL_POINTER`. Since: 0.1.
 */
plimsoll_status plimsoll_memory_stats_json(const plimsoll_runtime *runtime,
                                           plimsoll_text **out,
                                           plimsoll_error **error);

/**
 * Takes a buffer of at least `bytes` of host memory from the pool. The guard must grant it at its rounded size: below 1 MiB to
 * 100 KiB, below 10 MiB to 1 MiB, below 100 MiB to 10 MiB, above to 50 MiB. An idle buffer of that size is used again, with what
 * was in it; else it is fresh and zero. Idle sessions lose their KV if that makes room.
 *
 * Ownership: the caller gives `*out` back with plimsoll_pool_release(). The buffer keeps what it needs of the runtime. Threads:
 * any. Errors: `MEMORY_REFUSED` with the numbers, `OUT_OF_MEMORY`, `INVALID_ARGUMENT` for 0 bytes, `NULL_POINTER`. Since: 0.1.
 */
plimsoll_status plimsoll_pool_acquire(const plimsoll_runtime *runtime,
                                      size_t bytes,
                                      plimsoll_buffer **out,
                                      plimsoll_error **error);

/**
 * The memory of a buffer, at a multiple of 4096; NULL for NULL.
 *
 * Ownership: lives until the buffer is released. Threads: any; the memory is its holder's to guard. Errors: none. Since: 0.1.
 */
void *plimsoll_buffer_data(const plimsoll_buffer *buffer);

/**
 * Bytes of a buffer that may be used, at least as many as were asked for; 0 for NULL.
 *
 * Ownership: borrows the buffer. Threads: any. Errors: none. Since: 0.1.
 */
size_t plimsoll_buffer_size(const plimsoll_buffer *buffer);

/**
 * Gives a buffer back to the pool; NULL is fine. Its bytes are free for others at once, and its memory waits for the next user
 * until it was unused for `guard.pool_timeout_s` or its room is needed.
 *
 * Ownership: takes the buffer. Threads: any. Errors: none. Since: 0.1.
 */
void plimsoll_pool_release(plimsoll_buffer *buffer);

/**
 * Writes what the pool holds and did. Set `pool->struct_size` first.
 *
 * Ownership: borrows the runtime. Threads: any. Errors: `INVALID_STRUCT_SIZE`, `NULL_POINTER`. Since: 0.1.
 */
plimsoll_status plimsoll_pool_stats(const plimsoll_runtime *runtime, plimsoll_pool *pool, plimsoll_error **error);

/**
 * Gives all idle buffers back to the system, the library's own included. Returns their bytes; 0 for NULL.
 *
 * Ownership: borrows the runtime. Threads: any. Errors: none. Since: 0.1.
 */
uint64_t plimsoll_pool_trim(const plimsoll_runtime *runtime);

/**
 * Writes what the monitor saw last of `region`: -1 is the host's memory, else that of the device with this index. Set
 * `snapshot->struct_size` first. With `monitor.interval_ms` 0 the snapshot is taken now.
 *
 * Ownership: borrows the runtime. Threads: any. Errors: `INVALID_ARGUMENT` for a region that is not managed,
 * `INVALID_STRUCT_SIZE`, `NULL_POINTER`. Since: 0.1.
 */
plimsoll_status plimsoll_monitor_get_snapshot(const plimsoll_runtime *runtime,
                                              int32_t region,
                                              plimsoll_monitor_snapshot *snapshot,
                                              plimsoll_error **error);

/**
 * The snapshots that are kept [the last 1000] as a JSON object: "regions", each with its "snapshots", and "system", the oldest
 * first; "now_ms" is the time on the same clock.
 *
 * Ownership: the caller frees `*out` with plimsoll_text_free(). Threads: any. Errors: `NULL_POINTER`. Since: 0.1.
 */
plimsoll_status plimsoll_monitor_history_json(const plimsoll_runtime *runtime,
                                              plimsoll_text **out,
                                              plimsoll_error **error);

/**
 * The alerts as a JSON object: "active", "cleared" (the last 32), each with "kind", "text", "value", "threshold", "bytes",
 * "raised_ms", "cleared_ms" and where it is; "raised" counts them by kind; "now_ms" is the time on the same clock.
 *
 * Ownership: the caller frees `*out` with plimsoll_text_free(). Threads: any. Errors: `NULL_POINTER`. Since: 0.1.
 */
plimsoll_status plimsoll_monitor_alerts_json(const plimsoll_runtime *runtime,
                                             plimsoll_text **out,
                                             plimsoll_error **error);

/**
 * Has `on_alert` hear of every alert that is raised or cleared from now on, in place of whoever did before; NULL ends it.
 * `on_drop`, when not NULL, is called exactly once with `user_data`: when another registration replaces this one, or the
 * runtime and all that was made from it is gone, and no alert is on its way any more; or at once when this call fails or
 * `on_alert` is NULL.
 *
 * Ownership: keeps `user_data` until `on_drop`. Threads: any, also from inside the callback. Errors: `NULL_POINTER`.
 * Since: 0.1.
 */
plimsoll_status plimsoll_monitor_on_alert(const plimsoll_runtime *runtime,
                                          plimsoll_on_alert on_alert,
                                          void *user_data,
                                          plimsoll_on_drop on_drop,
                                          plimsoll_error **error);

/**
 * Registers a callback that frees memory in cleanups, after those that were registered before it; caches of the engines and the
 * KV of idle sessions are freed first. Cleanups run by themselves when more than `monitor.cleanup_threshold` of a region is in
 * use, as far as they are needed, and when plimsoll_memory_cleanup() is called. `name` stands for it in the statistics.
 * `on_drop`, when not NULL, is called exactly once with `user_data`: when the callback is unregistered or the runtime and all
 * that was made from it is gone, and the callback does not run any more; or at once when this call fails.
 *
 * Ownership: copies `name`; keeps `user_data` until `on_drop`. Threads: any. Errors: `NULL_POINTER`, `INVALID_UTF8`.
 * Since: 0.1.
 */
plimsoll_status plimsoll_cleanup_register(const plimsoll_runtime *runtime,
                                          const char *name,
                                          size_t name_len,
                                          plimsoll_on_cleanup on_cleanup,
                                          void *user_data,
                                          plimsoll_on_drop on_drop,
                                          uint64_t *id,
                                          plimsoll_error **error);

/**
 * Takes a callback back, also from inside it. If a cleanup runs it now, that goes on to its end; it is called no more after it.
 *
 * Ownership: borrows the runtime. Threads: any. Errors: `INVALID_ARGUMENT` for an id that is not registered, `NULL_POINTER`.
 * Since: 0.1.
 */
plimsoll_status plimsoll_cleanup_unregister(const plimsoll_runtime *runtime,
                                            uint64_t id,
                                            plimsoll_error **error);

/**
 * Cleans up: frees caches and pools of the engines, the KV of all idle sessions, whose conversations stay, and what callbacks of
 * the host free. `bytes_freed` gets what came back by the books and by a reading of the machine; it may be NULL.
 *
 * Ownership: borrows the runtime. Threads: any; waits for the callbacks, which run on this one. Errors: `BUSY` while another
 * thread cleans up, `REENTRANT` from a cleanup callback, `NULL_POINTER`. Since: 0.1.
 */
plimsoll_status plimsoll_memory_cleanup(const plimsoll_runtime *runtime,
                                        uint64_t *bytes_freed,
                                        plimsoll_error **error);

/**
 * Loads a model: a folder with config.json, safetensors and tokenizer.json, or a .gguf file. The guard must grant its
 * weights and its workspace first. Files that are loaded already, also through another path or by another thread at the
 * same time, are shared, not loaded again. `config` takes the keys that begin with `native.`, and `model.unload`, which says
 * whether the model may be unloaded, idle and least recently used, when room is needed; NULL is every default.
 * `on_progress` may be NULL. A load that it stops while requests were granted on the model, as where the model was unloaded and is
 * loaded again, goes on for those, and ends with `LOAD_CANCELLED` for its caller.
 *
 * Ownership: copies name, path and `config`; the caller frees `*out` with plimsoll_model_unload(). The model keeps what it
 * needs of the runtime. Threads: any, also concurrently. Errors: `MODEL_*` for what is wrong with the files,
 * `MEMORY_REFUSED` with the numbers, `OUT_OF_MEMORY`, `INVALID_CONFIG`, `LOAD_CANCELLED`, `REENTRANT` in
 * `on_progress` of the same files. Since: 0.1.
 */
plimsoll_status plimsoll_model_load(const plimsoll_runtime *runtime,
                                    const char *name,
                                    size_t name_len,
                                    const char *path,
                                    size_t path_len,
                                    const plimsoll_config *config,
                                    plimsoll_on_progress on_progress,
                                    void *user_data,
                                    plimsoll_model **out,
                                    plimsoll_error **error);

/**
 * Attaches a further engine to a model. `config` names it by the key `engine.kind`. A loaded model has its native engine
 * from the start, so "native" changes nothing; "vllm" and "trtllm" are not supported yet and say so, and so does "plugin":
 * a plug-in makes a model of its own with plimsoll_model_attach().
 *
 * Ownership: borrows both. Threads: any. Errors: `UNSUPPORTED`, `INVALID_CONFIG`, `NULL_POINTER`. Since: 0.1.
 */
plimsoll_status plimsoll_engine_attach(plimsoll_model *model,
                                       const plimsoll_config *config,
                                       plimsoll_error **error);

/**
 * Writes the facts of a model. Set `facts->struct_size` first.
 *
 * Ownership: `facts->engine` lives as long as the model. Threads: any. Errors: `INVALID_STRUCT_SIZE`, `NULL_POINTER`.
 * Since: 0.1.
 */
plimsoll_status plimsoll_model_get_facts(const plimsoll_model *model,
                                         plimsoll_model_facts *facts,
                                         plimsoll_error **error);

/**
 * The bytes that a token stands for: not always whole characters, so not always UTF-8 by themselves. Empty for NULL and for
 * an id beyond the vocabulary.
 *
 * Ownership: borrowed, lives as long as the model. Threads: any. Errors: none. Since: 0.1.
 */
plimsoll_str plimsoll_model_token_bytes(const plimsoll_model *model,
                                        uint32_t token);

/**
 * Token ids of a text. Writes at most `capacity` ids to `tokens` and the number there are to `*count`: call it with
 * capacity 0 and `tokens` NULL to learn the number.
 *
 * Ownership: borrows all. Threads: any. Errors: `TOKENIZER`, `PROMPT_TOO_LONG`, `INVALID_UTF8`, `NULL_POINTER`.
 * Since: 0.1.
 */
plimsoll_status plimsoll_model_tokenize(const plimsoll_model *model,
                                        const char *content,
                                        size_t content_len,
                                        uint32_t *tokens,
                                        size_t capacity,
                                        size_t *count,
                                        plimsoll_error **error);

/**
 * Messages as the model's chat template writes them, up to where an answer begins.
 *
 * Ownership: borrows the messages; the caller frees `*out` with plimsoll_text_free(). Threads: any. Errors: `TEMPLATE`,
 * `INVALID_UTF8`, `NULL_POINTER`. Since: 0.1.
 */
plimsoll_status plimsoll_model_render(const plimsoll_model *model,
                                      const plimsoll_message *messages,
                                      size_t count,
                                      plimsoll_text **out,
                                      plimsoll_error **error);

/**
 * A request's messages and tools as the model's chat template writes them, up to where an answer begins: the text of a new
 * session's first turn.
 *
 * Ownership: borrows the request; the caller frees `*out` with plimsoll_text_free(). Threads: any. Errors: `TEMPLATE`;
 * `INVALID_ARGUMENT` for a request of text or tokens; `NULL_POINTER`. Since: 0.1.
 */
plimsoll_status plimsoll_model_render_request(const plimsoll_model *model,
                                              const plimsoll_request *request,
                                              plimsoll_text **out,
                                              plimsoll_error **error);

/**
 * Compares what the model's allocators hold with what the ledger has booked for it, to the byte.
 *
 * Ownership: borrows the model. Threads: any. Errors: `INTERNAL` naming what differs, `BUSY` while a request of the model
 * waits or runs, `NULL_POINTER`. Since: 0.1.
 */
plimsoll_status plimsoll_model_check_integrity(const plimsoll_model *model,
                                               plimsoll_error **error);

/**
 * Gives a model back; NULL is fine. Its memory is freed when its last session is closed and no other model shares its files. To
 * free the memory and keep the model there is plimsoll_model_evict().
 *
 * Ownership: takes the model. Threads: one. Errors: none. Since: 0.1.
 */
void plimsoll_model_unload(plimsoll_model *model);

/**
 * Frees a model's weights, its workspace, its tables and the KV of its sessions. Model, sessions and their conversations stay good:
 * the next request that is granted loads the model again, from the same path, and computes what it needs of the conversation.
 * `*freed` is how many bytes that were, 0 for a model that is not loaded; `freed` may be NULL. All models over the same files are
 * unloaded together. A model that was loaded with `model.unload` set to `idle` is also unloaded by itself, while nobody uses it
 * and another model or its request needs the room.
 *
 * Ownership: borrows the model. Threads: any. Errors: `BUSY` while a request of it runs or waits, a ticket is outstanding, or it is
 * being loaded; `UNSUPPORTED` for a plug-in; `NULL_POINTER`. Since: 0.1.
 */
plimsoll_status plimsoll_model_evict(const plimsoll_model *model,
                                     uint64_t *freed,
                                     plimsoll_error **error);

/**
 * 1 while a model is loaded, 0 while it is not and its next request loads it again; 0 for NULL.
 *
 * Ownership: borrows the model. Threads: any. Errors: none. Since: 0.1.
 */
int32_t plimsoll_model_is_loaded(const plimsoll_model *model);

/**
 * Makes a model over an engine of the host's own, a plug-in: the functions of `table`. The guard must grant the weights and the
 * workspace that it describes before it is loaded, and prices its requests by its `estimate`. `text_path` names what turns text
 * into ids and back: a model's folder or .gguf file, of which the tokenizer, the chat template and the ids that end an answer are
 * used and no weights are read, or a tokenizer.json alone; NULL with length 0 for a model of token ids only, whose answers have
 * no text. `config` takes the keys that begin with `plugin.`; NULL is every default. `on_drop`, when not NULL, is called exactly
 * once with `user_data`: when the engine is gone, or at once when this call fails.
 *
 * Ownership: copies table, name, path and `config`; keeps `user_data` until `on_drop`; the caller frees `*out` with
 * plimsoll_model_unload(). The engine goes with its last model handle and session. Threads: any; `describe` and `load` run
 * inside. Errors: `INVALID_STRUCT_SIZE`, `UNSUPPORTED` for a table of a later version, `INVALID_ARGUMENT` for a required slot that
 * is NULL and for a description that makes no sense, `MEMORY_REFUSED` with the numbers, `ENGINE_FAILED` where the plug-in does not
 * load, `OUT_OF_MEMORY`, `MODEL_*` and `TOKENIZER` for what is wrong with the text's files, `INVALID_CONFIG`, `NULL_POINTER`.
 * Since: 0.1.
 */
plimsoll_status plimsoll_model_attach(const plimsoll_runtime *runtime,
                                      const char *name,
                                      size_t name_len,
                                      const char *text_path,
                                      size_t text_path_len,
                                      const plimsoll_engine_table *table,
                                      void *user_data,
                                      plimsoll_on_drop on_drop,
                                      const plimsoll_config *config,
                                      plimsoll_model **out,
                                      plimsoll_error **error);

/**
 * Opens a session. It remembers its conversation: each request adds to it. `config` takes the keys that begin with
 * `session.`; NULL is every default.
 *
 * Ownership: copies `config`; the caller frees `*out` with plimsoll_session_free(). The session keeps what it needs of the
 * model. Threads: any. Errors: `INVALID_CONFIG`, `NULL_POINTER`. Since: 0.1.
 */
plimsoll_status plimsoll_session_open(const plimsoll_model *model,
                                      const plimsoll_config *config,
                                      plimsoll_session **out,
                                      plimsoll_error **error);

/**
 * The session's id, as in the memory statistics; 0 for NULL.
 *
 * Ownership: borrows the session. Threads: any. Errors: none. Since: 0.1.
 */
uint64_t plimsoll_session_id(const plimsoll_session *session);

/**
 * Bytes of KV that the session holds now; 0 for NULL.
 *
 * Ownership: borrows the session. Threads: any. Errors: none. Since: 0.1.
 */
uint64_t plimsoll_session_kv_bytes(const plimsoll_session *session);

/**
 * Forgets the conversation and gives its KV back.
 *
 * Ownership: borrows the session. Threads: waits behind the session's requests. Errors: `REENTRANT` inside its own
 * callback, `BUSY` while a stream is open, `POISONED`, `NULL_POINTER`. Since: 0.1.
 */
plimsoll_status plimsoll_session_reset(const plimsoll_session *session, plimsoll_error **error);

/**
 * Gives the session's KV back and keeps its conversation: the next request computes it again. The guard does the same to
 * idle sessions when others need the bytes. `freed` may be NULL.
 *
 * Ownership: borrows the session. Threads: waits behind the session's requests. Errors: as plimsoll_session_reset().
 * Since: 0.1.
 */
plimsoll_status plimsoll_session_evict(const plimsoll_session *session,
                                       uint64_t *freed,
                                       plimsoll_error **error);

/**
 * Closes a session and gives its KV back; NULL is fine. An open stream of it keeps what it needs.
 *
 * Ownership: takes the session. Threads: one. Errors: none. Since: 0.1.
 */
void plimsoll_session_free(plimsoll_session *session);

/**
 * Makes a request with every setting at its default and nothing to say yet.
 *
 * Ownership: the caller frees `*out` with plimsoll_request_free(). Threads: any. Errors: `NULL_POINTER`. Since: 0.1.
 */
plimsoll_status plimsoll_request_new(plimsoll_request **out, plimsoll_error **error);

/**
 * Adds a message, such as role "user" with what the user said. Messages go through the model's chat template together with
 * the session's conversation. A request that held text or tokens holds messages from then on.
 *
 * Ownership: copies both texts. Threads: one at a time per request. Errors: `INVALID_UTF8`, `NULL_POINTER`. Since: 0.1.
 */
plimsoll_status plimsoll_request_add_message(plimsoll_request *request,
                                             const char *role,
                                             size_t role_len,
                                             const char *content,
                                             size_t content_len,
                                             plimsoll_error **error);

/**
 * Adds a message as a JSON object, as OpenAI's chat format has it: "role", and such fields as "content", "tool_calls",
 * "tool_call_id" and "name". So the assistant's tool calls come back into a conversation, and messages of several parts
 * where the model's chat template knows them; the template gets all fields, those that are null left out. A tool's result
 * is also a message of plimsoll_request_add_message(), with role "tool".
 *
 * Ownership: copies the text. Threads: one at a time per request. Errors: `INVALID_ARGUMENT` with line and column for what
 * is no JSON object with a "role", nests more than 32 deep, or is longer than 16 MiB; `INVALID_UTF8`, `NULL_POINTER`. The
 * request is then unchanged. Since: 0.1.
 */
plimsoll_status plimsoll_request_add_message_json(plimsoll_request *request,
                                                  const char *json,
                                                  size_t json_len,
                                                  plimsoll_error **error);

/**
 * Sets the functions that the model may call: a JSON list of descriptions, as OpenAI's chat format has them; NULL with
 * length 0 takes them back. The model's chat template renders them with the whole conversation (its template for tools,
 * where it has one of its own). What the model answers comes as text: calls are in the form that its template teaches it.
 * Give each turn of a session the same tools, or its KV has to be computed again. A request of text or tokens has no use
 * for them.
 *
 * Ownership: copies the text. Threads: one at a time per request. Errors: `INVALID_ARGUMENT` with line and column for what
 * is no JSON list of objects, nests more than 32 deep, or is longer than 16 MiB; `INVALID_UTF8`, `NULL_POINTER`. The
 * request is then unchanged. Since: 0.1.
 */
plimsoll_status plimsoll_request_set_tools(plimsoll_request *request,
                                           const char *json,
                                           size_t json_len,
                                           plimsoll_error **error);

/**
 * Text instead of messages: appended to the session's text as it is, without a template.
 *
 * Ownership: copies the text. Threads: one at a time per request. Errors: `INVALID_UTF8`, `NULL_POINTER`. Since: 0.1.
 */
plimsoll_status plimsoll_request_set_text(plimsoll_request *request,
                                          const char *content,
                                          size_t content_len,
                                          plimsoll_error **error);

/**
 * Token ids instead of messages: appended to the session's tokens as they are.
 *
 * Ownership: copies the ids. Threads: one at a time per request. Errors: `NULL_POINTER`; an id beyond the vocabulary is
 * refused when the request runs. Since: 0.1.
 */
plimsoll_status plimsoll_request_set_tokens(plimsoll_request *request,
                                            const uint32_t *tokens,
                                            size_t count,
                                            plimsoll_error **error);

/**
 * Takes messages, text and tokens back; settings, stop strings and tools stay.
 *
 * Ownership: borrows the request. Threads: one at a time per request. Errors: `NULL_POINTER`. Since: 0.1.
 */
plimsoll_status plimsoll_request_clear(plimsoll_request *request, plimsoll_error **error);

/**
 * Adds a text that ends the answer and is not part of it; at most 64, of at most 1024 bytes each.
 *
 * Ownership: copies the text. Threads: one at a time per request. Errors: `INVALID_ARGUMENT` when it is empty, too long or
 * one too many, `INVALID_UTF8`, `NULL_POINTER`. Since: 0.1.
 */
plimsoll_status plimsoll_request_add_stop(plimsoll_request *request,
                                          const char *content,
                                          size_t content_len,
                                          plimsoll_error **error);

/**
 * Most tokens to generate [512]. The guard may grant fewer, down to min_tokens.
 *
 * Ownership: borrows the request. Threads: one at a time per request. Errors: `NULL_POINTER`; 0 is refused when the request runs. Since: 0.1.
 */
plimsoll_status plimsoll_request_set_max_tokens(plimsoll_request *request,
                                                uint32_t value,
                                                plimsoll_error **error);

/**
 * The fewest granted tokens that are still worth running [1]. Equal to max_tokens, the request is refused rather than shrunk.
 *
 * Ownership: borrows the request. Threads: one at a time per request. Errors: `NULL_POINTER`; 0 and more than max_tokens are refused when the request runs. Since: 0.1.
 */
plimsoll_status plimsoll_request_set_min_tokens(plimsoll_request *request,
                                                uint32_t value,
                                                plimsoll_error **error);

/**
 * How much chance there is in the choice of tokens [0]: 0 always takes the likeliest.
 *
 * Ownership: borrows the request. Threads: one at a time per request. Errors: `INVALID_ARGUMENT` for a value out of its range (NaN included); the request is then unchanged. Since: 0.1.
 */
plimsoll_status plimsoll_request_set_temperature(plimsoll_request *request,
                                                 float value,
                                                 plimsoll_error **error);

/**
 * Choose among the k likeliest tokens [0: among all].
 *
 * Ownership: borrows the request. Threads: one at a time per request. Errors: `INVALID_ARGUMENT` for a value out of its range (NaN included); the request is then unchanged. Since: 0.1.
 */
plimsoll_status plimsoll_request_set_top_k(plimsoll_request *request,
                                           uint32_t value,
                                           plimsoll_error **error);

/**
 * Choose among the likeliest tokens whose probabilities reach this sum [1: among all].
 *
 * Ownership: borrows the request. Threads: one at a time per request. Errors: `INVALID_ARGUMENT` for a value out of its range (NaN included); the request is then unchanged. Since: 0.1.
 */
plimsoll_status plimsoll_request_set_top_p(plimsoll_request *request,
                                           float value,
                                           plimsoll_error **error);

/**
 * Choose among tokens at least this fraction as likely as the likeliest [0: among all].
 *
 * Ownership: borrows the request. Threads: one at a time per request. Errors: `INVALID_ARGUMENT` for a value out of its range (NaN included); the request is then unchanged. Since: 0.1.
 */
plimsoll_status plimsoll_request_set_min_p(plimsoll_request *request,
                                           float value,
                                           plimsoll_error **error);

/**
 * Divides the positive and multiplies the negative logits of tokens already seen [1].
 *
 * Ownership: borrows the request. Threads: one at a time per request. Errors: `INVALID_ARGUMENT` for a value out of its range (NaN included); the request is then unchanged. Since: 0.1.
 */
plimsoll_status plimsoll_request_set_repetition_penalty(plimsoll_request *request,
                                                        float value,
                                                        plimsoll_error **error);

/**
 * Subtracted from the logit of every token generated before [0].
 *
 * Ownership: borrows the request. Threads: one at a time per request. Errors: `INVALID_ARGUMENT` for a value out of its range (NaN included); the request is then unchanged. Since: 0.1.
 */
plimsoll_status plimsoll_request_set_presence_penalty(plimsoll_request *request,
                                                      float value,
                                                      plimsoll_error **error);

/**
 * Subtracted from a token's logit for each time it was generated before [0].
 *
 * Ownership: borrows the request. Threads: one at a time per request. Errors: `INVALID_ARGUMENT` for a value out of its range (NaN included); the request is then unchanged. Since: 0.1.
 */
plimsoll_status plimsoll_request_set_frequency_penalty(plimsoll_request *request,
                                                       float value,
                                                       plimsoll_error **error);

/**
 * Seed of the draws. The same seed gives the same text; without one each run draws its own.
 *
 * Ownership: borrows the request. Threads: one at a time per request. Errors: `NULL_POINTER`. Since: 0.1.
 */
plimsoll_status plimsoll_request_set_seed(plimsoll_request *request, uint64_t value, plimsoll_error **error);

/**
 * Report this many of the likeliest tokens with each token, at most 20 [0].
 *
 * Ownership: borrows the request. Threads: one at a time per request. Errors: `INVALID_ARGUMENT` for a value out of its range (NaN included); the request is then unchanged. Since: 0.1.
 */
plimsoll_status plimsoll_request_set_top_logprobs(plimsoll_request *request,
                                                  uint32_t value,
                                                  plimsoll_error **error);

/**
 * 0: refuse the request while memory is under pressure, rather than give it fewer tokens and tamer sampling [1]. What was
 * changed stands in the result.
 *
 * Ownership: borrows the request. Threads: one at a time per request. Errors: `NULL_POINTER`. Since: 0.1.
 */
plimsoll_status plimsoll_request_set_degradable(plimsoll_request *request,
                                                int32_t value,
                                                plimsoll_error **error);

/**
 * Not 0: generate on after end-of-text tokens [0].
 *
 * Ownership: borrows the request. Threads: one at a time per request. Errors: `NULL_POINTER`. Since: 0.1.
 */
plimsoll_status plimsoll_request_set_ignore_eos(plimsoll_request *request, int32_t value, plimsoll_error **error);

/**
 * Time limit of the answer in milliseconds from the call that starts it, waiting included [0: none].
 *
 * Ownership: borrows the request. Threads: one at a time per request. Errors: `NULL_POINTER`. Since: 0.1.
 */
plimsoll_status plimsoll_request_set_deadline_ms(plimsoll_request *request, uint64_t value, plimsoll_error **error);

/**
 * Frees a request; NULL is fine. Runs and tickets made from it are not affected.
 *
 * Ownership: takes the request. Threads: one. Errors: none. Since: 0.1.
 */
void plimsoll_request_free(plimsoll_request *request);

/**
 * How long the request may wait for memory, in milliseconds [0: it is refused at once]. Requests that wait are granted in order
 * of priority, and within one in order of arrival; nobody who comes later takes what they wait for. A request waits for as long
 * as not even its min_tokens fit, and is then given as many tokens as do. The waiting ends with a grant, or with a refusal and
 * the numbers of that moment: when the time is over, or the deadline, or when the cancel token is raised. What can never fit
 * does not wait; nor does a request for which the line is full (the key `guard.queue`), which is `QUEUE_FULL`.
 *
 * Ownership: borrows the request. Threads: one at a time per request. Errors: `NULL_POINTER`. Since: 0.1.
 */
plimsoll_status plimsoll_request_set_wait_ms(plimsoll_request *request,
                                             uint64_t value,
                                             plimsoll_error **error);

/**
 * The request's place among those who wait for memory [0]: before all of a lower priority. From -128 to 127.
 *
 * Ownership: borrows the request. Threads: one at a time per request. Errors: `INVALID_ARGUMENT`, `NULL_POINTER`. Since: 0.1.
 */
plimsoll_status plimsoll_request_set_priority(plimsoll_request *request,
                                              int32_t value,
                                              plimsoll_error **error);

/**
 * Makes a cancel token.
 *
 * Ownership: the caller frees `*out` with plimsoll_cancel_free(). Threads: any. Errors: `NULL_POINTER`. Since: 0.1.
 */
plimsoll_status plimsoll_cancel_new(plimsoll_cancel **out, plimsoll_error **error);

/**
 * Cancels every request that was or will be given this token. It never blocks, may be called from any thread, a callback
 * or a signal handler, and more than once; NULL is fine. The requests end within one step, their bytes come back, and then
 * the result says `PLIMSOLL_ENDING_CANCELLED`. One that waits for memory is refused, with `MEMORY_REFUSED`.
 *
 * Ownership: borrows the token. Threads: any. Errors: none. Since: 0.1.
 */
void plimsoll_cancel_raise(const plimsoll_cancel *cancel);

/**
 * Frees a cancel token; NULL is fine. Requests that have it go on.
 *
 * Ownership: takes the token. Threads: one. Errors: none. Since: 0.1.
 */
void plimsoll_cancel_free(plimsoll_cancel *cancel);

/**
 * Prices a request against the memory there is now. A refusal is a verdict, not an error: the call returns `PLIMSOLL_OK`
 * with `PLIMSOLL_DECISION_REJECT`, and `*ticket` is NULL. With `ticket` NULL it is a what-if: nothing is granted and
 * nothing changes. `verdict` may be NULL; else set `verdict->struct_size` first. A request with time to wait
 * (plimsoll_request_set_wait_ms()) may wait in this call; a what-if never waits, and says at which place the request would.
 *
 * Ownership: the caller frees `*ticket` with plimsoll_ticket_free(), also after a run consumed it. `verdict->reason` is
 * static. Threads: any. Errors: what is wrong with the request itself, such as `EMPTY_REQUEST`, `INVALID_ARGUMENT`,
 * `PROMPT_TOO_LONG`, `TEMPLATE`, `TOKENIZER`; `INVALID_STRUCT_SIZE`, `POISONED`, `NULL_POINTER`. Since: 0.1.
 */
plimsoll_status plimsoll_admit(const plimsoll_session *session,
                               const plimsoll_request *request,
                               plimsoll_verdict *verdict,
                               plimsoll_ticket **ticket,
                               plimsoll_error **error);

/**
 * Frees a ticket; NULL is fine. The bytes of one that did not run return at once; a run that consumed it goes on.
 *
 * Ownership: takes the ticket. Threads: one. Errors: none. Since: 0.1.
 */
void plimsoll_ticket_free(plimsoll_ticket *ticket);

/**
 * What plimsoll_admit() would decide now, as a JSON object: decision, reason, the numbers of plimsoll_verdict, and "items", the
 * price of all "answers" together line by line. Each line has "region" ("host", "device 0"), "what" ("kv", "kv_held", "ring",
 * "buffers", "workspace", "load"), "purpose" (the ledger's column: "kv", "request", "workspace"), "bytes", and "new": whether a
 * grant books them, as the others were booked by an earlier turn or when the model was loaded. "new_bytes" is the sum of the
 * new lines. Nothing is granted and nothing changes.
 *
 * Ownership: the caller frees `*out` with plimsoll_text_free(). Threads: any. Errors: those of plimsoll_admit(). Since: 0.1.
 */
plimsoll_status plimsoll_what_if_json(const plimsoll_session *session,
                                      const plimsoll_request *request,
                                      plimsoll_text **out,
                                      plimsoll_error **error);

/**
 * What was granted to a ticket, as plimsoll_what_if_json() writes it. Each line also has its "owner" in the ledger, as in
 * plimsoll_memory_stats_json(): what is new, of one owner, is what this ticket holds until it is used, freed or expires.
 *
 * Ownership: the caller frees `*out` with plimsoll_text_free(). Threads: any. Errors: `NULL_POINTER`. Since: 0.1.
 */
plimsoll_status plimsoll_ticket_json(const plimsoll_ticket *ticket,
                                     plimsoll_text **out,
                                     plimsoll_error **error);

/**
 * Runs a request and returns when its answer has ended, or all of several; `result` is that of answer 0, and
 * plimsoll_generate_answers() has the others'. With `ticket` NULL the request is admitted first; a ticket is consumed when the
 * run starts. `cancel`, `on_event` and `result` may be NULL; else set `result->struct_size` first. Requests of one session run
 * one at a time, in arrival order; those of different sessions run together. The answer joins the session's conversation, also
 * when it was stopped, cancelled or late; after an error the conversation is as it was before.
 *
 * Ownership: borrows all. Threads: any; `on_event` is called on this one. Errors: `MEMORY_REFUSED` with its numbers,
 * `QUEUE_FULL`, `OUT_OF_MEMORY`, `BUSY` while a stream or a ticket of the session is outstanding, `REENTRANT`, `TICKET_*`,
 * `EMPTY_REQUEST`, `INVALID_ARGUMENT`, `INVALID_TOKEN`, `PROMPT_TOO_LONG`, `TEMPLATE`, `TOKENIZER`, `ENGINE_*`, `POISONED`,
 * `INVALID_STRUCT_SIZE`, `NULL_POINTER`. Since: 0.1.
 */
plimsoll_status plimsoll_generate(const plimsoll_session *session,
                                  const plimsoll_request *request,
                                  const plimsoll_ticket *ticket,
                                  const plimsoll_cancel *cancel,
                                  plimsoll_on_event on_event,
                                  void *user_data,
                                  plimsoll_result *result,
                                  plimsoll_error **error);

/**
 * Starts a request; its events come from plimsoll_stream_next(). Until the stream has ended or is freed its session runs
 * nothing else. Tokens that are not pulled wait in memory that the request has paid for, so a slow reader slows nobody.
 *
 * Ownership: borrows all; the caller frees `*out` with plimsoll_stream_free(). Threads: any. Errors: as plimsoll_generate().
 * Since: 0.1.
 */
plimsoll_status plimsoll_stream_start(const plimsoll_session *session,
                                      const plimsoll_request *request,
                                      const plimsoll_ticket *ticket,
                                      const plimsoll_cancel *cancel,
                                      plimsoll_stream **out,
                                      plimsoll_error **error);

/**
 * Waits for the next event, at most `timeout_ms` milliseconds; a negative number waits for ever. Set `event->struct_size`
 * first. The kind is `PLIMSOLL_EVENT_END` when the answer has ended, and stays so; then plimsoll_stream_result() has the
 * numbers.
 *
 * Ownership: what `event` points to lives until the next call on this stream. Threads: one at a time. Errors: `ENGINE_*`,
 * `OUT_OF_MEMORY` when the request failed, the same again on every later call; `INVALID_STRUCT_SIZE`, `POISONED`,
 * `NULL_POINTER`. Since: 0.1.
 */
plimsoll_status plimsoll_stream_next(plimsoll_stream *stream,
                                     int64_t timeout_ms,
                                     plimsoll_event *event,
                                     plimsoll_error **error);

/**
 * The numbers of an answer whose `PLIMSOLL_EVENT_END` has come. Set `result->struct_size` first.
 *
 * Ownership: borrows the stream. Threads: one at a time. Errors: `INVALID_ARGUMENT` before the end, `INVALID_STRUCT_SIZE`,
 * `POISONED`, `NULL_POINTER`. Since: 0.1.
 */
plimsoll_status plimsoll_stream_result(const plimsoll_stream *stream,
                                       plimsoll_result *result,
                                       plimsoll_error **error);

/**
 * Cancels the stream's request; NULL is fine. It never blocks; the end still comes through plimsoll_stream_next().
 *
 * Ownership: borrows the stream. Threads: any. Errors: none. Since: 0.1.
 */
void plimsoll_stream_cancel(const plimsoll_stream *stream);

/**
 * Frees a stream; NULL is fine. A running request is cancelled first, and the call waits for the step it is in.
 *
 * Ownership: takes the stream. Threads: one. Errors: none. Since: 0.1.
 */
void plimsoll_stream_free(plimsoll_stream *stream);

/**
 * How many answers to generate side by side [1], at most 128: alternatives to each other, of the same prompt. All are granted,
 * or none; max_tokens is for each, and the price is that of one as often. The conversation goes on with answer 0; the KV of the
 * others goes when they end. Answer i draws with the request's seed + i (0 after the largest), so it is what a request for one
 * answer with that seed gets, unless rounding in another batch chooses a different token; without a seed each draws its own.
 *
 * Ownership: borrows the request. Threads: one at a time per request. Errors: `INVALID_ARGUMENT` for 0 and for more than 128; the
 * request is then unchanged. Since: 0.1.
 */
plimsoll_status plimsoll_request_set_answers(plimsoll_request *request,
                                             uint32_t value,
                                             plimsoll_error **error);

/**
 * plimsoll_generate() for several answers: writes the results of the first `count` answers, answer 0 first, into the array
 * `results`. Set `struct_size` of each before; all have the size of the first. With `count` 0 `results` may be NULL. The events say
 * which answer they are of.
 *
 * Ownership: borrows all. Threads: any; `on_event` is called on this one. Errors: those of plimsoll_generate();
 * `INVALID_ARGUMENT` when `count` is more than the request's answers, `INVALID_STRUCT_SIZE` when the sizes differ. Since: 0.1.
 */
plimsoll_status plimsoll_generate_answers(const plimsoll_session *session,
                                          const plimsoll_request *request,
                                          const plimsoll_ticket *ticket,
                                          const plimsoll_cancel *cancel,
                                          plimsoll_on_event on_event,
                                          void *user_data,
                                          plimsoll_result *results,
                                          size_t count,
                                          plimsoll_error **error);

/**
 * An answer whose stream has ended: its numbers and its whole text. `result` and `text` may be NULL; else set
 * `result->struct_size` first. plimsoll_stream_result() has the numbers of answer 0.
 *
 * Ownership: `*text` lives until the stream is freed. Threads: one at a time. Errors: `INVALID_ARGUMENT` before the end and for an
 * answer that was not asked for, `INVALID_STRUCT_SIZE`, `POISONED`, `NULL_POINTER`. Since: 0.1.
 */
plimsoll_status plimsoll_stream_answer(const plimsoll_stream *stream,
                                       uint32_t answer,
                                       plimsoll_result *result,
                                       plimsoll_str *text,
                                       plimsoll_error **error);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* PLIMSOLL_H */
