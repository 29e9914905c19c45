/* Command lines: long and short options with values. A mistake is told on stderr and ends the program with status 2. */
#ifndef EXAMPLES_ARGS_H
#define EXAMPLES_ARGS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    const char *program;
    int count;
    char **items;
    int at; /* the option that args_next() found */
} args;

args args_of(const char *program, int argc, char **argv);

/* Moves to the next option; false at the end. */
bool args_next(args *a);

/* Whether the option is `name`, such as "--seed". */
bool args_is(const args *a, const char *name);

/* The option's value, which is the next item. */
const char *args_text(args *a);

/* The same as a whole number from `low` to `high`, or as a finite number. */
uint64_t args_integer(args *a, uint64_t low, uint64_t high);
double args_number(args *a);

/* Ends the program: the option is unknown. */
void args_unknown(const args *a);

/* Ends the program with status 2 and a printf-like message. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3), noreturn))
#endif
void usage_error(const char *program, const char *format, ...);

#endif
