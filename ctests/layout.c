/* The layout of every public struct on 64-bit systems and the value of every constant, in numbers that never change: members
 * are only ever appended, and then these lines stay and new ones follow. Compiling this file is the test. */
#include "plimsoll.h"

#include <stdio.h>

/* C99 has no _Static_assert: an array of negative size does not compile. */
#define AT(type, member, offset) typedef char type##_##member##_is_at_##offset[offsetof(type, member) == (offset) ? 1 : -1]
/* A struct that may grow is at least as long as in the release that brought it. */
#define AT_LEAST(type, size) typedef char type##_has_##size[sizeof(type) >= (size) ? 1 : -1]
/* A struct without struct_size cannot grow. */
#define SIZE(type, size) typedef char type##_has_##size[sizeof(type) == (size) ? 1 : -1]

/* Numbers are never changed and never used again. */
#define VALUE(name, value) typedef char name##_is_##value[(name) == (value) ? 1 : -1]

VALUE(PLIMSOLL_OK, 0);
VALUE(PLIMSOLL_ERR_INVALID_ARGUMENT, 100);
VALUE(PLIMSOLL_ERR_NULL_POINTER, 101);
VALUE(PLIMSOLL_ERR_INVALID_UTF8, 102);
VALUE(PLIMSOLL_ERR_INVALID_CONFIG, 103);
VALUE(PLIMSOLL_ERR_INVALID_STRUCT_SIZE, 104);
VALUE(PLIMSOLL_ERR_REENTRANT, 105);
VALUE(PLIMSOLL_ERR_TICKET_EXPIRED, 106);
VALUE(PLIMSOLL_ERR_TICKET_CONSUMED, 107);
VALUE(PLIMSOLL_ERR_TICKET_MISMATCH, 108);
VALUE(PLIMSOLL_ERR_POISONED, 109);
VALUE(PLIMSOLL_ERR_UNSUPPORTED, 110);
VALUE(PLIMSOLL_ERR_EMPTY_REQUEST, 111);
VALUE(PLIMSOLL_ERR_PROMPT_TOO_LONG, 112);
VALUE(PLIMSOLL_ERR_INVALID_TOKEN, 113);
VALUE(PLIMSOLL_ERR_MEMORY_REFUSED, 200);
VALUE(PLIMSOLL_ERR_OUT_OF_MEMORY, 201);
VALUE(PLIMSOLL_ERR_QUEUE_FULL, 202);
VALUE(PLIMSOLL_ERR_BUSY, 203);
VALUE(PLIMSOLL_ERR_MODEL_NOT_FOUND, 300);
VALUE(PLIMSOLL_ERR_MODEL_MALFORMED, 301);
VALUE(PLIMSOLL_ERR_MODEL_UNSUPPORTED, 302);
VALUE(PLIMSOLL_ERR_TOKENIZER, 303);
VALUE(PLIMSOLL_ERR_TEMPLATE, 304);
VALUE(PLIMSOLL_ERR_ENGINE_FAILED, 305);
VALUE(PLIMSOLL_ERR_ENGINE_CLOSED, 306);
VALUE(PLIMSOLL_ERR_LOAD_CANCELLED, 307);
VALUE(PLIMSOLL_ERR_INTERNAL, 900);
VALUE(PLIMSOLL_SECTION_REQUEST, 1);
VALUE(PLIMSOLL_SECTION_LOADING, 2);
VALUE(PLIMSOLL_SECTION_MEMORY, 3);
VALUE(PLIMSOLL_SECTION_GENERATION, 4);
VALUE(PLIMSOLL_SECTION_CLEANUP, 5);
VALUE(PLIMSOLL_SECTION_HEALTH, 6);
VALUE(PLIMSOLL_SECTION_AUTHENTICATION, 7);
VALUE(PLIMSOLL_SECTION_INTERNAL, 9);
VALUE(PLIMSOLL_LOG_OFF, 0);
VALUE(PLIMSOLL_LOG_ERROR, 1);
VALUE(PLIMSOLL_LOG_WARN, 2);
VALUE(PLIMSOLL_LOG_INFO, 3);
VALUE(PLIMSOLL_LOG_DEBUG, 4);
VALUE(PLIMSOLL_LOG_TRACE, 5);
VALUE(PLIMSOLL_LOAD_QUEUED, 0);
VALUE(PLIMSOLL_LOAD_READING, 1);
VALUE(PLIMSOLL_LOAD_PREPARING, 2);
VALUE(PLIMSOLL_LOAD_WARM, 3);
VALUE(PLIMSOLL_LOAD_READY, 4);
VALUE(PLIMSOLL_LOAD_FAILED, 5);
VALUE(PLIMSOLL_DECISION_ACCEPT, 1);
VALUE(PLIMSOLL_DECISION_SHRINK, 2);
VALUE(PLIMSOLL_DECISION_ROUTE, 3);
VALUE(PLIMSOLL_DECISION_REJECT, 4);
VALUE(PLIMSOLL_EVENT_TOKEN, 1);
VALUE(PLIMSOLL_EVENT_TEXT, 2);
VALUE(PLIMSOLL_EVENT_END, 3);
VALUE(PLIMSOLL_EVENT_TIMEOUT, 4);
VALUE(PLIMSOLL_ENDING_END_OF_TEXT, 1);
VALUE(PLIMSOLL_ENDING_LENGTH, 2);
VALUE(PLIMSOLL_ENDING_STOP_STRING, 3);
VALUE(PLIMSOLL_ENDING_STOPPED, 4);
VALUE(PLIMSOLL_ENDING_CANCELLED, 5);
VALUE(PLIMSOLL_ENDING_DEADLINE, 6);
VALUE(PLIMSOLL_MEMORY_LOW, 0);
VALUE(PLIMSOLL_MEMORY_MODERATE, 1);
VALUE(PLIMSOLL_MEMORY_HIGH, 2);
VALUE(PLIMSOLL_MEMORY_CRITICAL, 3);
VALUE(PLIMSOLL_ALERT_PRESSURE, 0);
VALUE(PLIMSOLL_ALERT_SESSION, 1);
VALUE(PLIMSOLL_ALERT_REFUSALS, 2);
VALUE(PLIMSOLL_ALERT_EVICTIONS, 3);
VALUE(PLIMSOLL_ALERT_LEAK, 4);

#if defined(__LP64__)
SIZE(plimsoll_str, 16);
AT(plimsoll_str, ptr, 0);
AT(plimsoll_str, len, 8);

AT_LEAST(plimsoll_memory, 144);
AT(plimsoll_memory, struct_size, 0);
AT(plimsoll_memory, capacity_bytes, 8);
AT(plimsoll_memory, limit_bytes, 16);
AT(plimsoll_memory, used_bytes, 24);
AT(plimsoll_memory, free_bytes, 32);
AT(plimsoll_memory, peak_bytes, 40);
AT(plimsoll_memory, weights_bytes, 48);
AT(plimsoll_memory, workspace_bytes, 56);
AT(plimsoll_memory, kv_bytes, 64);
AT(plimsoll_memory, request_bytes, 72);
AT(plimsoll_memory, active_sessions, 80);
AT(plimsoll_memory, accepted_count, 88);
AT(plimsoll_memory, shrunk_count, 96);
AT(plimsoll_memory, rejected_count, 104);
AT(plimsoll_memory, routed_count, 112);
AT(plimsoll_memory, degraded_count, 120);
AT(plimsoll_memory, evictions, 128);
AT(plimsoll_memory, heap_bytes, 136);
AT(plimsoll_memory, pressure_changes, 144);
AT(plimsoll_memory, pressure, 152);
AT(plimsoll_memory, reserved, 156);
AT(plimsoll_memory, text_bytes, 160);
AT(plimsoll_memory, tables_bytes, 168);
AT(plimsoll_memory, talk_bytes, 176);
AT(plimsoll_memory, mapped_bytes, 184);
AT(plimsoll_memory, resident_bytes, 192);
AT(plimsoll_memory, unbooked_bytes, 200);
AT(plimsoll_memory, models_loaded, 208);
AT(plimsoll_memory, models_unloaded, 216);
AT(plimsoll_memory, unloads, 224);
AT(plimsoll_memory, reloads, 232);

AT_LEAST(plimsoll_monitor_snapshot, 200);
AT(plimsoll_monitor_snapshot, struct_size, 0);
AT(plimsoll_monitor_snapshot, age_ms, 8);
AT(plimsoll_monitor_snapshot, capacity_bytes, 16);
AT(plimsoll_monitor_snapshot, used_bytes, 24);
AT(plimsoll_monitor_snapshot, free_bytes, 32);
AT(plimsoll_monitor_snapshot, ours_bytes, 40);
AT(plimsoll_monitor_snapshot, others_bytes, 48);
AT(plimsoll_monitor_snapshot, leasable_bytes, 56);
AT(plimsoll_monitor_snapshot, peak_bytes, 64);
AT(plimsoll_monitor_snapshot, average_bytes, 72);
AT(plimsoll_monitor_snapshot, snapshots, 80);
AT(plimsoll_monitor_snapshot, moderate_events, 88);
AT(plimsoll_monitor_snapshot, high_events, 96);
AT(plimsoll_monitor_snapshot, critical_events, 104);
AT(plimsoll_monitor_snapshot, cpu, 112);
AT(plimsoll_monitor_snapshot, cpu_own, 120);
AT(plimsoll_monitor_snapshot, memory_total_bytes, 128);
AT(plimsoll_monitor_snapshot, memory_available_bytes, 136);
AT(plimsoll_monitor_snapshot, resident_bytes, 144);
AT(plimsoll_monitor_snapshot, heap_bytes, 152);
AT(plimsoll_monitor_snapshot, unbooked_bytes, 160);
AT(plimsoll_monitor_snapshot, cleanup_runs, 168);
AT(plimsoll_monitor_snapshot, cleanup_freed_bytes, 176);
AT(plimsoll_monitor_snapshot, cleanup_age_ms, 184);
AT(plimsoll_monitor_snapshot, level, 192);
AT(plimsoll_monitor_snapshot, alerts, 196);

AT_LEAST(plimsoll_alert, 72);
AT(plimsoll_alert, struct_size, 0);
AT(plimsoll_alert, kind, 8);
AT(plimsoll_alert, raised, 12);
AT(plimsoll_alert, value, 16);
AT(plimsoll_alert, threshold, 24);
AT(plimsoll_alert, bytes, 32);
AT(plimsoll_alert, session, 40);
AT(plimsoll_alert, region, 48);
AT(plimsoll_alert, reserved, 52);
AT(plimsoll_alert, text, 56);

AT_LEAST(plimsoll_pool, 128);
AT(plimsoll_pool, struct_size, 0);
AT(plimsoll_pool, in_use_bytes, 8);
AT(plimsoll_pool, idle_bytes, 16);
AT(plimsoll_pool, pool_limit_bytes, 24);
AT(plimsoll_pool, buffers_in_use, 32);
AT(plimsoll_pool, buffers_idle, 40);
AT(plimsoll_pool, hits, 48);
AT(plimsoll_pool, misses, 56);
AT(plimsoll_pool, pool_evictions, 64);
AT(plimsoll_pool, engine_in_use_bytes, 72);
AT(plimsoll_pool, engine_idle_bytes, 80);
AT(plimsoll_pool, engine_buffers_in_use, 88);
AT(plimsoll_pool, engine_buffers_idle, 96);
AT(plimsoll_pool, engine_hits, 104);
AT(plimsoll_pool, engine_misses, 112);
AT(plimsoll_pool, engine_evictions, 120);

AT_LEAST(plimsoll_progress, 40);
AT(plimsoll_progress, struct_size, 0);
AT(plimsoll_progress, state, 8);
AT(plimsoll_progress, shard, 12);
AT(plimsoll_progress, shards, 16);
AT(plimsoll_progress, reserved, 20);
AT(plimsoll_progress, bytes_done, 24);
AT(plimsoll_progress, bytes_total, 32);

AT_LEAST(plimsoll_model_facts, 64);
AT(plimsoll_model_facts, struct_size, 0);
AT(plimsoll_model_facts, context_length, 8);
AT(plimsoll_model_facts, vocab_size, 12);
AT(plimsoll_model_facts, weights_bytes, 16);
AT(plimsoll_model_facts, workspace_bytes, 24);
AT(plimsoll_model_facts, kv_bytes, 32);
AT(plimsoll_model_facts, block_tokens, 40);
AT(plimsoll_model_facts, max_sequences, 44);
AT(plimsoll_model_facts, engine, 48);
AT(plimsoll_model_facts, host_bytes, 64);

SIZE(plimsoll_message, 32);
AT(plimsoll_message, role, 0);
AT(plimsoll_message, content, 16);

AT_LEAST(plimsoll_verdict, 112);
AT(plimsoll_verdict, struct_size, 0);
AT(plimsoll_verdict, decision, 8);
AT(plimsoll_verdict, asked_tokens, 12);
AT(plimsoll_verdict, granted_tokens, 16);
AT(plimsoll_verdict, fits_tokens, 20);
AT(plimsoll_verdict, bytes_asked, 24);
AT(plimsoll_verdict, bytes_free, 32);
AT(plimsoll_verdict, kv_bytes, 40);
AT(plimsoll_verdict, kv_held_bytes, 48);
AT(plimsoll_verdict, request_bytes, 56);
AT(plimsoll_verdict, workspace_bytes, 64);
AT(plimsoll_verdict, evict_bytes, 72);
AT(plimsoll_verdict, evict_sessions, 80);
AT(plimsoll_verdict, reserved, 84);
AT(plimsoll_verdict, retry_after_ms, 88);
AT(plimsoll_verdict, reason, 96);
AT(plimsoll_verdict, pressure, 112);
AT(plimsoll_verdict, region, 116);
AT(plimsoll_verdict, waited_ms, 120);
AT(plimsoll_verdict, position, 124);
AT(plimsoll_verdict, load_bytes, 128);
AT(plimsoll_verdict, unload_bytes, 136);
AT(plimsoll_verdict, unload_models, 144);
AT(plimsoll_verdict, answers, 152);
AT(plimsoll_verdict, kv_region, 156);

SIZE(plimsoll_logprob, 8);
AT(plimsoll_logprob, token, 0);
AT(plimsoll_logprob, logprob, 4);

AT_LEAST(plimsoll_event, 48);
AT(plimsoll_event, struct_size, 0);
AT(plimsoll_event, kind, 8);
AT(plimsoll_event, token, 12);
AT(plimsoll_event, logprob, 16);
AT(plimsoll_event, top_count, 20);
AT(plimsoll_event, top, 24);
AT(plimsoll_event, text, 32);
AT(plimsoll_event, answer, 48);
AT(plimsoll_event, reserved, 52);

AT_LEAST(plimsoll_result, 88);
AT(plimsoll_result, struct_size, 0);
AT(plimsoll_result, ending, 8);
AT(plimsoll_result, decision, 12);
AT(plimsoll_result, prompt_tokens, 16);
AT(plimsoll_result, cached_tokens, 20);
AT(plimsoll_result, generated_tokens, 24);
AT(plimsoll_result, granted_tokens, 28);
AT(plimsoll_result, queued_us, 32);
AT(plimsoll_result, prefill_us, 40);
AT(plimsoll_result, decode_us, 48);
AT(plimsoll_result, tokens_per_second, 56);
AT(plimsoll_result, leased_bytes, 64);
AT(plimsoll_result, kv_bytes, 72);
AT(plimsoll_result, bytes_free, 80);
AT(plimsoll_result, pressure, 88);
AT(plimsoll_result, degraded, 92);
AT(plimsoll_result, answer, 96);
AT(plimsoll_result, answers, 100);

AT_LEAST(plimsoll_engine_description, 56);
AT(plimsoll_engine_description, struct_size, 0);
AT(plimsoll_engine_description, context_length, 8);
AT(plimsoll_engine_description, vocab_size, 12);
AT(plimsoll_engine_description, block_tokens, 16);
AT(plimsoll_engine_description, max_sequences, 20);
AT(plimsoll_engine_description, weights_bytes, 24);
AT(plimsoll_engine_description, workspace_bytes, 32);
AT(plimsoll_engine_description, name, 40);
AT(plimsoll_engine_description, name_len, 48);

AT_LEAST(plimsoll_engine_shape, 24);
AT(plimsoll_engine_shape, struct_size, 0);
AT(plimsoll_engine_shape, prompt_tokens, 8);
AT(plimsoll_engine_shape, max_tokens, 12);
AT(plimsoll_engine_shape, top_logprobs, 16);
AT(plimsoll_engine_shape, penalties, 20);

AT_LEAST(plimsoll_engine_price, 32);
AT(plimsoll_engine_price, struct_size, 0);
AT(plimsoll_engine_price, kv_bytes, 8);
AT(plimsoll_engine_price, kv_block_bytes, 16);
AT(plimsoll_engine_price, request_bytes, 24);

AT_LEAST(plimsoll_engine_request, 136);
AT(plimsoll_engine_request, struct_size, 0);
AT(plimsoll_engine_request, request, 8);
AT(plimsoll_engine_request, session, 16);
AT(plimsoll_engine_request, tokens, 24);
AT(plimsoll_engine_request, token_count, 32);
AT(plimsoll_engine_request, stop_tokens, 40);
AT(plimsoll_engine_request, stop_count, 48);
AT(plimsoll_engine_request, shared_prefix, 56);
AT(plimsoll_engine_request, max_tokens, 64);
AT(plimsoll_engine_request, top_logprobs, 68);
AT(plimsoll_engine_request, kv_bytes, 72);
AT(plimsoll_engine_request, request_bytes, 80);
AT(plimsoll_engine_request, seed, 88);
AT(plimsoll_engine_request, has_seed, 96);
AT(plimsoll_engine_request, keep_kv, 100);
AT(plimsoll_engine_request, temperature, 104);
AT(plimsoll_engine_request, top_k, 108);
AT(plimsoll_engine_request, top_p, 112);
AT(plimsoll_engine_request, min_p, 116);
AT(plimsoll_engine_request, repetition_penalty, 120);
AT(plimsoll_engine_request, presence_penalty, 124);
AT(plimsoll_engine_request, frequency_penalty, 128);
AT(plimsoll_engine_request, reserved, 132);

AT_LEAST(plimsoll_engine_token, 40);
AT(plimsoll_engine_token, struct_size, 0);
AT(plimsoll_engine_token, token, 8);
AT(plimsoll_engine_token, logprob, 12);
AT(plimsoll_engine_token, top_tokens, 16);
AT(plimsoll_engine_token, top_logprobs, 24);
AT(plimsoll_engine_token, top_count, 32);

AT_LEAST(plimsoll_engine_end, 48);
AT(plimsoll_engine_end, struct_size, 0);
AT(plimsoll_engine_end, status, 8);
AT(plimsoll_engine_end, ending, 12);
AT(plimsoll_engine_end, cached_tokens, 16);
AT(plimsoll_engine_end, kv_tokens, 24);
AT(plimsoll_engine_end, message, 32);
AT(plimsoll_engine_end, message_len, 40);

AT_LEAST(plimsoll_engine_holdings, 32);
AT(plimsoll_engine_holdings, struct_size, 0);
AT(plimsoll_engine_holdings, weights_bytes, 8);
AT(plimsoll_engine_holdings, workspace_bytes, 16);
AT(plimsoll_engine_holdings, kv_bytes, 24);

AT_LEAST(plimsoll_engine_host, 88);
AT(plimsoll_engine_host, struct_size, 0);
AT(plimsoll_engine_host, abi_version, 8);
AT(plimsoll_engine_host, reserved, 12);
AT(plimsoll_engine_host, context, 16);
AT(plimsoll_engine_host, begin, 24);
AT(plimsoll_engine_host, lease_grow, 32);
AT(plimsoll_engine_host, lease_shrink, 40);
AT(plimsoll_engine_host, emit_token, 48);
AT(plimsoll_engine_host, emit_end, 56);
AT(plimsoll_engine_host, interrupted, 64);
AT(plimsoll_engine_host, reclaimed, 72);
AT(plimsoll_engine_host, log, 80);

AT_LEAST(plimsoll_engine_table, 80);
AT(plimsoll_engine_table, struct_size, 0);
AT(plimsoll_engine_table, abi_version, 8);
AT(plimsoll_engine_table, reserved, 12);
AT(plimsoll_engine_table, describe, 16);
AT(plimsoll_engine_table, load, 24);
AT(plimsoll_engine_table, estimate, 32);
AT(plimsoll_engine_table, start, 40);
AT(plimsoll_engine_table, cancel, 48);
AT(plimsoll_engine_table, reclaim, 56);
AT(plimsoll_engine_table, holdings, 64);
AT(plimsoll_engine_table, free, 72);

VALUE(PLIMSOLL_ENGINE_ABI_VERSION, 1);
SIZE(plimsoll_status, 4);
#endif

int main(void) {
    puts("ok layout: compiled");
    return 0;
}
