/* tensors - what both readers ask of a list of tensors: no name twice, no byte twice. */
#include "weights_tools/tensors.h"

#include <stdlib.h>
#include <string.h>

static int by_name_order(const void *a, const void *b) {
    const fc_tensor *x = *(const fc_tensor *const *)a, *y = *(const fc_tensor *const *)b;
    return strcmp(x->name, y->name);
}

static int by_data_order(const void *a, const void *b) {
    const fc_tensor *x = *(const fc_tensor *const *)a, *y = *(const fc_tensor *const *)b;
    uintptr_t p = (uintptr_t)x->data, q = (uintptr_t)y->data;
    return (p > q) - (p < q);
}

fc_status fc_tensors_sort(const char *path, const fc_tensor *tensors, size_t n, const fc_tensor **by_name) {
    for (size_t i = 0; i < n; i++) by_name[i] = &tensors[i];
    qsort(by_name, n, sizeof *by_name, by_name_order);
    for (size_t i = 1; i < n; i++)
        if (strcmp(by_name[i - 1]->name, by_name[i]->name) == 0)
            return FC_FAIL(FC_ERR_FORMAT, "%s: tensor %s is there twice (%s, %s)", path, by_name[i]->name,
                           by_name[i - 1]->file_name, by_name[i]->file_name);
    return FC_OK;
}

fc_status fc_tensors_apart(const char *path, const fc_tensor *tensors, size_t n, const fc_tensor **by_data) {
    for (size_t i = 0; i < n; i++) by_data[i] = &tensors[i];
    qsort(by_data, n, sizeof *by_data, by_data_order);
    for (size_t i = 1; i < n; i++) {
        const fc_tensor *a = by_data[i - 1], *b = by_data[i];
        if ((uintptr_t)b->data - (uintptr_t)a->data < a->bytes)
            return FC_FAIL(FC_ERR_FORMAT,
                           "%s: tensors %s and %s overlap: %s holds %zu bytes, %s begins %zu bytes behind it", path,
                           a->file_name, b->file_name, a->file_name, a->bytes, b->file_name,
                           (size_t)((uintptr_t)b->data - (uintptr_t)a->data));
    }
    return FC_OK;
}

const fc_tensor *fc_tensors_find(const fc_tensor *const *by_name, size_t n, const char *name) {
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int order = strcmp(by_name[mid]->name, name);
        if (order == 0) return by_name[mid];
        if (order < 0) lo = mid + 1;
        else hi = mid;
    }
    return NULL;
}
