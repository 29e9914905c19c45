/* What the parts of a product of 8 or 16 rows with weights of 4 bits take on AMX tiles, alone and together.
 *
 *     make bench-tiles [ARGS="SECONDS [CPU]"]
 *
 * A unit is 16 outputs of 32 inputs. It goes the way that units go in the library (packed/many_bytes/amx/units.rs): while one is
 * multiplied, the next but one is unpacked into memory, the one before leaves its tile, and sums of the one before that are
 * scaled. Weights lie as in the library, 1 MiB of them, which the second cache holds. Two forms of the weights:
 *
 *   bytes  whole numbers of 8 bits, as in the library; sums are converted (there, one addition makes floats of them), and scaled by
 *          the weights' and by the inputs' scale
 *   bf16   looked up from a table; inputs are bf16 and need no scales, so sums are scaled by the weights' alone
 *
 * Prints nanoseconds a unit for SECONDS [1] of each: of slices of 8 panels the fastest, and the fastest tenth. On a machine with
 * neighbours only the fastest slices say something: a neighbour on the same core makes all of this take twice as long and more. */
#define _GNU_SOURCE
#include <immintrin.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { INPUTS = 2048, UNITS = INPUTS / 32, WEIGHTS = 1 << 20, SLICE = 8 };
/* Two runs of 32 inputs: scales f16[2][16], codes u8[2][4][64]. */
enum { CELL = 576, PANEL = UNITS / 2 * CELL, PANELS = WEIGHTS / PANEL };
/* The most bytes of a unit's inputs: 16 rows of 32 bf16. */
enum { RECORD = 1024 };
enum { MULTIPLY = 1, UNPACK = 2, STORE = 4, SCALE = 8, ALL = 15 };
enum form { BYTES, BF16 };

struct scratch {
    uint8_t codes[4][16][64];
    float sums[4][16][16];
};

struct piece {
    const uint8_t *cells, *records;
    struct scratch *scratch;
};

#define ALWAYS static inline __attribute__((always_inline))

/* Codes less 8 as bf16, twice: the lookup takes five bits. */
static const uint16_t table[32] = {
    0xc100, 0xc0e0, 0xc0c0, 0xc0a0, 0xc080, 0xc040, 0xc000, 0xbf80, 0x0000, 0x3f80, 0x4000, 0x4040, 0x4080, 0x40a0, 0x40c0, 0x40e0,
    0xc100, 0xc0e0, 0xc0c0, 0xc0a0, 0xc080, 0xc040, 0xc000, 0xbf80, 0x0000, 0x3f80, 0x4000, 0x4040, 0x4080, 0x40a0, 0x40c0, 0x40e0,
};

ALWAYS const uint8_t *cell(struct piece piece, int unit) { return piece.cells + unit / 2 * CELL; }

ALWAYS void unpack(struct piece piece, enum form form, int unit, int place) {
    const uint8_t *codes = cell(piece, unit) + 64 + unit % 2 * 256;
    uint8_t(*to)[64] = piece.scratch->codes[place];
    const __m512i low = _mm512_set1_epi8(15), zero = _mm512_set1_epi8(8), values = _mm512_loadu_si512(table);
    for (int line = 0; line < 4; line++) {
        const __m512i both = _mm512_loadu_si512(codes + 64 * line);
        _mm_prefetch((const char *)codes + 576 + 64 * line, _MM_HINT_T0);
        _mm_prefetch((const char *)codes + 3072 + 64 * line, _MM_HINT_T1);
        if (form == BYTES) {
            _mm512_store_si512(to[line], _mm512_sub_epi8(_mm512_and_si512(both, low), zero));
            _mm512_store_si512(to[line + 4], _mm512_sub_epi8(_mm512_and_si512(_mm512_srli_epi16(both, 4), low), zero));
        } else {
            _mm512_store_si512(to[2 * line], _mm512_permutexvar_epi16(both, values));
            _mm512_store_si512(to[2 * line + 1], _mm512_permutexvar_epi16(_mm512_srli_epi16(both, 8), values));
            _mm512_store_si512(to[2 * line + 8], _mm512_permutexvar_epi16(_mm512_srli_epi16(both, 4), values));
            _mm512_store_si512(to[2 * line + 9], _mm512_permutexvar_epi16(_mm512_srli_epi16(both, 12), values));
        }
    }
}

ALWAYS void scale(struct piece piece, enum form form, int rows, int unit, int place, __m512 *totals) {
    const __m512 weights = _mm512_cvtph_ps(_mm256_loadu_si256((const void *)(cell(piece, unit) + unit % 2 * 32)));
    const float *inputs = (const float *)(piece.records + unit * RECORD + rows * 32);
    for (int row = 0; row < rows; row++) {
        const float *sums = piece.scratch->sums[place][row];
        if (form == BYTES) {
            const __m512 sum = _mm512_cvtepi32_ps(_mm512_load_si512(sums));
            totals[row] = _mm512_fmadd_ps(sum, _mm512_mul_ps(weights, _mm512_set1_ps(inputs[row])), totals[row]);
        } else {
            totals[row] = _mm512_fmadd_ps(_mm512_load_ps(sums), weights, totals[row]);
        }
    }
}

/* A unit in tile SUM, which is its number's remainder by four, while OLD, two units before, goes on. Tiles are literals. */
#define STEP(SUM, OLD, LEFT, RIGHT, unit)                                                                    \
    do {                                                                                                     \
        if ((parts & MULTIPLY) && (unit) < UNITS) {                                                          \
            _tile_zero(SUM);                                                                                 \
            _tile_loadd(LEFT, piece.records + (unit) * RECORD, form == BYTES ? 32 : 64);                     \
            _tile_loadd(RIGHT, piece.scratch->codes[SUM], 64);                                               \
            if (form == BYTES) _tile_dpbssd(SUM, LEFT, RIGHT);                                               \
            else _tile_dpbf16ps(SUM, LEFT, RIGHT);                                                           \
        }                                                                                                    \
        if ((parts & UNPACK) && (unit) + 2 < UNITS) unpack(piece, form, (unit) + 2, (SUM + 2) % 4);          \
        if ((parts & SCALE) && (unit) >= 3 && (unit)-3 < UNITS)                                              \
            scale(piece, form, rows, (unit)-3, (SUM + 1) % 4, totals);                                       \
        if ((parts & STORE) && (unit) >= 2 && (unit)-2 < UNITS)                                              \
            _tile_stored(OLD, piece.scratch->sums[(SUM + 2) % 4], 64);                                       \
    } while (0)

ALWAYS void panel(struct piece piece, enum form form, int rows, int parts, float *out) {
    __m512 totals[16];
    for (int row = 0; row < rows; row++) totals[row] = _mm512_setzero_ps();
    if (parts & UNPACK) {
        unpack(piece, form, 0, 0);
        unpack(piece, form, 1, 1);
    }
    for (int unit = 0; unit < UNITS + 3; unit += 4) {
        STEP(0, 2, 4, 6, unit);
        STEP(1, 3, 5, 7, unit + 1);
        STEP(2, 0, 4, 6, unit + 2);
        STEP(3, 1, 5, 7, unit + 3);
    }
    for (int row = 0; row < rows; row++) _mm512_storeu_ps(out + 16 * row, totals[row]);
}

typedef void kernel(struct piece, float *);
#define KERNEL(name, form, rows, parts) \
    static __attribute__((noinline)) void name(struct piece piece, float *out) { panel(piece, form, rows, parts, out); }
#define KERNELS(name, form, rows)                 \
    KERNEL(name##_all, form, rows, ALL)           \
    KERNEL(name##_multiply, form, rows, MULTIPLY) \
    KERNEL(name##_unpack, form, rows, UNPACK)     \
    KERNEL(name##_store, form, rows, STORE)       \
    KERNEL(name##_scale, form, rows, SCALE)       \
    static kernel *const name[] = {name##_all, name##_multiply, name##_unpack, name##_store, name##_scale};
KERNELS(bytes8, BYTES, 8)
KERNELS(bytes16, BYTES, 16)
KERNELS(bf8, BF16, 8)
KERNELS(bf16, BF16, 16)

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static int by_size(const void *left, const void *right) {
    const double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static void configure(enum form form, int rows) {
    struct {
        uint8_t palette, start_row, zeros[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } tiles = {.palette = 1};
    for (int tile = 0; tile < 8; tile++) {
        tiles.rows[tile] = (uint8_t)(tile < 6 ? rows : form == BYTES ? 8 : 16);
        tiles.bytes[tile] = tile == 4 || tile == 5 ? (form == BYTES ? 32 : 64) : 64;
    }
    /* The intrinsic does not say that it reads all of it. */
    __asm__ volatile("" ::"r"(&tiles) : "memory");
    _tile_loadconfig(&tiles);
}

static void *of_lines(size_t bytes) {
    void *memory = aligned_alloc(64, bytes);
    if (memory == NULL) {
        perror("memory");
        exit(1);
    }
    memset(memory, 0, bytes);
    return memory;
}

/* The fastest slice and the fastest tenth, in nanoseconds a unit. */
static void measure(kernel *run, struct piece piece, double seconds, double fastest[2]) {
    enum { MOST = 1 << 16 };
    static double slices[MOST];
    const uint8_t *weights = piece.cells;
    float out[256];
    int count = 0, at = 0;
    for (double end = now() + seconds; now() < end && count < MOST; count++) {
        const double start = now();
        for (int number = 0; number < SLICE; number++, at = (at + 1) % PANELS) {
            piece.cells = weights + at * PANEL;
            run(piece, out);
        }
        slices[count] = (now() - start) * 1e9 / (SLICE * UNITS);
    }
    qsort(slices, (size_t)count, sizeof *slices, by_size);
    fastest[0] = slices[0];
    fastest[1] = slices[count / 10];
}

int main(int count, char **given) {
    const double seconds = count > 1 ? atof(given[1]) : 1;
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(count > 2 ? atoi(given[2]) : 0, &cpus);
    /* ARCH_REQ_XCOMP_PERM of XFEATURE_XTILEDATA */
    if (seconds <= 0 || sched_setaffinity(0, sizeof cpus, &cpus) != 0 || syscall(SYS_arch_prctl, 0x1023, 18) != 0) {
        fprintf(stderr, "usage: parts [SECONDS [CPU]], on a processor and a system with AMX\n");
        return 1;
    }
    /* Beyond the weights is what prefetches ask for. */
    uint8_t *weights = of_lines(WEIGHTS + 4096);
    for (size_t at = 0; at < WEIGHTS; at++) weights[at] = (uint8_t)(at * 2654435761u >> 24);
    for (size_t at = 0; at + CELL <= WEIGHTS; at += CELL)
        for (size_t number = 0; number < 32; number++) memcpy(weights + at + 2 * number, &(uint16_t){0x2c00}, 2);
    const struct piece piece = {weights, of_lines(UNITS * RECORD), of_lines(sizeof(struct scratch))};
    const struct {
        const char *name;
        enum form form;
        int rows;
        kernel *const *kernels;
    } ways[] = {{"bytes", BYTES, 8, bytes8}, {"bytes", BYTES, 16, bytes16}, {"bf16", BF16, 8, bf8}, {"bf16", BF16, 16, bf16}};
    printf("%-6s %4s  %13s %13s %13s %13s %13s   ns a unit: fastest slice, fastest tenth\n", "form", "rows", "all", "multiply",
           "unpack", "store", "scale");
    for (size_t way = 0; way < sizeof ways / sizeof *ways; way++) {
        configure(ways[way].form, ways[way].rows);
        printf("%-6s %4d ", ways[way].name, ways[way].rows);
        for (int part = 0; part < 5; part++) {
            double fastest[2];
            measure(ways[way].kernels[part], piece, seconds, fastest);
            printf("  %5.1f %6.1f", fastest[0], fastest[1]);
            fflush(stdout);
        }
        printf("\n");
    }
    _tile_release();
    return 0;
}
