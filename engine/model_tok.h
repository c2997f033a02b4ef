/* model_tok - the tokenizer that belongs to a model file. */
#ifndef FC_ENGINE_MODEL_TOK_H
#define FC_ENGINE_MODEL_TOK_H

#include "tokenizer/tokenizer.h"
#include "weights_tools/weights.h"

/* GGUF: its tokenizer.json if it holds one (tokenizer.huggingface.json), else its tokenizer.ggml metadata. safetensors:
 * tokenizer.json beside the model. */
fc_status fc_model_tok_open(const fc_weights *w, fc_tok **out);

#endif
