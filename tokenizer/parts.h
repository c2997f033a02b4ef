/* parts - what a tokenizer is made of, seen only inside this room.
 *
 * A text goes: added tokens are cut out of it as it stands (those not `normalized`), each rest is normalised, added
 * tokens that are `normalized` are cut out, each rest goes through the pre-tokeniser's steps one after the other,
 * depth first, and each word that comes out goes to the model. That is the order of `tokenizers`.
 */
#ifndef FC_TOKENIZER_PARTS_H
#define FC_TOKENIZER_PARTS_H

#include "tokenizer/matcher.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/vocab.h"

/* ---- normaliser ------------------------------------------------------------------------------------------ */

typedef enum {
    FC_NORM_NFC,
    FC_NORM_NFD,
    FC_NORM_NFKC,
    FC_NORM_NFKD,
    FC_NORM_LOWERCASE,
    FC_NORM_PREPEND, /* `with` before a text that is not empty */
    FC_NORM_REPLACE, /* every match becomes `with` */
    FC_NORM_STRIP,   /* white space at the sides that are asked for */
    FC_NORM_CHARSMAP /* SentencePiece's compiled rules ("Precompiled") */
} fc_norm_kind;

typedef struct {
    fc_norm_kind kind;
    fc_matcher match; /* REPLACE */
    fc_str with;      /* PREPEND, REPLACE; CHARSMAP: the map itself */
    bool left, right; /* STRIP */
    bool longest;     /* CHARSMAP: the longest rule, as SentencePiece; else as `tokenizers`, charsmap.c */
} fc_norm_step;

/* Appends step(text) to out. *moved becomes true when the first byte of out is not of the first of text (leading text
 * was removed): Metaspace's "first" asks. Valid text in, valid text out. */
fc_status fc_norm_apply(const fc_norm_step *s, fc_match_use *use, const char *text, size_t size, fc_str *out,
                        bool *moved);
fc_status fc_charsmap_check(const char *name, const char *map, size_t size);
fc_status fc_charsmap_apply(const char *map, size_t map_size, bool longest, const char *text, size_t size, fc_str *out,
                            bool *moved);

/* ---- pre-tokeniser --------------------------------------------------------------------------------------- */

typedef enum {
    FC_PRE_SPLIT,        /* cut at matches */
    FC_PRE_PREFIX_SPACE, /* a blank in front, unless one is there */
    FC_PRE_BYTES,        /* every byte becomes its code point of GPT-2's alphabet */
    FC_PRE_METASPACE     /* blanks become `meta`; one in front, by scheme, unless it is there */
} fc_pre_kind;

typedef enum {
    FC_SPLIT_REMOVED,
    FC_SPLIT_ISOLATED,
    FC_SPLIT_PREVIOUS,
    FC_SPLIT_NEXT,
    FC_SPLIT_CONTIGUOUS
} fc_split_behaviour;
typedef enum { FC_META_NEVER, FC_META_FIRST, FC_META_ALWAYS } fc_meta_scheme;

typedef struct {
    fc_pre_kind kind;
    fc_matcher match; /* SPLIT */
    fc_split_behaviour behaviour;
    bool invert; /* what does not match is the delimiter */
    fc_meta_scheme scheme;
    fc_str meta;
} fc_pre_step;

/* ---- added tokens ---------------------------------------------------------------------------------------- */

typedef struct {
    int32_t id;
    bool special, normalized, single_word, lstrip, rstrip;
} fc_added;

/* ---- model ----------------------------------------------------------------------------------------------- */

typedef struct {
    uint32_t left, right;  /* ids */
    uint32_t rank, merged; /* smaller first; id, or UINT32_MAX: never fires */
    bool used;             /* a slot of the table that holds a merge */
} fc_merge;

typedef enum { FC_MODEL_BPE, FC_MODEL_SPM, FC_MODEL_UNIGRAM } fc_model_kind;

enum {
    FC_TOK_MAX_STEPS = 16,
    FC_TOK_MAX_AFFIX = 8,
    FC_TOK_LOW_RUNES = 0x180,
    FC_TOK_LONGEST_ADDED = 256,
    FC_TOK_LONGEST_LATTICE = 512
};

/* ---- decoder --------------------------------------------------------------------------------------------- */

typedef enum { FC_DECODE_BYTES /* GPT-2's alphabet */, FC_DECODE_PIECES } fc_decode_kind;

typedef struct {
    fc_decode_kind kind;
    fc_str from[4], to[4]; /* replaced in every piece, in order */
    int n_replace;
    bool byte_fallback;      /* <0xNN> is a byte */
    bool meta_first_dropped; /* Metaspace: the first piece of a text loses its blanks */
    fc_str meta;             /* Metaspace: becomes a blank; empty = no such rule */
    char strip;              /* this character is taken off the front of a text ... */
    int strip_left;          /* ... at most so many times */
} fc_decoder;

struct fc_tok {
    char *name;
    fc_vocab vocab;
    fc_model_kind model;

    fc_norm_step norm[FC_TOK_MAX_STEPS];
    int n_norm;
    fc_pre_step pre[FC_TOK_MAX_STEPS];
    int n_pre;
    fc_added *added; /* [n_added] */
    size_t n_added, cap_added;
    fc_prefixes added_raw, added_normalized; /* texts to indices of added */

    fc_merge *merges; /* [n_merge_slots] open addressing by (left,right) */
    size_t n_merge_slots;
    int32_t low[FC_TOK_LOW_RUNES]; /* model id of each early code point, -1 */
    int32_t byte_ids[256];         /* of <0xNN>, -1 */
    bool byte_fallback, ignore_merges, fuse_unk;
    int32_t unk_model;   /* what the model yields for an unknown character; -1: nothing */
    uint32_t *order;     /* [V] SPM: place of the piece by score, equal scores share one */
    size_t longest;      /* bytes of the longest piece that the model may yield */
    fc_prefixes lattice; /* unigram */
    double unk_score;
    bool float_sums;

    fc_decoder decoder;
    int32_t prefix[FC_TOK_MAX_AFFIX], suffix[FC_TOK_MAX_AFFIX]; /* BOS, EOS */
    int n_prefix, n_suffix;
    int32_t bos, eos, unk, pad;
    uint64_t digest[2];
};

/* Building, in this order; build.c. On failure the caller closes t. */
fc_status fc_tok_new(const char *name, size_t limit, fc_tok **out);          /* ids below limit */
fc_status fc_tok_add_norm(fc_tok *t, fc_norm_kind kind, fc_norm_step **out); /* the caller fills in the rest */
fc_status fc_tok_add_pre(fc_tok *t, fc_pre_kind kind, fc_pre_step **out);
fc_status fc_tok_add_split(fc_tok *t, const char *pattern, fc_split_behaviour behaviour); /* an expression */
fc_status fc_tok_add_class(fc_tok *t, bool (*in_class)(uint32_t), fc_split_behaviour behaviour);
fc_status fc_tok_add_byte_level(fc_tok *t, bool prefix_space, bool split); /* GPT-2's expression, then bytes */
fc_status fc_tok_add_added(fc_tok *t, const fc_added *a);                  /* an id of the vocabulary */
fc_status fc_tok_finish(fc_tok *t); /* tables that follow from the rest, and the digest */

/* ---- one encode ------------------------------------------------------------------------------------------ */

typedef struct {
    int32_t id;         /* SPM: -1 = no such piece */
    int32_t prev, next; /* -1 = none */
    uint32_t at, size;  /* bytes of the word (SPM); size == 0: merged away */
} fc_symbol;

typedef struct {
    uint32_t rank; /* smaller first; equal ranks from the left */
    int32_t pos;
    uint32_t merged; /* id */
    uint32_t size;   /* SPM: bytes of both symbols when the job was made */
} fc_job;

typedef struct {
    double score;
    int32_t from; /* byte; -1 = not reached */
    int32_t to;   /* of the best path, when it is known */
    int32_t id;   /* piece that ends here */
} fc_lattice_node;

typedef struct {
    unsigned char n, bytes[3]; /* n == 0: a U+FFFD of the text itself */
} fc_stand_in;

typedef struct {
    const fc_tok *t;
    unsigned flags;
    fc_match_use use;
    fc_str scratch[FC_TOK_MAX_STEPS]; /* by step of the pre-tokeniser */
    fc_str text[2];                   /* normaliser's */
    fc_symbol *symbols;
    size_t cap_symbols;
    fc_job *jobs; /* a heap */
    size_t n_jobs, cap_jobs;
    fc_lattice_node *nodes;
    size_t cap_nodes;
    /* Every U+FFFD of the text as read, in order: what bytes it stands for. next_stand_in is moved on by everything
     * that uses or skips text; keep_bytes is off where a normaliser has written or removed one. */
    fc_stand_in *stand_ins;
    size_t n_stand_ins, cap_stand_ins, next_stand_in;
    bool keep_bytes;
    int32_t **ids;
    size_t *cap, n;
} fc_run;

fc_status fc_run_put(fc_run *r, int32_t id);
void fc_run_skip(fc_run *r, const char *text, size_t size); /* this text yields nothing */
fc_status fc_pretok_run(fc_run *r, int step, const char *text, size_t size, bool at_start);
fc_status fc_model_word(fc_run *r, const char *word, size_t size);

/* bpe.c */
fc_status fc_bpe_reserve(fc_tok *t, size_t n_merges);
fc_status fc_bpe_add_merge(fc_tok *t, size_t rank, const char *left, size_t left_size, const char *right,
                           size_t right_size);
fc_status fc_bpe_word(fc_run *r, const char *word, size_t size);
fc_status fc_job_push(fc_run *r, fc_job j);
bool fc_job_pop(fc_run *r, fc_job *out); /* false: none left */
fc_status fc_symbols_reserve(fc_run *r, size_t n);
/* spm.c */
fc_status fc_spm_prepare(fc_tok *t);
fc_status fc_spm_word(fc_run *r, const char *word, size_t size);
/* unigram.c */
fc_status fc_unigram_prepare(fc_tok *t);
fc_status fc_unigram_word(fc_run *r, const char *word, size_t size);

#endif
