/* The memory monitor: snapshots and their history, alerts, cleanups, and callbacks that come and go. */
#include "check.h"

#include <pthread.h>

SUITE("monitor");

/* What a loaded TINY takes. */
static uint64_t model_bytes;

static plimsoll_monitor_snapshot snapshot_of(const plimsoll_runtime *runtime, int32_t region) {
    plimsoll_monitor_snapshot snapshot = {.struct_size = sizeof snapshot};
    CHECK_OK(plimsoll_monitor_get_snapshot(runtime, region, &snapshot, &error));
    return snapshot;
}

/* A copy of the text, ended by a NUL. */
static char *copy_of(plimsoll_text *text) {
    plimsoll_str view = plimsoll_text_str(text);
    char *copy = calloc(1, view.len + 1);
    REQUIRE(copy != NULL);
    memcpy(copy, view.ptr, view.len);
    plimsoll_text_free(text);
    return copy;
}

static plimsoll_runtime *runtime_with(uint64_t bytes, const char *key, const char *value) {
    char budget[24];
    snprintf(budget, sizeof budget, "%" PRIu64, bytes);
    const char *const pairs[] = {"memory.budget", budget, "guard.threshold", "1", "guard.reserve_mb", "0",
                                 "guard.degrade", "off", "monitor.interval_ms", "10", key, value, NULL};
    return runtime_of(pairs);
}

/* --- Snapshots ------------------------------------------------------------------------------------------------------ */

static void snapshots(void) {
    plimsoll_runtime *runtime = runtime_with(64 << 20, NULL, NULL);
    plimsoll_monitor_snapshot first = snapshot_of(runtime, -1);
    CHECK_EQ(first.struct_size, sizeof first);
    CHECK_EQ(first.capacity_bytes, 64 << 20);
    CHECK_EQ(first.used_bytes, 0);
    CHECK(first.snapshots >= 1);
    plimsoll_model *model = load(runtime);
    plimsoll_monitor_snapshot last = first;
    for (int i = 0; i < 500 && last.ours_bytes == 0; i++) {
        pause_briefly();
        last = snapshot_of(runtime, -1);
    }
    CHECK_EQ(last.ours_bytes, memory_of(runtime).used_bytes);
    CHECK_EQ(last.used_bytes, last.ours_bytes + last.others_bytes);
    CHECK_EQ(last.free_bytes, last.capacity_bytes - last.used_bytes);
    CHECK_EQ(last.leasable_bytes, memory_of(runtime).free_bytes);
    CHECK(last.peak_bytes >= last.used_bytes && last.average_bytes <= last.peak_bytes);
    CHECK(last.snapshots > first.snapshots && last.age_ms < 60000);
    CHECK_EQ(last.level, PLIMSOLL_MEMORY_LOW);
    CHECK_EQ(last.moderate_events + last.high_events + last.critical_events, 0);
    CHECK_EQ(last.alerts, 0);
    CHECK_EQ(last.cleanup_runs, 0);
    CHECK_EQ(last.cleanup_age_ms, -1);
    CHECK(last.cpu >= 0 && last.cpu <= 1 && last.cpu_own >= 0 && last.cpu_own <= 1);
    CHECK(last.memory_total_bytes > last.resident_bytes && last.resident_bytes > 1 << 20);
    CHECK(last.memory_available_bytes > 0 && last.memory_available_bytes <= last.memory_total_bytes);
    CHECK(last.heap_bytes > 0 && last.unbooked_bytes <= last.heap_bytes);

    plimsoll_text *text = NULL;
    CHECK_OK(plimsoll_monitor_history_json(runtime, &text, &error));
    char *json = copy_of(text);
    CHECK(strstr(json, "\"regions\":[{\"region\":\"host\",\"snapshots\":[{\"at_ms\":") != NULL);
    CHECK(strstr(json, "\"capacity_bytes\":67108864") != NULL);
    CHECK(strstr(json, "\"system\":[{") != NULL);
    free(json);
    text = NULL;
    CHECK_OK(plimsoll_memory_stats_json(runtime, &text, &error));
    json = copy_of(text);
    static const char *const members[] = {"\"monitor\":{", "\"pressure_events\":", "\"average_bytes\":", "\"alerts\":{\"now_ms\":",
                                          "\"cleanup\":{\"threshold\":0.85", "\"cpu_own\":"};
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        CHECK(strstr(json, members[i]) != NULL);
    }
    free(json);
    text = NULL;
    CHECK_OK(plimsoll_memory_report(runtime, &text, &error));
    char *report = copy_of(text);
    CHECK(strstr(report, "\n  weights of model 1 ") != NULL && strstr(report, "\nalerts    none\n") != NULL);
    free(report);
    plimsoll_model_unload(model);
    plimsoll_runtime_free(runtime);
}

static void mistakes(void) {
    plimsoll_runtime *runtime = runtime_with(64 << 20, NULL, NULL);
    plimsoll_monitor_snapshot snapshot = {.struct_size = sizeof snapshot};
    CHECK_ERROR(PLIMSOLL_ERR_NULL_POINTER, plimsoll_monitor_get_snapshot(NULL, -1, &snapshot, &error));
    CHECK_ERROR(PLIMSOLL_ERR_NULL_POINTER, plimsoll_monitor_get_snapshot(runtime, -1, NULL, &error));
    for (int32_t region = -2; region <= 256; region += region < 0 ? 2 : 256) {
        CHECK_ERROR(PLIMSOLL_ERR_INVALID_ARGUMENT, plimsoll_monitor_get_snapshot(runtime, region, &snapshot, &error));
    }
    snapshot.struct_size = 0;
    CHECK_ERROR(PLIMSOLL_ERR_INVALID_STRUCT_SIZE, plimsoll_monitor_get_snapshot(runtime, -1, &snapshot, &error));
    /* A program that knows of less gets that. */
    snapshot.struct_size = offsetof(plimsoll_monitor_snapshot, used_bytes);
    snapshot.used_bytes = 77;
    CHECK_OK(plimsoll_monitor_get_snapshot(runtime, -1, &snapshot, &error));
    CHECK_EQ(snapshot.capacity_bytes, 64 << 20);
    CHECK_EQ(snapshot.used_bytes, 77);
    plimsoll_text *text = NULL;
    CHECK_ERROR(PLIMSOLL_ERR_NULL_POINTER, plimsoll_monitor_history_json(NULL, &text, &error));
    CHECK_ERROR(PLIMSOLL_ERR_NULL_POINTER, plimsoll_monitor_history_json(runtime, NULL, &error));
    CHECK_ERROR(PLIMSOLL_ERR_NULL_POINTER, plimsoll_monitor_alerts_json(NULL, &text, &error));
    CHECK_ERROR(PLIMSOLL_ERR_NULL_POINTER, plimsoll_monitor_alerts_json(runtime, NULL, &error));
    CHECK_ERROR(PLIMSOLL_ERR_NULL_POINTER, plimsoll_memory_report(NULL, &text, &error));
    CHECK_ERROR(PLIMSOLL_ERR_NULL_POINTER, plimsoll_memory_report(runtime, NULL, &error));
    CHECK_ERROR(PLIMSOLL_ERR_NULL_POINTER, plimsoll_memory_cleanup(NULL, NULL, &error));
    CHECK_ERROR(PLIMSOLL_ERR_NULL_POINTER, plimsoll_cleanup_unregister(NULL, 1, &error));
    CHECK_ERROR(PLIMSOLL_ERR_INVALID_ARGUMENT, plimsoll_cleanup_unregister(runtime, 1, &error));
    plimsoll_runtime_free(runtime);
}

/* --- Alerts --------------------------------------------------------------------------------------------------------- */

typedef struct {
    pthread_mutex_t lock;
    const plimsoll_runtime *runtime;
    int raised, cleared, dropped;
    double value;
    uint64_t bytes;
    int32_t kind, region;
    char text[128];
} ears;

static void hear(const plimsoll_alert *alert, void *user_data) {
    ears *e = user_data;
    CHECK_EQ(alert->struct_size, sizeof *alert);
    /* No lock is held: any call may be made. */
    snapshot_of(e->runtime, -1);
    CHECK_EQ(alert->session, 0);
    CHECK(alert->threshold == 0.85 && (alert->raised ? alert->value > 0.85 : alert->value < 0.85));
    pthread_mutex_lock(&e->lock);
    *(alert->raised ? &e->raised : &e->cleared) += 1;
    e->kind = alert->kind;
    e->region = alert->region;
    e->bytes = alert->bytes;
    snprintf(e->text, sizeof e->text, "%.*s", (int)alert->text.len, alert->text.ptr);
    pthread_mutex_unlock(&e->lock);
}

static void gone(void *user_data) {
    ears *e = user_data;
    pthread_mutex_lock(&e->lock);
    e->dropped++;
    pthread_mutex_unlock(&e->lock);
}

static int read_of(ears *e, const int *number) {
    pthread_mutex_lock(&e->lock);
    int value = *number;
    pthread_mutex_unlock(&e->lock);
    return value;
}

static bool comes(ears *e, const int *number, int value) {
    for (int i = 0; i < 1000 && read_of(e, number) < value; i++) {
        pause_briefly();
    }
    return read_of(e, number) == value;
}

static void alerts(void) {
    plimsoll_runtime *runtime = runtime_with(model_bytes + 1000, "monitor.cleanup", "off");
    ears one = {.lock = PTHREAD_MUTEX_INITIALIZER, .runtime = runtime}, two = one;
    CHECK_OK(plimsoll_monitor_on_alert(runtime, hear, &one, gone, &error));
    plimsoll_model *model = load(runtime);
    CHECK(comes(&one, &one.raised, 1));
    CHECK_EQ(one.kind, PLIMSOLL_ALERT_PRESSURE);
    CHECK_EQ(one.region, -1);
    CHECK(one.bytes > model_bytes * 8 / 10);
    CHECK(strstr(one.text, "of host memory are used, the mark is 85.0 %") != NULL);
    plimsoll_monitor_snapshot snapshot = snapshot_of(runtime, -1);
    CHECK_EQ(snapshot.alerts, 1);
    CHECK_EQ(snapshot.level, PLIMSOLL_MEMORY_CRITICAL);
    CHECK_EQ(snapshot.critical_events, 1);
    plimsoll_text *text = NULL;
    CHECK_OK(plimsoll_monitor_alerts_json(runtime, &text, &error));
    char *json = copy_of(text);
    CHECK(strstr(json, "\"active\":[{\"kind\":\"pressure\"") != NULL);
    CHECK(strstr(json, "\"raised\":{\"pressure\":1,\"session\":0") != NULL);
    free(json);

    /* Who comes next takes the place of who was there. */
    CHECK_OK(plimsoll_monitor_on_alert(runtime, hear, &two, gone, &error));
    CHECK(comes(&one, &one.dropped, 1));
    plimsoll_model_unload(model);
    CHECK(comes(&two, &two.cleared, 1));
    CHECK_EQ(read_of(&one, &one.cleared), 0);
    CHECK_OK(plimsoll_monitor_on_alert(runtime, NULL, NULL, NULL, &error));
    CHECK(comes(&two, &two.dropped, 1));
    /* Nothing is kept of a call that fails, or of one without a function. */
    CHECK_ERROR(PLIMSOLL_ERR_NULL_POINTER, plimsoll_monitor_on_alert(NULL, hear, &one, gone, &error));
    CHECK_EQ(read_of(&one, &one.dropped), 2);
    CHECK_OK(plimsoll_monitor_on_alert(runtime, NULL, &one, gone, &error));
    CHECK_EQ(read_of(&one, &one.dropped), 3);
    /* What is registered goes with the runtime. */
    CHECK_OK(plimsoll_monitor_on_alert(runtime, hear, &two, gone, &error));
    plimsoll_runtime_free(runtime);
    CHECK(comes(&two, &two.dropped, 2));
}

/* --- Cleanups ------------------------------------------------------------------------------------------------------- */

typedef struct {
    ears e;
    plimsoll_runtime *runtime;
    uint64_t id, wanted, answer;
    int calls;
    bool leaves;
} cleaner;

static uint64_t clean(uint64_t bytes_wanted, void *user_data) {
    cleaner *c = user_data;
    pthread_mutex_lock(&c->e.lock);
    c->calls++;
    c->wanted = bytes_wanted;
    pthread_mutex_unlock(&c->e.lock);
    CHECK_ERROR(PLIMSOLL_ERR_REENTRANT, plimsoll_memory_cleanup(c->runtime, NULL, &error));
    if (c->leaves) {
        CHECK_OK(plimsoll_cleanup_unregister(c->runtime, c->id, &error));
        CHECK_EQ(read_of(&c->e, &c->e.dropped), 0);
    }
    return c->answer;
}

static void cleanup(void) {
    plimsoll_runtime *runtime = runtime_with(64 << 20, NULL, NULL);
    plimsoll_model *model = load(runtime);
    plimsoll_session *session = open_session(model);
    plimsoll_request *request = request_of("hello", 8);
    answer *before = run(session, request);
    uint64_t kv = plimsoll_session_kv_bytes(session);
    CHECK(kv > 0);
    cleaner stays = {.e = {.lock = PTHREAD_MUTEX_INITIALIZER}, .runtime = runtime, .answer = 5}, fails = stays, leaves = stays;
    fails.answer = UINT64_MAX;
    leaves.leaves = true;
    CHECK_OK(plimsoll_cleanup_register(runtime, "stays", 5, clean, &stays, gone, &stays.id, &error));
    CHECK_OK(plimsoll_cleanup_register(runtime, "fails", 5, clean, &fails, gone, &fails.id, &error));
    CHECK_OK(plimsoll_cleanup_register(runtime, "leaves", 6, clean, &leaves, gone, &leaves.id, &error));

    /* What lies idle in the pool goes too: the ring of the request before. */
    plimsoll_pool pool = {0};
    pool.struct_size = sizeof pool;
    CHECK_OK(plimsoll_pool_stats(runtime, &pool, &error));
    CHECK_EQ(pool.engine_buffers_idle, 1);
    uint64_t freed = 0, all = kv + pool.engine_idle_bytes;
    CHECK_OK(plimsoll_memory_cleanup(runtime, &freed, &error));
    CHECK_EQ(freed, all);
    CHECK_EQ(plimsoll_session_kv_bytes(session), 0);
    CHECK_EQ(stays.wanted == UINT64_MAX, true);
    CHECK_OK(plimsoll_memory_cleanup(runtime, NULL, &error));
    CHECK_EQ(stays.calls, 2);
    CHECK_EQ(fails.calls, 2);
    CHECK_EQ(leaves.calls, 1);
    CHECK_EQ(leaves.e.dropped, 1);
    CHECK_ERROR(PLIMSOLL_ERR_INVALID_ARGUMENT, plimsoll_cleanup_unregister(runtime, leaves.id, &error));
    plimsoll_monitor_snapshot snapshot = snapshot_of(runtime, -1);
    CHECK_EQ(snapshot.cleanup_runs, 2);
    CHECK_EQ(snapshot.cleanup_freed_bytes, all);
    CHECK(snapshot.cleanup_age_ms >= 0);
    plimsoll_text *text = NULL;
    CHECK_OK(plimsoll_memory_stats_json(runtime, &text, &error));
    char *json = copy_of(text);
    CHECK(strstr(json, "\"name\":\"fails\",\"runs\":2,\"failed\":2") != NULL);
    CHECK(strstr(json, "\"name\":\"stays\",\"runs\":2,\"failed\":0,\"freed_bytes\":0,\"reported_bytes\":10") != NULL);
    free(json);

    /* The conversation is as it was: its tokens are computed again. */
    answer *after = run(session, request);
    CHECK_EQ(after->result.cached_tokens, 0);
    CHECK_EQ(after->token_count, before->token_count);
    free(before);
    free(after);

    CHECK_OK(plimsoll_cleanup_unregister(runtime, fails.id, &error));
    CHECK_EQ(fails.e.dropped, 1);
    /* Nothing is kept of a call that fails. */
    CHECK_ERROR(PLIMSOLL_ERR_NULL_POINTER, plimsoll_cleanup_register(runtime, "x", 1, NULL, &fails, gone, &freed, &error));
    CHECK_ERROR(PLIMSOLL_ERR_NULL_POINTER, plimsoll_cleanup_register(runtime, "x", 1, clean, &fails, gone, NULL, &error));
    CHECK_ERROR(PLIMSOLL_ERR_NULL_POINTER, plimsoll_cleanup_register(NULL, "x", 1, clean, &fails, gone, &freed, &error));
    CHECK_ERROR(PLIMSOLL_ERR_INVALID_UTF8, plimsoll_cleanup_register(runtime, "\xff", 1, clean, &fails, gone, &freed, &error));
    CHECK_EQ(fails.e.dropped, 5);
    plimsoll_request_free(request);
    plimsoll_session_free(session);
    plimsoll_model_unload(model);
    CHECK_EQ(stays.e.dropped, 0);
    plimsoll_runtime_free(runtime);
    CHECK(comes(&stays.e, &stays.e.dropped, 1));
}

/* Above the threshold the library calls by itself, for no more than is needed. */
static void cleanup_by_itself(void) {
    plimsoll_runtime *runtime = runtime_with(model_bytes + 1000, "monitor.cleanup_threshold", "0.9");
    cleaner c = {.e = {.lock = PTHREAD_MUTEX_INITIALIZER}, .runtime = runtime};
    CHECK_OK(plimsoll_cleanup_register(runtime, "host", 4, clean, &c, gone, &c.id, &error));
    plimsoll_model *model = load(runtime);
    CHECK(comes(&c.e, &c.calls, 1));
    CHECK(c.wanted > 0 && c.wanted < model_bytes);
    plimsoll_model_unload(model);
    plimsoll_runtime_free(runtime);
    CHECK(comes(&c.e, &c.e.dropped, 1));
}

/* --- Many threads --------------------------------------------------------------------------------------------------- */

static int churn_calls, churn_drops;
static pthread_mutex_t churn_lock = PTHREAD_MUTEX_INITIALIZER;

static uint64_t churn_clean(uint64_t bytes_wanted, void *user_data) {
    (void)bytes_wanted;
    CHECK_EQ(*(int *)user_data, 42); /* it is not freed while it runs */
    pthread_mutex_lock(&churn_lock);
    churn_calls++;
    pthread_mutex_unlock(&churn_lock);
    return 0;
}

static void churn_drop(void *user_data) {
    *(int *)user_data = 0;
    free(user_data);
    pthread_mutex_lock(&churn_lock);
    churn_drops++;
    pthread_mutex_unlock(&churn_lock);
}

enum { CHURN_THREADS = 4, CHURN_ROUNDS = 100 };

static void *churn(void *argument) {
    const plimsoll_runtime *runtime = argument;
    for (int round = 0; round < CHURN_ROUNDS; round++) {
        int *owned = malloc(sizeof *owned);
        REQUIRE(owned != NULL);
        *owned = 42;
        uint64_t id = 0;
        CHECK_OK(plimsoll_cleanup_register(runtime, "churn", 5, churn_clean, owned, churn_drop, &id, &error));
        plimsoll_status status = plimsoll_memory_cleanup(runtime, NULL, NULL);
        CHECK(status == PLIMSOLL_OK || status == PLIMSOLL_ERR_BUSY);
        snapshot_of(runtime, -1);
        CHECK_OK(plimsoll_cleanup_unregister(runtime, id, &error));
    }
    return NULL;
}

static void threads(void) {
    plimsoll_runtime *runtime = runtime_with(64 << 20, NULL, NULL);
    pthread_t all[CHURN_THREADS];
    for (int i = 0; i < CHURN_THREADS; i++) {
        REQUIRE(pthread_create(&all[i], NULL, churn, runtime) == 0);
    }
    for (int i = 0; i < CHURN_THREADS; i++) {
        pthread_join(all[i], NULL);
    }
    CHECK_EQ(churn_drops, CHURN_THREADS * CHURN_ROUNDS);
    CHECK(churn_calls > 0);
    plimsoll_runtime_free(runtime);
}

int main(void) {
    plimsoll_runtime *runtime = runtime_of_bytes(256 << 20);
    plimsoll_model *model = load(runtime);
    model_bytes = memory_of(runtime).used_bytes;
    plimsoll_model_unload(model);
    plimsoll_runtime_free(runtime);
    RUN(snapshots);
    RUN(mistakes);
    RUN(alerts);
    RUN(cleanup);
    RUN(cleanup_by_itself);
    RUN(threads);
    return RESULT();
}
