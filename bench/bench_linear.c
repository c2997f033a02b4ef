/* bench_linear - operations and bytes per second of kernels/linear, by type, level and number of rows.
 *
 *   bench_linear [--json] [level [type [threads]]]     default: best level, Q4_1 and Q8_0, all cores
 *
 * Shapes: the five matrices of a SmolLM2-135M layer and its head. GB/s counts the packed matrix once a call. Then the
 * same with a precise x. limit: the share of what the machine allows (share.h), measured at the start. x is normal; one
 * channel of 61 is 8 times larger, as behind a model's norms, so that half of the groups of a tile stand out in one row
 * or another.
 */
#include "bench/share.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "engine/base/quant.h"
#include "engine/base/rng.h"
#include "kernels/cpu/cpu.h"
#include "kernels/linear/linear.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const struct { int K, N; } shapes[] = {{576, 960}, {576, 576}, {576, 3072}, {1536, 576}, {576, 49152}};
static const int rows[] = {1, 4, 16, 64, 512};
enum { N_SHAPES = sizeof shapes / sizeof shapes[0], N_ROWS = sizeof rows / sizeof rows[0], COPIES = 12 };

static bool json; /* rows of a result instead of a table */

static double seconds(void) { return (double)fc_clock_ns() * 1e-9; }

static int fail(void) {
    fprintf(stderr, "bench_linear: %s\n", fc_status_text());
    return 1;
}

/* Bytes that are ordinary numbers wherever a type has its f16 or f32: 0.1 to 1, nothing that slows the core. */
static void fill(unsigned char *p, size_t n) {
    uint64_t seed = 1;
    for (size_t i = 0; i < n; i++) p[i] = (unsigned char)((fc_rng_next(&seed) & 0x37u) | 0x30u);
}

/* x [n, K]: sums of four uniforms are normal enough. */
static void fill_x(float *x, size_t n, size_t K) {
    uint64_t seed = 2;
    for (size_t i = 0; i < n * K; i++) {
        float sum = -2.0f;
        for (int j = 0; j < 4; j++) sum += (float)(fc_rng_next(&seed) >> 40) * 0x1p-24f;
        x[i] = sum * sqrtf(3.0f) * (i % K % 61 == 7 ? 8.0f : 1.0f);
    }
}

/* Seconds of one call, the best of many: copies of the matrix are walked so that it comes from memory as in a model. */
static int measure(fc_stream s, const fc_linear_args *a, fc_weight *const *w, int copies, double *out) {
    double start = seconds();
    *out = 1e9;
    for (int round = 0; round < 3 || (seconds() - start < 0.15 && round < 1000); round++) {
        double t0 = seconds(), took;
        for (int c = 0; c < copies; c++) {
            fc_linear_args one = *a;
            one.w = w[c];
            if (fc_linear_cpu(s, &one)) return fail();
        }
        took = (seconds() - t0) / copies;
        *out = took < *out ? took : *out;
    }
    return 0;
}

/* copies: of the matrix, which are walked; few small ones lie in the cache. */
static double predicted(fc_stream s, const fc_roof *roof, fc_dtype t, const fc_linear_args *a, int copies) {
    const double bytes = (double)a->w->bytes;
    return bench_predicted(roof, fc_pool_threads(s->pool), false, fc_linear_cost(a),
                           fc_dtype_is_float(t) ? FC_UNIT_F32 : FC_UNIT_I8,
                           bytes * copies > BENCH_CACHE / 2 ? bytes : 0);
}

static void put_row(fc_stream s, const fc_roof *roof, fc_dtype t, const fc_linear_args *a, int copies, double peak,
                    double took) {
    bench_row(roof, fc_linear_cost(a), peak, took, predicted(s, roof, t, a, copies),
              "\"kernel\":\"linear\",\"level\":\"%s\",\"threads\":%d,\"type\":\"%s\",\"K\":%d,\"N\":%d,\"T\":%d,"
              "\"precise\":%s",
              fc_cpu_level_name(s->level), fc_pool_threads(s->pool), fc_dtype_name(t), a->w->K, a->w->N, a->T,
              a->precise ? "true" : "false");
}

/* One shape at one row count. */
static int report(fc_stream s, const fc_roof *roof, fc_dtype t, int T, fc_weight *const *w, int copies, const float *x,
                  float *y) {
    int K = w[0]->K, N = w[0]->N;
    double flops = 2.0 * T * N * K, bytes = (double)w[0]->bytes, took, precise;
    fc_linear_args a = {.y = y, .x = x, .w = w[0], .T = T};
    double peak = fc_dtype_is_float(t) ? roof->gflops_f32 : roof->gops_int8;
    if (measure(s, &a, w, copies, &took)) return 1;
    if (json) put_row(s, roof, t, &a, copies, peak, took);
    a.precise = true;
    if (measure(s, &a, w, copies, &precise)) return 1;
    if (json) put_row(s, roof, t, &a, copies, peak, precise);
    if (json) return 0;
    printf("%-8s %-5s %5d -> %-6d T=%-4d %9.1f us %8.1f GOP/s %7.1f GB/s %3.0f %% of the limit, %9.1f us predicted   "
           "precise %9.1f us %3.0f "
           "%%\n",
           fc_cpu_level_name(s->level), fc_dtype_name(t), K, N, T, took * 1e6, flops / took * 1e-9, bytes / took * 1e-9,
           100 * bench_share(roof, fc_linear_cost(&a), peak, took), predicted(s, roof, t, &a, copies) * 1e6,
           precise * 1e6, 100 * bench_share(roof, fc_linear_cost(&a), peak, precise));
    return 0;
}

static int run(fc_stream s, const fc_roof *roof, fc_dtype t) {
    void *data, *x, *y;
    size_t row;
    for (int i = 0; i < N_SHAPES; i++) {
        int K = shapes[i].K, N = shapes[i].N, copies = N > 10000 ? 2 : COPIES;
        fc_weight *w[COPIES];
        fc_weight_part part;
        if (K % (int)fc_dtype_block(t)) continue;
        if (fc_dtype_row_bytes(t, (size_t)K, &row) || fc_alloc((size_t)N, row, "weights", &data) ||
            fc_alloc((size_t)512 * (size_t)K, 4, "x", &x) || fc_alloc((size_t)512 * (size_t)N, 4, "y", &y))
            return fail();
        fill(data, (size_t)N * row);
        fill_x(x, 512, (size_t)K);
        part = (fc_weight_part){.name = "w", .data = data, .dtype = t, .N = N, .K = K};
        for (int c = 0; c < copies; c++)
            if (fc_weight_pack_cpu(s, &part, 1, &w[c])) return fail();
        for (int r = 0; r < N_ROWS; r++)
            if (report(s, roof, t, rows[r], w, copies, x, y)) return 1;
        for (int c = 0; c < copies; c++) fc_weight_free_cpu(w[c]);
        fc_free(data);
        fc_free(x);
        fc_free(y);
    }
    return 0;
}

int main(int argc, char **argv) {
    fc_cpu_level level = FC_CPU_AUTO;
    fc_dtype t = FC_Q4_1;
    fc_stream s;
    fc_roof roof;
    int bad;
    char *end = NULL;
    long threads;
    json = bench_json(&argc, &argv);
    threads = argc > 3 ? strtol(argv[3], &end, 10) : 0;
    if (argc > 4 || (end && (end == argv[3] || *end || threads < 1 || threads > 1024))) {
        fprintf(stderr, "usage: bench_linear [--json] [LEVEL [TYPE [THREADS]]]; THREADS is 1 to 1024\n");
        return 2;
    }
    if (argc > 1 && fc_cpu_level_parse(argv[1], &level)) return fail();
    if (argc > 2 && !fc_dtype_parse(argv[2], &t)) {
        fprintf(stderr, "bench_linear: no type %s\n", argv[2]);
        return 1;
    }
    if (fc_cpu_stream_open(level, (int)threads, fc_linear_workspace_cpu(512, 4096), 64, &s)) return fail();
    if (fc_roof_measure(s, &roof)) return fail();
    bad = run(s, &roof, t);
    if (!bad && argc <= 2) bad = run(s, &roof, FC_Q8_0);
    fc_cpu_stream_close(s);
    return bad;
}
