/* kernel - what every operator shares: the stream, the cost, the shape letters.
 *
 * Dim letters: T rows, S branches, D model, H heads, G KV heads, E head dim, F hidden, V vocab, L layers,
 * P slots a page, N outputs (of a matrix) or candidates, K inputs (of a matrix).
 * Every pointer in an args struct is a backend buffer unless the comment says "host".
 */
#ifndef FC_KERNELS_KERNEL_H
#define FC_KERNELS_KERNEL_H

#include "engine/base/dtype.h"
#include "engine/base/status.h"

#include <stddef.h>
#include <stdint.h>

/* A backend's queue of work. The CPU runs in program order; kernels/cpu/cpu.h says what is inside. */
typedef struct fc_stream_s *fc_stream;

/* What a row of logits is to who draws from it, sums it or reads it. A row that is not FC_ROW_OK fails no call: its
 * outputs say so (token -state, ids -1, log-probs and sums NaN), and the other rows are computed. */
typedef enum {
    FC_ROW_OK = 0,
    FC_ROW_BROKEN,         /* a logit is NaN or +inf */
    FC_ROW_EMPTY,          /* every logit is -inf */
    FC_ROW_CHANGED_BROKEN, /* draw: the same two after bias and penalties */
    FC_ROW_CHANGED_EMPTY
} fc_row_state;

static inline const char *fc_row_words(fc_row_state s) {
    static const char *const words[] = {"", "a logit is NaN or +inf", "every logit is -inf",
                                        "a logit is NaN or +inf after bias and penalties",
                                        "bias and penalties leave no id"};
    return words[s];
}

typedef struct {
    double bytes; /* moved at least once between memory and core, reads and writes */
    double flops; /* multiply and add count as two */
} fc_cost;

#endif
