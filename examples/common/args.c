#include "args.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void usage_error(const char *program, const char *format, ...) {
    va_list list;
    va_start(list, format);
    fprintf(stderr, "%s: ", program);
    vfprintf(stderr, format, list);
    fprintf(stderr, "; see %s --help\n", program);
    va_end(list);
    exit(2);
}

args args_of(const char *program, int argc, char **argv) {
    args a = {program, argc, argv, 0};
    return a;
}

bool args_next(args *a) {
    return ++a->at < a->count;
}

bool args_is(const args *a, const char *name) {
    return strcmp(a->items[a->at], name) == 0;
}

const char *args_text(args *a) {
    if (a->at + 1 >= a->count) {
        usage_error(a->program, "%s needs a value", a->items[a->at]);
    }
    return a->items[++a->at];
}

uint64_t args_integer(args *a, uint64_t low, uint64_t high) {
    const char *option = a->items[a->at];
    const char *text = args_text(a);
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    /* strtoull() takes "-1" for a very large number. */
    bool digits = *text >= '0' && *text <= '9' && *end == '\0';
    if (!digits || errno != 0 || value < low || value > high) {
        usage_error(a->program, "%s %s: not a whole number from %llu to %llu", option, text, (unsigned long long)low,
                    (unsigned long long)high);
    }
    return value;
}

double args_number(args *a) {
    const char *option = a->items[a->at];
    const char *text = args_text(a);
    char *end = NULL;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(value)) {
        usage_error(a->program, "%s %s: not a number", option, text);
    }
    return value;
}

void args_unknown(const args *a) {
    usage_error(a->program, "unknown option %s", a->items[a->at]);
}
