/* tokenizer.json: the model, the added tokens, and what holds the sections together. */
#include "tokenizer/hf_read.h"
#include "tokenizer/text.h"

#include "engine/base/os.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_BYTES = 256 << 20, CONFIG_BYTES = 16 << 20, SPARE_IDS = 65536 };

/* ---- reading objects strictly ---------------------------------------------------------------------------- */

bool fc_hf_absent(const fc_json *n) { return !n || fc_json_kind(n) == FC_JSON_NULL; }

static bool listed(const char *keys, const char *key) {
    size_t n = strlen(key);
    for (const char *p = keys; *p; p += strspn(p, " ")) {
        size_t k = strcspn(p, " ");
        if (k == n && memcmp(p, key, n) == 0) return true;
        p += k;
    }
    return false;
}

fc_status fc_hf_keys(const fc_tok *t, const fc_json *n, const char *what, const char *keys) {
    if (fc_json_kind(n) != FC_JSON_OBJECT)
        return FC_FAIL(FC_ERR_FORMAT, "%s: %s is not an object but %s", t->name, what,
                       fc_json_kind_name(fc_json_kind(n)));
    for (const fc_json *c = fc_json_first(n); c; c = fc_json_next(c))
        if (!listed(keys, fc_json_key(c)))
            return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: %s: \"%.64s\" is not known", t->name, what, fc_json_key(c));
    return FC_OK;
}

fc_status fc_hf_bool(const fc_json *object, const char *key, bool otherwise, bool *out) {
    const fc_json *n = fc_json_get(object, key);
    *out = otherwise;
    return fc_hf_absent(n) ? FC_OK : fc_json_bool(n, out);
}

fc_status fc_hf_text(const fc_tok *t, const fc_json *object, const char *what, const char *key, const char **out) {
    const fc_json *n = fc_json_get(object, key);
    if (fc_hf_absent(n)) return FC_FAIL(FC_ERR_FORMAT, "%s: %s has no \"%s\"", t->name, what, key);
    return fc_json_string(n, out);
}

fc_status fc_hf_type(const fc_tok *t, const fc_json *object, const char *what, const char **out) {
    if (fc_json_kind(object) != FC_JSON_OBJECT)
        return FC_FAIL(FC_ERR_FORMAT, "%s: %s is not an object but %s", t->name, what,
                       fc_json_kind_name(fc_json_kind(object)));
    return fc_hf_text(t, object, what, "type", out);
}

/* ---- model ----------------------------------------------------------------------------------------------- */

static fc_status need(const char *name, const fc_json *n, const char *what, fc_json_type kind) {
    if (n && fc_json_kind(n) == kind) return FC_OK;
    return FC_FAIL(FC_ERR_FORMAT, "%s: %s is not %s but %s", name, what, fc_json_kind_name(kind),
                   n ? fc_json_kind_name(fc_json_kind(n)) : "absent");
}

/* Ids run from 0 to the limit: twice what is listed and some more, so that holes are possible and memory is bounded by
 * the file. */
static fc_status id_limit(const char *name, const fc_json *root, size_t *limit) {
    const fc_json *model = fc_json_get(root, "model"), *vocab = fc_json_get(model, "vocab"),
                  *added = fc_json_get(root, "added_tokens");
    bool array = vocab && fc_json_kind(vocab) == FC_JSON_ARRAY;
    size_t count, bound;
    int64_t id, largest = 0;
    FC_TRY(need(name, model, "model", FC_JSON_OBJECT));
    if (!array) FC_TRY(need(name, vocab, "model.vocab", FC_JSON_OBJECT));
    if (!fc_hf_absent(added)) FC_TRY(need(name, added, "added_tokens", FC_JSON_ARRAY));
    count = fc_json_count(vocab) + (fc_hf_absent(added) ? 0 : fc_json_count(added));
    bound = 2 * count + SPARE_IDS;
    for (const fc_json *c = array ? NULL : fc_json_first(vocab); c; c = fc_json_next(c)) {
        FC_TRY(fc_json_int(c, 0, (int64_t)bound, &id));
        if (id > largest) largest = id;
    }
    for (const fc_json *c = fc_hf_absent(added) ? NULL : fc_json_first(added); c; c = fc_json_next(c)) {
        const fc_json *n = fc_json_get(c, "id");
        if (!n) return FC_FAIL(FC_ERR_FORMAT, "%s: added_tokens: an entry has no \"id\"", name);
        FC_TRY(fc_json_int(n, 0, (int64_t)bound, &id));
        if (id > largest) largest = id;
    }
    if (array && fc_json_count(vocab) > 0 && largest < (int64_t)fc_json_count(vocab) - 1)
        largest = (int64_t)fc_json_count(vocab) - 1;
    *limit = (size_t)largest + 1;
    return FC_OK;
}

static void find_byte_pieces(fc_tok *t) {
    char text[8] = "<0x00>";
    for (int b = 0; b < 256; b++) {
        text[3] = "0123456789ABCDEF"[b >> 4];
        text[4] = "0123456789ABCDEF"[b & 15];
        t->byte_ids[b] = fc_vocab_find(&t->vocab, text, 6);
    }
}

static fc_status add_merge(fc_tok *t, const fc_json *m, size_t rank) {
    const char *left, *right;
    if (fc_json_kind(m) == FC_JSON_ARRAY) {
        if (fc_json_count(m) != 2)
            return FC_FAIL(FC_ERR_FORMAT, "%s: merge %zu has %zu parts, not 2", t->name, rank, fc_json_count(m));
        FC_TRY(fc_json_string(fc_json_first(m), &left));
        FC_TRY(fc_json_string(fc_json_next(fc_json_first(m)), &right));
        return fc_bpe_add_merge(t, rank, left, strlen(left), right, strlen(right));
    }
    FC_TRY(fc_json_string(m, &left));
    right = strchr(left, ' ');
    if (!right || strchr(right + 1, ' '))
        return FC_FAIL(FC_ERR_FORMAT, "%s: merge %zu, \"%.64s\", is not two pieces with a blank between", t->name, rank,
                       left);
    return fc_bpe_add_merge(t, rank, left, (size_t)(right - left), right + 1, strlen(right + 1));
}

static fc_status only_empty(const fc_tok *t, const fc_json *model, const char *key) {
    const fc_json *n = fc_json_get(model, key);
    const char *text;
    if (fc_hf_absent(n)) return FC_OK;
    FC_TRY(fc_json_string(n, &text));
    return *text ? FC_FAIL(FC_ERR_UNSUPPORTED, "%s: model.%s \"%.64s\"", t->name, key, text) : FC_OK;
}

static fc_status read_bpe(fc_tok *t, const fc_json *model) {
    const fc_json *vocab = fc_json_get(model, "vocab"), *merges = fc_json_get(model, "merges"), *n;
    const char *unk;
    double dropout = 0.0;
    size_t rank = 0;
    t->model = FC_MODEL_BPE;
    FC_TRY(fc_hf_keys(
        t, model, "model",
        "type dropout unk_token continuing_subword_prefix end_of_word_suffix fuse_unk byte_fallback ignore_merges "
        "vocab merges"));
    FC_TRY(need(t->name, vocab, "model.vocab", FC_JSON_OBJECT));
    FC_TRY(need(t->name, merges, "model.merges", FC_JSON_ARRAY));
    if (!fc_hf_absent(n = fc_json_get(model, "dropout"))) FC_TRY(fc_json_double(n, &dropout));
    if (dropout != 0.0) return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: model.dropout %g", t->name, dropout);
    FC_TRY(only_empty(t, model, "continuing_subword_prefix"));
    FC_TRY(only_empty(t, model, "end_of_word_suffix"));
    FC_TRY(fc_hf_bool(model, "fuse_unk", false, &t->fuse_unk));
    FC_TRY(fc_hf_bool(model, "byte_fallback", false, &t->byte_fallback));
    FC_TRY(fc_hf_bool(model, "ignore_merges", false, &t->ignore_merges));
    for (const fc_json *c = fc_json_first(vocab); c; c = fc_json_next(c)) {
        int64_t id;
        FC_TRY(fc_json_int(c, 0, INT32_MAX, &id));
        FC_TRY(fc_vocab_add(&t->vocab, id, fc_json_key(c), strlen(fc_json_key(c)), FC_TOK_NORMAL, 0.0));
        t->vocab.entries[id].model = true;
    }
    FC_TRY(fc_bpe_reserve(t, fc_json_count(merges)));
    for (const fc_json *c = fc_json_first(merges); c; c = fc_json_next(c)) {
        const char *comment;
        if (rank == 0 && fc_json_kind(c) == FC_JSON_STRING && !fc_json_string(c, &comment) &&
            strncmp(comment, "#version", 8) == 0)
            continue; /* first line of a merges.txt */
        FC_TRY(add_merge(t, c, rank++));
    }
    if (!fc_hf_absent(n = fc_json_get(model, "unk_token"))) {
        FC_TRY(fc_json_string(n, &unk));
        t->unk = t->unk_model = fc_vocab_find(&t->vocab, unk, strlen(unk));
        if (t->unk < 0)
            return FC_FAIL(FC_ERR_FORMAT, "%s: model.unk_token \"%.64s\" is not in the vocabulary", t->name, unk);
    }
    return FC_OK;
}

/* A score as `tokenizers` reads it: all digits as one integer, times or over a power of ten, which may be one unit off
 * the nearest double; ties between paths of equal pieces hang on it. The digits are the shortest that name v, as files
 * have them. */
static double read_as_serde(double v) {
    char text[48], power[16];
    int precision = 0, exponent;
    uint64_t digits = 0;
    double f;
    do snprintf(text, sizeof text, "%.*e", precision, fabs(v));
    while (strtod(text, NULL) != fabs(v) && ++precision < 17);
    for (const char *c = text; *c && *c != 'e'; c++)
        if (*c >= '0' && *c <= '9') digits = digits * 10 + (uint64_t)(*c - '0');
    exponent = (int)strtol(strchr(text, 'e') + 1, NULL, 10) - precision;
    f = (double)digits;
    snprintf(power, sizeof power, "1e%d", abs(exponent) > 308 ? 308 : abs(exponent));
    f = exponent >= 0 ? f * strtod(power, NULL) : f / strtod(power, NULL);
    if (exponent < -308) f /= pow(10.0, -308 - exponent);
    return v < 0 ? -f : f;
}

static fc_status read_unigram(fc_tok *t, const fc_json *model) {
    const fc_json *vocab = fc_json_get(model, "vocab"), *n;
    int64_t id = 0;
    double least = INFINITY;
    t->model = FC_MODEL_UNIGRAM;
    t->fuse_unk = true;
    FC_TRY(fc_hf_keys(t, model, "model", "type unk_id vocab byte_fallback"));
    FC_TRY(need(t->name, vocab, "model.vocab", FC_JSON_ARRAY));
    FC_TRY(fc_hf_bool(model, "byte_fallback", false, &t->byte_fallback));
    for (const fc_json *c = fc_json_first(vocab); c; c = fc_json_next(c), id++) {
        const char *text;
        double score;
        if (fc_json_kind(c) != FC_JSON_ARRAY || fc_json_count(c) != 2)
            return FC_FAIL(FC_ERR_FORMAT, "%s: model.vocab: entry %lld is not [piece, score]", t->name, (long long)id);
        FC_TRY(fc_json_string(fc_json_first(c), &text));
        FC_TRY(fc_json_double(fc_json_next(fc_json_first(c)), &score));
        score = read_as_serde(score);
        FC_TRY(fc_vocab_add(&t->vocab, id, text, strlen(text), FC_TOK_NORMAL, score));
        t->vocab.entries[id].model = true;
        if (score < least) least = score;
    }
    t->unk_score = least - 10.0; /* `tokenizers`' penalty of an unknown character */
    n = fc_json_get(model, "unk_id");
    if (fc_hf_absent(n)) return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: model.unk_id is null", t->name);
    if (fc_json_int(n, 0, (int64_t)t->vocab.size - 1, &id))
        return FC_FAIL(FC_ERR_FORMAT, "%s: model.unk_id is not an id of the %zu", t->name, t->vocab.size);
    t->unk = t->unk_model = (int32_t)id;
    return FC_OK;
}

static fc_status read_model(fc_tok *t, const fc_json *model) {
    const fc_json *type = fc_json_get(model, "type");
    const char *name = "BPE"; /* early files say no type: only BPE has merges */
    if (!type && !fc_json_get(model, "merges")) return FC_FAIL(FC_ERR_FORMAT, "%s: model has no \"type\"", t->name);
    if (type) FC_TRY(fc_json_string(type, &name));
    if (strcmp(name, "BPE") == 0) FC_TRY(read_bpe(t, model));
    else if (strcmp(name, "Unigram") == 0) FC_TRY(read_unigram(t, model));
    else return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: model type \"%.64s\"; BPE and Unigram are known", t->name, name);
    find_byte_pieces(t);
    return FC_OK;
}

/* ---- added tokens ---------------------------------------------------------------------------------------- */

/* The id that `tokenizers` gives to a text: the model's, or the next one behind the model's and all added so far. The
 * file's own number has to agree, else two readers of one file would disagree. */
static fc_status read_added(fc_tok *t, const fc_json *list, size_t model_size) {
    int64_t largest = -1;
    if (fc_hf_absent(list)) return FC_OK;
    for (const fc_json *c = fc_json_first(list); c; c = fc_json_next(c)) {
        fc_added a = {0};
        const char *text;
        int64_t id, expected;
        FC_TRY(fc_hf_keys(t, c, "added_tokens", "id content single_word lstrip rstrip normalized special"));
        FC_TRY(fc_hf_text(t, c, "added_tokens", "content", &text));
        FC_TRY(fc_json_int(fc_json_get(c, "id"), 0, INT32_MAX, &id));
        FC_TRY(fc_hf_bool(c, "single_word", false, &a.single_word));
        FC_TRY(fc_hf_bool(c, "lstrip", false, &a.lstrip));
        FC_TRY(fc_hf_bool(c, "rstrip", false, &a.rstrip));
        FC_TRY(fc_hf_bool(c, "special", false, &a.special));
        FC_TRY(fc_hf_bool(c, "normalized", !a.special, &a.normalized));
        if (!*text) return FC_FAIL(FC_ERR_FORMAT, "%s: added_tokens: id %lld has no text", t->name, (long long)id);
        expected = fc_vocab_find(&t->vocab, text, strlen(text));
        if (expected >= 0 && t->vocab.entries[expected].added)
            return FC_FAIL(FC_ERR_FORMAT, "%s: added_tokens: \"%.64s\" comes twice", t->name, text);
        if (expected < 0) expected = largest >= (int64_t)model_size ? largest + 1 : (int64_t)model_size;
        if (id != expected)
            return FC_FAIL(FC_ERR_FORMAT, "%s: added_tokens: \"%.64s\" has id %lld, where its place gives %lld",
                           t->name, text, (long long)id, (long long)expected);
        if (fc_vocab_find(&t->vocab, text, strlen(text)) < 0)
            FC_TRY(fc_vocab_add(&t->vocab, id, text, strlen(text), a.special ? FC_TOK_CONTROL : FC_TOK_USER, 0.0));
        if (id > largest) largest = id;
        a.id = (int32_t)id;
        FC_TRY(fc_tok_add_added(t, &a));
    }
    return FC_OK;
}

/* ---- the whole ------------------------------------------------------------------------------------------- */

static fc_status build(fc_tok *t, const fc_json *root) {
    const char *version;
    FC_TRY(fc_hf_keys(t, root, "tokenizer.json",
                      "version truncation padding added_tokens normalizer pre_tokenizer post_processor decoder model"));
    FC_TRY(fc_hf_text(t, root, "tokenizer.json", "version", &version));
    if (strcmp(version, "1.0") != 0)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: version \"%.64s\"; 1.0 is known", t->name, version);
    if (!fc_hf_absent(fc_json_get(root, "truncation")))
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: truncation is not null", t->name);
    if (!fc_hf_absent(fc_json_get(root, "padding")))
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: padding is not null", t->name);
    FC_TRY(read_model(t, fc_json_get(root, "model")));
    FC_TRY(fc_hf_normalizer(t, fc_json_get(root, "normalizer")));
    FC_TRY(fc_hf_pre_tokenizer(t, fc_json_get(root, "pre_tokenizer")));
    FC_TRY(read_added(t, fc_json_get(root, "added_tokens"), t->vocab.count));
    FC_TRY(fc_hf_decoder(t, fc_json_get(root, "decoder")));
    FC_TRY(fc_hf_post_processor(t, fc_json_get(root, "post_processor")));
    if (t->n_prefix > 0) t->bos = t->prefix[0];
    if (t->n_suffix > 0) t->eos = t->suffix[t->n_suffix - 1];
    return fc_tok_finish(t);
}

static fc_status open_doc(const char *name, const fc_json_doc *doc, fc_tok **out) {
    const fc_json *root = fc_json_root(doc);
    size_t limit;
    fc_tok *t;
    fc_status st;
    FC_TRY(need(name, root, "the document", FC_JSON_OBJECT));
    FC_TRY(id_limit(name, root, &limit));
    FC_TRY(fc_tok_new(name, limit, &t));
    st = build(t, root);
    if (st) {
        fc_tok_close(t);
        return st;
    }
    *out = t;
    return FC_OK;
}

fc_status fc_tok_open_json_text(const char *name, const char *text, size_t size, fc_tok **out) {
    fc_json_doc *doc;
    fc_status st;
    FC_TRY(fc_json_parse(name, text, size, &doc));
    st = open_doc(name, doc, out);
    fc_json_close(doc);
    return st;
}

/* "bos_token": a text, {"content": text}, or null. */
static fc_status config_token(const fc_tok *t, const fc_json *config, const char *key, int32_t *id) {
    const fc_json *n = fc_json_get(config, key);
    const char *text;
    if (!fc_hf_absent(n) && fc_json_kind(n) == FC_JSON_OBJECT) n = fc_json_get(n, "content");
    if (fc_hf_absent(n)) return FC_OK;
    FC_TRY(fc_json_string(n, &text));
    if (fc_tok_find(t, text) >= 0) *id = fc_tok_find(t, text);
    return FC_OK;
}

/* tokenizer.json does not say which tokens begin and end a text when it adds none; tokenizer_config.json beside it
 * does. */
static fc_status read_config(fc_tok *t, const char *path) {
    fc_str beside = {0};
    fc_json_doc *doc = NULL;
    fc_status st = fc_path_beside(path, "tokenizer_config.json", &beside);
    if (!st && fc_path_exists(beside.data)) st = fc_json_open(beside.data, CONFIG_BYTES, &doc);
    if (!st && doc) st = config_token(t, fc_json_root(doc), "bos_token", &t->bos);
    if (!st && doc) st = config_token(t, fc_json_root(doc), "eos_token", &t->eos);
    fc_json_close(doc);
    fc_str_fini(&beside);
    return st;
}

fc_status fc_tok_open_json(const char *path, fc_tok **out) {
    fc_json_doc *doc;
    fc_tok *t = NULL;
    fc_status st;
    FC_TRY(fc_json_open(path, FILE_BYTES, &doc));
    st = open_doc(path, doc, &t);
    fc_json_close(doc);
    if (!st) st = read_config(t, path);
    if (st) {
        fc_tok_close(t);
        return st;
    }
    *out = t;
    return FC_OK;
}
