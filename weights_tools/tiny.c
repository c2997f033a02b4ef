#include "weights_tools/tools.h"

#include "engine/base/mem.h"
#include "engine/base/quant.h"
#include "weights_tools/config_read.h"
#include "weights_tools/config_write.h"
#include "weights_tools/layout.h"
#include "weights_tools/tiny_presets.h"
#include "weights_tools/tiny_tok.h"
#include "weights_tools/tiny_values.h"

#include <math.h>
#include <string.h>

static void set(int *field, int v) {
    if (v) *field = v;
}

static fc_status check_options(const fc_tiny_options *o) {
    const struct {
        const char *name; /* as the program calls it */
        int v;
    } sizes[] = {{"vocab", o->V},    {"dim", o->D},    {"layers", o->L}, {"heads", o->H},      {"kv-heads", o->G},
                 {"head-dim", o->E}, {"hidden", o->F}, {"ctx", o->ctx},  {"window", o->window}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (sizes[i].v < 0) return FC_FAIL(FC_ERR_ARG, "random model: %s is %d", sizes[i].name, sizes[i].v);
    if (o->V && o->V < FC_TINY_MIN_V)
        return FC_FAIL(FC_ERR_ARG, "random model: vocab is %d; at least %d, for 256 bytes, special tokens and merges",
                       o->V, FC_TINY_MIN_V);
    if (!(o->logit_std >= 0.0f && o->logit_std <= 1000.0f)) /* written so that NaN fails */
        return FC_FAIL(FC_ERR_ARG, "random model: a logit spread of %g; 0 (default) to 1000 are possible",
                       (double)o->logit_std);
    if (o->type != FC_F32 && o->type != FC_F16 && o->type != FC_BF16 && o->type != FC_Q8_0 && o->type != FC_Q4_0)
        return FC_FAIL(FC_ERR_ARG, "random model: type %s; F32, F16, BF16, Q8_0 and Q4_0 are made",
                       fc_dtype_name(o->type));
    return FC_OK;
}

fc_status fc_tiny_configure(const fc_tiny_options *o, fc_model_config *out) {
    fc_model_config c = {0};
    bool gemma3;
    FC_TRY(check_options(o));
    FC_TRY(fc_tiny_preset(o->arch, o->like, &c));
    gemma3 = strcmp(c.arch, "gemma3") == 0;
    set(&c.V, o->V);
    set(&c.D, o->D);
    set(&c.L, o->L);
    set(&c.F, o->F);
    set(&c.ctx, o->ctx);
    set(&c.window, o->window);
    if (o->H) {
        c.H = o->H;
        if (c.H % c.G) c.G = c.H;
    }
    set(&c.G, o->G);
    if (o->D || o->H) c.E = c.D / c.H / 2 * 2; /* even, for the rotation */
    set(&c.E, o->E);
    c.rope_dim = c.E;
    c.rope_theta_local = gemma3 ? 1e4f : c.rope_theta;
    c.rope_local_own = gemma3;
    if (c.window) fc_config_local_pattern(&c, strcmp(c.arch, "gemma2") == 0 ? 2 : gemma3 ? 6 : 0);
    if (c.E < 2)
        return FC_FAIL(FC_ERR_ARG,
                       "random model: dim %d and heads %d leave %d for the dimension of a head, and it must be at "
                       "least 2; give head-dim",
                       c.D, c.H, c.E);
    c.attn_scale = 1.0f / sqrtf((float)c.E);
    c.reward_head = o->reward_head;
    c.bos = FC_TINY_BOS;
    c.eos[0] = FC_TINY_EOS;
    c.n_eos = 1;
    if (fc_config_check("random model", &c)) return FC_FAIL(FC_ERR_ARG, "%s", fc_status_text());
    *out = c;
    return FC_OK;
}

typedef struct {
    const fc_tiny_options *o;
    fc_model_config file, source; /* as the file states it; with Llama 3's scaling by its numbers */
    fc_gguf_write *w;
    fc_progress progress;
    void *arg;
} job;

static fc_status write_tensor(job *j, const fc_layout_entry *e, float *row, void *packed) {
    fc_dtype type = fc_config_tensor_type(j->o->type, e->name, e->vector, e->K);
    fc_tiny_spread v = fc_tiny_values(&j->source, e->name, j->o->logit_std);
    uint64_t state = fc_tiny_stream(j->o->seed, e->name);
    size_t bytes = 0;
    FC_TRY(fc_dtype_row_bytes(type, (size_t)e->K, &bytes));
    for (int64_t r = 0; r < e->N; r++) {
        if (strcmp(e->name, "rope_freqs.weight") == 0) fc_config_rope_divisors(&j->source, row);
        else fc_tiny_draw(&state, v, row, (size_t)e->K);
        FC_TRY(fc_quant_row(type, row, packed, (size_t)e->K));
        FC_TRY(fc_gguf_write_data(j->w, packed, bytes));
    }
    return FC_OK;
}

static fc_status write_model(job *j) {
    size_t n = fc_layout_count(&j->file), longest = 1;
    fc_layout_entry e;
    void *row = NULL, *packed = NULL;
    fc_status st;
    FC_TRY(fc_config_write(j->w, &j->file, j->o->type));
    FC_TRY(fc_tiny_tok_write(j->w, j->file.V));
    for (size_t i = 0; i < n; i++) {
        fc_layout_at(&j->file, i, &e);
        if ((size_t)e.K > longest) longest = (size_t)e.K;
        FC_TRY(fc_gguf_write_tensor(j->w, e.name, fc_config_tensor_type(j->o->type, e.name, e.vector, e.K),
                                    e.vector ? 1 : 2, e.N, e.K));
    }
    FC_TRY(fc_gguf_write_start(j->w, j->progress, j->arg));
    FC_TRY_GOTO(st, fc_alloc(longest, sizeof(float), "row", &row), out);
    FC_TRY_GOTO(st, fc_alloc(longest, sizeof(float), "row", &packed), out); /* no type is wider than a float */
    for (size_t i = 0; i < n; i++) {
        fc_layout_at(&j->file, i, &e);
        FC_TRY_GOTO(st, write_tensor(j, &e, row, packed), out);
    }
    st = fc_gguf_write_finish(j->w);
out:
    fc_free(packed);
    fc_free(row);
    return st;
}

fc_status fc_tools_tiny(const fc_tiny_options *o, const char *out, fc_progress progress, void *arg) {
    job j = {.o = o, .progress = progress, .arg = arg};
    fc_status st;
    FC_TRY(fc_tiny_configure(o, &j.source));
    fc_config_to_gguf(&j.source, &j.file);
    FC_TRY(fc_gguf_write_open(out, NULL, &j.w));
    st = write_model(&j);
    fc_gguf_write_close(j.w);
    return st;
}
