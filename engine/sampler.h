/* sampler - draws for many rows of logits in one operator call, with every request's own settings.
 *
 *   begin -> add* -> list -> run -> (the backend's wait) -> land -> read -> begin
 *
 * Of a row that needs a temperature and no more the head keeps no logits: it draws the token itself (head_draw). Which
 * way a row goes changes no bit. A row that is broken (fc_row_state) fails its request alone, at land.
 */
#ifndef FC_ENGINE_SAMPLER_H
#define FC_ENGINE_SAMPLER_H

#include "engine/forward.h"
#include "engine/job.h"
#include "engine/stage.h"

typedef struct {
    fc_job *job;
    int group,
        length; /* groups of the list that begins here draw that have so many ids: equal ones, which penalties see */
    int member, n_members; /* in token[] and logprob[] */
    int top;               /* its place in top_rows, -1 = none */
    int asked;             /* its first place in asked_lp, -1 = none */
    int out, logits; /* output of the batch that is drawn from; its row of logits, -1: only listed ones are computed, or
                        none are kept */
    int head, draw;  /* its place in head[], where the head draws, or else in draw[]; the other is -1 */
    int list, full;  /* places of its sums in lse_list and lse_full, -1 = none */
    bool whole;      /* a list whose log-probs are those of the whole row all the same: allowed_token_ids */
} fc_sampler_row;

typedef struct {
    fc_backend *be; /* borrowed */
    int V, max_rows, max_logits, max_members, max_entries;
    int n_rows, n_members, n_bias, n_seen, n_top, top_n, n_asked;
    int n_head, n_draw;           /* rows that the head draws; the others */
    int n_logits, n_list, n_full; /* rows of logits; listed ids; rows whose full-vocabulary sum is wanted */

    fc_sampler_row *rows;                    /* [max_rows] */
    fc_head_draw_row *head;                  /* [max_rows] host */
    fc_draw_row *draw;                       /* [max_rows] host */
    fc_draw_member *members;                 /* [max_members] host */
    int32_t *bias_id, *seen_id, *seen_count; /* [max_entries] host */
    float *bias_value;
    int32_t *top_rows; /* [max_rows] host */
    int32_t *scratch;  /* [max(max_entries, max_members)] host: drawn ids, sorted; then the members of one branch */

    int32_t *token; /* [max_members] host, after run */
    float *logprob;
    int32_t *top_ids; /* [max_rows, top_n] host, after run */
    float *top_logprobs;
    int32_t *asked_id;           /* [max_rows, FC_LOGPROB_IDS_MAX] host: logprob_token_ids, a row's behind another's */
    float *asked_lp;             /* the same, host, after run: their log-probs */
    double *lse_list, *lse_full; /* [max_rows] host, after run: of a listed row's ids, of the whole vocabulary */

    int32_t *list_id;          /* [max_entries] host: ids of listed rows */
    fc_list_row *lists;        /* [max_rows] host: listed rows */
    fc_pick_segment *segments; /* [max_rows] host: those whose logits are picked */
    int32_t *outs; /* [2*max_rows] host: outputs of the batch for head[], for rows of logits, for full sums */
    int n_lists, n_segments;

    struct { /* lists above in the step's stage, after list */
        const fc_head_draw_row *head;
        const fc_draw_row *draw;
        const fc_draw_member *members;
        const int32_t *bias_id, *seen_id, *seen_count, *top_rows, *asked_id, *list_id, *outs;
        const float *bias_value;
        const fc_list_row *lists;
        const fc_pick_segment *segments;
    } in;
    struct { /* backend buffers: answers, of the sizes above, and what is computed on the way to them */
        int32_t *token, *top_ids;
        float *logprob, *top_logprobs, *asked_lp;
        float *list_value; /* [max_entries] */
        double *lse_list, *lse_full;
        int32_t *zero; /* [max_members] never written: row 0, for a call on one row */
    } dev;
} fc_sampler;

/* max_logits: rows of w->logits. */
fc_status fc_sampler_open(fc_backend *be, int V, int ctx, int max_rows, int max_logits, int max_members,
                          fc_sampler *out);
void fc_sampler_close(fc_sampler *s);         /* zeroed and half-built are fine */
size_t fc_sampler_stage_bytes(fc_sampler *s); /* that list() takes at most */

void fc_sampler_begin(fc_sampler *s);
/* The members of those groups, in order, draw from the output of the batch that the caller wants next: it sets
 * rows[].out. pick: of a masked row only the allowed logits are computed. False when there is no room left; the first
 * row of a call always has room. A row that the request's own fields leave no id fails the request, and is not
 * added. */
bool fc_sampler_add(fc_sampler *s, fc_job *j, int group, int length, bool pick);
/* The lists of all rows into the stage, which is sent before run. */
void fc_sampler_list(fc_sampler *s, fc_stage *stage);
/* logits [n_logits,V] of the rows that have one, out [n_outs,D]: the batch's final hidden states; backend. Once the
 * read-back has arrived, token[], logprob[], top_*[], lse_*[] hold the answers of all rows. */
fc_status fc_sampler_run(fc_sampler *s, const fc_model *m, fc_work *w, int n_outs);
/* Once it has arrived: requests with a broken row fail. */
void fc_sampler_land(fc_sampler *s, const fc_model *m);

#endif
