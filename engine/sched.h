/* sched - who runs: admission by pages, the branches of both models, one step.
 *
 *   submit -> waiting -> admit (pages and branches promised) -> drawing, scoring -> done event
 *
 * A branch is one KV table with ids to feed. What its fed rows are for is its kind. Promised pages guarantee that an
 * admitted job always finishes: nothing is preempted here.
 *
 * Invariants; fc_sched_check() verifies them and those of the KV pools:
 *   (1) a lane's reserved pages and tables are the sums over its admitted jobs, and within the pool;
 *   (2) every open KV table belongs to one branch, or is an admitted job's alignment prompt;
 *   (3) a job's n_open is the number of its drawing branches; its finished candidates' votes and its open members add up
 *       to n.
 */
#ifndef FC_ENGINE_SCHED_H
#define FC_ENGINE_SCHED_H

#include "engine/job.h"
#include "engine/sampler.h"

typedef enum {
    FC_BRANCH_DRAW,   /* feeds prompt or drawn ids; its last row is drawn from */
    FC_BRANCH_PROMPT, /* feeds the alignment prompt; its last hidden state is kept */
    FC_BRANCH_TAIL    /* feeds one candidate behind the alignment prompt */
} fc_branch_kind;

typedef struct {
    fc_job *job;
    fc_branch_kind kind;
    int table, path;       /* path: of the first member (DRAW), of the candidate (TAIL) */
    const int32_t *feed;   /* ids to feed; TAIL: the candidate, then the suffix */
    int n_feed, fed;
    int batch_rows, out, n_outs; /* in this step: rows fed; outputs wanted, first and count */
} fc_branch;

/* One logits or reward row to be read for a candidate's score. */
typedef struct {
    fc_job *job;
    int path;
    int out;     /* of the batch, or -1: the job's kept prompt state */
    int32_t id;  /* log-likelihood: the id that this row predicts */
} fc_score_read;

typedef struct {
    fc_score_read *reads; /* [max_reads] */
    int n_reads, max_reads;
    int32_t *row, *id;    /* [max_gather] host */
    float *lp;            /* [max_gather] host */
    int max_gather;
    int32_t *dev_row, *dev_id;
    float *dev_lp;
} fc_scorer;

/* Where what happened goes: the engine's event queue. Called on the engine thread. */
typedef struct {
    void *arg;
    void (*token)(void *arg, fc_job *j, int candidate, int32_t id, float logprob, const char *text, size_t size);
    void (*candidate)(void *arg, fc_job *j, int candidate, const fc_path *p);
    void (*score)(void *arg, fc_job *j, int candidate, double score);
    void (*done)(void *arg, fc_job *j); /* takes the job over */
} fc_sink;

typedef struct {
    fc_lane *lane[2]; /* by role; the same lane when one model is both; alignment NULL without one */
    fc_branch *branches[2]; /* [max_branches] of each distinct lane, by role of the lane's first user */
    int n_branches[2], max_branches;
    int rotate[2];  /* where the next batch begins to take rows */
    int reserved_pages[2], reserved_tables[2]; /* of each list's lane */
    fc_sampler sampler;
    int *draw_at; /* [max_branches] scratch: list places of the rows being drawn */
    fc_scorer scorer;
    const fc_tok *tok[2]; /* by role */
    bool same_tokenizer;
    fc_job *waiting, *running; /* lists in order of arrival */
    bool *slots;      /* [max_jobs] of the alignment lane's kept prompt states */
    int max_jobs;
    int score_rows;   /* a scoring pass of its own model starts at so many waiting rows */
    uint64_t op_ns;   /* time inside operators, this step: the rest of a step is the host's */
    fc_sink sink;
} fc_sched;

fc_status fc_sched_open(fc_lane *novelty, fc_lane *alignment, const fc_tok *const tok[2], bool same_tokenizer,
                        int max_branches, int max_jobs, const fc_sink *sink, fc_sched *out);
void fc_sched_close(fc_sched *s); /* ends every job as cancelled; zeroed and half-built are fine */

/* FC_ERR_ARG with the numbers when the job could never be admitted. Reads only what open fixed: any thread may ask. */
fc_status fc_sched_can_run(const fc_sched *s, const fc_job *j);
void fc_sched_submit(fc_sched *s, fc_job *j); /* takes the job over */
void fc_sched_cancel(fc_sched *s, uint64_t id);
bool fc_sched_busy(const fc_sched *s);
/* One turn: end what is cancelled, admit, then one batch of each model that has work. */
void fc_sched_step(fc_sched *s);
fc_status fc_sched_check(const fc_sched *s);

/* ---- between sched.c, drawing.c and scoring.c ---- */

static inline bool fc_sched_shared(const fc_sched *s) { return s->lane[0] == s->lane[1]; }
/* The lane list that a role's branches stand in. */
static inline int fc_sched_list(const fc_sched *s, fc_role role) { return fc_sched_shared(s) ? 0 : (int)role; }
void fc_sched_push(fc_sched *s, fc_role role, const fc_branch *b);
/* KV calls that keep the job's page count and peak. */
fc_status fc_sched_append(fc_sched *s, fc_role role, fc_job *j, int table, int n);
void fc_sched_table_close(fc_sched *s, fc_role role, fc_job *j, int table);

/* drawing.c: draws for all DRAW branches whose feed is complete, and commits. */
fc_status fc_drawing_run(fc_sched *s);
/* scoring.c */
void fc_scoring_start_tails(fc_sched *s); /* opens branches for finished candidates, as pages allow */
fc_status fc_scoring_run(fc_sched *s);    /* reads scores of the batch just run in the alignment lane */
int64_t fc_scoring_waiting_rows(const fc_sched *s);
fc_status fc_scorer_open(fc_lane *lane, int max_reads, fc_scorer *out);
void fc_scorer_close(fc_lane *lane, fc_scorer *s);
/* A candidate is complete: text, votes, and its place in the line to be scored. */
void fc_drawing_finish_path(fc_sched *s, fc_job *j, int path, fc_finish finish, bool ended);

#endif
