/* What the machine allows: memory read and multiply-add throughput of all threads together, as one JSON object.
 *
 *     limits THREADS             the best of several passes
 *     limits THREADS SECONDS     memory alone, the mean of that many seconds of passes
 *
 * Thread i runs on the i-th CPU that the process may use. Operations count a multiplication and an addition as two. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { MAX_THREADS = 1024, PASSES = 6, HUGE_PAGE = 2 << 20 };
static const size_t BYTES = (size_t)1 << 30; /* far more than any cache */

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* --- Memory ----------------------------------------------------------------------------------------------------- */

#if defined(__x86_64__)
__attribute__((target_clones("avx512f", "avx2", "default")))
#endif
static uint64_t sum(const uint64_t *at, size_t count) {
    uint64_t sums[32] = {0};
    for (size_t i = 0; i < count; i += 32) {
        for (size_t lane = 0; lane < 32; lane++) {
            sums[lane] += at[i + lane];
        }
    }
    for (size_t lane = 1; lane < 32; lane++) {
        sums[0] += sums[lane];
    }
    return sums[0];
}

/* --- Arithmetic ------------------------------------------------------------------------------------------------- */

typedef struct {
    const char *name;
    double operations; /* of one step */
    void (*steps)(long count);
    int available;
} peak;

#if defined(__x86_64__)
/* One step is the instruction on all accumulators, more of them than it takes cycles; the operands are zeros. */
#define VECTOR(NAME, TARGET, REGISTER, ACCUMULATORS, OPERANDS, INSTRUCTION)                                            \
    __attribute__((target(TARGET))) static void NAME(long count) {                                                     \
        __asm__ volatile(".irp r," ACCUMULATORS "," OPERANDS "\n" ZERO_##REGISTER "\n.endr" ::: CLOBBERED);            \
        for (long i = 0; i < count; i++) {                                                                             \
            __asm__ volatile(".irp r," ACCUMULATORS "\n" INSTRUCTION " %%" #REGISTER "\\r\n.endr" ::: CLOBBERED);      \
        }                                                                                                              \
    }
#define CLOBBERED                                                                                                      \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",         \
        "xmm13", "xmm14", "xmm15"
#define ZERO_zmm "vpxord %%zmm\\r, %%zmm\\r, %%zmm\\r"
#define ZERO_ymm "vpxor %%ymm\\r, %%ymm\\r, %%ymm\\r"
#define VECTOR_512(NAME, INSTRUCTION)                                                                                  \
    VECTOR(NAME, "avx512f", zmm, "0,1,2,3,4,5,6,7,8,9,10,11,12,13", "14,15", INSTRUCTION " %%zmm15, %%zmm14,")
#define VECTOR_256(NAME, INSTRUCTION)                                                                                  \
    VECTOR(NAME, "avx2", ymm, "0,1,2,3,4,5,6,7,8,9,10,11,12,13", "14,15", INSTRUCTION " %%ymm15, %%ymm14,")
enum { ACCUMULATORS = 14 };

VECTOR_512(vnni, "vpdpbusd")
VECTOR_512(dot_bf16, "vdpbf16ps")
VECTOR_512(fma_f32, "vfmadd231ps")
VECTOR_512(fma_f16, "vfmadd231ph")
VECTOR_256(multiply_bytes, "vpmaddubsw")
VECTOR_256(fma_f32_avx2, "vfmadd231ps")

/* Six accumulators of 16 x 16, two operands of 16 rows of 64 bytes. */
#define TILES(NAME, INSTRUCTION)                                                                                       \
    static void NAME(long count) {                                                                                     \
        _Alignas(64) uint8_t shape[64] = {1};                                                                          \
        for (int tile = 0; tile < 8; tile++) {                                                                         \
            shape[16 + 2 * tile] = 64;                                                                                 \
            shape[48 + tile] = 16;                                                                                     \
        }                                                                                                              \
        __asm__ volatile("ldtilecfg %0\n.irp r,0,1,2,3,4,5,6,7\ntilezero %%tmm\\r\n.endr" ::"m"(shape));                \
        for (long i = 0; i < count; i++) {                                                                             \
            __asm__ volatile(".irp r,0,1,2,3,4,5\n" INSTRUCTION "\n.endr" ::);                                         \
        }                                                                                                              \
        __asm__ volatile("tilerelease");                                                                               \
    }
TILES(tiles_int8, "tdpbssd %%tmm7, %%tmm6, %%tmm\\r")
TILES(tiles_bf16, "tdpbf16ps %%tmm7, %%tmm6, %%tmm\\r")

/* The kernel hands out tile registers on request; it refuses where the processor has none. */
static int tiles_allowed(void) {
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

/* CPUID leaf 7: what the compiler's own checks do not know by name everywhere. */
static int leaf7(int subleaf, int index, int bit) {
    unsigned int r[4] = {0};
    __asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(7), "c"(subleaf));
    return (r[index] >> bit) & 1;
}

static size_t peaks(peak *out) {
    int tiles = tiles_allowed(), avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
    int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const peak all[] = {
        {"amx_int8", 6 * 2 * 16 * 16 * 64, tiles_int8, tiles && leaf7(0, 3, 25)},
        {"amx_bf16", 6 * 2 * 16 * 16 * 32, tiles_bf16, tiles && leaf7(0, 3, 22)},
        {"vnni_int8", ACCUMULATORS * 2 * 64, vnni, avx512 && leaf7(0, 2, 11)},
        {"avx512_bf16", ACCUMULATORS * 2 * 32, dot_bf16, avx512 && leaf7(1, 0, 5)},
        {"avx512_f16", ACCUMULATORS * 2 * 32, fma_f16, avx512 && leaf7(0, 3, 23)},
        {"avx512_f32", ACCUMULATORS * 2 * 16, fma_f32, avx512},
        {"avx2_int8", ACCUMULATORS * 2 * 32, multiply_bytes, avx2},
        {"avx2_f32", ACCUMULATORS * 2 * 8, fma_f32_avx2, avx2},
    };
    memcpy(out, all, sizeof all);
    return sizeof all / sizeof *all;
}
#else
static size_t peaks(peak *out) {
    (void)out;
    return 0;
}
#endif

/* --- Threads ---------------------------------------------------------------------------------------------------- */

typedef struct {
    int index, threads;
    char *buffer;
    const peak *what; /* NULL: memory */
    long steps;
    double least; /* seconds that the passes take at least */
    uint64_t sum;
} worker;

/* Of the passes so far, in seconds; the first thread writes them while the others wait. */
static struct {
    double best, all;
    int count, more;
} passes;

static pthread_barrier_t barrier;

static void pin(int index) {
    cpu_set_t allowed, one;
    CPU_ZERO(&one);
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) {
        return;
    }
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &allowed) && index-- == 0) {
            CPU_SET(cpu, &one);
            sched_setaffinity(0, sizeof one, &one);
            return;
        }
    }
}

static void *work(void *user_data) {
    worker *w = user_data;
    pin(w->index);
    size_t part = BYTES / (size_t)w->threads / HUGE_PAGE * HUGE_PAGE;
    char *mine = w->buffer + part * (size_t)w->index;
    if (w->what == NULL) {
        memset(mine, w->index + 1, part);
    }
    do {
        pthread_barrier_wait(&barrier);
        double start = seconds();
        if (w->what != NULL) {
            w->what->steps(w->steps);
        } else {
            w->sum += sum((const uint64_t *)(const void *)mine, part / sizeof(uint64_t));
        }
        pthread_barrier_wait(&barrier);
        if (w->index == 0) {
            double took = seconds() - start;
            passes.best = passes.count == 0 || took < passes.best ? took : passes.best;
            passes.all += took;
            passes.more = ++passes.count < PASSES || passes.all < w->least;
        }
        pthread_barrier_wait(&barrier);
    } while (passes.more);
    return NULL;
}

/* Passes of all threads together, for at least so many seconds. */
static void run(const peak *what, long steps, double least, int threads, char *buffer) {
    static worker workers[MAX_THREADS];
    pthread_t ids[MAX_THREADS];
    memset(&passes, 0, sizeof passes);
    pthread_barrier_init(&barrier, NULL, (unsigned)threads);
    for (int i = 0; i < threads; i++) {
        workers[i] = (worker){
            .index = i, .threads = threads, .buffer = buffer, .what = what, .steps = steps, .least = least};
        if (pthread_create(&ids[i], NULL, work, &workers[i]) != 0) {
            fprintf(stderr, "limits: no thread\n");
            exit(1);
        }
    }
    for (int i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
    }
    pthread_barrier_destroy(&barrier);
}

int main(int argc, char **argv) {
    int threads = argc == 2 || argc == 3 ? atoi(argv[1]) : 0;
    double least = argc == 3 ? atof(argv[2]) : 0;
    if (threads < 1 || threads > MAX_THREADS || (size_t)threads > BYTES / HUGE_PAGE || (argc == 3 && !(least > 0))) {
        fprintf(stderr, "usage: limits THREADS [SECONDS]\n");
        return 2;
    }
    char *raw = mmap(NULL, BYTES + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (raw == MAP_FAILED) {
        fprintf(stderr, "limits: %s\n", strerror(errno));
        return 1;
    }
    char *buffer = (char *)(((uintptr_t)raw + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE);
    madvise(buffer, BYTES, MADV_HUGEPAGE);
    size_t read = BYTES / (size_t)threads / HUGE_PAGE * HUGE_PAGE * (size_t)threads;
    run(NULL, 0, least, threads, buffer);
    if (argc == 3) {
        printf("{\"threads\": %d, \"mean_read\": %.0f}\n", threads, (double)read * passes.count / passes.all);
        return 0;
    }
    printf("{\"threads\": %d, \"read\": %.0f", threads, (double)read / passes.best);
    peak all[16];
    size_t count = peaks(all);
    for (size_t i = 0; i < count; i++) {
        if (all[i].available) {
            long steps = 1 << 22;
            run(&all[i], steps, 0, threads, buffer);
            printf(", \"%s\": %.0f", all[i].name, all[i].operations * (double)steps * threads / passes.best);
        }
    }
    printf("}\n");
    return 0;
}
