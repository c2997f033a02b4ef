#define _GNU_SOURCE
#include "weights_tools/gguf_write.h"

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "engine/base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* GGUF's numbers. */
enum { T_U8 = 0, T_U32 = 4, T_I32 = 5, T_F32 = 6, T_BOOL = 7, T_STRING = 8, T_ARRAY = 9 };
enum { VERSION = 3, ALIGNMENT = 32, BUFFER = 1 << 20 };

static const int type_numbers[FC_DTYPE_COUNT] = {
    [FC_F32] = 0,   [FC_F16] = 1,  [FC_BF16] = 30, [FC_Q8_0] = 8,  [FC_Q4_0] = 2,
    [FC_Q4_1] = 3,  [FC_Q5_0] = 6, [FC_Q5_1] = 7,  [FC_Q4_K] = 12, [FC_Q5_K] = 13,
    [FC_Q6_K] = 14, [FC_I8] = 24,  [FC_I32] = 26,  [FC_F8] = 24, /* as I8: FC_KEY_F8 */
};

struct fc_gguf_write {
    char *path, *partial;
    int fd;       /* -1: none */
    bool created; /* partial is there and ours */
    bool started;
    fc_str meta, table; /* entries as they stand in the file */
    uint64_t n_meta, n_tensors;
    uint64_t *sizes; /* [n_tensors] bytes, padding apart */
    size_t cap_sizes;
    uint64_t data_bytes, padded_bytes; /* of all tensors */
    size_t tensor;                     /* being written */
    uint64_t tensor_left;              /* of its bytes */
    unsigned char *buffer;             /* [BUFFER] */
    size_t used;
    uint64_t written;
    fc_progress progress; /* NULL before start */
    void *arg;
    uint64_t done, reported; /* tensor bytes given, and when progress last heard of them */
};

static fc_status system_failed(const fc_gguf_write *w, const char *what) {
    int e = errno;
    return FC_FAIL(FC_ERR_IO, "%s: %s: %s", w->path, what, strerror(e));
}

static fc_status create(fc_gguf_write *w, const char *path, const char *source) {
    fc_str name = {0};
    fc_status st;
    void *p;
    w->fd = -1;
    FC_TRY(fc_copy_str(path, "path of a new file", &w->path));
    st = fc_str_printf(&name, "%s.partial-%ld", path, (long)getpid());
    if (!st) st = fc_copy_str(fc_str_text(&name), "path of a new file", &w->partial);
    fc_str_fini(&name);
    FC_TRY(st);
    FC_TRY(fc_alloc(BUFFER, 1, "write buffer", &p));
    w->buffer = p;
    if (fc_ends_with(path, ".safetensors") || fc_ends_with(path, ".json"))
        return FC_FAIL(FC_ERR_ARG,
                       "%s: a GGUF file is written; give a name that does not end like another kind of file", path);
    if (source && fc_path_same(path, source))
        return FC_FAIL(FC_ERR_ARG, "%s: the output is the input itself; give another name", path);
    if (fc_path_is_dir(path)) return FC_FAIL(FC_ERR_ARG, "%s: a folder; the output must be a file", path);
    w->fd = open(w->partial, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (w->fd < 0 && errno == EEXIST)
        return FC_FAIL(FC_ERR_IO, "%s: %s is there already, of a run that is going on or was killed; remove it", path,
                       w->partial);
    if (w->fd < 0) return system_failed(w, "cannot be created");
    w->created = true;
    return FC_OK;
}

fc_status fc_gguf_write_open(const char *path, const char *source, fc_gguf_write **out) {
    void *p;
    fc_gguf_write *w;
    fc_status st;
    FC_TRY(fc_alloc(1, sizeof *w, "GGUF writer", &p));
    w = p;
    st = create(w, path, source);
    if (st) {
        fc_gguf_write_close(w);
        return st;
    }
    *out = w;
    return FC_OK;
}

void fc_gguf_write_close(fc_gguf_write *w) {
    if (!w) return;
    if (w->fd >= 0) close(w->fd);
    if (w->created) unlink(w->partial);
    fc_free(w->buffer);
    fc_free(w->sizes);
    fc_str_fini(&w->table);
    fc_str_fini(&w->meta);
    fc_free(w->partial);
    fc_free(w->path);
    fc_free(w);
}

static fc_status put(fc_str *s, const void *bytes, size_t n) { return fc_str_put(s, bytes, n); }
static fc_status put_u32(fc_str *s, uint32_t v) { return put(s, &v, sizeof v); }
static fc_status put_u64(fc_str *s, uint64_t v) { return put(s, &v, sizeof v); }

static fc_status put_text(fc_str *s, const char *text, size_t size) {
    FC_TRY(put_u64(s, size));
    return put(s, text, size);
}

static fc_status put_key(fc_gguf_write *w, const char *key, uint32_t type) {
    FC_ASSERT(!w->started);
    w->n_meta++;
    FC_TRY(put_text(&w->meta, key, strlen(key)));
    return put_u32(&w->meta, type);
}

static fc_status put_array(fc_gguf_write *w, const char *key, uint32_t type, size_t n) {
    FC_TRY(put_key(w, key, T_ARRAY));
    FC_TRY(put_u32(&w->meta, type));
    return put_u64(&w->meta, n);
}

fc_status fc_gguf_write_u32(fc_gguf_write *w, const char *key, uint32_t v) {
    FC_TRY(put_key(w, key, T_U32));
    return put_u32(&w->meta, v);
}

fc_status fc_gguf_write_f32(fc_gguf_write *w, const char *key, float v) {
    FC_TRY(put_key(w, key, T_F32));
    return put(&w->meta, &v, sizeof v);
}

fc_status fc_gguf_write_bool(fc_gguf_write *w, const char *key, bool v) {
    unsigned char b = v;
    FC_TRY(put_key(w, key, T_BOOL));
    return put(&w->meta, &b, 1);
}

fc_status fc_gguf_write_string(fc_gguf_write *w, const char *key, const char *text, size_t size) {
    FC_TRY(put_key(w, key, T_STRING));
    return put_text(&w->meta, text, size);
}

fc_status fc_gguf_write_strings(fc_gguf_write *w, const char *key, const fc_view_str *v, size_t n) {
    FC_TRY(put_array(w, key, T_STRING, n));
    for (size_t i = 0; i < n; i++) FC_TRY(put_text(&w->meta, v[i].text, v[i].size));
    return FC_OK;
}

fc_status fc_gguf_write_u8s(fc_gguf_write *w, const char *key, const uint8_t *v, size_t n) {
    FC_TRY(put_array(w, key, T_U8, n));
    return put(&w->meta, v, n);
}

fc_status fc_gguf_write_i32s(fc_gguf_write *w, const char *key, const int32_t *v, size_t n) {
    FC_TRY(put_array(w, key, T_I32, n));
    return put(&w->meta, v, n * sizeof *v);
}

fc_status fc_gguf_write_f32s(fc_gguf_write *w, const char *key, const float *v, size_t n) {
    FC_TRY(put_array(w, key, T_F32, n));
    return put(&w->meta, v, n * sizeof *v);
}

fc_status fc_gguf_write_bools(fc_gguf_write *w, const char *key, const bool *v, size_t n) {
    FC_TRY(put_array(w, key, T_BOOL, n));
    for (size_t i = 0; i < n; i++) FC_TRY(put(&w->meta, v[i] ? "\1" : "\0", 1));
    return FC_OK;
}

fc_status fc_gguf_write_entry(fc_gguf_write *w, const void *entry, size_t size) {
    FC_ASSERT(!w->started);
    w->n_meta++;
    return put(&w->meta, entry, size);
}

static uint64_t padded(uint64_t n) { return (n + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

fc_status fc_gguf_write_tensor(fc_gguf_write *w, const char *name, fc_dtype type, int n_dims, int64_t N, int64_t K) {
    size_t row = 0, bytes, end;
    void *p = w->sizes;
    FC_ASSERT(!w->started && (n_dims == 2 || (n_dims == 1 && N == 1)) && N >= 1 && K >= 1);
    if (fc_dtype_row_bytes(type, (size_t)K, &row))
        return FC_FAIL(FC_ERR_ARG, "%s: tensor %s: %s", w->path, name, fc_status_text());
    if (type >= FC_I64) /* no file's, or of safetensors alone */
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: tensor %s: %s is no type of GGUF", w->path, name, fc_dtype_name(type));
    if (!fc_mul(row, (size_t)N, &bytes) || !fc_add(bytes, (size_t)w->padded_bytes + ALIGNMENT, &end) ||
        end > INT64_MAX / 2)
        return FC_FAIL(FC_ERR_ARG, "%s: tensor %s: %lld rows of %zu bytes do not fit in a file", w->path, name,
                       (long long)N, row);
    FC_TRY(put_text(&w->table, name, strlen(name)));
    FC_TRY(put_u32(&w->table, (uint32_t)n_dims));
    FC_TRY(put_u64(&w->table, (uint64_t)K)); /* GGUF: the fastest dimension first */
    if (n_dims == 2) FC_TRY(put_u64(&w->table, (uint64_t)N));
    FC_TRY(put_u32(&w->table, (uint32_t)type_numbers[type]));
    FC_TRY(put_u64(&w->table, w->padded_bytes));
    FC_TRY(fc_grow(&p, &w->cap_sizes, (size_t)w->n_tensors + 1, sizeof *w->sizes, "tensor sizes"));
    w->sizes = p;
    w->sizes[w->n_tensors++] = bytes;
    w->data_bytes += bytes;
    w->padded_bytes += padded(bytes);
    return FC_OK;
}

static fc_status flush(fc_gguf_write *w) {
    for (size_t at = 0; at < w->used;) {
        ssize_t k = write(w->fd, w->buffer + at, w->used - at);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) {
            const char *why = strerror(errno);
            return FC_FAIL(FC_ERR_IO, "%s: writing failed after %llu bytes: %s", w->path,
                           (unsigned long long)w->written, why);
        }
        at += (size_t)k;
        w->written += (uint64_t)k;
    }
    w->used = 0;
    return FC_OK;
}

static fc_status emit(fc_gguf_write *w, const void *bytes, size_t n) {
    const unsigned char *p = bytes;
    while (n) {
        size_t k = BUFFER - w->used < n ? BUFFER - w->used : n;
        memcpy(w->buffer + w->used, p, k);
        w->used += k;
        p += k;
        n -= k;
        if (w->used == BUFFER) FC_TRY(flush(w));
    }
    return FC_OK;
}

static fc_status emit_padding(fc_gguf_write *w, uint64_t behind) {
    static const unsigned char zeros[ALIGNMENT];
    return emit(w, zeros, (size_t)(padded(behind) - behind));
}

fc_status fc_gguf_write_start(fc_gguf_write *w, fc_progress progress, void *arg) {
    fc_str head = {0};
    uint64_t size;
    fc_status st = fc_str_puts(&head, "GGUF");
    if (!st) st = put_u32(&head, VERSION);
    if (!st) st = put_u64(&head, w->n_tensors);
    if (!st) st = put_u64(&head, w->n_meta);
    size = head.size + w->meta.size + w->table.size;
    if (!st) st = emit(w, head.data, head.size);
    fc_str_fini(&head);
    FC_TRY(st);
    w->started = true;
    w->tensor_left = w->n_tensors ? w->sizes[0] : 0;
    /* file systems without fallocate say so, and then a full disk shows while writing */
    if (fallocate(w->fd, 0, 0, (off_t)(padded(size) + w->padded_bytes)) < 0 &&
        (errno == ENOSPC || errno == EFBIG || errno == EDQUOT)) {
        const char *why = strerror(errno);
        return FC_FAIL(FC_ERR_IO, "%s: no room for %llu bytes: %s", w->path,
                       (unsigned long long)(padded(size) + w->padded_bytes), why);
    }
    FC_TRY(emit(w, w->meta.data, w->meta.size));
    FC_TRY(emit(w, w->table.data, w->table.size));
    FC_TRY(emit_padding(w, size));
    w->progress = progress;
    w->arg = arg;
    return FC_OK;
}

fc_status fc_gguf_write_data(fc_gguf_write *w, const void *bytes, size_t size) {
    const unsigned char *p = bytes;
    FC_ASSERT(w->started);
    while (size) {
        size_t k = size < w->tensor_left ? size : (size_t)w->tensor_left;
        FC_ASSERT(w->tensor < w->n_tensors);
        FC_TRY(emit(w, p, k));
        p += k;
        size -= k;
        w->tensor_left -= k;
        w->done += k;
        if (w->tensor_left) continue;
        FC_TRY(emit_padding(w, w->sizes[w->tensor]));
        w->tensor++;
        w->tensor_left = w->tensor < w->n_tensors ? w->sizes[w->tensor] : 0;
    }
    if (w->progress && (w->done - w->reported >= BUFFER || w->done == w->data_bytes)) {
        w->progress(w->arg, w->done, w->data_bytes);
        w->reported = w->done;
    }
    return FC_OK;
}

fc_status fc_gguf_write_finish(fc_gguf_write *w) {
    int fd = w->fd;
    if (!w->started || w->tensor < w->n_tensors)
        return FC_FAIL(FC_ERR_INTERNAL, "%s: %zu of %llu tensors were written", w->path, w->tensor,
                       (unsigned long long)w->n_tensors);
    FC_TRY(flush(w));
    if (fsync(fd) < 0 && errno != EINVAL) return system_failed(w, "writing failed"); /* EINVAL: nothing to sync there */
    w->fd = -1;
    if (close(fd) < 0) return system_failed(w, "closing failed");
    if (rename(w->partial, w->path) < 0) return system_failed(w, "cannot be renamed from its partial file");
    w->created = false;
    return FC_OK;
}
