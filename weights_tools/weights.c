#include "weights_tools/weights.h"

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "engine/base/quant.h"
#include "engine/base/str.h"
#include "weights_tools/config_read.h"
#include "weights_tools/fingerprint.h"
#include "weights_tools/gguf.h"
#include "weights_tools/layout.h"
#include "weights_tools/like.h"
#include "weights_tools/packed.h"
#include "weights_tools/quant_config.h"
#include "weights_tools/safetensors.h"
#include "weights_tools/scales.h"
#include "weights_tools/tensors.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fc_weights {
    char *path; /* of the file that was opened: the .gguf, the .safetensors or the index */
    fc_model_config config;
    fc_quant_info quant;
    bool is_gguf;
    fc_map map; /* GGUF */
    fc_gguf gguf;
    fc_safetensors st;
    fc_like like;
    const fc_tensor *tensors; /* [n] of gguf, st or like */
    size_t n;
    const fc_tensor **by_name; /* [n] */
    char *tokenizer_json;      /* path, or NULL */
};

enum { MAX_JSON = 16 << 20 };

/* The folder's one file with this ending into *found (room for a name), counted; the folder must be readable. */
static fc_status only_file(const char *folder, const char *ending, char found[256], int *count) {
    DIR *d = opendir(folder);
    struct dirent *e;
    if (!d) return FC_FAIL(FC_ERR_IO, "%s: %s", folder, strerror(errno));
    *count = 0;
    while ((e = readdir(d)))
        if (e->d_name[0] != '.' && fc_ends_with(e->d_name, ending)) {
            memcpy(found, e->d_name, strlen(e->d_name) + 1); /* d_name is at most 255 bytes and a NUL */
            ++*count;
        }
    closedir(d);
    return FC_OK;
}

/* A folder's model: an index of shards, one safetensors file, or one GGUF file. */
static fc_status resolve(const char *path, fc_str *out) {
    static const char *const names[] = {"model.safetensors.index.json", "model.safetensors"};
    static const char *const endings[] = {".gguf", ".safetensors"};
    char found[256];
    int count;
    if (!fc_path_is_dir(path)) return fc_str_puts(out, path);
    for (size_t i = 0; i < 2; i++) {
        fc_str_clear(out);
        FC_TRY(fc_str_printf(out, "%s/%s", path, names[i]));
        if (fc_path_exists(fc_str_text(out))) return FC_OK;
    }
    for (size_t i = 0; i < 2; i++) {
        FC_TRY(only_file(path, endings[i], found, &count));
        if (count > 1)
            return FC_FAIL(FC_ERR_FORMAT, "%s: %d files end in %s; name one of them", path, count, endings[i]);
        if (count == 1) {
            fc_str_clear(out);
            return fc_str_printf(out, "%s/%s", path, found);
        }
    }
    return FC_FAIL(FC_ERR_FORMAT, "%s: no model.safetensors.index.json, .safetensors or .gguf file in this folder",
                   path);
}

/* GGUF has no FP8: our own files have I8 tensors, scales, and a key that says so. */
static fc_status read_f8_gguf(fc_gguf *g, fc_quant_info *out) {
    const fc_gguf_meta *key = fc_gguf_find(g, FC_KEY_F8);
    if (!key || key->value.kind != FC_META_BOOL || !key->value.i) return FC_OK;
    snprintf(out->method, sizeof out->method, "%s", FC_KEY_F8);
    for (size_t i = 0; i < g->n_tensors; i++)
        if (g->tensors[i].dtype == FC_I8) g->tensors[i].dtype = FC_F8;
    return fc_scales_join(g->path, &g->arena, g->tensors, &g->n_tensors, out);
}

static fc_status open_gguf(fc_weights *w) {
    w->is_gguf = true;
    FC_TRY(fc_gguf_parse(w->path, w->map.data, w->map.size, &w->gguf));
    FC_TRY(read_f8_gguf(&w->gguf, &w->quant));
    w->tensors = w->gguf.tensors;
    w->n = w->gguf.n_tensors;
    return fc_config_gguf(&w->gguf, &w->config);
}

/* NULL when the file is not there. */
static fc_status open_json_beside(const char *file, const char *name, fc_str *path, fc_json_doc **out) {
    *out = NULL;
    FC_TRY(fc_path_beside(file, name, path));
    if (!fc_path_exists(fc_str_text(path))) return FC_OK;
    return fc_json_open(fc_str_text(path), MAX_JSON, out);
}

static const fc_json *root_of(const fc_json_doc *d) { return d ? fc_json_root(d) : NULL; }

/* What quantised a model says so in config.json, or, years ago, in a file of its own. */
static fc_status read_quant_config(fc_weights *w, const fc_json *config, const char *config_path) {
    static const char *const names[] = {"quantize_config.json", "quant_config.json"};
    fc_str path = {0};
    fc_status st;
    FC_TRY(fc_quant_config_hf(config_path, config, &w->quant));
    for (size_t i = 0; i < sizeof names / sizeof names[0] && !w->quant.method[0]; i++) {
        fc_json_doc *own = NULL;
        FC_TRY_GOTO(st, open_json_beside(w->path, names[i], &path, &own), out);
        if (own) st = fc_quant_config_own(fc_json_root(own), &w->quant);
        fc_json_close(own);
        if (st) goto out;
    }
    st = FC_OK;
out:
    fc_str_fini(&path);
    return st;
}

static fc_status read_hf_config(fc_weights *w) {
    fc_json_doc *config = NULL, *generation = NULL, *tokenizer = NULL;
    fc_str path = {0};
    fc_status st;
    FC_TRY_GOTO(st, open_json_beside(w->path, "generation_config.json", &path, &generation), out);
    FC_TRY_GOTO(st, open_json_beside(w->path, "tokenizer_config.json", &path, &tokenizer), out);
    FC_TRY_GOTO(st, fc_path_beside(w->path, "tokenizer.json", &path), out);
    if (fc_path_exists(fc_str_text(&path)))
        FC_TRY_GOTO(st, fc_copy_str(fc_str_text(&path), "path of tokenizer.json", &w->tokenizer_json), out);
    FC_TRY_GOTO(st, fc_path_beside(w->path, "config.json", &path), out);
    FC_TRY_GOTO(st, fc_json_open(fc_str_text(&path), MAX_JSON, &config), out);
    FC_TRY_GOTO(st, read_quant_config(w, fc_json_root(config), fc_str_text(&path)), out);
    st = fc_config_hf(fc_str_text(&path), fc_json_root(config), root_of(generation), root_of(tokenizer), &w->config);
out:
    fc_json_close(tokenizer);
    fc_json_close(generation);
    fc_json_close(config);
    fc_str_fini(&path);
    return st;
}

static fc_status open_safetensors(fc_weights *w) {
    FC_TRY(read_hf_config(w));
    FC_TRY(fc_safetensors_open(w->path, w->config.post_norms, &w->st));
    FC_TRY(fc_packed_join(w->path, w->config.post_norms, &w->st.arena, w->st.tensors, &w->st.n_tensors, &w->quant));
    FC_TRY(fc_scales_join(w->path, &w->st.arena, w->st.tensors, &w->st.n_tensors, &w->quant));
    w->tensors = w->st.tensors;
    w->n = w->st.n_tensors;
    return FC_OK;
}

/* What config.json cannot say of the tensors: a head that scores, and a head that speaks. */
static void look_for_heads(fc_weights *w) {
    w->config.reward_head = fc_weights_find(w, "score.weight") != NULL;
    if (w->config.reward_head && !w->config.tied && !fc_weights_find(w, "output.weight")) {
        w->config.tied = true;
        w->config.no_lm_head = true;
    }
}

/* blk.<number below L>.<anything> */
static bool in_layers(const char *name, int L) {
    char *end;
    if (strncmp(name, "blk.", 4) != 0 || name[4] < '0' || name[4] > '9') return false;
    return strtoul(name + 4, &end, 10) < (unsigned long)L && *end == '.';
}

/* Some quantisers write a bias for every matrix, of zeros where the model has none: it adds nothing. */
static bool is_zero_bias(const fc_tensor *t) {
    const unsigned char *p = t->data;
    if (!fc_ends_with(t->name, ".bias") || !fc_dtype_is_float(t->dtype)) return false;
    for (size_t i = 0; i < t->bytes; i++)
        if (p[i]) return false;
    return true;
}

/* A part of a layer, or a bias behind the layers, that this configuration does not compute would be a silent mistake;
 * other tensors outside the layers (and layers behind the last) are nobody's business. */
static fc_status refuse_unused(const fc_weights *w, const bool *used) {
    for (size_t i = 0; i < w->n; i++) {
        const fc_tensor *t = &w->tensors[i];
        if (used[i] || is_zero_bias(t)) continue;
        if (in_layers(t->name, w->config.L) || (strncmp(t->name, "output", 6) == 0 && fc_ends_with(t->name, ".bias")))
            return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: tensor %s: architecture %s as configured does not use it", w->path,
                           t->file_name, w->config.arch);
    }
    return FC_OK;
}

/* Everything that the configuration implies is there, with its shape and a usable type. */
static fc_status check_layout(const fc_weights *w) {
    size_t n = fc_layout_count(&w->config);
    void *p;
    bool *used; /* [w->n] */
    fc_status st = FC_OK;
    FC_TRY(fc_alloc(w->n, sizeof *used, "table of used tensors", &p));
    used = p;
    for (size_t i = 0; i < n; i++) {
        fc_layout_entry e;
        const fc_tensor *t = NULL;
        fc_layout_at(&w->config, i, &e);
        FC_TRY_GOTO(st, fc_weights_need(w, e.name, e.N, e.K, &t), out);
        if (e.vector ? !fc_dtype_is_float(t->dtype) || t->dtype == FC_F8 || t->packed
                     : !fc_dtype_is_float(t->dtype) && !fc_dtype_is_quant(t->dtype)) {
            st = FC_FAIL(FC_ERR_UNSUPPORTED, "%s: tensor %s has type %s; it needs %s", w->path, t->file_name,
                         fc_dtype_name(t->dtype), e.vector ? "F32, F16 or BF16" : "a float or quantised type");
            goto out;
        }
        used[t - w->tensors] = true;
    }
    st = refuse_unused(w, used);
out:
    fc_free(used);
    return st;
}

static fc_status open_file(fc_weights *w, const char *path) {
    fc_str file = {0};
    fc_status st;
    st = resolve(path, &file);
    if (!st) st = fc_copy_str(fc_str_text(&file), "path of a model", &w->path);
    fc_str_fini(&file);
    if (st) return st;
    FC_TRY(fc_map_open(w->path, &w->map));
    if (w->map.size == 0) return FC_FAIL(FC_ERR_FORMAT, "%s: an empty file", w->path);
    if ((w->map.size >= 4 && memcmp(w->map.data, "GGUF", 4) == 0) || fc_ends_with(w->path, ".gguf")) {
        FC_TRY(open_gguf(w));
    } else if (fc_ends_with(w->path, ".safetensors") || fc_ends_with(w->path, ".json")) {
        fc_map_close(&w->map); /* the reader maps it again, with its shards */
        FC_TRY(open_safetensors(w));
    } else {
        return FC_FAIL(FC_ERR_FORMAT, "%s: neither GGUF (begins with \"GGUF\") nor .safetensors nor an index .json",
                       w->path);
    }
    return FC_OK;
}

static fc_status open_like(fc_weights *w, const char *path) {
    fc_gguf whole; /* metadata of the one, tensors of the other; owns nothing */
    FC_TRY(fc_copy_str(path, "name of a model", &w->path));
    FC_TRY(fc_like_open(path, &w->map, &w->like));
    w->is_gguf = true;
    FC_TRY(fc_gguf_parse(w->path, w->map.data, w->map.size, &w->gguf));
    whole = w->gguf;
    whole.tensors = w->like.tensors;
    whole.n_tensors = w->like.n;
    w->tensors = w->like.tensors;
    w->n = w->like.n;
    return fc_config_gguf(&whole, &w->config);
}

static fc_status open_into(fc_weights *w, const char *path) {
    void *p;
    FC_TRY(fc_like_named(path) ? open_like(w, path) : open_file(w, path));
    FC_TRY(fc_alloc(w->n, sizeof *w->by_name, "tensor names", &p));
    w->by_name = p;
    FC_TRY(fc_tensors_sort(w->path, w->tensors, w->n, w->by_name));
    if (!w->is_gguf) look_for_heads(w);
    return check_layout(w);
}

fc_status fc_weights_open(const char *path, fc_weights **out) {
    void *p;
    fc_weights *w;
    fc_status st;
    FC_TRY(fc_alloc(1, sizeof *w, "weights", &p));
    w = p;
    st = open_into(w, path);
    if (st) {
        fc_weights_close(w);
        return st;
    }
    *out = w;
    return FC_OK;
}

void fc_weights_close(fc_weights *w) {
    if (!w) return;
    fc_free(w->tokenizer_json);
    fc_free(w->by_name);
    fc_safetensors_fini(&w->st);
    fc_gguf_fini(&w->gguf);
    fc_like_close(&w->like);
    fc_map_close(&w->map);
    fc_free(w->path);
    fc_free(w);
}

const char *fc_weights_path(const fc_weights *w) { return w->path; }
const fc_model_config *fc_weights_config(const fc_weights *w) { return &w->config; }
const fc_quant_info *fc_weights_quant(const fc_weights *w) { return &w->quant; }
size_t fc_weights_count(const fc_weights *w) { return w->n; }
const fc_tensor *fc_weights_at(const fc_weights *w, size_t i) { return i < w->n ? &w->tensors[i] : NULL; }

const fc_tensor *fc_weights_find(const fc_weights *w, const char *name) {
    return fc_tensors_find(w->by_name, w->n, name);
}

fc_status fc_weights_need(const fc_weights *w, const char *name, int64_t N, int64_t K, const fc_tensor **out) {
    const fc_tensor *t = fc_weights_find(w, name);
    if (!t) return FC_FAIL(FC_ERR_FORMAT, "%s: tensor %s is missing", w->path, name);
    if (t->N != N || t->K != K)
        return FC_FAIL(FC_ERR_FORMAT, "%s: tensor %s has %lld rows of %lld, not %lld rows of %lld", w->path,
                       t->file_name, (long long)t->N, (long long)t->K, (long long)N, (long long)K);
    *out = t;
    return FC_OK;
}

uint64_t fc_weights_fingerprint(const fc_weights *w) { return fc_fingerprint(&w->config, w->by_name, w->n, false); }
uint64_t fc_weights_fingerprint_whole(const fc_weights *w) {
    return fc_fingerprint(&w->config, w->by_name, w->n, true);
}

bool fc_weights_is_gguf(const fc_weights *w) { return w->is_gguf; }
size_t fc_weights_meta_count(const fc_weights *w) { return w->gguf.n_meta; }

const char *fc_weights_meta_key(const fc_weights *w, size_t i, fc_meta *out) {
    if (i >= w->gguf.n_meta) return NULL;
    if (out) *out = w->gguf.meta[i].value;
    return w->gguf.meta[i].key;
}

bool fc_weights_meta(const fc_weights *w, const char *key, fc_meta *out) {
    const fc_gguf_meta *m = fc_gguf_find(&w->gguf, key);
    if (m && out) *out = m->value;
    return m != NULL;
}

/* Of safetensors there is no metadata; the sentence names the file all the same. */
static fc_status need_gguf(const fc_weights *w, const char *key) {
    return w->is_gguf ? FC_OK
                      : FC_FAIL(FC_ERR_FORMAT, "%s: %s is asked for, but this is not a GGUF file", w->path, key);
}

fc_status fc_weights_meta_strings(const fc_weights *w, const char *key, fc_view_str *out, size_t count) {
    FC_TRY(need_gguf(w, key));
    return fc_gguf_strings(&w->gguf, key, out, count);
}

fc_status fc_weights_meta_ints(const fc_weights *w, const char *key, int32_t *out, size_t count) {
    FC_TRY(need_gguf(w, key));
    return fc_gguf_ints(&w->gguf, key, out, count);
}

fc_status fc_weights_meta_floats(const fc_weights *w, const char *key, float *out, size_t count) {
    FC_TRY(need_gguf(w, key));
    return fc_gguf_floats(&w->gguf, key, out, count);
}

const char *fc_weights_tokenizer_json_path(const fc_weights *w) { return w->tokenizer_json; }
