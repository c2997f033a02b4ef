/* fingerprint - 64 bits that name a model in caches: XXH3 of each part under the hash of those before. Not a defence
 * against forgery.
 *
 * cost    whole: every byte once, on one thread: 4 to 22 GB/s of a file that is in memory (SmolLM2's 97 MB in 4 to 23
 *         ms, 2 cores of an EPYC with others at work), else what the disk gives; sampled: 3 ms for the same file
 * source  Collet, xxHash 0.8 (XXH3), 2020
 */
#ifndef FC_WEIGHTS_FINGERPRINT_H
#define FC_WEIGHTS_FINGERPRINT_H

#include "weights_tools/weights.h"

/* Over everything in the configuration that changes numbers, and every tensor's name, type, shape and bytes: all of
 * them, or, unless whole, of tensors above 16 KiB 64 even samples of 256 bytes with both ends, which an edit of one row
 * may miss: enough to tell apart what one process has open, not what a file outlives. by_name is sorted, so that the
 * order in the file does not count. What the tokenizer makes of a text is not in it: keys hold ids. */
uint64_t fc_fingerprint(const fc_model_config *c, const fc_tensor *const *by_name, size_t n, bool whole);
/* All bytes of tensors alone, and of anything: for what belongs to a model. h goes in and comes out. */
uint64_t fc_fingerprint_tensors(uint64_t h, const fc_tensor *const *by_name, size_t n);
uint64_t fc_fingerprint_bytes(uint64_t h, const void *data, size_t n);

#endif
