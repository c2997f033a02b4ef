/* draw_row - one row on its way to a draw: changed logits, ids that filters keep, tile sums. Inner to kernels/draw. */
#ifndef FC_KERNELS_DRAW_ROW_H
#define FC_KERNELS_DRAW_ROW_H

#include "kernels/draw/draw.h"
#include "kernels/logprob/best.h"
#include "kernels/logprob/tile.h"

_Static_assert((int)FC_DRAW_TILE == (int)FC_TILE, "draw and logprob share their tiles");

/* A thread's scratch, cut up for V ids; id .. key are one list in rising order of ids. */
typedef struct {
    double *run;       /* [tiles] running sums of tiles */
    double *digits;    /* [FC_BEST_DIGITS] */
    float *x;          /* [V] logits after bias and penalties */
    float *top, *sum0; /* [tiles] of the untouched row */
    float *sum;        /* [tiles] of the weights to draw by */
    int32_t *id;       /* [V] */
    float *value, *w;  /* [V] logit and weight */
    uint32_t *key;     /* [V] */
} fc_draw_scratch;

/* Carves the scratch out of base (64-byte aligned); returns the bytes that V ids need. base NULL: only the size. */
size_t fc_draw_scratch_init(fc_draw_scratch *m, void *base, int V);

typedef struct {
    fc_tiler tiler;
    const fc_draw_row *r;
    const float *x; /* [V] the row after bias and penalties */
    const float *top;
    int V, n_tiles;
    float max, scale; /* weight = exp((x - max) * scale), scale = 1 / temperature */
    int n;            /* ids in the list, -1: no filter, all of them */
} fc_draw_dist;

/* Typical-p, top-k, top-p and min-p: sets n and the list m->id, m->value. */
void fc_draw_filter(fc_draw_dist *d, fc_draw_scratch *m);

#endif
