/* names - a closed set of names that requests point to: exact match, what names share, and its token tries.
 *
 * An fc_names is a handle: the engine holds one for each id that is registered, every request one of its own, and the
 * set lives as long as one of them. Sets are immutable but for their tries, which are built when they are first asked
 * for; the 8 used last are kept, and the one that each handle asked for last (trie_cache.h). A handle is one thread's
 * at a time; handles of one set may be used on any threads.
 */
#ifndef FC_ENGINE_NAMES_H
#define FC_ENGINE_NAMES_H

#include "engine/forkcast.h"
#include "engine/trie.h"

typedef struct fc_names fc_names;

/* Copies everything. FC_ERR_ARG names what is wrong: no names, an empty one, two that are equal. */
fc_status fc_names_open(const fc_taxonomy_names *t, fc_names **out);
fc_status fc_names_share(const fc_names *n, fc_names **out); /* another handle of the set: FC_ERR_MEM alone */
void fc_names_unref(fc_names *n); /* the handle is gone, and with the last one its set; NULL is fine */

const char *fc_names_id(const fc_names *n);
int fc_names_count(const fc_names *n);
const char *fc_names_at(const fc_names *n, int i);
/* What name i may share with others, as numbers [*count]: its parent id, or its keywords (cut at ", "; equal when
 * all bytes are). d: PARENT or KEYWORDS. */
const int32_t *fc_names_tags(const fc_names *n, fc_diversity d, int i, int *count);
int fc_names_count_tags(const fc_names *n, fc_diversity d); /* different ones; they are numbered from 0 */
/* The name of exactly this text, or -1. O(log names). */
int fc_names_find(const fc_names *n, const char *text, size_t size);

/* The trie of the names behind `before`, each ending with `end`. Borrowed: until n is gone, or asks for another. */
fc_status fc_names_trie(fc_names *n, const fc_tok *tok, const char *before, size_t before_size, int32_t end,
                        const fc_trie **out);

#endif
