#include "weights_tools/adapter_config.h"

#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "weights_tools/pattern.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { MAX_PATTERNS = 4096, MAX_NAME = 128 };

const char *const fc_adapter_module_names[FC_ADAPTER_MODULES] = {
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj",
};

/* Read below, or of no effect on what an adapter computes once it is trained. */
static const char *const known[] = {
    "peft_type",
    "task_type",
    "r",
    "lora_alpha",
    "use_rslora",
    "rank_pattern",
    "alpha_pattern",
    "target_modules",
    "exclude_modules",
    "bias",
    "layers_to_transform",
    "layers_pattern",
    "modules_to_save",
    "init_lora_weights",
    "alora_invocation_tokens",
    "auto_mapping",
    "base_model_name_or_path",
    "peft_version",
    "revision",
    "inference_mode",
    "lora_dropout",
    "megatron_core",
    "qalora_group_size",
    "loftq_config",
    "eva_config",
    "corda_config",
    "lora_ga_config",
    "runtime_config",
    "ensure_weight_tying",
};

typedef struct {
    const char *path;
    const fc_json *root;
    const fc_model_config *base;
    const char *prefix;
    fc_adapter_config *out;
    double *alpha; /* [modules] */
    bool *taken;   /* [modules] while patterns are matched */
    size_t n;      /* modules */
    bool rslora;
} reader;

/* NULL when absent or null. */
static const fc_json *get(const reader *d, const char *key) {
    const fc_json *n = fc_json_get(d->root, key);
    return n && fc_json_kind(n) != FC_JSON_NULL ? n : NULL;
}

static void name_of(const reader *d, size_t i, char out[MAX_NAME]) {
    snprintf(out, MAX_NAME, "%slayers.%zu.%s", d->prefix, i / FC_ADAPTER_MODULES,
             fc_adapter_module_names[i % FC_ADAPTER_MODULES]);
}

static bool is_empty(const fc_json *n) {
    bool v = true;
    const char *s = "x";
    switch (fc_json_kind(n)) {
    case FC_JSON_NULL: return true;
    case FC_JSON_BOOL: return fc_json_bool(n, &v) == FC_OK && !v;
    case FC_JSON_STRING: return fc_json_string(n, &s) == FC_OK && !*s;
    case FC_JSON_ARRAY:
    case FC_JSON_OBJECT: return fc_json_count(n) == 0;
    default: return false;
    }
}

static fc_status refuse_unknown(const reader *d) {
    for (const fc_json *n = fc_json_first(d->root); n; n = fc_json_next(n)) {
        bool is_known = false;
        for (size_t i = 0; i < sizeof known / sizeof known[0] && !is_known; i++)
            is_known = strcmp(fc_json_key(n), known[i]) == 0;
        if (!is_known && !is_empty(n))
            return fc_json_fail(n, FC_ERR_UNSUPPORTED, "it is set, and adapters with it are not supported");
    }
    return FC_OK;
}

/* The string must be one of the words, which end with NULL; absent is fine. */
static fc_status need_word(const reader *d, const char *key, const char *const *words, const char *supported) {
    const fc_json *node = get(d, key);
    const char *s = "";
    if (!node) return FC_OK;
    FC_TRY(fc_json_string(node, &s));
    for (; *words; words++)
        if (strcmp(s, *words) == 0) return FC_OK;
    return fc_json_fail(node, FC_ERR_UNSUPPORTED, "\"%.40s\" is not supported, %s", s, supported);
}

static fc_status check_kind(const reader *d) {
    static const char *const types[] = {"LORA", NULL}, *const tasks[] = {"CAUSAL_LM", "SEQ_CLS", NULL},
                             *const biases[] = {"none", NULL}, *const inits[] = {"gaussian", "orthogonal", "eva", NULL};
    const fc_json *init = get(d, "init_lora_weights");
    if (!get(d, "peft_type")) return FC_FAIL(FC_ERR_FORMAT, "%s: peft_type is missing; PEFT writes it", d->path);
    FC_TRY(need_word(d, "peft_type", types, "LORA is"));
    FC_TRY(need_word(d, "task_type", tasks, "CAUSAL_LM and SEQ_CLS are"));
    FC_TRY(need_word(d, "bias", biases, "none is"));
    /* PiSSA, OLoRA, CorDA and LoftQ leave an adapter that belongs to weights other than the base's */
    if (!init || fc_json_kind(init) == FC_JSON_BOOL) return FC_OK;
    return need_word(d, "init_lora_weights", inits, "true, gaussian, orthogonal and eva are");
}

static fc_status read_rank(const fc_json *n, int *out) {
    int64_t v;
    FC_TRY(fc_json_int(n, 1, FC_ADAPTER_MAX_RANK, &v));
    *out = (int)v;
    return FC_OK;
}

/* The first key that matches a module decides, as in PEFT. */
static fc_status read_pattern(reader *d, const char *key, bool ranks) {
    const fc_json *map = get(d, key);
    if (!map) return FC_OK;
    if (fc_json_kind(map) != FC_JSON_OBJECT || fc_json_count(map) > MAX_PATTERNS)
        return fc_json_fail(map, FC_ERR_FORMAT, "not an object of at most %d entries", MAX_PATTERNS);
    memset(d->taken, 0, d->n * sizeof *d->taken);
    for (const fc_json *n = fc_json_first(map); n; n = fc_json_next(n)) {
        fc_pattern p;
        int r = 0;
        double alpha = 0;
        if (ranks) FC_TRY(read_rank(n, &r));
        else FC_TRY(fc_json_double(n, &alpha));
        FC_TRY(fc_pattern_open(d->path, fc_json_key(n), true, &p));
        for (size_t i = 0; i < d->n; i++) {
            char name[MAX_NAME];
            name_of(d, i, name);
            if (d->taken[i] || !fc_pattern_matches(&p, name)) continue;
            d->taken[i] = true;
            if (ranks) d->out->rules[i].r = r;
            else d->alpha[i] = alpha;
        }
        fc_pattern_fini(&p);
    }
    return FC_OK;
}

static fc_status read_scales(reader *d) {
    const fc_json *n;
    int r = 8;
    double alpha = 8; /* both are PEFT's defaults */
    if ((n = get(d, "r"))) FC_TRY(read_rank(n, &r));
    if ((n = get(d, "lora_alpha"))) FC_TRY(fc_json_double(n, &alpha));
    if ((n = get(d, "use_rslora"))) FC_TRY(fc_json_bool(n, &d->rslora));
    for (size_t i = 0; i < d->n; i++) {
        d->out->rules[i].r = r;
        d->alpha[i] = alpha;
    }
    FC_TRY(read_pattern(d, "rank_pattern", true));
    FC_TRY(read_pattern(d, "alpha_pattern", false));
    for (size_t i = 0; i < d->n; i++) {
        fc_adapter_rule *rule = &d->out->rules[i];
        double by = d->rslora ? sqrt((double)rule->r) : (double)rule->r;
        if (!(fabs(d->alpha[i]) < 1e9))
            return FC_FAIL(FC_ERR_FORMAT, "%s: lora_alpha is %g; magnitudes under 1e9 are possible", d->path,
                           d->alpha[i]);
        rule->scale = (float)(d->alpha[i] / by);
    }
    return FC_OK;
}

/* PEFT's rule for names in lists: the whole name, or its end behind a point. */
static bool names(const char *key, const char *name) {
    size_t n = strlen(name), k = strlen(key);
    return strcmp(key, name) == 0 || (k > 0 && n > k && name[n - k - 1] == '.' && strcmp(name + n - k, key) == 0);
}

static fc_status refuse_outside(const fc_json *n, const char *s) {
    if (names("lm_head", s) || names("embed_tokens", s))
        return fc_json_fail(n, FC_ERR_UNSUPPORTED, "adapters of %s are not supported", s);
    return FC_OK;
}

/* hit[i]: module i is named by a list of names, or by an expression. */
static fc_status match_names(const reader *d, const fc_json *node, bool *hit, bool *understood) {
    const char *s = "";
    char name[MAX_NAME];
    *understood = true;
    if (fc_json_kind(node) == FC_JSON_STRING) {
        fc_pattern p;
        fc_status st;
        bool all;
        FC_TRY(fc_json_string(node, &s));
        all = strcasecmp(s, "all-linear") == 0;
        st = all ? FC_OK : fc_pattern_open(d->path, s, false, &p);
        if (st == FC_ERR_UNSUPPORTED) { /* a check is lost, no number: the tensors say the same */
            fc_log(FC_LOG_WARN, "%s: %s is not checked: %s", d->path, fc_json_key(node), fc_status_text());
            *understood = false;
            return FC_OK;
        }
        FC_TRY(st);
        for (size_t i = 0; i < d->n; i++) {
            name_of(d, i, name);
            hit[i] = all || fc_pattern_matches(&p, name);
        }
        if (!all) fc_pattern_fini(&p);
        return FC_OK;
    }
    if (fc_json_kind(node) != FC_JSON_ARRAY || fc_json_count(node) > MAX_PATTERNS)
        return fc_json_fail(node, FC_ERR_FORMAT, "neither a string nor a list of at most %d", MAX_PATTERNS);
    for (const fc_json *n = fc_json_first(node); n; n = fc_json_next(n)) {
        FC_TRY(fc_json_string(n, &s));
        for (size_t i = 0; i < d->n; i++) {
            name_of(d, i, name);
            if (names(s, name)) hit[i] = true;
        }
    }
    return FC_OK;
}

/* A number or a list of them; in[l] becomes true. */
static fc_status read_layers(const reader *d, const fc_json *node, bool *in) {
    bool list = fc_json_kind(node) == FC_JSON_ARRAY;
    int64_t v;
    for (const fc_json *n = list ? fc_json_first(node) : node; n; n = list ? fc_json_next(n) : NULL) {
        FC_TRY(fc_json_int(n, 0, d->base->L - 1, &v));
        in[v] = true;
    }
    return FC_OK;
}

/* layers_pattern says where layers are listed; ours are under "layers". */
static fc_status check_layers_pattern(const reader *d) {
    const fc_json *n = get(d, "layers_pattern");
    const char *s = "";
    if (!n || is_empty(n)) return FC_OK;
    if (fc_json_kind(n) == FC_JSON_ARRAY && fc_json_count(n) == 1) n = fc_json_first(n);
    FC_TRY(fc_json_string(n, &s));
    return strcmp(s, "layers") == 0 ? FC_OK
                                    : fc_json_fail(n, FC_ERR_UNSUPPORTED, "\"%.40s\"; \"layers\" is supported", s);
}

static fc_status read_targets(reader *d) {
    const fc_json *target = get(d, "target_modules"), *except = get(d, "exclude_modules"),
                  *layers = get(d, "layers_to_transform");
    bool in[FC_MAX_LAYERS] = {false}, understood = true;
    FC_TRY(check_layers_pattern(d));
    if (!target) return FC_OK;
    memset(d->taken, 0, d->n * sizeof *d->taken);
    FC_TRY(match_names(d, target, d->taken, &understood));
    for (const fc_json *n = fc_json_kind(target) == FC_JSON_ARRAY ? fc_json_first(target) : NULL; n;
         n = fc_json_next(n)) {
        const char *s = "";
        FC_TRY(fc_json_string(n, &s));
        FC_TRY(refuse_outside(n, s));
    }
    for (size_t i = 0; i < d->n; i++) d->out->rules[i].target = d->taken[i];
    d->out->targets_known = understood;
    if (except && !is_empty(except)) {
        memset(d->taken, 0, d->n * sizeof *d->taken);
        FC_TRY(match_names(d, except, d->taken, &understood));
        d->out->targets_known = d->out->targets_known && understood;
        for (size_t i = 0; i < d->n; i++) d->out->rules[i].target = d->out->rules[i].target && !d->taken[i];
    }
    if (!layers || is_empty(layers)) return FC_OK;
    FC_TRY(read_layers(d, layers, in));
    for (size_t i = 0; i < d->n; i++) d->out->rules[i].target = d->out->rules[i].target && in[i / FC_ADAPTER_MODULES];
    return FC_OK;
}

/* PEFT adds both names of a head to every SEQ_CLS adapter; the families here have `score`. */
static fc_status read_saved(reader *d) {
    const fc_json *list = get(d, "modules_to_save");
    if (!list) return FC_OK;
    if (fc_json_kind(list) != FC_JSON_ARRAY) return fc_json_fail(list, FC_ERR_FORMAT, "not a list");
    for (const fc_json *n = fc_json_first(list); n; n = fc_json_next(n)) {
        const char *s = "";
        FC_TRY(fc_json_string(n, &s));
        if (strcmp(s, "score") == 0) d->out->saves_score = true;
        else if (strcmp(s, "classifier") != 0)
            return fc_json_fail(n, FC_ERR_UNSUPPORTED, "whole modules %.60s are not supported, score alone is", s);
    }
    return FC_OK;
}

static fc_status read_invocation(reader *d) {
    const fc_json *list = get(d, "alora_invocation_tokens");
    if (!list) return FC_OK;
    if (fc_json_kind(list) != FC_JSON_ARRAY || fc_json_count(list) < 1 ||
        fc_json_count(list) > FC_ADAPTER_MAX_INVOCATION)
        return fc_json_fail(list, FC_ERR_FORMAT, "not a list of 1 to %d ids", FC_ADAPTER_MAX_INVOCATION);
    for (const fc_json *n = fc_json_first(list); n; n = fc_json_next(n)) {
        int64_t id;
        FC_TRY(fc_json_int(n, 0, d->base->V - 1, &id));
        d->out->invocation[d->out->n_invocation++] = (int32_t)id;
    }
    return FC_OK;
}

static fc_status read_all(reader *d) {
    if (fc_json_kind(d->root) != FC_JSON_OBJECT) return FC_FAIL(FC_ERR_FORMAT, "%s: not a JSON object", d->path);
    FC_TRY(check_kind(d));
    FC_TRY(refuse_unknown(d));
    FC_TRY(read_scales(d));
    FC_TRY(read_targets(d));
    FC_TRY(read_saved(d));
    return read_invocation(d);
}

fc_status fc_adapter_config_read(const char *path, const fc_json *root, const fc_model_config *base, const char *prefix,
                                 fc_adapter_config *out) {
    fc_adapter_config c = {.rules = NULL};
    reader d = {.path = path, .root = root, .base = base, .prefix = prefix, .out = &c};
    void *rules = NULL, *alpha = NULL, *taken = NULL;
    fc_status st;
    d.n = (size_t)base->L * FC_ADAPTER_MODULES;
    FC_TRY_GOTO(st, fc_alloc(d.n, sizeof *c.rules, "adapter rules", &rules), out);
    c.rules = rules;
    FC_TRY_GOTO(st, fc_alloc(d.n, sizeof *d.alpha, "adapter scales", &alpha), out);
    d.alpha = alpha;
    FC_TRY_GOTO(st, fc_alloc(d.n, sizeof *d.taken, "adapter targets", &taken), out);
    d.taken = taken;
    st = read_all(&d);
out:
    fc_free(taken);
    fc_free(alpha);
    if (st) fc_adapter_config_fini(&c);
    else *out = c;
    return st;
}

void fc_adapter_config_fini(fc_adapter_config *c) {
    fc_free(c->rules);
    memset(c, 0, sizeof *c);
}
