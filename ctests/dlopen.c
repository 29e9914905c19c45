/* A host that loads the library at run time, uses it, and closes it, again and again: argv[1] is the library. It is not linked,
 * so that its code would be gone after dlclose() but for `-z nodelete`. */
#define _GNU_SOURCE /* for RTLD_NOLOAD */
#include "check.h"

#include <dirent.h>
#include <dlfcn.h>

SUITE("dlopen");

enum { ROUNDS = 200 };

static const char *path;
/* The calls, by name; their types are the header's. */
static void *library;
#define CALL(name) (__extension__(__typeof__(&name)) dlsym(library, #name))

static int count_entries(const char *folder) {
    int count = 0;
    DIR *entries = opendir(folder);
    REQUIRE(entries != NULL);
    while (readdir(entries) != NULL) {
        count++;
    }
    closedir(entries);
    return count;
}

/* Threads and descriptors of this process that are still there; an ended thread leaves the folder a moment after its join. */
static bool comes_back_to(const char *folder, int count) {
    for (int i = 0; i < 200 && count_entries(folder) > count; i++) {
        const struct timespec pause = {0, 10 * 1000 * 1000};
        nanosleep(&pause, NULL);
    }
    return count_entries(folder) <= count;
}

static int mappings(void) {
    int count = 0;
    char line[4096];
    FILE *maps = fopen("/proc/self/maps", "r");
    REQUIRE(maps != NULL);
    while (fgets(line, sizeof line, maps) != NULL) {
        count += strstr(line, "libplimsoll") != NULL;
    }
    fclose(maps);
    return count;
}

/* Loads a model, generates three tokens, frees all. */
static void use(void) {
    plimsoll_config *config = NULL;
    plimsoll_runtime *runtime = NULL;
    plimsoll_model *model = NULL;
    plimsoll_session *session = NULL;
    plimsoll_request *request = NULL;
    plimsoll_result result = {.struct_size = sizeof result};
    CHECK_EQ(CALL(plimsoll_config_new)(&config, NULL), PLIMSOLL_OK);
    CHECK_EQ(CALL(plimsoll_config_set)(config, "native.threads", 14, "2", 1, NULL), PLIMSOLL_OK);
    CHECK_EQ(CALL(plimsoll_runtime_new)(NULL, &runtime, NULL), PLIMSOLL_OK);
    CHECK_EQ(CALL(plimsoll_model_load)(runtime, "tiny", 4, TINY, strlen(TINY), config, NULL, NULL, &model, NULL), PLIMSOLL_OK);
    CHECK_EQ(CALL(plimsoll_session_open)(model, NULL, &session, NULL), PLIMSOLL_OK);
    CHECK_EQ(CALL(plimsoll_request_new)(&request, NULL), PLIMSOLL_OK);
    CHECK_EQ(CALL(plimsoll_request_add_message)(request, "user", 4, "hello", 5, NULL), PLIMSOLL_OK);
    CHECK_EQ(CALL(plimsoll_request_set_max_tokens)(request, 3, NULL), PLIMSOLL_OK);
    CHECK_EQ(CALL(plimsoll_request_set_ignore_eos)(request, 1, NULL), PLIMSOLL_OK);
    CHECK_EQ(CALL(plimsoll_generate)(session, request, NULL, NULL, NULL, NULL, &result, NULL), PLIMSOLL_OK);
    CHECK_EQ(result.generated_tokens, 3);
    CALL(plimsoll_request_free)(request);
    CALL(plimsoll_session_free)(session);
    CALL(plimsoll_model_unload)(model);
    CALL(plimsoll_runtime_free)(runtime);
    CALL(plimsoll_config_free)(config);
}

static void is_not_there_before(void) {
    CHECK_EQ(mappings(), 0);
    CHECK(dlopen(path, RTLD_NOW | RTLD_NOLOAD) == NULL);
}

static void opens_and_closes_again_and_again(void) {
    int mapped = 0, threads = 0, descriptors = 0;
    for (int round = 0; round < ROUNDS && check_failures == 0; round++) {
        library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (library == NULL) {
            fprintf(stderr, "%s\n", dlerror());
        }
        REQUIRE(library != NULL);
        use();
        CHECK_EQ(dlclose(library), 0);
        if (round == 0) {
            mapped = mappings();
            threads = count_entries("/proc/self/task");
            descriptors = count_entries("/proc/self/fd");
        }
    }
    CHECK(mapped > 0);
    CHECK_EQ(mappings(), mapped);
    CHECK(comes_back_to("/proc/self/task", threads));
    CHECK(comes_back_to("/proc/self/fd", descriptors));
}

static void stays_after_the_last_close(void) {
    void *again = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
    CHECK(again != NULL);
    CHECK(again == library);
}

int main(int argc, char **argv) {
    REQUIRE(argc == 2);
    path = argv[1];
    RUN(is_not_there_before);
    RUN(opens_and_closes_again_and_again);
    RUN(stays_after_the_last_close);
    return RESULT();
}
