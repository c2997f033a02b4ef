/* tokenizer.json: normalizer, pre_tokenizer, decoder and post_processor. */
#include "tokenizer/hf_read.h"
#include "tokenizer/text.h"

#include <string.h>

enum { DEEPEST_SEQUENCE = 4, CHARSMAP_BYTES = 16 << 20 };

static bool is(const char *a, const char *b) { return strcmp(a, b) == 0; }

static fc_status unknown(const fc_tok *t, const char *what, const char *type) {
    return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: %s \"%.64s\" is not known", t->name, what, type);
}

/* Children of a Sequence, one after the other, by the function that reads one of them. */
static fc_status sequence(fc_tok *t, const fc_json *n, const char *what, const char *key, int depth,
                          fc_status (*one)(fc_tok *, const fc_json *, int)) {
    const fc_json *list = fc_json_get(n, key);
    char keys[64] = "type ";
    strncat(keys, key, sizeof keys - 6);
    FC_TRY(fc_hf_keys(t, n, what, keys));
    if (!list || fc_json_kind(list) != FC_JSON_ARRAY)
        return FC_FAIL(FC_ERR_FORMAT, "%s: %s: a Sequence without %s", t->name, what, key);
    if (depth == DEEPEST_SEQUENCE)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: %s: Sequences more than %d deep", t->name, what, DEEPEST_SEQUENCE);
    for (const fc_json *c = fc_json_first(list); c; c = fc_json_next(c)) FC_TRY(one(t, c, depth + 1));
    return FC_OK;
}

/* {"String": text} or {"Regex": expression}. */
static fc_status read_pattern(fc_tok *t, const fc_json *n, const char *what, fc_matcher *out) {
    const fc_json *p = fc_json_get(n, "pattern"), *s = fc_json_get(p, "String"), *r = fc_json_get(p, "Regex");
    const char *text;
    if (!p || fc_json_count(p) != 1 || (!s && !r))
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: %s: a pattern that is neither String nor Regex", t->name, what);
    FC_TRY(fc_json_string(s ? s : r, &text));
    return s ? fc_matcher_literal(out, t->name, text, strlen(text))
             : fc_matcher_regex(out, t->name, text, strlen(text));
}

/* ---- normalizer ------------------------------------------------------------------------------------------ */

static fc_status read_charsmap(const fc_tok *t, const char *base64, fc_str *out) {
    size_t size = strlen(base64);
    if (size > CHARSMAP_BYTES)
        return FC_FAIL(FC_ERR_FORMAT, "%s: precompiled_charsmap has %zu characters", t->name, size);
    if (fc_str_put_base64(out, base64))
        return FC_FAIL(FC_ERR_FORMAT, "%s: precompiled_charsmap: %s", t->name, fc_status_text());
    return fc_charsmap_check(t->name, fc_str_text(out), out->size);
}

static fc_status normalizer(fc_tok *t, const fc_json *n, int depth) {
    static const struct {
        const char *name;
        fc_norm_kind kind;
    } plain[] = {{"NFC", FC_NORM_NFC},
                 {"NFD", FC_NORM_NFD},
                 {"NFKC", FC_NORM_NFKC},
                 {"NFKD", FC_NORM_NFKD},
                 {"Lowercase", FC_NORM_LOWERCASE}};
    const char *what = "normalizer", *type, *text;
    fc_norm_step *s = NULL;
    FC_TRY(fc_hf_type(t, n, what, &type));
    if (is(type, "Sequence")) return sequence(t, n, what, "normalizers", depth, normalizer);
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (is(type, plain[i].name)) {
            FC_TRY(fc_hf_keys(t, n, what, "type"));
            return fc_tok_add_norm(t, plain[i].kind, &s);
        }
    if (is(type, "Prepend")) {
        FC_TRY(fc_hf_keys(t, n, what, "type prepend"));
        FC_TRY(fc_hf_text(t, n, what, "prepend", &text));
        FC_TRY(fc_tok_add_norm(t, FC_NORM_PREPEND, &s));
        return fc_str_puts(&s->with, text);
    }
    if (is(type, "Replace")) {
        FC_TRY(fc_hf_keys(t, n, what, "type pattern content"));
        FC_TRY(fc_hf_text(t, n, what, "content", &text));
        FC_TRY(fc_tok_add_norm(t, FC_NORM_REPLACE, &s));
        FC_TRY(fc_str_puts(&s->with, text));
        return read_pattern(t, n, what, &s->match);
    }
    if (is(type, "Strip")) {
        FC_TRY(fc_hf_keys(t, n, what, "type strip_left strip_right"));
        FC_TRY(fc_tok_add_norm(t, FC_NORM_STRIP, &s));
        FC_TRY(fc_hf_bool(n, "strip_left", true, &s->left));
        return fc_hf_bool(n, "strip_right", true, &s->right);
    }
    if (is(type, "Precompiled")) {
        FC_TRY(fc_hf_keys(t, n, what, "type precompiled_charsmap"));
        FC_TRY(fc_hf_text(t, n, what, "precompiled_charsmap", &text));
        FC_TRY(fc_tok_add_norm(t, FC_NORM_CHARSMAP, &s));
        return read_charsmap(t, text, &s->with);
    }
    return unknown(t, what, type);
}

fc_status fc_hf_normalizer(fc_tok *t, const fc_json *n) { return fc_hf_absent(n) ? FC_OK : normalizer(t, n, 0); }

/* ---- pre_tokenizer --------------------------------------------------------------------------------------- */

static fc_status read_behaviour(const fc_tok *t, const fc_json *n, fc_split_behaviour *out) {
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
    const char *text;
    FC_TRY(fc_hf_text(t, n, "pre_tokenizer", "behavior", &text));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (is(text, names[i])) {
            *out = (fc_split_behaviour)i;
            return FC_OK;
        }
    return unknown(t, "pre_tokenizer: behavior", text);
}

static fc_status read_scheme(const fc_tok *t, const fc_json *n, const char *what, fc_meta_scheme *out) {
    const fc_json *p = fc_json_get(n, "prepend_scheme");
    const char *text = "always";
    bool prefix;
    if (!fc_hf_absent(p)) FC_TRY(fc_json_string(p, &text));
    if (is(text, "always")) *out = FC_META_ALWAYS;
    else if (is(text, "first")) *out = FC_META_FIRST;
    else if (is(text, "never")) *out = FC_META_NEVER;
    else return unknown(t, "Metaspace: prepend_scheme", text);
    FC_TRY(fc_hf_bool(n, "add_prefix_space", *out != FC_META_NEVER, &prefix));
    if (!prefix && *out != FC_META_NEVER)
        return FC_FAIL(FC_ERR_FORMAT, "%s: %s: Metaspace with add_prefix_space false and prepend_scheme \"%s\"",
                       t->name, what, text);
    return FC_OK;
}

static fc_status read_replacement(const fc_tok *t, const fc_json *n, const char *what, fc_str *out) {
    const char *text;
    uint32_t cp;
    FC_TRY(fc_hf_text(t, n, what, "replacement", &text));
    if (!*text || fc_text_next(text, &cp) != strlen(text))
        return FC_FAIL(FC_ERR_FORMAT, "%s: %s: Metaspace's replacement is not one character", t->name, what);
    return fc_str_puts(out, text);
}

static const char metaspace_keys[] = "type replacement prepend_scheme split add_prefix_space str_rep";

static fc_status metaspace(fc_tok *t, const fc_json *n) {
    const char *what = "pre_tokenizer";
    fc_pre_step *s = NULL;
    fc_str meta;
    bool split;
    FC_TRY(fc_hf_keys(t, n, what, metaspace_keys));
    FC_TRY(fc_tok_add_pre(t, FC_PRE_METASPACE, &s));
    FC_TRY(read_scheme(t, n, what, &s->scheme));
    FC_TRY(read_replacement(t, n, what, &s->meta));
    FC_TRY(fc_hf_bool(n, "split", true, &split));
    if (!split) return FC_OK;
    meta = s->meta;
    FC_TRY(fc_tok_add_pre(t, FC_PRE_SPLIT, &s));
    s->behaviour = FC_SPLIT_NEXT;
    return fc_matcher_literal(&s->match, t->name, meta.data, meta.size);
}

static fc_status pre_tokenizer(fc_tok *t, const fc_json *n, int depth) {
    const char *what = "pre_tokenizer", *type;
    fc_pre_step *s = NULL;
    fc_split_behaviour behaviour;
    bool a, b;
    FC_TRY(fc_hf_type(t, n, what, &type));
    if (is(type, "Sequence")) return sequence(t, n, what, "pretokenizers", depth, pre_tokenizer);
    if (is(type, "Metaspace")) return metaspace(t, n);
    if (is(type, "ByteLevel")) {
        FC_TRY(fc_hf_keys(t, n, what, "type add_prefix_space trim_offsets use_regex"));
        FC_TRY(fc_hf_bool(n, "add_prefix_space", true, &a));
        FC_TRY(fc_hf_bool(n, "use_regex", true, &b));
        return fc_tok_add_byte_level(t, a, b);
    }
    if (is(type, "Split")) {
        FC_TRY(fc_hf_keys(t, n, what, "type pattern behavior invert"));
        FC_TRY(read_behaviour(t, n, &behaviour));
        FC_TRY(fc_tok_add_pre(t, FC_PRE_SPLIT, &s));
        s->behaviour = behaviour;
        FC_TRY(fc_hf_bool(n, "invert", false, &s->invert));
        return read_pattern(t, n, what, &s->match);
    }
    if (is(type, "Digits")) {
        FC_TRY(fc_hf_keys(t, n, what, "type individual_digits"));
        FC_TRY(fc_hf_bool(n, "individual_digits", false, &a));
        return fc_tok_add_class(t, fc_text_is_numeric, a ? FC_SPLIT_ISOLATED : FC_SPLIT_CONTIGUOUS);
    }
    if (is(type, "WhitespaceSplit")) {
        FC_TRY(fc_hf_keys(t, n, what, "type"));
        return fc_tok_add_class(t, fc_text_is_white, FC_SPLIT_REMOVED);
    }
    return unknown(t, what, type);
}

fc_status fc_hf_pre_tokenizer(fc_tok *t, const fc_json *n) { return fc_hf_absent(n) ? FC_OK : pre_tokenizer(t, n, 0); }

/* ---- decoder --------------------------------------------------------------------------------------------- */

/* How far the decoders of a Sequence have come: each acts on pieces before Fuse, on the whole text behind it. */
typedef enum { AT_REPLACE, AT_BYTES, AT_FUSED, AT_END } decoder_stage;

static fc_status decoder_replace(fc_tok *t, const fc_json *n) {
    fc_decoder *d = &t->decoder;
    const fc_json *from = fc_json_get(fc_json_get(n, "pattern"), "String");
    const char *text, *to;
    FC_TRY(fc_hf_keys(t, n, "decoder", "type pattern content"));
    if (!from) return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: decoder: Replace of what is no String", t->name);
    FC_TRY(fc_json_string(from, &text));
    FC_TRY(fc_hf_text(t, n, "decoder", "content", &to));
    if (!*text || d->n_replace == (int)(sizeof d->from / sizeof *d->from))
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: decoder: Replace of nothing, or too many of them", t->name);
    d->n_replace++;
    FC_TRY(fc_str_puts(&d->from[d->n_replace - 1], text));
    return fc_str_puts(&d->to[d->n_replace - 1], to);
}

static fc_status decoder_strip(fc_tok *t, const fc_json *n) {
    const char *text;
    int64_t start, stop;
    FC_TRY(fc_hf_keys(t, n, "decoder", "type content start stop"));
    FC_TRY(fc_hf_text(t, n, "decoder", "content", &text));
    if (!fc_json_get(n, "start") || !fc_json_get(n, "stop"))
        return FC_FAIL(FC_ERR_FORMAT, "%s: decoder: Strip without start and stop", t->name);
    FC_TRY(fc_json_int(fc_json_get(n, "start"), 0, 1024, &start));
    FC_TRY(fc_json_int(fc_json_get(n, "stop"), 0, 1024, &stop));
    if (strlen(text) != 1 || stop != 0)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: decoder: Strip of \"%.16s\" with stop %lld", t->name, text,
                       (long long)stop);
    t->decoder.strip = *text;
    t->decoder.strip_left = (int)start;
    return FC_OK;
}

static fc_status decoder_sequence(fc_tok *t, const fc_json *n) {
    const fc_json *list = fc_json_get(n, "decoders");
    decoder_stage stage = AT_REPLACE;
    FC_TRY(fc_hf_keys(t, n, "decoder", "type decoders"));
    if (!list || fc_json_kind(list) != FC_JSON_ARRAY)
        return FC_FAIL(FC_ERR_FORMAT, "%s: decoder: a Sequence without decoders", t->name);
    for (const fc_json *c = fc_json_first(list); c; c = fc_json_next(c)) {
        const char *type;
        FC_TRY(fc_hf_type(t, c, "decoder", &type));
        if (is(type, "Replace") && stage == AT_REPLACE) {
            FC_TRY(decoder_replace(t, c));
        } else if (is(type, "ByteFallback") && stage == AT_REPLACE) {
            FC_TRY(fc_hf_keys(t, c, "decoder", "type"));
            t->decoder.byte_fallback = true;
            stage = AT_BYTES;
        } else if (is(type, "Fuse") && stage < AT_FUSED) {
            FC_TRY(fc_hf_keys(t, c, "decoder", "type"));
            stage = AT_FUSED;
        } else if (is(type, "Strip") && stage == AT_FUSED) {
            FC_TRY(decoder_strip(t, c));
            stage = AT_END;
        } else {
            return unknown(t, "decoder: in this place of a Sequence", type);
        }
    }
    return FC_OK;
}

fc_status fc_hf_decoder(fc_tok *t, const fc_json *n) {
    const char *type;
    fc_meta_scheme scheme;
    if (fc_hf_absent(n)) return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: decoder is null", t->name);
    FC_TRY(fc_hf_type(t, n, "decoder", &type));
    t->decoder.kind = FC_DECODE_PIECES;
    if (is(type, "Sequence")) return decoder_sequence(t, n);
    if (is(type, "ByteLevel")) {
        t->decoder.kind = FC_DECODE_BYTES;
        return fc_hf_keys(t, n, "decoder", "type add_prefix_space trim_offsets use_regex");
    }
    if (is(type, "Metaspace")) {
        FC_TRY(fc_hf_keys(t, n, "decoder", metaspace_keys));
        FC_TRY(read_scheme(t, n, "decoder", &scheme));
        t->decoder.meta_first_dropped = scheme != FC_META_NEVER;
        return read_replacement(t, n, "decoder", &t->decoder.meta);
    }
    return unknown(t, "decoder", type);
}

/* ---- post_processor -------------------------------------------------------------------------------------- */

/* Ids of one special token of a template, appended to list. */
static fc_status template_token(const fc_tok *t, const fc_json *template, const char *name, int32_t *list, int *n) {
    const fc_json *token = fc_json_get(fc_json_get(template, "special_tokens"), name), *ids = fc_json_get(token, "ids");
    if (!ids || fc_json_kind(ids) != FC_JSON_ARRAY)
        return FC_FAIL(FC_ERR_FORMAT, "%s: post_processor: no ids of special token \"%.64s\"", t->name, name);
    for (const fc_json *c = fc_json_first(ids); c; c = fc_json_next(c)) {
        int64_t id;
        FC_TRY(fc_json_int(c, 0, INT32_MAX, &id));
        if ((size_t)id >= t->vocab.size)
            return FC_FAIL(FC_ERR_FORMAT, "%s: post_processor: id %lld of \"%.64s\"; the vocabulary has 0 to %zu",
                           t->name, (long long)id, name, t->vocab.size - 1);
        if (*n == FC_TOK_MAX_AFFIX)
            return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: post_processor adds more than %d tokens", t->name,
                           FC_TOK_MAX_AFFIX);
        list[(*n)++] = (int32_t)id;
    }
    return FC_OK;
}

static fc_status template(fc_tok *t, const fc_json *n) {
    const fc_json *single = fc_json_get(n, "single");
    bool text_seen = false;
    FC_TRY(fc_hf_keys(t, n, "post_processor", "type single pair special_tokens"));
    if (!single || fc_json_kind(single) != FC_JSON_ARRAY)
        return FC_FAIL(FC_ERR_FORMAT, "%s: post_processor: TemplateProcessing without single", t->name);
    if (t->n_prefix + t->n_suffix > 0)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: post_processor: a second TemplateProcessing", t->name);
    for (const fc_json *c = fc_json_first(single); c; c = fc_json_next(c)) {
        const fc_json *token = fc_json_get(c, "SpecialToken"), *text = fc_json_get(c, "Sequence");
        const char *id;
        FC_TRY(fc_hf_keys(t, c, "post_processor", "SpecialToken Sequence"));
        if (!token == !text)
            return FC_FAIL(FC_ERR_FORMAT, "%s: post_processor: a template entry of neither or both kinds", t->name);
        FC_TRY(fc_hf_text(t, token ? token : text, "post_processor", "id", &id));
        if (token) {
            FC_TRY(
                template_token(t, n, id, text_seen ? t->suffix : t->prefix, text_seen ? &t->n_suffix : &t->n_prefix));
        } else {
            if (text_seen || !is(id, "A"))
                return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: post_processor: single is not one Sequence A", t->name);
            text_seen = true;
        }
    }
    return text_seen ? FC_OK : FC_FAIL(FC_ERR_UNSUPPORTED, "%s: post_processor: single is not one Sequence A", t->name);
}

static fc_status post_processor(fc_tok *t, const fc_json *n, int depth) {
    const char *what = "post_processor", *type;
    FC_TRY(fc_hf_type(t, n, what, &type));
    if (is(type, "Sequence")) return sequence(t, n, what, "processors", depth, post_processor);
    if (is(type, "TemplateProcessing")) return template(t, n);
    /* changes offsets only, and there are none here */
    if (is(type, "ByteLevel")) return fc_hf_keys(t, n, what, "type add_prefix_space trim_offsets use_regex");
    return unknown(t, what, type);
}

fc_status fc_hf_post_processor(fc_tok *t, const fc_json *n) {
    return fc_hf_absent(n) ? FC_OK : post_processor(t, n, 0);
}
