#include "engine/score_cache_file.h"

#include "engine/base/hash.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "engine/base/str.h"
#include "kernels/backend.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/random.h>

enum {
    DEFAULT_BYTES = 16 << 20,
    WRITE_BATCH = 256, /* scores of one transaction */
    STEP_WAIT_MS = 50, /* for other processes, while requests run; at most once for each batch */
    CLOSE_WAIT_MS = 2000
};

/* Entry 0 holds no score: it is both ends of the list of use. So 0 means none, and fresh memory needs no setting up. */
typedef struct {
    fc_score_key key;
    double score;
    int32_t next; /* of its chain; 0: last */
    int32_t older, newer;
} entry;

struct fc_score_cache {
    uint64_t bytes; /* asked for */
    entry *entries; /* [max_scores + 1]; those in use come first */
    int32_t *heads; /* [n_heads] of chains */
    size_t entry_bytes, head_bytes;
    uint32_t n_heads; /* a power of two */
    fc_score_secret secret;
    fc_score_file *file; /* NULL: none */
    fc_score_row waiting[WRITE_BATCH];
    fc_score_cache_stats stats;
};

/* ---- keys ---- */

static fc_status random_secret(fc_score_secret *out) {
    if (getrandom(out, sizeof *out, 0) != (ssize_t)sizeof *out)
        return FC_FAIL(FC_ERR_IO, "score cache: no random numbers: %s", strerror(errno));
    return FC_OK;
}

static fc_status put_number(fc_str *s, uint64_t v) {
    char bytes[8]; /* little-endian on every machine */
    for (int i = 0; i < 8; i++) bytes[i] = (char)(unsigned char)(v >> (8 * i));
    return fc_str_put(s, bytes, sizeof bytes);
}

/* Every text and list has its size in front, so that no two materials are the same bytes. */
static fc_status put_text(fc_str *s, const char *text) {
    size_t n = text ? strlen(text) : 0;
    FC_TRY(put_number(s, text ? n + 1 : 0));
    return fc_str_put(s, text, n);
}

static fc_status put_ids(fc_str *s, const int32_t *ids, int n) {
    FC_TRY(put_number(s, (uint64_t)n));
    return fc_str_put(s, (const char *)ids, (size_t)n * sizeof *ids);
}

static fc_status put_material(fc_str *s, const fc_score_material *m, const char *version, int numerics) {
    const char *const texts[] = {version, m->api_key, m->cache_salt, m->backend, m->cpu, fc_dtype_name(m->kv_type)};
    FC_TRY(fc_str_put(s, "", 1)); /* the place of the hash's number */
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) FC_TRY(put_text(s, texts[i]));
    FC_TRY(put_number(s, (uint64_t)numerics));
    FC_TRY(put_number(s, m->imprecise));
    FC_TRY(put_number(s, m->model));
    FC_TRY(put_number(s, m->adapter));
    FC_TRY(put_text(s, fc_score_mode_name(m->mode)));
    FC_TRY(put_ids(s, m->prompt, m->n_prompt));
    FC_TRY(put_ids(s, m->suffix, m->n_suffix));
    return put_ids(s, m->labels, m->n_labels);
}

fc_status fc_score_cache_scope(const fc_score_cache *c, const fc_score_material *m, fc_score_scope *out) {
    return fc_score_cache_scope_of(c, m, FC_VERSION, FC_NUMERICS, out);
}

fc_status fc_score_cache_scope_of(const fc_score_cache *c, const fc_score_material *m, const char *version,
                                  int numerics, fc_score_scope *out) {
    fc_str s = {0};
    fc_status st = put_material(&s, m, version, numerics);
    for (char i = 0; !st && i < 4; i++) {
        s.data[0] = i;
        out->d[(int)i] = fc_siphash(c->secret.k[0], c->secret.k[1], s.data, s.size);
    }
    fc_str_fini(&s);
    return st;
}

fc_score_key fc_score_cache_key(const fc_score_scope *s, const int32_t *ids, int n) {
    size_t size = (size_t)n * sizeof *ids;
    return (fc_score_key){{fc_siphash(s->d[0], s->d[1], ids, size), fc_siphash(s->d[2], s->d[3], ids, size)}};
}

/* ---- memory ---- */

/* Keys are as good as random numbers: any bits of them choose the chain. */
static int32_t *head_of(const fc_score_cache *c, fc_score_key key) { return &c->heads[key.k[0] & (c->n_heads - 1)]; }
static bool same(fc_score_key a, fc_score_key b) { return a.k[0] == b.k[0] && a.k[1] == b.k[1]; }

static int32_t find(const fc_score_cache *c, fc_score_key key) {
    int32_t x = *head_of(c, key);
    while (x && !same(c->entries[x].key, key)) x = c->entries[x].next;
    return x;
}

/* The list of use is a ring through entry 0: behind it the oldest, before it the newest. */
static void leave_ring(fc_score_cache *c, int32_t x) {
    entry *e = c->entries;
    e[e[x].older].newer = e[x].newer;
    e[e[x].newer].older = e[x].older;
}

static void join_ring(fc_score_cache *c, int32_t x) {
    entry *e = c->entries;
    e[x].older = e[0].older;
    e[x].newer = 0;
    e[e[x].older].newer = x;
    e[0].older = x;
}

static void use(fc_score_cache *c, int32_t x) {
    leave_ring(c, x);
    join_ring(c, x);
}

/* A place for one score more: a new one, or that of the score used least recently. */
static int32_t take_place(fc_score_cache *c) {
    int32_t x, *link;
    if (c->stats.scores < c->stats.max_scores) return ++c->stats.scores;
    x = c->entries[0].newer;
    link = head_of(c, c->entries[x].key);
    while (*link != x) link = &c->entries[*link].next;
    *link = c->entries[x].next;
    leave_ring(c, x);
    c->stats.evicted++;
    return x;
}

static int32_t insert(fc_score_cache *c, fc_score_key key, double score) {
    int32_t x = take_place(c), *head = head_of(c, key);
    c->entries[x].key = key;
    c->entries[x].score = score;
    c->entries[x].next = *head;
    *head = x;
    join_ring(c, x);
    return x;
}

/* ---- file ---- */

static void drop_file(fc_score_cache *c) {
    fc_log(FC_LOG_WARN, "%s; scores are kept in memory alone", fc_status_text());
    fc_score_file_close(c->file);
    c->file = NULL;
    c->stats.file_errors = 1;
    c->stats.file_lost += c->stats.waiting;
    c->stats.waiting = 0;
}

/* all: what cannot be written now is lost. */
static void write_waiting(fc_score_cache *c, int wait_ms, bool all) {
    fc_status st;
    if (!c->stats.waiting) return;
    st = fc_score_file_put(c->file, c->waiting, c->stats.waiting, wait_ms);
    if (st == FC_ERR_FULL && !all) return;
    if (st == FC_ERR_FULL) {
        if (!c->stats.file_lost) fc_log(FC_LOG_WARN, "%s; some scores stay unwritten", fc_status_text());
        c->stats.file_lost += c->stats.waiting;
    } else if (st) {
        drop_file(c);
    } else {
        c->stats.file_written += c->stats.waiting;
    }
    c->stats.waiting = 0;
}

static bool read_file(fc_score_cache *c, fc_score_key key, double *score) {
    bool found, damaged;
    if (!c->file) return false;
    if (fc_score_file_get(c->file, key, score, &found, &damaged)) {
        drop_file(c);
        return false;
    }
    if (damaged && !c->stats.file_damaged++)
        fc_log(FC_LOG_WARN,
               "score_cache_file: a row does not match its hash; it is computed anew, as any such row will be");
    c->stats.file_hits += found;
    return found;
}

/* ---- the public part ---- */

/* An entry and the head of its chain. */
enum { ONE = sizeof(entry) + sizeof(int32_t), MOST = 1 << 30 };

static uint64_t entries_in(uint64_t bytes) { return bytes / ONE < MOST ? bytes / ONE : MOST; }
uint64_t fc_score_cache_bytes(uint64_t bytes) { return entries_in(bytes ? bytes : DEFAULT_BYTES) * ONE; }

static fc_status take_memory(fc_score_cache *c) {
    uint64_t n = entries_in(c->bytes);
    void *p;
    if (n < 2)
        return FC_FAIL(FC_ERR_ARG, "score_cache = %llu bytes; one score takes %d", (unsigned long long)c->bytes,
                       2 * ONE);
    for (c->n_heads = 1; c->n_heads <= n / 2;) c->n_heads *= 2;
    c->entry_bytes = (size_t)n * sizeof *c->entries;
    c->head_bytes = c->n_heads * sizeof *c->heads;
    c->stats.max_scores = (int)n - 1;
    FC_TRY(fc_pages_alloc(c->entry_bytes, "score cache", &p));
    c->entries = p;
    FC_TRY(fc_pages_alloc(c->head_bytes, "score cache", &p));
    c->heads = p;
    return FC_OK;
}

fc_status fc_score_cache_open(uint64_t bytes, const char *file, fc_score_cache **out) {
    fc_status st = FC_OK;
    fc_score_cache *c;
    void *p;
    FC_TRY(fc_alloc(1, sizeof *c, "score cache", &p));
    c = p;
    c->bytes = bytes ? bytes : DEFAULT_BYTES;
    FC_TRY_GOTO(st, take_memory(c), fail);
    FC_TRY_GOTO(st, random_secret(&c->secret), fail);
    if (file && fc_score_file_open(file, &c->secret, &c->file)) drop_file(c);
    *out = c;
    return FC_OK;
fail:
    fc_score_cache_close(c);
    return st;
}

void fc_score_cache_close(fc_score_cache *c) {
    if (!c) return;
    write_waiting(c, CLOSE_WAIT_MS, true);
    fc_score_file_close(c->file);
    fc_pages_free(c->heads, c->head_bytes);
    fc_pages_free(c->entries, c->entry_bytes);
    fc_free(c);
}

bool fc_score_cache_get(fc_score_cache *c, fc_score_key key, double *score) {
    int32_t x = find(c, key);
    double read;
    c->stats.lookups++;
    if (x) use(c, x);
    else if (read_file(c, key, &read)) x = insert(c, key, read);
    if (!x) return false;
    c->stats.hits++;
    *score = c->entries[x].score;
    return true;
}

void fc_score_cache_put(fc_score_cache *c, fc_score_key key, double score) {
    int32_t x = find(c, key);
    if (isnan(score)) return;
    if (x) {
        use(c, x);
        return;
    }
    insert(c, key, score);
    c->stats.puts++;
    if (!c->file) return;
    c->waiting[c->stats.waiting++] = (fc_score_row){key, score};
    if (c->stats.waiting == WRITE_BATCH) write_waiting(c, STEP_WAIT_MS, true);
}

void fc_score_cache_flush(fc_score_cache *c) { write_waiting(c, STEP_WAIT_MS, false); }

fc_score_cache_stats fc_score_cache_counts(const fc_score_cache *c) { return c->stats; }

/* ---- invariants ---- */

fc_status fc_score_cache_check(const fc_score_cache *c) {
    const entry *e = c->entries;
    int n = c->stats.scores, chained = 0, listed = 0;
    if (n > c->stats.max_scores || c->entry_bytes + c->head_bytes > c->bytes)
        return FC_FAIL(FC_ERR_INTERNAL, "score cache (1): %d of %d scores, %zu of %llu bytes", n, c->stats.max_scores,
                       c->entry_bytes + c->head_bytes, (unsigned long long)c->bytes);
    for (uint32_t h = 0; h < c->n_heads; h++)
        for (int32_t x = c->heads[h]; x && chained <= n; x = e[x].next) chained++;
    for (int32_t x = 1; x <= n; x++) {
        if (find(c, e[x].key) != x) return FC_FAIL(FC_ERR_INTERNAL, "score cache (2): entry %d is not found", x);
        if (isnan(e[x].score)) return FC_FAIL(FC_ERR_INTERNAL, "score cache (4): entry %d is NaN", x);
    }
    if (chained != n) return FC_FAIL(FC_ERR_INTERNAL, "score cache (2): %d scores, chains hold %d", n, chained);
    for (int32_t x = 0; listed <= n; listed++) {
        if (e[e[x].newer].older != x || e[x].newer > n)
            return FC_FAIL(FC_ERR_INTERNAL, "score cache (3): entry %d is not before entry %d", x, e[x].newer);
        x = e[x].newer;
        if (!x) break;
    }
    if (listed != n) return FC_FAIL(FC_ERR_INTERNAL, "score cache (3): %d scores, the list has %d", n, listed);
    if (c->stats.waiting > (c->file ? WRITE_BATCH : 0))
        return FC_FAIL(FC_ERR_INTERNAL, "score cache (4): %d wait for the file", c->stats.waiting);
    return FC_OK;
}
