/* vocab - pieces by id and ids by piece, and prefixes - a byte tree of texts.
 *
 * Ids may have holes (entries without text). An entry that is `model` may be produced by the merge or lattice model;
 * control tokens never are, so that no text makes one. Texts are copied.
 */
#ifndef FC_TOKENIZER_VOCAB_H
#define FC_TOKENIZER_VOCAB_H

#include "engine/base/mem.h"

#include <stdint.h>

typedef struct {
    const char *text; /* [size], NUL behind; NULL = hole */
    uint32_t size;
    uint8_t type; /* fc_tok_type; 0 = hole */
    bool model;   /* merges, single characters and lattices may yield it */
    bool added;   /* stands in the tokenizer's list of added tokens */
    bool special; /* control: skipped by decoding, found in text only on request */
    double score; /* SentencePiece */
} fc_vocab_entry;

typedef struct {
    const char *name; /* for errors; borrowed, must outlive the calls that add */
    fc_arena arena;
    fc_vocab_entry *entries; /* [size] */
    size_t size, cap;        /* size: one more than the largest id */
    size_t count;            /* entries that are no holes */
    uint32_t *slots;         /* [n_slots] id + 1, or 0; open addressing */
    size_t n_slots;          /* power of two */
} fc_vocab;

/* ids are below `limit`, which the caller derives from what the file holds: memory stays in proportion to it. */
fc_status fc_vocab_init(fc_vocab *v, const char *name, size_t limit);
void fc_vocab_fini(fc_vocab *v);
/* FC_ERR_FORMAT on an id taken, or a text there already (an empty text is never found, so it may repeat). */
fc_status fc_vocab_add(fc_vocab *v, int64_t id, const char *text, size_t size, int type, double score);
int32_t fc_vocab_find(const fc_vocab *v, const char *text, size_t size);       /* any entry; -1 */
int32_t fc_vocab_find_model(const fc_vocab *v, const char *text, size_t size); /* `model` entries only; -1 */
uint64_t fc_vocab_hash(const char *text, size_t size);
uint64_t fc_vocab_mix(uint64_t x); /* 64-bit finaliser */

/* Tree of byte strings; the value of a text is a number >= 0. */
typedef struct {
    struct fc_prefix_edge *edges; /* [n_slots] open addressing by (node, byte) */
    size_t n_slots, n_edges;
    int32_t *values; /* [cap] by node; 0 = none, else value + 1 */
    size_t cap;
    uint32_t n_nodes;
    bool first[256]; /* bytes that begin some text */
    size_t longest;  /* bytes */
} fc_prefixes;

void fc_prefixes_fini(fc_prefixes *p); /* zeroed is empty */
fc_status fc_prefixes_add(fc_prefixes *p, const char *text, size_t size, int32_t value);
/* Walks one byte from *node (0 = root): false when no text goes on so. *value is -1 where no text ends. */
bool fc_prefixes_step(const fc_prefixes *p, uint32_t *node, unsigned char byte, int32_t *value);
/* Longest text that begins at text[0]: its length, 0 if none. */
size_t fc_prefixes_longest(const fc_prefixes *p, const char *text, size_t size, int32_t *value);

#endif
