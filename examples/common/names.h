/* Names of the header's numbers, and sizes as people write them. */
#ifndef EXAMPLES_NAMES_H
#define EXAMPLES_NAMES_H

#include "plimsoll.h"

/* "accept", "shrink", "route", "reject". */
const char *decision_name(int32_t decision);

/* "low", "medium", "high", "critical", "emergency". */
const char *pressure_name(int32_t pressure);

/* "end_of_text", "length", "stop_string", "stopped", "cancelled", "deadline". */
const char *ending_name(int32_t ending);

/* "memory_refused" for PLIMSOLL_ERR_MEMORY_REFUSED, and so on. */
const char *status_name(plimsoll_status status);

/* Writes a size such as "640 KiB" to `buffer` and returns it. */
#define SIZE_TEXT 24
const char *size_text(uint64_t bytes, char buffer[SIZE_TEXT]);

/* The same in a buffer that lives as long as the block it stands in. */
#define HUMAN(bytes) size_text((bytes), (char[SIZE_TEXT]){0})

#endif
