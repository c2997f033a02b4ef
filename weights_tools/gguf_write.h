/* gguf_write - a new GGUF v3 file: metadata and tensor table first, then the tensors' bytes in the table's order.
 *
 * Order of calls: open; metadata and tensors, in any mix; start; data, as often as it takes; finish; close. Bytes
 * stream through one buffer of 1 MiB, so memory does not grow with the model; metadata is held until start.
 *
 * The bytes go to PATH.partial-<pid> in PATH's folder, which becomes PATH at finish: PATH is there whole or not at all.
 * After any failure the only call left is close, which removes the partial file. Errors name PATH.
 *
 * source  GGUF specification (ggml), version 3
 */
#ifndef FC_WEIGHTS_GGUF_WRITE_H
#define FC_WEIGHTS_GGUF_WRITE_H

#include "weights_tools/tools.h"
#include "weights_tools/weights.h"

typedef struct fc_gguf_write fc_gguf_write; /* opaque; owns the partial file */

/* source: a file that PATH must not be (it is still being read), or NULL. A PATH that ends in .safetensors or .json is
 * refused: readers would take it for what it is called. */
fc_status fc_gguf_write_open(const char *path, const char *source, fc_gguf_write **out);
void fc_gguf_write_close(fc_gguf_write *w); /* NULL is fine */

fc_status fc_gguf_write_u32(fc_gguf_write *w, const char *key, uint32_t v);
fc_status fc_gguf_write_f32(fc_gguf_write *w, const char *key, float v);
fc_status fc_gguf_write_bool(fc_gguf_write *w, const char *key, bool v);
fc_status fc_gguf_write_string(fc_gguf_write *w, const char *key, const char *text, size_t size);
fc_status fc_gguf_write_strings(fc_gguf_write *w, const char *key, const fc_view_str *v, size_t n);
fc_status fc_gguf_write_u8s(fc_gguf_write *w, const char *key, const uint8_t *v, size_t n);
fc_status fc_gguf_write_i32s(fc_gguf_write *w, const char *key, const int32_t *v, size_t n);
fc_status fc_gguf_write_f32s(fc_gguf_write *w, const char *key, const float *v, size_t n);
fc_status fc_gguf_write_bools(fc_gguf_write *w, const char *key, const bool *v, size_t n);
/* One key with type and value as another GGUF file (v2 or v3) stores them: size bytes at entry. */
fc_status fc_gguf_write_entry(fc_gguf_write *w, const void *entry, size_t size);

/* N rows of K elements; n_dims is 1 (then N is 1) or 2. F8 is written as I8: GGUF has no type for it. */
fc_status fc_gguf_write_tensor(fc_gguf_write *w, const char *name, fc_dtype type, int n_dims, int64_t N, int64_t K);

/* Writes the header and asks the file system for the whole size, so that a full disk shows now. progress (NULL is fine)
 * hears of tensor bytes from here on, about once a MiB and at the end. */
fc_status fc_gguf_write_start(fc_gguf_write *w, fc_progress progress, void *arg);
/* The next bytes of the tensors, row after row; padding between tensors is added here. */
fc_status fc_gguf_write_data(fc_gguf_write *w, const void *bytes, size_t size);
fc_status fc_gguf_write_finish(fc_gguf_write *w);

#endif
