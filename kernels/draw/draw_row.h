/* draw_row - one row on its way to a draw: changed logits, ids that filters keep, tile sums. Inner to kernels/draw. */
#ifndef FC_KERNELS_DRAW_ROW_H
#define FC_KERNELS_DRAW_ROW_H

#include "kernels/draw/draw.h"
#include "kernels/logprob/best.h"
#include "kernels/logprob/list.h"

_Static_assert((int)FC_DRAW_TILE == (int)FC_TILE, "draw and logprob share their tiles");

/* A thread's scratch, cut up for V ids; id .. key are one list in rising order of ids. */
typedef struct {
    double *run;      /* [tiles] running totals of tiles */
    double *digits;   /* [FC_BEST_DIGITS] */
    float *x;         /* [V] logits after bias and penalties: of a whole row by id, of a list row by place */
    int32_t *tile;    /* [tiles] which tiles a list touches */
    float *top, *sum; /* [tiles] */
    int32_t *id;      /* [V] */
    float *value, *w; /* [V] logit and weight */
    uint32_t *key;    /* [V] */
} fc_draw_scratch;

/* Carves the scratch out of base (64-byte aligned); returns the bytes that V ids need. base NULL: only the size. */
size_t fc_draw_scratch_init(fc_draw_scratch *m, void *base, int V);

/* What may be drawn: a whole row, or a list of ids (a list row, or what filters have kept of either). */
typedef struct {
    fc_tiler tiler;
    const fc_draw_row *r;
    const float *x;  /* [V] the whole row after bias and penalties; NULL: the list */
    fc_id_list list; /* used when x is NULL */
    int V;
    bool summed;         /* m->sum holds the sums of the whole row at this scale */
    int n_tiles;         /* of m->top, m->sum and m->run */
    const int32_t *tile; /* [n_tiles] NULL: tile k is the row's tile k */
    float max, scale;    /* largest logit; scale = 1 / temperature */
} fc_draw_dist;

/* Tiles of what may be drawn, at d->scale: fills m->sum and m->run (of a list all tiles anew), sets d->max; returns the
 * total. The tops of a whole row are known. */
double fc_draw_tiles(fc_draw_dist *d, fc_draw_scratch *m);

/* Top-k, typical-p, top-p and min-p: what they keep becomes d's list. */
void fc_draw_filter(fc_draw_dist *d, fc_draw_scratch *m);

#endif
