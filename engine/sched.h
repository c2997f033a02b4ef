/* sched - who runs: jobs in order of rank, the branches of both models, batches under way.
 *
 *   submit -> waiting -> admit -> running: drawing, scoring -> done event
 *                ^                  |
 *                +---- preempt -----+   its KV is given back; what it has drawn and scored stays, and is replayed
 *
 * Rank is priority, then arrival. Pages are taken when rows are; when a job finds none, cached prefixes go first, then
 * the job of the lowest rank below it. The first in rank is never preempted and fits alone (fc_sched_can_run): where
 * nothing can run, others give way to it, so something always ends. Branches (KV tables) are promised at admission.
 *
 * A branch is one KV table. Its length is the number of positions computed; at `target` it draws, splits or is
 * complete.
 *
 * Invariants; fc_sched_check() verifies them and those of the KV pools:
 *   (1) a list's reserved tables are the sums over its running jobs, and within the pool;
 *   (2) every open KV table belongs to one branch, or is a running job's alignment prompt;
 *   (3) a job's n_open is the number of its groups in branches and idle; members of open groups rise, and with the
 *       votes of finished candidates they add up to n;
 *   (4) a waiting job holds no page and no branch;
 *   (5) waiting and running are in order of rank.
 */
#ifndef FC_ENGINE_SCHED_H
#define FC_ENGINE_SCHED_H

#include "engine/job.h"
#include "engine/prefix.h"
#include "engine/sampler.h"
#include "engine/score_cache.h"

enum {
    FC_MAX_FLIGHTS = 2, /* batches of one list under way at once */
    FC_BATCH_SIZES = 14 /* of fc_engine_counts.batches_of */
};

typedef enum {
    FC_BRANCH_DRAW,   /* feeds prompt and drawn ids; at its target groups draw or part */
    FC_BRANCH_PROMPT, /* feeds a stem's prompt; its last hidden state is kept, or read by a search */
    FC_BRANCH_CHAIN,  /* feeds nodes of a stem's tree */
    FC_BRANCH_ALONE   /* feeds alignment prompt and one candidate into a table of its own: the score tree is off */
} fc_branch_kind;

typedef struct {
    fc_job *job; /* NULL: the place is free */
    fc_branch_kind kind;
    fc_role role;   /* whose model feeds it */
    int next;       /* of its job's branches, or free places; -1 */
    int table;      /* -1: a chain has none of its own */
    int group;      /* DRAW: first group; ALONE: the candidate's path; CHAIN: its last node */
    int target;     /* positions */
    int len;        /* positions before it that are computed; CHAIN: with its own so far */
    int rows, draw; /* rows in the batch that is being built; row of the flight's sampler, -1 */
    int n_flying;   /* batches under way that hold rows of it: several where none of them waits for another's draws */
} fc_branch;

/* One final hidden state to be read for a candidate's score: that of KV slot `slot`, in the lane's pool of states. */
typedef struct {
    fc_job *job;
    int path;
    int32_t slot, id; /* id: of a log-likelihood, what the state predicts */
    int at;           /* its first answer in lp[] */
} fc_score_read;

typedef struct {
    fc_score_read *reads; /* [max_reads] in the order of each candidate's ids */
    int n_reads, max_reads, n_gather, max_gather;
    int n_keep;
    int32_t *keep_src, *keep_dst; /* [max_rows] outputs of the batch whose states go to the pool, and their slots */
    int32_t *slot, *first;        /* [max_reads] states to be read, and their first picks */
    const fc_weight **reward;     /* [max_reads] head of each state */
    int32_t *row_of;              /* [slots of the pool] scratch: 1 + row of slot[], 0 */
    int32_t *row, *id;            /* [max_gather] picks */
    float *lp;                    /* [max_gather] host */
    int n_head, n_rows, n_picks;  /* after list: rows of the language head, rows in all, picks */
    const int32_t *dev_keep_src, *dev_keep_dst, *dev_slot, *dev_row, *dev_id; /* in the step's stage, after list */
    float *dev_lp;
    double *dev_lse; /* [max_rows] */
} fc_scorer;

/* Nodes of tries whose children's log-probs a search wants. */
typedef struct {
    struct {
        fc_job *job;
        int32_t node;
    } * reads;                 /* [max_rows] */
    fc_list_row *lists;        /* [max_rows] host; row: output of the batch */
    fc_pick_segment *segments; /* [max_rows] host */
    int32_t *list_id;          /* [max_list] host */
    float *lp;                 /* [max_list] host, after landing */
    int n_reads, n_list, max_rows, max_list;
    const fc_list_row *dev_lists; /* in the step's stage, after list */
    const fc_pick_segment *dev_segments;
    const int32_t *dev_list_id;
    float *dev_lp;
} fc_seeker;

/* States of a prompt that predict its own ids: positions pos .. pos+n-1, outputs out .. of the batch. */
typedef struct {
    fc_job *job;
    int pos, n, out;
} fc_echo_read;

typedef struct {
    fc_echo_read *reads; /* [max_rows] */
    int n_reads, n_ids;
    int32_t *id;           /* [max_rows] host: what each state predicts */
    const int32_t *dev_id; /* in the step's stage, after list */
    int32_t *dev_row;      /* [max_rows] 0, 1, 2, ... */
    float *dev_lp;         /* [max_rows] */
    double *dev_lse;       /* [max_rows] */
    int32_t *dev_top_ids;  /* [max_rows, FC_TOP_LOGPROBS_MAX] */
    float *dev_top_lp;
} fc_echoer;

/* One batch of a list, from its building to the read-back of what it drew and scored. Its parts put their lists into
 * the batch's stage, *_list, before the first operator, so that one upload takes all. */
typedef struct {
    fc_batch batch;
    fc_seeker seeker;   /* novelty's */
    fc_sampler sampler; /* novelty's */
    fc_echoer echoer;   /* novelty's */
    fc_scorer scorer;   /* alignment's */
    struct {
        int branch, rows; /* place in the list; rows of it, */
        int end;          /* which are the positions before this one */
    } * held;             /* [max_seqs] */
    int n_held;
    bool flying, failed;
    int mark; /* of the backend's queue */
} fc_flight;

/* Where what happened goes: the engine's event queue. Called on the engine thread. */
typedef struct {
    void *arg;
    void (*token)(void *arg, fc_job *j, int candidate, const fc_path *p, const char *text, size_t size); /* p's last */
    void (*candidate)(void *arg, fc_job *j, int candidate, const fc_path *p);
    void (*score)(void *arg, fc_job *j, int candidate, double score);
    void (*done)(void *arg, fc_job *j); /* takes the job over */
} fc_sink;

typedef struct {
    const fc_tok *tok[2]; /* by role */
    bool same_tokenizer;
    int max_branches;
    int score_rows;       /* a scoring pass of its own model starts at so many waiting rows */
    uint32_t off;         /* fc_off */
    uint64_t score_cache; /* as in fc_engine_options */
    const char *score_cache_file;
    fc_sink sink;
} fc_sched_options;

/* What happened so far, for tests and metrics. */
typedef struct {
    int64_t steps, batches, preemptions, splits, redraws;
    int64_t shared_tiles; /* reads of a tile that another row's read served */
    int64_t cross_groups; /* attention items that rows of several requests share */
    int64_t evicted_pages, partial_copies, hit_tokens, asked_tokens; /* of the prefix caches */
    int64_t rows_prefill, rows_decode, rows_score, rows_replayed;    /* as of fc_accounting, of all jobs */
    int64_t batch_rows, batches_of[FC_BATCH_SIZES];                  /* as of fc_engine_counts */
    bool lost;                                                       /* a backend fails whatever it is asked */
    double bytes, flops;                                             /* as of fc_engine_counts */
} fc_sched_stats;

typedef struct {
    fc_lane *lane[2];       /* by role; the same lane when one model is both; alignment NULL without one */
    fc_prefix *prefix[2];   /* by list; NULL: off */
    fc_score_cache *scores; /* NULL: off, or nothing scores */
    uint32_t stamp;         /* of the last count of pages */
    fc_branch *branches[2]; /* [max_places] of each distinct lane, by role of the lane's first user */
    int free_place[2], n_scoring_places[2]; /* first free place; those of chains and candidates alone */
    int max_places;                         /* max_branches, and as many for scoring */
    int reserved_tables[2];                 /* of each list's lane */
    fc_flight flights[2][FC_MAX_FLIGHTS];
    int depth, n_flying[2], next_flight[2]; /* flights land in the order in which they started */
    int32_t *ids, *slots, *ancestors,
        *who; /* [max_rows] twice, [ctx], [max members]: scratch of building and landing */
    fc_sched_options o;
    fc_job *waiting, *running; /* lists in order of rank */
    uint64_t op_ns;            /* time inside operators, this step: the rest of a step is the host's */
    fc_sched_stats stats;
} fc_sched;

fc_status fc_sched_open(fc_lane *novelty, fc_lane *alignment, const fc_sched_options *o, fc_sched *out);
void fc_sched_close(fc_sched *s); /* ends every job as cancelled; zeroed and half-built are fine */

/* FC_ERR_ARG with the numbers when the job could never be admitted. Reads only what open fixed: any thread may ask. */
fc_status fc_sched_can_run(const fc_sched *s, const fc_job *j);
void fc_sched_submit(fc_sched *s, fc_job *j); /* takes the job over */
void fc_sched_cancel(fc_sched *s, uint64_t id);
bool fc_sched_busy(const fc_sched *s);
fc_sched_stats fc_sched_counts(const fc_sched *s);
/* One turn: end what is cancelled, admit, then one batch of each model that has work. */
void fc_sched_step(fc_sched *s);
fc_status fc_sched_check(const fc_sched *s);

/* ---- between the files of the scheduler ---- */

static inline bool fc_sched_off(const fc_sched *s, fc_off bit) { return (s->o.off & (uint32_t)bit) != 0; }
static inline bool fc_sched_shared(const fc_sched *s) { return s->lane[0] == s->lane[1]; }
/* The lane list that a role's branches stand in. */
static inline int fc_sched_list(const fc_sched *s, fc_role role) { return fc_sched_shared(s) ? 0 : (int)role; }

/* branch.c: places of branches. */
fc_status fc_branches_open(fc_sched *s);
fc_branch *fc_branch_put(fc_sched *s, const fc_branch *b); /* at the end of its job's branches */
void fc_branch_drop(fc_sched *s, fc_branch *b);            /* its table, if it has one, is closed */
void fc_branch_drop_all(fc_sched *s, fc_job *j);
/* A table for the stem's prompt, and the branch that feeds it. */
fc_status fc_stem_begin(fc_sched *s, fc_job *j, fc_role role);
void fc_sched_count_pages(fc_sched *s, fc_job *j, int list); /* j->pages, and the peak of both models */

/* cache.c: prompts and the prefix cache. */
/* Cached positions of the branch's ids become its table's contents: its len. The last of target stays to be
 * computed. */
fc_status fc_cache_take(fc_sched *s, fc_branch *b);
/* Positions before len, which the branch has computed, are offered. closing: its table is about to be closed. */
void fc_cache_put(fc_sched *s, const fc_branch *b, int len, bool closing);
void fc_cache_put_stem(fc_sched *s, const fc_job *j, fc_role role); /* before its table is closed */
int fc_cache_pages(const fc_sched *s, int list);                    /* that can be had: free, or idle in the cache */

/* flight.c */
fc_status fc_flight_open(fc_sched *s, int list, fc_flight *out);
void fc_flight_close(fc_sched *s, int list, fc_flight *f);
/* Builds a batch of the list's branches and starts it; false when there is nothing to run. */
bool fc_flight_start(fc_sched *s, int list);
void fc_flight_land(fc_sched *s, int list); /* the oldest: waits for it, and commits what it drew and scored */

/* sched.c: lists in order of rank */
void fc_jobs_insert(fc_job **list, fc_job *j);
void fc_jobs_remove(fc_job **list, const fc_job *j);

/* admit.c */
void fc_admit(fc_sched *s);
void fc_admit_leave(fc_sched *s, fc_job *j); /* gives all KV back and leaves the running list; groups stand idle */
/* Ids of candidate and suffix that are promised room for each candidate: with another tokenizer FC_TAIL_IDS for each
 * that may be drawn. */
enum { FC_TAIL_IDS = 4 };
int64_t fc_sched_tail_ids(const fc_sched *s, const fc_job *j);
/* Frees pages of the list's pool until `pages` are there: from jobs below j in rank that are in no batch. */
bool fc_make_room(fc_sched *s, int list, const fc_job *j, int pages);
void fc_preempt(fc_sched *s, fc_job *j);

/* drawing.c */
fc_status fc_drawing_begin(fc_sched *s, fc_job *j); /* branches for its idle groups */
fc_status fc_drawing_wave(fc_sched *s, fc_job *j);  /* the next n candidates begin behind the prompt */
void fc_drawing_idle(fc_sched *s, fc_job *j);       /* the reverse: groups leave their branches */
bool fc_drawing_wants(const fc_branch *b);          /* a group draws at the branch's target */
fc_status fc_drawing_commit(fc_sched *s, fc_flight *f, fc_branch *b); /* the branch is at its target */
/* Groups that begin again behind the prompt become one branch: all that a batch refused draw from one row, that of the
 * prompt's last id, which is computed anew. */
fc_status fc_drawing_again(fc_sched *s, fc_job *j);

/* path.c: the text of a group's head. */
/* Adds one id's text; *stopped when a stop string is complete: the text is cut there. */
fc_status fc_path_grow(fc_sched *s, fc_job *j, int path, int32_t id, bool *stopped);
/* Sends the text that became certain, to every member. */
void fc_path_send(fc_sched *s, fc_job *j, int path, bool final);
/* The group is complete: text, votes, and its place in the line to be scored. */
void fc_path_finish(fc_sched *s, fc_job *j, int path, fc_finish finish, bool ended);
/* A member that leaves its group takes along what was drawn. */
fc_status fc_path_copy(const fc_job *j, const fc_path *from, fc_path *to);

/* searching.c: draws that are not i.i.d., over the trie */
fc_status fc_searching_begin(fc_sched *s, fc_job *j);
int64_t fc_searching_nodes(const fc_sched *s, const fc_job *j); /* that it holds at most; reads only what open fixed */
void fc_searching_start(fc_sched *s);                           /* what searches ask for becomes chains */
/* How many of the branch's next n rows this batch has room to read; an empty one at least one. */
int fc_searching_fits(const fc_flight *f, const fc_branch *b, int n);
void fc_searching_want(fc_sched *s, fc_flight *f, const fc_branch *b, int first, int n); /* rows that a search reads */
void fc_searching_list(fc_flight *f);
fc_status fc_searching_launch(fc_sched *s, fc_flight *f);
void fc_searching_land(fc_sched *s, fc_flight *f);
/* seeker.c: fc_searching_launch, and its memory */
fc_status fc_seeker_open(const fc_lane *lane, fc_seeker *out);
size_t fc_seeker_stage_bytes(const fc_seeker *k); /* that list() takes at most */
void fc_seeker_close(const fc_lane *lane, fc_seeker *s);

/* echo.c */
fc_status fc_echoer_open(const fc_lane *lane, fc_echoer *out);
void fc_echoer_close(const fc_lane *lane, fc_echoer *e);
/* Rows first .. first+n-1 of the batch are the branch's positions len ..: of those that predict ids of a prompt whose
 * log-probs are asked for, the states are wanted. Before any other output of these rows. */
void fc_echo_want(fc_flight *f, const fc_branch *b, int first, int n);
void fc_echo_list(fc_flight *f);
size_t fc_echoer_stage_bytes(const fc_lane *lane);
fc_status fc_echo_launch(fc_lane *lane, fc_flight *f);
void fc_echo_land(fc_flight *f, const fc_model *m); /* a prompt with a broken row fails its request */

/* scoring.c */
void fc_scoring_idle(fc_sched *s, fc_job *j); /* its KV is about to be given back: what is not scored begins anew */
/* Candidates that are fed alone, all but the first, give their pages back and begin anew later; false: there were
 * none. */
bool fc_scoring_give_way(fc_sched *s, fc_job *j);
void fc_scoring_start(fc_sched *s); /* finished candidates become branches */
/* Rows first .. first+n-1 of the batch are those of the branch's positions len .. len+n-1: which states are kept. */
void fc_scoring_keep(fc_sched *s, fc_flight *f, const fc_branch *b, int first, int n);
void fc_scoring_collect(fc_sched *s,
                        fc_flight *f); /* reads of candidates whose states are in the pool after this batch */
void fc_scoring_list(fc_sched *s, fc_flight *f);
fc_status fc_scoring_launch(fc_sched *s, fc_flight *f);
void fc_scoring_land(fc_sched *s, fc_flight *f);
void fc_scoring_prune(fc_sched *s, fc_job *j);   /* where candidates were given up, what only they wanted is not fed */
void fc_scoring_tidy(fc_sched *s, fc_flight *f); /* after it: branches of candidates alone that were read */
int64_t fc_scoring_waiting_rows(const fc_sched *s);
bool fc_scoring_alone(const fc_sched *s);                /* the tree is off */
int32_t fc_scoring_id(const fc_job *j, int path, int k); /* id k of candidate and suffix */
/* scorer.c: fc_scoring_launch, and its memory */
fc_status fc_scorer_open(fc_lane *lane, fc_scorer *out);
size_t fc_scorer_stage_bytes(const fc_lane *lane, const fc_scorer *s);
void fc_scorer_close(fc_lane *lane, fc_scorer *s);

#endif
