/* A tokenizer from GGUF metadata: which rules stand behind each of its names. */
#include "tokenizer/parts.h"
#include "tokenizer/text.h"

#include <limits.h>
#include <math.h>
#include <string.h>

#define LLAMA3_WORDS                                                                                                   \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "                                         \
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+"                                                                      \
    "|\\s+(?!\\S)|\\s+"
#define QWEN2_WORDS                                                                                                    \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+"   \
    "|\\s+(?!\\S)|\\s+"

typedef enum { RULE_GPT2, RULE_SMOLLM, RULE_LLAMA3, RULE_QWEN2 } rule;

static const struct {
    const char *name;
    rule rule;
} rules[] = {
    {"gpt-2", RULE_GPT2},       {"gpt2", RULE_GPT2},
    {"default", RULE_GPT2},     {"smollm", RULE_SMOLLM},
    {"llama-bpe", RULE_LLAMA3}, {"llama3", RULE_LLAMA3},
    {"llama-v3", RULE_LLAMA3},  {"qwen2", RULE_QWEN2},
    {"qwen3", RULE_QWEN2},      {"deepseek-r1-qwen", RULE_QWEN2},
};

static fc_status set_bpe_rule(fc_tok *t, const char *pre) {
    size_t i = 0, n = sizeof rules / sizeof *rules;
    fc_norm_step *norm = NULL;
    if (!pre) pre = "gpt-2";
    while (i < n && strcmp(rules[i].name, pre) != 0) i++;
    if (i == n) return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: tokenizer.ggml.pre \"%.64s\" is not known", t->name, pre);
    switch (rules[i].rule) {
    case RULE_GPT2: return fc_tok_add_byte_level(t, false, true);
    case RULE_SMOLLM:
        FC_TRY(fc_tok_add_class(t, fc_text_is_numeric, FC_SPLIT_ISOLATED));
        return fc_tok_add_byte_level(t, false, true);
    case RULE_LLAMA3:
        t->ignore_merges = true;
        FC_TRY(fc_tok_add_split(t, LLAMA3_WORDS, FC_SPLIT_ISOLATED));
        return fc_tok_add_byte_level(t, false, false);
    case RULE_QWEN2:
        FC_TRY(fc_tok_add_norm(t, FC_NORM_NFC, &norm));
        FC_TRY(fc_tok_add_split(t, QWEN2_WORDS, FC_SPLIT_ISOLATED));
        return fc_tok_add_byte_level(t, false, false);
    }
    return FC_FAIL(FC_ERR_INTERNAL, "%s: rule %d", t->name, (int)rules[i].rule);
}

static fc_status add_replace(fc_tok *t, bool regex, const char *from, const char *to) {
    fc_norm_step *s = NULL;
    FC_TRY(fc_tok_add_norm(t, FC_NORM_REPLACE, &s));
    FC_TRY(regex ? fc_matcher_regex(&s->match, t->name, from, strlen(from))
                 : fc_matcher_literal(&s->match, t->name, from, strlen(from)));
    return fc_str_puts(&s->with, to);
}

/* SentencePiece's normaliser, and its way back. */
static fc_status set_sentencepiece_rule(fc_tok *t, const fc_tok_spec *spec) {
    fc_norm_step *s = NULL;
    if (spec->charsmap_size > 0) {
        FC_TRY(fc_charsmap_check(t->name, spec->charsmap, spec->charsmap_size));
        FC_TRY(fc_tok_add_norm(t, FC_NORM_CHARSMAP, &s));
        FC_TRY(fc_str_put(&s->with, spec->charsmap, spec->charsmap_size));
        s->longest = true;
    }
    if (spec->remove_extra_spaces) {
        FC_TRY(add_replace(t, true, "\\A +", ""));
        FC_TRY(add_replace(t, true, " {2,}", " "));
    }
    if (spec->add_space_prefix) {
        FC_TRY(fc_tok_add_norm(t, FC_NORM_PREPEND, &s));
        FC_TRY(fc_str_puts(&s->with, FC_TEXT_META));
    }
    FC_TRY(add_replace(t, false, " ", FC_TEXT_META));
    if (spec->remove_extra_spaces) FC_TRY(add_replace(t, true, FC_TEXT_META "+\\z", ""));
    t->decoder.kind = FC_DECODE_PIECES;
    t->decoder.n_replace = 1;
    FC_TRY(fc_str_puts(&t->decoder.from[0], FC_TEXT_META));
    FC_TRY(fc_str_puts(&t->decoder.to[0], " "));
    t->decoder.byte_fallback = t->byte_fallback;
    t->decoder.strip = ' ';
    if (spec->add_space_prefix) t->decoder.strip_left = spec->remove_extra_spaces ? INT_MAX : 1;
    return FC_OK;
}

static fc_status add_pieces(fc_tok *t, const fc_tok_spec *spec) {
    double least = 0.0;
    for (int b = 0; b < 256; b++) t->byte_ids[b] = -1;
    for (size_t i = 0; i < spec->V; i++) {
        const fc_tok_str *p = &spec->pieces[i];
        int32_t type = spec->types ? spec->types[i] : FC_TOK_NORMAL;
        double score = spec->scores ? (double)spec->scores[i] : 0.0;
        size_t bad;
        fc_vocab_entry *e;
        int byte;
        if (type < FC_TOK_NORMAL || type > FC_TOK_BYTE)
            return FC_FAIL(FC_ERR_FORMAT, "%s: token type %d of id %zu; it is 1 to 6", t->name, type, i);
        if (!isfinite(score)) return FC_FAIL(FC_ERR_FORMAT, "%s: the score of id %zu is not a number", t->name, i);
        if (!fc_utf8_valid(p->text, p->size, &bad))
            return FC_FAIL(FC_ERR_FORMAT, "%s: piece %zu is not UTF-8 at its byte %zu", t->name, i, bad);
        FC_TRY(fc_vocab_add(&t->vocab, (int64_t)i, p->text, p->size, type, score));
        e = &t->vocab.entries[i];
        e->model = type == FC_TOK_NORMAL || type == FC_TOK_USER;
        byte = type == FC_TOK_BYTE ? fc_text_byte_piece(p->text, p->size, false) : -1;
        if (byte >= 0) {
            t->byte_ids[byte] = (int32_t)i;
            t->byte_fallback = spec->model != FC_TOK_BPE;
        }
        if (type == FC_TOK_NORMAL && score < least) least = score;
    }
    t->unk_score = (double)(float)(least - 10.0); /* SentencePiece's penalty of an unknown character */
    t->float_sums = spec->model == FC_TOK_UNIGRAM;
    return FC_OK;
}

static fc_status add_merges(fc_tok *t, const fc_tok_spec *spec) {
    FC_TRY(fc_bpe_reserve(t, spec->n_merges));
    for (size_t i = 0; i < spec->n_merges; i++) {
        const fc_tok_str *m = &spec->merges[i];
        const char *blank = m->size > 0 ? memchr(m->text, ' ', m->size) : NULL;
        size_t left = blank ? (size_t)(blank - m->text) : 0;
        if (!blank || left == 0 || left + 1 == m->size || memchr(blank + 1, ' ', m->size - left - 1))
            return FC_FAIL(FC_ERR_FORMAT, "%s: merge %zu, \"%.*s\", is not two pieces with a blank between", t->name, i,
                           m->size > 64 ? 64 : (int)m->size, m->size ? m->text : "");
        FC_TRY(fc_bpe_add_merge(t, i, m->text, left, blank + 1, m->size - left - 1));
    }
    return FC_OK;
}

static fc_status check_id(const fc_tok *t, const char *what, int32_t id) {
    if (id < -1 || id >= (int64_t)t->vocab.size)
        return FC_FAIL(FC_ERR_FORMAT, "%s: the %s token is %d; the vocabulary has 0 to %zu", t->name, what, id,
                       t->vocab.size - 1);
    return FC_OK;
}

static fc_status set_ends(fc_tok *t, const fc_tok_spec *spec) {
    FC_TRY(check_id(t, "BOS", t->bos = spec->bos));
    FC_TRY(check_id(t, "EOS", t->eos = spec->eos));
    FC_TRY(check_id(t, "unknown", t->unk = spec->unk));
    FC_TRY(check_id(t, "padding", t->pad = spec->pad));
    if ((spec->add_bos && t->bos < 0) || (spec->add_eos && t->eos < 0))
        return FC_FAIL(FC_ERR_FORMAT, "%s: a %s is to be added, but none is named", t->name,
                       t->bos < 0 && spec->add_bos ? "BOS" : "EOS");
    if (spec->add_bos) t->prefix[t->n_prefix++] = t->bos;
    if (spec->add_eos) t->suffix[t->n_suffix++] = t->eos;
    return FC_OK;
}

static fc_status build(fc_tok *t, const fc_tok_spec *spec) {
    FC_TRY(add_pieces(t, spec));
    FC_TRY(set_ends(t, spec));
    switch (spec->model) {
    case FC_TOK_BPE:
        t->model = FC_MODEL_BPE;
        FC_TRY(set_bpe_rule(t, spec->pre));
        FC_TRY(add_merges(t, spec));
        break;
    case FC_TOK_SPM_BPE:
    case FC_TOK_UNIGRAM:
        t->model = spec->model == FC_TOK_UNIGRAM ? FC_MODEL_UNIGRAM : FC_MODEL_SPM;
        if (!spec->scores) return FC_FAIL(FC_ERR_FORMAT, "%s: a SentencePiece vocabulary without scores", t->name);
        t->unk_model = t->unk;
        FC_TRY(set_sentencepiece_rule(t, spec));
        break;
    default: return FC_FAIL(FC_ERR_ARG, "%s: tokenizer model %d", t->name, (int)spec->model);
    }
    for (size_t i = 0; i < spec->V; i++) {
        int type = t->vocab.entries[i].type;
        fc_added a = {.id = (int32_t)i, .special = type != FC_TOK_USER};
        if (type != FC_TOK_CONTROL && type != FC_TOK_UNKNOWN && type != FC_TOK_USER) continue;
        if (t->vocab.entries[i].size > 0) FC_TRY(fc_tok_add_added(t, &a));
    }
    return fc_tok_finish(t);
}

fc_status fc_tok_open(const fc_tok_spec *spec, fc_tok **out) {
    const char *name = spec->name ? spec->name : "tokenizer";
    fc_tok *t;
    fc_status st;
    if (spec->V == 0) return FC_FAIL(FC_ERR_FORMAT, "%s: the vocabulary is empty", name);
    FC_TRY(fc_tok_new(name, spec->V, &t));
    st = build(t, spec);
    if (st) {
        fc_tok_close(t);
        return st;
    }
    *out = t;
    return FC_OK;
}
