#include "engine/model_tok.h"

#include "engine/base/mem.h"

#include <string.h>

#define KEY "tokenizer.ggml."

static bool is(const fc_meta *m, const char *text) {
    return m->kind == FC_META_STRING && m->s.size == strlen(text) && memcmp(m->s.text, text, m->s.size) == 0;
}

/* An id, or -1 where the key is absent. GGUF writers store "none" as the largest unsigned number. */
static fc_status read_id(const fc_weights *w, const char *key, int32_t *out) {
    fc_meta m;
    *out = -1;
    if (!fc_weights_meta(w, key, &m)) return FC_OK;
    if (m.kind != FC_META_INT) return FC_FAIL(FC_ERR_FORMAT, "%s: %s is not a number", fc_weights_path(w), key);
    if (m.i == UINT32_MAX || m.i == -1) return FC_OK;
    if (m.i < 0 || m.i > INT32_MAX)
        return FC_FAIL(FC_ERR_FORMAT, "%s: %s is %lld", fc_weights_path(w), key, (long long)m.i);
    *out = (int32_t)m.i;
    return FC_OK;
}

static fc_status read_bool(const fc_weights *w, const char *key, bool otherwise, bool *out) {
    fc_meta m;
    *out = otherwise;
    if (!fc_weights_meta(w, key, &m)) return FC_OK;
    if (m.kind != FC_META_BOOL) return FC_FAIL(FC_ERR_FORMAT, "%s: %s is not a boolean", fc_weights_path(w), key);
    *out = m.i != 0;
    return FC_OK;
}

/* What a spec points to while a tokenizer is made of it. */
typedef struct {
    fc_tok_spec spec;
    fc_tok_str *pieces, *merges;
    int32_t *types;
    float *scores;
    char *pre;
    fc_str charsmap;
} parts;

static void parts_fini(parts *p) {
    fc_free(p->pieces);
    fc_free(p->merges);
    fc_free(p->types);
    fc_free(p->scores);
    fc_free(p->pre);
    fc_str_fini(&p->charsmap);
}

static fc_status count_of(const fc_weights *w, const char *key, size_t *n) {
    fc_meta m;
    *n = 0;
    if (!fc_weights_meta(w, key, &m)) return FC_OK;
    if (m.kind != FC_META_ARRAY) return FC_FAIL(FC_ERR_FORMAT, "%s: %s is not an array", fc_weights_path(w), key);
    *n = m.count;
    return FC_OK;
}

static fc_status read_strings(const fc_weights *w, const char *key, fc_tok_str **out, size_t *n) {
    void *p, *q;
    fc_view_str *views;
    fc_status st;
    FC_TRY(count_of(w, key, n));
    if (*n == 0) return FC_OK;
    FC_TRY(fc_alloc(*n, sizeof **out, key, &p));
    *out = p; /* the caller frees it, also on failure */
    FC_TRY(fc_alloc(*n, sizeof *views, key, &q));
    views = q;
    st = fc_weights_meta_strings(w, key, views, *n);
    for (size_t i = 0; i < *n && !st; i++) (*out)[i] = (fc_tok_str){.text = views[i].text, .size = views[i].size};
    fc_free(views);
    return st;
}

/* Arrays as long as the vocabulary, or absent. */
static fc_status read_per_piece(const fc_weights *w, parts *p) {
    void *q;
    size_t n;
    FC_TRY(count_of(w, KEY "token_type", &n));
    if (n != 0 && n != p->spec.V)
        return FC_FAIL(FC_ERR_FORMAT, "%s: %zu entries of " KEY "token_type for %zu tokens", fc_weights_path(w), n,
                       p->spec.V);
    if (n != 0) {
        FC_TRY(fc_alloc(n, sizeof *p->types, "token types", &q));
        p->types = q;
        FC_TRY(fc_weights_meta_ints(w, KEY "token_type", p->types, n));
    }
    FC_TRY(count_of(w, KEY "scores", &n));
    if (n != 0 && n != p->spec.V)
        return FC_FAIL(FC_ERR_FORMAT, "%s: %zu entries of " KEY "scores for %zu tokens", fc_weights_path(w), n,
                       p->spec.V);
    if (n != 0) {
        FC_TRY(fc_alloc(n, sizeof *p->scores, "token scores", &q));
        p->scores = q;
        FC_TRY(fc_weights_meta_floats(w, KEY "scores", p->scores, n));
    }
    return FC_OK;
}

static fc_status read_charsmap(const fc_weights *w, parts *p) {
    const char *key = KEY "precompiled_charsmap";
    void *q;
    int32_t *bytes;
    size_t n;
    fc_status st;
    FC_TRY(count_of(w, key, &n));
    if (n == 0) return FC_OK;
    FC_TRY(fc_alloc(n, sizeof *bytes, key, &q));
    bytes = q;
    st = fc_weights_meta_ints(w, key, bytes, n);
    for (size_t i = 0; i < n && !st; i++) {
        char c = (char)(bytes[i] & 0xFF); /* stored signed or unsigned */
        st = fc_str_put(&p->charsmap, &c, 1);
    }
    fc_free(bytes);
    p->spec.charsmap = p->charsmap.data;
    p->spec.charsmap_size = p->charsmap.size;
    return st;
}

/* The model and what it does where the file does not say: as llama.cpp, which writes these files. */
static fc_status read_rules(const fc_weights *w, parts *p) {
    fc_meta m;
    bool bos = false, eos = false, space = false;
    if (!fc_weights_meta(w, KEY "model", &m) || m.kind != FC_META_STRING)
        return FC_FAIL(FC_ERR_FORMAT, "%s: no " KEY "model, so no tokenizer", fc_weights_path(w));
    if (is(&m, "gpt2")) {
        p->spec.model = FC_TOK_BPE;
    } else if (is(&m, "llama")) {
        p->spec.model = FC_TOK_SPM_BPE;
        bos = space = true;
    } else if (is(&m, "t5")) {
        p->spec.model = FC_TOK_UNIGRAM;
        eos = space = true;
    } else {
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: " KEY "model \"%.*s\"; gpt2, llama and t5 are known",
                       fc_weights_path(w), m.s.size > 64 ? 64 : (int)m.s.size, m.s.text);
    }
    if (p->spec.model == FC_TOK_BPE && fc_weights_meta(w, KEY "pre", &m)) {
        if (m.kind != FC_META_STRING)
            return FC_FAIL(FC_ERR_FORMAT, "%s: " KEY "pre is not a string", fc_weights_path(w));
        FC_TRY(fc_copy_bytes(m.s.text, m.s.size, KEY "pre", &p->pre));
        p->spec.pre = p->pre;
        bos = is(&m, "llama-bpe") || is(&m, "llama3") || is(&m, "llama-v3");
    }
    FC_TRY(read_id(w, KEY "bos_token_id", &p->spec.bos));
    FC_TRY(read_id(w, KEY "eos_token_id", &p->spec.eos));
    FC_TRY(read_id(w, KEY "unknown_token_id", &p->spec.unk));
    FC_TRY(read_id(w, KEY "padding_token_id", &p->spec.pad));
    FC_TRY(read_bool(w, KEY "add_bos_token", bos && p->spec.bos >= 0, &p->spec.add_bos));
    FC_TRY(read_bool(w, KEY "add_eos_token", eos && p->spec.eos >= 0, &p->spec.add_eos));
    FC_TRY(read_bool(w, KEY "add_space_prefix", space, &p->spec.add_space_prefix));
    return read_bool(w, KEY "remove_extra_whitespaces", false, &p->spec.remove_extra_spaces);
}

static fc_status open_metadata(const fc_weights *w, parts *p, fc_tok **out) {
    p->spec.name = fc_weights_path(w);
    FC_TRY(read_rules(w, p));
    FC_TRY(read_strings(w, KEY "tokens", &p->pieces, &p->spec.V));
    FC_TRY(read_strings(w, KEY "merges", &p->merges, &p->spec.n_merges));
    p->spec.pieces = p->pieces;
    p->spec.merges = p->merges;
    FC_TRY(read_per_piece(w, p));
    p->spec.types = p->types;
    p->spec.scores = p->scores;
    FC_TRY(read_charsmap(w, p));
    return fc_tok_open(&p->spec, out);
}

static fc_status open_any(const fc_weights *w, fc_tok **out) {
    parts p = {0};
    fc_meta m;
    fc_status st;
    if (!fc_weights_is_gguf(w)) {
        const char *path = fc_weights_tokenizer_json_path(w);
        if (!path || !*path) return FC_FAIL(FC_ERR_FORMAT, "%s: no tokenizer.json beside it", fc_weights_path(w));
        return fc_tok_open_json(path, out);
    }
    if (fc_weights_meta(w, "tokenizer.huggingface.json", &m) && m.kind == FC_META_STRING && m.s.size > 0)
        return fc_tok_open_json_text(fc_weights_path(w), m.s.text, m.s.size, out);
    st = open_metadata(w, &p, out);
    parts_fini(&p);
    return st;
}

fc_status fc_model_tok_open(const fc_weights *w, fc_tok **out) {
    const fc_model_config *c = fc_weights_config(w);
    FC_TRY(open_any(w, out));
    fc_tok_default_ends(*out, c->bos, c->n_eos > 0 ? c->eos[0] : -1);
    return FC_OK;
}
