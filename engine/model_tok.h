/* model_tok - the tokenizer and the chat template that belong to a model file. */
#ifndef FC_ENGINE_MODEL_TOK_H
#define FC_ENGINE_MODEL_TOK_H

#include "engine/base/str.h"
#include "tokenizer/tokenizer.h"
#include "weights_tools/weights.h"

/* GGUF: its tokenizer.json if it holds one (tokenizer.huggingface.json), else its tokenizer.ggml metadata. safetensors:
 * tokenizer.json beside the model. */
fc_status fc_model_tok_open(const fc_weights *w, fc_tok **out);

/* Text of the model's own chat template, appended; nothing when it has none. GGUF: tokenizer.chat_template;
 * safetensors: chat_template.jinja, else chat_template of tokenizer_config.json (its "default", if it names several).
 * */
fc_status fc_model_tok_chat_template(const fc_weights *w, fc_str *out);

#endif
