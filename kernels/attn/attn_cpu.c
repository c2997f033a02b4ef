#include "kernels/attn/attn_block.h"

#include "kernels/cpu/cpu.h"
#include "kernels/kv/kv_cpu.h"

enum { HEAD = 256, SMALLEST_BLOCK = 12 }; /* bytes in front of a thread's scratch for its fc_attn_scratch */
_Static_assert(sizeof(fc_attn_scratch) <= HEAD, "fc_attn_scratch outgrew its place");

static size_t scratch_floats(int E) {
    size_t n = (size_t)E;
    return 2 * FC_ATTN_TILE * n + FC_ATTN_MICRO * (FC_ATTN_TILE + n) + 3 * FC_ATTN_BLOCK * n + 5 * FC_ATTN_BLOCK +
           2 * FC_ATTN_TILE;
}

size_t fc_attn_scratch_cpu(int E) {
    return HEAD + scratch_floats(E) * sizeof(float) + FC_ATTN_BLOCK * (sizeof(float *) + 2 * sizeof(int32_t));
}

static fc_attn_scratch *scratch_of(fc_stream s, int thread) { return fc_cpu_scratch_of(s, thread); }

/* Pieces in falling order of alignment: all floats are in multiples of 16, E being one. */
static void scratch_init(fc_attn_scratch *w, int E) {
    size_t n = (size_t)E;
    float *f = (float *)(void *)((unsigned char *)w + HEAD);
    *w = (fc_attn_scratch){0};
    w->k = f;
    w->v = w->k + FC_ATTN_TILE * n;
    w->s = w->v + FC_ATTN_TILE * n;
    w->o = w->s + FC_ATTN_MICRO * FC_ATTN_TILE;
    w->run_o = w->o + FC_ATTN_MICRO * n;
    w->tot_o = w->run_o + FC_ATTN_BLOCK * n;
    w->q_rounded = w->tot_o + FC_ATTN_BLOCK * n;
    w->k_scale = w->q_rounded + FC_ATTN_BLOCK * n;
    w->v_scale = w->k_scale + FC_ATTN_TILE;
    w->q_scale = w->v_scale + FC_ATTN_TILE;
    w->run_m = w->q_scale + FC_ATTN_BLOCK;
    w->run_l = w->run_m + FC_ATTN_BLOCK;
    w->tot_m = w->run_l + FC_ATTN_BLOCK;
    w->tot_l = w->tot_m + FC_ATTN_BLOCK;
    w->q = (const float **)(void *)(w->tot_l + FC_ATTN_BLOCK);
    w->pos = (int32_t *)(void *)(w->q + FC_ATTN_BLOCK);
    w->q_start = w->pos + FC_ATTN_BLOCK;
}

typedef struct {
    const fc_attn_args *a;
    const fc_attn_code *code;
    fc_stream s;
    int size; /* query vectors of a block */
    int units, units_a_thread;
} attn_job;

/* KV heads of a unit: of an item of few rows, such as a branch's own tiles, all. */
static int heads_of(const fc_attn_args *a, const fc_attn_item *item) {
    return item->n_rows * (a->H / a->kv->shape.G) <= FC_ATTN_MICRO && item->n_tiles == 1 ? a->kv->shape.G : 1;
}

static int blocks_of(const fc_attn_args *a, const fc_attn_item *item, int size) {
    return (item->n_rows * (a->H / a->kv->shape.G) + size - 1) / size;
}

/* Units are numbered item by item, which is about from long to short, and dealt to the threads one by one. Most come in
 * rising order, so that a thread seldom walks the list anew. */
static void block_unit(void *arg, int dealt, int thread) {
    const attn_job *j = arg;
    const int unit = dealt % j->units_a_thread * fc_pool_threads(j->s->pool) + dealt / j->units_a_thread;
    const fc_attn_args *a = j->a;
    fc_attn_scratch *w = scratch_of(j->s, thread);
    const int G = a->kv->shape.G;
    fc_attn_block b = {.a = a};
    int n, block, all, heads;
    if (unit >= j->units) return;
    if (unit < w->first) w->first = w->item = 0;
    for (;;) {
        int units;
        heads = heads_of(a, &a->items[w->item]);
        n = blocks_of(a, &a->items[w->item], j->size);
        units = n * (G / heads);
        if (unit < w->first + units) break;
        w->first += units;
        w->item++;
    }
    b.item = &a->items[w->item];
    b.g = heads > 1 ? 0 : (unit - w->first) % G;
    block = n - 1 - (unit - w->first) / (G / heads); /* the last rows see the most tiles: long units first */
    all = b.item->n_rows * (a->H / G);
    b.q0 = block * j->size;
    b.q1 = b.q0 + j->size < all ? b.q0 + j->size : all;
    for (int end = b.g + heads; b.g < end; b.g++) j->code->block(&b, w);
}

static void fold_unit(void *arg, int unit, int thread) {
    const attn_job *j = arg;
    for (int h = 0; h < j->a->H; h++) j->code->fold(j->a, unit, h, scratch_of(j->s, thread));
}

/* Every position that a row of the item sees has a slot of the store. */
static fc_status check_gather(const fc_attn_args *a, int i) {
    const fc_attn_item *it = &a->items[i];
    int64_t n_slots = (int64_t)a->kv->shape.n_pages * a->kv->shape.P;
    int first = it->tile * FC_ATTN_TILE, end = first;
    if (it->gather < 0 || !a->slots)
        return FC_FAIL(FC_ERR_ARG, "attn: item %d: gather=%d, %s slots", i, it->gather, a->slots ? "with" : "without");
    for (int r = 0; r < it->n_rows; r++) {
        int pos = a->pos[a->item_rows[it->row + r]];
        end = pos + 1 > end ? pos + 1 : end;
    }
    if (end > (it->tile + it->n_tiles) * FC_ATTN_TILE) end = (it->tile + it->n_tiles) * FC_ATTN_TILE;
    for (int p = first; p < end; p++) {
        int32_t slot = a->slots[it->gather + p - first];
        if (slot < 0 || slot >= n_slots)
            return FC_FAIL(FC_ERR_ARG, "attn: item %d: position %d in slot %d; the store has %lld", i, p, slot,
                           (long long)n_slots);
    }
    return FC_OK;
}

static fc_status check_items(const fc_attn_args *a) {
    for (int i = 0; i < a->n_items; i++) {
        const fc_attn_item *it = &a->items[i];
        int end = it->tile + it->n_tiles;
        if (it->tile < 0 || it->n_tiles < 1 || it->n_rows < 1 || it->row < 0 || it->pages < 0)
            return FC_FAIL(FC_ERR_ARG, "attn: item %d: tile=%d n_tiles=%d row=%d n_rows=%d pages=%d", i, it->tile,
                           it->n_tiles, it->row, it->n_rows, it->pages);
        if (it->n_tiles > 1 && it->tile % FC_ATTN_RUN)
            return FC_FAIL(FC_ERR_ARG, "attn: item %d: %d tiles from tile %d, which begins no run", i, it->n_tiles,
                           it->tile);
        if (it->part >= 0 && it->tile / FC_ATTN_RUN != (end - 1) / FC_ATTN_RUN)
            return FC_FAIL(FC_ERR_ARG, "attn: item %d: tiles %d to %d are several runs in one partial state", i,
                           it->tile, end - 1);
        if (it->gather != -1) FC_TRY(check_gather(a, i));
    }
    return FC_OK;
}

static fc_status check_args(const fc_attn_args *a) {
    const fc_kv_shape *k = &a->kv->shape;
    FC_TRY(fc_kv_check_shape(k));
    if (a->H < 1 || a->H % k->G)
        return FC_FAIL(FC_ERR_ARG, "attn: %d query heads are no multiple of %d KV heads", a->H, k->G);
    if (k->E > 256 || k->E % 16) return FC_FAIL(FC_ERR_ARG, "attn: E=%d; a multiple of 16, at most 256", k->E);
    if (a->layer < 0 || a->layer >= k->L || a->T < 1 || a->n_items < 0 || a->n_fold < 0)
        return FC_FAIL(FC_ERR_ARG, "attn: layer=%d of %d T=%d items=%d fold=%d", a->layer, k->L, a->T, a->n_items,
                       a->n_fold);
    return check_items(a);
}

static const fc_attn_code *code_of(fc_cpu_level level) {
    switch (level) {
    case FC_CPU_AMX:
    case FC_CPU_AVX512: return &fc_attn_code_avx512;
    case FC_CPU_AVXVNNI:
    case FC_CPU_AVX2: return &fc_attn_code_avx2;
    default: return &fc_attn_code_portable;
    }
}

fc_status fc_attn_cpu(fc_stream s, const fc_attn_args *a) {
    attn_job j = {.a = a, .code = code_of(s->level), .s = s, .size = FC_ATTN_BLOCK};
    int threads = fc_pool_threads(s->pool);
    FC_TRY(check_args(a));
    FC_TRY(fc_cpu_scratch(s, fc_attn_scratch_cpu(a->kv->shape.E), "attn"));
    /* Smaller blocks while threads would wait for one another: a tile is then gathered more often. */
    for (;; j.size /= 2) {
        j.units = 0;
        for (int i = 0; i < a->n_items; i++)
            j.units += blocks_of(a, &a->items[i], j.size) * (a->kv->shape.G / heads_of(a, &a->items[i]));
        if (threads == 1 || j.units >= 3 * threads || j.size <= SMALLEST_BLOCK) break;
    }
    j.units_a_thread = (j.units + threads - 1) / threads;
    for (int t = 0; t < threads; t++) scratch_init(scratch_of(s, t), a->kv->shape.E);
    fc_pool_run(s->pool, j.units_a_thread * threads, block_unit, &j);
    fc_pool_run(s->pool, a->n_fold, fold_unit, &j);
    return FC_OK;
}

fc_cost fc_attn_cost(const fc_attn_args *a, double tiles, double rows_tiles) {
    const fc_kv_shape *k = &a->kv->shape;
    double tile = (double)FC_ATTN_TILE / k->P * k->G * (double)fc_kv_block_bytes(k);
    return (fc_cost){.bytes = tiles * tile + 8.0 * a->T * a->H * k->E,
                     .flops = rows_tiles * 4.0 * FC_ATTN_TILE * a->H * k->E};
}
