/* list - a row of logits given by some of its ids, in rising order: the row whose other ids are -inf.
 *
 * Its tiles are those of tile.h that hold an id of the list, its ids in their own places; so its sums have the bits of
 * the whole row's, and the work goes with the length of the list. Inner to kernels/logprob and kernels/draw.
 */
#ifndef FC_KERNELS_LIST_H
#define FC_KERNELS_LIST_H

#include "kernels/logprob/tile.h"

typedef struct {
    const int32_t *id; /* [n] rising */
    const float *value;
    int n;
} fc_id_list;

/* The k-th tile that the list touches is tile[k], with its top and sum; returns how many there are. The arrays must
 * hold as many as min(n, tiles of the vocabulary). */
int fc_list_tiles(const fc_tile_ops *ops, const fc_id_list *l, float scale, int32_t *tile, float *top, float *sum);

/* As fc_tiles_lse; n_tiles: how many the list touches. */
fc_row_state fc_list_lse(const fc_tile_ops *ops, const fc_id_list *l, int32_t *tile, float *top, float *sum,
                         int *n_tiles, fc_row_lse *out);

/* First place of the list at or past an id. */
static inline int fc_list_from(const int32_t *id, int n, int from) {
    int lo = 0;
    while (n > lo) {
        int mid = lo + (n - lo) / 2;
        if (id[mid] < from) lo = mid + 1;
        else n = mid;
    }
    return lo;
}

/* Place of an id, -1 if it is not there. */
static inline int fc_list_find(const int32_t *id, int n, int want) {
    int i = fc_list_from(id, n, want);
    return i < n && id[i] == want ? i : -1;
}

#endif
