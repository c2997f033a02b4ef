/* gguf - the header of a GGUF v2/v3 file as tables: metadata and tensors, every number checked.
 *
 * Checked at parse: magic, version, counts against the file's size before any memory is taken, string and array
 * lengths, value types, alignment, dimensions, offsets and sizes (no wrap, inside the file, aligned, no overlap),
 * duplicate keys and names. Then data pointers are safe for `bytes` bytes and strings for `size` bytes.
 *
 * Decisions: integer tensors I8 and I32 are listed but are nobody's weights; I16, I64, F64 and the quantised types
 * that engine/base/quant.h does not know are FC_ERR_UNSUPPORTED with tensor and type number. Arrays of arrays are
 * refused. An unsigned value above 2^63-1 becomes FC_META_FLOAT.
 *
 * source  GGUF specification (ggml), versions 2 and 3
 */
#ifndef FC_WEIGHTS_GGUF_H
#define FC_WEIGHTS_GGUF_H

#include "engine/base/mem.h"
#include "weights_tools/weights.h"

typedef struct {
    const char *key; /* NUL-terminated, arena */
    fc_meta value;   /* strings and arrays point into the file */
} fc_gguf_meta;

/* init with fc_gguf_parse, undo with fc_gguf_fini. Borrows path and data while it lives. */
typedef struct {
    const char *path;
    const unsigned char *data; /* [size] the whole file */
    size_t size;
    size_t alignment, data_offset;
    fc_gguf_meta *meta; /* [n_meta] in file order */
    size_t n_meta;
    const fc_gguf_meta **by_key; /* [n_meta] sorted by key */
    fc_tensor *tensors;          /* [n_tensors] in file order; names in the arena */
    size_t n_tensors;
    fc_arena arena;
} fc_gguf;

/* On failure *out is as after fc_gguf_fini. data is at least 8-byte aligned. */
fc_status fc_gguf_parse(const char *path, const unsigned char *data, size_t size, fc_gguf *out);
void fc_gguf_fini(fc_gguf *g); /* zeroed is fine */

const fc_gguf_meta *fc_gguf_find(const fc_gguf *g, const char *key); /* NULL when absent */

/* All count elements of an array value; FC_ERR_FORMAT when the kind, the count or a value does not fit. */
fc_status fc_gguf_strings(const fc_gguf *g, const char *key, fc_view_str *out, size_t count);
fc_status fc_gguf_ints(const fc_gguf *g, const char *key, int32_t *out, size_t count);
fc_status fc_gguf_floats(const fc_gguf *g, const char *key, float *out, size_t count);

#endif
