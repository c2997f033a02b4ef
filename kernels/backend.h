/* backend - the wall between policy and arithmetic: buffers and a table of operators over them.
 *
 * A buffer is a pointer that only operators, upload and download may follow; the engine does address
 * arithmetic on it and nothing else. Uploads and operators run in the order of the calls; what a download
 * wrote may be read after sync, or after wait for a mark that was set behind it.
 */
#ifndef FC_KERNELS_BACKEND_H
#define FC_KERNELS_BACKEND_H

#include "kernels/attn/attn.h"
#include "kernels/comm/comm.h"
#include "kernels/draw/draw.h"
#include "kernels/embed/embed.h"
#include "kernels/head/head_draw.h"
#include "kernels/head/head_lse.h"
#include "kernels/kv/kv_buf.h"
#include "kernels/linear/linear.h"
#include "kernels/linear/linear_pick.h"
#include "kernels/logprob/list_logprob.h"
#include "kernels/logprob/logprob.h"
#include "kernels/lora/lora.h"
#include "kernels/rmsnorm/rmsnorm.h"
#include "kernels/rope_kv/rope_kv.h"
#include "kernels/rows/rows_copy.h"
#include "kernels/softcap/softcap.h"

#include <pthread.h>

enum { FC_BACKEND_MARKS = 4 };

/* The arithmetic of this tree. Raise it whenever a kernel's bits change, on any backend or vector level, or the order
 * in which the engine calls kernels and adds up what they give: it is all that tells scores of two builds of one
 * version apart in a score cache file. */
enum { FC_NUMERICS = 8 };

/* The largest shapes that operators will be called with: what open reserves. */
typedef struct {
    int rows;  /* T of any operator */
    int cols;  /* largest K of a linear */
    int vocab; /* V */
    int heads, head_dim;
} fc_op_limits;

/* FC_ERR_ARG where one is below 0. */
static inline fc_status fc_op_limits_check(const char *backend, const fc_op_limits *l) {
    const struct {
        const char *name;
        int value;
    } fields[] = {
        {"rows", l->rows}, {"cols", l->cols}, {"vocab", l->vocab}, {"heads", l->heads}, {"head_dim", l->head_dim}};
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        if (fields[i].value < 0)
            return FC_FAIL(FC_ERR_ARG, "%s backend: limit %s=%d", backend, fields[i].name, fields[i].value);
    return FC_OK;
}

typedef struct fc_backend {
    const char *name;  /* "cpu" */
    const char *level; /* what its bits depend on beside the name: the CPU's vector unit, "avx512" */
    void *self;
    fc_stream stream;

    fc_status (*alloc)(struct fc_backend *be, size_t bytes, const char *what, void **out); /* zeroed */
    void (*free)(struct fc_backend *be, void *buffer);                                     /* NULL is fine */
    /* Of a buffer that is zero yet: the system has given all its pages once this returns. NULL: it had before. */
    void (*touch)(struct fc_backend *be, void *buffer);
    /* What was left at open for all buffers and weights; 0: unknown. */
    fc_status (*memory)(struct fc_backend *be, uint64_t *bytes);
    fc_status (*upload)(struct fc_backend *be, void *dst, const void *host,
                        size_t bytes); /* host may be reused at return */
    fc_status (*download)(struct fc_backend *be, void *host, const void *src, size_t bytes);
    /* All that was asked for has run and arrived. If not: what had been downloaded arrives no more, and a wait for a
     * mark that is behind such a download fails. */
    fc_status (*sync)(struct fc_backend *be);
    /* Of tensor parallelism: 1, or so many that compute side by side (kernels/ranks). Every buffer is there once for
     * each of them, of the same size, weight_pack takes all ranks' parts, [ranks][n_parts], and operators the shapes of
     * one. */
    int ranks;
    fc_status (*upload_to)(struct fc_backend *be, int rank, void *dst, const void *host,
                           size_t bytes); /* upload fills all ranks alike; NULL where there is one */
    int depth; /* batches that the engine should have under way at once: 1 where operators run in their call, else 2 */
    /* Pieces of attention, some query vectors (fc_attn_unit_vectors) of a KV head over an item's tiles, that keep it
     * busy: where a plan has fewer, its items are cut finer. 0: no item is cut for that. */
    int attn_units;
    fc_status (*mark)(struct fc_backend *be, int mark); /* 0 .. FC_BACKEND_MARKS-1: here in the order of calls */
    fc_status (*wait)(struct fc_backend *be, int mark); /* until everything before the mark has run and arrived */
    fc_status (*weight_pack)(fc_stream s, const fc_weight_part *parts, int n_parts, fc_weight **out);
    void (*weight_free)(fc_weight *w);

    fc_status (*embed)(fc_stream s, const fc_embed_args *a);
    fc_status (*rmsnorm)(fc_stream s, const fc_rmsnorm_args *a);
    fc_status (*rows_copy)(fc_stream s, const fc_rows_copy_args *a);
    fc_status (*linear)(fc_stream s, const fc_linear_args *a);
    fc_status (*linear_pick)(fc_stream s, const fc_linear_pick_args *a);
    fc_status (*lora)(fc_stream s, const fc_lora_args *a);
    fc_status (*rope_table)(fc_stream s, const fc_rope_table_args *a);
    fc_status (*rope_kv)(fc_stream s, const fc_rope_kv_args *a);
    /* FC_ERR_UNSUPPORTED where attn does not run over KV of this type and head dimension. NULL: it does over all. */
    fc_status (*attn_fits)(fc_stream s, fc_dtype kv, int E);
    fc_status (*attn)(fc_stream s, const fc_attn_args *a);
    fc_status (*softcap)(fc_stream s, const fc_softcap_args *a);
    fc_status (*kv_copy)(fc_stream s, const fc_kv_copy_args *a);
    fc_status (*draw)(fc_stream s, const fc_draw_args *a);
    fc_status (*logprob)(fc_stream s, const fc_logprob_args *a);
    fc_status (*top_logprobs)(fc_stream s, const fc_top_logprobs_args *a);
    fc_status (*list_logprob)(fc_stream s, const fc_list_logprob_args *a);
    fc_status (*list_gather)(fc_stream s, const fc_list_gather_args *a);
    fc_status (*head_lse)(fc_stream s, const fc_head_lse_args *a);
    fc_status (*head_draw)(fc_stream s, const fc_head_draw_args *a);
    fc_status (*sum)(fc_stream s, const fc_sum_args *a);
    fc_status (*join)(fc_stream s, const fc_join_args *a);
    fc_status (*pin)(struct fc_backend *be, pthread_t caller); /* its threads and the caller to a core each */
    void (*close)(struct fc_backend *be);
} fc_backend;

void fc_backend_close(fc_backend *be); /* NULL is fine */

#endif
