#include "engine/base/mem.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static atomic_ullong alloc_count;

bool fc_mul(size_t a, size_t b, size_t *out) {
    size_t r;
    if (__builtin_mul_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

bool fc_add(size_t a, size_t b, size_t *out) {
    size_t r;
    if (__builtin_add_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

/* Rounded up to the alignment, as aligned_alloc demands. */
static bool padded(size_t bytes, size_t *out) {
    if (bytes == 0) bytes = 1;
    if (!fc_add(bytes, 63, &bytes)) return false;
    *out = bytes & ~(size_t)63;
    return true;
}

fc_status fc_alloc(size_t count, size_t size, const char *what, void **out) {
    size_t bytes;
    void *p;
    if (!fc_mul(count, size, &bytes) || !padded(bytes, &bytes))
        return FC_FAIL(FC_ERR_MEM, "%s: %zu x %zu bytes do not fit in the address space", what, count, size);
    atomic_fetch_add_explicit(&alloc_count, 1, memory_order_relaxed);
    p = aligned_alloc(64, bytes);
    if (!p) return FC_FAIL(FC_ERR_MEM, "%s: no memory for %zu bytes", what, bytes);
    memset(p, 0, bytes);
    *out = p;
    return FC_OK;
}

void fc_free(void *p) { free(p); }

fc_status fc_grow(void **p, size_t *cap, size_t want, size_t size, const char *what) {
    size_t next = *cap ? *cap : 16;
    void *q;
    if (want <= *cap) return FC_OK;
    while (next < want)
        if (!fc_mul(next, 2, &next)) return FC_FAIL(FC_ERR_MEM, "%s: %zu elements are too many", what, want);
    FC_TRY(fc_alloc(next, size, what, &q));
    if (*p) memcpy(q, *p, *cap * size); /* *cap * size was allocated before, so it fits */
    fc_free(*p);
    *p = q;
    *cap = next;
    return FC_OK;
}

fc_status fc_copy_bytes(const void *src, size_t n, const char *what, char **out) {
    size_t bytes;
    void *p;
    if (!fc_add(n, 1, &bytes)) return FC_FAIL(FC_ERR_MEM, "%s: %zu bytes are too many", what, n);
    FC_TRY(fc_alloc(bytes, 1, what, &p));
    if (n) memcpy(p, src, n);
    *out = p;
    return FC_OK;
}

fc_status fc_copy_str(const char *src, const char *what, char **out) {
    return fc_copy_bytes(src, strlen(src), what, out);
}

struct fc_arena_block {
    struct fc_arena_block *next;
    size_t used, size; /* of data, in bytes */
    _Alignas(16) unsigned char data[];
};

enum { ARENA_BLOCK = 64 * 1024 };

void fc_arena_init(fc_arena *a) {
    a->head = NULL;
    a->used = 0;
}

void fc_arena_fini(fc_arena *a) {
    struct fc_arena_block *b = a->head;
    while (b) {
        struct fc_arena_block *next = b->next;
        fc_free(b);
        b = next;
    }
    fc_arena_init(a);
}

fc_status fc_arena_alloc(fc_arena *a, size_t count, size_t size, void **out) {
    size_t bytes, block_bytes;
    struct fc_arena_block *b = a->head;
    if (!fc_mul(count, size, &bytes) || !fc_add(bytes, 15, &bytes))
        return FC_FAIL(FC_ERR_MEM, "arena: %zu x %zu bytes do not fit in the address space", count, size);
    bytes &= ~(size_t)15;
    if (!b || b->size - b->used < bytes) {
        void *p;
        size_t data = bytes > ARENA_BLOCK ? bytes : ARENA_BLOCK;
        if (!fc_add(data, sizeof *b, &block_bytes)) return FC_FAIL(FC_ERR_MEM, "arena: %zu bytes are too many", bytes);
        FC_TRY(fc_alloc(block_bytes, 1, "arena block", &p));
        b = p;
        b->size = data;
        b->next = a->head;
        a->head = b;
    }
    *out = b->data + b->used;
    b->used += bytes;
    a->used += bytes;
    return FC_OK;
}

unsigned long long fc_alloc_count(void) { return atomic_load_explicit(&alloc_count, memory_order_relaxed); }
