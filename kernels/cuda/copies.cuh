/* copies - uploads and downloads by way of pinned host memory, reserved at open: neither waits for the device.
 *
 * An upload's bytes are copied into the ring and from there by the device; a download's lie in the other ring until
 * they are delivered to their place at wait or sync. A ring is four segments with an event each: who comes round to a
 * segment whose copies are not done waits for them.
 */
#ifndef FC_KERNELS_CUDA_COPIES_CUH
#define FC_KERNELS_CUDA_COPIES_CUH

#include "kernels/cuda/cuda.cuh"

enum { FC_RING_SEGMENTS = 4 };

typedef struct {
    unsigned char *base; /* pinned [FC_RING_SEGMENTS][segment] */
    size_t segment, at;  /* bytes of one; first free byte of the current one */
    int now;
    cudaEvent_t done[FC_RING_SEGMENTS]; /* behind the last copy of a segment that was left */
    bool left[FC_RING_SEGMENTS];
} fc_ring;

fc_status fc_ring_open(size_t bytes, fc_ring *out);
void fc_ring_close(fc_ring *r); /* zeroed and half-built are fine */

/* A piece of at most r->segment bytes, 16-byte aligned, whose memory nothing under way uses. */
fc_status fc_ring_take(fc_ring *r, size_t bytes, fc_stream s, unsigned char **out);
/* True: the next piece of so many bytes begins a segment. */
static inline bool fc_ring_turns(const fc_ring *r, size_t bytes) { return r->at + bytes > r->segment; }

#endif
