/* Lines of any length from standard input, and the interrupts that come while waiting for one. */
#ifndef EXAMPLES_LINES_H
#define EXAMPLES_LINES_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    char *bytes;
    size_t len, room;
    size_t taken; /* bytes of lines that were handed out */
    bool ended;
} lines;

typedef enum { LINES_LINE, LINES_INTERRUPT, LINES_END } lines_found;

/* The next line without its end; it lives until the next call. SIGINT is let through only while this waits: who keeps it
 * blocked otherwise misses none. */
lines_found lines_next(lines *l, char **line, size_t *length);

void lines_free(lines *l);

#endif
