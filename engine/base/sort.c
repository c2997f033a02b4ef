#include "engine/base/sort.h"

void fc_sort_ids(int32_t *a, int n) {
    for (int end = n, start = n / 2; end > 1;) {
        int root;
        int32_t v;
        if (start > 0) v = a[--start];
        else {
            v = a[--end];
            a[end] = a[0];
        }
        for (root = start; 2 * root + 1 < end;) {
            int child = 2 * root + 1;
            if (child + 1 < end && a[child] < a[child + 1]) child++;
            if (a[child] <= v) break;
            a[root] = a[child];
            root = child;
        }
        a[root] = v;
    }
}
