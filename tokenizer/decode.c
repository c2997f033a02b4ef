/* Ids to text, whole and as a stream. Both go through put_id, so that they cannot differ. */
#include "tokenizer/parts.h"
#include "tokenizer/text.h"

#include <string.h>

/* GPT-2's alphabet back to bytes; a piece with any other character is taken as it stands. */
static fc_status put_bytes(const fc_vocab_entry *e, fc_str *out) {
    size_t was = out->size;
    uint32_t cp;
    for (size_t i = 0; i < e->size;) {
        char byte;
        int b;
        i += fc_text_next(e->text + i, &cp);
        b = fc_text_rune_byte(cp);
        if (b < 0) {
            out->size = was;
            return fc_str_put(out, e->text, e->size);
        }
        byte = (char)b;
        FC_TRY(fc_str_put(out, &byte, 1));
    }
    return FC_OK;
}

static fc_status replace_all(const char *text, size_t size, const fc_str *from, const char *to, size_t to_size,
                             fc_str *out) {
    size_t i = 0, done = 0;
    while (i + from->size <= size) {
        if (memcmp(text + i, from->data, from->size) != 0) {
            i++;
            continue;
        }
        FC_TRY(fc_str_put(out, text + done, i - done));
        FC_TRY(fc_str_put(out, to, to_size));
        done = i += from->size;
    }
    return fc_str_put(out, text + done, size - done);
}

static fc_status put_piece(const fc_decoder *d, const fc_vocab_entry *e, bool first, fc_str *out) {
    fc_str work[2] = {{0}, {0}};
    const char *text = e->text;
    size_t size = e->size;
    fc_status st = FC_OK;
    int byte;
    for (int i = 0; i < d->n_replace && !st; i++) {
        fc_str *to = &work[i % 2];
        fc_str_clear(to);
        st = replace_all(text, size, &d->from[i], fc_str_text(&d->to[i]), d->to[i].size, to);
        text = fc_str_text(to);
        size = to->size;
    }
    byte = d->byte_fallback ? fc_text_byte_piece(text, size, false) : -1;
    if (!st && byte >= 0) {
        char c = (char)byte;
        st = fc_str_put(out, &c, 1);
    } else if (!st && d->meta.size > 0) {
        st = replace_all(text, size, &d->meta, " ", first && d->meta_first_dropped ? 0 : 1, out);
    } else if (!st) {
        st = fc_str_put(out, text, size);
    }
    fc_str_fini(&work[0]);
    fc_str_fini(&work[1]);
    return st;
}

static fc_status check(const fc_tok *t, int32_t id) {
    if (id >= 0 && (size_t)id < t->vocab.size) return FC_OK;
    return FC_FAIL(FC_ERR_ARG, "%s: id %d; the vocabulary has 0 to %zu", t->name, id, t->vocab.size - 1);
}

static fc_status put_entry(const fc_tok *t, const fc_vocab_entry *e, bool first, fc_str *out) {
    return t->decoder.kind == FC_DECODE_BYTES ? put_bytes(e, out) : put_piece(&t->decoder, e, first, out);
}

/* One id of a text. *first: no piece has come yet; *strip: how many more leading characters may be taken off. */
static fc_status put_id(const fc_tok *t, int32_t id, bool special, bool *first, int *strip, fc_str *out) {
    const fc_vocab_entry *e;
    size_t was = out->size, n = 0;
    FC_TRY(check(t, id));
    e = &t->vocab.entries[id];
    if (!e->text || (e->special && !special)) return FC_OK;
    FC_TRY(put_entry(t, e, *first, out));
    *first = false;
    while (*strip > 0 && was + n < out->size) {
        if (out->data[was + n] != t->decoder.strip) {
            *strip = 0;
            break;
        }
        n++;
        --*strip;
    }
    if (n > 0) {
        memmove(out->data + was, out->data + was + n, out->size - was - n + 1);
        out->size -= n;
    }
    return FC_OK;
}

fc_status fc_tok_piece(const fc_tok *t, int32_t id, bool special, fc_str *out) {
    const fc_vocab_entry *e;
    FC_TRY(check(t, id));
    e = &t->vocab.entries[id];
    return !e->text || (e->special && !special) ? FC_OK : put_entry(t, e, false, out);
}

fc_status fc_tok_decode(const fc_tok *t, const int32_t *ids, size_t n, bool special, fc_str *out) {
    fc_str text = {0};
    bool first = true;
    int strip = t->decoder.strip_left;
    fc_status st = FC_OK;
    for (size_t i = 0; i < n && !st; i++) st = put_id(t, ids[i], special, &first, &strip, &text);
    if (!st) st = fc_str_put(out, text.data, text.size);
    fc_str_fini(&text);
    return st;
}

void fc_tok_stream_init(fc_tok_stream *s, const fc_tok *t) {
    memset(s, 0, sizeof *s);
    s->tok = t;
    s->first = true;
    s->strip = t->decoder.strip_left;
}

void fc_tok_stream_fini(fc_tok_stream *s) { fc_str_fini(&s->held); }

fc_status fc_tok_stream_put(fc_tok_stream *s, int32_t id, fc_str *out) {
    size_t whole;
    FC_TRY(put_id(s->tok, id, s->special, &s->first, &s->strip, &s->held));
    whole = fc_utf8_complete(s->held.data, s->held.size);
    if (whole == 0) return FC_OK;
    FC_TRY(fc_str_put(out, s->held.data, whole));
    memmove(s->held.data, s->held.data + whole, s->held.size - whole + 1);
    s->held.size -= whole;
    return FC_OK;
}

fc_status fc_tok_stream_finish(fc_tok_stream *s, fc_str *out) {
    FC_TRY(fc_str_put(out, s->held.data, s->held.size));
    fc_str_clear(&s->held);
    return FC_OK;
}

fc_status fc_tok_stream_copy(const fc_tok_stream *from, fc_tok_stream *to) {
    fc_str held;
    fc_str_clear(&to->held);
    FC_TRY(fc_str_put(&to->held, fc_str_text(&from->held), from->held.size));
    held = to->held;
    *to = *from;
    to->held = held; /* its own memory */
    return FC_OK;
}
