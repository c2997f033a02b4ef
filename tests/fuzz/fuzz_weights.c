/* fuzz_weights - a libFuzzer target for model files. An input that begins with "GGUF" is one, one that begins with '{'
 * is a config.json, and any other a safetensors file, so that real files serve as seeds. How to run: README.md here.
 */
#define _GNU_SOURCE
#include "engine/base/mem.h"
#include "weights_tools/config_read.h"
#include "weights_tools/packed.h"
#include "weights_tools/quant_config.h"
#include "weights_tools/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile unsigned sink;

static void touch(const void *data, size_t n) {
    const unsigned char *p = data;
    unsigned sum = 0;
    for (size_t i = 0; i < n; i++) sum += p[i];
    sink += sum;
}

/* The only ways to refuse; anything else is a finding. */
static void check(fc_status st) {
    if (st && st != FC_ERR_FORMAT && st != FC_ERR_UNSUPPORTED) {
        fprintf(stderr, "%s: %s\n", fc_status_name(st), fc_status_text());
        abort();
    }
}

/* The input as a file with a path, which the caller forgets by closing *fd. */
static void as_file(const uint8_t *data, size_t size, int *fd, char path[64]) {
    *fd = memfd_create("model", 0);
    if (*fd < 0 || write(*fd, data, size) != (ssize_t)size) abort();
    snprintf(path, 64, "/proc/self/fd/%d", *fd);
}

static void touch_array(const fc_gguf *g, const fc_gguf_meta *m) {
    void *p = NULL;
    check(fc_alloc(m->value.count, 16, "elements", &p));
    if (m->value.elem == FC_META_STRING) {
        check(fc_gguf_strings(g, m->key, p, m->value.count));
        for (size_t i = 0; i < m->value.count; i++) touch(((fc_view_str *)p)[i].text, ((fc_view_str *)p)[i].size);
    } else {
        check(fc_gguf_ints(g, m->key, p, m->value.count));
        check(fc_gguf_floats(g, m->key, p, m->value.count));
    }
    fc_free(p);
}

static void fuzz_gguf(const uint8_t *data, size_t size) {
    fc_gguf g;
    fc_model_config c;
    fc_weights *w = NULL;
    char path[64];
    int fd;
    fc_status st = fc_gguf_parse("input", data, size, &g); /* libFuzzer's copy has exactly this size */
    check(st);
    if (st) return;
    for (size_t i = 0; i < g.n_tensors; i++) touch(g.tensors[i].data, g.tensors[i].bytes);
    for (size_t i = 0; i < g.n_meta; i++) {
        if (g.meta[i].value.kind == FC_META_STRING) touch(g.meta[i].value.s.text, g.meta[i].value.s.size);
        if (g.meta[i].value.kind == FC_META_ARRAY) touch_array(&g, &g.meta[i]);
    }
    st = fc_config_gguf(&g, &c);
    check(st);
    fc_gguf_fini(&g);
    if (st) return;
    as_file(data, size, &fd, path);
    st = fc_weights_open(path, &w);
    check(st);
    if (!st) {
        sink += (unsigned)fc_weights_fingerprint(w);
        fc_weights_close(w);
    }
    close(fd);
}

static void fuzz_config(const uint8_t *data, size_t size) {
    fc_json_doc *doc = NULL;
    fc_model_config c;
    fc_quant_info q;
    fc_status st = fc_json_parse("input", (const char *)data, size, &doc);
    check(st);
    if (st) return;
    check(fc_config_hf("input", fc_json_root(doc), fc_json_root(doc), fc_json_root(doc), &c));
    check(fc_quant_config_hf("input", fc_json_root(doc), &q));
    check(fc_quant_config_own(fc_json_root(doc), &q));
    fc_json_close(doc);
}

/* Packed matrices of one kind, if the file has any: all rows in both forms. */
static void fuzz_packed(const char *path, fc_packed_kind kind) {
    const fc_quant_info info = {.packed = kind, .bits = 4, .group = 32, .zeros_less_one = true};
    fc_safetensors s;
    fc_status st = fc_safetensors_open(path, true, &s);
    check(st);
    if (st) return;
    st = fc_packed_join(path, true, &s.arena, s.tensors, &s.n_tensors, &info);
    check(st);
    for (size_t i = 0; i < s.n_tensors && !st; i++) {
        const fc_tensor *t = &s.tensors[i];
        void *row = NULL;
        if (!t->packed || t->N > 1000 || t->K > 100000) continue;
        check(fc_alloc((size_t)t->K, sizeof(float), "row", &row));
        for (int64_t r = 0; r < t->N; r++) {
            check(fc_tensor_row(t, r, row));
            touch(row, (size_t)t->K * sizeof(float));
            check(fc_tensor_rows(t, r, 1, row));
        }
        fc_free(row);
    }
    fc_safetensors_fini(&s);
}

static void fuzz_safetensors(const uint8_t *data, size_t size) {
    fc_safetensors s;
    char path[64];
    int fd;
    fc_status st;
    as_file(data, size, &fd, path);
    st = fc_safetensors_open(path, true, &s);
    check(st);
    if (!st) {
        for (size_t i = 0; i < s.n_tensors; i++) touch(s.tensors[i].data, s.tensors[i].bytes);
        fc_safetensors_fini(&s);
        for (int kind = FC_PACKED_GPTQ; kind <= FC_PACKED_COMPRESSED; kind++) fuzz_packed(path, (fc_packed_kind)kind);
    }
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size >= 4 && memcmp(data, "GGUF", 4) == 0) fuzz_gguf(data, size);
    else if (size && data[0] == '{') fuzz_config(data, size);
    else fuzz_safetensors(data, size);
    return 0;
}
