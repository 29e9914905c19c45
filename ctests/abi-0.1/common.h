/* What the programs of 0.1 share. They are kept as they are: compiled with the header of 0.1 beside them, they must run on
 * every later library, and compiled with every later header. Only mistakes in themselves are ever mended. */
#ifndef ABI_0_1_COMMON_H
#define ABI_0_1_COMMON_H

#include "plimsoll.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A caller's struct with a border that the library must not touch, however much its own struct has grown. */
#define BORDERED(type)            \
    struct {                      \
        type value;               \
        unsigned char border[64]; \
    }
#define SET_BORDER(bordered)                                           \
    do {                                                               \
        memset(&(bordered), 0, sizeof(bordered));                      \
        memset((bordered).border, 0xa5, sizeof((bordered).border));    \
        (bordered).value.struct_size = sizeof((bordered).value);       \
    } while (0)
#define CHECK_BORDER(bordered)                                                   \
    do {                                                                         \
        size_t at_;                                                              \
        CHECK((bordered).value.struct_size == sizeof((bordered).value));         \
        for (at_ = 0; at_ < sizeof((bordered).border); at_++) {                  \
            CHECK((bordered).border[at_] == 0xa5);                               \
        }                                                                        \
    } while (0)

#define CHECK(condition)                                                        \
    do {                                                                        \
        if (!(condition)) {                                                     \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                            \
        }                                                                       \
    } while (0)

#define MODEL "models/demo"

static inline plimsoll_runtime *runtime_of(const char *budget) {
    plimsoll_config *config = NULL;
    plimsoll_runtime *runtime = NULL;
    CHECK(plimsoll_config_new(&config, NULL) == PLIMSOLL_OK);
    CHECK(plimsoll_config_set(config, "memory.budget", 13, budget, strlen(budget), NULL) == PLIMSOLL_OK);
    CHECK(plimsoll_runtime_new(config, &runtime, NULL) == PLIMSOLL_OK);
    plimsoll_config_free(config);
    return runtime;
}

static inline plimsoll_request *request_of(const char *question, uint32_t max_tokens) {
    plimsoll_request *request = NULL;
    CHECK(plimsoll_request_new(&request, NULL) == PLIMSOLL_OK);
    CHECK(plimsoll_request_add_message(request, "user", 4, question, strlen(question), NULL) == PLIMSOLL_OK);
    CHECK(plimsoll_request_set_max_tokens(request, max_tokens, NULL) == PLIMSOLL_OK);
    return request;
}

#endif
