#define _POSIX_C_SOURCE 200809L

#include "lines.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <unistd.h>

/* Makes room for at least 1024 more bytes and a final NUL. */
static bool make_room(lines *l) {
    if (l->taken > 0) {
        memmove(l->bytes, l->bytes + l->taken, l->len - l->taken);
        l->len -= l->taken;
        l->taken = 0;
    }
    if (l->room - l->len <= 1024) {
        size_t room = 2 * l->room + 4096;
        char *bytes = realloc(l->bytes, room);
        if (bytes == NULL) {
            return false;
        }
        l->bytes = bytes;
        l->room = room;
    }
    return true;
}

/* Waits for bytes with SIGINT let through; false when it came. Checking and waiting are one step: that is pselect()'s point. */
static bool wait_for_bytes(void) {
    sigset_t mask;
    fd_set set;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    sigdelset(&mask, SIGINT);
    FD_ZERO(&set);
    FD_SET(STDIN_FILENO, &set);
    return pselect(STDIN_FILENO + 1, &set, NULL, NULL, NULL, &mask) >= 0 || errno != EINTR;
}

static lines_found take(lines *l, size_t length, char **line, size_t *line_length) {
    *line = l->bytes + l->taken;
    *line_length = length;
    (*line)[length] = '\0';
    l->taken += length + 1 < l->len - l->taken ? length + 1 : l->len - l->taken;
    return LINES_LINE;
}

lines_found lines_next(lines *l, char **line, size_t *length) {
    size_t searched = 0;
    for (;;) {
        size_t left = l->len - l->taken;
        const char *end = left > searched ? memchr(l->bytes + l->taken + searched, '\n', left - searched) : NULL;
        if (end != NULL) {
            return take(l, (size_t)(end - (l->bytes + l->taken)), line, length);
        }
        searched = left;
        if (l->ended) {
            return left > 0 ? take(l, left, line, length) : LINES_END;
        }
        if (!make_room(l)) {
            return LINES_END;
        }
        if (!wait_for_bytes()) {
            return LINES_INTERRUPT;
        }
        ssize_t got = read(STDIN_FILENO, l->bytes + l->len, l->room - l->len - 1);
        if (got > 0) {
            l->len += (size_t)got;
        } else if (got == 0 || errno != EINTR) {
            l->ended = true;
        }
    }
}

void lines_free(lines *l) {
    free(l->bytes);
    memset(l, 0, sizeof *l);
}
