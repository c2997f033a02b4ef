/* bench_lora - operations and bytes per second of kernels/lora, by level, type, rank and number of rows.
 *
 *   bench_lora [--json] [level [threads]]     default: best level, all cores
 *
 * Queries, keys and values of an 8B model (K 4096, N 4096 + 1024 + 1024), each part of the same rank; one adapter for
 * all rows, then four with a quarter of the rows each. GB/s counts what fc_lora_cost counts.
 * limit: the share of what the machine allows (share.h), measured at the start.
 */
#include "bench/share.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "engine/base/rng.h"
#include "kernels/cpu/cpu.h"
#include "kernels/lora/lora.h"

#include <stdio.h>
#include <stdlib.h>

enum { K = 4096, N = 6144, MOST_T = 256, ADAPTERS = 4, MOST_R = 64 };
static const int parts_n[3] = {4096, 1024, 1024}, ranks[] = {8, 16, 64}, rows[] = {1, 4, 16, 256};

static bool json; /* rows of a result instead of a table */

static double seconds(void) { return (double)fc_clock_ns() * 1e-9; }

static int fail(void) {
    fprintf(stderr, "bench_lora: %s\n", fc_status_text());
    return 1;
}

static void *floats(size_t n) {
    void *p;
    uint64_t seed = 1;
    if (fc_alloc(n, sizeof(float), "bench", &p)) exit(fail());
    for (size_t i = 0; i < n; i++) ((float *)p)[i] = (float)(fc_rng_next(&seed) % 1000) * 1e-3f - 0.5f;
    return p;
}

static int measure(fc_stream s, const fc_roof *roof, const fc_lora_args *a, const char *what, int r) {
    double best = 1e9, start = seconds(), predicted;
    fc_cost c = fc_lora_cost(a);
    for (int round = 0; round < 3 || (seconds() - start < 0.2 && round < 2000); round++) {
        double t0 = seconds(), took;
        if (fc_lora_cpu(s, a)) return fail();
        took = seconds() - t0;
        best = took < best ? took : best;
    }
    predicted = bench_predicted(roof, fc_pool_threads(s->pool), false, c, FC_UNIT_F32, 0);
    if (json)
        bench_row(
            roof, c, roof->gflops_f32, best, predicted,
            "\"kernel\":\"lora\",\"level\":\"%s\",\"threads\":%d,\"type\":\"%s\",\"R\":%d,\"T\":%d,\"adapters\":\"%s\"",
            fc_cpu_level_name(s->level), fc_pool_threads(s->pool), fc_dtype_name(a->groups[0].w->dtype), r, a->T, what);
    if (json) return 0;
    printf("%-8s %-4s r=%-3d T=%-4d %-8s %9.1f us %8.1f GFLOP/s %7.1f GB/s %3.0f %% of the limit, %9.1f us predicted\n",
           fc_cpu_level_name(s->level), fc_dtype_name(a->groups[0].w->dtype), r, a->T, what, best * 1e6,
           c.flops / best * 1e-9, c.bytes / best * 1e-9, 100 * bench_share(roof, c, roof->gflops_f32, best),
           predicted * 1e6);
    return 0;
}

static int run(fc_stream s, const fc_roof *roof, fc_dtype dtype, int r) {
    float *a = floats((size_t)MOST_R * K), *b = floats((size_t)N * MOST_R), *x = floats((size_t)MOST_T * K),
          *y = floats((size_t)MOST_T * N), *z = floats((size_t)MOST_T * 3 * MOST_R);
    int32_t list[MOST_T];
    fc_lora w[ADAPTERS];
    void *packed[ADAPTERS];
    int bad = 0;
    for (int i = 0; i < ADAPTERS; i++) {
        fc_lora_source parts[3];
        for (int p = 0, col = 0; p < 3; col += parts_n[p++])
            parts[p] = (fc_lora_source){.a = a, .b = b, .col = col, .N = parts_n[p], .r = r, .scale = 1e-9f};
        if (fc_alloc(1, fc_lora_pack_bytes(dtype, K, parts, 3), "packed", &packed[i])) return fail();
        fc_lora_pack(dtype, K, parts, 3, packed[i], packed[i], &w[i]);
    }
    for (int t = 0; t < MOST_T; t++) list[t] = t;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0] && !bad; i++) {
        fc_lora_group groups[ADAPTERS] = {{.w = &w[0], .n_rows = rows[i]}};
        fc_lora_args args = {.y = y,
                             .x = x,
                             .z = z,
                             .rows = list,
                             .groups = groups,
                             .n_groups = 1,
                             .T = rows[i],
                             .K = K,
                             .ldy = N,
                             .ldz = 3 * MOST_R};
        bad = measure(s, roof, &args, "one", r);
        if (rows[i] < ADAPTERS) continue;
        for (int g = 0, each = rows[i] / ADAPTERS; g < ADAPTERS; g++)
            groups[g] = (fc_lora_group){.w = &w[g], .first = g * each, .n_rows = each};
        args.n_groups = ADAPTERS;
        if (!bad) bad = measure(s, roof, &args, "four", r);
    }
    for (int i = 0; i < ADAPTERS; i++) fc_free(packed[i]);
    fc_free(a);
    fc_free(b);
    fc_free(x);
    fc_free(y);
    fc_free(z);
    return bad;
}

int main(int argc, char **argv) {
    fc_cpu_level level = FC_CPU_AUTO;
    fc_stream s;
    fc_roof roof;
    int bad = 0;
    char *end = NULL;
    long threads;
    json = bench_json(&argc, &argv);
    threads = argc > 2 ? strtol(argv[2], &end, 10) : 0;
    if (argc > 3 || (end && (end == argv[2] || *end || threads < 1 || threads > 1024))) {
        fprintf(stderr, "usage: bench_lora [--json] [LEVEL [THREADS]]; THREADS is 1 to 1024\n");
        return 2;
    }
    if (argc > 1 && fc_cpu_level_parse(argv[1], &level)) return fail();
    if (fc_cpu_stream_open(level, (int)threads, 64, 64, &s)) return fail();
    if (fc_roof_measure(s, &roof)) return fail();
    for (size_t i = 0; i < sizeof ranks / sizeof ranks[0] && !bad; i++) {
        bad = run(s, &roof, FC_F32, ranks[i]);
        if (!bad) bad = run(s, &roof, FC_BF16, ranks[i]);
    }
    fc_cpu_stream_close(s);
    return bad;
}
