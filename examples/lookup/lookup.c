/* The engine of lookup.h. One thread runs all requests, a token of each in turn. What it allocates is what it has told the
 * library: blocks are leased before they are allocated, and given back after they are freed. */
#define _POSIX_C_SOURCE 200809L

#include "lookup.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Prompt tokens of one request that are computed between two tokens of another. */
enum { CHUNK = 32 };
/* How many earlier places are looked at, and how many tokens before them. */
enum { PLACES = 32, DEPTH = 8 };

typedef struct {
    uint32_t token;
    uint32_t before; /* 1 + the position where the token stood last, 0 for none */
    uint32_t hash;   /* of all tokens up to here */
} cell;

/* An idle session is a list of blocks and nothing else: its first block says whose they are. */
typedef struct block {
    struct block *next;
    struct block *next_session;
    uint64_t session;
    size_t kv_tokens;
    cell cells[LOOKUP_BLOCK_TOKENS];
} block;

typedef struct job {
    struct job *next;
    uint64_t request, session;
    uint32_t stops[LOOKUP_STOPS];
    size_t stop_count, shared_prefix;
    size_t token_count;        /* of prompt and answer so far */
    size_t prompt_count, most; /* of the prompt, and of prompt and answer at the longest */
    size_t position;           /* tokens that have their cells */
    size_t cached;
    size_t block_count;
    uint32_t top;
    int32_t keep;
    uint32_t *tokens; /* both behind the job */
    block **blocks;
} job;

typedef struct {
    const plimsoll_engine_host *host;
    lookup_options options;
    pthread_t thread;
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t changed;
    job *first_waiting, **last_waiting;
    uint32_t waiting;
    block *idle; /* sessions without a request */
    uint64_t kv_bytes;
    int closing;
    /* The thread's own. */
    uint32_t running;
    job *lanes[];
} engine;

static lookup_options with_defaults(const lookup_options *given) {
    lookup_options o = {0};
    if (given != NULL) o = *given;
    if (o.context_length == 0) o.context_length = 1024;
    if (o.vocab_size == 0) o.vocab_size = 1000;
    if (o.max_sequences == 0) o.max_sequences = 4;
    if (o.queue == 0) o.queue = 8;
    return o;
}

uint64_t lookup_block_bytes(void) { return sizeof(block); }

static size_t blocks_of(size_t tokens) { return (tokens + LOOKUP_BLOCK_TOKENS - 1) / LOOKUP_BLOCK_TOKENS; }

static size_t engine_bytes(const lookup_options *o) { return sizeof(engine) + o->max_sequences * sizeof(job *); }

/* Bytes of a job; its numbers are below 2^32, so nothing overflows in 64 bits. */
static uint64_t job_bytes(uint64_t tokens) {
    return sizeof(job) + blocks_of(tokens) * sizeof(block *) + tokens * sizeof(uint32_t);
}

/* --- The model ------------------------------------------------------------------------------------------------------- */

static cell *cell_at(const job *j, size_t position) {
    return &j->blocks[position / LOOKUP_BLOCK_TOKENS]->cells[position % LOOKUP_BLOCK_TOKENS];
}

static void compute(job *j, size_t position) {
    cell *c = cell_at(j, position);
    c->token = j->tokens[position];
    c->hash = ((position == 0 ? 2166136261u : cell_at(j, position - 1)->hash) ^ c->token) * 16777619u;
    c->before = 0;
    for (size_t p = position; p > 0 && c->before == 0; p--) {
        if (cell_at(j, p - 1)->token == c->token) c->before = (uint32_t)p;
    }
}

/* The token after the last, and in *matched how many tokens before it speak for it. */
static uint32_t predict(const job *j, size_t *matched) {
    size_t last = j->position - 1;
    uint32_t best = cell_at(j, cell_at(j, last)->hash % j->position)->token;
    *matched = 0;
    size_t place = cell_at(j, last)->before;
    for (int i = 0; i < PLACES && place > 0; i++, place = cell_at(j, place - 1)->before) {
        size_t depth = 1;
        while (depth < DEPTH && depth < place && cell_at(j, place - 1 - depth)->token == cell_at(j, last - depth)->token) depth++;
        if (depth > *matched) {
            *matched = depth;
            best = cell_at(j, place)->token;
        }
    }
    return best;
}

/* --- Memory ---------------------------------------------------------------------------------------------------------- */

static void count_kv(engine *e, uint64_t more, uint64_t less) {
    pthread_mutex_lock(&e->mutex);
    e->kv_bytes += more;
    e->kv_bytes -= less;
    pthread_mutex_unlock(&e->mutex);
}

/* Frees a list of blocks, then gives their lease back. */
static void free_blocks(engine *e, uint64_t session, block *b) {
    uint64_t bytes = 0;
    while (b != NULL) {
        block *next = b->next;
        free(b);
        b = next;
        bytes += sizeof(block);
    }
    if (bytes == 0) return;
    count_kv(e, 0, bytes);
    e->host->lease_shrink(e->host->context, session, bytes);
}

/* Keeps the blocks of so many tokens and frees the others. */
static void keep_blocks(engine *e, job *j, size_t tokens) {
    size_t keep = blocks_of(tokens);
    block *rest = NULL;
    while (j->block_count > keep) {
        block *b = j->blocks[--j->block_count];
        b->next = rest;
        rest = b;
    }
    free_blocks(e, j->session, rest);
}

/* All blocks that the request will ever need. */
static plimsoll_status lease_blocks(engine *e, job *j) {
    size_t more = blocks_of(j->most) - j->block_count;
    uint64_t bytes = more * sizeof(block) + e->options.appetite;
    plimsoll_status status = e->host->lease_grow(e->host->context, j->session, bytes);
    if (status != PLIMSOLL_OK) return status;
    count_kv(e, bytes, 0);
    for (; more > 0; more--) {
        block *b = calloc(1, sizeof *b);
        if (b == NULL) {
            count_kv(e, 0, more * sizeof(block));
            e->host->lease_shrink(e->host->context, j->session, more * sizeof(block));
            return PLIMSOLL_ERR_OUT_OF_MEMORY;
        }
        j->blocks[j->block_count++] = b;
    }
    return PLIMSOLL_OK;
}

/* Takes a session out of those that are idle. */
static block *take_session(engine *e, uint64_t session) {
    pthread_mutex_lock(&e->mutex);
    block **at = &e->idle;
    while (*at != NULL && (*at)->session != session) at = &(*at)->next_session;
    block *found = *at;
    if (found != NULL) *at = found->next_session;
    pthread_mutex_unlock(&e->mutex);
    return found;
}

/* --- Requests -------------------------------------------------------------------------------------------------------- */

static void end(engine *e, job *j, plimsoll_status status, int32_t ending, const char *message) {
    size_t kept = j->keep && status == PLIMSOLL_OK ? j->position : 0;
    keep_blocks(e, j, kept);
    if (j->block_count > 0) {
        for (size_t i = 0; i + 1 < j->block_count; i++) j->blocks[i]->next = j->blocks[i + 1];
        j->blocks[j->block_count - 1]->next = NULL;
        block *first = j->blocks[0];
        first->session = j->session;
        first->kv_tokens = kept;
        pthread_mutex_lock(&e->mutex);
        first->next_session = e->idle;
        e->idle = first;
        pthread_mutex_unlock(&e->mutex);
    }
    plimsoll_engine_end told = {.struct_size = sizeof told, .status = status, .ending = ending, .cached_tokens = j->cached,
                                .kv_tokens = kept, .message = message, .message_len = message == NULL ? 0 : strlen(message)};
    uint64_t request = j->request;
    free(j);
    e->host->emit_end(e->host->context, request, &told); /* the session's next request may come before this returns */
}

/* Gives a request what it runs with; whether it runs. */
static int begin(engine *e, job *j) {
    e->host->begin(e->host->context, j->request);
    block *b = take_session(e, j->session);
    size_t held = b == NULL ? 0 : b->kv_tokens;
    size_t valid = j->shared_prefix < held ? j->shared_prefix : held;
    if (valid >= j->prompt_count) valid = j->prompt_count - 1; /* the last prompt token chooses the first of the answer */
    size_t keep = blocks_of(valid);
    while (b != NULL && j->block_count < keep) {
        j->blocks[j->block_count++] = b;
        b = b->next;
    }
    free_blocks(e, j->session, b);
    j->position = j->cached = valid;
    plimsoll_status status = lease_blocks(e, j);
    if (status == PLIMSOLL_OK) return 1;
    end(e, j, status, 0, status == PLIMSOLL_ERR_MEMORY_REFUSED ? "the lease was refused: it is more than was admitted" : NULL);
    return 0;
}

/* Ends a request before its turn. Of what its session holds stays what this request shares: the next may count on no more. */
static void turn_away(engine *e, job *j, int32_t ending) {
    block *b = take_session(e, j->session);
    size_t held = b == NULL ? 0 : b->kv_tokens;
    j->position = j->shared_prefix < held ? j->shared_prefix : held;
    size_t keep = j->keep ? blocks_of(j->position) : 0;
    for (; b != NULL && j->block_count < keep; b = b->next) j->blocks[j->block_count++] = b;
    free_blocks(e, j->session, b);
    end(e, j, PLIMSOLL_OK, ending, NULL);
}

static int is_stop(const job *j, uint32_t token) {
    for (size_t i = 0; i < j->stop_count; i++) {
        if (j->stops[i] == token) return 1;
    }
    return 0;
}

static plimsoll_status emit(engine *e, const job *j, uint32_t token, size_t matched) {
    uint32_t ids[32];
    float logprobs[32];
    size_t count = j->top < 32 ? j->top : 32;
    if (count > e->options.vocab_size) count = e->options.vocab_size;
    float logprob = -1.0f / (float)(1 + matched);
    for (size_t i = 0; i < count; i++) {
        ids[i] = (uint32_t)(((uint64_t)token + i) % e->options.vocab_size);
        logprobs[i] = logprob - (float)i;
    }
    plimsoll_engine_token told = {.struct_size = sizeof told, .token = token, .logprob = logprob, .top_tokens = ids,
                                  .top_logprobs = logprobs, .top_count = count};
    return e->host->emit_token(e->host->context, j->request, &told);
}

/* A chunk of the prompt, or a token of the answer; whether the request goes on. */
static int step(engine *e, job *j) {
    int32_t interrupted = e->host->interrupted(e->host->context, j->request);
    if (interrupted != 0) {
        end(e, j, PLIMSOLL_OK, interrupted, NULL);
        return 0;
    }
    for (int i = 0; i < CHUNK && j->position < j->token_count; i++) compute(j, j->position++);
    if (j->position < j->token_count) return 1;
    if (j->token_count < j->most) {
        size_t matched;
        uint32_t token = predict(j, &matched);
        if (is_stop(j, token)) {
            end(e, j, PLIMSOLL_OK, PLIMSOLL_ENDING_END_OF_TEXT, NULL);
            return 0;
        }
        j->tokens[j->token_count++] = token;
        plimsoll_status status = emit(e, j, token, matched);
        if (status != PLIMSOLL_OK) {
            end(e, j, status, 0, "the token was refused");
            return 0;
        }
    }
    if (j->token_count < j->most) return 1;
    end(e, j, PLIMSOLL_OK, PLIMSOLL_ENDING_LENGTH, NULL);
    return 0;
}

/* The first request that waits, or NULL; one that was cancelled meanwhile as well as one whose turn it is. */
static job *next_waiting(engine *e) {
    job *found = NULL;
    pthread_mutex_lock(&e->mutex);
    for (job **at = &e->first_waiting; *at != NULL && found == NULL;) {
        if (e->running < e->options.max_sequences || e->host->interrupted(e->host->context, (*at)->request) != 0) {
            found = *at;
            *at = found->next;
            if (*at == NULL) e->last_waiting = at;
            e->waiting--;
        } else {
            at = &(*at)->next;
        }
    }
    pthread_mutex_unlock(&e->mutex);
    return found;
}

static void *run(void *arg) {
    engine *e = arg;
    for (;;) {
        pthread_mutex_lock(&e->mutex);
        while (!e->closing && e->running == 0 && e->first_waiting == NULL) pthread_cond_wait(&e->changed, &e->mutex);
        int closing = e->closing;
        pthread_mutex_unlock(&e->mutex);
        if (closing) return NULL;
        for (job *j; (j = next_waiting(e)) != NULL;) {
            int32_t interrupted = e->host->interrupted(e->host->context, j->request);
            if (interrupted != 0) {
                turn_away(e, j, interrupted);
            } else if (begin(e, j)) {
                e->lanes[e->running++] = j;
            }
        }
        for (uint32_t i = 0; i < e->running;) {
            if (step(e, e->lanes[i])) i++;
            else memmove(&e->lanes[i], &e->lanes[i + 1], (--e->running - i) * sizeof(job *));
        }
        if (e->options.step_us > 0) {
            const struct timespec rest = {e->options.step_us / 1000000, (long)(e->options.step_us % 1000000) * 1000};
            nanosleep(&rest, NULL);
        }
    }
}

/* --- The table ------------------------------------------------------------------------------------------------------- */

static int32_t describe(void *user_data, plimsoll_engine_description *d) {
    lookup_options o = with_defaults(user_data);
    d->context_length = o.context_length;
    d->vocab_size = o.vocab_size;
    d->block_tokens = LOOKUP_BLOCK_TOKENS;
    d->max_sequences = o.max_sequences;
    d->workspace_bytes = engine_bytes(&o);
    d->name = "lookup";
    d->name_len = strlen("lookup");
    return PLIMSOLL_OK;
}

static int32_t load(void *user_data, const plimsoll_engine_host *host, void **out) {
    lookup_options o = with_defaults(user_data);
    engine *e = calloc(1, engine_bytes(&o));
    if (e == NULL) return PLIMSOLL_ERR_OUT_OF_MEMORY;
    e->host = host;
    e->options = o;
    e->last_waiting = &e->first_waiting;
    if (pthread_mutex_init(&e->mutex, NULL) != 0) goto no_mutex;
    if (pthread_cond_init(&e->changed, NULL) != 0) goto no_condition;
    if (pthread_create(&e->thread, NULL, run, e) != 0) goto no_thread;
    *out = e;
    return PLIMSOLL_OK;
no_thread:
    pthread_cond_destroy(&e->changed);
no_condition:
    pthread_mutex_destroy(&e->mutex);
no_mutex:
    free(e);
    return PLIMSOLL_ERR_OUT_OF_MEMORY;
}

static int32_t estimate(void *arg, const plimsoll_engine_shape *shape, plimsoll_engine_price *price) {
    (void)arg;
    uint64_t tokens = (uint64_t)shape->prompt_tokens + shape->max_tokens;
    price->kv_block_bytes = sizeof(block);
    price->kv_bytes = blocks_of(tokens) * sizeof(block);
    price->request_bytes = job_bytes(tokens);
    return PLIMSOLL_OK;
}

static int32_t start(void *arg, const plimsoll_engine_request *r) {
    engine *e = arg;
    if (r->stop_count > LOOKUP_STOPS) return PLIMSOLL_ERR_INVALID_ARGUMENT;
    uint64_t most = (uint64_t)r->token_count + r->max_tokens;
    job *j = malloc(job_bytes(most)); /* r->request_bytes pay for it */
    if (j == NULL) return PLIMSOLL_ERR_OUT_OF_MEMORY;
    memset(j, 0, sizeof *j);
    j->request = r->request;
    j->session = r->session;
    j->stop_count = r->stop_count;
    if (r->stop_count > 0) memcpy(j->stops, r->stop_tokens, r->stop_count * sizeof *j->stops);
    j->shared_prefix = r->shared_prefix;
    j->token_count = j->prompt_count = r->token_count;
    j->most = most;
    j->top = r->top_logprobs;
    j->keep = r->keep_kv;
    j->blocks = (block **)(j + 1);
    j->tokens = (uint32_t *)(j->blocks + blocks_of(most));
    memcpy(j->tokens, r->tokens, r->token_count * sizeof *j->tokens);
    pthread_mutex_lock(&e->mutex);
    int full = e->waiting >= e->options.queue;
    if (!full) {
        *e->last_waiting = j;
        e->last_waiting = &j->next;
        e->waiting++;
        pthread_cond_signal(&e->changed);
    }
    pthread_mutex_unlock(&e->mutex);
    if (full) free(j);
    return full ? PLIMSOLL_ERR_QUEUE_FULL : PLIMSOLL_OK;
}

/* Nothing of an idle session is worth more than what others need it for: all of it goes, at once. */
static int32_t reclaim(void *arg, uint64_t session, uint64_t bytes, uint32_t deadline_ms) {
    (void)bytes, (void)deadline_ms;
    free_blocks(arg, session, take_session(arg, session));
    return PLIMSOLL_OK;
}

static int32_t holdings(void *arg, plimsoll_engine_holdings *h) {
    engine *e = arg;
    h->workspace_bytes = engine_bytes(&e->options);
    pthread_mutex_lock(&e->mutex);
    h->kv_bytes = e->kv_bytes;
    pthread_mutex_unlock(&e->mutex);
    return PLIMSOLL_OK;
}

/* Whatever is left is freed; the library ends the requests and takes the leases back. */
static void free_engine(void *arg) {
    engine *e = arg;
    pthread_mutex_lock(&e->mutex);
    e->closing = 1;
    pthread_cond_signal(&e->changed);
    pthread_mutex_unlock(&e->mutex);
    pthread_join(e->thread, NULL);
    for (uint32_t i = 0; i < e->running; i++) {
        for (size_t b = 0; b < e->lanes[i]->block_count; b++) free(e->lanes[i]->blocks[b]);
        free(e->lanes[i]);
    }
    for (job *j = e->first_waiting; j != NULL;) {
        job *next = j->next;
        free(j);
        j = next;
    }
    for (block *s = e->idle; s != NULL;) {
        block *next_session = s->next_session;
        for (block *b = s; b != NULL;) {
            block *next = b->next;
            free(b);
            b = next;
        }
        s = next_session;
    }
    pthread_cond_destroy(&e->changed);
    pthread_mutex_destroy(&e->mutex);
    free(e);
}

plimsoll_engine_table lookup_table(void) {
    /* Without `cancel`: the thread asks before each token. */
    plimsoll_engine_table table = {.struct_size = sizeof table, .abi_version = PLIMSOLL_ENGINE_ABI_VERSION,
                                   .describe = describe, .load = load, .estimate = estimate, .start = start,
                                   .reclaim = reclaim, .holdings = holdings, .free = free_engine};
    return table;
}
