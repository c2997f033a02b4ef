/* bench_attn - decoding of n branches of Llama 3.1 8B over a prefix that all share: read once, where a branch alone
 * would read it n times. */
#include "engine/cost.h"
#include "kernels/attn/attn_load.h"
#include "tests/gpu/bench.h"

enum { H = 32, G = 8, E = 128, P = 16, LDQ = (H + 2 * G) * E, TILE_PAGES = FC_ATTN_TILE / P, LAYERS = 64 };

typedef struct {
    fc_attn_args a;
    fc_kv_buf kv;
    int layers;
    double tiles, rows_tiles, predicted; /* predicted: seconds, 0 of a device that nobody has described */
    const char *device;
    void *memory[16];
    int n_memory;
} decode;

static fc_status call(void *self, fc_stream s, int turn) {
    decode *d = self;
    d->a.layer = turn % d->layers;
    return fc_attn_cuda(s, &d->a);
}

static void *keep(decode *d, void *device) { return d->memory[d->n_memory++] = device; }

static const int32_t *list(decode *d, fc_stream s, int32_t *host, int n) {
    const int32_t *device = keep(d, device_copy(s, host, (size_t)(n > 0 ? n : 1) * 4));
    free(host);
    return device;
}

static void *room(int n) {
    void *p = calloc((size_t)n, sizeof(fc_attn_item));
    if (!p) bench_must(FC_FAIL(FC_ERR_MEM, "%d entries", n), "bench_attn");
    return p;
}

/* a's lists are the host's. */
static void predict(decode *d, const fc_attn_args *a) {
    fc_cost_machine m;
    fc_load l[2];
    if (!fc_cost_machine_of_device(d->device, &m)) return;
    for (int i = 0, n = fc_attn_load_cuda(a, &m.device, l); i < n; i++) d->predicted += fc_cost_call(&m, true, &l[i]);
}

/* The plan: an item for each run of the prefix with the rows of all branches, an item for each branch's own last tile.
 * shared false: the prefix's runs are each branch's own items, of the same pages. */
static void plan(decode *d, fc_stream s, int prefix, int n, bool shared) {
    int tiles = prefix / FC_ATTN_TILE, runs = (tiles + FC_ATTN_RUN - 1) / FC_ATTN_RUN, per_row = runs + 1, at = 0,
        part = 0;
    int pages_a_branch = (tiles + 1) * TILE_PAGES;
    fc_attn_item *items = room((runs + 1) * n);
    int32_t *pos = room(n), *pages = room(n * pages_a_branch), *rows = room(n), *fold_row = room(n),
            *fold_off = room(n + 1);
    int32_t *slots = room(n * per_row);
    for (int i = 0; i < n; i++) {
        pos[i] = prefix + 20; /* 21 positions of its own */
        rows[i] = fold_row[i] = i;
        fold_off[i + 1] = (i + 1) * per_row;
        for (int p = 0; p < pages_a_branch; p++)
            pages[i * pages_a_branch + p] =
                p < tiles * TILE_PAGES ? p : (tiles + i) * TILE_PAGES + p - tiles * TILE_PAGES;
    }
    for (int r = 0; r < runs; r++)
        for (int i = 0; i < (shared ? 1 : n); i++) {
            int count = tiles - r * FC_ATTN_RUN;
            if (count > FC_ATTN_RUN) count = FC_ATTN_RUN;
            items[at++] = (fc_attn_item){.pages = i * pages_a_branch,
                                         .tile = r * FC_ATTN_RUN,
                                         .n_tiles = count,
                                         .row = i,
                                         .n_rows = shared ? n : 1,
                                         .part = part,
                                         .gather = -1};
            for (int k = 0; k < (shared ? n : 1); k++) slots[(i + k) * per_row + r] = (part + k) | FC_ATTN_NEW_RUN;
            part += shared ? n : 1;
            d->tiles += count, d->rows_tiles += (shared ? n : 1) * count;
        }
    for (int i = 0; i < n; i++) { /* the last tile: of the prefix's last run where that is not whole */
        items[at++] = (fc_attn_item){.pages = i * pages_a_branch,
                                     .tile = tiles,
                                     .n_tiles = 1,
                                     .row = i,
                                     .n_rows = 1,
                                     .part = part,
                                     .gather = -1};
        slots[i * per_row + runs] = part++ | (tiles % FC_ATTN_RUN ? 0 : FC_ATTN_NEW_RUN);
        d->tiles += 1, d->rows_tiles += 1;
    }
    d->kv.shape.n_pages = (tiles + n) * TILE_PAGES;
    d->a.n_items = at;
    d->a.widths = fc_attn_width(H / G) | fc_attn_width((shared ? n : 1) * (H / G));
    predict(
        d, &(fc_attn_args){.kv = &d->kv, .pos = pos, .items = items, .item_rows = rows, .n_items = at, .T = n, .H = H});
    d->a.pos = list(d, s, pos, n);
    d->a.pages = list(d, s, pages, n * pages_a_branch);
    d->a.item_rows = list(d, s, rows, n);
    d->a.fold_row = list(d, s, fold_row, n);
    d->a.fold_off = list(d, s, fold_off, n + 1);
    d->a.fold_slot = list(d, s, slots, n * per_row);
    d->a.items = keep(d, device_copy(s, items, (size_t)at * sizeof *items));
    free(items);
    d->a.part = keep(d, device_copy(s, NULL, (size_t)part * H * (E + 2) * 4));
    d->a.n_fold = n;
}

/* K and V around zero, whatever the type: bytes of f32 and bf16 numbers, codes and scales. */
static void fill(decode *d, fc_stream s) {
    const fc_kv_shape *k = &d->kv.shape;
    size_t bytes, block = fc_kv_block_bytes(k), elements = 2 * (size_t)P * E;
    unsigned char *host;
    float *x;
    bench_must(fc_kv_bytes(k, &bytes), "fc_kv_bytes");
    host = bench_bytes(bytes, 21);
    x = bench_normals(elements, 22);
    for (size_t at = 0; at < bytes; at += block) {
        if (k->type == FC_F32) memcpy(host + at, x, elements * 4);
        if (k->type == FC_BF16)
            for (size_t i = 0; i < elements; i++) {
                uint16_t v = fc_f32_to_bf16(x[(i + at / block) % elements]);
                memcpy(host + at + 2 * i, &v, 2);
            }
        for (size_t i = 0; k->type == FC_F8 && i < elements; i++) host[at + i] = fc_f32_to_f8(x[i]);
        for (int i = 0; fc_kv_scaled(k->type) && i < 2 * P; i++) {
            float scale = k->type == FC_I8 ? 1.0f / 73.0f : 1.0f;
            memcpy(host + at + elements + 4 * (size_t)i, &scale, 4);
        }
    }
    d->kv.base = keep(d, device_copy(s, host, bytes));
    free(host), free(x);
}

static void time_decode(bench *b, fc_dtype type, int prefix, int n, bool shared) {
    decode d = {.kv = {.shape = {.type = type, .P = P, .G = G, .E = E}}, .device = b->device};
    char what[160];
    size_t layer;
    float *q = bench_device_normals(b->s, (size_t)n * LDQ, 23);
    keep(&d, q);
    plan(&d, b->s, prefix, n, shared);
    d.kv.shape.L = 1;
    bench_must(fc_kv_bytes(&d.kv.shape, &layer), "fc_kv_bytes");
    d.kv.shape.L = d.layers = bench_copies(layer, LAYERS);
    fill(&d, b->s);
    d.a.q = q;
    d.a.kv = &d.kv;
    d.a.y = keep(&d, device_copy(b->s, NULL, (size_t)n * H * E * 4));
    d.a.T = n;
    d.a.H = H;
    d.a.ldq = LDQ;
    d.a.scale = 0.08838834764f; /* 1 / sqrt(E) */
    snprintf(what, sizeof what, "\"prefix\": %d, \"n\": %d, \"kv\": \"%s\", \"shared\": %s", prefix, n,
             fc_dtype_name(type), shared ? "true" : "false");
    b->predicted = d.predicted;
    bench_time(b, what, fc_attn_cost(&d.a, d.tiles, d.rows_tiles), call, &d);
    bench_written(b->s, d.a.y, (size_t)n * H * E, what);
    while (d.n_memory) device_free(d.memory[--d.n_memory]);
}

void bench_attn(bench *b);
void bench_attn(bench *b) {
    static const int prefixes[] = {128, 4096, 32768}, branches[] = {8, 64, 256};
    static const fc_dtype kvs[] = {FC_BF16, FC_F8, FC_I8};
    for (int k = 0; k < 3; k++)
        for (int p = 0; p < 3; p++)
            for (int n = 0; n < 3; n++) time_decode(b, kvs[k], prefixes[p], branches[n], true);
    for (int p = 0; p < 3; p++) /* what sharing is measured against */
        for (int n = 0; n < 2; n++) time_decode(b, FC_BF16, prefixes[p], branches[n], false);
}
