/* layout - the tensors that a configuration implies, with their shapes, in a fixed order.
 *
 * token_embd, output_norm, output (unless tied), score (reward head), rope_freqs, then layer by layer. What a loader
 * demands and what a writer of models writes.
 */
#ifndef FC_WEIGHTS_LAYOUT_H
#define FC_WEIGHTS_LAYOUT_H

#include "weights_tools/config.h"

#include <stddef.h>

typedef struct {
    char name[48];
    int64_t N, K;
    bool vector; /* a norm, a bias, rope_freqs: kept in a float type */
} fc_layout_entry;

size_t fc_layout_count(const fc_model_config *c);
void fc_layout_at(const fc_model_config *c, size_t i, fc_layout_entry *out); /* i < count */

/* Row of q or k in Hugging Face's order that stands at row r where pairs (2i,2i+1) are rotated together: within a head,
 * dimensions i and i + R/2 become neighbours. */
int64_t fc_layout_pairs_row(const fc_model_config *c, int64_t r);

#endif
