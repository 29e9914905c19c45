/* How fast a model runs: prefill and decode alone, decode of several sequences together, time to first token, load time and
 * peak memory. Prompts are random token ids and answers go on after end-of-text tokens, so every run does the same work. */
#define _POSIX_C_SOURCE 200809L

#include "args.h"
#include "json.h"
#include "names.h"
#include "process.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_BATCHES = 16, MAX_SEQUENCES = 128, MAX_REPS = 101 };

static const char HELP[] =
    "usage: bench --model PATH [options]\n"
    "\n"
    "  --model PATH     a Hugging Face folder or a .gguf file\n"
    "  --prefill N      tokens of the prompt whose prefill is timed [512]\n"
    "  --decode N       tokens generated in each timed decode, at least 2 [128]\n"
    "  --depth N        tokens that stand before the second timed decode [2048]\n"
    "  --batch N,N,...  numbers of sequences that decode together [1,4,8,16]\n"
    "  --threads N      computing threads [2]\n"
    "  --reps N         repetitions; the median counts [3]\n"
    "  --json           one JSON object\n"
    "  --help\n"
    "\n"
    "What does not fit in the model's context is said and left out.\n";

typedef struct {
    const char *model;
    uint32_t prefill, decode, depth, threads, reps;
    uint32_t batches[MAX_BATCHES];
    size_t batch_count;
    bool json;
} options;

typedef struct {
    options options;
    plimsoll_runtime *runtime;
    plimsoll_model *model;
    plimsoll_model_facts facts;
    double load_seconds;
} bench;

/* --- Setting up ------------------------------------------------------------------------------------------------- */

/* Shows an error and ends the program: half a benchmark is none. */
static void expect(plimsoll_status status, plimsoll_error **error) {
    if (status != PLIMSOLL_OK) {
        plimsoll_str message = plimsoll_error_message(*error);
        fprintf(stderr, "bench: error %" PRId32 " (%s): %.*s\n", status, status_name(status), (int)message.len,
                message.ptr);
        exit(1);
    }
}

static void die(const char *why) {
    fprintf(stderr, "bench: %s\n", why);
    exit(1);
}

static void parse_batches(options *o, const char *text) {
    o->batch_count = 0;
    for (const char *at = text;; at++) {
        char *end = NULL;
        unsigned long value = strtoul(at, &end, 10);
        if (*at < '0' || *at > '9' || value < 1 || value > MAX_SEQUENCES || o->batch_count == MAX_BATCHES
            || (*end != ',' && *end != '\0')) {
            usage_error("bench", "--batch %s: not up to %d numbers from 1 to %d with commas between", text, MAX_BATCHES,
                        MAX_SEQUENCES);
        }
        o->batches[o->batch_count++] = (uint32_t)value;
        at = end;
        if (*at == '\0') {
            return;
        }
    }
}

static options parse(int argc, char **argv) {
    options o = {.prefill = 512, .decode = 128, .depth = 2048, .threads = 2, .reps = 3};
    parse_batches(&o, "1,4,8,16");
    args a = args_of("bench", argc, argv);
    while (args_next(&a)) {
        if (args_is(&a, "--model")) {
            o.model = args_text(&a);
        } else if (args_is(&a, "--prefill")) {
            o.prefill = (uint32_t)args_integer(&a, 1, 1 << 24);
        } else if (args_is(&a, "--decode")) {
            o.decode = (uint32_t)args_integer(&a, 2, 1 << 24);
        } else if (args_is(&a, "--depth")) {
            o.depth = (uint32_t)args_integer(&a, 1, 1 << 24);
        } else if (args_is(&a, "--threads")) {
            o.threads = (uint32_t)args_integer(&a, 1, 256);
        } else if (args_is(&a, "--reps")) {
            o.reps = (uint32_t)args_integer(&a, 1, MAX_REPS);
        } else if (args_is(&a, "--batch")) {
            parse_batches(&o, args_text(&a));
        } else if (args_is(&a, "--json")) {
            o.json = true;
        } else if (args_is(&a, "--help")) {
            fputs(HELP, stdout);
            exit(0);
        } else {
            args_unknown(&a);
        }
    }
    if (o.model == NULL) {
        usage_error("bench", "--model is missing");
    }
    return o;
}

static void set(plimsoll_config *config, const char *key, uint64_t value) {
    char text[24];
    plimsoll_error *error = NULL;
    int length = snprintf(text, sizeof text, "%" PRIu64, value);
    expect(plimsoll_config_set(config, key, strlen(key), text, (size_t)length, &error), &error);
}

static void open_bench(bench *b) {
    plimsoll_error *error = NULL;
    plimsoll_config *config = NULL;
    expect(plimsoll_config_new(&config, &error), &error);
    /* The machine's memory is the bound here, not what one session may have. */
    set(config, "guard.session_limit_mb", 1 << 20);
    set(config, "guard.kv_limit_mb", 1 << 20);
    expect(plimsoll_runtime_new(config, &b->runtime, &error), &error);
    plimsoll_config_free(config);

    uint32_t sequences = 1;
    for (size_t i = 0; i < b->options.batch_count; i++) {
        sequences = b->options.batches[i] > sequences ? b->options.batches[i] : sequences;
    }
    config = NULL;
    expect(plimsoll_config_new(&config, &error), &error);
    set(config, "native.threads", b->options.threads);
    set(config, "native.max_sequences", sequences);
    const char *path = b->options.model;
    double start = seconds();
    expect(plimsoll_model_load(b->runtime, "bench", strlen("bench"), path, strlen(path), config, NULL, NULL, &b->model,
                               &error),
           &error);
    b->load_seconds = seconds() - start;
    plimsoll_config_free(config);
    b->facts.struct_size = sizeof b->facts;
    expect(plimsoll_model_get_facts(b->model, &b->facts, &error), &error);
}

/* --- One run ---------------------------------------------------------------------------------------------------- */

typedef struct {
    plimsoll_session *session;
    plimsoll_request *request;
    double start, first, end; /* when it began, had its first token, ended */
    pthread_barrier_t *gate;  /* all that run together begin together */
    plimsoll_result result;
} sequence;

static int32_t on_event(const plimsoll_event *event, void *user_data) {
    sequence *s = user_data;
    if (event->kind == PLIMSOLL_EVENT_TOKEN && s->first <= 0) {
        s->first = seconds();
    }
    return 0;
}

/* A sequence of `prompt` tokens that are random but for each seed the same, and `decode` tokens to come. */
static sequence new_sequence(const bench *b, uint32_t prompt, uint32_t decode, uint64_t seed) {
    sequence s = {.result = {.struct_size = sizeof(plimsoll_result)}};
    plimsoll_error *error = NULL;
    uint32_t *tokens = malloc(prompt * sizeof *tokens);
    if (tokens == NULL) {
        die("no memory for the prompt");
    }
    uint64_t state = seed * 2654435769u + 1;
    for (uint32_t i = 0; i < prompt; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        tokens[i] = (uint32_t)((state >> 33) % b->facts.vocab_size);
    }
    expect(plimsoll_session_open(b->model, NULL, &s.session, &error), &error);
    expect(plimsoll_request_new(&s.request, &error), &error);
    expect(plimsoll_request_set_tokens(s.request, tokens, prompt, &error), &error);
    /* Fewer tokens than asked for would be another benchmark. */
    expect(plimsoll_request_set_max_tokens(s.request, decode, &error), &error);
    expect(plimsoll_request_set_min_tokens(s.request, decode, &error), &error);
    expect(plimsoll_request_set_ignore_eos(s.request, 1, &error), &error);
    free(tokens);
    return s;
}

static void free_sequence(sequence *s) {
    plimsoll_request_free(s->request);
    plimsoll_session_free(s->session);
}

static void run(sequence *s) {
    plimsoll_error *error = NULL;
    expect(plimsoll_session_reset(s->session, &error), &error);
    if (s->gate != NULL) {
        pthread_barrier_wait(s->gate);
    }
    s->first = 0;
    s->start = seconds();
    expect(plimsoll_generate(s->session, s->request, NULL, NULL, on_event, s, &s->result, &error), &error);
    s->end = seconds();
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, uint32_t count) {
    qsort(values, count, sizeof *values, compare);
    return count % 2 == 1 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

/* --- What is measured ------------------------------------------------------------------------------------------- */

/* Prefill in tokens/s, and the time to the first token in seconds. */
static void measure_prefill(const bench *b, double *speed, double *first_token) {
    double speeds[MAX_REPS], firsts[MAX_REPS];
    sequence s = new_sequence(b, b->options.prefill, 1, 1);
    for (uint32_t i = 0; i < b->options.reps; i++) {
        run(&s);
        firsts[i] = s.first - s.start;
        speeds[i] = (double)s.result.prompt_tokens * 1e6 / (double)s.result.prefill_us;
    }
    free_sequence(&s);
    *speed = median(speeds, b->options.reps);
    *first_token = median(firsts, b->options.reps);
}

/* Decode in tokens/s after a prompt of `depth` tokens. */
static double measure_decode(const bench *b, uint32_t depth) {
    double speeds[MAX_REPS];
    sequence s = new_sequence(b, depth, b->options.decode, 2);
    for (uint32_t i = 0; i < b->options.reps; i++) {
        run(&s);
        speeds[i] = (double)(s.result.generated_tokens - 1) * 1e6 / (double)s.result.decode_us;
    }
    free_sequence(&s);
    return median(speeds, b->options.reps);
}

static void *run_in_thread(void *user_data) {
    run(user_data);
    return NULL;
}

/* Decode of `count` sequences together, in tokens/s in all: all tokens, over the time from the first start to the last end.
 * A prompt of one token makes little of that time prefill. */
static double measure_batch(const bench *b, uint32_t count) {
    double speeds[MAX_REPS];
    sequence sequences[MAX_SEQUENCES];
    pthread_t threads[MAX_SEQUENCES];
    pthread_barrier_t gate;
    if (pthread_barrier_init(&gate, NULL, count) != 0) {
        die("no barrier");
    }
    for (uint32_t i = 0; i < count; i++) {
        sequences[i] = new_sequence(b, 1, b->options.decode, 3 + i);
        sequences[i].gate = &gate;
    }
    for (uint32_t rep = 0; rep < b->options.reps; rep++) {
        for (uint32_t i = 0; i < count; i++) {
            if (pthread_create(&threads[i], NULL, run_in_thread, &sequences[i]) != 0) {
                die("no thread for a sequence");
            }
        }
        double start = 0, end = 0, tokens = 0;
        for (uint32_t i = 0; i < count; i++) {
            pthread_join(threads[i], NULL);
            const sequence *s = &sequences[i];
            start = i == 0 || s->start < start ? s->start : start;
            end = s->end > end ? s->end : end;
            tokens += (double)s->result.generated_tokens;
        }
        speeds[rep] = tokens / (end - start);
    }
    for (uint32_t i = 0; i < count; i++) {
        free_sequence(&sequences[i]);
    }
    pthread_barrier_destroy(&gate);
    return median(speeds, b->options.reps);
}

/* --- Reports ---------------------------------------------------------------------------------------------------- */

/* Whether prompt and answer fit in the context; says so when they do not. */
static bool fits(const bench *b, const char *what, uint32_t prompt, uint32_t decode) {
    bool fit = (uint64_t)prompt + decode <= b->facts.context_length;
    if (!fit) {
        fprintf(stderr, "bench: %s left out: %" PRIu32 " + %" PRIu32 " tokens, the model's context has %" PRIu32 "\n",
                what, prompt, decode, b->facts.context_length);
    }
    return fit;
}

static void report_text(const bench *b) {
    const options *o = &b->options;
    const plimsoll_model_facts *f = &b->facts;
    printf("%s, engine %.*s, %" PRIu32 " threads, median of %" PRIu32 "\n", o->model, (int)f->engine.len, f->engine.ptr,
           o->threads, o->reps);
    printf("load          %10.3f s      weights %s, workspace %s\n", b->load_seconds, HUMAN(f->weights_bytes),
           HUMAN(f->workspace_bytes));
    if (fits(b, "prefill", o->prefill, 1)) {
        double speed = 0, first_token = 0;
        measure_prefill(b, &speed, &first_token);
        printf("prefill       %10.1f tokens/s   %" PRIu32 " tokens, first token after %.1f ms\n", speed, o->prefill,
               first_token * 1e3);
    }
    /* One token is the shortest prompt there is. */
    if (fits(b, "decode", 1, o->decode)) {
        printf("decode        %10.1f tokens/s   %" PRIu32 " tokens at depth 0\n", measure_decode(b, 1), o->decode);
    }
    if (fits(b, "decode at depth", o->depth, o->decode)) {
        printf("decode        %10.1f tokens/s   %" PRIu32 " tokens at depth %" PRIu32 "\n", measure_decode(b, o->depth),
               o->decode, o->depth);
    }
    for (size_t i = 0; i < o->batch_count && fits(b, "batch", 1, o->decode); i++) {
        double speed = measure_batch(b, o->batches[i]);
        printf("batch of %-3" PRIu32 "  %10.1f tokens/s   %.1f per sequence\n", o->batches[i], speed,
               speed / o->batches[i]);
        fflush(stdout);
    }
    printf("peak memory   %10s\n", HUMAN(peak_bytes()));
}

static void decode_json(const bench *b, json *j, uint32_t depth, uint32_t prompt) {
    if (fits(b, "decode", prompt, b->options.decode)) {
        json_open(j, NULL, '{');
        json_unsigned(j, "depth", depth);
        json_unsigned(j, "tokens", b->options.decode);
        json_number(j, "tokens_per_second", measure_decode(b, prompt));
        json_close(j, '}');
    }
}

static void report_json(const bench *b) {
    const options *o = &b->options;
    json j = json_to(stdout);
    json_open(&j, NULL, '{');
    json_name(&j, "model", o->model);
    json_text(&j, "engine", b->facts.engine.ptr, b->facts.engine.len);
    json_name(&j, "version", plimsoll_version());
    json_unsigned(&j, "threads", o->threads);
    json_unsigned(&j, "reps", o->reps);
    json_number(&j, "load_seconds", b->load_seconds);
    json_unsigned(&j, "weights_bytes", b->facts.weights_bytes);
    json_unsigned(&j, "workspace_bytes", b->facts.workspace_bytes);
    if (fits(b, "prefill", o->prefill, 1)) {
        double speed = 0, first_token = 0;
        measure_prefill(b, &speed, &first_token);
        json_open(&j, "prefill", '{');
        json_unsigned(&j, "tokens", o->prefill);
        json_number(&j, "tokens_per_second", speed);
        json_number(&j, "first_token_seconds", first_token);
        json_close(&j, '}');
    }
    json_open(&j, "decode", '[');
    decode_json(b, &j, 0, 1);
    decode_json(b, &j, o->depth, o->depth);
    json_close(&j, ']');
    json_open(&j, "batch", '[');
    for (size_t i = 0; i < o->batch_count && fits(b, "batch", 1, o->decode); i++) {
        double speed = measure_batch(b, o->batches[i]);
        json_open(&j, NULL, '{');
        json_unsigned(&j, "sequences", o->batches[i]);
        json_number(&j, "tokens_per_second", speed);
        json_number(&j, "tokens_per_second_each", speed / o->batches[i]);
        json_close(&j, '}');
    }
    json_close(&j, ']');
    json_unsigned(&j, "peak_bytes", peak_bytes());
    json_close(&j, '}');
    json_end_line(&j);
}

int main(int argc, char **argv) {
    bench b = {.options = parse(argc, argv)};
    open_bench(&b);
    (b.options.json ? report_json : report_text)(&b);
    plimsoll_model_unload(b.model);
    plimsoll_runtime_free(b.runtime);
    return 0;
}
