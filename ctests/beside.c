/* plimsoll's archive and another Rust library's in one program. */
#include "plimsoll.h"

#include <stdio.h>

size_t other_length(uint64_t number);

int main(void) {
    plimsoll_config *config = NULL;
    if (plimsoll_config_new(&config, NULL) != PLIMSOLL_OK || other_length(12345) != 5) {
        return 1;
    }
    plimsoll_config_free(config);
    return puts(plimsoll_version()) < 0;
}
