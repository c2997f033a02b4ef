#define _GNU_SOURCE
#include "kernels/cpu/roof.h"

#include "engine/base/os.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

/* ---- portable loops */

static uint64_t read_portable(const void *p, size_t bytes) {
    const uint64_t *v = p;
    uint64_t sum[8] = {0};
    for (size_t i = 0; i < bytes / 8; i += 8)
        for (int l = 0; l < 8; l++) sum[l] += v[i + (size_t)l];
    for (int l = 1; l < 8; l++) sum[0] += sum[l];
    return sum[0];
}

enum { N = 1024 }; /* elements of a portable dot: both sides lie in the first cache */

/* Tells the compiler that memory may have changed, so that every round is worked out anew. */
static void renew(void *p) { __asm__ volatile("" : : "r"(p) : "memory"); }

static double int8_portable(int rounds) {
    int8_t a[N], b[N];
    int32_t sum = 0;
    memset(a, 1, sizeof a);
    memset(b, 1, sizeof b);
    for (int r = 0; r < rounds; r++) {
        renew(a);
        renew(b);
        for (int i = 0; i < N; i++) sum += a[i] * b[i];
        sum &= 0xffff;
    }
    return sum;
}

static double bf16_portable(int rounds) {
    uint16_t a[N], b[N];
    float sum[16] = {0};
    for (int i = 0; i < N; i++) a[i] = b[i] = 0x3a00;
    for (int r = 0; r < rounds; r++) {
        renew(a);
        renew(b);
        for (int i = 0; i < N; i += 16)
            for (int l = 0; l < 16; l++) sum[l] += fc_bf16_to_f32(a[i + l]) * fc_bf16_to_f32(b[i + l]);
    }
    return (double)(sum[0] + sum[15]);
}

static double f32_portable(int rounds) {
    float a[N], b[N], sum[16] = {0};
    for (int i = 0; i < N; i++) a[i] = b[i] = 1e-4f;
    for (int r = 0; r < rounds; r++) {
        renew(a);
        renew(b);
        for (int i = 0; i < N; i += 16)
            for (int l = 0; l < 16; l++) sum[l] += a[i + l] * b[i + l];
    }
    return (double)(sum[0] + sum[15]);
}

const fc_roof_ops fc_roof_portable = {read_portable, int8_portable, bf16_portable, f32_portable, 2 * N, 2 * N, 2 * N};

/* ---- measuring */

enum { PIECE = 1 << 20, WINDOW = 64 * PIECE, UNITS_A_THREAD = 8 }; /* bytes that a unit and that one run reads */

typedef struct {
    const unsigned char *p;
    uint64_t (*read)(const void *p, size_t bytes);
    double (*dot)(int rounds);
    int rounds;
    atomic_uint_fast64_t sink;
} job;

static void touch_unit(void *arg, int unit, int thread) {
    (void)thread;
    memset((unsigned char *)arg + (size_t)unit * PIECE, unit & 0x7f, PIECE);
}

static void read_unit(void *arg, int unit, int thread) {
    job *j = arg;
    (void)thread;
    atomic_fetch_add(&j->sink, j->read(j->p + (size_t)unit * PIECE, PIECE));
}

static void dot_unit(void *arg, int unit, int thread) {
    job *j = arg;
    (void)unit;
    (void)thread;
    atomic_fetch_add(&j->sink, (uint64_t)j->dot(j->rounds));
}

static double seconds_of(fc_pool *p, int units, fc_unit_fn fn, void *arg) {
    uint64_t from = fc_clock_ns(), to;
    fc_pool_run(p, units, fn, arg);
    to = fc_clock_ns();
    return to > from ? (double)(to - from) * 1e-9 : 1e-9;
}

/* Best rate in GB/s over runs of one window each, windows in turn, for about `limit` seconds and each at least once. */
static double read_rate(fc_pool *p, job *j, const unsigned char *base, size_t bytes, double limit) {
    double best = 0.0, spent = 0.0;
    for (size_t at = 0; at < bytes || spent < limit; at += WINDOW) {
        double s;
        j->p = base + at % bytes;
        s = seconds_of(p, WINDOW / PIECE, read_unit, j);
        spent += s;
        if (WINDOW / s > best) best = WINDOW / s;
    }
    return best * 1e-9;
}

/* Best rate in 10^9 operations a second. */
static double dot_rate(fc_pool *p, double (*dot)(int), double ops) {
    int units = fc_pool_threads(p) * UNITS_A_THREAD;
    job j = {.dot = dot, .rounds = 64};
    double best = 0.0, spent = 0.0;
    while (j.rounds < 1 << 24 && seconds_of(p, units, dot_unit, &j) < 5e-4)
        j.rounds *= 2; /* short runs: one is left in peace */
    while (spent < 0.06) {
        double s = seconds_of(p, units, dot_unit, &j), rate = ops * j.rounds * units / s;
        spent += s;
        if (rate > best) best = rate;
    }
    return best * 1e-9;
}

static const fc_roof_ops *ops_of(fc_cpu_level level) {
    switch (level) {
    case FC_CPU_AMX: return &fc_roof_amx;
    case FC_CPU_AVX512: return &fc_roof_avx512;
    case FC_CPU_AVXVNNI: return fc_cpu_has_vex_vnni() ? &fc_roof_avxvnni : &fc_roof_vnni256;
    case FC_CPU_AVX2: return &fc_roof_avx2;
    default: return &fc_roof_portable;
    }
}

fc_status fc_roof_measure(fc_stream s, fc_roof *out) {
    const fc_roof_ops *ops = ops_of(s->level);
    size_t bytes = (size_t)1 << 30, touched = 0;
    double spent = 0.0;
    job j = {.read = ops->read};
    void *p;
    while (bytes > 4 * (size_t)WINDOW && bytes > fc_ram_bytes() / 8) bytes /= 2;
    FC_TRY(fc_pages_alloc(bytes, "buffer for measuring reads", &p));
    madvise(p, bytes, MADV_HUGEPAGE); /* few translations to miss; where it is refused, rates are a little lower */
    /* Pages never written share one page of zeros. A host that is slow to give memory gets a smaller buffer. */
    for (; touched < bytes && (touched < 4 * (size_t)WINDOW || spent < 0.4); touched += WINDOW)
        spent += seconds_of(s->pool, WINDOW / PIECE, touch_unit, (unsigned char *)p + touched);
    *out = (fc_roof){.dram_bytes = touched};
    out->read_gbs_dram = read_rate(s->pool, &j, p, touched, 0.2);
    out->read_gbs_cache = read_rate(s->pool, &j, p, WINDOW, 0.08);
    fc_pages_free(p, bytes);
    out->gops_int8 = dot_rate(s->pool, ops->int8, ops->int8_ops);
    out->gflops_bf16 = dot_rate(s->pool, ops->bf16, ops->bf16_ops);
    out->gflops_f32 = dot_rate(s->pool, ops->f32, ops->f32_ops);
    return FC_OK;
}
