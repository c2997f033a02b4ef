/* split - what each rank of tensor parallelism has of a model: heads, hidden units, words of the vocabulary.
 *
 * Queries, keys, values, gate and up are cut by rows, what reads their outputs (attention's output matrix, down) by
 * columns, so that a rank computes a whole head and a whole hidden unit, and two sums a layer join what the ranks have.
 * Where KV heads are fewer than ranks, several have the same one. Embedding and head are cut by rows between tiles of
 * 256; a vocabulary of fewer tiles than ranks is on all of them. Norms, rotary tables and reward heads are on all.
 * source  Shoeybi et al., "Megatron-LM", 2019
 */
#ifndef FC_ENGINE_SPLIT_H
#define FC_ENGINE_SPLIT_H

#include "kernels/backend.h"
#include "weights_tools/weights.h"

typedef enum {
    FC_SPLIT_NONE = 0,
    FC_SPLIT_HEADS,  /* rows or columns of H heads  */
    FC_SPLIT_KV,     /* ... of G KV heads           */
    FC_SPLIT_HIDDEN, /* ... of F hidden units       */
    FC_SPLIT_VOCAB
} fc_split;

typedef struct {
    int first, n;
} fc_split_range;

/* FC_ERR_UNSUPPORTED with the numbers: heads, KV heads or hidden units that so many ranks cannot share. */
fc_status fc_split_check(const fc_model_config *c, int ranks);

/* What is a rank's own, of rows or columns. */
fc_split_range fc_split_of(const fc_model_config *c, fc_split s, int ranks, int rank);
/* Heads, KV heads and hidden units of one rank. */
static inline int fc_split_heads(const fc_model_config *c, int ranks) { return c->H / ranks; }
static inline int fc_split_kv_heads(const fc_model_config *c, int ranks) { return c->G < ranks ? 1 : c->G / ranks; }
static inline int fc_split_hidden(const fc_model_config *c, int ranks) { return c->F / ranks; }

/* Some rows, or some columns, of a part. *own: memory of columns, which are copied, or NULL; freed by the caller behind
 * the use of *out. FC_ERR_UNSUPPORTED where a block of the file's, or of its scales, would be cut. */
fc_status fc_split_rows(const fc_weight_part *whole, fc_split_range r, fc_weight_part *out);
fc_status fc_split_columns(const fc_weight_part *whole, fc_split_range r, fc_weight_part *out, void **own);

#endif
