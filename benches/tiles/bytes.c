/* What a tile of 12 rows, 16 outputs and 32 inputs of 8 bits takes with AVX-512 VNNI, the way that the library goes (packed/many_bytes/
 * vnni.rs), and three ways that it does not.
 *
 *     make bench-tiles [ARGS="SECONDS [CPU]"]
 *
 *   products    96 products of bytes and nothing else: the peak
 *   three       sums become floats, both scales are multiplied, and both together: three operations a sum, eight products a loop
 *   two         sums begin at a float whose last bit counts ones: two operations, eight products a loop
 *   unrolled    the same without the loop, as in the library
 *
 * Eight runs of 32 inputs of four panels meet one group of rows after the other; codes lie in the first cache, inputs and sums of 42
 * groups in the second. Prints nanoseconds a tile, the fastest slice in SECONDS [1] of all four by turns. */
#define _GNU_SOURCE
#include <immintrin.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ROWS = 12, RUNS = 8, PANELS = 4, GROUPS = 42, RUN = 11 * ROWS };

struct piece {
    uint8_t codes[RUNS][8][64];
    float scales[RUNS][16];
};

static struct piece pieces[PANELS] __attribute__((aligned(64)));
static float inputs[GROUPS][RUNS * RUN] __attribute__((aligned(64)));
static float sums[GROUPS][PANELS][ROWS][16] __attribute__((aligned(64)));

static const float ORIGIN = 12582912.0f;

#define EACH_ROW _Pragma("GCC unroll 12") for (int r = 0; r < ROWS; r++)

static inline __attribute__((always_inline)) void add(__m512i *dots, const uint8_t *codes, const float *row)
{
    __m512i line = _mm512_loadu_si512(codes);
    EACH_ROW dots[r] = _mm512_dpbusd_epi32(dots[r], line, _mm512_castps_si512(_mm512_set1_ps(row[r])));
}

static inline __attribute__((always_inline)) void tile(int way, const struct piece *piece, const float *given,
                                                       float (*total)[16])
{
    __m512 totals[ROWS];
    EACH_ROW totals[r] = _mm512_loadu_ps(total[r]);
    for (int run = 0; run < RUNS; run++, given += RUN) {
        __m512i dots[ROWS];
        EACH_ROW dots[r] = _mm512_castps_si512(_mm512_set1_ps(given[9 * ROWS + r]));
        if (way == 2) {
            _Pragma("GCC unroll 8") for (int g = 0; g < 8; g++) add(dots, piece->codes[run][g], given + g * ROWS);
        } else {
            _Pragma("GCC unroll 1") for (int g = 0; g < 8; g++) add(dots, piece->codes[run][g], given + g * ROWS);
        }
        __m512 scales = _mm512_loadu_ps(piece->scales[run]);
        __m512 origin = _mm512_mul_ps(scales, _mm512_set1_ps(-ORIGIN));
        EACH_ROW {
            __m512 scale = _mm512_set1_ps(given[8 * ROWS + r]);
            if (way == 0) {
                totals[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots[r]), _mm512_mul_ps(scales, scale), totals[r]);
            } else {
                __m512 whole = _mm512_fmadd_ps(_mm512_castsi512_ps(dots[r]), scales, origin);
                totals[r] = _mm512_fmadd_ps(whole, scale, totals[r]);
            }
        }
    }
    EACH_ROW _mm512_storeu_ps(total[r], totals[r]);
}

static __attribute__((noinline)) void three(const struct piece *p, const float *g, float (*t)[16]) { tile(0, p, g, t); }
static __attribute__((noinline)) void two(const struct piece *p, const float *g, float (*t)[16]) { tile(1, p, g, t); }
static __attribute__((noinline)) void unrolled(const struct piece *p, const float *g, float (*t)[16]) { tile(2, p, g, t); }

static __attribute__((noinline)) void products(const struct piece *piece, const float *given, float (*total)[16])
{
    __m512i dots[ROWS], line = _mm512_loadu_si512(piece->codes), row = _mm512_castps_si512(_mm512_loadu_ps(given));
    EACH_ROW dots[r] = _mm512_castps_si512(_mm512_loadu_ps(total[r]));
    for (int g = 0; g < 8 * RUNS; g++)
        EACH_ROW dots[r] = _mm512_dpbusd_epi32(dots[r], line, row);
    EACH_ROW _mm512_storeu_si512(total[r], dots[r]);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

int main(int argc, char **argv)
{
    static void (*const ways[])(const struct piece *, const float *, float (*)[16]) = {products, three, two, unrolled};
    static const char *const names[] = {"products", "three", "two", "unrolled"};
    double seconds = argc > 1 ? atof(argv[1]) : 1, best[4] = {1, 1, 1, 1};
    if (!__builtin_cpu_supports("avx512vnni")) {
        fprintf(stderr, "this processor has no AVX-512 VNNI\n");
        return 0;
    }
    if (argc > 2) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET((size_t)atoi(argv[2]), &set);
        if (sched_setaffinity(0, sizeof set, &set) != 0) {
            perror("sched_setaffinity");
            return 1;
        }
    }
    for (double end = now() + seconds; now() < end;)
        for (int way = 0; way < 4; way++) {
            double start = now();
            for (int group = 0; group < GROUPS; group++)
                for (int panel = 0; panel < PANELS; panel++)
                    ways[way](&pieces[panel], inputs[group], sums[group][panel]);
            double each = (now() - start) / (GROUPS * PANELS * RUNS);
            if (each < best[way])
                best[way] = each;
        }
    for (int way = 0; way < 4; way++)
        printf("%-10s %5.1f ns  %3.0f %% of the peak\n", names[way], best[way] * 1e9, 100 * best[0] / best[way]);
    return 0;
}
