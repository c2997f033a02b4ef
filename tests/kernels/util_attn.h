/* util_attn - attention cases for tests: branches on a shared prefix in shuffled pages or slots, and every way of
 * cutting the work. */
#ifndef FC_TESTS_UTIL_ATTN_H
#define FC_TESTS_UTIL_ATTN_H

#include "kernels/attn/attn.h"
#include "kernels/cpu/cpu.h"

enum { ATTN_ROWS = 72, ATTN_BRANCHES = 16, ATTN_ITEMS = 4096, ATTN_PAGES = 16384 };

/* K and V of (branch, position, head) are functions of the seed alone, so that the same case in other pages holds the
 * same numbers. Positions below `prefix` are the same pages for all branches. */
typedef struct {
    fc_dtype type;
    int P, G, H, E, L, layer;
    int prefix, branches, rows;
    int branch[ATTN_ROWS], pos[ATTN_ROWS]; /* of each row */
    int window;
    float soft_cap;
    uint64_t seed;
    bool poison;              /* slots that were never written hold NaN */
    bool gather;              /* positions from tile gather_tile on lie in slots dealt out without pages */
    int gather_tile, stretch; /* neighbours stay together for up to `stretch` slots */
} attn_case;

typedef enum {
    CUT_WHOLE, /* one item for all rows of a branch       */
    CUT_ALONE, /* one item for each row                   */
    CUT_RUNS,  /* shared prefix apart; longest legal items */
    CUT_TILES, /* the same, every tile an item            */
    CUT_COUNT
} attn_cut;

typedef struct {
    fc_attn_args args; /* points into the rest */
    fc_kv_buf kv;
    float *q, *part;
    int32_t pos[ATTN_ROWS], *pages, *slots, *item_rows, *fold_slot, fold_row[ATTN_ROWS], fold_off[ATTN_ROWS + 1];
    fc_attn_item *items;
    int slots_per_branch; /* entries of slots of one branch */
    double rows_tiles;    /* for the cost */
} attn_work;

/* y [rows,H*E] is the caller's. Ends the test on failure; attn_work_close frees. */
void attn_work_open(const attn_case *c, attn_cut cut, float *y, attn_work *w);
void attn_work_close(attn_work *w);

#endif
