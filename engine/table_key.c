/* table_key - what a row is found by, drawn with, and computed from. */
#include "engine/base/hash.h"
#include "engine/base/mem.h"
#include "engine/table.h"

#include <stdlib.h>
#include <string.h>

enum { SEED_BITS = 53, SEED_WORD = 0x73656564, INPUT_WORD = 0x696e7074 };

static int by_bytes(const void *a, const void *b) {
    const char *const *x = a, *const *y = b;
    return strcmp(*x, *y);
}

fc_status fc_table_key(const char *const *names, size_t n, bool set, fc_str *out) {
    const char **sorted;
    void *p;
    fc_status st = FC_OK;
    if (!n) return FC_FAIL(FC_ERR_ARG, "key: no history name");
    FC_TRY(fc_alloc(n, sizeof *sorted, "key", &p));
    sorted = p;
    memcpy(sorted, names, n * sizeof *names);
    if (set) qsort(sorted, n, sizeof *sorted, by_bytes);
    for (size_t i = 0; i < n && !st; i++) {
        if (!sorted[i][0] || strchr(sorted[i], '\t'))
            st = FC_FAIL(FC_ERR_ARG, "key: name \"%.80s\" is empty or has a tab", sorted[i]);
        if (!st && i) st = fc_str_puts(out, "\t");
        if (!st) st = fc_str_puts(out, sorted[i]);
    }
    fc_free(p);
    return st;
}

uint64_t fc_table_seed(uint64_t base, const char *key) {
    return fc_siphash(base, SEED_WORD, key, strlen(key)) & ((UINT64_C(1) << SEED_BITS) - 1);
}

/* Each piece with its size and kind, so that no two prompts are the same bytes; h goes in and comes out. */
static uint64_t put_prompt(uint64_t h, const fc_prompt *p) {
    h = fc_siphash(h, p->n_pieces, p->ids, p->n_ids * sizeof *p->ids);
    for (size_t i = 0; i < p->n_pieces; i++)
        h = fc_siphash(h, p->pieces[i].special, p->pieces[i].text, p->pieces[i].size);
    return h;
}

uint64_t fc_table_input(const fc_request *r) {
    uint64_t h = put_prompt(INPUT_WORD, &r->prompt);
    h = put_prompt(h, &r->alignment_prompt);
    for (size_t i = 0; i < r->n_labels; i++) h = fc_siphash(h, i, r->labels[i], strlen(r->labels[i]));
    return put_prompt(h, &r->suffix);
}
