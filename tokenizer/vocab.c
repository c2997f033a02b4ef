#include "tokenizer/vocab.h"

#include <string.h>

uint64_t fc_vocab_mix(uint64_t x) {
    x ^= x >> 30;
    x *= 0xBF58476D1CE4E5B9u;
    x ^= x >> 27;
    x *= 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

uint64_t fc_vocab_hash(const char *text, size_t size) {
    uint64_t h = 0x9E3779B97F4A7C15u ^ size, word;
    for (; size >= 8; text += 8, size -= 8) {
        memcpy(&word, text, 8);
        h = fc_vocab_mix(h ^ word);
    }
    word = 0;
    memcpy(&word, text, size);
    return fc_vocab_mix(h ^ word);
}

fc_status fc_vocab_init(fc_vocab *v, const char *name, size_t limit) {
    void *p;
    memset(v, 0, sizeof *v);
    v->name = name;
    fc_arena_init(&v->arena);
    if (limit > INT32_MAX / 4) return FC_FAIL(FC_ERR_FORMAT, "%s: a vocabulary of %zu ids is too large", name, limit);
    FC_TRY(fc_alloc(limit, sizeof *v->entries, "vocabulary", &p));
    v->entries = p;
    v->cap = limit;
    for (v->n_slots = 16; v->n_slots < 2 * limit;) v->n_slots *= 2;
    FC_TRY(fc_alloc(v->n_slots, sizeof *v->slots, "vocabulary index", &p));
    v->slots = p;
    return FC_OK;
}

void fc_vocab_fini(fc_vocab *v) {
    fc_free(v->slots);
    fc_free(v->entries);
    fc_arena_fini(&v->arena);
    memset(v, 0, sizeof *v);
}

/* The slot that holds text, or the empty one where it belongs. At most half of the slots are ever taken. */
static size_t slot_of(const fc_vocab *v, const char *text, size_t size) {
    size_t i = (size_t)fc_vocab_hash(text, size) & (v->n_slots - 1);
    while (v->slots[i]) {
        const fc_vocab_entry *e = &v->entries[v->slots[i] - 1];
        if (e->size == size && memcmp(e->text, text, size) == 0) break;
        i = (i + 1) & (v->n_slots - 1);
    }
    return i;
}

fc_status fc_vocab_add(fc_vocab *v, int64_t id, const char *text, size_t size, int type, double score) {
    fc_vocab_entry *e;
    size_t slot = 0;
    void *copy;
    int shown = size > 64 ? 64 : (int)size;
    if (id < 0 || (uint64_t)id >= v->cap)
        return FC_FAIL(FC_ERR_FORMAT, "%s: piece \"%.*s\" has id %lld; ids must lie between 0 and %zu", v->name, shown,
                       text, (long long)id, v->cap - 1);
    if (size > 65535)
        return FC_FAIL(FC_ERR_FORMAT, "%s: the piece of id %lld has %zu bytes; the limit is 65535", v->name,
                       (long long)id, size);
    e = &v->entries[id];
    if (e->text)
        return FC_FAIL(FC_ERR_FORMAT, "%s: id %lld is both \"%.64s\" and \"%.*s\"", v->name, (long long)id, e->text,
                       shown, text);
    if (size > 0) {
        slot = slot_of(v, text, size);
        if (v->slots[slot])
            return FC_FAIL(FC_ERR_FORMAT, "%s: piece \"%.*s\" has two ids, %u and %lld", v->name, shown, text,
                           v->slots[slot] - 1, (long long)id);
    }
    FC_TRY(fc_arena_alloc(&v->arena, size + 1, 1, &copy));
    if (size) memcpy(copy, text, size);
    e->text = copy;
    e->size = (uint32_t)size;
    e->type = (uint8_t)type;
    e->score = score;
    if (size > 0) v->slots[slot] = (uint32_t)id + 1;
    if ((size_t)id >= v->size) v->size = (size_t)id + 1;
    v->count++;
    return FC_OK;
}

int32_t fc_vocab_find(const fc_vocab *v, const char *text, size_t size) {
    return size == 0 ? -1 : (int32_t)v->slots[slot_of(v, text, size)] - 1;
}

int32_t fc_vocab_find_model(const fc_vocab *v, const char *text, size_t size) {
    int32_t id = fc_vocab_find(v, text, size);
    return id >= 0 && v->entries[id].model ? id : -1;
}

struct fc_prefix_edge {
    uint32_t node, child; /* child == 0: empty slot */
    uint8_t byte;
};

void fc_prefixes_fini(fc_prefixes *p) {
    fc_free(p->edges);
    fc_free(p->values);
    memset(p, 0, sizeof *p);
}

static struct fc_prefix_edge *edge_of(struct fc_prefix_edge *edges, size_t n_slots, uint32_t node, uint8_t byte) {
    size_t i = (size_t)fc_vocab_mix(((uint64_t)node << 8) | byte) & (n_slots - 1);
    while (edges[i].child && (edges[i].node != node || edges[i].byte != byte)) i = (i + 1) & (n_slots - 1);
    return &edges[i];
}

/* Room for one more edge: at most half of the slots are taken. */
static fc_status widen(fc_prefixes *p) {
    size_t n = p->n_slots ? 2 * p->n_slots : 64;
    void *q;
    if (2 * (p->n_edges + 1) <= p->n_slots) return FC_OK;
    FC_TRY(fc_alloc(n, sizeof *p->edges, "prefix tree", &q));
    for (size_t i = 0; i < p->n_slots; i++)
        if (p->edges[i].child) *edge_of(q, n, p->edges[i].node, p->edges[i].byte) = p->edges[i];
    fc_free(p->edges);
    p->edges = q;
    p->n_slots = n;
    return FC_OK;
}

fc_status fc_prefixes_add(fc_prefixes *p, const char *text, size_t size, int32_t value) {
    uint32_t node = 0;
    void *values = p->values;
    if (size == 0) return FC_OK;
    if (p->n_nodes == 0) p->n_nodes = 1; /* the root */
    for (size_t i = 0; i < size; i++) {
        struct fc_prefix_edge *e;
        FC_TRY(widen(p));
        e = edge_of(p->edges, p->n_slots, node, (uint8_t)text[i]);
        if (!e->child) {
            e->node = node;
            e->byte = (uint8_t)text[i];
            e->child = p->n_nodes++;
            p->n_edges++;
        }
        node = e->child;
    }
    FC_TRY(fc_grow(&values, &p->cap, p->n_nodes, sizeof *p->values, "prefix tree"));
    p->values = values;
    p->values[node] = value + 1;
    p->first[(unsigned char)text[0]] = true;
    if (size > p->longest) p->longest = size;
    return FC_OK;
}

bool fc_prefixes_step(const fc_prefixes *p, uint32_t *node, unsigned char byte, int32_t *value) {
    const struct fc_prefix_edge *e;
    if (p->n_slots == 0) return false;
    e = edge_of(p->edges, p->n_slots, *node, byte);
    if (!e->child) return false;
    *node = e->child;
    *value = e->child < p->cap ? p->values[e->child] - 1 : -1;
    return true;
}

size_t fc_prefixes_longest(const fc_prefixes *p, const char *text, size_t size, int32_t *value) {
    uint32_t node = 0;
    size_t longest = 0;
    int32_t v;
    if (size == 0 || !p->first[(unsigned char)text[0]]) return 0;
    for (size_t i = 0; i < size && fc_prefixes_step(p, &node, (unsigned char)text[i], &v); i++)
        if (v >= 0) {
            longest = i + 1;
            *value = v;
        }
    return longest;
}
