/* table - the answers of a bulk job: key -> ranked names, in an SQLite file.
 *
 *   work file    fc_table_work -> put, fail ... flush -> publish      one writer at a time; kill it when you like
 *   table        fc_table_open -> get, next                     whoever reads it; never changed, only replaced
 *
 * Schema 1 (user_version), application_id 0x666b7462 "fktb", of a work file 0x666b7477 "fktw"; all tables are WITHOUT
 * ROWID, so rows lie in key order:
 *   meta(name, value)            what the rows were computed with: see fc_table_meta
 *   rows(key, input, seed, n, n_used, n_valid, distinct_count, logprob, entropy, vote_share, margin, valid_mass)
 *   candidates(key, rank, text, score, logprob, votes, valid)     the kept ones of a row, rank from 1
 *   failures(key, status, error)                                  keys without a row, and why
 * Reals are the doubles themselves; NULL: not known, or not applicable. input is the fingerprint of the filled prompts,
 * as a signed number; seed is below 2^53. n_valid: of the n_used candidates, those that are names; NULL without names.
 *
 * A published file is canonical: no times, no paths, nothing of the run that made it. Two jobs with the same meta and
 * inputs publish the same bytes, however often they were killed and in whatever order rows came. Publishing writes a
 * file beside the table, syncs it, and renames it over the old one: a reader has either the one or the other, whole.
 *
 * A work file is in WAL mode, and its writer holds it alone (a lock that ends with the process). Rows are written in
 * transactions of many: what a kill loses is computed again.
 *
 * A key is one text: the names of a history apart by tabs, or what a list of prompts calls it. Keys are ordered by
 * their bytes. A handle is one thread's at a time; handles of one file may be used on any threads.
 *
 * Errors: FC_ERR_FULL another process writes; FC_ERR_FORMAT foreign, damaged, or of another schema; FC_ERR_ARG of other
 * settings; FC_ERR_IO the disk is full, read-only, ... The sentence has the path.
 */
#ifndef FC_ENGINE_TABLE_H
#define FC_ENGINE_TABLE_H

#include "engine/base/str.h"
#include "engine/forkcast.h"

typedef struct fc_table fc_table; /* opaque: table_sql.h */

/* ---- what rows are computed with ---- */

/* Three kinds, in this order. What every row depends on: rows of another table are taken over only where all of it is
 * the same. What keys there are. And what the prompts are made of, which each row's `input` says more exactly: a job
 * goes on where only that has changed, and computes the rows that it changes. Models, adapters and the rest are
 * fingerprints, 16 hexadecimal digits, "" where there is none; settings and keys are JSON. */
typedef enum {
    FC_META_VERSION = 0,
    FC_META_NUMERICS,
    FC_META_BACKEND,
    FC_META_CPU, /* vector level */
    FC_META_KV_TYPE,
    FC_META_NOVELTY,
    FC_META_ALIGNMENT,
    FC_META_NOVELTY_ADAPTER,
    FC_META_ALIGNMENT_ADAPTER,
    FC_META_NAMES, /* of the taxonomy; with what diversity reads */
    FC_META_SETTINGS,
    FC_META_SEED,
    FC_META_ROWS_END, /* here the second kind begins */
    FC_META_KEYS = FC_META_ROWS_END,
    FC_META_SHARD,    /* "1/4": of all keys in the order in which they are computed; "1/1" */
    FC_META_PLANNED,  /* keys of the shard */
    FC_META_KEYS_END, /* the third */
    FC_META_TAXONOMY = FC_META_KEYS_END,
    FC_META_TEMPLATES,
    FC_META_TEXTS, /* of prompts and retrieved lines */
    FC_TABLE_META
} fc_table_meta_name;
typedef struct {
    const char *value[FC_TABLE_META]; /* none is NULL */
} fc_table_meta;
const char *fc_table_meta_text(fc_table_meta_name m); /* "kv_type" */

/* Fingerprint of a model or adapter: of the bytes of a GGUF file; else of all files of the folder, or of the file's
 * folder, in the order of their names; of like:... the text. */
fc_status fc_table_fingerprint(const char *path, uint64_t *out);
uint64_t fc_table_taxonomy(const fc_taxonomy_names *t); /* names, keywords and parents, in their order */
uint64_t fc_table_names(const fc_taxonomy_names *t, fc_diversity d);
uint64_t fc_table_templates(const fc_recipe *r); /* labels are among them */
/* All of a request that changes its answer and is no prompt, label, seed or adapter, and what of the engine does, as a
 * JSON object. */
fc_status fc_table_settings(const fc_request *r, const fc_engine_options *e, fc_str *out);
int fc_table_numerics(void);

/* ---- keys ---- */

/* The key of a history. set: its order does not count; names are put in the order of their bytes. */
fc_status fc_table_key(const char *const *names, size_t n, bool set, fc_str *out);
uint64_t fc_table_seed(uint64_t base, const char *key); /* below 2^53: whole in any reader of JSON */
uint64_t fc_table_input(const fc_request *r);           /* fingerprint of prompt, alignment prompt, suffix and labels */

/* ---- rows ---- */

typedef struct {
    const char *text; /* [text_size] */
    size_t text_size;
    double score, logprob; /* NAN: none */
    int votes, valid;      /* valid: 1, 0; -1 without names */
} fc_table_entry;

typedef struct {
    const char *key;
    uint64_t input, seed;
    int n, n_valid; /* n_valid: -1 without names */
    fc_confidence confidence;
    const fc_table_entry *entries; /* [n_entries] by rank */
    size_t n_entries;
} fc_table_row;

/* ---- work files ---- */

/* Opens or makes the work file. Of other meta: FC_ERR_ARG, which names what differs; the third kind is brought up to
 * date. *made: it is new. m NULL: it is there, of whatever meta. */
fc_status fc_table_work(const char *path, const fc_table_meta *m, fc_table **out, bool *made);
fc_status fc_table_put(fc_table *t, const fc_table_row *r); /* in place of what the key had */
fc_status fc_table_fail(fc_table *t, const char *key, fc_status status, const char *error);
fc_status fc_table_forget_failures(fc_table *t); /* of an earlier run: their keys are tried again */
fc_status fc_table_flush(fc_table *t);           /* what was put is in the file */
/* As a new file that takes the place of `path`. t is flushed, and stays. */
fc_status fc_table_publish(fc_table *t, const char *path);
/* Closes a work file and removes it. */
fc_status fc_table_work_remove(fc_table *t);

/* All rows and failures of `from`, whose keys t lacks: FC_ERR_ARG names one that t has. */
fc_status fc_table_take(fc_table *t, fc_table *from);

/* ---- any file ---- */

/* Read-only. Nobody may change the file: it is replaced. Where it is overwritten all the same, reads fail. */
fc_status fc_table_open(const char *path, fc_table **out);
/* A work file read-only, as it stands; FC_ERR_FULL while its writer runs. */
fc_status fc_table_work_open(const char *path, fc_table **out);
void fc_table_close(fc_table *t); /* NULL is fine */

const char *fc_table_path(const fc_table *t);
const fc_table_meta *fc_table_meta_of(const fc_table *t);
/* The first name whose values differ, but for shard and planned; FC_TABLE_META where none does. */
int fc_table_meta_differs(const fc_table_meta *a, const fc_table_meta *b);

fc_status fc_table_count(fc_table *t, int64_t *rows, int64_t *failures);
/* *row and what it points to is gone with the next call of get or next. */
fc_status fc_table_get(fc_table *t, const char *key, fc_table_row *row, bool *found);
/* The fingerprint of a key's input alone. */
fc_status fc_table_has(fc_table *t, const char *key, uint64_t *input, bool *found);
void fc_table_rewind(fc_table *t);
fc_status fc_table_next(fc_table *t, fc_table_row *row, bool *more); /* in key order; *more false: none is left */
/* The failure of the first key behind `after`, "" at first; the texts are gone with the next call. */
fc_status fc_table_failure(fc_table *t, const char *after, const char **key, const char **status, const char **error,
                           bool *found);
/* SQLite's own check, and: seeds are those of their keys, ranks are 1, 2, ..., votes sum to n_used at most, no key is a
 * row and a failure, planned keys are not exceeded. FC_ERR_FORMAT says what is wrong first. */
fc_status fc_table_check(fc_table *t);

/* ---- what a table holds, and how two differ: table_stats.c ---- */

enum { FC_TABLE_BINS = 10 };
typedef struct {
    int64_t planned, rows, failures, empty; /* empty: rows without a candidate */
    int64_t candidates, first_texts;        /* kept; different texts at rank 1 */
    double exact_match;                     /* mean of valid_mass, where there is one, else n_valid / n_used; NAN */
    bool by_construction;                   /* constraint mask and no valid_mass: nothing else could be drawn */
    double n_used, distinct, entropy, vote_share, margin; /* means; margin of rows that have one */
    double score[FC_TABLE_BINS +
                 1]; /* quantiles of the score at rank 1 (log-prob where nothing was scored): 0, 0.1 ... 1 */
} fc_table_stats;
fc_status fc_table_measure(fc_table *t, fc_table_stats *out);

typedef struct {
    int64_t only_a, only_b, both;
    int64_t same_rows, same_first, same_kept; /* of both: all equal; the same text at rank 1; the same texts kept */
    double overlap;                           /* mean Jaccard of the kept texts */
    double ks; /* largest distance of the two distributions of the score at rank 1, over all rows of each; NAN */
} fc_table_diff;
fc_status fc_table_compare(fc_table *a, fc_table *b, fc_table_diff *out);

#endif
