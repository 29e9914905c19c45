/* A chat on the terminal, and a first program to read: load a model under a memory budget, open a session, and for each
 * turn ask the guard, run, show the numbers. */
#define _POSIX_C_SOURCE 200809L

#include "args.h"
#include "lines.h"
#include "names.h"
#include "process.h"
#include "view.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char HELP[] =
    "usage: chat [options]\n"
    "\n"
    "  --model PATH       a Hugging Face folder or a .gguf file [models/demo]\n"
    "  --memory SIZE      the budget, such as 512MiB [what the machine or its cgroup allows]\n"
    "  --system TEXT      a system message before the conversation\n"
    "  -p TEXT            one question: only its answer goes to stdout, then the program ends\n"
    "  --raw              no chat template: what is typed is continued\n"
    "  --max-tokens N     most tokens of an answer [512]\n"
    "  --temperature X    how much chance there is; 0 takes the likeliest token [0]\n"
    "  --top-p X          choose among the likeliest tokens that make up this probability [1]\n"
    "  --seed N           the same seed gives the same answer\n"
    "  --ignore-eos       generate on after the model has ended its answer\n"
    "  --logprobs N       a line per token, with the N likeliest tokens at its place, at most 20\n"
    "  --json             events as JSON lines\n"
    "  --threads N        computing threads [the machine's cores]\n"
    "  --backend NAME     kernels: cpu, candle [cpu]\n"
    "  --kv TYPE          element type of the KV cache: f16, f32, q8_0 [f16]\n"
    "  --help, --version\n"
    "\n"
    "In a chat: /stats /reset /help /quit. Ctrl-C stops an answer; twice at the prompt, or Ctrl-D, it ends the program.\n"
    "Exit status: 0; 1 when the model cannot be loaded or the one question fails; 2 for a mistake on the command line;\n"
    "130 when the one question is stopped.\n";

static const char COMMANDS[] = "/stats  memory by owner, sessions, decisions, alerts\n"
                               "/reset  forget the conversation\n"
                               "/quit   end the program";

typedef struct {
    const char *model, *memory, *threads, *backend, *kv, *system, *question;
    uint32_t max_tokens, logprobs;
    float temperature, top_p;
    uint64_t seed;
    bool seeded, raw, ignore_eos, json;
} options;

typedef struct {
    options options;
    view view;
    plimsoll_runtime *runtime;
    plimsoll_model *model;
    plimsoll_session *session;
    plimsoll_request *request; /* settings stay, what is said changes from turn to turn */
    bool begun;                /* the conversation has a turn, and with it the system message */
    char *answer;
    size_t answer_len, answer_room;
} chat;

/* --- Ctrl-C ----------------------------------------------------------------------------------------------------- */

/* The token of the running answer. SIGINT comes only to the main thread, and only while that runs an answer or waits for a
 * line: so the handler never has a token that is freed. */
static plimsoll_cancel *volatile running;

static void on_interrupt(int signal) {
    (void)signal;
    plimsoll_cancel_raise(running); /* safe in a signal handler, and for NULL */
}

/* SIG_BLOCK or SIG_UNBLOCK. What comes while it is blocked comes later. The library's threads inherit what holds when they
 * are made. */
static void interrupts(int how) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    pthread_sigmask(how, &set, NULL);
}

static void take_interrupts(void) {
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    interrupts(SIG_BLOCK);
}

/* --- Setting up ------------------------------------------------------------------------------------------------- */

static options parse(int argc, char **argv) {
    options o = {.model = "models/demo", .max_tokens = 512, .top_p = 1};
    args a = args_of("chat", argc, argv);
    while (args_next(&a)) {
        if (args_is(&a, "--model")) {
            o.model = args_text(&a);
        } else if (args_is(&a, "--memory")) {
            o.memory = args_text(&a);
        } else if (args_is(&a, "--system")) {
            o.system = args_text(&a);
        } else if (args_is(&a, "-p")) {
            o.question = args_text(&a);
        } else if (args_is(&a, "--raw")) {
            o.raw = true;
        } else if (args_is(&a, "--max-tokens")) {
            o.max_tokens = (uint32_t)args_integer(&a, 1, UINT32_MAX);
        } else if (args_is(&a, "--temperature")) {
            o.temperature = (float)args_number(&a);
        } else if (args_is(&a, "--top-p")) {
            o.top_p = (float)args_number(&a);
        } else if (args_is(&a, "--seed")) {
            o.seed = args_integer(&a, 0, UINT64_MAX);
            o.seeded = true;
        } else if (args_is(&a, "--ignore-eos")) {
            o.ignore_eos = true;
        } else if (args_is(&a, "--logprobs")) {
            o.logprobs = (uint32_t)args_integer(&a, 0, 20);
        } else if (args_is(&a, "--json")) {
            o.json = true;
        } else if (args_is(&a, "--threads")) {
            o.threads = args_text(&a);
        } else if (args_is(&a, "--backend")) {
            o.backend = args_text(&a);
        } else if (args_is(&a, "--kv")) {
            o.kv = args_text(&a);
        } else if (args_is(&a, "--help")) {
            fputs(HELP, stdout);
            exit(0);
        } else if (args_is(&a, "--version")) {
            printf("chat (plimsoll %s, ABI %" PRIu32 ")\n", plimsoll_version(), plimsoll_abi_version());
            exit(0);
        } else {
            args_unknown(&a);
        }
    }
    if (o.raw && o.system != NULL) {
        usage_error("chat", "--raw has no template that --system could go through");
    }
    return o;
}

/* Shows an error and frees it. */
static void fail(chat *c, plimsoll_error *error) {
    c->view.failed(&c->view, error);
    plimsoll_error_free(error);
}

/* What the library does not take from the command line is the user's mistake. */
static void expect(plimsoll_status status, plimsoll_error **error) {
    if (status != PLIMSOLL_OK) {
        plimsoll_str message = plimsoll_error_message(*error);
        usage_error("chat", "%.*s", (int)message.len, message.ptr);
    }
}

static plimsoll_config *new_config(void) {
    plimsoll_config *config = NULL;
    plimsoll_error *error = NULL;
    expect(plimsoll_config_new(&config, &error), &error);
    return config;
}

static void set(plimsoll_config *config, const char *key, const char *value) {
    if (value != NULL) {
        plimsoll_error *error = NULL;
        expect(plimsoll_config_set(config, key, strlen(key), value, strlen(value), &error), &error);
    }
}

static plimsoll_request *new_request(const options *o) {
    plimsoll_request *r = NULL;
    plimsoll_error *error = NULL;
    expect(plimsoll_request_new(&r, &error), &error);
    expect(plimsoll_request_set_max_tokens(r, o->max_tokens, &error), &error);
    expect(plimsoll_request_set_temperature(r, o->temperature, &error), &error);
    expect(plimsoll_request_set_top_p(r, o->top_p, &error), &error);
    expect(plimsoll_request_set_top_logprobs(r, o->logprobs, &error), &error);
    expect(plimsoll_request_set_ignore_eos(r, o->ignore_eos, &error), &error);
    if (o->seeded) {
        expect(plimsoll_request_set_seed(r, o->seed, &error), &error);
    }
    return r;
}

/* Tells of a load that takes its time, and stops it at Ctrl-C, which waits until the load is over. */
static int32_t on_progress(const plimsoll_progress *progress, void *user_data) {
    const double *start = user_data;
    if (isatty(STDERR_FILENO) == 1 && seconds() - *start > 0.3) {
        double share = progress->bytes_total > 0 ? (double)progress->bytes_done / (double)progress->bytes_total : 1;
        fprintf(stderr, "\rloading %3.0f %%", 100 * share);
    }
    sigset_t pending;
    sigpending(&pending);
    return sigismember(&pending, SIGINT) == 1;
}

/* Runtime, model, session. */
static bool open_chat(chat *c) {
    const options *o = &c->options;
    plimsoll_error *error = NULL;

    plimsoll_config *config = new_config();
    set(config, "memory.budget", o->memory);
    expect(plimsoll_runtime_new(config, &c->runtime, &error), &error);
    plimsoll_config_free(config);

    config = new_config();
    set(config, "native.threads", o->threads);
    set(config, "native.backend", o->backend);
    set(config, "native.kv_type", o->kv);
    double start = seconds();
    bool ok = plimsoll_model_load(c->runtime, "chat", strlen("chat"), o->model, strlen(o->model), config, on_progress,
                                  &start, &c->model, &error) == PLIMSOLL_OK
              && plimsoll_session_open(c->model, NULL, &c->session, &error) == PLIMSOLL_OK;
    plimsoll_config_free(config);
    fputs(isatty(STDERR_FILENO) == 1 ? "\r\033[K" : "", stderr);
    if (!ok) {
        fail(c, error);
    }
    return ok;
}

static void close_chat(chat *c) {
    plimsoll_request_free(c->request);
    plimsoll_session_free(c->session);
    plimsoll_model_unload(c->model);
    plimsoll_runtime_free(c->runtime);
    free(c->answer);
}

static void greet(const chat *c) {
    plimsoll_model_facts facts = {.struct_size = sizeof facts};
    plimsoll_memory memory = {.struct_size = sizeof memory};
    if (plimsoll_model_get_facts(c->model, &facts, NULL) != PLIMSOLL_OK
        || plimsoll_memory_stats(c->runtime, &memory, NULL) != PLIMSOLL_OK) {
        return;
    }
    printf("plimsoll %s: %s, engine %.*s, context %" PRIu32 " tokens\n", plimsoll_version(), c->options.model,
           (int)facts.engine.len, facts.engine.ptr, facts.context_length);
    printf("weights %s, workspace %s, free %s of %s\n", HUMAN(facts.weights_bytes), HUMAN(facts.workspace_bytes),
           HUMAN(memory.free_bytes), HUMAN(memory.limit_bytes));
    printf("/help shows the commands\n\n");
}

/* --- A turn ----------------------------------------------------------------------------------------------------- */

static bool keep(chat *c, plimsoll_str text) {
    if (c->answer_len + text.len > c->answer_room) {
        size_t room = 2 * (c->answer_len + text.len) + 256;
        char *answer = realloc(c->answer, room);
        if (answer == NULL) {
            return false;
        }
        c->answer = answer;
        c->answer_room = room;
    }
    if (text.len > 0) {
        memcpy(c->answer + c->answer_len, text.ptr, text.len);
        c->answer_len += text.len;
    }
    return true;
}

static int32_t on_event(const plimsoll_event *event, void *user_data) {
    chat *c = user_data;
    c->view.event(&c->view, c->model, event);
    return !keep(c, event->text);
}

static plimsoll_status say(chat *c, const char *text, size_t length, plimsoll_error **error) {
    plimsoll_status status = plimsoll_request_clear(c->request, error);
    if (status == PLIMSOLL_OK && c->options.raw) {
        return plimsoll_request_set_text(c->request, text, length, error);
    }
    const char *system = c->options.system;
    if (status == PLIMSOLL_OK && system != NULL && !c->begun) {
        status = plimsoll_request_add_message(c->request, "system", strlen("system"), system, strlen(system), error);
    }
    return status != PLIMSOLL_OK
               ? status
               : plimsoll_request_add_message(c->request, "user", strlen("user"), text, length, error);
}

/* Asks the guard, and runs what it grants. Returns the exit status that a single question has. */
static int turn(chat *c, const char *text, size_t length) {
    plimsoll_error *error = NULL;
    plimsoll_ticket *ticket = NULL;
    plimsoll_cancel *cancel = NULL;
    plimsoll_verdict verdict = {.struct_size = sizeof verdict};
    plimsoll_result result = {.struct_size = sizeof result};
    int exit_status = 1;
    c->answer_len = 0;

    if (say(c, text, length, &error) != PLIMSOLL_OK || plimsoll_cancel_new(&cancel, &error) != PLIMSOLL_OK
        || plimsoll_admit(c->session, c->request, &verdict, &ticket, &error) != PLIMSOLL_OK) {
        fail(c, error);
    } else if (verdict.decision == PLIMSOLL_DECISION_REJECT) {
        c->view.refused(&c->view, &verdict);
    } else {
        running = cancel;
        interrupts(SIG_UNBLOCK);
        plimsoll_status status =
            plimsoll_generate(c->session, c->request, ticket, cancel, on_event, c, &result, &error);
        interrupts(SIG_BLOCK);
        running = NULL;
        if (status != PLIMSOLL_OK) {
            fail(c, error);
        } else {
            plimsoll_str answer = {c->answer, c->answer_len};
            c->view.result(&c->view, &verdict, &result, answer);
            c->begun = c->begun || c->answer_len > 0;
            exit_status = result.ending == PLIMSOLL_ENDING_CANCELLED ? 130 : 0;
        }
    }
    plimsoll_ticket_free(ticket);
    plimsoll_cancel_free(cancel);
    return exit_status;
}

/* --- The conversation ------------------------------------------------------------------------------------------- */

/* Does what a line that begins with a slash says; false ends the program. */
static bool command(chat *c, const char *line) {
    plimsoll_error *error = NULL;
    if (strcmp(line, "/quit") == 0) {
        return false;
    }
    if (strcmp(line, "/stats") == 0) {
        c->view.memory(&c->view, c->runtime);
    } else if (strcmp(line, "/help") == 0) {
        c->view.note(&c->view, COMMANDS);
    } else if (strcmp(line, "/reset") != 0) {
        c->view.note(&c->view, "no such command; /help shows them");
    } else if (plimsoll_session_reset(c->session, &error) != PLIMSOLL_OK) {
        fail(c, error);
    } else {
        c->begun = false;
        c->view.note(&c->view, "the conversation begins anew");
    }
    return true;
}

static void converse(chat *c) {
    bool prompt = isatty(STDIN_FILENO) == 1 && !c->options.json;
    lines input = {0};
    char *line = NULL;
    size_t length = 0;
    int interrupts_in_a_row = 0;
    for (bool go_on = true; go_on;) {
        fputs(prompt ? "> " : "", stdout);
        fflush(stdout);
        switch (lines_next(&input, &line, &length)) {
        case LINES_LINE:
            interrupts_in_a_row = 0;
            if (line[0] == '/') {
                go_on = command(c, line);
            } else if (length > 0) {
                turn(c, line, length);
            }
            break;
        case LINES_INTERRUPT:
            /* Ctrl-C at the prompt begins a new line; twice in a row it ends the program, as Ctrl-D does. */
            go_on = ++interrupts_in_a_row < 2;
            fputs(prompt ? "\n" : "", stdout);
            break;
        case LINES_END:
            go_on = false;
            fputs(prompt ? "\n" : "", stdout);
            break;
        }
    }
    lines_free(&input);
}

int main(int argc, char **argv) {
    chat c = {.options = parse(argc, argv)};
    c.request = new_request(&c.options);
    const char *question = c.options.question;
    c.view = c.options.json ? view_json() : view_text(question != NULL, c.options.logprobs > 0);

    take_interrupts();
    int exit_status = 1;
    if (open_chat(&c)) {
        if (question != NULL) {
            exit_status = turn(&c, question, strlen(question));
        } else {
            if (!c.options.json && isatty(STDOUT_FILENO) == 1) {
                greet(&c);
            }
            converse(&c);
            exit_status = 0;
        }
    }
    close_chat(&c);
    return exit_status;
}
