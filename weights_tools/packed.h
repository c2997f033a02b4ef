/* packed - matrices of 4 or 8 bits as GPTQ, AWQ and compressed-tensors publish them: some tensors of a safetensors
 * file beside each other, joined to one.
 *
 * With p = 32 / bits codes a word of 32 bits, lowest bits first, and G groups of columns that share a scale:
 *
 *   GPTQ        X.qweight [K/p,N] words down K, X.qzeros [G,N/p] along N, X.scales [G,N]; X.g_idx [K]: a column's group
 *   AWQ (gemm)  X.qweight [K,N/8], X.qzeros [G,N/8] along N, X.scales [G,N]; 4 bits, the codes of a word belong to
 *               outputs 0 2 4 6 1 3 5 7 of its eight
 *   compressed  X.weight_packed [N,ceil(K/p)] along K, X.weight_scale [N,G], X.weight_zero_point [ceil(N/p),G] down N,
 *               X.weight_shape (N, K), X.weight_g_idx [K]
 *   bytes       of compressed-tensors' int-quantized: X.weight [N,K] I8, X.weight_scale [N,G] or one, zero 0
 *
 * A weight is scale * (code - zero). zero is the middle, 2^(bits-1), where there are no zeros; GPTQ's first format
 * (checkpoint_format "gptq", not "gptq_v2") keeps zero - 1, modulo 2^bits.
 *
 * Exactness. What is read is what the file says, bit for bit, where scales are F16 or BF16: as Q4_0 or Q8_0, if each
 * zero is the middle and each scale an f16; else as Q4_W or Q8_W, whose minimum -zero * scale needs at most 19 bits of
 * f32's 24 (with scales of F32 it rounds: 6e-8 of it). Groups of more than 32 are the same scale several times. Where
 * the columns of a group are not whole 32 beside each other (a scattered g_idx, as desc_act makes; groups of 16), or K
 * is no multiple of 32, as F32: exact too, at eight times the bytes.
 *
 * Errors name file, tensor and number: a part that is missing, of another type or shape, a scale that is not finite, a
 * g_idx that names no group, or none where the configuration says desc_act.
 *
 * source  AutoGPTQ, AutoAWQ and compressed-tensors: their file formats
 */
#ifndef FC_WEIGHTS_PACKED_H
#define FC_WEIGHTS_PACKED_H

#include "engine/base/mem.h"
#include "weights_tools/weights.h"

typedef struct {
    const void *data;
    size_t bytes;
} fc_packed_piece;

struct fc_packed {
    fc_packed_kind kind;
    int bits, plus; /* plus: what a stored zero lacks */
    int64_t N, K, group, groups;
    const uint32_t *words, *zeros; /* zeros: NULL, all are the middle */
    const uint8_t *bytes;          /* [N,K] signed codes instead of words; here they are codes + 128 */
    const int32_t *g_idx;          /* [K] or NULL: k / group           */
    const void *scales;
    fc_dtype scale_type;
    fc_packed_piece pieces[4]; /* all bytes of it, for the fingerprint */
    int n_pieces;
};

/* tensors [*n] lose those that became part of another one and keep their order. gemma: names.h. */
fc_status fc_packed_join(const char *path, bool gemma, fc_arena *arena, fc_tensor *tensors, size_t *n,
                         const fc_quant_info *info);

/* The smallest type that holds p exactly. */
fc_dtype fc_packed_type(const fc_packed *p);
/* Row r, out [K]. */
void fc_packed_row(const fc_packed *p, int64_t r, float *out);
/* Rows first .. first + n - 1 of t, which is packed, in t's type. */
void fc_packed_rows(const fc_tensor *t, int64_t first, int64_t n, unsigned char *out);

#endif
