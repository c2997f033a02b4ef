/* names - Hugging Face's tensor names in GGUF's words. */
#ifndef FC_WEIGHTS_NAMES_H
#define FC_WEIGHTS_NAMES_H

#include <stdbool.h>
#include <stddef.h>

/* "model.layers.3.self_attn.q_proj.weight" to "blk.3.attn_q.weight". A layer's part without a counterpart keeps its own
 * name behind "blk.3."; names outside the layers without one are copied as they are. False: the tensor is no part of
 * the text model (a vision tower, a buffer that config.json implies), leave it out. gemma: post_attention_layernorm is
 * Gemma's norm behind attention, not the one before the FFN. size >= 64. */
bool fc_names_from_hf(const char *hf, bool gemma, char *out, size_t size);

#endif
