#include "weights_tools/safetensors.h"

#include "engine/base/json.h"
#include "weights_tools/names.h"
#include "weights_tools/tensors.h"

#include <string.h>

/* The format allows headers of 100 MB, but a parsed header takes some 60 times its bytes; 10^5 tensors fit in this. */
enum { MAX_HEADER = 16 << 20, MAX_SHARDS = 1000, MAX_NAME = 255, MAX_DIMS = 8 };

static const struct {
    const char *name;
    fc_dtype dtype;
} dtypes[] = {{"F32", FC_F32}, {"F16", FC_F16}, {"BF16", FC_BF16}, {"F8_E4M3", FC_F8},
              {"I8", FC_I8},   {"I32", FC_I32}, {"I64", FC_I64}};

/* One file's header while it is read. */
typedef struct {
    const char *path;
    const unsigned char *data; /* [size] behind the header */
    size_t size;
    bool gemma;
} shard;

static fc_status check_name(const shard *h, const char *name, size_t i) {
    size_t n = strlen(name);
    if (n == 0 || n > MAX_NAME)
        return FC_FAIL(FC_ERR_FORMAT, "%s: the name of tensor %zu has %zu bytes; 1 to %d are possible", h->path, i, n,
                       MAX_NAME);
    for (size_t k = 0; k < n; k++)
        if ((unsigned char)name[k] < 0x20 || name[k] == 0x7f)
            return FC_FAIL(FC_ERR_FORMAT, "%s: the name of tensor %zu contains the byte 0x%02x", h->path, i,
                           (unsigned char)name[k]);
    return FC_OK;
}

static fc_status read_dtype(const shard *h, const char *name, const fc_json *entry, fc_dtype *out) {
    const fc_json *n = fc_json_get(entry, "dtype");
    const char *text = NULL;
    if (!n) return FC_FAIL(FC_ERR_FORMAT, "%s: tensor %s has no dtype", h->path, name);
    FC_TRY(fc_json_string(n, &text));
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++)
        if (strcmp(text, dtypes[i].name) == 0) {
            *out = dtypes[i].dtype;
            return FC_OK;
        }
    return FC_FAIL(FC_ERR_UNSUPPORTED,
                   "%s: tensor %s has dtype \"%.20s\"; F32, F16, BF16, F8_E4M3, I8, I32 and I64 are supported", h->path,
                   name, text);
}

/* K is the last dimension, N the product of the others. */
static fc_status read_shape(const shard *h, const fc_json *entry, fc_tensor *t) {
    const fc_json *list = fc_json_get(entry, "shape");
    size_t rows = 1, last = 1;
    if (!list || fc_json_kind(list) != FC_JSON_ARRAY || fc_json_count(list) > MAX_DIMS)
        return FC_FAIL(FC_ERR_FORMAT, "%s: tensor %s: its shape is not an array of at most %d dimensions", h->path,
                       t->file_name, MAX_DIMS);
    for (const fc_json *n = fc_json_first(list); n; n = fc_json_next(n)) {
        uint64_t v = 0;
        FC_TRY(fc_json_uint64(n, &v));
        if (v < 1 || v > INT64_MAX)
            return FC_FAIL(FC_ERR_FORMAT, "%s: tensor %s: dimension %d is %llu", h->path, t->file_name, t->n_dims,
                           (unsigned long long)v);
        if (!fc_mul(rows, last, &rows) || rows > INT64_MAX)
            return FC_FAIL(FC_ERR_FORMAT, "%s: tensor %s: its dimensions do not fit in the address space", h->path,
                           t->file_name);
        last = (size_t)v;
        t->n_dims++;
    }
    t->N = (int64_t)rows;
    t->K = (int64_t)last;
    return FC_OK;
}

static fc_status read_offsets(const shard *h, const fc_json *entry, fc_tensor *t) {
    const fc_json *list = fc_json_get(entry, "data_offsets"), *first;
    uint64_t begin = 0, end = 0;
    size_t row = 0, bytes = 0;
    if (!list || fc_json_kind(list) != FC_JSON_ARRAY || fc_json_count(list) != 2)
        return FC_FAIL(FC_ERR_FORMAT, "%s: tensor %s: data_offsets is not an array of two numbers", h->path,
                       t->file_name);
    first = fc_json_first(list);
    FC_TRY(fc_json_uint64(first, &begin));
    FC_TRY(fc_json_uint64(fc_json_next(first), &end));
    if (begin > end || end > h->size)
        return FC_FAIL(FC_ERR_FORMAT, "%s: tensor %s: data_offsets %llu to %llu in %zu bytes of data", h->path,
                       t->file_name, (unsigned long long)begin, (unsigned long long)end, h->size);
    if (!fc_mul((size_t)t->K, fc_dtype_block_bytes(t->dtype), &row) || !fc_mul((size_t)t->N, row, &bytes) ||
        bytes != end - begin)
        return FC_FAIL(FC_ERR_FORMAT,
                       "%s: tensor %s: %lld x %lld elements of %s do not take the %llu bytes of its data_offsets",
                       h->path, t->file_name, (long long)t->N, (long long)t->K, fc_dtype_name(t->dtype),
                       (unsigned long long)(end - begin));
    t->data = h->data + begin;
    t->bytes = bytes;
    return FC_OK;
}

static fc_status keep_name(fc_arena *arena, const char *name, const char **out) {
    void *p = NULL;
    size_t n = strlen(name) + 1;
    FC_TRY(fc_arena_alloc(arena, n, 1, &p));
    memcpy(p, name, n);
    *out = p;
    return FC_OK;
}

static fc_status read_entry(const shard *h, const fc_json *entry, size_t i, fc_safetensors *s) {
    char name[MAX_NAME + 1];
    fc_tensor *t;
    void *p = s->tensors;
    FC_TRY(check_name(h, fc_json_key(entry), i));
    if (fc_json_kind(entry) != FC_JSON_OBJECT)
        return FC_FAIL(FC_ERR_FORMAT, "%s: tensor %s is not an object", h->path, fc_json_key(entry));
    if (!fc_names_from_hf(fc_json_key(entry), h->gemma, name, sizeof name)) return FC_OK;
    FC_TRY(fc_grow(&p, &s->cap_tensors, s->n_tensors + 1, sizeof *t, "table of tensors"));
    s->tensors = p;
    t = &s->tensors[s->n_tensors];
    FC_TRY(keep_name(&s->arena, name, &t->name));
    FC_TRY(keep_name(&s->arena, fc_json_key(entry), &t->file_name));
    FC_TRY(read_dtype(h, t->file_name, entry, &t->dtype));
    FC_TRY(read_shape(h, entry, t));
    FC_TRY(read_offsets(h, entry, t));
    s->n_tensors++;
    return FC_OK;
}

/* Elements are read where they lie, so a tensor at an odd address (headers used not to be padded) is copied once. */
static fc_status align_data(fc_safetensors *s, size_t from) {
    for (size_t i = from; i < s->n_tensors; i++) {
        fc_tensor *t = &s->tensors[i];
        void *p = NULL;
        if ((uintptr_t)t->data % fc_dtype_block_bytes(t->dtype) == 0) continue;
        FC_TRY(fc_arena_alloc(&s->arena, t->bytes, 1, &p));
        memcpy(p, t->data, t->bytes);
        t->data = p;
    }
    return FC_OK;
}

static fc_status read_header(const shard *h, const fc_json *header, fc_safetensors *s) {
    size_t from = s->n_tensors, i = 0;
    void *p = NULL;
    fc_status st;
    if (fc_json_kind(header) != FC_JSON_OBJECT)
        return FC_FAIL(FC_ERR_FORMAT, "%s: its header is not a JSON object", h->path);
    for (const fc_json *n = fc_json_first(header); n; n = fc_json_next(n), i++)
        if (strcmp(fc_json_key(n), "__metadata__") != 0) FC_TRY(read_entry(h, n, i, s));
    FC_TRY(fc_alloc(s->n_tensors - from, sizeof(fc_tensor *), "tensor order", &p));
    st = fc_tensors_apart(h->path, s->tensors + from, s->n_tensors - from, p);
    fc_free(p);
    return st ? st : align_data(s, from);
}

static fc_status read_file(const char *path, bool gemma, fc_safetensors *s) {
    fc_json_doc *doc = NULL;
    shard h = {.path = path, .gemma = gemma};
    const fc_map *m;
    uint64_t n;
    void *p = s->maps;
    fc_status st;
    FC_TRY(fc_grow(&p, &s->cap_maps, s->n_maps + 1, sizeof *s->maps, "table of shards"));
    s->maps = p;
    FC_TRY(fc_map_open(path, &s->maps[s->n_maps]));
    m = &s->maps[s->n_maps++];
    if (m->size < 8) return FC_FAIL(FC_ERR_FORMAT, "%s: %zu bytes are too few for a safetensors file", path, m->size);
    memcpy(&n, m->data, 8);
    if (n > m->size - 8 || n > MAX_HEADER)
        return FC_FAIL(FC_ERR_FORMAT, "%s: a header of %llu bytes in a file of %zu bytes (the limit is %d)", path,
                       (unsigned long long)n, m->size, MAX_HEADER);
    h.data = m->data + 8 + n;
    h.size = m->size - 8 - (size_t)n;
    FC_TRY(fc_json_parse(path, (const char *)m->data + 8, (size_t)n, &doc));
    st = read_header(&h, fc_json_root(doc), s);
    fc_json_close(doc);
    return st;
}

/* A file name in the index's own folder, nothing else. */
static fc_status check_shard(const char *path, const char *name) {
    size_t n = strlen(name);
    bool plain = n > 0 && n <= MAX_NAME && !strchr(name, '/') && !strchr(name, '\\') && !strstr(name, "..");
    for (size_t k = 0; k < n && plain; k++) plain = (unsigned char)name[k] >= 0x20 && name[k] != 0x7f;
    if (!plain)
        return FC_FAIL(FC_ERR_FORMAT, "%s: weight_map names a file that is not plainly in the same folder", path);
    return FC_OK;
}

typedef struct {
    const char *names[MAX_SHARDS]; /* borrowed from the index's document, in order of first appearance */
    size_t n, last;
} shard_list;

static fc_status add_shard(const char *path, const char *name, shard_list *list) {
    if (list->n && strcmp(list->names[list->last], name) == 0) return FC_OK; /* neighbours share a shard */
    for (size_t i = 0; i < list->n; i++)
        if (strcmp(list->names[i], name) == 0) {
            list->last = i;
            return FC_OK;
        }
    FC_TRY(check_shard(path, name));
    if (list->n == MAX_SHARDS)
        return FC_FAIL(FC_ERR_FORMAT, "%s: weight_map names more than %d files", path, MAX_SHARDS);
    list->last = list->n;
    list->names[list->n++] = name;
    return FC_OK;
}

static fc_status read_index(const char *path, const fc_json *root, bool gemma, fc_safetensors *s) {
    const fc_json *map = fc_json_get(root, "weight_map");
    const char *slash = strrchr(path, '/');
    size_t folder = slash ? (size_t)(slash - path) + 1 : 0;
    shard_list list = {.n = 0};
    fc_str file = {0};
    fc_status st = FC_OK;
    if (!map || fc_json_kind(map) != FC_JSON_OBJECT || fc_json_count(map) == 0)
        return FC_FAIL(FC_ERR_FORMAT, "%s: no weight_map", path);
    for (const fc_json *n = fc_json_first(map); n; n = fc_json_next(n)) {
        const char *name = NULL;
        FC_TRY(fc_json_string(n, &name));
        FC_TRY(add_shard(path, name, &list));
    }
    for (size_t i = 0; i < list.n && !st; i++) {
        fc_str_clear(&file);
        st = fc_str_put(&file, path, folder);
        if (!st) st = fc_str_puts(&file, list.names[i]);
        if (!st) st = read_file(fc_str_text(&file), gemma, s);
    }
    fc_str_fini(&file);
    return st;
}

fc_status fc_safetensors_open(const char *path, bool gemma, fc_safetensors *out) {
    fc_safetensors s = {.n_maps = 0};
    size_t n = strlen(path);
    fc_json_doc *doc = NULL;
    fc_status st;
    fc_arena_init(&s.arena);
    if (n >= 5 && strcmp(path + n - 5, ".json") == 0) {
        st = fc_json_open(path, MAX_HEADER, &doc);
        if (!st) st = read_index(path, fc_json_root(doc), gemma, &s);
        fc_json_close(doc);
    } else {
        st = read_file(path, gemma, &s);
    }
    if (st) fc_safetensors_fini(&s);
    *out = s;
    return st;
}

void fc_safetensors_fini(fc_safetensors *s) {
    for (size_t i = 0; i < s->n_maps; i++) fc_map_close(&s->maps[i]);
    fc_free(s->maps);
    fc_free(s->tensors);
    fc_arena_fini(&s->arena);
    memset(s, 0, sizeof *s);
}
