#define _GNU_SOURCE
#include "weights_tools/like.h"

#include "engine/base/quant.h"
#include "weights_tools/config_write.h"
#include "weights_tools/layout.h"
#include "weights_tools/tiny_tok.h"
#include "weights_tools/tiny_values.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { POOL_BYTES = 16 << 20, ROW = 4096 /* elements that are made at once: whole blocks of every type */ };

static const char scheme[] = "like:";

bool fc_like_named(const char *path) { return strncmp(path, scheme, sizeof scheme - 1) == 0; }

/* NAME and TYPE; name [64]. */
static fc_status read_spec(const char *path, char name[64], fc_dtype *type) {
    const char *at = path + sizeof scheme - 1, *colon = strchr(at, ':');
    size_t n = colon ? (size_t)(colon - at) : strlen(at);
    *type = FC_BF16;
    if (n == 0 || n >= 64) return FC_FAIL(FC_ERR_ARG, "%.80s: no preset has this name", path);
    memcpy(name, at, n);
    name[n] = '\0';
    if (colon && !fc_dtype_parse(colon + 1, type))
        return FC_FAIL(FC_ERR_ARG, "%.80s: type \"%.20s\" is unknown", path, colon + 1);
    return FC_OK;
}

/* Configuration and tokenizer go through a file of the usual form, so that they are read as any other's. */
static fc_status write_meta(const char *path, const fc_model_config *c, fc_dtype type) {
    fc_gguf_write *w;
    fc_status st;
    FC_TRY(fc_gguf_write_open(path, NULL, &w));
    FC_TRY_GOTO(st, fc_config_write(w, c, type), out);
    FC_TRY_GOTO(st, fc_tiny_tok_write(w, c->V), out);
    FC_TRY_GOTO(st, fc_gguf_write_start(w, NULL, NULL), out);
    st = fc_gguf_write_finish(w);
out:
    fc_gguf_write_close(w);
    return st;
}

static fc_status make_meta(const fc_model_config *c, fc_dtype type, fc_map *meta) {
    const char *tmp = getenv("TMPDIR");
    fc_str file = {0};
    fc_status st;
    char folder[256];
    if (snprintf(folder, sizeof folder, "%s/forkcast-like-XXXXXX", tmp && tmp[0] ? tmp : "/tmp") >=
            (int)sizeof folder ||
        !mkdtemp(folder))
        return FC_FAIL(FC_ERR_IO, "a temporary folder in %.200s: %s", tmp && tmp[0] ? tmp : "/tmp", strerror(errno));
    FC_TRY_GOTO(st, fc_str_printf(&file, "%s/meta.gguf", folder), out);
    FC_TRY_GOTO(st, write_meta(fc_str_text(&file), c, type), out);
    st = fc_map_open(fc_str_text(&file), meta);
    unlink(fc_str_text(&file));
out:
    rmdir(folder);
    fc_str_fini(&file);
    return st;
}

/* One pool's bytes into memory that a file descriptor names, so that it can be mapped again and again. */
static fc_status fill_pool(fc_dtype type, fc_tiny_spread v, uint64_t seed, size_t bytes, int fd) {
    uint64_t state = seed;
    unsigned char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    size_t row_bytes, at = 0;
    fc_status st = FC_OK;
    float row[ROW];
    if (p == MAP_FAILED) return FC_FAIL(FC_ERR_MEM, "random weights: %zu bytes: %s", bytes, strerror(errno));
    st = fc_dtype_row_bytes(type, ROW, &row_bytes);
    for (; !st && at + row_bytes <= bytes; at += row_bytes) {
        fc_tiny_draw(&state, v, row, ROW);
        st = fc_quant_row(type, row, p + at, ROW);
    }
    munmap(p, bytes);
    return st;
}

/* At least *bytes of address space, all of it the pool; *bytes becomes how many. */
static fc_status map_pool(fc_dtype type, fc_tiny_spread v, uint64_t seed, size_t *bytes, unsigned char **out) {
    size_t row_bytes, pool, whole;
    unsigned char *base;
    fc_status st;
    int fd;
    FC_TRY(fc_dtype_row_bytes(type, ROW, &row_bytes));
    pool = POOL_BYTES / (row_bytes * 4096) * (row_bytes * 4096); /* whole rows and whole pages */
    if (pool == 0) pool = row_bytes * 4096;                      /* F32 */
    whole = (*bytes + pool - 1) / pool * pool;
    fd = memfd_create("forkcast-like", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)pool) != 0) {
        int e = errno;
        if (fd >= 0) close(fd);
        return FC_FAIL(FC_ERR_MEM, "random weights: %zu bytes: %s", pool, strerror(e));
    }
    base = mmap(NULL, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        st = FC_FAIL(FC_ERR_MEM, "random weights: %zu bytes of address space: %s", whole, strerror(errno));
    else st = fill_pool(type, v, seed, pool, fd);
    for (size_t at = 0; !st && at < whole; at += pool)
        if (mmap(base + at, pool, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
            st = FC_FAIL(FC_ERR_MEM, "random weights: mapping %zu bytes: %s", pool, strerror(errno));
    close(fd);
    if (st && base != MAP_FAILED) munmap(base, whole);
    if (st) return st;
    *bytes = whole;
    *out = base;
    return FC_OK;
}

static int pool_of(const fc_like *l, double spread) {
    int i = 0;
    while (i < l->n_pools && l->pools[i].spread != spread) i++;
    return i;
}

/* How much of each pool's memory the largest matrix takes. */
static fc_status size_pools(fc_like *l, const fc_model_config *file, const fc_model_config *source, fc_dtype type) {
    for (size_t i = 0; i < l->n; i++) {
        fc_layout_entry e;
        size_t bytes, row;
        double spread;
        int k;
        fc_layout_at(file, i, &e);
        if (fc_config_tensor_type(type, e.name, e.vector, e.K) != type || e.vector) continue;
        spread = fc_tiny_values(source, e.name, 0).spread;
        FC_TRY(fc_dtype_row_bytes(type, (size_t)e.K, &row));
        if (!fc_mul(row, (size_t)e.N, &bytes)) return FC_FAIL(FC_ERR_MEM, "%s: its size wraps", e.name);
        k = pool_of(l, spread);
        FC_ASSERT(k < FC_LIKE_POOLS);
        if (k == l->n_pools) l->n_pools++;
        l->pools[k].spread = spread;
        if (bytes > l->pools[k].bytes) l->pools[k].bytes = bytes;
    }
    return FC_OK;
}

/* A vector, or a matrix whose rows do not fit the type's block: made in full. */
static fc_status make_whole(fc_like *l, const fc_model_config *source, const fc_layout_entry *e, fc_tensor *t) {
    fc_tiny_spread v = fc_tiny_values(source, e->name, 0);
    uint64_t state = fc_tiny_stream(0, e->name);
    size_t row_bytes;
    fc_status st = FC_OK;
    float *row;
    void *p;
    FC_TRY(fc_dtype_row_bytes(t->dtype, (size_t)e->K, &row_bytes));
    t->bytes = row_bytes * (size_t)e->N;
    FC_TRY(fc_arena_alloc(&l->arena, t->bytes, 1, &p));
    t->data = p;
    FC_TRY(fc_alloc((size_t)e->K, sizeof *row, "row", &p));
    row = p;
    for (int64_t r = 0; r < e->N && !st; r++) {
        if (strcmp(e->name, "rope_freqs.weight") == 0) fc_config_rope_divisors(source, row);
        else fc_tiny_draw(&state, v, row, (size_t)e->K);
        st = fc_quant_row(t->dtype, row, (unsigned char *)(uintptr_t)t->data + (size_t)r * row_bytes, (size_t)e->K);
    }
    fc_free(row);
    return st;
}

static fc_status make_tensors(fc_like *l, const fc_model_config *file, const fc_model_config *source, fc_dtype type) {
    void *p;
    l->n = fc_layout_count(file);
    FC_TRY(fc_alloc(l->n, sizeof *l->tensors, "tensors", &p));
    l->tensors = p;
    FC_TRY(size_pools(l, file, source, type));
    for (int i = 0; i < l->n_pools; i++) {
        fc_tiny_spread v = {0, l->pools[i].spread};
        FC_TRY(map_pool(type, v, (uint64_t)i + 1, &l->pools[i].bytes, &l->pools[i].base));
    }
    for (size_t i = 0; i < l->n; i++) {
        fc_tensor *t = &l->tensors[i];
        fc_layout_entry e;
        size_t row;
        fc_layout_at(file, i, &e);
        FC_TRY(fc_arena_alloc(&l->arena, strlen(e.name) + 1, 1, &p));
        memcpy(p, e.name, strlen(e.name) + 1);
        *t = (fc_tensor){.name = p,
                         .file_name = p,
                         .dtype = fc_config_tensor_type(type, e.name, e.vector, e.K),
                         .n_dims = e.vector ? 1 : 2,
                         .N = e.N,
                         .K = e.K};
        if (e.vector || t->dtype != type) {
            FC_TRY(make_whole(l, source, &e, t));
            continue;
        }
        FC_TRY(fc_dtype_row_bytes(type, (size_t)e.K, &row));
        t->bytes = row * (size_t)e.N;
        t->data = l->pools[pool_of(l, fc_tiny_values(source, e.name, 0).spread)].base;
    }
    return FC_OK;
}

fc_status fc_like_open(const char *path, fc_map *meta, fc_like *out) {
    fc_tiny_options o = {0};
    fc_model_config source, file;
    fc_status st;
    char name[64];
    fc_arena_init(&out->arena);
    FC_TRY(read_spec(path, name, &o.type));
    o.like = name;
    FC_TRY(fc_tiny_configure(&o, &source));
    fc_config_to_gguf(&source, &file);
    FC_TRY(make_meta(&file, o.type, meta));
    st = make_tensors(out, &file, &source, o.type);
    if (st) fc_like_close(out);
    return st;
}

void fc_like_close(fc_like *l) {
    for (int i = 0; i < l->n_pools; i++)
        if (l->pools[i].base) munmap(l->pools[i].base, l->pools[i].bytes);
    fc_free(l->tensors);
    fc_arena_fini(&l->arena);
    memset(l, 0, sizeof *l);
}
