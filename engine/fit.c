#include "engine/fit.h"

#include "engine/base/os.h"
#include "engine/split.h"

#include <string.h>

enum { MAX_PAGES = 1 << 24 };

/* Of one rank, as all sizes here. */
static fc_kv_shape page_of(const fc_model_config *c, int ranks, const fc_lane_options *l) {
    return (fc_kv_shape){
        .type = l->kv_type, .n_pages = 1, .P = l->page_slots, .L = c->L, .G = fc_split_kv_heads(c, ranks), .E = c->E};
}

static size_t page_bytes(const fc_model_config *c, int ranks, const fc_lane_options *l) {
    const fc_kv_shape shape = page_of(c, ranks, l);
    size_t page = 0;
    return fc_kv_page_bytes(&shape, &page) ? 0 : page;
}

fc_status fc_fit_pool(fc_backend *be, uint64_t bytes, const fc_model_config *c, fc_lane_options *l) {
    const fc_kv_shape shape = page_of(c, be->ranks, l);
    uint64_t want = bytes, least, have;
    size_t page;
    FC_TRY(fc_kv_page_bytes(&shape, &page));
    FC_TRY(be->memory(be, &have));
    least = (uint64_t)fc_kv_pages_for(l->ctx, l->page_slots) * page;
    if (!want) {
        const uint64_t floor_bytes = (uint64_t)256 << 20, most = have / 4;
        want = 2 * least > floor_bytes ? 2 * least : floor_bytes;
        if (most && want > most) want = most;
        if (want < least)
            return FC_FAIL(FC_ERR_MEM,
                           "kv_pool: a context of %d positions takes %llu bytes of KV; a quarter of this machine's "
                           "memory is %llu. Lower ctx (--ctx), or set kv_pool (--kv-pool)",
                           l->ctx, (unsigned long long)least, (unsigned long long)most);
    }
    if (want < page)
        return FC_FAIL(FC_ERR_ARG, "kv_pool: %llu bytes; one page takes %zu", (unsigned long long)want, page);
    if (want / page > MAX_PAGES) {
        if (bytes)
            return FC_FAIL(FC_ERR_ARG,
                           "kv_pool = %llu bytes is too large: %llu pages of %zu bytes; at most %d are possible",
                           (unsigned long long)want, (unsigned long long)(want / page), page, MAX_PAGES);
        want = MAX_PAGES * (uint64_t)page;
    }
    l->kv_pages = (int)(want / page);
    return FC_OK;
}

uint64_t fc_fit_tensors(const fc_weights *w) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < fc_weights_count(w); i++) bytes += fc_weights_at(w, i)->bytes;
    return bytes;
}

void fc_fit_lane(fc_fit *f, const fc_model_config *c, int ranks, uint64_t weights, const fc_lane_options *l) {
    f->lanes++;
    f->weights += weights;
    f->pools += (uint64_t)l->kv_pages * page_bytes(c, ranks, l);
    if (l->scores) f->states += fc_lane_state_bytes(c, l);
}

fc_status fc_fit_check(const fc_fit *f, fc_backend *be) {
    bool host = strcmp(be->name, "cpu") == 0;
    uint64_t need = f->pools + f->weights + f->states + (host ? f->scores : 0), have, ram = fc_ram_bytes();
    FC_TRY(be->memory(be, &have));
    if (!host && ram && f->scores > ram)
        return FC_FAIL(FC_ERR_MEM, "score_cache: %llu bytes; this machine has %llu", (unsigned long long)f->scores,
                       (unsigned long long)ram);
    if (have && need > have)
        return FC_FAIL(FC_ERR_MEM,
                       "kv_pool: %d pool%s of %llu bytes in all, kept hidden states of %llu, a score cache of %llu and "
                       "weights of %llu; %s %llu. The pools are of kv_pool bytes each (--kv-pool)",
                       f->lanes, f->lanes == 1 ? "" : "s", (unsigned long long)f->pools, (unsigned long long)f->states,
                       (unsigned long long)(host ? f->scores : 0), (unsigned long long)f->weights,
                       host ? "this machine has" : "free on the device are", (unsigned long long)have);
    return FC_OK;
}
