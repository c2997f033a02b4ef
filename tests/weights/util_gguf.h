/* util_gguf - writes small GGUF files in memory, right or wrong as a test asks; and tiny whole models. */
#ifndef FC_TESTS_UTIL_GGUF_H
#define FC_TESTS_UTIL_GGUF_H

#include "engine/base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* GGUF's numbers. */
enum { GG_U8 = 0, GG_I8, GG_U16, GG_I16, GG_U32, GG_I32, GG_F32, GG_BOOL, GG_STRING, GG_ARRAY, GG_U64, GG_I64, GG_F64 };

/* init with gg_init, undo with gg_fini. Everything is fatal for the test when memory is out. */
typedef struct {
    fc_str meta, infos, data; /* the three parts of the file, without magic, counts and padding */
    uint64_t n_meta, n_tensors;
    uint32_t version;
    size_t alignment;
    bool skip_data; /* gg_tensor writes entries only */
    uint64_t seed;
} gg_file;

void gg_init(gg_file *g);
void gg_fini(gg_file *g);

void gg_put(fc_str *s, const void *bytes, size_t n);
void gg_put_u32(fc_str *s, uint32_t v);
void gg_put_u64(fc_str *s, uint64_t v);
void gg_put_str(fc_str *s, const char *text); /* length and bytes */

/* First place of text inside s, for patching; the test ends when it is not there. */
char *gg_at(fc_str *s, const char *text);

/* One metadata key. gg_raw: value bytes as they stand, after the type number. */
void gg_raw(gg_file *g, const char *key, uint32_t type, const void *value, size_t n);
void gg_u32(gg_file *g, const char *key, uint32_t v);
void gg_f32(gg_file *g, const char *key, float v);
void gg_bool(gg_file *g, const char *key, bool v);
void gg_str(gg_file *g, const char *key, const char *v);
void gg_strs(gg_file *g, const char *key, const char *const *v, size_t n);
void gg_array(gg_file *g, const char *key, uint32_t type, const void *values, size_t n, size_t bytes_each);
/* As gg_u32 and gg_f32 with "<arch>." in front of the key. */
void gg_arch_u32(gg_file *g, const char *arch, const char *key, uint32_t v);
void gg_arch_f32(gg_file *g, const char *arch, const char *key, float v);

/* A tensor's entry with any numbers. */
void gg_entry(gg_file *g, const char *name, uint32_t n_dims, const uint64_t *dims, uint32_t type, uint64_t offset);
/* A tensor of K columns and N rows (N == 0: a vector), F32 of small seeded values, at the next free place. */
void gg_tensor(gg_file *g, const char *name, uint64_t N, uint64_t K);

/* The whole file: appended to an empty out. */
void gg_finish(const gg_file *g, fc_str *out);
/* Writes bytes to a file, replacing it. */
void gg_write(const char *path, const void *bytes, size_t n);
/* A new empty folder, removed with all it holds at exit; static storage. */
const char *gg_folder(void);
const char *gg_path(const char *name); /* name in that folder; one of four static buffers in turn */

/* A whole model of arch: V 24, D 32, L layers, H 4, G 2, E 8, F 48, with the family's metadata and tensors. */
void gg_model(gg_file *g, const char *arch, int L);

#endif
