/* Putting a tokenizer together, from whatever file, and taking it apart. */
#include "tokenizer/parts.h"
#include "tokenizer/text.h"

#include <string.h>

#define GPT2_WORDS "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

fc_status fc_tok_new(const char *name, size_t limit, fc_tok **out) {
    fc_tok *t;
    void *p;
    fc_status st;
    FC_TRY(fc_alloc(1, sizeof *t, "tokenizer", &p));
    t = p;
    t->bos = t->eos = t->unk = t->pad = t->unk_model = -1;
    st = fc_copy_str(name, "tokenizer's name", &t->name);
    if (!st) st = fc_vocab_init(&t->vocab, t->name, limit);
    if (st) {
        fc_tok_close(t);
        return st;
    }
    *out = t;
    return FC_OK;
}

void fc_tok_close(fc_tok *t) {
    if (!t) return;
    fc_free(t->order);
    fc_free(t->merges);
    fc_prefixes_fini(&t->lattice);
    fc_prefixes_fini(&t->added_normalized);
    fc_prefixes_fini(&t->added_raw);
    fc_free(t->added);
    for (int i = 0; i < t->n_pre; i++) {
        fc_matcher_fini(&t->pre[i].match);
        fc_str_fini(&t->pre[i].meta);
    }
    for (int i = 0; i < t->n_norm; i++) {
        fc_matcher_fini(&t->norm[i].match);
        fc_str_fini(&t->norm[i].with);
    }
    for (int i = 0; i < t->decoder.n_replace; i++) {
        fc_str_fini(&t->decoder.from[i]);
        fc_str_fini(&t->decoder.to[i]);
    }
    fc_str_fini(&t->decoder.meta);
    fc_vocab_fini(&t->vocab);
    fc_free(t->name);
    fc_free(t);
}

fc_status fc_tok_add_norm(fc_tok *t, fc_norm_kind kind, fc_norm_step **out) {
    if (t->n_norm == FC_TOK_MAX_STEPS)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: a normalizer of more than %d steps", t->name, FC_TOK_MAX_STEPS);
    *out = &t->norm[t->n_norm++];
    (*out)->kind = kind;
    return FC_OK;
}

fc_status fc_tok_add_pre(fc_tok *t, fc_pre_kind kind, fc_pre_step **out) {
    if (t->n_pre == FC_TOK_MAX_STEPS)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: a pre_tokenizer of more than %d steps", t->name, FC_TOK_MAX_STEPS);
    *out = &t->pre[t->n_pre++];
    (*out)->kind = kind;
    return FC_OK;
}

fc_status fc_tok_add_split(fc_tok *t, const char *pattern, fc_split_behaviour behaviour) {
    fc_pre_step *s = NULL;
    FC_TRY(fc_tok_add_pre(t, FC_PRE_SPLIT, &s));
    s->behaviour = behaviour;
    return fc_matcher_regex(&s->match, t->name, pattern, strlen(pattern));
}

fc_status fc_tok_add_class(fc_tok *t, bool (*in_class)(uint32_t), fc_split_behaviour behaviour) {
    fc_pre_step *s = NULL;
    FC_TRY(fc_tok_add_pre(t, FC_PRE_SPLIT, &s));
    s->behaviour = behaviour;
    fc_matcher_class(&s->match, t->name, in_class);
    return FC_OK;
}

fc_status fc_tok_add_byte_level(fc_tok *t, bool prefix_space, bool split) {
    fc_pre_step *s = NULL;
    if (prefix_space) FC_TRY(fc_tok_add_pre(t, FC_PRE_PREFIX_SPACE, &s));
    if (split) FC_TRY(fc_tok_add_split(t, GPT2_WORDS, FC_SPLIT_ISOLATED));
    return fc_tok_add_pre(t, FC_PRE_BYTES, &s);
}

fc_status fc_tok_add_added(fc_tok *t, const fc_added *a) {
    fc_vocab_entry *e = &t->vocab.entries[a->id];
    void *p = t->added;
    if (e->size > FC_TOK_LONGEST_ADDED)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: added token %d has %u bytes; the limit is %d", t->name, a->id, e->size,
                       FC_TOK_LONGEST_ADDED);
    FC_TRY(fc_grow(&p, &t->cap_added, t->n_added + 1, sizeof *t->added, "added tokens"));
    t->added = p;
    t->added[t->n_added++] = *a;
    e->added = true;
    if (a->special) {
        e->special = true;
        e->model = false; /* no text makes it but its own name, on request */
    }
    return FC_OK;
}

/* ---- what follows from the rest -------------------------------------------------------------------------- */

/* The text an added token has behind the normaliser; of two that become the same, the first counts. */
static fc_status index_normalized(fc_tok *t, size_t i) {
    const fc_vocab_entry *e = &t->vocab.entries[t->added[i].id];
    fc_match_use use;
    fc_str text[2] = {{0}, {0}};
    int32_t other;
    bool moved = false;
    fc_status st;
    FC_TRY(fc_match_use_init(&use, e->size));
    st = fc_str_put(&text[0], e->text, e->size);
    for (int k = 0; k < t->n_norm && !st; k++) {
        fc_str_clear(&text[1]);
        st = fc_norm_apply(&t->norm[k], &use, text[0].data, text[0].size, &text[1], &moved);
        fc_str was = text[0];
        text[0] = text[1];
        text[1] = was;
    }
    if (!st && text[0].size > 4 * FC_TOK_LONGEST_ADDED)
        st = FC_FAIL(FC_ERR_UNSUPPORTED, "%s: added token %d has %zu bytes when normalised", t->name, t->added[i].id,
                     text[0].size);
    if (!st && (text[0].size == 0 ||
                fc_prefixes_longest(&t->added_normalized, text[0].data, text[0].size, &other) != text[0].size))
        st = fc_prefixes_add(&t->added_normalized, text[0].data, text[0].size, (int32_t)i);
    fc_str_fini(&text[0]);
    fc_str_fini(&text[1]);
    fc_match_use_fini(&use);
    return st;
}

static void hash(fc_tok *t, uint64_t x) {
    t->digest[0] = fc_vocab_mix(t->digest[0] ^ x);
    t->digest[1] =
        fc_vocab_mix(t->digest[1] + 0x9E3779B97F4A7C15u) ^ fc_vocab_mix(x * 0xD6E8FEB86659FD93u + t->digest[1]);
}

static void hash_text(fc_tok *t, const char *text, size_t size) {
    hash(t, size);
    hash(t, fc_vocab_hash(text, size));
    if (size >= 8) hash(t, fc_vocab_hash(text + 1, size - 1)); /* a second view: 64 bits alone could collide */
}

static uint64_t bits(double v) {
    uint64_t u;
    memcpy(&u, &v, sizeof u);
    return u;
}

static void hash_rules(fc_tok *t) {
    uint64_t sum[2] = {0, 0};
    for (int i = 0; i < t->n_norm; i++) {
        const fc_norm_step *s = &t->norm[i];
        hash(t, (uint64_t)s->kind << 8 | (uint64_t)s->longest << 4 | (uint64_t)s->match.kind << 2 |
                    (uint64_t)s->left << 1 | (uint64_t)s->right);
        hash_text(t, fc_str_text(&s->match.text), s->match.text.size);
        hash_text(t, fc_str_text(&s->with), s->with.size);
    }
    for (int i = 0; i < t->n_pre; i++) {
        const fc_pre_step *s = &t->pre[i];
        hash(t, (uint64_t)s->kind << 16 | (uint64_t)s->match.kind << 12 | (uint64_t)s->behaviour << 8 |
                    (uint64_t)s->scheme << 1 | (uint64_t)s->invert);
        /* which class, by what it holds: an address would differ from run to run */
        if (s->match.in_class)
            hash(t, (uint64_t)s->match.in_class('1') << 2 | (uint64_t)s->match.in_class(' ') << 1 |
                        (uint64_t)s->match.in_class('.'));
        hash_text(t, fc_str_text(&s->match.text), s->match.text.size);
        hash_text(t, fc_str_text(&s->meta), s->meta.size);
    }
    for (size_t i = 0; i < t->n_merge_slots; i++) { /* in any order: a sum */
        const fc_merge *m = &t->merges[i];
        if (!m->used) continue;
        uint64_t x =
            fc_vocab_mix(fc_vocab_mix((uint64_t)m->left << 32 | m->right) ^ ((uint64_t)m->rank << 32 | m->merged));
        sum[0] += x;
        sum[1] += fc_vocab_mix(x + 1);
    }
    hash(t, sum[0]);
    hash(t, sum[1]);
    for (size_t i = 0; i < t->n_added; i++) {
        const fc_added *a = &t->added[i];
        hash(t, (uint64_t)a->id << 8 | (uint64_t)a->special << 4 | (uint64_t)a->normalized << 3 |
                    (uint64_t)a->single_word << 2 | (uint64_t)a->lstrip << 1 | (uint64_t)a->rstrip);
    }
}

static void make_digest(fc_tok *t) {
    bool scored = t->model != FC_MODEL_BPE;
    hash(t, (uint64_t)t->model << 8 | (uint64_t)t->float_sums << 3 | (uint64_t)t->byte_fallback << 2 |
                (uint64_t)t->ignore_merges << 1 | (uint64_t)t->fuse_unk);
    hash(t, (uint64_t)(int64_t)t->unk_model);
    hash(t, t->vocab.size);
    for (size_t i = 0; i < t->vocab.size; i++) {
        const fc_vocab_entry *e = &t->vocab.entries[i];
        if (!e->text) continue;
        /* not e->model: an added token is cut out of the text before the model sees it, so whether it could yield
         * it makes no difference */
        hash(t, (uint64_t)i << 4 | (uint64_t)(e->type == FC_TOK_BYTE) << 2 | (uint64_t)(e->type == FC_TOK_UNUSED) << 1 |
                    (uint64_t)e->special);
        hash_text(t, e->text, e->size);
        if (scored) hash(t, bits(e->score));
    }
    hash_rules(t);
    for (int i = 0; i < t->n_prefix; i++) hash(t, (uint64_t)t->prefix[i]);
    hash(t, (uint64_t)t->n_prefix);
    for (int i = 0; i < t->n_suffix; i++) hash(t, (uint64_t)t->suffix[i]);
}

fc_status fc_tok_finish(fc_tok *t) {
    if (t->vocab.count == 0) return FC_FAIL(FC_ERR_FORMAT, "%s: the vocabulary is empty", t->name);
    for (size_t i = 0; i < t->n_added; i++) {
        const fc_vocab_entry *e = &t->vocab.entries[t->added[i].id];
        if (t->added[i].normalized) FC_TRY(index_normalized(t, i));
        else FC_TRY(fc_prefixes_add(&t->added_raw, e->text, e->size, (int32_t)i));
    }
    for (size_t i = 0; i < t->n_merge_slots; i++) /* a merge that would make a control token never fires */
        if (t->merges[i].used && t->vocab.entries[t->merges[i].merged].special) t->merges[i].merged = UINT32_MAX;
    for (uint32_t cp = 0; cp < FC_TOK_LOW_RUNES; cp++) {
        char text[4];
        t->low[cp] = fc_vocab_find_model(&t->vocab, text, fc_text_write(cp, text));
    }
    for (size_t i = 0; i < t->vocab.size; i++)
        if (t->vocab.entries[i].model && t->vocab.entries[i].size > t->longest) t->longest = t->vocab.entries[i].size;
    if (t->model == FC_MODEL_SPM) FC_TRY(fc_spm_prepare(t));
    if (t->model == FC_MODEL_UNIGRAM) {
        if (t->unk_model < 0)
            return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: a unigram model without an unknown piece", t->name);
        FC_TRY(fc_unigram_prepare(t));
    }
    make_digest(t);
    return FC_OK;
}
