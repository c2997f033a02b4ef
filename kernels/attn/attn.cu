#include "kernels/attn/attn_fma.cuh"
#include "kernels/attn/attn_rows.cuh"
#include "kernels/attn/attn_wide.cuh"

#include <limits.h>

/* Which shared memory a KV type takes; its type picks the unit's code. */
template <fc_dtype TYPE, int E, int UNIT> struct attn_shared_of { typedef attn_mma_shared<TYPE, E, UNIT> type; };
template <int E, int UNIT> struct attn_shared_of<FC_F32, E, UNIT> { typedef attn_fma_shared<E> type; };
/* Units of so many query vectors, at most; blocks a multiprocessor. */
template <fc_dtype TYPE, int E, int UNIT> struct attn_form {
    typedef attn_shape<TYPE, E> S;
    static constexpr int BLOCKS = UNIT == S::ROWS ? (int)S::BLOCKS : (int)S::FEW_BLOCKS;
};

/* Units until there are no more, then a share of the folds: attn_work.cuh. */
template <fc_dtype TYPE, int E, int UNIT>
static __global__ void __launch_bounds__(ATTN_THREADS, (attn_form<TYPE, E, UNIT>::BLOCKS))
    attn_kernel(const attn_params p) {
    typedef typename attn_shared_of<TYPE, E, UNIT>::type shared;
    shared *m = fc_shared<shared>();
    attn_place at = {-ATTN_THREADS, 0, 0, 0};
    const attn_unit &u = m->work.unit;
    const attn_view &w = m->work.view;
    int ticket = -1;
    if (threadIdx.x == 0) m->work.ticket = attn_take(p);
    __syncthreads();
    while (attn_find<0>(p, m->work.ticket, UNIT, &m->work, &at)) {
        attn_view_open<0>(p, u, &m->vectors, &m->work.view);
        attn_unit_run(p, u, w, m, &ticket);
        if (u.item.part >= 0) __threadfence(); /* what it wrote, before it counts itself done */
        if (threadIdx.x == 0) m->work.ticket = w.n ? ticket : attn_take(p);
        __syncthreads();
        if (threadIdx.x == 0 && u.item.part >= 0) atomicAdd(&p.counters->done, 1u);
    }
    attn_folds<attn_shape<TYPE, E>::WIDE>(p, m->work.ticket, &at);
}

template <fc_dtype TYPE, int E> static fc_status fits(fc_stream s, int width) {
    const size_t shared = sizeof(typename attn_shared_of<TYPE, E, attn_shape<TYPE, E>::ROWS>::type);
    if (shared <= s->shared_max) return FC_OK;
    return FC_FAIL(
        FC_ERR_UNSUPPORTED,
        "attn: heads of %d in KV of type %s want %zu bytes of shared memory a block, of which this device has "
        "%zu; another kv_type wants less",
        width, fc_dtype_name(TYPE), shared, s->shared_max);
}

template <fc_dtype TYPE, int E, int UNIT> static fc_status launch_form(fc_stream s, const attn_params &p) {
    const fc_attn_args *a = &p.a;
    constexpr size_t shared = sizeof(typename attn_shared_of<TYPE, E, UNIT>::type);
    constexpr size_t kept = 1024; /* by CUDA, of a block */
    static_assert(UNIT != FC_ATTN_FEW_UNIT || (shared + kept) * attn_form<TYPE, E, UNIT>::BLOCKS <= 228 << 10,
                  "a multiprocessor holds them");
    /* an item has T rows at most; how many it has is known on the device alone */
    double units = (double)a->n_items * p.kv.shape.G * fc_div_up(a->T * p.per, UNIT);
    double folds = (double)a->n_fold * a->H / ATTN_WARPS + 1, most = units > folds ? units : folds;
    size_t resident = (s->shared_max + kept) / (shared + kept), blocks = (size_t)attn_form<TYPE, E, UNIT>::BLOCKS;
    unsigned grid;
    FC_TRY((fits<TYPE, E>(s, p.kv.shape.E)));
    grid = (unsigned)s->sms * (unsigned)(blocks < resident ? blocks : resident);
    if (most < grid) grid = (unsigned)most;
    return fc_launch(s, "attn", attn_kernel<TYPE, E, UNIT>, dim3(grid), ATTN_THREADS, shared, p);
}

/* Items of few query vectors alone: small units, of which a multiprocessor holds more. */
template <fc_dtype TYPE, int E> static fc_status launch(fc_stream s, const attn_params &p) {
    if constexpr (attn_shape<TYPE, E>::FEW_BLOCKS > 0)
        if (p.most <= FC_ATTN_FEW_MOST) return launch_form<TYPE, E, FC_ATTN_FEW_UNIT>(s, p);
    return launch_form<TYPE, E, attn_shape<TYPE, E>::ROWS>(s, p);
}

template <fc_dtype TYPE> static fc_status launch_width(fc_stream s, const attn_params &p) {
    if (p.kv.shape.E <= 64) return launch<TYPE, 64>(s, p);
    if (p.kv.shape.E <= 96) return launch<TYPE, 96>(s, p);
    if (p.kv.shape.E <= 128) return launch<TYPE, 128>(s, p);
    return launch<TYPE, 256>(s, p);
}

template <fc_dtype TYPE> static fc_status fits_width(fc_stream s, int E) {
    if (E <= 64) return fits<TYPE, 64>(s, E);
    if (E <= 96) return fits<TYPE, 96>(s, E);
    if (E <= 128) return fits<TYPE, 128>(s, E);
    return fits<TYPE, 256>(s, E);
}

extern "C" fc_status fc_attn_fits_cuda(fc_stream s, fc_dtype kv, int E) {
    switch (kv) {
    case FC_F32: return fits_width<FC_F32>(s, E);
    case FC_BF16: return fits_width<FC_BF16>(s, E);
    case FC_I8: return fits_width<FC_I8>(s, E);
    case FC_F8: return fits_width<FC_F8>(s, E);
    default: return FC_FAIL(FC_ERR_ARG, "kv: type %s; it is F32, BF16, I8 or F8", fc_dtype_name(kv));
    }
}

static fc_status check_args(const fc_attn_args *a) {
    const fc_kv_shape *k = &a->kv->shape;
    if (k->P < 1 || k->P > 64 || (k->P & (k->P - 1)))
        return FC_FAIL(FC_ERR_ARG, "kv: %d slots a page; a power of two, 1 to 64", k->P);
    if (k->n_pages < 1 || k->L < 1 || k->G < 1 || k->E < 1)
        return FC_FAIL(FC_ERR_ARG, "kv: pages=%d L=%d G=%d E=%d; all must be at least 1", k->n_pages, k->L, k->G, k->E);
    if (a->H < 1 || a->H % k->G)
        return FC_FAIL(FC_ERR_ARG, "attn: %d query heads are no multiple of %d KV heads", a->H, k->G);
    if (k->E > 256 || k->E % 16) return FC_FAIL(FC_ERR_ARG, "attn: E=%d; a multiple of 16, at most 256", k->E);
    if (a->layer < 0 || a->layer >= k->L || a->T < 1 || a->n_items < 0 || a->n_fold < 0)
        return FC_FAIL(FC_ERR_ARG, "attn: layer=%d of %d T=%d items=%d fold=%d", a->layer, k->L, a->T, a->n_items,
                       a->n_fold);
    if (a->ldq % 4 || (uintptr_t)a->q % 16)
        return FC_FAIL(FC_ERR_ARG, "attn: ldq=%d; q is read 4 floats at a time, at multiples of 16 bytes", a->ldq);
    return FC_OK;
}

extern "C" fc_status fc_attn_cuda(fc_stream s, const fc_attn_args *a) {
    attn_params p;
    int left = a->widths ? a->widths : FC_ATTN_FEW | FC_ATTN_MORE | FC_ATTN_MANY; /* what no launch has taken */
    FC_TRY(check_args(a));
    static_assert(sizeof(attn_counters) <= FC_CUDA_COUNTERS * sizeof(unsigned), "the stream has counters enough");
    p.a = *a;
    p.a.kv = NULL;
    p.kv = *a->kv;
    p.per = a->H / p.kv.shape.G;
    for (p.log_p = 0; 1 << p.log_p < p.kv.shape.P;) p.log_p++;
    p.counters = (attn_counters *)(void *)s->counters;
    p.trouble = s->trouble;
    FC_TRY(fc_attn_wide(s, p, &left));
    if (!left && a->n_fold == 0) return FC_OK;
    p.least = 0;
    p.most = left & FC_ATTN_MANY ? INT_MAX : left & FC_ATTN_MORE ? FC_ATTN_WIDE_LEAST - 1 : FC_ATTN_FEW_MOST;
    switch (p.kv.shape.type) {
    case FC_F32: return launch_width<FC_F32>(s, p);
    case FC_BF16: return launch_width<FC_BF16>(s, p);
    case FC_I8: return launch_width<FC_I8>(s, p);
    case FC_F8: return launch_width<FC_F8>(s, p);
    default: return FC_FAIL(FC_ERR_ARG, "kv: type %s; it is F32, BF16, I8 or F8", fc_dtype_name(p.kv.shape.type));
    }
}
