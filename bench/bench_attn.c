/* bench_attn - operations and bytes per second of kernels/attn, by KV type and number of rows.
 *
 *   bench_attn [--json] [level [threads]]     default: best level, all cores
 *
 * SmolLM2-135M's heads (H 9, G 3, E 64), one layer. `decode`: T branches behind one prompt of P positions, each with 16
 * of its own; the prompt's part and the own part are folded. `prefill`: the last T rows of a prompt of P. GB/s and
 * operations are those of fc_attn_cost, limit is the share of what the machine allows (share.h), measured at the start,
 * at the peak of bf16 where KV is bf16, of int8 where it is that.
 */
#include "bench/share.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "engine/base/rng.h"
#include "kernels/attn/attn.h"
#include "kernels/cpu/cpu.h"
#include "kernels/kv/kv_cpu.h"

#include <stdio.h>
#include <stdlib.h>

enum { H = 9, G = 3, E = 64, P = 16, OWN = 16, MOST = 512 };

static bool json; /* rows of a result instead of a table */

static int fail(void) {
    fprintf(stderr, "bench_attn: %s\n", fc_status_text());
    return 1;
}

static void *take(size_t n, size_t size) {
    void *p;
    if (fc_alloc(n, size, "bench", &p)) exit(fail());
    return p;
}

static float number(uint64_t *seed) { return (float)(fc_rng_next(seed) >> 40) * 0x1p-23f - 1.0f; }

/* A store whose pages lie in order, all written. */
static fc_kv_buf filled(fc_dtype type, int pages) {
    fc_kv_buf kv = {.shape = {.type = type, .n_pages = pages, .P = P, .L = 1, .G = G, .E = E}};
    uint64_t seed = 3;
    size_t bytes;
    if (fc_kv_bytes(&kv.shape, &bytes)) exit(fail());
    kv.base = take(bytes, 1);
    for (int i = 0; i < pages * P * G; i++) {
        float k[E], v[E];
        for (int e = 0; e < E; e++) k[e] = number(&seed), v[e] = number(&seed);
        fc_kv_put_cpu(&kv, i / G / P, i / G % P, 0, i % G, k, v);
    }
    return kv;
}

/* The peak of what multiplies KV of a type at a level. */
static double peak_of(const fc_roof *roof, fc_cpu_level level, fc_dtype type) {
    if (level < FC_CPU_AVX512) return roof->gflops_f32;
    return type == FC_BF16 ? roof->gflops_bf16 : type == FC_I8 ? roof->gops_int8 : roof->gflops_f32;
}

static int measure(fc_stream s, const fc_roof *roof, const fc_attn_args *a, const char *what, int length) {
    double best = 1e9, start = (double)fc_clock_ns(), tiles = 0, rows_tiles = 0, gops, predicted;
    fc_dtype type = a->kv->shape.type;
    fc_cost c;
    for (int i = 0; i < a->n_items; i++) {
        tiles += a->items[i].n_tiles;
        rows_tiles += (double)a->items[i].n_tiles * a->items[i].n_rows;
    }
    c = fc_attn_cost(a, tiles, rows_tiles);
    for (int round = 0; round < 3 || ((double)fc_clock_ns() - start < 2e8 && round < 2000); round++) {
        double t0 = (double)fc_clock_ns(), took;
        if (fc_attn_cpu(s, a)) return fail();
        took = ((double)fc_clock_ns() - t0) * 1e-9;
        best = took < best ? took : best;
    }
    gops = peak_of(roof, s->level, type);
    /* over int8 as over bf16: of its time most is not in the products, and was measured to be nine tenths of that */
    predicted = bench_predicted(roof, fc_pool_threads(s->pool), true, c,
                                type == FC_BF16 || type == FC_I8 ? FC_UNIT_BF16 : FC_UNIT_F32, 0);
    if (json)
        bench_row(
            roof, c, gops, best, predicted,
            "\"kernel\":\"attn\",\"level\":\"%s\",\"threads\":%d,\"type\":\"%s\",\"pass\":\"%s\",\"P\":%d,\"T\":%d",
            fc_cpu_level_name(s->level), fc_pool_threads(s->pool), fc_dtype_name(type), what, length, a->T);
    if (json) return 0;
    printf("%-8s %-5s %-8s P=%-5d T=%-4d %9.1f us %8.1f GFLOP/s %7.1f GB/s %3.0f %% of the limit, %9.1f us predicted\n",
           fc_cpu_level_name(s->level), fc_dtype_name(type), what, length, a->T, best * 1e6, c.flops / best * 1e-9,
           c.bytes / best * 1e-9, 100 * bench_share(roof, c, gops, best), predicted * 1e6);
    return 0;
}

/* T rows: each a branch with OWN positions behind `length` that all share (decode), or the last T of `length`. */
static int one(fc_stream s, const fc_roof *roof, fc_dtype type, int length, int T, bool decode) {
    int shared = length / P, tile = length / FC_ATTN_TILE, n_items = 0;
    fc_kv_buf kv = filled(type, shared + (decode ? T : 0));
    int32_t *pages = take((size_t)(shared + (decode ? T * (shared + 1) : 0)), sizeof *pages), n = 0;
    int32_t *pos = take((size_t)T, sizeof *pos), *rows = take(2 * (size_t)T, sizeof *rows),
            *off = take((size_t)T + 1, sizeof *off), *slot = take(64 * (size_t)T, sizeof *slot);
    fc_attn_item *items = take((size_t)T + 64, sizeof *items);
    fc_attn_args a = {
        .kv = &kv, .pos = pos, .pages = pages, .items = items, .item_rows = rows, .T = T, .H = H, .ldq = H * E};
    int runs = (tile + FC_ATTN_RUN - 1) / FC_ATTN_RUN, part = 0, bad;
    float *q = take((size_t)T * H * E, sizeof *q);
    uint64_t seed = 4;
    for (int i = 0; i < T * H * E; i++) q[i] = 3.0f * number(&seed);
    for (int i = 0; i < shared; i++) pages[n++] = i;
    for (int t = 0; t < T; t++) {
        rows[t] = t;
        pos[t] = decode ? length + OWN - 1 : length - T + t;
    }
    if (!decode) {
        items[n_items++] = (fc_attn_item){.n_tiles = tile, .n_rows = T, .part = -1, .gather = -1};
    } else {
        for (int r = 0; r < runs; r++, part += T) {
            int left = tile - r * FC_ATTN_RUN;
            items[n_items++] = (fc_attn_item){.tile = r * FC_ATTN_RUN,
                                              .n_tiles = left < FC_ATTN_RUN ? left : FC_ATTN_RUN,
                                              .n_rows = T,
                                              .part = part,
                                              .gather = -1};
        }
        for (int t = 0; t < T; t++) {
            int first = n;
            for (int i = 0; i < shared; i++) pages[n++] = i;
            pages[n++] = shared + t;
            items[n_items++] = (fc_attn_item){
                .pages = first, .tile = tile, .n_tiles = 1, .row = t, .n_rows = 1, .part = part + t, .gather = -1};
            for (int r = 0; r <= runs; r++) {
                bool begins = r < runs || tile % FC_ATTN_RUN == 0;
                slot[t * (runs + 1) + r] = (r < runs ? r * T + t : part + t) | (begins ? FC_ATTN_NEW_RUN : 0);
            }
            off[t + 1] = (t + 1) * (runs + 1);
        }
        a.fold_row = rows;
        a.fold_off = off;
        a.fold_slot = slot;
        a.n_fold = T;
        a.part = take((size_t)(part + T) * H * (E + 2), sizeof *a.part);
    }
    a.n_items = n_items;
    a.scale = 0.125f;
    a.q = q;
    a.y = take((size_t)T * H * E, sizeof *a.y);
    bad = measure(s, roof, &a, decode ? "decode" : "prefill", length);
    fc_free(a.y);
    fc_free(a.part);
    fc_free(q);
    fc_free(items);
    fc_free(slot);
    fc_free(off);
    fc_free(rows);
    fc_free(pos);
    fc_free(pages);
    fc_free(kv.base);
    return bad;
}

int main(int argc, char **argv) {
    static const fc_dtype types[] = {FC_BF16, FC_F32, FC_I8, FC_F8};
    static const int branches[] = {1, 16, 64}, lengths[] = {128, 1024};
    fc_cpu_level level = FC_CPU_AUTO;
    fc_stream s;
    fc_roof roof;
    int bad = 0;
    char *end = NULL;
    long threads;
    json = bench_json(&argc, &argv);
    threads = argc > 2 ? strtol(argv[2], &end, 10) : 0;
    if (argc > 3 || (end && (end == argv[2] || *end || threads < 1 || threads > 1024))) {
        fprintf(stderr, "usage: bench_attn [--json] [LEVEL [THREADS]]; THREADS is 1 to 1024\n");
        return 2;
    }
    if (argc > 1 && fc_cpu_level_parse(argv[1], &level)) return fail();
    if (fc_cpu_stream_open(level, (int)threads, 64, fc_attn_scratch_cpu(E), &s)) return fail();
    if (fc_roof_measure(s, &roof)) return fail();
    for (int i = 0; i < 4; i++)
        for (int l = 0; l < 2; l++) {
            for (int b = 0; b < 3 && !bad; b++) bad = one(s, &roof, types[i], lengths[l], branches[b], true);
            if (!bad) bad = one(s, &roof, types[i], lengths[l], lengths[l] < MOST ? lengths[l] : MOST, false);
        }
    fc_cpu_stream_close(s);
    return bad;
}
