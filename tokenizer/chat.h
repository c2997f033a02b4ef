/* chat - chat prompts of the recognised template families, without executing anything.
 *
 * A family is recognised from the model's own template text (the statements it contains) and then rendered by our code,
 * byte for byte as `apply_chat_template` renders that family with its defaults (no tools, no options). An unknown
 * template, or a known family's template that would render anything else, is FC_ERR_UNSUPPORTED and says which
 * families are known.
 */
#ifndef FC_TOKENIZER_CHAT_H
#define FC_TOKENIZER_CHAT_H

#include "tokenizer/tokenizer.h"

typedef enum {
    FC_CHAT_NONE = 0,
    FC_CHAT_CHATML,  /* <|im_start|>role\n...<|im_end|>\n: Qwen3, plain ChatML                  */
    FC_CHAT_SMOLLM2, /* ChatML with SmolLM2's default system message                             */
    FC_CHAT_QWEN2,   /* ChatML with Qwen2's / Qwen2.5's default system message                   */
    FC_CHAT_LLAMA3,
    FC_CHAT_MISTRAL, /* [INST] ... [/INST], spaces as v1/v2/v3 write them (variants inside)      */
    FC_CHAT_GEMMA
} fc_chat_family;

/* What the templates of one family differ in: bits of `variant`. */
enum {
    FC_CHAT_BOS = 1,             /* writes BOS                                                                  */
    FC_CHAT_ALWAYS_OPENS = 2,    /* opens the assistant's turn whether asked or not: Llama 3, first release     */
    FC_CHAT_THINK = 4,           /* Qwen3: drops the thoughts of earlier turns, writes those after the last question */
    FC_CHAT_OPENS_THINK = 8,     /* the opened turn begins with <think>: Qwen3 Thinking 2507                    */
    FC_CHAT_DATE = 16,           /* Llama 3.1: a system turn with two dates comes always                        */
    FC_CHAT_SYSTEM_FIRST = 32,   /* a leading system message goes into the first user turn: Mistral v1, Gemma 3 */
    FC_CHAT_SYSTEM_LAST = 64,    /* ... into the user turn that ends the prompt: Mistral v3                     */
    FC_CHAT_SPACE_OPEN = 128,    /* Mistral: " [INST]"                                                          */
    FC_CHAT_SPACE_IN = 256,      /* Mistral: "[INST] "                                                          */
    FC_CHAT_SPACE_CLOSE = 512,   /* Mistral: " [/INST]"                                                         */
    FC_CHAT_SPACE_ANSWER = 1024, /* Mistral: a space before the answer                                          */
    FC_CHAT_SPACE_AFTER = 2048,  /* Mistral: a space after the answer's EOS                                     */
    FC_CHAT_TRIM_ANSWER = 4096   /* Mistral: the answer's own blanks are cut off                                */
};

typedef struct {
    fc_chat_family family;
    int variant;              /* FC_CHAT_* bits */
    char default_system[512]; /* as the recognised template has it; "" = none */
    char date[32]; /* FC_CHAT_DATE: the template's own default day ("26 Jul 2024"), never the clock's, so that a
                                 prompt is the same tomorrow; the caller may write another */
    char eos[32];  /* Mistral: text of the EOS token that closes an answer; "</s>", the caller may write another */
} fc_chat_template;

typedef struct {
    const char *role;    /* system, user, assistant */
    const char *content; /* [size] bytes, data */
    size_t size;
} fc_chat_message;

/* template_text: tokenizer.chat_template / chat_template of tokenizer_config.json, data. */
fc_status fc_chat_recognise(const char *template_text, size_t size, fc_chat_template *out);
const char *fc_chat_family_name(fc_chat_family f);

/* The prompt as pieces. A marker is the name of one special token as the template wrote it, encoded with
 * FC_TOK_PARSE_SPECIAL; what lies between two markers (roles, line ends, contents) is one piece of text, encoded
 * without it, so that text in a message never becomes a special token. BOS is a marker where the template writes it:
 * exactly one. */
typedef struct {
    fc_str text; /* all pieces, one after the other */
    struct {
        size_t end; /* end of the piece in text */
        bool marker;
    } * pieces;
    size_t n_pieces, cap_pieces;
} fc_chat_prompt;

/* bos: text of the model's BOS token or "". add_generation_prompt opens the assistant's turn. Wrong roles or order, or
 * no message: FC_ERR_ARG, as the template raises. *out is zeroed or a prompt to be written over; on failure it is
 * empty. */
fc_status fc_chat_render(const fc_chat_template *t, const fc_chat_message *messages, size_t n, const char *bos,
                         bool add_generation_prompt, fc_chat_prompt *out);
void fc_chat_prompt_fini(fc_chat_prompt *p);
/* Appends the ids of a rendered prompt. While the texts hold no special-token names they are those of
 * apply_chat_template(tokenize=True), the whole prompt encoded at once; else markers and texts are encoded apart. */
fc_status fc_chat_encode(const fc_tok *tok, const fc_chat_prompt *p, int32_t **ids, size_t *n, size_t *cap);

#endif
