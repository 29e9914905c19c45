/* One request of a benchmark, and when its tokens came. */
#ifndef EXAMPLES_SEQUENCE_H
#define EXAMPLES_SEQUENCE_H

#include "plimsoll.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* Where several meet: they begin together, and one may wait until the others have tokens. */
typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint32_t begun;   /* sequences that stand at the start */
    uint32_t running; /* sequences that have `warm` tokens */
    uint32_t warm;
    bool stop;        /* all end at their next token */
} meeting;

typedef struct {
    plimsoll_session *session;
    plimsoll_request *request;
    uint32_t wanted;  /* tokens to generate */
    double start, end;
    double *times;    /* when each token came; `wanted` of them */
    uint32_t count;   /* how many came */
    meeting *meeting; /* NULL for one that runs alone */
    uint32_t company; /* how many begin together */
    plimsoll_result result;
} sequence;

/* Ends the program with a message. */
void fatal(const char *why);

/* Shows an error and ends the program: half a benchmark is none. */
void expect(plimsoll_status status, plimsoll_error **error);

/* A session of its own and a request for exactly `wanted` tokens, end-of-text tokens or not. */
sequence new_sequence(const plimsoll_model *model, uint32_t wanted);
void free_sequence(sequence *s);

/* What it is asked: `count` tokens below `vocabulary`, random but for each seed the same; or a user's message. */
void ask_tokens(sequence *s, uint32_t vocabulary, uint32_t count, uint64_t seed);
void ask_message(sequence *s, const char *message);

/* Runs the request and checks that all tokens came, unless the meeting was stopped. */
void run(sequence *s);

/* The same from nothing: the session forgets what was before. */
void run_fresh(sequence *s);

/* Runs all of them together, each on a thread of its own. */
void run_together(sequence *sequences, uint32_t count);

/* The same in two parts, to do something else in between. */
void start_together(sequence *sequences, uint32_t count, meeting *m, pthread_t *threads);
void wait_until_warm(meeting *m, uint32_t count);
void stop_together(meeting *m, pthread_t *threads, uint32_t count);

/* Seconds until the first token, and from the first to the last. */
double first_seconds(const sequence *s);
double decode_seconds(const sequence *s);

#endif
