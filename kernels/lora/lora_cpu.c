#include "kernels/cpu/cpu.h"
#include "kernels/lora/lora_check.h"
#include "kernels/lora/lora_code.h"

/* A unit: so many rows of a group with so many rows of A, or columns of a part. */
enum { ROWS = 16, RANKS = 8, COLS = 512 };

typedef struct {
    const fc_lora_args *a;
    const fc_lora_code *code;
} work;

static int pieces(int n, int size) { return (n + size - 1) / size; }

static int columns_of(const fc_lora *w) {
    int n = 0;
    for (int p = 0; p < w->n_parts; p++) n += pieces(w->part[p].N, COLS);
    return n;
}

/* Units of a group in either step: tiles of rows times pieces of its matrix. */
static int units_of(const fc_lora_group *g, bool expand) {
    return pieces(g->n_rows, ROWS) * (expand ? columns_of(g->w) : pieces(g->w->R, RANKS));
}

/* The rows of a unit, and its number among the pieces of the matrix. */
static fc_lora_rows find(const fc_lora_args *a, bool expand, int *unit) {
    fc_lora_rows u = {.a = a, .g = a->groups};
    int tiles;
    for (; *unit >= units_of(u.g, expand); u.g++) *unit -= units_of(u.g, expand);
    tiles = pieces(u.g->n_rows, ROWS);
    u.i0 = *unit % tiles * ROWS;
    u.i1 = u.i0 + ROWS < u.g->n_rows ? u.i0 + ROWS : u.g->n_rows;
    *unit /= tiles;
    return u;
}

static void shrink_unit(void *arg, int unit, int thread) {
    const work *w = arg;
    fc_lora_rows u = find(w->a, false, &unit);
    int j0 = unit * RANKS, R = u.g->w->R;
    (void)thread;
    w->code->shrink(&u, j0, j0 + RANKS < R ? j0 + RANKS : R);
}

static void expand_unit(void *arg, int unit, int thread) {
    const work *w = arg;
    fc_lora_rows u = find(w->a, true, &unit);
    const fc_lora_part *p = u.g->w->part;
    (void)thread;
    for (; unit >= pieces(p->N, COLS); p++) unit -= pieces(p->N, COLS);
    w->code->expand(&u, p, unit * COLS, (unit + 1) * COLS < p->N ? (unit + 1) * COLS : p->N);
}

fc_status fc_lora_cpu(fc_stream s, const fc_lora_args *a) {
    static const fc_lora_code *const codes[] = {NULL,
                                                &fc_lora_code_portable,
                                                &fc_lora_code_avx2,
                                                &fc_lora_code_avx2,
                                                &fc_lora_code_avx512,
                                                &fc_lora_code_avx512};
    work w = {.a = a, .code = codes[s->level]};
    int shrinks = 0, expands = 0;
    FC_TRY(fc_lora_check(a));
    for (int i = 0; i < a->n_groups; i++) {
        shrinks += units_of(&a->groups[i], false);
        expands += units_of(&a->groups[i], true);
    }
    fc_pool_run(s->pool, shrinks, shrink_unit, &w);
    fc_pool_run(s->pool, expands, expand_unit, &w);
    return FC_OK;
}

fc_cost fc_lora_cost(const fc_lora_args *a) {
    fc_cost c = {0};
    for (int i = 0; i < a->n_groups; i++) {
        const fc_lora *w = a->groups[i].w;
        double M = a->groups[i].n_rows, elements = (double)w->R * w->K, outputs = 0;
        for (int p = 0; p < w->n_parts; p++) {
            elements += (double)w->part[p].r * w->part[p].N;
            outputs += w->part[p].N;
        }
        c.bytes += (double)fc_dtype_block_bytes(w->dtype) * elements + 4 * M * (w->K + 2 * outputs + 1);
        c.flops += 2 * M * elements;
    }
    return c;
}
