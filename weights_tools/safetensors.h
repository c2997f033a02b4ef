/* safetensors - the tensors of one .safetensors file, or of the shards that an index names; every number checked.
 *
 * Checked: the header's length against the file (and 100 MB), its JSON, dtypes, shapes against bytes, offsets inside
 * the file, no overlap, no name twice in or across files, shard names without folders. Names become GGUF's
 * (names.h); tensors of a vision tower and buffers that follow from config.json are left out.
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
    fc_map *maps;  /* [n_maps] one a shard */
    char **paths;  /* [n_maps] */
    size_t n_maps, n_paths, cap_maps, cap_paths;
    fc_tensor *tensors; /* [n_tensors] in the order of shards and headers; names in the arena */
    size_t n_tensors, cap_tensors;
    fc_arena arena;
} fc_safetensors;

/* path: a .safetensors file, or an index (a name that ends in .json). gemma: see names.h. On failure *out is as after
 * fini. */
fc_status fc_safetensors_open(const char *path, bool gemma, fc_safetensors *out);
void fc_safetensors_fini(fc_safetensors *s); /* zeroed is fine */

#endif
