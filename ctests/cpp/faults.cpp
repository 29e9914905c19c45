// Faults that the sanitizers have to find; else their silence about the other programs means nothing.
#include "plimsoll.hpp"

#include <climits>

int main(int count, char **arguments) {
    const std::string_view fault = count > 1 ? arguments[1] : "";
    plimsoll::config config;
    if (fault == "leak") {
        return config.release() == nullptr;
    }
    if (fault == "twice") {
        plimsoll_config_free(config.get());
    }
    if (fault == "after") {
        const char *dangling = std::string(64, 'x').c_str();
        return *dangling == 'y';
    }
    if (fault == "overflow") {
        volatile int most = INT_MAX;
        return most + count == 0;
    }
    return 0;
}
