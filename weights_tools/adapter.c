#include "weights_tools/adapter.h"

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "engine/base/quant.h"
#include "weights_tools/adapter_config.h"
#include "weights_tools/fingerprint.h"
#include "weights_tools/layout.h"
#include "weights_tools/safetensors.h"
#include "weights_tools/tensors.h"

#include <string.h>

enum { MAX_CONFIG = 1 << 20 };

struct fc_adapter_file {
    fc_model_config base;
    fc_str path, config_path;
    fc_safetensors st;
    const fc_tensor **by_name; /* [st.n_tensors] */
    fc_adapter_config config;
    fc_adapter_pair *pairs; /* [L * FC_ADAPTER_MODULES] */
    const fc_tensor *reward;
};

static const char root[] = "base_model.model.";
/* How a language model's layers are called, alone and inside another model. */
static const char *const prefixes[] = {"model.", "model.language_model.", "language_model.model."};

static bool begins(const char *s, const char *with) { return strncmp(s, with, strlen(with)) == 0; }

void fc_adapter_shape(const fc_model_config *c, fc_adapter_module m, int *N, int *K) {
    const int q = c->H * c->E, kv = c->G * c->E;
    const int shapes[FC_ADAPTER_MODULES][2] = {{q, c->D},    {kv, c->D},   {kv, c->D},  {c->D, q},
                                               {c->F, c->D}, {c->F, c->D}, {c->D, c->F}};
    *N = shapes[m][0];
    *K = shapes[m][1];
}

int fc_adapter_row(const fc_model_config *c, fc_adapter_module m, int n) {
    bool pairs = c->rope_interleaved && (m == FC_ADAPTER_Q || m == FC_ADAPTER_K);
    return pairs ? (int)fc_layout_pairs_row(c, n) : n;
}

/* What stands behind the prefix of a tensor's name, "layers.0...."; NULL when it has none of ours. */
static const char *behind_prefix(const char *name, const char **prefix) {
    if (!begins(name, root)) return NULL;
    name += sizeof root - 1;
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++)
        if (begins(name, prefixes[i]) && begins(name + strlen(prefixes[i]), "layers.")) {
            *prefix = prefixes[i];
            return name + strlen(prefixes[i]);
        }
    return NULL;
}

static fc_status refuse(const fc_adapter_file *f, const fc_tensor *t) {
    return FC_FAIL(
        FC_ERR_UNSUPPORTED,
        "%s: tensor %s: LoRA on the layers' linear modules and a score head are supported, and this is neither",
        fc_str_text(&f->path), t->name);
}

static fc_status check_shape(const fc_adapter_file *f, const fc_tensor *t, int64_t N, int64_t K, const char *why) {
    if (t->n_dims != 2 || t->N != N || t->K != K)
        return FC_FAIL(FC_ERR_FORMAT, "%s: tensor %s has %d dimensions, %lld x %lld; %lld x %lld are expected (%s)",
                       fc_str_text(&f->path), t->name, t->n_dims, (long long)t->N, (long long)t->K, (long long)N,
                       (long long)K, why);
    return FC_OK;
}

/* "layers.3.self_attn.q_proj.lora_A.weight", or with an adapter's name behind lora_A as older versions write it. */
static fc_status take_layer(fc_adapter_file *f, const fc_tensor *t, const char *s) {
    int layer = 0, N, K, digits = 0;
    size_t m = 0, n;
    bool is_a;
    fc_adapter_pair *pair;
    for (s += strlen("layers."); *s >= '0' && *s <= '9' && digits < 6; s++, digits++) layer = layer * 10 + (*s - '0');
    if (!digits || *s++ != '.') return refuse(f, t);
    if (layer >= f->base.L)
        return FC_FAIL(FC_ERR_FORMAT, "%s: tensor %s: layer %d of a model with %d", fc_str_text(&f->path), t->name,
                       layer, f->base.L);
    for (; m < FC_ADAPTER_MODULES; m++) {
        n = strlen(fc_adapter_module_names[m]);
        if (begins(s, fc_adapter_module_names[m]) && s[n] == '.') break;
    }
    if (m == FC_ADAPTER_MODULES) return refuse(f, t);
    s += n + 1;
    is_a = begins(s, "lora_A.");
    if (!is_a && !begins(s, "lora_B.")) return refuse(f, t);
    s += strlen("lora_A.");
    if (strcmp(s, "weight") != 0 && strcmp(s, "default.weight") != 0) return refuse(f, t);
    pair = &f->pairs[(size_t)layer * FC_ADAPTER_MODULES + m];
    if (is_a ? pair->a != NULL : pair->b != NULL)
        return FC_FAIL(FC_ERR_FORMAT, "%s: tensor %s is there under two names", fc_str_text(&f->path), t->name);
    fc_adapter_shape(&f->base, (fc_adapter_module)m, &N, &K);
    if (is_a) {
        FC_TRY(check_shape(f, t, pair->r, K, "rank of adapter_config.json by inputs of the base"));
        pair->a = t;
    } else {
        FC_TRY(check_shape(f, t, N, pair->r, "outputs of the base by rank of adapter_config.json"));
        pair->b = t;
    }
    return FC_OK;
}

static bool is_score(const char *name) {
    static const char *const names[] = {"score.weight", "score.modules_to_save.weight",
                                        "score.modules_to_save.default.weight"};
    if (!begins(name, root)) return false;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name + sizeof root - 1, names[i]) == 0) return true;
    return false;
}

static fc_status take_tensors(fc_adapter_file *f) {
    for (size_t i = 0; i < f->st.n_tensors; i++) {
        const fc_tensor *t = &f->st.tensors[i];
        const char *prefix, *s = behind_prefix(t->name, &prefix);
        if (!fc_dtype_is_float(t->dtype))
            return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: tensor %s has type %s; adapters are floats", fc_str_text(&f->path),
                           t->name, fc_dtype_name(t->dtype));
        if (s) {
            FC_TRY(take_layer(f, t, s));
        } else if (is_score(t->name)) {
            if (!f->config.saves_score || f->reward)
                return FC_FAIL(FC_ERR_FORMAT, "%s: tensor %s %s", fc_str_text(&f->path), t->name,
                               f->reward ? "is there under two names" : "is not named by modules_to_save");
            FC_TRY(check_shape(f, t, 1, f->base.D, "one score from the base's hidden state"));
            f->reward = t;
        } else {
            return refuse(f, t);
        }
    }
    return FC_OK;
}

/* Both tensors or none, and where target_modules says so. */
static fc_status check_pairs(const fc_adapter_file *f) {
    bool any = f->reward != NULL;
    for (size_t i = 0; i < (size_t)f->base.L * FC_ADAPTER_MODULES; i++) {
        const fc_adapter_pair *p = &f->pairs[i];
        const char *module = fc_adapter_module_names[i % FC_ADAPTER_MODULES];
        size_t layer = i / FC_ADAPTER_MODULES;
        bool target = f->config.rules[i].target;
        if (!p->a != !p->b)
            return FC_FAIL(FC_ERR_FORMAT, "%s: layers.%zu.%s has %s and not %s", fc_str_text(&f->path), layer, module,
                           p->a ? "lora_A" : "lora_B", p->a ? "lora_B" : "lora_A");
        if (f->config.targets_known && target != (p->a != NULL))
            return FC_FAIL(FC_ERR_FORMAT, "%s: layers.%zu.%s is %s by target_modules and has %s", fc_str_text(&f->path),
                           layer, module, target ? "named" : "not named", p->a ? "tensors" : "none");
        any = any || p->a;
    }
    if (f->config.saves_score && !f->reward)
        return FC_FAIL(FC_ERR_FORMAT, "%s: modules_to_save names score, and tensor %sscore.weight is not there",
                       fc_str_text(&f->path), root);
    if (!any) return FC_FAIL(FC_ERR_FORMAT, "%s: no tensor of an adapter", fc_str_text(&f->path));
    return FC_OK;
}

static fc_status read_config(fc_adapter_file *f) {
    const char *prefix = prefixes[0];
    fc_json_doc *doc = NULL;
    fc_status st;
    for (size_t i = 0; i < f->st.n_tensors; i++)
        if (behind_prefix(f->st.tensors[i].name, &prefix)) break;
    FC_TRY(fc_json_open(fc_str_text(&f->config_path), MAX_CONFIG, &doc));
    st = fc_adapter_config_read(fc_str_text(&f->config_path), fc_json_root(doc), &f->base, prefix, &f->config);
    fc_json_close(doc);
    return st;
}

static fc_status open_files(fc_adapter_file *f, const char *folder) {
    void *p;
    FC_TRY(fc_str_printf(&f->config_path, "%s/adapter_config.json", folder));
    FC_TRY(fc_str_printf(&f->path, "%s/adapter_model.safetensors", folder));
    if (!fc_path_is_dir(folder) || !fc_path_exists(fc_str_text(&f->config_path)))
        return FC_FAIL(FC_ERR_IO, "%s: not a folder with an adapter_config.json", folder);
    if (!fc_path_exists(fc_str_text(&f->path)))
        return FC_FAIL(FC_ERR_IO, "%s: the folder has no adapter_model.safetensors (pickled .bin files are not read)",
                       folder);
    FC_TRY(fc_safetensors_open(fc_str_text(&f->path), false, &f->st));
    FC_TRY(fc_alloc(f->st.n_tensors, sizeof *f->by_name, "names of an adapter", &p));
    f->by_name = p;
    FC_TRY(fc_tensors_sort(fc_str_text(&f->path), f->st.tensors, f->st.n_tensors, f->by_name));
    FC_TRY(read_config(f));
    FC_TRY(fc_alloc((size_t)f->base.L * FC_ADAPTER_MODULES, sizeof *f->pairs, "pairs of an adapter", &p));
    f->pairs = p;
    for (size_t i = 0; i < (size_t)f->base.L * FC_ADAPTER_MODULES; i++) {
        f->pairs[i].r = f->config.rules[i].r;
        f->pairs[i].scale = f->config.rules[i].scale;
    }
    FC_TRY(take_tensors(f));
    return check_pairs(f);
}

fc_status fc_adapter_file_open(const char *folder, const fc_model_config *base, fc_adapter_file **out) {
    fc_adapter_file *f;
    void *p;
    fc_status st;
    FC_TRY(fc_alloc(1, sizeof *f, "adapter", &p));
    f = p;
    f->base = *base;
    st = open_files(f, folder);
    if (st) fc_adapter_file_close(f);
    else *out = f;
    return st;
}

void fc_adapter_file_close(fc_adapter_file *f) {
    if (!f) return;
    fc_free(f->pairs);
    fc_adapter_config_fini(&f->config);
    fc_free(f->by_name);
    fc_safetensors_fini(&f->st);
    fc_str_fini(&f->path);
    fc_str_fini(&f->config_path);
    fc_free(f);
}

const char *fc_adapter_file_path(const fc_adapter_file *f) { return fc_str_text(&f->path); }

const fc_adapter_pair *fc_adapter_file_pair(const fc_adapter_file *f, int layer, fc_adapter_module m) {
    FC_ASSERT(layer >= 0 && layer < f->base.L && m >= 0 && m < FC_ADAPTER_MODULES);
    return &f->pairs[(size_t)layer * FC_ADAPTER_MODULES + m];
}

const fc_tensor *fc_adapter_file_reward(const fc_adapter_file *f) { return f->reward; }

const int32_t *fc_adapter_file_invocation(const fc_adapter_file *f, int *count) {
    *count = f->config.n_invocation;
    return *count ? f->config.invocation : NULL;
}

uint64_t fc_adapter_file_fingerprint(const fc_adapter_file *f) {
    const fc_adapter_config *c = &f->config;
    uint64_t h = fc_fingerprint_bytes(0x66635F6164617074u, c->invocation, (size_t)c->n_invocation * sizeof(int32_t));
    for (size_t i = 0; i < (size_t)f->base.L * FC_ADAPTER_MODULES; i++)
        if (f->pairs[i].a) h = fc_fingerprint_bytes(h, &f->pairs[i].scale, sizeof f->pairs[i].scale);
    return fc_fingerprint_tensors(h, f->by_name, f->st.n_tensors);
}
