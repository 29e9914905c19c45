/* Loses a handle. Memcheck has to report it; else its silence about the other programs means nothing. */
#include "plimsoll.h"

int main(void) {
    plimsoll_config *config = NULL;
    plimsoll_status status = plimsoll_config_new(&config, NULL);
    config = NULL;
    return status == PLIMSOLL_OK && config == NULL ? 0 : 1;
}
