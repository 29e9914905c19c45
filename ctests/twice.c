/* The header includes what it needs, and may be included twice. With unit.c it is included in two units. */
#include "plimsoll.h"
#include "plimsoll.h"

#include <stdio.h>
#include <string.h>

const char *version_in_unit(void);

int main(void) {
    if (strcmp(version_in_unit(), plimsoll_version()) != 0 || plimsoll_abi_version() < PLIMSOLL_ABI_VERSION) {
        return 1;
    }
    return puts(plimsoll_version()) < 0;
}
