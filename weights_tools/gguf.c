#include "weights_tools/gguf.h"

#include "weights_tools/tensors.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* GGUF's numbers of value types. */
enum { T_U8 = 0, T_I8, T_U16, T_I16, T_U32, T_I32, T_F32, T_BOOL, T_STRING, T_ARRAY, T_U64, T_I64, T_F64, T_COUNT };

/* More than any model has; a file that says more is not worth the memory of a table. */
enum { MAX_META = 1 << 16, MAX_TENSORS = 1 << 16, MAX_NAME = 255, MAX_DIMS = 4 };

static const size_t value_bytes[T_COUNT] = {
    [T_U8] = 1,  [T_I8] = 1,   [T_U16] = 2, [T_I16] = 2, [T_U32] = 4, [T_I32] = 4,
    [T_F32] = 4, [T_BOOL] = 1, [T_U64] = 8, [T_I64] = 8, [T_F64] = 8,
};

static const struct {
    const char *name;
    int dtype; /* fc_dtype, or -1: known, not supported */
} tensor_types[] = {
    [0] = {"F32", FC_F32},    [1] = {"F16", FC_F16},   [2] = {"Q4_0", FC_Q4_0},  [3] = {"Q4_1", FC_Q4_1},
    [6] = {"Q5_0", FC_Q5_0},  [7] = {"Q5_1", FC_Q5_1}, [8] = {"Q8_0", FC_Q8_0},  [9] = {"Q8_1", -1},
    [10] = {"Q2_K", -1},      [11] = {"Q3_K", -1},     [12] = {"Q4_K", FC_Q4_K}, [13] = {"Q5_K", FC_Q5_K},
    [14] = {"Q6_K", FC_Q6_K}, [15] = {"Q8_K", -1},     [16] = {"IQ2_XXS", -1},   [17] = {"IQ2_XS", -1},
    [18] = {"IQ3_XXS", -1},   [19] = {"IQ1_S", -1},    [20] = {"IQ4_NL", -1},    [21] = {"IQ3_S", -1},
    [22] = {"IQ2_S", -1},     [23] = {"IQ4_XS", -1},   [24] = {"I8", FC_I8},     [25] = {"I16", -1},
    [26] = {"I32", FC_I32},   [27] = {"I64", -1},      [28] = {"F64", -1},       [29] = {"IQ1_M", -1},
    [30] = {"BF16", FC_BF16}, [34] = {"TQ1_0", -1},    [35] = {"TQ2_0", -1},     [39] = {"MXFP4", -1},
};

/* The unread rest of the header. */
typedef struct {
    const char *path;
    const unsigned char *data;
    size_t size, at;
} cursor;

static size_t rest(const cursor *c) { return c->size - c->at; }

static fc_status take(cursor *c, size_t n, const char *what, const unsigned char **out) {
    if (n > rest(c))
        return FC_FAIL(FC_ERR_FORMAT, "%s: %s needs %zu bytes at offset %zu, and the file ends at %zu", c->path, what,
                       n, c->at, c->size);
    *out = c->data + c->at;
    c->at += n;
    return FC_OK;
}

static fc_status take_u32(cursor *c, const char *what, uint32_t *out) {
    const unsigned char *p = NULL;
    FC_TRY(take(c, 4, what, &p));
    memcpy(out, p, 4);
    return FC_OK;
}

static fc_status take_u64(cursor *c, const char *what, uint64_t *out) {
    const unsigned char *p = NULL;
    FC_TRY(take(c, 8, what, &p));
    memcpy(out, p, 8);
    return FC_OK;
}

static fc_status take_string(cursor *c, const char *what, fc_view_str *out) {
    uint64_t n;
    const unsigned char *p = NULL;
    FC_TRY(take_u64(c, what, &n));
    FC_TRY(take(c, (size_t)n, what, &p));
    out->text = (const char *)p;
    out->size = (size_t)n;
    return FC_OK;
}

/* A key or tensor name: short and printable, so that it can stand in a sentence; copied with a NUL behind. */
static fc_status take_name(cursor *c, const char *what, size_t i, fc_arena *arena, const char **out) {
    fc_view_str s;
    size_t at = c->at;
    void *p;
    FC_TRY(take_string(c, what, &s));
    if (s.size == 0 || s.size > MAX_NAME)
        return FC_FAIL(FC_ERR_FORMAT, "%s: %s %zu at offset %zu has %zu bytes; 1 to %d are possible", c->path, what, i,
                       at, s.size, MAX_NAME);
    for (size_t k = 0; k < s.size; k++) {
        unsigned char b = (unsigned char)s.text[k];
        if (b < 0x20 || b == 0x7f)
            return FC_FAIL(FC_ERR_FORMAT, "%s: %s %zu at offset %zu contains the byte 0x%02x", c->path, what, i, at, b);
    }
    FC_TRY(fc_arena_alloc(arena, s.size + 1, 1, &p));
    memcpy(p, s.text, s.size);
    *out = p;
    return FC_OK;
}

static fc_meta_kind kind_of(uint32_t type) {
    switch (type) {
    case T_F32:
    case T_F64: return FC_META_FLOAT;
    case T_BOOL: return FC_META_BOOL;
    case T_STRING: return FC_META_STRING;
    case T_ARRAY: return FC_META_ARRAY;
    default: return type < T_COUNT ? FC_META_INT : FC_META_NONE;
    }
}

/* One scalar at p. An INT has f set as well. */
static void read_scalar(uint32_t type, const unsigned char *p, fc_meta *out) {
    int8_t i8;
    uint16_t u16;
    int16_t i16;
    uint32_t u32;
    int32_t i32;
    uint64_t u64;
    float f32;
    out->kind = kind_of(type);
    switch (type) {
    case T_U8: out->i = p[0]; break;
    case T_I8: memcpy(&i8, p, 1), out->i = i8; break;
    case T_U16: memcpy(&u16, p, 2), out->i = u16; break;
    case T_I16: memcpy(&i16, p, 2), out->i = i16; break;
    case T_U32: memcpy(&u32, p, 4), out->i = u32; break;
    case T_I32: memcpy(&i32, p, 4), out->i = i32; break;
    case T_I64: memcpy(&out->i, p, 8); break;
    case T_BOOL: out->i = p[0]; break;
    case T_F32: memcpy(&f32, p, 4), out->f = (double)f32; return;
    case T_F64: memcpy(&out->f, p, 8); return;
    case T_U64:
        memcpy(&u64, p, 8);
        if (u64 > INT64_MAX) {
            out->kind = FC_META_FLOAT;
            out->f = (double)u64;
            return;
        }
        out->i = (int64_t)u64;
        break;
    default: return;
    }
    out->f = (double)out->i;
}

static fc_status check_bools(const cursor *c, const char *key, const unsigned char *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (p[i] > 1) return FC_FAIL(FC_ERR_FORMAT, "%s: %s: element %zu is a bool of value %d", c->path, key, i, p[i]);
    return FC_OK;
}

static fc_status take_array(cursor *c, const char *key, fc_meta *out) {
    uint32_t type;
    uint64_t n;
    size_t bytes;
    const unsigned char *p = NULL;
    FC_TRY(take_u32(c, key, &type));
    FC_TRY(take_u64(c, key, &n));
    if (type == T_ARRAY) return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: %s: an array of arrays", c->path, key);
    if (type >= T_COUNT) return FC_FAIL(FC_ERR_FORMAT, "%s: %s: element type %u is unknown", c->path, key, type);
    out->kind = FC_META_ARRAY;
    out->elem = kind_of(type);
    out->array_type = (int)type;
    out->array = c->data + c->at;
    if (type == T_STRING) {
        if (n > rest(c) / 8)
            return FC_FAIL(FC_ERR_FORMAT, "%s: %s: %llu strings in %zu bytes", c->path, key, (unsigned long long)n,
                           rest(c));
        for (uint64_t i = 0; i < n; i++) {
            fc_view_str s;
            FC_TRY(take_string(c, key, &s));
        }
    } else {
        if (!fc_mul((size_t)n, value_bytes[type], &bytes) || bytes > rest(c))
            return FC_FAIL(FC_ERR_FORMAT, "%s: %s: %llu elements of %zu bytes in %zu bytes", c->path, key,
                           (unsigned long long)n, value_bytes[type], rest(c));
        FC_TRY(take(c, bytes, key, &p));
        if (type == T_BOOL) FC_TRY(check_bools(c, key, p, bytes));
    }
    out->count = (size_t)n;
    return FC_OK;
}

static fc_status take_value(cursor *c, const char *key, fc_meta *out) {
    uint32_t type;
    const unsigned char *p = NULL;
    FC_TRY(take_u32(c, key, &type));
    if (type == T_ARRAY) return take_array(c, key, out);
    if (type == T_STRING) {
        out->kind = FC_META_STRING;
        return take_string(c, key, &out->s);
    }
    if (type >= T_COUNT) return FC_FAIL(FC_ERR_FORMAT, "%s: %s: value type %u is unknown", c->path, key, type);
    FC_TRY(take(c, value_bytes[type], key, &p));
    if (type == T_BOOL) FC_TRY(check_bools(c, key, p, 1));
    read_scalar(type, p, out);
    return FC_OK;
}

static int by_key_order(const void *a, const void *b) {
    return strcmp((*(const fc_gguf_meta *const *)a)->key, (*(const fc_gguf_meta *const *)b)->key);
}

static fc_status read_meta(cursor *c, fc_gguf *g, uint64_t n) {
    void *p;
    if (n > MAX_META)
        return FC_FAIL(FC_ERR_FORMAT, "%s: %llu metadata keys; the limit is %d", c->path, (unsigned long long)n,
                       MAX_META);
    if (n > rest(c) / 14) /* length, one byte of key, type, one byte of value */
        return FC_FAIL(FC_ERR_FORMAT, "%s: the file is too short: %llu metadata keys in the %zu bytes that are left",
                       c->path, (unsigned long long)n, rest(c));
    FC_TRY(fc_arena_alloc(&g->arena, (size_t)n, sizeof *g->meta, &p));
    g->meta = p;
    FC_TRY(fc_arena_alloc(&g->arena, (size_t)n, sizeof *g->by_key, &p));
    g->by_key = p;
    for (size_t i = 0; i < n; i++) {
        FC_TRY(take_name(c, "metadata key", i, &g->arena, &g->meta[i].key));
        FC_TRY(take_value(c, g->meta[i].key, &g->meta[i].value));
        g->by_key[i] = &g->meta[i];
    }
    g->n_meta = (size_t)n;
    qsort(g->by_key, g->n_meta, sizeof *g->by_key, by_key_order);
    for (size_t i = 1; i < n; i++)
        if (strcmp(g->by_key[i - 1]->key, g->by_key[i]->key) == 0)
            return FC_FAIL(FC_ERR_FORMAT, "%s: metadata key %s is there twice", c->path, g->by_key[i]->key);
    return FC_OK;
}

static fc_status read_alignment(fc_gguf *g) {
    const fc_gguf_meta *m = fc_gguf_find(g, "general.alignment");
    g->alignment = 32;
    if (!m) return FC_OK;
    /* at least 8, so that every element can be read where it lies */
    if (m->value.kind != FC_META_INT || m->value.i < 8 || m->value.i > 1 << 20 || (m->value.i & (m->value.i - 1)))
        return FC_FAIL(FC_ERR_FORMAT, "%s: general.alignment is %lld; a power of two from 8 to 1048576 is possible",
                       g->path, m->value.kind == FC_META_INT ? (long long)m->value.i : -1LL);
    g->alignment = (size_t)m->value.i;
    return FC_OK;
}

static fc_status tensor_type(const cursor *c, const char *name, uint32_t type, fc_dtype *out) {
    size_t known = sizeof tensor_types / sizeof tensor_types[0];
    if (type >= known || !tensor_types[type].name)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: tensor %s: type number %u is unknown", c->path, name, type);
    if (tensor_types[type].dtype < 0)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: tensor %s: type %s (number %u) is not supported", c->path, name,
                       tensor_types[type].name, type);
    *out = (fc_dtype)tensor_types[type].dtype;
    return FC_OK;
}

/* One tensor's entry; t->data stays NULL and *offset is what the file says, until all entries are read. */
static fc_status read_tensor(cursor *c, fc_gguf *g, size_t i, fc_tensor *t, uint64_t *offset) {
    uint32_t n_dims, type;
    size_t rows = 1, row_bytes;
    FC_TRY(take_name(c, "tensor name", i, &g->arena, &t->name));
    t->file_name = t->name;
    FC_TRY(take_u32(c, t->name, &n_dims));
    if (n_dims < 1 || n_dims > MAX_DIMS)
        return FC_FAIL(FC_ERR_FORMAT, "%s: tensor %s has %u dimensions; 1 to %d are possible", c->path, t->name, n_dims,
                       MAX_DIMS);
    t->n_dims = (int)n_dims;
    for (uint32_t d = 0; d < n_dims; d++) {
        uint64_t v;
        FC_TRY(take_u64(c, t->name, &v));
        if (v < 1 || v > INT64_MAX)
            return FC_FAIL(FC_ERR_FORMAT, "%s: tensor %s: dimension %u is %llu", c->path, t->name, d,
                           (unsigned long long)v);
        if (d == 0) t->K = (int64_t)v;
        else if (!fc_mul(rows, (size_t)v, &rows) || rows > INT64_MAX)
            return FC_FAIL(FC_ERR_FORMAT, "%s: tensor %s: its dimensions do not fit in the address space", c->path,
                           t->name);
    }
    t->N = (int64_t)rows;
    FC_TRY(take_u32(c, t->name, &type));
    FC_TRY(tensor_type(c, t->name, type, &t->dtype));
    FC_TRY(take_u64(c, t->name, offset));
    if (fc_dtype_row_bytes(t->dtype, (size_t)t->K, &row_bytes))
        return FC_FAIL(FC_ERR_FORMAT, "%s: tensor %s: %s", c->path, t->name, fc_status_text());
    if (!fc_mul(rows, row_bytes, &t->bytes))
        return FC_FAIL(FC_ERR_FORMAT, "%s: tensor %s: %zu rows of %zu bytes do not fit in the address space", c->path,
                       t->name, rows, row_bytes);
    return FC_OK;
}

static fc_status read_tensors(cursor *c, fc_gguf *g, uint64_t n) {
    void *p, *offsets_p;
    uint64_t *offsets;
    fc_status st = FC_OK;
    if (n > MAX_TENSORS)
        return FC_FAIL(FC_ERR_FORMAT, "%s: %llu tensors; the limit is %d", c->path, (unsigned long long)n, MAX_TENSORS);
    if (n > rest(c) / 33) /* length, a byte of name, dimensions, type, offset */
        return FC_FAIL(FC_ERR_FORMAT, "%s: the file is too short: %llu tensors in the %zu bytes that are left", c->path,
                       (unsigned long long)n, rest(c));
    FC_TRY(fc_arena_alloc(&g->arena, (size_t)n, sizeof *g->tensors, &p));
    g->tensors = p;
    FC_TRY(fc_alloc((size_t)n, sizeof *offsets, "tensor offsets", &offsets_p));
    offsets = offsets_p;
    for (size_t i = 0; i < n; i++) FC_TRY_GOTO(st, read_tensor(c, g, i, &g->tensors[i], &offsets[i]), out);
    if (!fc_add(c->at, g->alignment - 1, &g->data_offset)) g->data_offset = c->size;
    g->data_offset &= ~(g->alignment - 1);
    for (size_t i = 0; i < n; i++) {
        fc_tensor *t = &g->tensors[i];
        size_t begin, end;
        if (offsets[i] % g->alignment) {
            st = FC_FAIL(FC_ERR_FORMAT, "%s: tensor %s: offset %llu is no multiple of the alignment %zu", c->path,
                         t->name, (unsigned long long)offsets[i], g->alignment);
            goto out;
        }
        if (!fc_add(g->data_offset, (size_t)offsets[i], &begin) || !fc_add(begin, t->bytes, &end) || end > c->size) {
            st = FC_FAIL(FC_ERR_FORMAT,
                         "%s: tensor %s: %zu bytes at offset %llu of the data (which begins at %zu) end behind the "
                         "file's %zu bytes",
                         c->path, t->name, t->bytes, (unsigned long long)offsets[i], g->data_offset, c->size);
            goto out;
        }
        t->data = c->data + begin;
    }
    g->n_tensors = (size_t)n;
out:
    fc_free(offsets);
    return st;
}

static fc_status check_tensors(fc_gguf *g) {
    void *p;
    const fc_tensor **order;
    fc_status st;
    FC_TRY(fc_alloc(g->n_tensors, sizeof *order, "tensor order", &p));
    order = p;
    st = fc_tensors_sort(g->path, g->tensors, g->n_tensors, order);
    if (!st) st = fc_tensors_apart(g->path, g->tensors, g->n_tensors, order);
    fc_free(p);
    return st;
}

static fc_status parse(cursor *c, fc_gguf *g) {
    const unsigned char *magic = NULL;
    uint32_t version;
    uint64_t n_tensors, n_meta;
    const fc_gguf_meta *split;
    FC_TRY(take(c, 4, "the magic", &magic));
    if (memcmp(magic, "GGUF", 4) != 0)
        return FC_FAIL(FC_ERR_FORMAT, "%s: begins with %02x %02x %02x %02x, not with \"GGUF\"", c->path, magic[0],
                       magic[1], magic[2], magic[3]);
    FC_TRY(take_u32(c, "the version", &version));
    if (version && (version & 0xffffu) == 0)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: a big-endian GGUF file; only little-endian ones are read", c->path);
    if (version < 2 || version > 3)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: GGUF version %u; 2 and 3 are read", c->path, version);
    FC_TRY(take_u64(c, "the number of tensors", &n_tensors));
    FC_TRY(take_u64(c, "the number of metadata keys", &n_meta));
    FC_TRY(read_meta(c, g, n_meta));
    split = fc_gguf_find(g, "split.count");
    if (split && (split->value.kind != FC_META_INT || split->value.i > 1))
        return FC_FAIL(FC_ERR_UNSUPPORTED,
                       "%s: one of %lld parts of a split GGUF (split.count); merge the parts into one file first",
                       c->path, (long long)split->value.i);
    FC_TRY(read_alignment(g));
    FC_TRY(read_tensors(c, g, n_tensors));
    return check_tensors(g);
}

fc_status fc_gguf_parse(const char *path, const unsigned char *data, size_t size, fc_gguf *out) {
    cursor c = {path, data, size, 0};
    fc_gguf g = {.path = path, .data = data, .size = size};
    fc_status st;
    fc_arena_init(&g.arena);
    st = parse(&c, &g);
    if (st) fc_gguf_fini(&g);
    *out = g;
    return st;
}

void fc_gguf_fini(fc_gguf *g) {
    fc_arena_fini(&g->arena);
    memset(g, 0, sizeof *g);
}

const fc_gguf_meta *fc_gguf_find(const fc_gguf *g, const char *key) {
    size_t lo = 0, hi = g->n_meta;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int order = strcmp(g->by_key[mid]->key, key);
        if (order == 0) return g->by_key[mid];
        if (order < 0) lo = mid + 1;
        else hi = mid;
    }
    return NULL;
}

static fc_status find_array(const fc_gguf *g, const char *key, size_t count, const fc_meta **out) {
    const fc_gguf_meta *m = fc_gguf_find(g, key);
    if (!m) return FC_FAIL(FC_ERR_FORMAT, "%s: %s is missing", g->path, key);
    if (m->value.kind != FC_META_ARRAY) return FC_FAIL(FC_ERR_FORMAT, "%s: %s is not an array", g->path, key);
    if (m->value.count != count)
        return FC_FAIL(FC_ERR_FORMAT, "%s: %s has %zu elements, not %zu", g->path, key, m->value.count, count);
    *out = &m->value;
    return FC_OK;
}

fc_status fc_gguf_strings(const fc_gguf *g, const char *key, fc_view_str *out, size_t count) {
    const fc_meta *m;
    const unsigned char *p = NULL;
    FC_TRY(find_array(g, key, count, &m));
    if (m->elem != FC_META_STRING) return FC_FAIL(FC_ERR_FORMAT, "%s: %s is not an array of strings", g->path, key);
    p = m->array; /* lengths were checked when the file was parsed */
    for (size_t i = 0; i < count; i++) {
        uint64_t n;
        memcpy(&n, p, 8);
        out[i].text = (const char *)p + 8;
        out[i].size = (size_t)n;
        p += 8 + n;
    }
    return FC_OK;
}

static void element(const fc_meta *m, size_t i, fc_meta *out) {
    memset(out, 0, sizeof *out);
    read_scalar((uint32_t)m->array_type, (const unsigned char *)m->array + i * value_bytes[m->array_type], out);
}

fc_status fc_gguf_ints(const fc_gguf *g, const char *key, int32_t *out, size_t count) {
    const fc_meta *m;
    FC_TRY(find_array(g, key, count, &m));
    if (m->elem != FC_META_INT && m->elem != FC_META_BOOL)
        return FC_FAIL(FC_ERR_FORMAT, "%s: %s is not an array of whole numbers", g->path, key);
    for (size_t i = 0; i < count; i++) {
        fc_meta e;
        element(m, i, &e);
        if (e.kind == FC_META_FLOAT || e.i < INT32_MIN || e.i > INT32_MAX)
            return FC_FAIL(FC_ERR_FORMAT, "%s: %s: element %zu is %.0f", g->path, key, i, e.f);
        out[i] = (int32_t)e.i;
    }
    return FC_OK;
}

fc_status fc_gguf_floats(const fc_gguf *g, const char *key, float *out, size_t count) {
    const fc_meta *m;
    FC_TRY(find_array(g, key, count, &m));
    if (m->elem != FC_META_FLOAT) return FC_FAIL(FC_ERR_FORMAT, "%s: %s is not an array of floats", g->path, key);
    for (size_t i = 0; i < count; i++) {
        fc_meta e;
        element(m, i, &e);
        if (!isfinite(e.f) || fabs(e.f) > (double)3.402823466e38f)
            return FC_FAIL(FC_ERR_FORMAT, "%s: %s: element %zu is not a finite float", g->path, key, i);
        out[i] = (float)e.f;
    }
    return FC_OK;
}
