/* hf_read - tokenizer.json of the `tokenizers` package, section by section. What is not understood is
 * FC_ERR_UNSUPPORTED and named, never passed over: a rule that is missing would change ids in silence. */
#ifndef FC_TOKENIZER_HF_READ_H
#define FC_TOKENIZER_HF_READ_H

#include "engine/base/json.h"
#include "tokenizer/parts.h"

/* Each takes its section (NULL or null: absent) and adds it to t. hf_rules.c */
fc_status fc_hf_normalizer(fc_tok *t, const fc_json *n);
fc_status fc_hf_pre_tokenizer(fc_tok *t, const fc_json *n);
fc_status fc_hf_decoder(fc_tok *t, const fc_json *n);
fc_status fc_hf_post_processor(fc_tok *t, const fc_json *n);

/* Every key of the object is one of `keys` (blank-separated), else FC_ERR_UNSUPPORTED: "what: key". */
fc_status fc_hf_keys(const fc_tok *t, const fc_json *n, const char *what, const char *keys);
bool fc_hf_absent(const fc_json *n); /* NULL or null */
/* Value of a key; `otherwise` when it is absent or null. */
fc_status fc_hf_bool(const fc_json *object, const char *key, bool otherwise, bool *out);
/* Value of a key that must be there. */
fc_status fc_hf_text(const fc_tok *t, const fc_json *object, const char *what, const char *key, const char **out);
fc_status fc_hf_type(const fc_tok *t, const fc_json *object, const char *what, const char **out); /* "type" */

#endif
