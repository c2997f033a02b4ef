/* score_cache_file - the score cache on disk: one SQLite table, in WAL mode, that several processes may use at once.
 *
 *   scores(key BLOB PRIMARY KEY, bits INTEGER, mac INTEGER)
 *
 * bits are those of the double; mac is a SipHash of key and bits under the secret. The row with the empty key holds the
 * secret itself, in bits and mac. user_version is the schema's version, application_id says whose file it is. Nothing
 * is changed in a file that is not ours or not of this version.
 *
 * One thread at a time. SQLite allocates inside these calls: at most its page cache, 2 MB.
 * Errors: FC_ERR_FULL another process holds the file, nothing was changed, try again; FC_ERR_FORMAT foreign, damaged,
 * or of another version; FC_ERR_UNSUPPORTED a file system without WAL; FC_ERR_MEM; FC_ERR_IO the rest. The sentence has
 * the path.
 */
#ifndef FC_ENGINE_SCORE_CACHE_FILE_H
#define FC_ENGINE_SCORE_CACHE_FILE_H

#include "engine/score_cache.h"

typedef struct fc_score_file fc_score_file; /* opaque: only score_cache_file.c sees inside */

typedef struct {
    uint64_t k[2];
} fc_score_secret;

typedef struct {
    fc_score_key key;
    double score;
} fc_score_row;

/* Makes the file with *secret where there is none; else *secret becomes the file's. */
fc_status fc_score_file_open(const char *path, fc_score_secret *secret, fc_score_file **out);
void fc_score_file_close(fc_score_file *f); /* NULL is fine */

/* *damaged: there is a row, and it does not match its hash; *found is false then. */
fc_status fc_score_file_get(fc_score_file *f, fc_score_key key, double *score, bool *found, bool *damaged);
/* rows [n] in one transaction: all or none. Waits at most wait_ms for other processes. After any error but FC_ERR_FULL
 * only close may follow. */
fc_status fc_score_file_put(fc_score_file *f, const fc_score_row *rows, int n, int wait_ms);

#endif
