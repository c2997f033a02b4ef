/* tools - the model tools that programs call: inspect, convert, tiny. A door: engine/app may include this file.
 *
 * All print to an fc_str, so that the caller decides where text goes; json = true gives one JSON object.
 */
#ifndef FC_WEIGHTS_TOOLS_H
#define FC_WEIGHTS_TOOLS_H

#include "engine/base/dtype.h"
#include "engine/base/str.h"

#include <stdint.h>

/* Tensors, types, config, tokenizer, estimated memory (weights as held, KV per 1,000 positions for each KV type). */
fc_status fc_tools_inspect(const char *path, bool json, fc_str *out);

/* Progress of long work: done of total bytes; may be NULL. */
typedef void (*fc_progress)(void *arg, uint64_t done, uint64_t total);

/* What the new matrices are to the old ones: root of the sum of squared differences over that of squared weights. */
typedef struct {
    double error;  /* of all whose bytes do not stay     */
    double worst;  /* of the one where it is largest     */
    char name[64]; /* of that one; "": nothing is lost   */
} fc_convert_loss;

/* in (GGUF, or safetensors as packed.h reads them) to a new GGUF at out; matrices in `type` (F16, BF16, Q8_0, Q4_0,
 * Q4_1, also F32), vectors in F32. F8: E4M3 with a scale for each row, as I8 tensors that only this program takes for
 * what they are. Codes of 4 bits whose scale is an f16 keep both as Q4_1, with the minimum rounded to f16, which is
 * 2^-11 of it. Rows that do not fit the type's block stay F16, said in *notes. The file appears whole or not at all
 * (written beside, renamed). notes, loss: may be NULL. */
fc_status fc_tools_convert(const char *in, const char *out, fc_dtype type, fc_progress progress, void *arg,
                           fc_str *notes, fc_convert_loss *loss);

/* A seeded random model. Zero fields take the preset's or the family's default. */
typedef struct {
    const char *arch; /* llama, qwen2, qwen3, gemma2, gemma3, or a family's other name: mistral, ...; NULL: llama */
    const char *like; /* a preset of published shapes: smollm2-135m, llama-3.1-8b, qwen3-0.6b, ...; NULL: tiny */
    int V, D, L, H, G, E, F, ctx, window;
    float logit_std;  /* spread of the logits; default 2 */
    bool reward_head; /* adds score.weight */
    fc_dtype type;    /* of the matrices: F32, F16, BF16, Q8_0, Q4_0 */
    uint64_t seed;
} fc_tiny_options;

fc_status fc_tools_tiny(const fc_tiny_options *o, const char *out, fc_progress progress, void *arg);
/* Reads the head of a model's file and an adapter's folder, and holds one against the other; nothing is loaded. */
fc_status fc_tools_check_adapter(const char *model, const char *folder);
/* Names of the presets, in order, NULL at the end. */
const char *const *fc_tools_tiny_presets(void);

#endif
