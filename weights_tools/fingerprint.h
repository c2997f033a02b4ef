/* fingerprint - 64 bits that name a model in caches. Not a defence against forgery. */
#ifndef FC_WEIGHTS_FINGERPRINT_H
#define FC_WEIGHTS_FINGERPRINT_H

#include "weights_tools/weights.h"

/* Over everything in the configuration that changes numbers, and every tensor's name, type, shape and bytes: all of
 * them up to 16 KiB a tensor, else 64 even samples of 256 bytes with both ends. by_name is sorted, so that the order
 * in the file does not count. */
uint64_t fc_fingerprint(const fc_model_config *c, const fc_tensor *const *by_name, size_t n);
/* The same over tensors alone, and over bytes: for what belongs to a model. h goes in and comes out. */
uint64_t fc_fingerprint_tensors(uint64_t h, const fc_tensor *const *by_name, size_t n);
uint64_t fc_fingerprint_bytes(uint64_t h, const void *data, size_t n);

#endif
