/* convert_tok - what stands beside a safetensors model about its tokenizer, as GGUF metadata.
 *
 * tokenizer.json goes in whole (tokenizer.huggingface.json), which says everything; and once more as the arrays
 * tokenizer.ggml.*, which other engines read, as far as they can say it. What they cannot say is in the notes.
 */
#ifndef FC_WEIGHTS_CONVERT_TOK_H
#define FC_WEIGHTS_CONVERT_TOK_H

#include "engine/base/json.h"
#include "engine/base/str.h"
#include "weights_tools/gguf_write.h"

/* All keys tokenizer.*. Lines are appended to notes. */
fc_status fc_convert_tok(fc_gguf_write *w, const fc_weights *source, fc_str *notes);

/* tokenizer.json, as far as the arrays need it. */
typedef struct {
    const char *model;    /* GGUF's name: gpt2, llama, t5; NULL: none of them */
    const char *pre;      /* GGUF's name of the pre-tokeniser; NULL: not one that has a name */
    int prefix, suffix;   /* ids that are put around a text; -1: none */
    bool template_known;  /* a post-processor says prefix and suffix */
    const char *unsaid;   /* type of the first step that the arrays have no place for; NULL: they say everything */
    bool space_prefix;    /* a blank is put in front of a text */
    bool collapse;        /* runs of blanks become one */
    bool strip;           /* blanks behind a text are taken off */
    const char *charsmap; /* base64, or NULL */
} fc_convert_rules;

/* root: tokenizer.json; convert_rules.c. */
fc_status fc_convert_rules_read(const fc_json *root, fc_convert_rules *out);

#endif
