/* tensors - what both readers ask of a list of tensors: no name twice, no byte twice. */
#ifndef FC_WEIGHTS_TENSORS_H
#define FC_WEIGHTS_TENSORS_H

#include "weights_tools/weights.h"

/* by_name [n] = the tensors sorted by name; a name that is there twice is FC_ERR_FORMAT. */
fc_status fc_tensors_sort(const char *path, const fc_tensor *tensors, size_t n, const fc_tensor **by_name);
/* The one of that name, or NULL. */
const fc_tensor *fc_tensors_find(const fc_tensor *const *by_name, size_t n, const char *name);
/* Tensors of one mapping must not share a byte; by_data [n] is room for pointers. */
fc_status fc_tensors_apart(const char *path, const fc_tensor *tensors, size_t n, const fc_tensor **by_data);

#endif
