/* rank - who is kept: candidates in order of their key, and the best k of them that have nothing in common.
 *
 * key    scored: (1 - blend) * score + blend * logprob, the plain sum of the two as they are. Neither is scaled: a mean
 *        log-likelihood is a number a token, logprob the sum over a candidate, so blend is chosen with the mode in
 *        mind. A term of weight 0 is left out. Not scored: logprob alone.
 *        A NAN score, or a NAN in a term with weight, ranks last: its key is -INFINITY.
 * order  by key, highest first; equal keys by index, smallest first. Indices differ, so there is one order.
 * kept   greedily down the order: a candidate is kept unless it has a tag in common with one that is kept; ends at k.
 *        The tags are its parent id, or its keywords, as numbers. Whoever has none is kept by the order alone. Fewer
 *        than k may be kept, and a larger set without common tags may exist: the best one always stays instead.
 *
 * Ownership: nothing here is kept but fc_rank_marks, which lies in the caller's arena.
 */
#ifndef FC_ENGINE_RANK_H
#define FC_ENGINE_RANK_H

#include "engine/base/mem.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    int index;           /* of the candidate */
    double key;          /* fc_rank_key: never NAN */
    const int32_t *tags; /* [n_tags], each below the n_tags of the marks */
    int n_tags;
} fc_rank_item;

/* Which tags the kept have, so that nobody is compared with anybody. */
typedef struct {
    uint32_t *seen; /* [n_tags] the round in which a kept one had it */
    uint32_t round;
} fc_rank_marks;

double fc_rank_key(double score, double logprob, bool scored, double blend);
bool fc_rank_before(const fc_rank_item *a, const fc_rank_item *b);
void fc_rank_sort(fc_rank_item *items, int n); /* [n] best first */

/* n_tags: different ones that items may have; 4 bytes each. */
fc_status fc_rank_marks_open(fc_arena *a, int n_tags, fc_rank_marks *out);
/* items [n] best first; kept [k] places in items. Returns how many are kept. O(places looked at + their tags). */
int fc_rank_keep(const fc_rank_item *items, int n, int k, fc_rank_marks *marks, int *kept);

/* Key of the best minus that of the second, of items [n] best first; NAN unless there are two with a finite key. */
double fc_rank_margin(const fc_rank_item *items, int n);

#endif
