/* JSON to a stream: one object at a time, members in the order of the calls. */
#ifndef EXAMPLES_JSON_H
#define EXAMPLES_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef struct {
    FILE *out;
    bool comma; /* something stands before the next member */
} json;

json json_to(FILE *out);

/* Braces; `name` is NULL inside an array and at the top. */
void json_open(json *j, const char *name, char brace);
void json_close(json *j, char brace);

/* Text that need not be UTF-8: what is not becomes U+FFFD. */
void json_text(json *j, const char *name, const char *text, size_t length);
void json_name(json *j, const char *name, const char *text);
void json_integer(json *j, const char *name, int64_t value);
void json_unsigned(json *j, const char *name, uint64_t value);

/* A number; null when it is not finite, which JSON cannot say. */
void json_number(json *j, const char *name, double value);

/* JSON that is written already. */
void json_raw(json *j, const char *name, const char *text, size_t length);

/* Ends the line, so that a reader has it at once. */
void json_end_line(json *j);

#endif
