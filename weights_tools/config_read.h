/* config_read - how the two kinds of model file fill fc_model_config; for weights.c and tests. */
#ifndef FC_WEIGHTS_CONFIG_READ_H
#define FC_WEIGHTS_CONFIG_READ_H

#include "engine/base/json.h"
#include "weights_tools/gguf.h"

/* The flags that follow from a family's name alone; FC_ERR_UNSUPPORTED, with the names that are known, for others. */
fc_status fc_config_family(const char *path, const char *arch, fc_model_config *c);

/* Layer i of a pattern of n is local unless it is the last of its n; 0: all are, 1: none is. */
void fc_config_local_pattern(fc_model_config *c, int64_t n);

/* Adds an end-of-text id once; ids are checked against V later. More than 16 are dropped: the first matter. */
void fc_config_add_eos(fc_model_config *c, int32_t id);

/* YaRN's factor on cos and sin when a file does not give it. */
double fc_config_yarn_mscale(double factor, double mscale);

/* Every number in range and fitting the others; the sentence names path, field and number. */
fc_status fc_config_check(const char *path, const fc_model_config *c);

/* Our own GGUF key, a bool: the model is a classifier without a language head (no_lm_head of fc_model_config). GGUF has
 * no word for it: without output.weight a head would be taken to be tied. */
#define FC_KEY_NO_LM_HEAD "forkcast.no_lm_head"

/* Our own GGUF key, a bool: tensors of type I8 are E4M3, and X.weight_scale has a scale for each row of X.weight. GGUF
 * has no type for it. */
#define FC_KEY_F8 "forkcast.f8_e4m3"

/* From GGUF metadata and tensors (V, biases, tied head, reward head are read off the tensors). Keys beyond llama.cpp's
 * common ones that are honoured in any family: attention.scale, attention.sliding_window with
 * attention.sliding_window_pattern (a number or one bool a layer), rope.freq_base_swa, rope.scaling.yarn_attn_factor
 * (YaRN's whole factor, as attention_factor in config.json), and the tensors rope_freqs.weight and score.weight. */
fc_status fc_config_gguf(const fc_gguf *g, fc_model_config *out);

/* From config.json; generation and tokenizer (generation_config.json, tokenizer_config.json) may be NULL. Biases,
 * tied head and reward head as config.json says them. path names config.json in errors. */
fc_status fc_config_hf(const char *path, const fc_json *config, const fc_json *generation, const fc_json *tokenizer,
                       fc_model_config *out);

#endif
