/* trie_cache - the tries of one set of names behind different texts: the 8 used last, and those that somebody holds.
 *
 *   open -> take -> (fc_trie_held_trie) -> give -> close
 *
 * What a trie is built behind comes from callers, so their number must not be theirs to choose: what is kept is
 * bounded, and a trie goes, least recently taken first, when neither the cache nor a holder has it. A trie is built
 * without the lock: who wants the same one waits for it, and nobody else does. A build that fails is nobody's: whoever
 * waited for it tries for itself, so that the error's sentence is on its own thread.
 *
 * Invariants; fc_trie_cache_check() verifies them:
 *   (1) at most FC_TRIES_KEPT tries are kept, no two of one key;
 *   (2) a kept trie has a reference of the cache's: its count is at least 1.
 *
 * Any thread may call; close when nothing is held.
 */
#ifndef FC_ENGINE_TRIE_CACHE_H
#define FC_ENGINE_TRIE_CACHE_H

#include "engine/trie.h"

enum { FC_TRIES_KEPT = 8 };

typedef struct fc_trie_cache fc_trie_cache; /* opaque: only trie_cache.c sees inside */
typedef struct fc_trie_held fc_trie_held;   /* a trie and the references to it */

/* What a trie depends on besides the names: before [before_size], which is copied when it is kept. */
typedef struct {
    const fc_tok *tok;
    const char *before;
    size_t before_size;
    int32_t end;
} fc_trie_key;

/* Builds the trie of a key; on the thread that takes it, several at once for different keys. */
typedef fc_status (*fc_trie_builder)(void *arg, const fc_trie_key *key, fc_trie **out);

fc_status fc_trie_cache_open(fc_trie_builder build, void *arg, fc_trie_cache **out);
void fc_trie_cache_close(fc_trie_cache *c); /* NULL is fine */

/* One reference is the caller's, who gives it back. Errors are build's. */
fc_status fc_trie_cache_take(fc_trie_cache *c, const fc_trie_key *key, fc_trie_held **out);
void fc_trie_cache_give(fc_trie_cache *c, fc_trie_held *h); /* NULL is fine */
const fc_trie *fc_trie_held_trie(const fc_trie_held *h);

/* FC_ERR_INTERNAL with the number of the invariant that does not hold. */
fc_status fc_trie_cache_check(fc_trie_cache *c);

#endif
