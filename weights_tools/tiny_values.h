/* tiny_values - elements of random models: they keep every intermediate value near 1 and the logits near a spread.
 *
 * The final norm makes hidden states of variance 1, so rows of the head with elements of logit_std / sqrt(D) give
 * logits of that spread. Where the head is the embedding matrix, the input token's own embedding is still a part of the
 * hidden state, and its logit would stand out by sqrt(D) * logit_std * cos; so the layers' outputs are made large
 * enough that this is about one logit_std.
 */
#ifndef FC_WEIGHTS_TINY_VALUES_H
#define FC_WEIGHTS_TINY_VALUES_H

#include "weights_tools/config.h"
#include "weights_tools/tools.h"

#include <stddef.h>

/* The options' shapes, checked, as the model's makers state them: fc_config_to_gguf is still to come. */
fc_status fc_tiny_configure(const fc_tiny_options *o, fc_model_config *out);

/* A tensor's elements are uniform: mean +- spread * sqrt(3), so that spread is their standard deviation. */
typedef struct {
    double mean, spread;
} fc_tiny_spread;

/* logit_std 0: 2. */
fc_tiny_spread fc_tiny_values(const fc_model_config *c, const char *name, float logit_std);
/* Every tensor has a stream of its own, so that its values do not depend on the other tensors or on the type. */
uint64_t fc_tiny_stream(uint64_t seed, const char *name);
/* The next n elements of a stream. */
void fc_tiny_draw(uint64_t *state, fc_tiny_spread v, float *x, size_t n);

#endif
