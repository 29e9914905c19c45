#include "plimsoll.h"

const char *version_in_unit(void);

const char *version_in_unit(void) {
    return plimsoll_version();
}
