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

typedef struct {
    double bytes; /* moved at least once between memory and core, reads and writes */
    double flops; /* multiply and add count as two */
} fc_cost;

#endif
