/* Time that only goes forward. */
#ifndef EXAMPLES_CLOCK_H
#define EXAMPLES_CLOCK_H

/* Seconds since some moment in the past. */
double seconds(void);

#endif
