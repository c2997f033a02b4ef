/* What the steps of a tokenizer.json amount to in GGUF's names. */
#include "weights_tools/convert_tok.h"

#include <string.h>

/* The expressions that GGUF's names "llama-bpe" and "qwen2" stand for; they differ in how many digits go together. */
#define HEAD "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
#define TAIL "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/* Text of a member, "" when it is absent or no string. */
static const char *text_of(const fc_json *object, const char *key) {
    const fc_json *n = fc_json_get(object, key);
    const char *s = "";
    return n && fc_json_kind(n) == FC_JSON_STRING && fc_json_string(n, &s) == FC_OK ? s : "";
}

static bool flag_of(const fc_json *object, const char *key, bool otherwise) {
    const fc_json *n = fc_json_get(object, key);
    bool v = otherwise;
    return n && fc_json_kind(n) == FC_JSON_BOOL && fc_json_bool(n, &v) == FC_OK ? v : otherwise;
}

static bool type_is(const fc_json *step, const char *type) { return strcmp(text_of(step, "type"), type) == 0; }

enum { MAX_STEPS = 8 };

/* The steps of a part (normalizer, pre_tokenizer, post_processor): itself, or those of a Sequence. */
static int steps_of(const fc_json *part, const char *members, const fc_json *steps[MAX_STEPS]) {
    int n = 0;
    if (!part || fc_json_kind(part) != FC_JSON_OBJECT) return 0;
    if (!type_is(part, "Sequence")) {
        steps[0] = part;
        return 1;
    }
    part = fc_json_get(part, members);
    for (const fc_json *s = part ? fc_json_first(part) : NULL; s && n < MAX_STEPS; s = fc_json_next(s)) steps[n++] = s;
    return n;
}

static bool is_byte_level(const fc_json *step, bool splits) {
    return type_is(step, "ByteLevel") && flag_of(step, "use_regex", true) == splits &&
           !flag_of(step, "add_prefix_space", true);
}

/* NULL: not one of GGUF's names. */
static const char *pre_of(const fc_json *const *steps, int n) {
    const fc_json *pattern;
    if (n == 1) return is_byte_level(steps[0], true) ? "gpt-2" : NULL;
    if (n != 2) return NULL;
    if (type_is(steps[0], "Digits") && flag_of(steps[0], "individual_digits", false) && is_byte_level(steps[1], true))
        return "smollm";
    pattern = fc_json_get(steps[0], "pattern");
    if (!type_is(steps[0], "Split") || !pattern || !is_byte_level(steps[1], false)) return NULL;
    if (strcmp(text_of(steps[0], "behavior"), "Isolated") != 0 || flag_of(steps[0], "invert", false)) return NULL;
    if (strcmp(text_of(pattern, "Regex"), HEAD "\\p{N}{1,3}" TAIL) == 0) return "llama-bpe";
    return strcmp(text_of(pattern, "Regex"), HEAD "\\p{N}" TAIL) == 0 ? "qwen2" : NULL;
}

/* The id of a template's item {"SpecialToken": {"id": NAME}}; -1: it is the text itself, or has not just one id. */
static fc_status special_id(const fc_json *template, const fc_json *item, int *out) {
    const fc_json *special = item ? fc_json_get(item, "SpecialToken") : NULL, *ids;
    int64_t id;
    *out = -1;
    if (!special) return FC_OK;
    ids = fc_json_get(template, "special_tokens");
    ids = ids ? fc_json_get(ids, text_of(special, "id")) : NULL;
    ids = ids ? fc_json_get(ids, "ids") : NULL;
    if (!ids || fc_json_count(ids) != 1) return FC_OK;
    FC_TRY(fc_json_int(fc_json_first(ids), 0, INT32_MAX, &id));
    *out = (int)id;
    return FC_OK;
}

static fc_status read_template(const fc_json *root, fc_convert_rules *r) {
    const fc_json *steps[MAX_STEPS];
    int n = steps_of(fc_json_get(root, "post_processor"), "processors", steps);
    for (int i = 0; i < n; i++) {
        const fc_json *single = fc_json_get(steps[i], "single"), *last = NULL;
        if (!type_is(steps[i], "TemplateProcessing") || !single) continue;
        for (const fc_json *item = fc_json_first(single); item; item = fc_json_next(item)) last = item;
        FC_TRY(special_id(steps[i], fc_json_first(single), &r->prefix));
        FC_TRY(special_id(steps[i], last, &r->suffix));
        r->template_known = true;
    }
    return FC_OK;
}

/* A step that GGUF's model says, or one that is said by the keys of fc_convert_rules. */
static bool said(const fc_convert_rules *r, const fc_json *step) {
    const char *pattern = text_of(fc_json_get(step, "pattern"), "String");
    if (strcmp(r->model, "gpt2") == 0)
        return r->pre && (!type_is(step, "NFC") || strcmp(r->pre, "qwen2") == 0) &&
               (type_is(step, "NFC") || type_is(step, "ByteLevel") || type_is(step, "Digits") ||
                type_is(step, "Split"));
    /* SentencePiece's blank in front comes always, Metaspace's where there is none yet; collapsed blanks are no
     * difference */
    if (type_is(step, "Metaspace")) return !r->space_prefix || r->collapse;
    if (type_is(step, "Prepend") || type_is(step, "Precompiled")) return true;
    if (type_is(step, "Split")) return strcmp(pattern, " ") == 0;
    if (type_is(step, "Strip")) return r->collapse; /* GGUF's key for collapsing strips as well */
    return type_is(step, "Replace") && (strcmp(pattern, " ") == 0 || (r->collapse && r->strip));
}

static void read_normalizer(const fc_json *const *steps, int n, fc_convert_rules *r) {
    for (int i = 0; i < n; i++) {
        if (type_is(steps[i], "Prepend")) r->space_prefix = true;
        if (type_is(steps[i], "Strip") && flag_of(steps[i], "strip_right", false)) r->strip = true;
        if (type_is(steps[i], "Precompiled")) r->charsmap = text_of(steps[i], "precompiled_charsmap");
        if (type_is(steps[i], "Replace") && strcmp(text_of(fc_json_get(steps[i], "pattern"), "Regex"), " {2,}") == 0)
            r->collapse = true;
    }
}

fc_status fc_convert_rules_read(const fc_json *root, fc_convert_rules *out) {
    fc_convert_rules r = {.prefix = -1, .suffix = -1};
    const fc_json *pre[MAX_STEPS], *norm[MAX_STEPS], *model = fc_json_get(root, "model");
    int n_pre = steps_of(fc_json_get(root, "pre_tokenizer"), "pretokenizers", pre);
    int n_norm = steps_of(fc_json_get(root, "normalizer"), "normalizers", norm);
    bool bytes = false;
    r.pre = pre_of(pre, n_pre);
    for (int i = 0; i < n_pre; i++) {
        bytes = bytes || type_is(pre[i], "ByteLevel");
        if (type_is(pre[i], "Metaspace"))
            r.space_prefix =
                strcmp(text_of(pre[i], "prepend_scheme"), "never") != 0 && flag_of(pre[i], "add_prefix_space", true);
    }
    read_normalizer(norm, n_norm, &r);
    if (type_is(model, "BPE") || (!text_of(model, "type")[0] && fc_json_get(model, "merges")))
        r.model = bytes ? "gpt2" : "llama";
    else if (type_is(model, "Unigram")) r.model = "t5";
    for (int i = 0; r.model && i < n_norm + n_pre && !r.unsaid; i++) {
        const fc_json *step = i < n_norm ? norm[i] : pre[i - n_norm];
        if (!said(&r, step)) r.unsaid = text_of(step, "type");
    }
    FC_TRY(read_template(root, &r));
    *out = r;
    return FC_OK;
}
