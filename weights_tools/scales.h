/* scales - the scales of F8 matrices: tensors beside them in the file, joined to them.
 *
 * The scales of X.weight are X.weight_scale or X.weight_scale_inv (both multiply, whatever the name says): one element
 * for all weights; N, or N x 1, one a row; or one for each block of the size that the file's configuration gives. In
 * F32, F16 or BF16; held as f32. Scales of activations and of KV (input_scale, k_scale, ...) are counted and left.
 *
 * Errors name file, tensor and number: a scale of no matrix, of one that is not F8, of the wrong shape, not finite, or
 * for one matrix twice; an F8 matrix without, where the configuration says that there are scales.
 */
#ifndef FC_WEIGHTS_SCALES_H
#define FC_WEIGHTS_SCALES_H

#include "engine/base/mem.h"
#include "weights_tools/weights.h"

/* tensors [*n] lose those that are scales and keep their order; what they scale gets them, in the arena. info says the
 * size of blocks, and gets the numbers of scales that are not read. */
fc_status fc_scales_join(const char *path, fc_arena *arena, fc_tensor *tensors, size_t *n, fc_quant_info *info);

#endif
