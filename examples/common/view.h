/* How the chat program shows what happens: as text for people (view_text.c) or as JSON lines for programs (view_json.c). */
#ifndef EXAMPLES_VIEW_H
#define EXAMPLES_VIEW_H

#include "plimsoll.h"

#include <stdbool.h>
#include <stdio.h>

typedef struct view view;

struct view {
    /* A token or text came. */
    void (*event)(view *v, const plimsoll_model *model, const plimsoll_event *event);
    /* The answer has ended; `text` is the whole of it. */
    void (*result)(view *v, const plimsoll_verdict *verdict, const plimsoll_result *result, plimsoll_str text);
    /* The guard refused the request. */
    void (*refused)(view *v, const plimsoll_verdict *verdict);
    void (*failed)(view *v, const plimsoll_error *error);
    void (*memory)(view *v, const plimsoll_runtime *runtime);
    void (*note)(view *v, const char *text);

    FILE *answers;      /* where answers go */
    FILE *numbers;      /* where everything else goes */
    bool answers_tty;
    bool numbers_tty;
    bool logprobs;      /* a line per token, with its alternatives */
    bool midline;       /* the answer's line is not ended yet */
};

/* With `one_shot` only the answer goes to stdout, the rest to stderr. */
view view_text(bool one_shot, bool logprobs);
view view_json(void);

#endif
