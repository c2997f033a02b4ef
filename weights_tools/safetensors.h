/* safetensors - the tensors of one .safetensors file, or of the shards that an index names; every number checked.
 *
 * Checked: the header's length against the file (and 16 MiB), its JSON, dtypes, shapes against bytes, offsets inside
 * the file, no overlap, shard names without folders; a name that is there twice is found when the names are sorted.
 * Names become GGUF's (names.h); tensors of a vision tower and buffers that follow from config.json are left out.
 *
 * source  safetensors format description (Hugging Face)
 */
#ifndef FC_WEIGHTS_SAFETENSORS_H
#define FC_WEIGHTS_SAFETENSORS_H

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "weights_tools/weights.h"

/* init with fc_safetensors_open, undo with fc_safetensors_fini. Owns mappings and names. */
typedef struct {
    fc_map *maps; /* [n_maps] one a file */
    size_t n_maps, cap_maps;
    fc_tensor *tensors; /* [n_tensors] in the order of files and headers */
    size_t n_tensors, cap_tensors;
    fc_arena arena; /* names, and copies of tensors that lie at odd addresses */
} fc_safetensors;

/* path: a .safetensors file, or an index (a name that ends in .json). gemma: see names.h. On failure *out is as after
 * fini. */
fc_status fc_safetensors_open(const char *path, bool gemma, fc_safetensors *out);
void fc_safetensors_fini(fc_safetensors *s); /* zeroed is fine */

#endif
