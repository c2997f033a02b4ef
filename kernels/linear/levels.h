/* levels - the two inner loops of linear, by vector unit. Inner to kernels/linear.
 *
 * prepare  rounds a tile of rows of x to codes, in the form that `multiply` of the same level reads
 * multiply one or two panels times one tile of rows: each output is one chain over K, first to last, so its bits do not
 *          depend on how many rows and panels share the call
 *
 * A prepared tile of R rows lies in the workspace as [K/32][R] records; F32, F16, BF16 and F8 panels read x itself.
 */
#ifndef FC_KERNELS_LINEAR_LEVELS_H
#define FC_KERNELS_LINEAR_LEVELS_H

#include "kernels/cpu/cpu.h"
#include "kernels/linear/panel.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

/* Loops are written once, with rows, panels and form as arguments, and compiled once for each combination, so that all
 * sums stay in registers. A sanitizer would take minutes over those copies: there one copy with variables serves
 * all. */
#define FC_INLINE static inline __attribute__((always_inline))
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define FC_ONE_COPY 1
#elif defined(__has_feature)
#define FC_ONE_COPY (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define FC_ONE_COPY 0
#endif
#if FC_ONE_COPY
#define FC_UNROLL
#elif defined(__clang__)
#define FC_UNROLL _Pragma("clang loop unroll(full)")
#else
#define FC_UNROLL _Pragma("GCC unroll 16")
#endif

/* Most of a call: of a vector unit, 12 integer and 12 float sums fill AVX-512's registers; of any level. */
enum { FC_VECTOR_ROWS = 6, FC_TILE_ROWS = 16, FC_TILE_PANELS = 2 };

/* A group whose largest magnitude is not above this is zero: scales / 16 or times those of weights would lose bits. */
#define FC_X_TINY 0x1p-80f
/* A group with a larger one overflows: its bias leaves f32 above about 2^111, and this is far below. So does one with a
 * high byte above FC_X_NARROW: sums of 32 * 255 * 128 and 4 * 255 * 256 times that byte are below 2^22, and of a byte
 * more they are not. */
#define FC_X_LARGE  0x1p60f
#define FC_X_NARROW 12
/* Groups whose largest magnitude is more than so many times the mean of the row's are fine: precise, and not. */
#define FC_X_FINE_PRECISE 1.25f
#define FC_X_FINE         3.0f
/* fine: the largest code stands for this part of the largest magnitude or more, so that codes fit 16 bits. */
#define FC_X_REST (1.0f / 250.0f)
/* Times what the largest code stands for: the least that a scale may be. A code is 127 at most, once it is rounded. */
#define FC_X_STEP (1.0f / 127.49f)
/* Scales of x are powers of two and those times this root of two. So the product of one with a weight's scale is one of
 * two numbers, which AVX-512 makes once for all rows, and a power of two, which its sums get as their exponent: one
 * multiplication less for each sum. Steps are 1.19 times as large in the mean as scales of any value would have them.
 */
#define FC_X_ROOT      0x1.6a09e6p0f
#define FC_X_ROOT_BITS 0x3504f3   /* below the exponent */
#define FC_X_BIAS      0x0bc00000 /* added to the bits of a power of two: 1.5 * 2^23 times that */

/* One group of 32 of a row: x = scale * code, and in one quad, four k from a multiple of 4 on, x = scale * (256 * high
 * + code). Codes are in -127..127, of a fine group's quad in -128..127 with high in -125..125; high is 0 where a group
 * is not fine. A group with a NaN or an infinity has codes 0 and scale NaN, so that all outputs of its row are NaN. */
typedef struct {
    int8_t code[FC_XGROUP];
    float scale;
    float sum;        /* scale * sum of whole codes */
    int32_t start[2]; /* where integer sums start, so that codes count from the part's zero code: -zero * sum of whole
                         codes [0] and 16 times that [1]; for groups of 16 the first and the second half's */
    float bias[2];    /* 1.5 * 2^23 times scale's power of two [0], and a sixteenth of it, for the 4-bit codes that
                         AVX-512 leaves in the high halves of their bytes [1]. An integer sum below 2^22 that starts
                         from the bits of bias is, as an f32, bias + that sum times the power of two */
    int8_t high[4];
    uint16_t quad;  /* that quad's offset from the group's codes in a panel: FC_QUAD times its number */
    uint8_t root;   /* 64 where scale has the root of two, else 0: bytes to the second of two vectors of f32 */
    bool overflows; /* sums may not start from bits of bias */
} fc_linear_x;

/* AVX2's and the portable one's: they multiply 16-bit numbers in pairs, and take (k0, k2) and (k1, k3) of each quad of
 * k. Here a code is whole. */
typedef struct {
    fc_linear_x x;
    int16_t pairs[FC_XGROUP / 4][2][2];
} fc_linear_x_wide;

typedef struct {
    const float *x; /* [rows, stride] first row of the tile */
    size_t stride;
    int rows, K;
    int zero;    /* of the parts that will read it; 0 when all have minimums */
    bool halves; /* start[] by halves */
    bool precise;
    void *out; /* [K/32][rows] */
} fc_linear_prepare;

typedef struct {
    const unsigned char *panel; /* [panels][panel_bytes] */
    size_t panel_bytes;
    fc_form form;
    int panels, rows, K; /* 1..FC_TILE_PANELS, 1..the level's tile_rows, inputs */
    int lanes;           /* outputs that exist: 1..16 * panels, the last panel may be short */
    int scale_cols;      /* F8: columns that share a scale */
    const void *x;       /* prepared tile; f32 [rows, stride] for F32, F16, BF16 and F8 */
    size_t stride;
    float *y; /* [rows, y_stride] at the panel's first column */
    size_t y_stride;
    const float *bias;         /* [lanes] or NULL */
    const unsigned char *next; /* as many bytes, to be fetched early, past an end or not; NULL: none, or it was done */
} fc_linear_multiply;

/* Panel i of a call as a call of its own. */
static inline fc_linear_multiply fc_linear_one_panel(const fc_linear_multiply *all, int i) {
    fc_linear_multiply m = *all;
    int left = m.lanes - i * FC_LANES;
    m.panel += (size_t)i * m.panel_bytes;
    m.panels = 1;
    m.lanes = left < FC_LANES ? left : FC_LANES;
    m.y += i * FC_LANES;
    m.bias = m.bias ? m.bias + i * FC_LANES : NULL;
    return m;
}

typedef struct {
    size_t x_bytes; /* of a prepared group */
    int tile_rows;  /* most rows of a tile: FC_VECTOR_ROWS or FC_TILE_ROWS */
    void (*prepare)(const fc_linear_prepare *p);
    void (*multiply)(const fc_linear_multiply *m);
} fc_linear_level;

extern const fc_linear_level fc_linear_portable, fc_linear_avx2, fc_linear_avxvnni, fc_linear_vnni256, fc_linear_avx512,
    fc_linear_amx;
const fc_linear_level *fc_linear_level_of(fc_cpu_level level); /* of an open stream */

/* Of a row: the magnitude above which a group is fine, by the largest magnitudes of its groups, first to last. */
static inline float fc_linear_fine_above(float sum_of_largest, int groups, bool precise) {
    return sum_of_largest * ((precise ? FC_X_FINE_PRECISE : FC_X_FINE) / (float)groups);
}

/* The least scale in which the largest code stands for m, finite and above FC_X_TINY * FC_X_REST. But where
 * m * FC_X_STEP is a power of two it is the root of two times that: one step more than m needs. */
static inline float fc_linear_scale_of(float m) {
    const float least = m * FC_X_STEP;
    uint32_t bits, power;
    float scale;
    memcpy(&bits, &least, sizeof bits);
    power = bits & 0x7f800000u;
    bits = (bits ^ power) > FC_X_ROOT_BITS ? power + 0x00800000u : power | FC_X_ROOT_BITS;
    memcpy(&scale, &bits, sizeof scale);
    return scale;
}

/* The last eight bytes of these records together: any high byte, and whether one overflows. The first byte is the
 * lowest, as on x86, whose levels alone ask. */
static inline uint64_t fc_linear_tails(const fc_linear_x *x, int rows) {
    uint64_t any = 0, one;
    for (int r = 0; r < rows; r++) {
        memcpy(&one, (const char *)&x[r] + offsetof(fc_linear_x, high), sizeof one);
        any |= one;
    }
    return any;
}
static inline bool fc_linear_any_high(uint64_t tails) { return (uint32_t)tails != 0; }
static inline bool fc_linear_any_overflows(uint64_t tails) { return tails >> 56 != 0; }
_Static_assert(sizeof(fc_linear_x) == 64 && offsetof(fc_linear_x, high) == 56 && offsetof(fc_linear_x, overflows) == 63,
               "a record is a cache line, and its tail says what is special about it");

/* One group of one row, plain C. */
void fc_linear_group(const float *x, const fc_linear_prepare *p, float fine_above, fc_linear_x *out);
/* Records of fc_linear_x with the same bits, but for quad where no byte is high: there it is the largest quad's, and 0
 * in plain C. Zeros times any quad are zero. */
void fc_linear_prepare_avx2(const fc_linear_prepare *p);
void fc_linear_prepare_avx512(const fc_linear_prepare *p);

#endif
