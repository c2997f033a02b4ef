#include "tests/kernels/util_attn.h"

#include "engine/base/mem.h"
#include "kernels/kv/kv_cpu.h"
#include "tests/util.h"

static void *take(size_t count, size_t size) {
    void *p;
    assert_ok(fc_alloc(count, size, "test", &p));
    return p;
}

static int branch_length(const attn_case *c, int b) {
    int n = 0;
    for (int t = 0; t < c->rows; t++)
        if (c->branch[t] == b && c->pos[t] + 1 > n) n = c->pos[t] + 1;
    return n;
}

static void fill_slot(const attn_case *c, const fc_kv_buf *kv, int page, int slot, int branch, int j) {
    float k[256], v[256];
    uint64_t owner = j < c->prefix ? 0 : (uint64_t)branch + 1;
    for (int g = 0; g < c->G; g++) {
        uint64_t s = c->seed + owner * 1000003u + (uint64_t)j * 7919u + (uint64_t)g * 104729u;
        for (int e = 0; e < c->E; e++) k[e] = 1.7320508f * test_uniform(&s); /* unit variance */
        for (int e = 0; e < c->E; e++) v[e] = 1.7320508f * test_uniform(&s);
        fc_kv_put_cpu(kv, page, slot, c->layer, g, k, v);
    }
}

static int tiles_of(int positions) { return (positions + FC_ATTN_TILE - 1) / FC_ATTN_TILE; }

/* Numbers from..from+n-1, cut into stretches of 1 to `longest` that are shuffled. */
static int *shuffled_stretches(int from, int n, int longest, uint64_t *seed) {
    int *out = take((size_t)n + 1, sizeof *out), *begin = take((size_t)n + 2, sizeof *begin), *order, m = 0, k = 0;
    for (int at = 0; at < n; at += 1 + test_below(seed, longest)) begin[m++] = at;
    begin[m] = n;
    order = take((size_t)m + 1, sizeof *order);
    for (int i = 0; i < m; i++) {
        int j = test_below(seed, i + 1);
        order[i] = order[j];
        order[j] = i;
    }
    for (int i = 0; i < m; i++)
        for (int at = begin[order[i]]; at < begin[order[i] + 1]; at++) out[k++] = from + at;
    fc_free(order);
    fc_free(begin);
    return out;
}

static int first_gathered(const attn_case *c) { return c->gather ? c->gather_tile * FC_ATTN_TILE : INT32_MAX; }

/* Slots from page `page` on, dealt to what every branch gathers; entries of branch b begin at b * slots_per_branch. */
static void fill_slots(const attn_case *c, attn_work *w, int page, int n) {
    uint64_t s = c->seed ^ 0x517;
    int first = first_gathered(c), next = 0;
    int *pack = shuffled_stretches(page * c->P, n, c->stretch > 0 ? c->stretch : 1, &s);
    for (int b = 0; b < c->branches; b++)
        for (int j = first; j < first + w->slots_per_branch; j++) {
            int32_t *entry = &w->slots[b * w->slots_per_branch + j - first];
            *entry = -1;
            if (j >= branch_length(c, b)) continue;
            *entry = j < c->prefix && b > 0 && j < branch_length(c, 0) ? w->slots[j - first] : pack[next++];
            fill_slot(c, &w->kv, *entry / c->P, *entry % c->P, b, j);
        }
    fc_free(pack);
}

/* Pages dealt from a shuffled pack; entries of the table of branch b begin at b * per_branch. */
static int fill_store(const attn_case *c, attn_work *w) {
    int per_branch = 0, n_pages = 1, gathered = 0, next = 0, *pack;
    uint64_t s = c->seed ^ 0x5eed;
    size_t bytes;
    for (int b = 0; b < c->branches; b++) {
        int n = (branch_length(c, b) + c->P - 1) / c->P;
        per_branch = n > per_branch ? n : per_branch;
        n_pages += n;
        if (branch_length(c, b) > first_gathered(c)) {
            int own = branch_length(c, b) - first_gathered(c), whole = tiles_of(own) * FC_ATTN_TILE;
            w->slots_per_branch = whole > w->slots_per_branch ? whole : w->slots_per_branch;
            gathered += own;
        }
    }
    assert_true(per_branch * c->branches <= ATTN_PAGES);
    pack = take((size_t)n_pages, sizeof *pack);
    for (int i = 0; i < n_pages; i++) {
        int j = test_below(&s, i + 1);
        pack[i] = pack[j];
        pack[j] = i;
    }
    gathered += gathered / 4; /* some stay unwritten */
    w->kv.shape = (fc_kv_shape){
        .type = c->type, .n_pages = n_pages + (gathered + c->P - 1) / c->P, .P = c->P, .L = c->L, .G = c->G, .E = c->E};
    assert_ok(fc_kv_bytes(&w->kv.shape, &bytes));
    w->kv.base = take(bytes, 1);
    if (c->poison) memset(w->kv.base, 0xff, bytes); /* NaN as f32 and bf16, and as a scale */
    w->pages = take(ATTN_PAGES, sizeof *w->pages);
    for (int b = 0; b < c->branches; b++)
        for (int j = 0; j < branch_length(c, b) && j < first_gathered(c); j++) {
            int32_t *entry = &w->pages[b * per_branch + j / c->P];
            bool shared = j / c->P < c->prefix / c->P && b > 0 && j < branch_length(c, 0);
            if (j % c->P == 0) *entry = shared ? w->pages[j / c->P] : pack[next++];
            if (!shared) fill_slot(c, &w->kv, *entry, j % c->P, b, j);
        }
    fc_free(pack);
    w->slots = take((size_t)(c->branches * w->slots_per_branch) + 1, sizeof *w->slots);
    if (gathered) fill_slots(c, w, n_pages, gathered);
    return per_branch;
}

typedef struct {
    const attn_case *c;
    attn_work *w;
    attn_cut cut;
    int per_branch;       /* entries of a page table */
    int n_rows;           /* of item_rows */
    int slots[ATTN_ROWS]; /* items of each row */
} planner;

/* Items for tiles [a,b), all of them in the table of a branch or all in its slots, and the rows marked in `in`. */
static void cut_part(planner *p, int branch, int a, int b, const bool *in) {
    const bool gathers = p->c->gather && a >= p->c->gather_tile;
    const bool only = !p->c->gather || p->c->gather_tile == 0; /* the rows' items are all of one kind */
    for (int x = a, end; x < b; x = end) {
        fc_attn_item *it = &p->w->items[p->w->args.n_items];
        int run_end = (x / FC_ATTN_RUN + 1) * FC_ATTN_RUN;
        if (only && (p->cut == CUT_WHOLE || p->cut == CUT_ALONE)) end = b;
        else if (p->cut == CUT_TILES || x % FC_ATTN_RUN) end = x + 1;
        else end = run_end < b ? run_end : b;
        *it = (fc_attn_item){.tile = x, .n_tiles = end - x, .row = p->n_rows, .part = 0, .gather = -1};
        if (gathers) it->gather = branch * p->w->slots_per_branch + (x - p->c->gather_tile) * FC_ATTN_TILE;
        else it->pages = branch * p->per_branch;
        for (int t = 0; t < p->c->rows; t++)
            if (in[t] && p->c->pos[t] >= x * FC_ATTN_TILE) {
                p->w->item_rows[p->n_rows++] = t;
                it->n_rows++;
                p->slots[t]++;
            }
        if (!it->n_rows) continue;
        assert_true(++p->w->args.n_items < ATTN_ITEMS);
        p->w->rows_tiles += (double)it->n_rows * it->n_tiles;
    }
}

static void cut_stretch(planner *p, int branch, int a, int b, const bool *in) {
    int split = !p->c->gather || p->c->gather_tile > b ? b : p->c->gather_tile > a ? p->c->gather_tile : a;
    cut_part(p, branch, a, split, in);
    cut_part(p, branch, split, b, in);
}

static void cut_all(planner *p) {
    const attn_case *c = p->c;
    bool in[ATTN_ROWS] = {false};
    int shared = p->cut == CUT_WHOLE || p->cut == CUT_ALONE ? 0 : c->prefix / FC_ATTN_TILE;
    int most = tiles_of(branch_length(c, 0));
    if (shared > most) shared = most;
    for (int t = 0; t < c->rows; t++) in[t] = true;
    if (shared) cut_stretch(p, 0, 0, shared, in);
    for (int b = 0; b < c->branches; b++) {
        int tiles = tiles_of(branch_length(c, b));
        for (int t = 0; t < c->rows; t++) in[t] = c->branch[t] == b;
        if (p->cut != CUT_ALONE) {
            cut_stretch(p, b, shared, tiles, in);
            continue;
        }
        for (int t = 0; t < c->rows; t++)
            if (c->branch[t] == b) {
                bool one[ATTN_ROWS] = {false};
                one[t] = true;
                cut_stretch(p, b, 0, c->pos[t] / FC_ATTN_TILE + 1, one);
            }
    }
}

/* Slots of the partial states, and each row's list of them in KV order. */
static void plan_fold(planner *p) {
    attn_work *w = p->w;
    int n_parts = 0, n_slots = 0;
    for (int i = 0; i < w->args.n_items; i++) {
        fc_attn_item *it = &w->items[i];
        bool only = true;
        for (int r = 0; r < it->n_rows; r++) only &= p->slots[w->item_rows[it->row + r]] == 1;
        it->part = only ? -1 : n_parts;
        n_parts += only ? 0 : it->n_rows;
    }
    for (int t = 0; t < p->c->rows; t++) {
        int run = -1, first = n_slots;
        for (int i = 0; i < w->args.n_items; i++) /* items of a row were made in KV order */
            for (int r = 0; r < w->items[i].n_rows; r++) {
                if (w->item_rows[w->items[i].row + r] != t || w->items[i].part < 0) continue;
                w->fold_slot[n_slots] = w->items[i].part + r;
                if (w->items[i].tile / FC_ATTN_RUN != run) w->fold_slot[n_slots] |= FC_ATTN_NEW_RUN;
                run = w->items[i].tile / FC_ATTN_RUN;
                n_slots++;
            }
        if (n_slots == first) continue;
        w->fold_row[w->args.n_fold] = t;
        w->fold_off[w->args.n_fold++] = first;
        w->fold_off[w->args.n_fold] = n_slots;
    }
    w->part = take((size_t)n_parts * (size_t)p->c->H * (size_t)(p->c->E + 2), sizeof(float));
}

void attn_work_open(const attn_case *c, attn_cut cut, float *y, attn_work *w) {
    planner p = {.c = c, .w = w, .cut = cut};
    int ldq = (c->H + 2 * c->G) * c->E;
    memset(w, 0, sizeof *w);
    w->items = take(ATTN_ITEMS, sizeof *w->items);
    w->item_rows = take((size_t)ATTN_ITEMS * ATTN_ROWS, sizeof *w->item_rows);
    w->fold_slot = take((size_t)ATTN_ITEMS * ATTN_ROWS, sizeof *w->fold_slot);
    w->q = take((size_t)c->rows * (size_t)ldq, sizeof *w->q);
    p.per_branch = fill_store(c, w);
    for (int t = 0; t < c->rows; t++) {
        uint64_t s = c->seed * 31 + (uint64_t)c->branch[t] * 65537 + (uint64_t)c->pos[t];
        for (int i = 0; i < c->H * c->E; i++) w->q[t * ldq + i] = 2.0f * test_normal(&s);
        w->pos[t] = c->pos[t];
    }
    w->args = (fc_attn_args){.y = y,
                             .q = w->q,
                             .kv = &w->kv,
                             .pos = w->pos,
                             .pages = w->pages,
                             .slots = w->slots,
                             .items = w->items,
                             .item_rows = w->item_rows,
                             .fold_row = w->fold_row,
                             .fold_off = w->fold_off,
                             .fold_slot = w->fold_slot,
                             .layer = c->layer,
                             .T = c->rows,
                             .H = c->H,
                             .ldq = ldq,
                             .window = c->window,
                             .scale = 1.0f / sqrtf((float)c->E),
                             .soft_cap = c->soft_cap};
    cut_all(&p);
    for (int i = 0; i < w->args.n_items; i++) w->args.widths |= fc_attn_width(w->items[i].n_rows * (c->H / c->G));
    plan_fold(&p);
    w->args.part = w->part;
}

void attn_work_close(attn_work *w) {
    fc_free(w->kv.base);
    fc_free(w->q);
    fc_free(w->part);
    fc_free(w->slots);
    fc_free(w->pages);
    fc_free(w->item_rows);
    fc_free(w->fold_slot);
    fc_free(w->items);
}
