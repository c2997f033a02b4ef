/* attn_gather - the K and V of one tile, from pages or single slots into a thread's scratch. Inner to attn_simd.h,
 * which says what is defined before. */

/* Numbers of the tile are codes times their position's scale; of int8 they stay codes. */
ALWAYS bool scaled(const fc_dtype type) { return type == FC_F8; }

ALWAYS vf load_as(const fc_dtype type, const unsigned char *p, size_t i) {
    if (type == FC_F32) return v_load((const float *)(const void *)p + i);
    if (type == FC_BF16) return v_load_bf16((const uint16_t *)(const void *)p + i);
    return type == FC_I8 ? v_load_i8((const int8_t *)p + i) : v_load_f8(p + i);
}

ALWAYS float load_one(const fc_dtype type, const unsigned char *p, size_t i) {
    if (type == FC_F32) return ((const float *)(const void *)p)[i];
    if (type == FC_BF16) return fc_bf16_to_f32(((const uint16_t *)(const void *)p)[i]);
    return type == FC_I8 ? (float)((const int8_t *)p)[i] : fc_f8_to_f32(p[i]);
}

/* V of n slots of one page from slot `at` on, into rows 0 .. n-1 of v. */
ALWAYS void gather_values(const fc_dtype type, const fc_kv_block *b, int E, int at, int n, float *v) {
    for (int j = 0; j < n; j++) {
        vf scale = v_set1(scaled(type) ? b->v_scale[at + j] : 1.0f);
        for (int e = 0; e < E; e += V_LANES) {
            vf x = load_as(type, b->v, (size_t)((at + j) * E + e));
            v_store(v + j * E + e, scaled(type) ? v_mul(x, scale) : x);
        }
    }
}

/* Slots [lo,hi) of one page: K into k[e*TILE + slot], V into v[slot*E + e]. K goes as whole pages, as lanes beyond hi
 * are masked later. A product with a scale is rounded by itself, so vectors and single elements agree. */
ALWAYS void gather_page(const fc_dtype type, const int P, const fc_kv_block *b, int E, int lo, int hi, float *k,
                        float *v) {
    for (int i = 0; i + V_LANES <= P; i += V_LANES) {
        vf scale = scaled(type) ? v_load(b->k_scale + i) : v_set1(1.0f);
        for (int e = 0; e < E; e++) {
            vf x = load_as(type, b->k, (size_t)(e * P + i));
            v_store(k + e * TILE + i, scaled(type) ? v_mul(x, scale) : x);
        }
    }
    for (int i = 0; P < V_LANES && i < P; i++) {
        float scale = scaled(type) ? b->k_scale[i] : 1.0f;
        for (int e = 0; e < E; e++) k[e * TILE + i] = load_one(type, b->k, (size_t)(e * P + i)) * scale;
    }
    gather_values(type, b, E, lo, hi - lo, v + lo * E);
}

ALWAYS void gather_type(const fc_dtype type, const fc_kv_block *b, int P, int E, int lo, int hi, float *k, float *v) {
    switch (P) { /* a known P makes vectors of the inner loop */
    case 8: gather_page(type, 8, b, E, lo, hi, k, v); break;
    case 16: gather_page(type, 16, b, E, lo, hi, k, v); break;
    case 32: gather_page(type, 32, b, E, lo, hi, k, v); break;
    case 64: gather_page(type, 64, b, E, lo, hi, k, v); break;
    default: gather_page(type, P, b, E, lo, hi, k, v);
    }
}

/* Positions [lo,hi) of a tile; pages that hold none of them are not looked at, nor is V outside. */
static void gather_tile(const fc_attn_args *a, const int32_t *pages, int g, int lo, int hi, float *k, float *v) {
    const fc_kv_shape *s = &a->kv->shape;
    for (int p = lo / s->P; p * s->P < hi; p++) {
        int begin = p * s->P, from = lo > begin ? lo - begin : 0, to = hi - begin < s->P ? hi - begin : s->P;
        fc_kv_block b = fc_kv_block_at(a->kv, pages[p], a->layer, g);
        float *kp = k + begin, *vp = v + (size_t)begin * (size_t)s->E;
        if (s->type == FC_F32) gather_type(FC_F32, &b, s->P, s->E, from, to, kp, vp);
        else if (s->type == FC_BF16) gather_type(FC_BF16, &b, s->P, s->E, from, to, kp, vp);
        else if (s->type == FC_I8) gather_type(FC_I8, &b, s->P, s->E, from, to, kp, vp);
        else gather_type(FC_F8, &b, s->P, s->E, from, to, kp, vp);
    }
}

/* And K with it, into lanes 0 .. n-1 of k; the other lanes are left as they are. */
ALWAYS void gather_stretch(const fc_dtype type, const fc_kv_block *b, int P, int E, int at, int n, float *k, float *v) {
    int vectors = n & ~(V_LANES - 1);
    for (int e = 0; e < E; e++) {
        for (int i = 0; i < vectors; i += V_LANES) {
            vf x = load_as(type, b->k, (size_t)(e * P + at + i));
            v_store(k + e * TILE + i, scaled(type) ? v_mul(x, v_load(b->k_scale + at + i)) : x);
        }
        for (int i = vectors; i < n; i++)
            k[e * TILE + i] =
                load_one(type, b->k, (size_t)(e * P + at + i)) * (scaled(type) ? b->k_scale[at + i] : 1.0f);
    }
    gather_values(type, b, E, at, n, v);
}

/* Positions [lo,hi) of a tile from the slots that the list names. Neighbours in a page go together: the whole pages of
 * a prompt, a run of a tree's nodes. */
static void gather_slots(const fc_attn_args *a, const int32_t *slots, int g, int lo, int hi, float *k, float *v) {
    const fc_kv_shape *s = &a->kv->shape;
    for (int i = lo, n; i < hi; i += n) {
        int32_t page = slots[i] / s->P;
        int at = slots[i] % s->P;
        fc_kv_block b = fc_kv_block_at(a->kv, page, a->layer, g);
        float *ki = k + i, *vi = v + (size_t)i * (size_t)s->E;
        for (n = 1; i + n < hi && at + n < s->P && slots[i + n] == slots[i] + n;) n++;
        if (n == s->P) gather_tile(a, &page, g, 0, n, ki, vi);
        else if (s->type == FC_F32) gather_stretch(FC_F32, &b, s->P, s->E, at, n, ki, vi);
        else if (s->type == FC_BF16) gather_stretch(FC_BF16, &b, s->P, s->E, at, n, ki, vi);
        else if (s->type == FC_I8) gather_stretch(FC_I8, &b, s->P, s->E, at, n, ki, vi);
        else gather_stretch(FC_F8, &b, s->P, s->E, at, n, ki, vi);
    }
}

#if V_PAIRS
/* Either of both for bf16, in words of pairs. A position that is paired with one outside [lo,hi) gets zero for it, as
 * what lies there may be no number. */
static void gather_pairs(const fc_attn_args *a, const int32_t *pages, const int32_t *slots, int g, int lo, int hi,
                         float *k, float *v) {
    static const uint16_t nothing[256];
    const fc_kv_shape *s = &a->kv->shape;
    const uint16_t *value[TILE];
    const int E = s->E, P = s->P;
    value[lo & ~1] = value[(hi - 1) | 1] = nothing;
    for (int i = lo, n; i < hi; i += n) {
        int at = slots ? slots[i] % P : i % P, most = P - at < hi - i ? P - at : hi - i;
        fc_kv_block b = fc_kv_block_at(a->kv, slots ? slots[i] / P : pages[i / P], a->layer, g);
        const uint16_t *values = (const uint16_t *)(const void *)b.v;
        for (n = 1; n < most && (!slots || slots[i + n] == slots[i] + n);) n++;
        pair_keys((const uint16_t *)(const void *)b.k, P, E, at, n, k + i, TILE);
        for (int j = 0; j < n; j++) value[i + j] = values + (size_t)(at + j) * (size_t)E;
    }
    for (int i = lo & ~1; i < hi; i += 2) pair_values(value[i], value[i + 1], E, v + (size_t)(i / 2) * (size_t)E);
}
#endif

/* The scales of an int8 tile's positions [lo,hi); of the others 0. */
static void gather_scales(const fc_attn_args *a, const int32_t *pages, const int32_t *slots, int g, int lo, int hi,
                          float *k, float *v) {
    const int P = a->kv->shape.P;
    for (int i = 0; i < TILE; i++) k[i] = v[i] = 0.0f;
    for (int i = lo, n; i < hi; i += n) {
        int at = slots ? slots[i] % P : i % P, most = P - at < hi - i ? P - at : hi - i;
        fc_kv_block b = fc_kv_block_at(a->kv, slots ? slots[i] / P : pages[i / P], a->layer, g);
        for (n = 1; n < most && (!slots || slots[i + n] == slots[i] + n);) n++;
        memcpy(k + i, b.k_scale + at, (size_t)n * sizeof *k);
        memcpy(v + i, b.v_scale + at, (size_t)n * sizeof *v);
    }
}

#if V_QUADS
/* Either of both for int8, in words of quads, and their scales. What is not of [lo,hi) counts zero in a quad. */
static void gather_quads(const fc_attn_args *a, const int32_t *pages, const int32_t *slots, int g, int lo, int hi,
                         float *k, float *v) {
    static const int8_t nothing[256];
    const fc_kv_shape *s = &a->kv->shape;
    const int8_t *value[TILE];
    const int E = s->E, P = s->P, first = lo & ~3, end = (hi + 3) & ~3;
    for (int i = first; i < lo; i++) value[i] = nothing;
    for (int i = hi; i < end; i++) value[i] = nothing;
    for (int i = lo, n; i < hi; i += n) {
        int at = slots ? slots[i] % P : i % P, most = P - at < hi - i ? P - at : hi - i;
        fc_kv_block b = fc_kv_block_at(a->kv, slots ? slots[i] / P : pages[i / P], a->layer, g);
        const int8_t *values = (const int8_t *)b.v;
        for (n = 1; n < most && (!slots || slots[i + n] == slots[i] + n);) n++;
        quad_keys((const int8_t *)b.k, P, E, at, n, k + i, TILE);
        for (int j = 0; j < n; j++) value[i + j] = values + (size_t)(at + j) * (size_t)E;
    }
    for (int i = first; i < end; i += 4) quad_values(value + i, E, v + (size_t)(i / 4) * (size_t)E);
}
#endif

/* Positions [lo,hi) of the tile whose pages or slots are given. */
static void gather(const fc_attn_args *a, const int32_t *pages, const int32_t *slots, int g, int lo, int hi,
                   const fc_attn_scratch *w) {
    float *k = w->k, *v = w->v;
    if (a->kv->shape.type == FC_I8) gather_scales(a, pages, slots, g, lo, hi, w->k_scale, w->v_scale);
#if V_QUADS
    if (a->kv->shape.type == FC_I8) {
        gather_quads(a, pages, slots, g, lo, hi, k, v);
        return;
    }
#endif
#if V_PAIRS
    if (a->kv->shape.type == FC_BF16) {
        gather_pairs(a, pages, slots, g, lo, hi, k, v);
        return;
    }
#endif
    if (slots) gather_slots(a, slots, g, lo, hi, k, v);
    else gather_tile(a, pages, g, lo, hi, k, v);
}
