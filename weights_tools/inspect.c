/* What a model file holds, for a person or as one JSON object. */
#include "weights_tools/tools.h"

#include "engine/base/json.h"
#include "engine/base/mem.h"
#include "engine/base/quant.h"
#include "weights_tools/layout.h"
#include "weights_tools/weights.h"

#include <stdio.h>
#include <string.h>

enum { POSITIONS = 1000, MAX_TOKENIZER = 256 << 20 };

typedef struct {
    bool there;
    char kind[64], pre[64]; /* as the file names them */
    size_t vocab, merges;
    bool chat_template, whole_json;
    char problem[512]; /* why it cannot be read, or "" */
} tokenizer;

/* F8 matrices by what a scale is for. */
typedef struct {
    size_t none, tensor, row, block;
} f8_count;

typedef struct {
    const fc_weights *w;
    const fc_model_config *c;
    tokenizer tok;
    uint64_t parameters, bytes;        /* of all tensors in the file */
    uint64_t held;                     /* bytes of the weights in memory, packed */
    uint64_t kv_f32, kv_bf16, kv_int8; /* bytes of KV for POSITIONS; fp8 takes what int8 does */
    size_t count[FC_DTYPE_COUNT];      /* tensors */
    uint64_t of_type[FC_DTYPE_COUNT];  /* bytes */
    f8_count f8;
} report;

static void copy_text(const fc_meta *m, char out[64]) {
    size_t n = m->kind != FC_META_STRING ? 0 : m->s.size < 63 ? m->s.size : 63;
    memcpy(out, m->s.text ? m->s.text : "", n);
    out[n] = '\0';
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)out[i] < 0x20 || out[i] == 0x7f) out[i] = '?';
}

static size_t count_of(const fc_weights *w, const char *key) {
    fc_meta m;
    return fc_weights_meta(w, key, &m) && m.kind == FC_META_ARRAY ? m.count : 0;
}

static void read_tokenizer_gguf(const fc_weights *w, tokenizer *t) {
    fc_meta m;
    t->vocab = count_of(w, "tokenizer.ggml.tokens");
    t->merges = count_of(w, "tokenizer.ggml.merges");
    if (fc_weights_meta(w, "tokenizer.ggml.model", &m)) copy_text(&m, t->kind);
    if (fc_weights_meta(w, "tokenizer.ggml.pre", &m)) copy_text(&m, t->pre);
    t->chat_template = fc_weights_meta(w, "tokenizer.chat_template", NULL);
    t->whole_json = fc_weights_meta(w, "tokenizer.huggingface.json", NULL);
    t->there = t->vocab || t->whole_json;
}

static size_t children(const fc_json *object, const char *key) {
    const fc_json *n = fc_json_get(object, key);
    return n ? fc_json_count(n) : 0;
}

/* A tokenizer that cannot be read is a part of the report, not the end of it. */
static void read_tokenizer_json(const fc_weights *w, tokenizer *t) {
    const char *path = fc_weights_tokenizer_json_path(w), *kind = NULL;
    const fc_json *model, *type;
    fc_json_doc *doc;
    if (!path) return;
    t->there = t->whole_json = true;
    if (fc_json_open(path, MAX_TOKENIZER, &doc)) {
        snprintf(t->problem, sizeof t->problem, "%s", fc_status_text());
        return;
    }
    model = fc_json_get(fc_json_root(doc), "model");
    type = fc_json_get(model, "type");
    if (type && fc_json_kind(type) == FC_JSON_STRING && fc_json_string(type, &kind) == FC_OK)
        snprintf(t->kind, sizeof t->kind, "%s", kind);
    t->vocab = children(model, "vocab");
    t->merges = children(model, "merges");
    fc_json_close(doc);
}

static uint64_t held_bytes(const fc_tensor *t, bool vector) {
    uint64_t cols = t->scale ? (uint64_t)t->scale_cols : (uint64_t)t->K, scales = 0;
    if (t->dtype == FC_F8) scales = (uint64_t)t->N * (((uint64_t)t->K - 1) / cols + 1) * sizeof(float);
    return fc_quant_held_bytes(vector ? FC_F32 : t->dtype, (uint64_t)t->N * (uint64_t)t->K) + scales;
}

static void count_f8(const fc_tensor *t, f8_count *c) {
    if (t->dtype != FC_F8) return;
    if (!t->scale) c->none++;
    else if (t->scale_cols < t->K || (t->scale_rows > 1 && t->scale_rows < t->N)) c->block++;
    else if (t->scale_rows >= t->N) c->tensor++;
    else c->row++;
}

static fc_status measure(report *r) {
    const fc_model_config *c = r->c;
    uint64_t heads = 2 * (uint64_t)c->L * (uint64_t)c->G * POSITIONS, elements = heads * (uint64_t)c->E;
    for (size_t i = 0; i < fc_weights_count(r->w); i++) {
        const fc_tensor *t = fc_weights_at(r->w, i);
        r->parameters += (uint64_t)t->N * (uint64_t)t->K;
        r->bytes += t->bytes;
        r->count[t->dtype]++;
        r->of_type[t->dtype] += t->bytes;
        count_f8(t, &r->f8);
    }
    for (size_t i = 0; i < fc_layout_count(c); i++) {
        fc_layout_entry e;
        const fc_tensor *t;
        fc_layout_at(c, i, &e);
        FC_TRY(fc_weights_need(r->w, e.name, e.N, e.K, &t));
        r->held += held_bytes(t, e.vector);
    }
    r->kv_f32 = 4 * elements;
    r->kv_bf16 = 2 * elements;
    r->kv_int8 = elements + heads * sizeof(float); /* a scale for each token and head, of K and of V */
    if (fc_weights_is_gguf(r->w)) read_tokenizer_gguf(r->w, &r->tok);
    else read_tokenizer_json(r->w, &r->tok);
    return FC_OK;
}

static int local_layers(const fc_model_config *c) {
    int n = 0;
    for (int i = 0; i < c->L; i++) n += c->local[i];
    return n;
}

static const char *scaling_name(fc_rope_scaling s) {
    static const char *const names[] = {"none", "linear", "llama3", "yarn"};
    return names[s];
}

/* ---- text -------------------------------------------------------------------------------------------------- */

/* "93.5 MB" (10^6 bytes), right-aligned by the caller. */
static const char *size_text(uint64_t n, char buf[32]) {
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    double v = (double)n;
    int u = 0;
    while (v >= 999.95 && u < 4) {
        v /= 1000.0;
        u++;
    }
    if (u == 0) snprintf(buf, 32, "%llu B", (unsigned long long)n);
    else snprintf(buf, 32, "%.1f %s", v, units[u]);
    return buf;
}

static fc_status text_config(const report *r, fc_str *s) {
    const fc_model_config *c = r->c;
    FC_TRY(fc_str_printf(s, "config\n  vocabulary %d, model %d, layers %d, heads %d, KV heads %d, head %d, hidden %d\n",
                         c->V, c->D, c->L, c->H, c->G, c->E, c->F));
    FC_TRY(fc_str_printf(s, "  context %d, norm eps %g, head %s\n", c->ctx, (double)c->norm_eps,
                         c->tied ? "tied to the embeddings" : "of its own"));
    FC_TRY(fc_str_printf(s, "  rope base %g, %d dimensions in %s", (double)c->rope_theta, c->rope_dim,
                         c->rope_interleaved ? "pairs" : "halves"));
    if (c->rope_local_own) FC_TRY(fc_str_printf(s, ", base %g in local layers", (double)c->rope_theta_local));
    if (c->rope_scaling != FC_ROPE_NONE)
        FC_TRY(fc_str_printf(s, ", scaling %s x%g", scaling_name(c->rope_scaling), (double)c->rope_factor));
    if (c->rope_freqs_tensor) FC_TRY(fc_str_puts(s, ", divided by rope_freqs"));
    FC_TRY(fc_str_puts(s, "\n"));
    if (c->window) FC_TRY(fc_str_printf(s, "  window %d in %d of %d layers\n", c->window, local_layers(c), c->L));
    if (c->attn_soft_cap > 0.0f || c->final_soft_cap > 0.0f)
        FC_TRY(fc_str_printf(s, "  soft caps: attention %g, logits %g\n", (double)c->attn_soft_cap,
                             (double)c->final_soft_cap));
    FC_TRY(fc_str_printf(
        s, "  %s%s%s%s%s%s\n", c->gelu_tanh ? "GeGLU" : "SwiGLU", c->qkv_bias ? ", biases on q, k, v" : "",
        c->out_bias ? ", bias on the output" : "", c->qk_norm ? ", norms on q and k" : "",
        c->post_norms ? ", norms behind attention and FFN" : "", c->reward_head ? ", reward head" : ""));
    return FC_OK;
}

static fc_status text_tokenizer(const report *r, fc_str *s) {
    const tokenizer *t = &r->tok;
    const fc_model_config *c = r->c;
    FC_TRY(fc_str_puts(s, "tokenizer\n"));
    if (!t->there) FC_TRY(fc_str_puts(s, "  none\n"));
    else if (t->problem[0]) FC_TRY(fc_str_printf(s, "  unreadable: %s\n", t->problem));
    else
        FC_TRY(fc_str_printf(s, "  %s%s%s, %zu tokens, %zu merges%s%s\n", t->kind[0] ? t->kind : "?",
                             t->pre[0] ? ", " : "", t->pre, t->vocab, t->merges,
                             t->whole_json ? ", tokenizer.json" : "", t->chat_template ? ", chat template" : ""));
    if (c->bos >= 0)
        FC_TRY(fc_str_printf(s, "  BOS %d%s, end", c->bos,
                             c->add_bos ? " (put in front of prompts)" : " (not put in front of prompts)"));
    else FC_TRY(fc_str_puts(s, "  no BOS, end"));
    for (int i = 0; i < c->n_eos; i++) FC_TRY(fc_str_printf(s, " %d", c->eos[i]));
    return fc_str_puts(s, c->n_eos ? "\n" : " none\n");
}

static int type_width(const report *r) { return r->count[FC_F8] ? 7 : 5; }

/* How F8 matrices are scaled, and what the file says that is not followed. */
static fc_status text_f8(const report *r, fc_str *s) {
    const fc_quant_info *q = fc_weights_quant(r->w);
    const f8_count *f = &r->f8;
    if (q->method[0]) FC_TRY(fc_str_printf(s, "  quantised as %s says\n", q->method));
    if (r->count[FC_F8])
        FC_TRY(fc_str_printf(s, "  scales of F8_E4M3: %zu of a tensor, %zu of rows, %zu of blocks, %zu without\n",
                             f->tensor, f->row, f->block, f->none));
    if (f->block)
        FC_TRY(fc_str_printf(s, "  blocks of %lld x %lld\n", (long long)q->block_rows, (long long)q->block_cols));
    if (q->activation_scales)
        FC_TRY(fc_str_printf(s, "  not read: %zu scales of activations, which are not rounded to FP8 here\n",
                             q->activation_scales));
    if (q->kv_scales) FC_TRY(fc_str_printf(s, "  not read: %zu scales of KV, which has its own here\n", q->kv_scales));
    return FC_OK;
}

static fc_status text_memory(const report *r, fc_str *s) {
    char a[32], b[32], d[32];
    FC_TRY(fc_str_puts(s, "types\n"));
    for (int t = 0; t < FC_DTYPE_COUNT; t++)
        if (r->count[t])
            FC_TRY(fc_str_printf(s, "  %-*s %6zu tensors %10s\n", type_width(r), fc_dtype_name((fc_dtype)t),
                                 r->count[t], size_text(r->of_type[t], a)));
    FC_TRY(text_f8(r, s));
    FC_TRY(fc_str_printf(s, "memory (estimated)\n  weights as held %s\n", size_text(r->held, a)));
    return fc_str_printf(s, "  KV for 1,000 positions: f32 %s, bf16 %s, int8 and fp8 %s\n", size_text(r->kv_f32, a),
                         size_text(r->kv_bf16, b), size_text(r->kv_int8, d));
}

static fc_status text_tensors(const report *r, fc_str *s) {
    size_t widest = 0;
    for (size_t i = 0; i < fc_weights_count(r->w); i++) {
        size_t n = strlen(fc_weights_at(r->w, i)->name);
        if (n > widest) widest = n;
    }
    FC_TRY(fc_str_puts(s, "tensors\n"));
    for (size_t i = 0; i < fc_weights_count(r->w); i++) {
        const fc_tensor *t = fc_weights_at(r->w, i);
        char shape[64], a[32];
        if (t->n_dims == 1) snprintf(shape, sizeof shape, "%lld", (long long)t->K);
        else snprintf(shape, sizeof shape, "%lld x %lld", (long long)t->N, (long long)t->K);
        FC_TRY(fc_str_printf(s, "  %-*s  %-*s %16s %10s\n", (int)widest, t->name, type_width(r),
                             fc_dtype_name(t->dtype), shape, size_text(t->bytes, a)));
    }
    return FC_OK;
}

static fc_status write_text(const report *r, fc_str *s) {
    char a[32];
    FC_TRY(fc_str_printf(s, "%s\n  %s, %s%s%s, %.1f M parameters in %zu tensors, %s\n", fc_weights_path(r->w),
                         fc_weights_is_gguf(r->w) ? "GGUF" : "safetensors", r->c->arch, r->c->name[0] ? ", " : "",
                         r->c->name, (double)r->parameters / 1e6, fc_weights_count(r->w), size_text(r->bytes, a)));
    FC_TRY(text_config(r, s));
    FC_TRY(text_tokenizer(r, s));
    FC_TRY(text_memory(r, s));
    return text_tensors(r, s);
}

/* ---- JSON -------------------------------------------------------------------------------------------------- */

static fc_status put_text(fc_str *s, const char *key, const char *text) {
    FC_TRY(fc_str_printf(s, "\"%s\":", key));
    FC_TRY(fc_json_put_string(s, text, strlen(text)));
    return fc_str_puts(s, ",");
}

static fc_status put_number(fc_str *s, const char *key, double v) {
    FC_TRY(fc_str_printf(s, "\"%s\":", key));
    FC_TRY(fc_json_put_double(s, v));
    return fc_str_puts(s, ",");
}

static fc_status put_count(fc_str *s, const char *key, uint64_t v) {
    return fc_str_printf(s, "\"%s\":%llu,", key, (unsigned long long)v);
}

static fc_status put_flag(fc_str *s, const char *key, bool v) {
    return fc_str_printf(s, "\"%s\":%s,", key, v ? "true" : "false");
}

/* The last entry's comma becomes the closing bracket. */
static fc_status close_with(fc_str *s, char bracket, const char *behind) {
    if (s->data[s->size - 1] == ',') s->data[s->size - 1] = bracket;
    else FC_TRY(fc_str_put(s, &bracket, 1));
    return fc_str_puts(s, behind);
}

static fc_status json_config(const report *r, fc_str *s) {
    const fc_model_config *c = r->c;
    const struct {
        const char *key;
        int v;
    } numbers[] = {{"vocab", c->V},
                   {"dim", c->D},
                   {"layers", c->L},
                   {"heads", c->H},
                   {"kv_heads", c->G},
                   {"head_dim", c->E},
                   {"hidden", c->F},
                   {"ctx", c->ctx},
                   {"window", c->window},
                   {"local_layers", local_layers(c)},
                   {"rope_dim", c->rope_dim},
                   {"rope_original_ctx", c->rope_original_ctx},
                   {"bos", c->bos}};
    const struct {
        const char *key;
        float v;
    } reals[] = {{"norm_eps", c->norm_eps},
                 {"rope_theta", c->rope_theta},
                 {"rope_theta_local", c->rope_theta_local},
                 {"rope_factor", c->rope_factor},
                 {"attn_scale", c->attn_scale},
                 {"attn_soft_cap", c->attn_soft_cap},
                 {"final_soft_cap", c->final_soft_cap}};
    const struct {
        const char *key;
        bool v;
    } flags[] = {{"rope_interleaved", c->rope_interleaved},
                 {"rope_freqs_tensor", c->rope_freqs_tensor},
                 {"qkv_bias", c->qkv_bias},
                 {"out_bias", c->out_bias},
                 {"qk_norm", c->qk_norm},
                 {"post_norms", c->post_norms},
                 {"norm_plus_one", c->norm_plus_one},
                 {"gelu_tanh", c->gelu_tanh},
                 {"embed_scale", c->embed_scale},
                 {"tied", c->tied},
                 {"reward_head", c->reward_head},
                 {"add_bos", c->add_bos},
                 {"add_eos", c->add_eos}};
    FC_TRY(fc_str_puts(s, "\"config\":{"));
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        FC_TRY(fc_str_printf(s, "\"%s\":%d,", numbers[i].key, numbers[i].v));
    for (size_t i = 0; i < sizeof reals / sizeof reals[0]; i++) FC_TRY(put_number(s, reals[i].key, (double)reals[i].v));
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) FC_TRY(put_flag(s, flags[i].key, flags[i].v));
    FC_TRY(put_text(s, "rope_scaling", scaling_name(c->rope_scaling)));
    FC_TRY(fc_str_puts(s, "\"eos\":["));
    for (int i = 0; i < c->n_eos; i++) FC_TRY(fc_str_printf(s, "%d,", c->eos[i]));
    FC_TRY(close_with(s, ']', ","));
    return close_with(s, '}', ",");
}

static fc_status json_tokenizer(const report *r, fc_str *s) {
    const tokenizer *t = &r->tok;
    if (!t->there) return fc_str_puts(s, "\"tokenizer\":null,");
    FC_TRY(fc_str_puts(s, "\"tokenizer\":{"));
    FC_TRY(put_text(s, "model", t->kind));
    FC_TRY(put_text(s, "pre", t->pre));
    FC_TRY(put_count(s, "tokens", t->vocab));
    FC_TRY(put_count(s, "merges", t->merges));
    FC_TRY(put_flag(s, "tokenizer_json", t->whole_json));
    FC_TRY(put_flag(s, "chat_template", t->chat_template));
    if (t->problem[0]) FC_TRY(put_text(s, "error", t->problem));
    return close_with(s, '}', ",");
}

static fc_status json_f8(const report *r, fc_str *s) {
    const fc_quant_info *q = fc_weights_quant(r->w);
    if (!r->count[FC_F8] && !q->method[0]) return fc_str_puts(s, "\"f8\":null,");
    FC_TRY(fc_str_puts(s, "\"f8\":{"));
    FC_TRY(put_text(s, "method", q->method));
    FC_TRY(put_count(s, "tensor_scales", r->f8.tensor));
    FC_TRY(put_count(s, "row_scales", r->f8.row));
    FC_TRY(put_count(s, "block_scales", r->f8.block));
    FC_TRY(put_count(s, "without", r->f8.none));
    FC_TRY(fc_str_printf(s, "\"block\":[%lld,%lld],", (long long)q->block_rows, (long long)q->block_cols));
    FC_TRY(put_count(s, "activation_scales_not_read", q->activation_scales));
    FC_TRY(put_count(s, "kv_scales_not_read", q->kv_scales));
    return close_with(s, '}', ",");
}

static fc_status json_memory(const report *r, fc_str *s) {
    FC_TRY(fc_str_puts(s, "\"types\":["));
    for (int t = 0; t < FC_DTYPE_COUNT; t++)
        if (r->count[t])
            FC_TRY(fc_str_printf(s, "{\"type\":\"%s\",\"tensors\":%zu,\"bytes\":%llu},", fc_dtype_name((fc_dtype)t),
                                 r->count[t], (unsigned long long)r->of_type[t]));
    FC_TRY(close_with(s, ']', ",\"memory\":{"));
    FC_TRY(put_count(s, "weights_held", r->held));
    FC_TRY(put_count(s, "kv_f32_per_1000", r->kv_f32));
    FC_TRY(put_count(s, "kv_bf16_per_1000", r->kv_bf16));
    FC_TRY(put_count(s, "kv_int8_per_1000", r->kv_int8));
    FC_TRY(put_count(s, "kv_fp8_per_1000", r->kv_int8));
    return close_with(s, '}', ",");
}

static fc_status write_json(const report *r, fc_str *s) {
    FC_TRY(fc_str_puts(s, "{"));
    FC_TRY(put_text(s, "file", fc_weights_path(r->w)));
    FC_TRY(put_text(s, "format", fc_weights_is_gguf(r->w) ? "gguf" : "safetensors"));
    FC_TRY(put_text(s, "arch", r->c->arch));
    FC_TRY(put_text(s, "name", r->c->name));
    FC_TRY(put_count(s, "parameters", r->parameters));
    FC_TRY(put_count(s, "bytes", r->bytes));
    FC_TRY(json_config(r, s));
    FC_TRY(json_tokenizer(r, s));
    FC_TRY(json_f8(r, s));
    FC_TRY(json_memory(r, s));
    FC_TRY(fc_str_puts(s, "\"tensors\":["));
    for (size_t i = 0; i < fc_weights_count(r->w); i++) {
        const fc_tensor *t = fc_weights_at(r->w, i);
        FC_TRY(fc_str_puts(s, "{"));
        FC_TRY(put_text(s, "name", t->name));
        FC_TRY(put_text(s, "type", fc_dtype_name(t->dtype)));
        if (t->n_dims == 1) FC_TRY(fc_str_printf(s, "\"shape\":[%lld],", (long long)t->K));
        else FC_TRY(fc_str_printf(s, "\"shape\":[%lld,%lld],", (long long)t->N, (long long)t->K));
        FC_TRY(fc_str_printf(s, "\"bytes\":%zu},", t->bytes));
    }
    FC_TRY(close_with(s, ']', ""));
    return fc_str_puts(s, "}\n");
}

fc_status fc_tools_inspect(const char *path, bool json, fc_str *out) {
    fc_weights *w;
    fc_status st;
    report r = {0};
    FC_TRY(fc_weights_open(path, &w));
    r.w = w;
    r.c = fc_weights_config(w);
    st = measure(&r);
    if (!st) st = json ? write_json(&r, out) : write_text(&r, out);
    fc_weights_close(w);
    return st;
}
