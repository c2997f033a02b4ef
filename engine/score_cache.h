/* score_cache - scores of candidates of earlier requests, found again by everything that can change them.
 *
 *   open -> scope (once a request, any thread) -> get (a candidate begins), put (its score has come) ... flush -> close
 *
 * Memory is taken at open; when it is full, the score that was used least recently goes. With a file (SQLite) scores
 * outlive the engine, and engines share them: a miss in memory reads the file; new scores are written 256 at a time,
 * when nothing runs, and at close. The file grows without bound; it may be removed while no engine has it open.
 *
 * A file never changes an answer and never stops an engine. Each of its rows carries a keyed hash of itself, so that a
 * damaged one is a miss. What else is wrong with it (read-only, foreign, of another schema, corrupt, disk full, no WAL)
 * ends its use: one warning in the log that names the cause, file_errors = 1, and on with memory alone. Where another
 * process holds the file for too long, a batch of scores stays unwritten: one warning, and file_lost counts them.
 *
 * A key is two 64-bit SipHashes of the candidate's ids, under the 256 bits of its request's scope; a scope is four
 * SipHashes of all the rest, under a secret that is drawn at random when the cache, or its file, is made. The material
 * itself is not kept: among N scores two share a key by chance with probability below N^2 / 2^129, 10^-20 for a
 * billion, and nobody who does not know the secret can look for such a pair. Who may read the file may read its scores,
 * and who may write it may forge them.
 *
 * A model is what its fingerprint says it is (weights_tools/fingerprint.h): for a file the caller gives that of all
 * bytes, since it outlives an edit of the model; samples of large tensors are enough for memory.
 *
 * Invariants; fc_score_cache_check() verifies all four, and tests call it after every call:
 *   (1) scores <= max_scores, and memory <= the bytes asked for;
 *   (2) a search for a score's key finds it, and chains hold as many as there are scores;
 *   (3) the list of use has each score exactly once;
 *   (4) no score is NaN; at most 256 wait for the file, none without one.
 *
 * source  Aumasson, Bernstein, "SipHash: a fast short-input PRF", 2012
 */
#ifndef FC_ENGINE_SCORE_CACHE_H
#define FC_ENGINE_SCORE_CACHE_H

#include "engine/base/dtype.h"
#include "engine/forkcast.h"

typedef struct fc_score_cache fc_score_cache; /* opaque: only score_cache.c sees inside */

/* What can change a score besides the candidate, and who may see it. Zero fields take part like any other value. The
 * library's version and FC_NUMERICS (kernels/backend.h) are added: another build may sum in another order. */
typedef struct {
    const char *api_key, *cache_salt; /* NULL: none, which is not "" */
    uint64_t model, adapter;          /* the alignment model's fingerprints; adapter 0: none */
    fc_score_mode mode;
    fc_dtype kv_type;          /* the alignment pool's */
    const char *backend, *cpu; /* names: "cpu", "avx2" */
    bool imprecise;            /* what fc_engine_options.precise comes to */
    const int32_t *prompt, *suffix, *labels;
    int n_prompt, n_suffix, n_labels;
} fc_score_material;

typedef struct {
    uint64_t d[4];
} fc_score_scope;

typedef struct {
    uint64_t k[2];
} fc_score_key;

/* Takes `bytes` of memory now; 0: 16 MiB. file: path, made where there is none; NULL: memory alone. A file that cannot
 * be used is a warning, not an error. FC_ERR_ARG: the bytes do not hold one score. */
fc_status fc_score_cache_open(uint64_t bytes, const char *file, fc_score_cache **out);
void fc_score_cache_close(fc_score_cache *c);  /* NULL is fine; what waits is written */
uint64_t fc_score_cache_bytes(uint64_t bytes); /* what open takes for them, to be touched in time: 47 GB at most */

/* Reads only what open fixed: any thread may ask. */
fc_status fc_score_cache_scope(const fc_score_cache *c, const fc_score_material *m, fc_score_scope *out);
/* The same of another build, for tests. */
fc_status fc_score_cache_scope_of(const fc_score_cache *c, const fc_score_material *m, const char *version,
                                  int numerics, fc_score_scope *out);
/* ids [n]: the candidate in the alignment tokenizer, without suffix. n >= 0. */
fc_score_key fc_score_cache_key(const fc_score_scope *s, const int32_t *ids, int n);

/* True: *score has the bits that were put, and counts as used. */
bool fc_score_cache_get(fc_score_cache *c, fc_score_key key, double *score);
/* The first score of a key stays. NaN is not kept. */
void fc_score_cache_put(fc_score_cache *c, fc_score_key key, double score);
void fc_score_cache_flush(fc_score_cache *c); /* what waits goes into the file; without one nothing happens */

typedef struct {
    int64_t lookups, hits, puts, evicted; /* hits: file's included */
    int64_t file_hits, file_written;
    int64_t file_lost;               /* scores that could not be written */
    int64_t file_damaged;            /* rows that do not match their hash */
    int64_t file_errors;             /* 1: there was a file, and it is used no more */
    int scores, max_scores, waiting; /* now; that memory holds; for the file */
} fc_score_cache_stats;
fc_score_cache_stats fc_score_cache_counts(const fc_score_cache *c);

/* FC_ERR_INTERNAL with the number of the invariant that does not hold. */
fc_status fc_score_cache_check(const fc_score_cache *c);

#endif
