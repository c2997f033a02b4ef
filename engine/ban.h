/* ban - which ids a candidate may not draw next: all but allowed_token_ids, and the last id of a bad word whose ids
 * before it are the last that were drawn.
 *
 * A bad word stands for two sequences of ids, its own and the one behind a blank; blanks in front of the word itself
 * are left out. Only drawn ids count, not the prompt's. As vLLM's, which leaves out the second sequence where it is
 * longer than the first or begins alike: then the word would come through behind a blank.
 *
 * Immutable after open; memory is the arena's.
 */
#ifndef FC_ENGINE_BAN_H
#define FC_ENGINE_BAN_H

#include "engine/base/mem.h"
#include "engine/forkcast.h"
#include "tokenizer/tokenizer.h"

typedef struct {
    int32_t *allowed; /* [n_allowed] rising */
    int n_allowed;    /* 0: all ids are */
    int32_t *ids;     /* sequences of bad words, one behind another */
    int *end;         /* [n_words] behind the last id of each */
    int n_words;
} fc_ban;

/* FC_ERR_ARG names the field, and the id or the word. */
fc_status fc_ban_open(const fc_sampling *s, const fc_tok *tok, int V, fc_arena *a, fc_ban *out);

bool fc_ban_allows(const fc_ban *b, int32_t id); /* it is allowed, whatever words are bad */
/* Ids that would complete a bad word behind drawn [n], into out [n_words], one may come twice; returns how many. */
int fc_ban_words(const fc_ban *b, const int32_t *drawn, int n, int32_t *out);
/* Neither allowed, nor free of bad words. */
bool fc_ban_forbids(const fc_ban *b, const int32_t *drawn, int n, int32_t id);

#endif
