/* head_tiles - logits of a whole matrix for a piece of rows, a tile of 256 ids at a time, none of them kept
 *
 *   of -> the caller sets rows.prepared, then for each piece first and n -> run -> (alone -> again)*
 *
 * Logits have the bits of linear, then softcap. Inner to kernels/head.
 */
#ifndef FC_KERNELS_HEAD_TILES_H
#define FC_KERNELS_HEAD_TILES_H

#include "kernels/comm/comm.h"
#include "kernels/linear/linear.h"
#include "kernels/linear/rows.h"
#include "kernels/logprob/tile.h"
#include "kernels/softcap/softcap_levels.h"

enum { FC_HEAD_CHUNK_ROWS = 256 }; /* rows that share one reading of W, as in linear */

/* Rows of the largest piece of R rows; how often W is read for them. */
static inline size_t fc_head_chunk(int R) {
    return R < 1 ? 0 : R < FC_HEAD_CHUNK_ROWS ? (size_t)R : FC_HEAD_CHUNK_ROWS;
}
static inline int fc_head_readings(int R) { return (R - 1) / FC_HEAD_CHUNK_ROWS + 1; }

typedef struct {
    fc_linear_rows rows; /* prepared [n][row_bytes] */
    const fc_tile_ops *ops;
    fc_softcap_run softcap; /* NULL: no cap */
    float cap;
    int V, tiles;
    int own, all, most; /* where ranks share the vocabulary: the first of these tiles, all ranks', the most of one */
    int first, n;       /* this piece of x's rows */
} fc_head_tiles;

/* A matrix of several tensors and a cap that is none are errors under the operator's name. */
fc_status fc_head_tiles_of(fc_stream s, const char *what, const fc_weight *w, const float *x, float cap, bool precise,
                           fc_head_tiles *out);

/* x [n]: logits of ids 256 * tile .. of row `row` of the piece, counted from 0. */
typedef void (*fc_head_tile_fn)(void *arg, int row, int tile, const float *x, int n);

/* Tiles of h.n rows, [h.n,tiles], become all ranks', [h.n,all]. */
fc_status fc_head_tiles_join(fc_stream s, const fc_head_tiles *h, const float *own, float *all);

/* Calls see for every row and tile, each once, by any thread and in any order. */
void fc_head_tiles_run(fc_stream s, const fc_head_tiles *h, fc_head_tile_fn see, void *arg);

/* After run: row `row` of the piece prepared by itself, once; then any of its tiles as see had it. Returns how many
 * ids. */
void fc_head_tiles_alone(const fc_head_tiles *h, int row);
int fc_head_tiles_again(const fc_head_tiles *h, int row, int tile, float x[FC_TILE]);

#endif
