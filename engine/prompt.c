/* prompt - pieces or ids to ids: templates may name special tokens, data may not. */
#include "engine/job.h"
#include "tokenizer/chat.h"

#include <limits.h>
#include <string.h>

/* The first piece already begins with the BOS token: a template that writes its own. */
static bool begins_with_bos(const fc_tok *tok, const fc_prompt *p) {
    fc_str bos = {0};
    bool same = false;
    if (fc_tok_bos(tok) < 0 || p->n_pieces == 0 || !p->pieces[0].special) return false;
    if (fc_tok_piece(tok, fc_tok_bos(tok), true, &bos) == FC_OK)
        same = bos.size > 0 && p->pieces[0].size >= bos.size && memcmp(p->pieces[0].text, bos.data, bos.size) == 0;
    fc_str_fini(&bos);
    return same;
}

static bool gets_bos(const fc_tok *tok, const fc_prompt *p, bool add_bos) {
    return add_bos && !p->ids && fc_tok_adds_bos(tok) && !begins_with_bos(tok, p);
}

/* The pieces as one chat prompt: chat.c joins what the tokenizer would join and keeps data from becoming special. */
static fc_status encode_pieces(const fc_tok *tok, const fc_prompt *p, int32_t **ids, size_t *n, size_t *cap) {
    fc_chat_prompt whole = {0};
    fc_status st = FC_OK;
    void *mem = NULL;
    st = fc_grow(&mem, &whole.cap_pieces, p->n_pieces, sizeof *whole.pieces, "prompt pieces");
    whole.pieces = mem;
    for (size_t i = 0; i < p->n_pieces && !st; i++) {
        st = fc_str_put(&whole.text, p->pieces[i].text, p->pieces[i].size);
        whole.pieces[i].end = whole.text.size;
        whole.pieces[i].marker = p->pieces[i].special;
        whole.n_pieces = i + 1;
    }
    if (!st) st = fc_chat_encode(tok, &whole, ids, n, cap);
    fc_chat_prompt_fini(&whole);
    return st;
}

fc_status fc_prompt_encode(const fc_tok *tok, int V, const fc_prompt *p, bool add_bos, const char *what, int32_t **ids,
                           size_t *n) {
    int32_t *list = NULL;
    size_t count = 0, cap = 0;
    fc_status st = FC_OK;
    void *mem = NULL;
    if (p->ids) {
        st = fc_grow(&mem, &cap, p->n_ids + 1, sizeof *list, what);
        list = mem;
        for (; count < p->n_ids && !st; count++) {
            list[count] = p->ids[count];
            if (p->ids[count] < 0 || p->ids[count] >= V)
                st = FC_FAIL(FC_ERR_ARG, "%s: id %d at place %zu; the vocabulary has %d ids", what, p->ids[count],
                             count, V);
        }
    } else {
        if (gets_bos(tok, p, add_bos)) {
            st = fc_grow(&mem, &cap, 16, sizeof *list, what);
            list = mem;
            if (!st) list[count++] = fc_tok_bos(tok);
        }
        if (!st) st = encode_pieces(tok, p, &list, &count, &cap);
        for (size_t i = 0; i < count && !st; i++)
            if (list[i] < 0 || list[i] >= V)
                st = FC_FAIL(FC_ERR_FORMAT, "%s: the tokenizer gave id %d; the model's vocabulary has %d", what,
                             list[i], V);
    }
    if (!st && count > INT_MAX) st = FC_FAIL(FC_ERR_ARG, "%s: %zu ids are too many", what, count);
    if (st) {
        fc_free(list);
        return st;
    }
    *ids = list;
    *n = count;
    return FC_OK;
}

size_t fc_prompt_truncate(const fc_tok *tok, const fc_prompt *p, bool add_bos, size_t k, int32_t *ids, size_t n) {
    size_t bos = gets_bos(tok, p, add_bos);
    if (n <= k) return n;
    memmove(ids + bos, ids + n - (k - bos), (k - bos) * sizeof *ids);
    return k;
}

/* What a template says last; more of it changes no tokenization, and special tokens are shorter. */
enum { LAST_BYTES = 64 };

fc_status fc_prompt_last(const fc_tok *tok, const fc_prompt *p, fc_str *out) {
    const fc_piece *last = NULL;
    size_t from;
    if (p->ids) return p->n_ids ? fc_tok_piece(tok, p->ids[p->n_ids - 1], true, out) : FC_OK;
    for (size_t i = p->n_pieces; i-- > 0 && !last;)
        if (p->pieces[i].size) last = &p->pieces[i];
    if (!last) return FC_OK;
    from = !last->special ? last->size - 1 : last->size > LAST_BYTES ? last->size - LAST_BYTES : 0;
    while (from > 0 && ((unsigned char)last->text[from] & 0xc0) == 0x80) from--; /* a whole character */
    return fc_str_put(out, last->text + from, last->size - from);
}

fc_status fc_prompt_check(const fc_tok *tok, const fc_prompt *p, const char *what) {
    size_t before = 0, at;
    for (size_t i = 0; !p->ids && i < p->n_pieces; before += p->pieces[i++].size)
        if (fc_tok_loses(tok, p->pieces[i].text, p->pieces[i].size, &at))
            return FC_FAIL(FC_ERR_ARG, "%s: byte 0x%02x at offset %zu has no token in the model's vocabulary", what,
                           (unsigned char)p->pieces[i].text[at], before + at);
    return FC_OK;
}
