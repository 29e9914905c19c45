/* A management library of NVIDIA's driver that says what the file SCRIPT says: "function=code" fails a function, "total=", "free=",
 * "used=" and "mine=" are figures of every device, "devices=" is how many there are. WITHOUT names a function that it lacks. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static long long figure(const char *name, long long otherwise) {
    FILE *file = fopen(SCRIPT, "r");
    char line[128];
    size_t length = strlen(name);
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, name, length) == 0 && line[length] == '=') {
            otherwise = strtoll(line + length + 1, NULL, 10);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return otherwise;
}

typedef struct { unsigned long long total, free, used; } memory_info;
typedef struct { unsigned pid; unsigned long long used; unsigned instances[2]; } process_info;

static int handles[8];
static int initialised;

int nvmlInit_v2(void) {
    initialised++;
    return (int)figure("nvmlInit_v2", 0);
}

int nvmlShutdown(void) {
    initialised--;
    return 0;
}

int nvmlDeviceGetCount_v2(unsigned *count) {
    *count = (unsigned)figure("devices", 1);
    return initialised == 1 ? (int)figure("nvmlDeviceGetCount_v2", 0) : 1;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
    *device = &handles[index];
    return (int)figure("nvmlDeviceGetHandleByIndex_v2", 0);
}

int nvmlDeviceGetUUID(void *device, char *name, unsigned length) {
    snprintf(name, length, "GPU-%d", (int)((int *)device - handles));
    return (int)figure("nvmlDeviceGetUUID", 0);
}

#ifndef WITHOUT_MEMORY
int nvmlDeviceGetMemoryInfo(void *device, memory_info *memory) {
    /* Devices differ, so that one is not taken for another. */
    unsigned long long number = (unsigned long long)((int *)device - handles);
    memory->total = (unsigned long long)figure("total", 1000) + number;
    memory->free = (unsigned long long)figure("free", 600);
    memory->used = (unsigned long long)figure("used", 400);
    return (int)figure("nvmlDeviceGetMemoryInfo", 0);
}
#endif

#ifndef WITHOUT_PROCESSES
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, process_info *list) {
    unsigned there = (unsigned)figure("processes", 3), room = *count;
    (void)device;
    *count = there;
    if (room < there) {
        return 7;
    }
    for (unsigned i = 0; i < there; i++) {
        list[i].pid = i + 1 == there && figure("mine", -2) != -2 ? (unsigned)getpid() : 1;
        list[i].used = (unsigned long long)figure("mine", 5);
    }
    return (int)figure("nvmlDeviceGetComputeRunningProcesses_v3", 0);
}
#endif
