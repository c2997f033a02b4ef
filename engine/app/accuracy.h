/* accuracy - what a conversion did to a model: log-probs of the same ids by both. */
#ifndef FC_APP_ACCURACY_H
#define FC_APP_ACCURACY_H

#include "engine/base/status.h"

#include <stddef.h>

typedef struct {
    size_t tokens;        /* ids that had one before them        */
    double mean, most;    /* absolute difference of log-probs    */
    double before, after; /* mean log-prob by either model       */
} accuracy;

/* text: [size] bytes, read in pieces that end between words, each on its own; NULL: a few paragraphs of this
 * program's. Both models are loaded, one after the other, with KV in F32; they must have one tokenizer. */
fc_status accuracy_compare(const char *before, const char *after, const char *text, size_t size, accuracy *out);

#endif
