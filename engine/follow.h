/* follow - the ids of texts that stand behind another text, whose ids are what they are.
 *
 * They are what the tokenizer gives for `before` and the text together, less what it gives for `before` alone. Special
 * tokens named in `before` are tokens, as in a template; the text is data, and "</s>" in it is four characters. So
 *   - a leading blank belongs to the text's first word where the tokenizer has it so ("Answer:", " Chess");
 *   - a dummy prefix is there exactly where the tokenizer would put one: at the beginning of a text (`before` is "")
 *     and, as the tokenizer's own rule has it, behind a special token (name it in `before`), but not in running text.
 * Where the tokenizer would have joined the last characters of `before` with the first of the text ("Answer: " and
 * "Chess" in byte-level BPE, where the blank belongs to the word), there is no such rest. The text is then encoded
 * apart, as running text: as the rest behind one neutral character ("\n", ":", "a" or "1"), or, if none of them stays
 * alone either, by itself.
 *
 * `before` matters by its last characters, and every text costs one encode of both: the last line of a template does.
 */
#ifndef FC_ENGINE_FOLLOW_H
#define FC_ENGINE_FOLLOW_H

#include "tokenizer/tokenizer.h"

typedef struct fc_follow fc_follow;

/* tok and before are borrowed and must outlive it. One thread at a time. Caller closes. */
fc_status fc_follow_open(const fc_tok *tok, const char *before, size_t size, fc_follow **out);
void fc_follow_close(fc_follow *f); /* NULL is fine */

/* *ids [*n]: borrowed until the next call; *n may be 0 where the tokenizer strips the whole text. */
fc_status fc_follow_ids(fc_follow *f, const char *text, size_t size, const int32_t **ids, size_t *n);

#endif
