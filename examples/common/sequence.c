#include "sequence.h"

#include "names.h"
#include "process.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_THREADS = 128 };

void fatal(const char *why) {
    fprintf(stderr, "bench: %s\n", why);
    exit(1);
}

void expect(plimsoll_status status, plimsoll_error **error) {
    if (status != PLIMSOLL_OK) {
        plimsoll_str message = plimsoll_error_message(*error);
        fprintf(stderr, "bench: error %" PRId32 " (%s): %.*s\n", status, status_name(status), (int)message.len,
                message.ptr);
        exit(1);
    }
}

sequence new_sequence(const plimsoll_model *model, uint32_t wanted) {
    sequence s = {.wanted = wanted, .result = {.struct_size = sizeof(plimsoll_result)}};
    plimsoll_error *error = NULL;
    s.times = malloc(wanted * sizeof *s.times);
    if (s.times == NULL) {
        fatal("no memory for a sequence");
    }
    expect(plimsoll_session_open(model, NULL, &s.session, &error), &error);
    expect(plimsoll_request_new(&s.request, &error), &error);
    expect(plimsoll_request_set_max_tokens(s.request, wanted, &error), &error);
    expect(plimsoll_request_set_min_tokens(s.request, wanted, &error), &error);
    expect(plimsoll_request_set_ignore_eos(s.request, 1, &error), &error);
    return s;
}

void free_sequence(sequence *s) {
    plimsoll_request_free(s->request);
    plimsoll_session_free(s->session);
    free(s->times);
}

void ask_tokens(sequence *s, uint32_t vocabulary, uint32_t count, uint64_t seed) {
    plimsoll_error *error = NULL;
    uint32_t *tokens = malloc(count * sizeof *tokens);
    if (tokens == NULL) {
        fatal("no memory for a prompt");
    }
    uint64_t state = seed * 2654435769u + 1;
    for (uint32_t i = 0; i < count; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        tokens[i] = (uint32_t)((state >> 33) % vocabulary);
    }
    expect(plimsoll_request_set_tokens(s->request, tokens, count, &error), &error);
    free(tokens);
}

void ask_message(sequence *s, const char *message) {
    plimsoll_error *error = NULL;
    expect(plimsoll_request_clear(s->request, &error), &error);
    expect(plimsoll_request_add_message(s->request, "user", strlen("user"), message, strlen(message), &error), &error);
}

static int32_t on_event(const plimsoll_event *event, void *user_data) {
    sequence *s = user_data;
    if (event->kind != PLIMSOLL_EVENT_TOKEN) {
        return 0;
    }
    if (s->count < s->wanted) {
        s->times[s->count] = seconds();
    }
    s->count++;
    meeting *m = s->meeting;
    if (m == NULL) {
        return 0;
    }
    pthread_mutex_lock(&m->lock);
    if (s->count == m->warm) {
        m->running++;
        pthread_cond_broadcast(&m->changed);
    }
    bool stop = m->stop;
    pthread_mutex_unlock(&m->lock);
    return stop;
}

/* Waits until as many stand at the start as run together. */
static void begin_together(meeting *m, uint32_t count) {
    pthread_mutex_lock(&m->lock);
    m->begun++;
    pthread_cond_broadcast(&m->changed);
    while (m->begun < count) {
        pthread_cond_wait(&m->changed, &m->lock);
    }
    pthread_mutex_unlock(&m->lock);
}

static bool is_stopped(meeting *m) {
    if (m == NULL) {
        return false;
    }
    pthread_mutex_lock(&m->lock);
    bool stop = m->stop;
    pthread_mutex_unlock(&m->lock);
    return stop;
}

void run(sequence *s) {
    plimsoll_error *error = NULL;
    if (s->meeting != NULL) {
        begin_together(s->meeting, s->company);
    }
    s->count = 0;
    s->start = seconds();
    expect(plimsoll_generate(s->session, s->request, NULL, NULL, on_event, s, &s->result, &error), &error);
    s->end = seconds();
    if (!is_stopped(s->meeting) && (s->count != s->wanted || s->result.generated_tokens != s->wanted)) {
        fprintf(stderr, "bench: %" PRIu32 " tokens came, not %" PRIu32 "\n", s->count, s->wanted);
        exit(1);
    }
}

void run_fresh(sequence *s) {
    plimsoll_error *error = NULL;
    expect(plimsoll_session_reset(s->session, &error), &error);
    run(s);
}

static void *run_in_thread(void *user_data) {
    run_fresh(user_data);
    return NULL;
}

void start_together(sequence *sequences, uint32_t count, meeting *m, pthread_t *threads) {
    if (pthread_mutex_init(&m->lock, NULL) != 0 || pthread_cond_init(&m->changed, NULL) != 0) {
        fatal("no lock");
    }
    for (uint32_t i = 0; i < count; i++) {
        sequences[i].meeting = m;
        sequences[i].company = count;
        if (pthread_create(&threads[i], NULL, run_in_thread, &sequences[i]) != 0) {
            fatal("no thread for a sequence");
        }
    }
}

void wait_until_warm(meeting *m, uint32_t count) {
    pthread_mutex_lock(&m->lock);
    while (m->running < count) {
        pthread_cond_wait(&m->changed, &m->lock);
    }
    pthread_mutex_unlock(&m->lock);
}

static void join(meeting *m, pthread_t *threads, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
    }
    pthread_cond_destroy(&m->changed);
    pthread_mutex_destroy(&m->lock);
}

void stop_together(meeting *m, pthread_t *threads, uint32_t count) {
    pthread_mutex_lock(&m->lock);
    m->stop = true;
    pthread_mutex_unlock(&m->lock);
    join(m, threads, count);
}

void run_together(sequence *sequences, uint32_t count) {
    pthread_t threads[MAX_THREADS];
    meeting m = {.warm = 1};
    if (count > MAX_THREADS) {
        fatal("too many sequences");
    }
    start_together(sequences, count, &m, threads);
    join(&m, threads, count);
}

double first_seconds(const sequence *s) {
    return s->times[0] - s->start;
}

double decode_seconds(const sequence *s) {
    return s->times[s->count - 1] - s->times[0];
}
