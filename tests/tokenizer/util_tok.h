/* util_tok - what the tokenizer's tests share: the stored strings, golden files, .spec files, hashes of results. */
#ifndef FC_TESTS_UTIL_TOK_H
#define FC_TESTS_UTIL_TOK_H

#include "tests/util.h"
#include "tokenizer/tokenizer.h"

#define TOK_DATA "tests/data/tokenizer/"

/* A stored file, read from front to end; reading past its end fails the test. */
typedef struct {
    char *data;
    size_t size, at;
} tok_file;

tok_file tok_file_open(const char *path);
void tok_file_close(tok_file *f);
uint32_t tok_file_u16(tok_file *f);
uint32_t tok_file_u32(tok_file *f);
const char *tok_file_bytes(tok_file *f, size_t n);

/* The strings of strings.bin, borrowed from f. Free the array with free. */
typedef struct {
    const char *text;
    size_t size;
} tok_text;
size_t tok_texts_open(tok_file *f, tok_text **out);

/* Ids and texts of one encode; zeroed is empty. */
typedef struct {
    int32_t *ids;
    size_t n, cap;
} tok_ids;
void tok_ids_fini(tok_ids *l);
void tok_encode(const fc_tok *t, const char *text, size_t size, unsigned flags, tok_ids *out); /* must succeed */

/* tests/oracle/tokenizer_hash.py in C. */
uint64_t tok_fnv(const void *data, size_t n, uint64_t h); /* h: 0 to begin with */
#define TOK_FNV_START UINT64_C(0xCBF29CE484222325)
uint32_t tok_hash_text(const char *text, size_t size); /* of the text with U+FFFD for what is not UTF-8 */
/* One string, as data and with flags. Also holds the stream against the decoder. */
uint32_t tok_hash_string(const fc_tok *t, const char *text, size_t size, unsigned flags);

/* A .spec file as the spec that GGUF metadata would give, opened. */
fc_tok *tok_spec_open(const char *path);

/* The stream of ids gives the same text as fc_tok_decode, and never part of a character before the end. */
void tok_check_stream(const fc_tok *t, const int32_t *ids, size_t n);

#endif
