#include "tests/weights/util_gguf.h"

#include "engine/base/rng.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void must(bool ok, const char *what) {
    if (ok) return;
    fprintf(stderr, "test helper: %s failed\n", what);
    exit(99);
}

void gg_init(gg_file *g) {
    memset(g, 0, sizeof *g);
    g->version = 3;
    g->alignment = 32;
    g->seed = 1;
}

void gg_fini(gg_file *g) {
    fc_str_fini(&g->meta);
    fc_str_fini(&g->infos);
    fc_str_fini(&g->data);
}

void gg_put(fc_str *s, const void *bytes, size_t n) { must(fc_str_put(s, bytes, n) == FC_OK, "fc_str_put"); }
void gg_put_u32(fc_str *s, uint32_t v) { gg_put(s, &v, sizeof v); }
void gg_put_u64(fc_str *s, uint64_t v) { gg_put(s, &v, sizeof v); }

void gg_put_str(fc_str *s, const char *text) {
    gg_put_u64(s, strlen(text));
    gg_put(s, text, strlen(text));
}

char *gg_at(fc_str *s, const char *text) {
    size_t n = strlen(text);
    for (size_t i = 0; i + n <= s->size; i++)
        if (memcmp(s->data + i, text, n) == 0) return s->data + i;
    must(false, text);
    return NULL;
}

void gg_raw(gg_file *g, const char *key, uint32_t type, const void *value, size_t n) {
    gg_put_str(&g->meta, key);
    gg_put_u32(&g->meta, type);
    gg_put(&g->meta, value, n);
    g->n_meta++;
}

void gg_u32(gg_file *g, const char *key, uint32_t v) { gg_raw(g, key, GG_U32, &v, sizeof v); }
void gg_f32(gg_file *g, const char *key, float v) { gg_raw(g, key, GG_F32, &v, sizeof v); }

void gg_bool(gg_file *g, const char *key, bool v) {
    unsigned char b = v;
    gg_raw(g, key, GG_BOOL, &b, 1);
}

void gg_str(gg_file *g, const char *key, const char *v) {
    gg_raw(g, key, GG_STRING, "", 0);
    gg_put_str(&g->meta, v);
}

void gg_strs(gg_file *g, const char *key, const char *const *v, size_t n) {
    gg_raw(g, key, GG_ARRAY, "", 0);
    gg_put_u32(&g->meta, GG_STRING);
    gg_put_u64(&g->meta, n);
    for (size_t i = 0; i < n; i++) gg_put_str(&g->meta, v[i]);
}

void gg_array(gg_file *g, const char *key, uint32_t type, const void *values, size_t n, size_t bytes_each) {
    gg_raw(g, key, GG_ARRAY, "", 0);
    gg_put_u32(&g->meta, type);
    gg_put_u64(&g->meta, n);
    gg_put(&g->meta, values, n * bytes_each);
}

void gg_arch_u32(gg_file *g, const char *arch, const char *key, uint32_t v) {
    char full[128];
    snprintf(full, sizeof full, "%s.%s", arch, key);
    gg_u32(g, full, v);
}

void gg_arch_f32(gg_file *g, const char *arch, const char *key, float v) {
    char full[128];
    snprintf(full, sizeof full, "%s.%s", arch, key);
    gg_f32(g, full, v);
}

void gg_entry(gg_file *g, const char *name, uint32_t n_dims, const uint64_t *dims, uint32_t type, uint64_t offset) {
    gg_put_str(&g->infos, name);
    gg_put_u32(&g->infos, n_dims);
    for (uint32_t i = 0; i < n_dims; i++) gg_put_u64(&g->infos, dims[i]);
    gg_put_u32(&g->infos, type);
    gg_put_u64(&g->infos, offset);
    g->n_tensors++;
}

static void pad(fc_str *s, size_t alignment) {
    while (s->size % alignment) gg_put(s, "", 1);
}

void gg_tensor(gg_file *g, const char *name, uint64_t N, uint64_t K) {
    const uint64_t dims[2] = {K, N};
    pad(&g->data, g->alignment);
    gg_entry(g, name, N ? 2 : 1, dims, 0, g->data.size);
    for (uint64_t i = 0; i < (N ? N : 1) * K; i++) {
        float v = (float)((double)(fc_rng_next(&g->seed) >> 40) * 0x1p-24 - 0.5);
        gg_put(&g->data, &v, sizeof v);
    }
}

void gg_finish(const gg_file *g, fc_str *out) {
    gg_put(out, "GGUF", 4);
    gg_put_u32(out, g->version);
    gg_put_u64(out, g->n_tensors);
    gg_put_u64(out, g->n_meta);
    gg_put(out, fc_str_text(&g->meta), g->meta.size);
    gg_put(out, fc_str_text(&g->infos), g->infos.size);
    if (g->skip_data) return;
    pad(out, g->alignment);
    gg_put(out, fc_str_text(&g->data), g->data.size);
}

void gg_write(const char *path, const void *bytes, size_t n) {
    FILE *f = fopen(path, "wb");
    must(f != NULL, path);
    must(n == 0 || fwrite(bytes, 1, n, f) == n, path);
    must(fclose(f) == 0, path);
}

static char folder[256];

static void remove_folder(void) {
    DIR *d = opendir(folder);
    struct dirent *e;
    char path[600];
    while (d && (e = readdir(d))) {
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) remove(path);
    }
    if (d) closedir(d);
    rmdir(folder);
}

const char *gg_folder(void) {
    const char *tmp = getenv("TMPDIR");
    if (folder[0]) return folder;
    /* memory first: thousands of small files rewritten on a disk wait for the disk */
    snprintf(folder, sizeof folder, "/dev/shm/fc_weights_XXXXXX");
    if (!mkdtemp(folder)) {
        snprintf(folder, sizeof folder, "%s/fc_weights_XXXXXX", tmp && strlen(tmp) < 200 ? tmp : "/tmp");
        must(mkdtemp(folder) != NULL, "mkdtemp");
    }
    atexit(remove_folder);
    return folder;
}

const char *gg_path(const char *name) {
    static char paths[4][600];
    static int next;
    char *p = paths[next++ % 4];
    snprintf(p, sizeof paths[0], "%s/%s", gg_folder(), name);
    return p;
}

static void layer_tensor(gg_file *g, int layer, const char *name, uint64_t N, uint64_t K) {
    char full[64];
    snprintf(full, sizeof full, "blk.%d.%s", layer, name);
    gg_tensor(g, full, N, K);
}

static const char *const tokens[24] = {"<unk>", "<s>", "</s>", "<|im_end|>", "<|eot_id|>", "<end_of_turn>",
                                       "a",     "b",   "c",    "d",          "e",          "f",
                                       "g",     "h",   "i",    "j",          "k",          "l",
                                       "m",     "n",   "o",    "p",          "q",          "r"};

void gg_model(gg_file *g, const char *arch, int L) {
    enum { V = 24, D = 32, H = 4, G = 2, E = 8, F = 48 };
    bool gemma = strncmp(arch, "gemma", 5) == 0, norms = strcmp(arch, "qwen3") == 0 || strcmp(arch, "gemma3") == 0;
    bool bias = strcmp(arch, "qwen2") == 0;
    int32_t types[24];
    float scores[24];
    for (int i = 0; i < 24; i++) types[i] = i == 0 ? 2 : i < 4 ? 3 : 1, scores[i] = (float)-i;
    gg_str(g, "general.architecture", arch);
    gg_str(g, "general.name", "made for a test");
    gg_arch_u32(g, arch, "block_count", (uint32_t)L);
    gg_arch_u32(g, arch, "context_length", 256);
    gg_arch_u32(g, arch, "embedding_length", D);
    gg_arch_u32(g, arch, "feed_forward_length", F);
    gg_arch_u32(g, arch, "attention.head_count", H);
    gg_arch_u32(g, arch, "attention.head_count_kv", G);
    gg_arch_f32(g, arch, "attention.layer_norm_rms_epsilon", 1e-5f);
    gg_str(g, "tokenizer.ggml.model", "llama");
    gg_strs(g, "tokenizer.ggml.tokens", tokens, 24);
    gg_array(g, "tokenizer.ggml.scores", GG_F32, scores, 24, 4);
    gg_array(g, "tokenizer.ggml.token_type", GG_I32, types, 24, 4);
    gg_u32(g, "tokenizer.ggml.bos_token_id", 1);
    gg_u32(g, "tokenizer.ggml.eos_token_id", 2);
    gg_tensor(g, "token_embd.weight", V, D);
    gg_tensor(g, "output_norm.weight", 0, D);
    for (int l = 0; l < L; l++) {
        layer_tensor(g, l, "attn_norm.weight", 0, D);
        layer_tensor(g, l, "attn_q.weight", H * E, D);
        layer_tensor(g, l, "attn_k.weight", G * E, D);
        layer_tensor(g, l, "attn_v.weight", G * E, D);
        if (bias) layer_tensor(g, l, "attn_q.bias", 0, H * E);
        if (bias) layer_tensor(g, l, "attn_k.bias", 0, G * E);
        if (bias) layer_tensor(g, l, "attn_v.bias", 0, G * E);
        if (norms) layer_tensor(g, l, "attn_q_norm.weight", 0, E);
        if (norms) layer_tensor(g, l, "attn_k_norm.weight", 0, E);
        layer_tensor(g, l, "attn_output.weight", D, H * E);
        if (gemma) layer_tensor(g, l, "post_attention_norm.weight", 0, D);
        layer_tensor(g, l, "ffn_norm.weight", 0, D);
        layer_tensor(g, l, "ffn_gate.weight", F, D);
        layer_tensor(g, l, "ffn_up.weight", F, D);
        layer_tensor(g, l, "ffn_down.weight", D, F);
        if (gemma) layer_tensor(g, l, "post_ffw_norm.weight", 0, D);
    }
}
