/* chat - chat prompts of the recognised template families, without executing anything.
 *
 * A family is recognised from the model's own template text (markers it contains) and then rendered by our code, byte
 * for byte as `apply_chat_template` renders that family. An unknown template is FC_ERR_UNSUPPORTED and says which
 * families are known.
 */
#ifndef FC_TOKENIZER_CHAT_H
#define FC_TOKENIZER_CHAT_H

#include "tokenizer/tokenizer.h"

typedef enum {
    FC_CHAT_NONE = 0,
    FC_CHAT_CHATML,    /* <|im_start|>role\n...<|im_end|>\n: Qwen3, plain ChatML                  */
    FC_CHAT_SMOLLM2,   /* ChatML with SmolLM2's default system message                             */
    FC_CHAT_QWEN2,     /* ChatML with Qwen2's / Qwen2.5's default system message                   */
    FC_CHAT_LLAMA3,
    FC_CHAT_MISTRAL,   /* [INST] ... [/INST], spaces as v1/v2/v3 write them (variants inside)      */
    FC_CHAT_GEMMA
} fc_chat_family;

typedef struct {
    fc_chat_family family;
    int variant;              /* family's own numbering, chat.c */
    char default_system[512]; /* as the recognised template has it; "" = none */
} fc_chat_template;

typedef struct {
    const char *role;    /* system, user, assistant */
    const char *content; /* [size] bytes, data */
    size_t size;
} fc_chat_message;

/* template_text: tokenizer.chat_template / chat_template of tokenizer_config.json, data. */
fc_status fc_chat_recognise(const char *template_text, size_t size, fc_chat_template *out);
const char *fc_chat_family_name(fc_chat_family f);

/* The prompt as pieces: markers (to be encoded with FC_TOK_PARSE_SPECIAL) and contents (data, encoded without it), so
 * that text in a message never becomes a special token. BOS is a marker where the template writes it: exactly one. */
typedef struct {
    fc_str text;   /* all pieces, one after the other */
    struct {
        size_t end;    /* end of the piece in text */
        bool marker;
    } *pieces;
    size_t n_pieces, cap_pieces;
} fc_chat_prompt;

/* bos: text of the model's BOS token or "". date: "26 Jul 2024" style day for Llama 3's header (its default in the
 * template). add_generation_prompt opens the assistant's turn. Wrong roles or order: FC_ERR_ARG as the template raises. */
fc_status fc_chat_render(const fc_chat_template *t, const fc_chat_message *messages, size_t n, const char *bos,
                         bool add_generation_prompt, fc_chat_prompt *out);
void fc_chat_prompt_fini(fc_chat_prompt *p);
/* Ids of a rendered prompt: neighbouring data and marker text that the tokenizer would join are encoded as
 * apply_chat_template(tokenize=True) does whenever the contents hold no special-token names. */
fc_status fc_chat_encode(const fc_tok *tok, const fc_chat_prompt *p, int32_t **ids, size_t *n, size_t *cap);

#endif
