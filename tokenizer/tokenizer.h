/* tokenizer - text to ids and back: byte-level BPE and SentencePiece (unigram, BPE with byte fallback).
 *
 * Built from a neutral spec (GGUF metadata, filled by the engine) or from tokenizer.json. Ids equal those of the
 * `tokenizers` package on the same file. Special tokens come out of text only when the caller asks
 * (FC_TOK_PARSE_SPECIAL); text from outside is data. Immutable after open: threads may share it.
 *
 * source  Sennrich et al. 2016 (BPE); Kudo 2018 (unigram); Radford et al. 2019 (byte-level)
 */
#ifndef FC_TOKENIZER_H
#define FC_TOKENIZER_H

#include "engine/base/status.h"
#include "engine/base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct fc_tok fc_tok;

typedef enum {
    FC_TOK_BPE = 0, /* byte-level; GGUF model "gpt2" */
    FC_TOK_SPM_BPE, /* GGUF "llama": pieces merged by score */
    FC_TOK_UNIGRAM  /* GGUF "t5" */
} fc_tok_model;

/* Token types with GGUF's numbers. */
typedef enum { FC_TOK_NORMAL = 1, FC_TOK_UNKNOWN, FC_TOK_CONTROL, FC_TOK_USER, FC_TOK_UNUSED, FC_TOK_BYTE } fc_tok_type;

typedef struct {
    const char *text;
    size_t size;
} fc_tok_str;

/* What a tokenizer is made of. Borrowed during open only. */
typedef struct {
    const char *name; /* file, for errors */
    fc_tok_model model;
    const char *pre; /* BPE: GGUF's tokenizer.ggml.pre: "gpt-2", "smollm", "llama-bpe", "qwen2", ...; NULL = gpt-2 */
    const fc_tok_str *pieces; /* [V] */
    const int32_t *types;     /* [V] fc_tok_type, or NULL: all normal */
    const float *scores;      /* [V], SentencePiece; else NULL */
    size_t V;
    const fc_tok_str *merges; /* [n_merges] "left right", BPE */
    size_t n_merges;
    int32_t bos, eos, unk, pad; /* -1 = none */
    bool add_bos, add_eos, add_space_prefix, remove_extra_spaces;
    const char *charsmap; /* [charsmap_size] SentencePiece's compiled normalisation rules, or NULL */
    size_t charsmap_size;
} fc_tok_spec;

fc_status fc_tok_open(const fc_tok_spec *spec, fc_tok **out);
fc_status fc_tok_open_json(const char *path, fc_tok **out); /* tokenizer.json, Hugging Face */
fc_status fc_tok_open_json_text(const char *name, const char *text, size_t size, fc_tok **out);
/* Right after open: names BOS and EOS where the tokenizer's own file did not (a tokenizer.json without a template does
 * not). -1, and ids that it does not have, change nothing. */
void fc_tok_default_ends(fc_tok *t, int32_t bos, int32_t eos);
void fc_tok_close(fc_tok *t); /* NULL is fine */

enum {
    FC_TOK_ADD_SPECIAL = 1,  /* BOS/EOS as the tokenizer's own rule says */
    FC_TOK_PARSE_SPECIAL = 2 /* names of special tokens in the text become their ids: templates only, never data */
};

/* Appends ids to *ids (grown with fc_grow; *n is the count, *cap the room); on failure *n is as before. Any bytes are
 * accepted: invalid UTF-8 is handled as `tokenizers` does after lossy decoding (U+FFFD), except that byte-level BPE
 * keeps the bytes: words are cut as if U+FFFD stood there, and then hold the bytes themselves. A byte or character for
 * which the vocabulary has no piece, not even an unknown one, gives nothing, as in `tokenizers`. Without
 * FC_TOK_PARSE_SPECIAL no id is a special token's but the unknown piece (nor with it one whose name only normalisation
 * has spelt out): there `tokenizers` may differ. At most 256 MiB. */
fc_status fc_tok_encode(const fc_tok *t, const char *text, size_t size, unsigned flags, int32_t **ids, size_t *n,
                        size_t *cap);

/* Whether text has a byte that is lost on the way: a byte-level vocabulary need not have all 256, and where it has no
 * unknown piece either, what it lacks gives no id. *at is the first such byte. Who asks for ids of data should be
 * told. */
bool fc_tok_loses(const fc_tok *t, const char *text, size_t size, size_t *at);

/* Bytes of one id as they stand inside a text (after decoding rules: byte-level, U+2581, <0xNN>); control tokens give
 * nothing unless special. An id out of range is FC_ERR_ARG. */
fc_status fc_tok_piece(const fc_tok *t, int32_t id, bool special, fc_str *out);
/* Whole text of ids, as `decode(ids, skip_special_tokens=!special, clean_up_tokenization_spaces=False)` but in
 * bytes. */
fc_status fc_tok_decode(const fc_tok *t, const int32_t *ids, size_t n, bool special, fc_str *out);

/* Streaming: put ids one by one, take only whole UTF-8 sequences; finish flushes what is left (invalid bytes as they
 * are). init/fini, the caller holds it. The text put together equals fc_tok_decode's. */
typedef struct {
    const fc_tok *tok;
    fc_str held;
    bool first;   /* no piece has come yet: Metaspace drops the blanks of the first one */
    bool special; /* special tokens are text too; set it behind init */
    int strip;    /* leading blanks of the text that are still to be taken off: SentencePiece's one */
} fc_tok_stream;
void fc_tok_stream_init(fc_tok_stream *s, const fc_tok *t);
void fc_tok_stream_fini(fc_tok_stream *s);
fc_status fc_tok_stream_put(fc_tok_stream *s, int32_t id, fc_str *out);
fc_status fc_tok_stream_finish(fc_tok_stream *s, fc_str *out);
/* to, initialised with the same tokenizer, goes on as `from` would: all of its state, whatever it is. */
fc_status fc_tok_stream_copy(const fc_tok_stream *from, fc_tok_stream *to);

size_t fc_tok_size(const fc_tok *t); /* V: one more than the largest id */
int32_t fc_tok_bos(const fc_tok *t); /* -1 = none */
int32_t fc_tok_eos(const fc_tok *t);
bool fc_tok_adds_bos(const fc_tok *t);
bool fc_tok_is_special(const fc_tok *t, int32_t id);     /* control tokens */
int32_t fc_tok_find(const fc_tok *t, const char *piece); /* a token by its exact stored text ("<|im_end|>"); -1 */
/* Same ids for every text: equal pieces, types, merges and rules. Decides whether drawn ids can be scored as they
 * are. */
bool fc_tok_same(const fc_tok *a, const fc_tok *b);

#endif
