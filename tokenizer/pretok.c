/* The steps of the pre-tokeniser, depth first: every piece of text goes through all of them before the next one begins,
 * so that a long text needs no lists. Each step writes only its own scratch text. */
#include "tokenizer/parts.h"
#include "tokenizer/text.h"

#include <string.h>

static fc_status write_bytes(fc_run *r, fc_str *out, const char *text, size_t size) {
    for (size_t i = 0; i < size;) {
        const unsigned char *b = (const unsigned char *)text + i;
        size_t n = 1;
        if (r->n_stand_ins > 0 && size - i >= 3 && memcmp(b, FC_TEXT_REPLACEMENT, 3) == 0) {
            const fc_stand_in *s = r->next_stand_in < r->n_stand_ins ? &r->stand_ins[r->next_stand_in] : NULL;
            r->next_stand_in++;
            i += 3;
            n = 3;
            if (s && s->n > 0 && r->keep_bytes) {
                b = s->bytes;
                n = s->n;
            }
        } else {
            i++;
        }
        for (size_t k = 0; k < n; k++) FC_TRY(fc_text_put(out, fc_text_byte_rune(b[k])));
    }
    return FC_OK;
}

static fc_status write_meta(const fc_pre_step *s, fc_str *out, const char *text, size_t size, bool at_start) {
    bool there = size > 0 && text[0] == ' ';
    if (size >= s->meta.size && memcmp(text, s->meta.data, s->meta.size) == 0) there = true;
    if (!there && (s->scheme == FC_META_ALWAYS || (s->scheme == FC_META_FIRST && at_start)))
        FC_TRY(fc_str_put(out, s->meta.data, s->meta.size));
    for (size_t i = 0, from = 0; i <= size; i++) {
        if (i < size && text[i] != ' ') continue;
        FC_TRY(fc_str_put(out, text + from, i - from));
        if (i < size) FC_TRY(fc_str_put(out, s->meta.data, s->meta.size));
        from = i + 1;
    }
    return FC_OK;
}

/* The piece that waits to be joined with what follows it. */
typedef struct {
    size_t start, end;
    bool any, delimiter;
} held;

/* One stretch of the text, delimiter or not, in order. */
static fc_status take(fc_run *r, int step, held *h, const char *text, size_t start, size_t end, bool delimiter,
                      bool at_start) {
    const fc_pre_step *s = &r->t->pre[step];
    bool join = false;
    if (start == end) return FC_OK;
    switch (s->behaviour) {
    case FC_SPLIT_REMOVED:
        if (delimiter) {
            fc_run_skip(r, text + start, end - start);
            return FC_OK;
        }
        break;
    case FC_SPLIT_ISOLATED: break;
    case FC_SPLIT_CONTIGUOUS: join = h->any && h->delimiter == delimiter; break;
    case FC_SPLIT_PREVIOUS: join = h->any && delimiter && !h->delimiter; break;
    case FC_SPLIT_NEXT: join = h->any && h->delimiter && !delimiter; break;
    }
    if (join) {
        h->end = end;
        h->delimiter = delimiter;
        return FC_OK;
    }
    if (h->any) FC_TRY(fc_pretok_run(r, step + 1, text + h->start, h->end - h->start, at_start && h->start == 0));
    *h = (held){.start = start, .end = end, .any = true, .delimiter = delimiter};
    return FC_OK;
}

static fc_status split(fc_run *r, int step, const char *text, size_t size, bool at_start) {
    const fc_pre_step *s = &r->t->pre[step];
    held h = {0};
    size_t done = 0, start, end;
    while (done < size) {
        FC_TRY(fc_matcher_next(&s->match, &r->use, text, size, done, &start, &end));
        FC_TRY(take(r, step, &h, text, done, start, s->invert, at_start));
        FC_TRY(take(r, step, &h, text, start, end, !s->invert, at_start));
        done = end;
    }
    return h.any ? fc_pretok_run(r, step + 1, text + h.start, h.end - h.start, at_start && h.start == 0) : FC_OK;
}

fc_status fc_pretok_run(fc_run *r, int step, const char *text, size_t size, bool at_start) {
    const fc_pre_step *s;
    fc_str *out;
    if (size == 0) return FC_OK;
    if (step == r->t->n_pre) return fc_model_word(r, text, size);
    s = &r->t->pre[step];
    out = &r->scratch[step];
    switch (s->kind) {
    case FC_PRE_SPLIT: return split(r, step, text, size, at_start);
    case FC_PRE_PREFIX_SPACE:
        if (text[0] == ' ') return fc_pretok_run(r, step + 1, text, size, at_start);
        fc_str_clear(out);
        FC_TRY(fc_str_put(out, " ", 1));
        FC_TRY(fc_str_put(out, text, size));
        break;
    case FC_PRE_BYTES:
        fc_str_clear(out);
        FC_TRY(write_bytes(r, out, text, size));
        break;
    case FC_PRE_METASPACE:
        fc_str_clear(out);
        FC_TRY(write_meta(s, out, text, size, at_start));
        break;
    }
    return fc_pretok_run(r, step + 1, out->data, out->size, at_start);
}

fc_status fc_model_word(fc_run *r, const char *word, size_t size) {
    switch (r->t->model) {
    case FC_MODEL_BPE: return fc_bpe_word(r, word, size);
    case FC_MODEL_SPM: return fc_spm_word(r, word, size);
    case FC_MODEL_UNIGRAM: return fc_unigram_word(r, word, size);
    }
    return FC_FAIL(FC_ERR_INTERNAL, "%s: model %d", r->t->name, (int)r->t->model);
}
