#include "kernels/logprob/best.h"

#include "kernels/logprob/tile.h"

#include <math.h>

fc_best_cut fc_best_find(const uint32_t *key, const float *mass, int n, double target, double *digits) {
    static const int shifts[] = {21, 10, 0}, widths[] = {11, 11, 10};
    fc_best_cut cut = {0, n};
    double above = 0.0; /* mass of keys that are certainly kept */
    uint32_t known = 0; /* the digits of the threshold found so far */
    for (int pass = 0; pass < 3; pass++) {
        int shift = shifts[pass], size = 1 << widths[pass], d = size;
        uint32_t mask = (uint32_t)size - 1u;
        for (int i = 0; i < size; i++) digits[i] = 0.0;
        for (int i = 0; i < n; i++)
            if (pass == 0 || key[i] >> (shift + widths[pass]) == known)
                digits[(key[i] >> shift) & mask] += mass ? (double)mass[i] : 1.0;
        while (--d >= 0 && above + digits[d] < target) above += digits[d];
        if (d < 0) { /* rounding of the sums, or a target beyond all mass */
            if (pass == 0) return cut;
            for (d = 0; digits[d] == 0.0; d++) {
            }
            above -= digits[d]; /* the lowest digit that occurs is the threshold */
        }
        known = pass == 0 ? (uint32_t)d : known << widths[pass] | (uint32_t)d;
    }
    cut = (fc_best_cut){known, 0};
    for (int i = 0; i < n && above < target; i++)
        if (key[i] == known) {
            above += mass ? (double)mass[i] : 1.0;
            cut.ties++;
        }
    return cut;
}

float fc_best_bound(const float *top, int n_tiles, int k, uint32_t *key, double *digits) {
    if (k > n_tiles) return -INFINITY;
    for (int t = 0; t < n_tiles; t++) key[t] = fc_best_key(top[t]);
    return fc_best_value(fc_best_find(key, NULL, n_tiles, k, digits).key);
}

int fc_best_collect(const float *x, int V, const float *top, float bound, int32_t *id, float *value) {
    int n = 0;
    for (int t = 0; t * FC_TILE < V; t++) {
        int from = t * FC_TILE, to = V - from < FC_TILE ? V : from + FC_TILE;
        if (top[t] < bound) continue;
        for (int i = from; i < to; i++) { /* written always, counted when it belongs: no branch to guess */
            id[n] = i;
            value[n] = x[i];
            n += x[i] >= bound;
        }
    }
    return n;
}
