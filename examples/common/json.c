#include "json.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

json json_to(FILE *out) {
    json j = {out, false};
    return j;
}

/* Bytes of the UTF-8 character at `text`, or 0 when there is none: overlong forms, surrogates and cut ones are none. */
static size_t character(const unsigned char *text, size_t left) {
    unsigned char first = text[0];
    if (first < 0x80) {
        return 1;
    }
    size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || left < length) {
        return 0;
    }
    unsigned char low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    unsigned char high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (text[1] < low || text[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return length;
}

static void quoted(FILE *out, const char *text, size_t length) {
    const unsigned char *bytes = (const unsigned char *)text;
    fputc('"', out);
    for (size_t at = 0; at < length;) {
        size_t step = character(bytes + at, length - at);
        unsigned char byte = bytes[at];
        if (step == 0) {
            fputs("\\ufffd", out);
            step = 1;
        } else if (byte == '"' || byte == '\\') {
            fputc('\\', out);
            fputc(byte, out);
        } else if (byte == '\n') {
            fputs("\\n", out);
        } else if (byte < 0x20 || byte == 0x7f) {
            fprintf(out, "\\u%04x", byte);
        } else {
            fwrite(bytes + at, 1, step, out);
        }
        at += step;
    }
    fputc('"', out);
}

static void before(json *j, const char *name) {
    if (j->comma) {
        fputc(',', j->out);
    }
    j->comma = true;
    if (name != NULL) {
        quoted(j->out, name, strlen(name));
        fputc(':', j->out);
    }
}

void json_open(json *j, const char *name, char brace) {
    before(j, name);
    fputc(brace, j->out);
    j->comma = false;
}

void json_close(json *j, char brace) {
    fputc(brace, j->out);
    j->comma = true;
}

void json_text(json *j, const char *name, const char *text, size_t length) {
    before(j, name);
    quoted(j->out, text, length);
}

void json_name(json *j, const char *name, const char *text) {
    json_text(j, name, text, strlen(text));
}

void json_integer(json *j, const char *name, int64_t value) {
    before(j, name);
    fprintf(j->out, "%" PRId64, value);
}

void json_unsigned(json *j, const char *name, uint64_t value) {
    before(j, name);
    fprintf(j->out, "%" PRIu64, value);
}

void json_number(json *j, const char *name, double value) {
    before(j, name);
    if (isfinite(value)) {
        fprintf(j->out, "%.9g", value);
    } else {
        fputs("null", j->out);
    }
}

void json_raw(json *j, const char *name, const char *text, size_t length) {
    before(j, name);
    fwrite(text, 1, length, j->out);
}

void json_end_line(json *j) {
    fputc('\n', j->out);
    fflush(j->out);
    j->comma = false;
}
