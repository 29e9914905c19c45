/* Model files that are missing, damaged or of an unknown kind: each a clear error, and the runtime works on. */
#include "check.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

SUITE("models");

static plimsoll_runtime *runtime;
static char folder[] = "/tmp/plimsoll-ctest-XXXXXX";

typedef struct {
    char *bytes;
    size_t len;
} content;

static content read_file(const char *path) {
    content c = {NULL, 0};
    FILE *file = fopen(path, "rb");
    REQUIRE(file != NULL && fseek(file, 0, SEEK_END) == 0);
    long size = ftell(file);
    REQUIRE(size > 0 && fseek(file, 0, SEEK_SET) == 0);
    c.len = (size_t)size;
    c.bytes = malloc(c.len);
    REQUIRE(c.bytes != NULL && fread(c.bytes, 1, c.len, file) == c.len);
    fclose(file);
    return c;
}

/* Writes `name` in the test's folder and returns its path, which lives until the next call. */
static const char *write_file(const char *name, const char *bytes, size_t len) {
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    REQUIRE(file != NULL);
    REQUIRE(fwrite(bytes, 1, len, file) == len && fclose(file) == 0);
    return path;
}

/* The load must fail with one of the model's codes and a text, and leave nothing behind. */
static plimsoll_status refused(const char *path) {
    plimsoll_model *model = NULL;
    plimsoll_error *error = NULL;
    plimsoll_status status = try_load(runtime, path, &model, &error);
    CHECK(status != PLIMSOLL_OK && model == NULL);
    CHECK_EQ(plimsoll_error_code(error), status);
    CHECK(plimsoll_error_message(error).len > 0 && plimsoll_error_message(error).len <= 1024);
    CHECK(plimsoll_error_section(error) == PLIMSOLL_SECTION_LOADING || status == PLIMSOLL_ERR_TOKENIZER
          || status == PLIMSOLL_ERR_TEMPLATE);
    CHECK_EQ(memory_of(runtime).used_bytes, 0);
    plimsoll_error_free(error);
    plimsoll_model_unload(model);
    return status;
}

static void not_there(void) {
    CHECK_EQ(refused("no/such/folder"), PLIMSOLL_ERR_MODEL_NOT_FOUND);
    CHECK_EQ(refused("no/such.gguf"), PLIMSOLL_ERR_MODEL_NOT_FOUND);
    CHECK_EQ(refused(""), PLIMSOLL_ERR_MODEL_NOT_FOUND);
    CHECK_EQ(refused(folder), PLIMSOLL_ERR_MODEL_NOT_FOUND);
    char nul[] = "tests\0golden";
    plimsoll_model *model = NULL;
    CHECK_ERROR(PLIMSOLL_ERR_MODEL_NOT_FOUND,
                plimsoll_model_load(runtime, "a", 1, nul, sizeof nul - 1, NULL, NULL, NULL, &model, &error));
}

static void no_model_at_all(void) {
    refused(write_file("empty.gguf", "", 0));
    refused(write_file("magic.gguf", "GGML\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24));
    /* 2^60 tensors, and as many entries, in 24 bytes. */
    refused(write_file("counts.gguf", "GGUF\3\0\0\0\0\0\0\0\0\0\0\x10\0\0\0\0\0\0\0\x10", 24));
}

/* A GGUF file cut anywhere; the whole one loads. */
static void cut_gguf(void) {
    content whole = read_file(TINY_GGUF);
    for (size_t percent = 0; percent < 100; percent += 4) {
        refused(write_file("cut.gguf", whole.bytes, whole.len * percent / 100));
    }
    refused(write_file("cut.gguf", whole.bytes, whole.len - 1));
    plimsoll_model *model = load_for(runtime, write_file("whole.gguf", whole.bytes, whole.len), "16");
    CHECK_EQ(facts_of(model).context_length, TINY_CONTEXT);
    plimsoll_model_unload(model);
    CHECK_EQ(memory_of(runtime).used_bytes, 0);
    free(whole.bytes);
}

/* Templates that raise, never end, or make too much: an error of the request, and the model works on without messages. */
static void bad_templates(void) {
    static const char *const templates[] = {
        "{{ raise_exception('not today') }}",
        "{% for i in range(2000000000) %}x{% endfor %}",
        "{% set ns = namespace(x='aaaaaaaaaaaaaaaa') %}{% for i in range(40) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
        "{{ messages[7].content.no.such.thing }}",
        "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
    };
    static const char *const parts[] = {"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"};
    for (int i = 0; i < 4; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", TINY, parts[i]);
        content file = read_file(path);
        write_file(parts[i], file.bytes, file.len);
        free(file.bytes);
    }
    for (size_t i = 0; i < sizeof templates / sizeof *templates; i++) {
        write_file("chat_template.jinja", templates[i], strlen(templates[i]));
        plimsoll_model *model = load_for(runtime, folder, "4");
        plimsoll_session *session = open_session(model);
        plimsoll_request *request = request_of("hello", 4);
        CHECK_ERROR(PLIMSOLL_ERR_TEMPLATE, plimsoll_generate(session, request, NULL, NULL, NULL, NULL, NULL, &error));
        CHECK_ERROR(PLIMSOLL_ERR_TEMPLATE, plimsoll_admit(session, request, NULL, NULL, &error));
        CHECK_OK(plimsoll_request_set_text(request, "hello", 5, &error));
        answer *a = run(session, request);
        CHECK_EQ(a->result.generated_tokens, 4);
        free(a);
        plimsoll_request_free(request);
        plimsoll_session_free(session);
        plimsoll_model_unload(model);
        CHECK_EQ(memory_of(runtime).used_bytes, 0);
    }
    char path[128];
    snprintf(path, sizeof path, "%s/chat_template.jinja", folder);
    remove(path);
    struct rusage usage;
    REQUIRE(getrusage(RUSAGE_SELF, &usage) == 0);
    CHECK(usage.ru_maxrss < 512 * 1024); /* KiB; memcheck itself takes a good part of it */
}

/* A folder whose parts are taken away, cut, or spoilt one at a time. */
static void damaged_folder(void) {
    static const char *const parts[] = {"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"};
    content files[4];
    for (int i = 0; i < 4; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", TINY, parts[i]);
        files[i] = read_file(path);
        write_file(parts[i], files[i].bytes, files[i].len);
    }
    plimsoll_model_unload(load_for(runtime, folder, "16"));
    for (int i = 0; i < 4; i++) {
        bool required = i != 2;
        char path[128];
        snprintf(path, sizeof path, "%s/%s", folder, parts[i]);
        if (required) {
            remove(path);
            CHECK_EQ(refused(folder), PLIMSOLL_ERR_MODEL_NOT_FOUND);
        }
        for (size_t percent = 0; percent < 100; percent += 10) {
            write_file(parts[i], files[i].bytes, files[i].len * percent / 100);
            refused(folder);
        }
        write_file(parts[i], files[i].bytes, files[i].len);
    }
    static const char mamba[] = "{\"architectures\": [\"MambaForCausalLM\"], \"model_type\": \"mamba\"}";
    write_file(parts[0], mamba, strlen(mamba));
    CHECK_EQ(refused(folder), PLIMSOLL_ERR_MODEL_UNSUPPORTED);
    write_file(parts[0], files[0].bytes, files[0].len);

    /* After all of this the runtime loads and answers. */
    plimsoll_model *model = load_for(runtime, folder, "16");
    plimsoll_session *session = open_session(model);
    plimsoll_request *request = request_of("hello", 4);
    free(run(session, request));
    plimsoll_request_free(request);
    plimsoll_session_free(session);
    plimsoll_model_unload(model);
    for (int i = 0; i < 4; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", folder, parts[i]);
        remove(path);
        free(files[i].bytes);
    }
}

int main(void) {
    REQUIRE(mkdtemp(folder) != NULL);
    runtime = runtime_of(NULL);
    RUN(not_there);
    RUN(no_model_at_all);
    RUN(cut_gguf);
    RUN(bad_templates);
    RUN(damaged_folder);
    plimsoll_runtime_free(runtime);
    static const char *const left[] = {"empty.gguf", "magic.gguf", "counts.gguf", "cut.gguf", "whole.gguf"};
    for (size_t i = 0; i < sizeof left / sizeof *left; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", folder, left[i]);
        remove(path);
    }
    CHECK(rmdir(folder) == 0);
    return RESULT();
}
