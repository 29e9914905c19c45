/* Loading with progress, what a model knows, the log, versions. */
#include "common.h"

static int32_t progress(const plimsoll_progress *progress, void *user_data) {
    CHECK(progress->struct_size >= sizeof *progress);
    CHECK(progress->bytes_done <= progress->bytes_total && progress->shard <= progress->shards);
    CHECK(progress->state >= PLIMSOLL_LOAD_QUEUED && progress->state != PLIMSOLL_LOAD_FAILED);
    *(int *)user_data += 1;
    return 0;
}

static int32_t refuse(const plimsoll_progress *progress, void *user_data) {
    (void)progress;
    (void)user_data;
    return 1;
}

static void hear(int32_t level, plimsoll_str target, plimsoll_str text, void *user_data) {
    CHECK(level >= PLIMSOLL_LOG_ERROR && level <= PLIMSOLL_LOG_INFO && target.len > 0 && text.len > 0);
    (void)user_data;
}

static void dropped(void *user_data) { *(int *)user_data += 1; }

int main(void) {
    int reports = 0, drops = 0;
    uint32_t tokens[64];
    size_t count = 0, bytes = 0, i;
    BORDERED(plimsoll_model_facts) facts;
    plimsoll_message messages[2] = {{{"system", 6}, {"Be brief.", 9}}, {{"user", 4}, {"Hello!", 6}}};
    plimsoll_text *rendered = NULL;
    plimsoll_config *config = NULL;
    plimsoll_runtime *runtime = runtime_of("256MiB");
    plimsoll_model *model = NULL;
    plimsoll_session *session = NULL;

    CHECK(plimsoll_abi_version() >= 1 && strncmp(plimsoll_version(), "0.", 2) == 0);
    CHECK(plimsoll_log_set(hear, PLIMSOLL_LOG_INFO, &drops, dropped, NULL) == PLIMSOLL_OK);
    CHECK(plimsoll_model_load(runtime, "m", 1, MODEL, strlen(MODEL), NULL, refuse, NULL, &model, NULL) == PLIMSOLL_ERR_LOAD_CANCELLED);
    CHECK(plimsoll_model_load(runtime, "m", 1, MODEL, strlen(MODEL), NULL, progress, &reports, &model, NULL) == PLIMSOLL_OK);
    CHECK(reports > 0);
    CHECK(plimsoll_config_new(&config, NULL) == PLIMSOLL_OK);
    CHECK(plimsoll_config_set(config, "engine.kind", 11, "native", 6, NULL) == PLIMSOLL_OK);
    CHECK(plimsoll_engine_attach(model, config, NULL) == PLIMSOLL_OK);
    SET_BORDER(facts);
    CHECK(plimsoll_model_get_facts(model, &facts.value, NULL) == PLIMSOLL_OK);
    CHECK_BORDER(facts);
    CHECK(facts.value.context_length == 2048 && facts.value.vocab_size > 0 && facts.value.weights_bytes > 0);
    CHECK(facts.value.workspace_bytes > 0 && facts.value.kv_bytes == 0 && facts.value.max_sequences > 0);
    CHECK((facts.value.block_tokens == 16 || facts.value.block_tokens == 32) && facts.value.engine.len > 0);
    CHECK(plimsoll_model_tokenize(model, "Hello there", 11, tokens, 64, &count, NULL) == PLIMSOLL_OK && count <= 64);
    for (i = 0; i < count; i++) {
        bytes += plimsoll_model_token_bytes(model, tokens[i]).len;
    }
    CHECK(bytes == 11);
    CHECK(plimsoll_model_render(model, messages, 2, &rendered, NULL) == PLIMSOLL_OK);
    CHECK(plimsoll_text_str(rendered).len > 15);
    plimsoll_text_free(rendered);
    CHECK(plimsoll_session_open(model, NULL, &session, NULL) == PLIMSOLL_OK && plimsoll_session_id(session) > 0);
    CHECK(plimsoll_log_set(NULL, PLIMSOLL_LOG_OFF, NULL, NULL, NULL) == PLIMSOLL_OK && drops == 1);
    plimsoll_config_free(config);
    plimsoll_session_free(session);
    plimsoll_model_unload(model);
    plimsoll_runtime_free(runtime);
    return 0;
}
