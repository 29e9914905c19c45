/* Models that share a budget: who goes, who stays, and that handles and sessions stay good. */
#include "check.h"

#include <unistd.h>

SUITE("unload");

enum { MODELS = 3 };

/* Models that differ in their settings alone, so that each is a copy of its own; all take the same. */
static plimsoll_model *load_one(const plimsoll_runtime *runtime, int which, const char *unload) {
    static const char *const lengths[MODELS] = {"254", "255", "256"};
    const char *const pairs[] = {"native.threads", "1", "native.context_length", lengths[which], "model.unload", unload, NULL};
    plimsoll_config *config = config_of(pairs);
    plimsoll_model *model = NULL;
    CHECK_OK(plimsoll_model_load(runtime, "test", 4, TINY, strlen(TINY), config, NULL, NULL, &model, &error));
    plimsoll_config_free(config);
    REQUIRE(model != NULL);
    return model;
}

/* Room for three texts, one loaded model, and requests. */
static plimsoll_runtime *runtime_for_one(void) {
    plimsoll_runtime *runtime = runtime_of_bytes(64 << 20);
    plimsoll_model *model = load_one(runtime, 0, "never");
    uint64_t all = memory_of(runtime).used_bytes, freed = 0;
    CHECK_OK(plimsoll_model_evict(model, &freed, &error));
    CHECK_EQ(memory_of(runtime).used_bytes, all - freed);
    CHECK(freed > facts_of(model).host_bytes);
    plimsoll_model_unload(model);
    CHECK_EQ(memory_of(runtime).used_bytes, 0);
    plimsoll_runtime_free(runtime);
    return runtime_of_bytes(MODELS * (all - freed) + freed + (1 << 20));
}

/* Bytes of this process that are in memory; 0 under valgrind, whose own they are. */
static uint64_t resident(void) {
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "r");
    REQUIRE(maps != NULL);
    bool valgrind = false;
    while (fgets(line, sizeof line, maps) != NULL) {
        valgrind = valgrind || strstr(line, "vgpreload") != NULL;
    }
    fclose(maps);
    unsigned long all, pages;
    FILE *statm = fopen("/proc/self/statm", "r");
    REQUIRE(statm != NULL && fscanf(statm, "%lu %lu", &all, &pages) == 2);
    fclose(statm);
    return valgrind ? 0 : (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* What a model leaves is the machine's at once, not when the allocator next looks at it. */
static void what_a_model_leaves_is_the_machines(void) {
    plimsoll_runtime *runtime = runtime_of_bytes(64 << 20);
    plimsoll_model *model = NULL;
    CHECK_OK(plimsoll_model_load(runtime, "demo", 4, "models/demo", strlen("models/demo"), NULL, NULL, NULL, &model, &error));
    REQUIRE(model != NULL);
    uint64_t weights = memory_of(runtime).weights_bytes, before = resident(), freed = 0;
    CHECK(weights > 4 << 20);
    CHECK_OK(plimsoll_model_evict(model, &freed, &error));
    uint64_t after = resident();
    if (before > 0 && before - after < weights / 4 * 3) {
        fprintf(stderr, "%" PRIu64 " bytes of weights went, resident were %" PRIu64 ", are %" PRIu64 "\n", weights, before, after);
    }
    CHECK(before == 0 || (after < before && before - after >= weights / 4 * 3));
    plimsoll_model_unload(model);
    plimsoll_runtime_free(runtime);
}

static void the_room_of_one_serves_three(void) {
    plimsoll_runtime *runtime = runtime_for_one();
    plimsoll_model *models[MODELS];
    plimsoll_session *sessions[MODELS];
    plimsoll_request *request = request_of("hello", 8);
    answer *first = NULL;
    for (int i = 0; i < MODELS; i++) {
        models[i] = load_one(runtime, i, "idle");
        sessions[i] = open_session(models[i]);
    }
    CHECK_EQ(plimsoll_model_is_loaded(models[0]) + plimsoll_model_is_loaded(models[1]), 0);
    CHECK_EQ(plimsoll_model_is_loaded(models[2]), 1);
    for (int turn = 0; turn < 2 * MODELS; turn++) {
        int i = turn % MODELS;
        CHECK_OK(plimsoll_session_reset(sessions[i], &error));
        plimsoll_verdict guess = what_if(sessions[i], request);
        CHECK_EQ(guess.decision, PLIMSOLL_DECISION_ACCEPT);
        CHECK(guess.load_bytes > 0 && guess.bytes_asked > guess.load_bytes && guess.unload_bytes == guess.load_bytes);
        CHECK_EQ(guess.unload_models, 1);
        answer *a = run(sessions[i], request);
        CHECK_EQ(plimsoll_model_is_loaded(models[i]), 1);
        CHECK_EQ(what_if(sessions[i], request).load_bytes, 0);
        if (first == NULL) {
            first = a;
            continue;
        }
        CHECK(same_tokens(a, first));
        free(a);
    }
    free(first);
    plimsoll_memory memory = memory_of(runtime);
    CHECK_EQ(memory.models_loaded, 1);
    CHECK_EQ(memory.models_unloaded, MODELS - 1);
    CHECK_EQ(memory.unloads, MODELS - 1 + 2 * MODELS);
    CHECK_EQ(memory.reloads, 2 * MODELS);
    CHECK_EQ(memory.rejected_count, 0);
    for (int i = 0; i < MODELS; i++) {
        plimsoll_session_free(sessions[i]);
        check_idle(runtime, models[i]);
        CHECK_EQ(facts_of(models[i]).context_length, 254 + i);
        CHECK_EQ(facts_of(models[i]).weights_bytes > 0, plimsoll_model_is_loaded(models[i]));
        plimsoll_model_unload(models[i]);
    }
    plimsoll_request_free(request);
    CHECK_EQ(memory_of(runtime).used_bytes, 0);
    plimsoll_runtime_free(runtime);
}

static void one_in_use_stays(void) {
    plimsoll_runtime *runtime = runtime_for_one();
    plimsoll_model *model = load_one(runtime, 0, "idle"), *other = NULL;
    plimsoll_session *session = open_session(model);
    plimsoll_request *request = request_of("hello", 8);
    plimsoll_ticket *ticket = NULL;
    CHECK_OK(plimsoll_admit(session, request, NULL, &ticket, &error));
    REQUIRE(ticket != NULL);
    CHECK_ERROR(PLIMSOLL_ERR_BUSY, plimsoll_model_evict(model, NULL, &error));
    CHECK_ERROR(PLIMSOLL_ERR_MEMORY_REFUSED, try_load(runtime, TINY, &other, &error));
    CHECK_EQ(plimsoll_model_is_loaded(model), 1);
    plimsoll_ticket_free(ticket);
    other = load_one(runtime, 1, "never");
    CHECK_EQ(plimsoll_model_is_loaded(model), 0);

    /* That one asked for nothing, so it stays until it is asked to go. */
    plimsoll_result result = {.struct_size = sizeof result};
    CHECK_ERROR(PLIMSOLL_ERR_MEMORY_REFUSED,
                plimsoll_generate(session, request, NULL, NULL, NULL, NULL, &result, &error));
    uint64_t freed = 0;
    CHECK_OK(plimsoll_model_evict(other, &freed, &error));
    CHECK(freed > 0);
    CHECK_OK(plimsoll_model_evict(other, &freed, &error));
    CHECK_EQ(freed, 0);
    CHECK_OK(plimsoll_generate(session, request, NULL, NULL, NULL, NULL, &result, &error));
    CHECK_EQ(result.generated_tokens, 8);
    plimsoll_request_free(request);
    plimsoll_session_free(session);
    plimsoll_model_unload(other);
    plimsoll_model_unload(model);
    CHECK(kv_comes_back(runtime));
    CHECK_EQ(memory_of(runtime).used_bytes, 0);
    plimsoll_runtime_free(runtime);
}

int main(void) {
    RUN(what_a_model_leaves_is_the_machines);
    RUN(the_room_of_one_serves_three);
    RUN(one_in_use_stays);
    return RESULT();
}
