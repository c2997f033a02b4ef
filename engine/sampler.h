/* sampler - draws for many rows of logits in one operator call, with every request's own settings.
 *
 *   begin -> add* -> run -> read -> begin
 *
 * A failing row fails its request alone: when the operator refuses a whole call, run repeats it row by row.
 */
#ifndef FC_ENGINE_SAMPLER_H
#define FC_ENGINE_SAMPLER_H

#include "engine/job.h"

typedef struct {
    fc_job *job;
    int path;              /* its history is what penalties see */
    int member, n_members; /* in token[] and logprob[] */
    int top;               /* first of its top log-probs, -1 = none */
    fc_status status;
} fc_sampler_row;

typedef struct {
    fc_backend *be; /* borrowed */
    int V, max_rows, max_members, max_entries;
    int n_rows, n_members, n_bias, n_seen, n_top, top_n;

    fc_sampler_row *rows;    /* [max_rows] */
    fc_draw_row *draw;       /* [max_rows] host */
    fc_draw_member *members; /* [max_members] host */
    int32_t *bias_id, *seen_id, *seen_count; /* [max_entries] host */
    float *bias_value;
    int32_t *top_rows; /* [max_rows] host */
    int32_t *scratch;  /* [max_entries] host: drawn ids, sorted */

    int32_t *token; /* [max_members] host, after run */
    float *logprob;
    int32_t *top_ids; /* [max_rows, top_n] host, after run */
    float *top_logprobs;

    struct {
        fc_draw_row *draw;
        fc_draw_member *members;
        int32_t *bias_id, *seen_id, *seen_count, *top_rows, *token, *top_ids;
        float *bias_value, *logprob, *top_logprobs;
    } dev; /* backend buffers of the same sizes */
} fc_sampler;

fc_status fc_sampler_open(fc_backend *be, int V, int ctx, int max_rows, int max_members, fc_sampler *out);
void fc_sampler_close(fc_sampler *s); /* zeroed and half-built are fine */

void fc_sampler_begin(fc_sampler *s);
/* The members of a branch, in order from `head`, draw from logits row `row`. False when this call has no room left:
 * run first, then begin again. */
bool fc_sampler_add(fc_sampler *s, fc_job *j, int head, int row);
/* logits [R,V] backend. Then token[], logprob[], top_*[] hold the answers of all rows whose status is OK. */
fc_status fc_sampler_run(fc_sampler *s, const float *logits, int R);

#endif
