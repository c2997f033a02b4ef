/* sort - what a step may sort with: in place, without recursion or allocation (qsort may allocate). */
#ifndef FC_BASE_SORT_H
#define FC_BASE_SORT_H

#include <stdint.h>

void fc_sort_ids(int32_t *a, int n); /* rising; a heap sort, n log n at worst */

#endif
