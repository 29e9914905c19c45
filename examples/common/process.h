/* Time and memory of this process. */
#ifndef EXAMPLES_PROCESS_H
#define EXAMPLES_PROCESS_H

#include <stdint.h>

/* Seconds since some moment in the past; they only go forward. */
double seconds(void);

/* The most memory the process ever had resident, in bytes; 0 when the system does not say. */
uint64_t peak_bytes(void);

#endif
