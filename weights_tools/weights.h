/* weights - one view over GGUF and safetensors: named tensors, mapped, checked.
 *
 * Names are GGUF's (token_embd.weight, blk.0.attn_q.weight, ...) whatever the file; shapes are [N,K] row-major
 * (N = outputs = rows). Everything is validated at open: offsets, sizes, overlaps, duplicates, counts; the
 * data pointers are then safe to read for `bytes` bytes. Errors name file, tensor and number.
 *
 * source  GGUF specification v2, v3 (ggml); safetensors format description (Hugging Face)
 */
#ifndef FC_WEIGHTS_H
#define FC_WEIGHTS_H

#include "engine/base/dtype.h"
#include "engine/base/str.h"
#include "weights_tools/config.h"

typedef struct fc_weights fc_weights; /* opaque; owns the mappings */

typedef struct fc_packed fc_packed; /* packed.h */

typedef struct {
    const char *name;      /* canonical (GGUF) name */
    const char *file_name; /* name in the file, for errors */
    fc_dtype dtype;
    int n_dims;
    int64_t N, K; /* rows and row length; a vector has N == 1 */
    const void *data;
    size_t bytes;
    /* F8: f32 [ceil(N/scale_rows), ceil(K/scale_cols)], each for so many rows and columns; NULL: none, which is 1. */
    const float *scale;
    int64_t scale_rows, scale_cols;
    /* Of GPTQ and their like: data are no rows of dtype, and fc_tensor_rows makes these. NULL: they are rows. */
    const fc_packed *packed;
} fc_tensor;

size_t fc_tensor_scales(const fc_tensor *t); /* how many */
/* Row r of a float or quantised tensor, scales included, out [K]. */
fc_status fc_tensor_row(const fc_tensor *t, int64_t r, float *out);
/* Rows first .. first + n - 1 as t's type says, fc_dtype_row_bytes each. */
fc_status fc_tensor_rows(const fc_tensor *t, int64_t first, int64_t n, void *out);

typedef enum { FC_PACKED_NONE = 0, FC_PACKED_GPTQ, FC_PACKED_AWQ, FC_PACKED_COMPRESSED } fc_packed_kind;

/* What a file says of its F8 and packed matrices. Scales of activations and of KV are not read: x is not rounded to FP8
 * here, and KV has scales of its own. */
typedef struct {
    char method[24];                     /* config.json's quant_method, or our own GGUF key; "": the file names none */
    int64_t block_rows, block_cols;      /* of scales for blocks, 0: it names none */
    size_t activation_scales, kv_scales; /* that the file has, not read */
    fc_packed_kind packed;
    int bits;            /* of GPTQ and AWQ                                         */
    int64_t group;       /* columns that share a scale, 0: all                      */
    bool act_order;      /* GPTQ's desc_act: every matrix has a g_idx               */
    bool zeros_less_one; /* GPTQ's first format: a stored zero is one less          */
} fc_quant_info;

/* path: a .gguf file, a .safetensors file with config.json beside it, model.safetensors.index.json, or a folder that
 * holds one of these; or like:NAME[:TYPE], random weights in a preset's shapes (like.h). */
fc_status fc_weights_open(const char *path, fc_weights **out);
void fc_weights_close(fc_weights *w); /* NULL is fine */

const char *fc_weights_path(const fc_weights *w);
const fc_model_config *fc_weights_config(const fc_weights *w);
const fc_quant_info *fc_weights_quant(const fc_weights *w);
size_t fc_weights_count(const fc_weights *w); /* tensors; scales belong to theirs and are none */
const fc_tensor *fc_weights_at(const fc_weights *w, size_t i);
const fc_tensor *fc_weights_find(const fc_weights *w, const char *name); /* NULL when absent */
/* As find, but absence or another shape is FC_ERR_FORMAT: N rows of K. */
fc_status fc_weights_need(const fc_weights *w, const char *name, int64_t N, int64_t K, const fc_tensor **out);
/* 64-bit hash over config and all tensors' names, types, shapes and bytes: names a model in caches. Of large tensors
 * samples, which is enough while the file is open; whole: all bytes, for what outlives it. fingerprint.h has the
 * cost. */
uint64_t fc_weights_fingerprint(const fc_weights *w);
uint64_t fc_weights_fingerprint_whole(const fc_weights *w);

/* GGUF metadata, for the tokenizer and for inspect. Strings are [size] bytes, not NUL-terminated. */
typedef struct {
    const char *text;
    size_t size;
} fc_view_str;

typedef enum { FC_META_NONE = 0, FC_META_INT, FC_META_FLOAT, FC_META_BOOL, FC_META_STRING, FC_META_ARRAY } fc_meta_kind;

typedef struct {
    fc_meta_kind kind;
    fc_meta_kind elem; /* of an array */
    int64_t i;         /* INT, BOOL */
    double f;          /* FLOAT */
    fc_view_str s;     /* STRING */
    size_t count;      /* of an array */
    const void *array; /* internal; read through fc_weights_meta_strings, _ints, _floats */
    int array_type;    /* GGUF's own type number of an element */
} fc_meta;

bool fc_weights_is_gguf(const fc_weights *w);
size_t fc_weights_meta_count(const fc_weights *w); /* 0 for safetensors */
const char *fc_weights_meta_key(const fc_weights *w, size_t i, fc_meta *out);
bool fc_weights_meta(const fc_weights *w, const char *key, fc_meta *out); /* false when absent */
/* All n strings, ints or floats of an array into out[count]; FC_ERR_FORMAT when the kind differs. */
fc_status fc_weights_meta_strings(const fc_weights *w, const char *key, fc_view_str *out, size_t count);
fc_status fc_weights_meta_ints(const fc_weights *w, const char *key, int32_t *out, size_t count);
fc_status fc_weights_meta_floats(const fc_weights *w, const char *key, float *out, size_t count);

/* tokenizer.json beside a safetensors model (path, or NULL), and GGUF's tokenizer.huggingface.json (text, or empty). */
const char *fc_weights_tokenizer_json_path(const fc_weights *w);
/* chat_template.c: text of the model's own chat template, appended; nothing when it has none. GGUF:
 * tokenizer.chat_template; safetensors: chat_template.jinja, else chat_template of tokenizer_config.json (its
 * "default", if it names several). */
fc_status fc_weights_chat_template(const fc_weights *w, fc_str *out);

#endif
