/* job - one request inside the engine: what was asked, checked and copied; and what has been drawn and scored so far.
 *
 *   job_open (caller's thread) -> waiting -> admitted -> [drawing] -> [scoring] -> ended -> job_close (with its event)
 *
 * Candidates begin in waves: 0..n-1 have begun so far, wave at a time, n_max at most. The answer covers the first
 * n_used.
 *
 * Paths: candidate i has path i. Candidates that have drawn the same ids are a group: members[i] links them in rising
 * order, and only the path of the first one, the group's head, is alive. group_next[head] links the groups of one
 * branch, or those that stand idle while the job has no KV.
 */
#ifndef FC_ENGINE_JOB_H
#define FC_ENGINE_JOB_H

#include "engine/adapter.h"
#include "engine/ban.h"
#include "engine/base/mem.h"
#include "engine/echo.h"
#include "engine/forkcast.h"
#include "engine/lane.h"
#include "engine/names.h"
#include "engine/score_cache.h"
#include "engine/tree.h"
#include "tokenizer/tokenizer.h"

enum { FC_MAX_CANDIDATES = FC_N_MAX, FC_MAX_LABELS = FC_LABELS_MAX };

/* What one distinct candidate has drawn, or was given. Arrays have room for max_tokens. */
typedef struct {
    int32_t *ids;    /* drawn, end token included */
    float *logprobs; /* per drawn id; NULL when given */
    int32_t *top_ids;
    float *top_logprobs;   /* [max_tokens, top_n], or NULL */
    float *id_logprobs;    /* [max_tokens, n_logprob_ids], or NULL */
    int n;                 /* ids so far */
    int n_text;            /* ids without the end token; set when finished */
    int node;              /* mask: of the trie, behind ids */
    int stop;              /* the stop string that ended it, -1 */
    int name;              /* index of the name that the text is, or -1; set when finished */
    double gumbel, weight; /* of a search; else NAN */
    double full, mass; /* full_logprob: sums of log-probs under the whole vocabulary; of the allowed ids' log-mass */
    fc_finish finish;  /* NONE while drawing */
    int votes;         /* members, set when finished */
    int replay_to;     /* positions that had been computed when a preemption dropped them */

    /* only with stop strings or events */
    fc_tok_stream stream;
    fc_str text;    /* whole UTF-8 so far; the final text once finished */
    size_t emitted; /* bytes of text already sent */

    /* scoring */
    const int32_t *score_ids; /* the candidate in the alignment tokenizer */
    int n_score_ids;
    enum { FC_UNSCORED = 0, FC_SCORE_BEGUN, FC_SCORE_READ, FC_SCORED } scoring;
    bool score_missed;        /* the score cache was asked, and has none */
    int leaf, alone;          /* last node of the score tree, or branch, that is fed for it; -1: none */
    int score_replay_to;      /* as replay_to, of the candidate alone behind the alignment prompt */
    double sum, score;        /* log-likelihood so far; final score */
    double bound;             /* stop_when hopeless: no higher key is possible; INFINITY */
    bool hopeless;            /* it was given up */
    int n_read, n_score_done; /* ids whose log-probability is being read, or was; those that are in sum */
} fc_path;

/* A prompt that stays, and the tree of what is fed behind it. */
typedef struct {
    const int32_t *ids; /* [n] the prompt */
    int n;
    int adapter,
        begins;    /* of the model's table, -1: none; the first position that it changes, n: none of the prompt's */
    int table;     /* its KV table; -1 when not there */
    bool ready;    /* all of it is computed, or in a batch that was built */
    int replay_to; /* positions of it that a preemption dropped */
    fc_tree tree;
} fc_stem;

typedef struct {
    uint64_t submit_ns, admit_ns, first_draw_ns, last_draw_ns, score_begin_ns, end_ns;
    double host_ms;
} fc_job_clock;

typedef struct fc_job {
    struct fc_job *next; /* in the queue it stands in */
    uint64_t id;
    fc_arena arena; /* everything below that is a pointer */
    int n, wave, n_max, n_used, keep, max_tokens, priority;
    uint64_t seed;
    bool score, events, coalesce, cancelled, failed;
    double blend;
    fc_diversity diversity;
    int deadline_ms;
    struct fc_stop_job *stop; /* NULL: the answer covers all n, whenever they come */
    fc_score_mode mode;
    fc_sampling sampling; /* pointers into the arena */
    size_t *stop_sizes, longest_stop;
    fc_ban ban;
    fc_echo echo;
    int32_t *ends; /* ids that end a candidate */
    int n_ends;
    int32_t *prompt, *align, *suffix, labels[FC_MAX_LABELS];
    int n_prompt, n_align, n_suffix, n_labels;
    int32_t *prompt_seen; /* distinct prompt ids, rising; for penalties */
    int n_prompt_seen;
    fc_names *names;     /* a reference, or NULL */
    const fc_trie *trie; /* of the names, behind the novelty prompt; NULL without names */
    fc_constraint constraint;
    int reject_budget;
    bool full_logprob;
    struct fc_searching *searching; /* of a draw that is not i.i.d., else NULL */
    int n_valid_first;              /* candidates whose first attempt was a name */
    int *attempt;                   /* [n_max] of each candidate: reject */
    int64_t *discarded;             /* [n_max] ids of its attempts before */

    fc_path *paths;           /* [n_max] */
    int *members;             /* [n_max] next member of the group, -1 at the end; given: the path that stands for it */
    int *group_next;          /* [n_max] by head: next group of the branch, -1 at the end */
    int idle;                 /* first group that stands in no branch, -1 */
    int redraw;               /* first group of those that begin again at the prompt's end, -1 */
    int n_open;               /* groups still drawing */
    int branches[2];          /* by list: first of its branches, -1 */
    int n_flying;             /* batches under way that hold rows or reads of it */
    bool in_batch;            /* it has rows in the batch being built */
    bool over;                /* its answer is known: nothing more is fed for it */
    bool prune;               /* candidates were given up: see fc_scoring_prune */
    int n_finished, n_scored; /* distinct candidates */
    int *finished;            /* [n_max] path indices, in the order they finished */
    int next_score, n_begun;  /* into finished: not yet begun to be scored; begun, and not read yet */

    fc_stem stem[2]; /* by role: the novelty prompt for redraws and searches, the alignment prompt for scoring */
    int reserved_tables[2], alone_tables; /* by role; of alignment's, taken by candidates that are scored alone */
    int score_wait;                       /* steps for which it has waited for nothing but scores to begin */
    int pages[2];                         /* that its tables show, by list, when last counted */
    uint64_t scope[2];                    /* namespaces of the prefix cache, by role: of what the adapter changed, */
    uint64_t base_scope[2];               /* and of what it did not */
    int suffix_begins;                    /* first id of the suffix that the adapter changes, -1: what the stem says */
    const fc_weight *reward;              /* head of mode reward */
    fc_score_scope score_scope;           /* of the score cache */
    bool score_scoped;                    /* it is set: there is a cache */

    fc_accounting rows;
    int prompt_cached; /* ids of the prompt that answers count whose KV the prefix cache had */
    fc_job_clock clock;
    fc_status status; /* of a failed job, with its sentence */
    char error[1024];
} fc_job;

typedef struct {
    char *name;
    fc_adapter *adapter;
} fc_adapter_entry;

/* What job_open needs to know of the engine. */
typedef struct {
    const fc_tok *tok[2];          /* by role; alignment NULL without one */
    const fc_model_config *cfg[2]; /* by role */
    int ctx[2];
    bool same_tokenizer, coalesce;
    fc_status (*names)(void *arg, const char *id, fc_names **out); /* a reference to a registered set; or NULL */
    void *names_arg;
    uint64_t model[2];                   /* fingerprints by role */
    const fc_weight *reward;             /* the alignment model's own head, or NULL */
    const fc_adapter_entry *adapters[2]; /* [n_adapters] by role: the table of its model */
    int n_adapters[2];
    fc_dtype kv_type[2];
    const fc_score_cache *scores; /* NULL: none */
    const char *backend, *cpu;    /* names, for its keys */
    bool imprecise;               /* as the engine's models have it, for them too */
    int max_branches;
    fc_status (*fits)(const void *arg,
                      const fc_job *j); /* asked before anything of the answer's size is taken; or NULL */
    const void *fits_arg;
} fc_job_rules;

/* Checks and copies r. Errors name the field and the number. Caller closes. */
fc_status fc_job_open(const fc_job_rules *rules, const fc_request *r, fc_job **out);
void fc_job_close(fc_job *j); /* NULL is fine */

/* job_room.c */
fc_status fc_job_check_lengths(const fc_job *j, const fc_job_rules *rules); /* of prompts and candidates */
/* Of a job that draws: with fit_max_tokens the most tokens for which there is room; then what there is none for is
 * refused, but for pages. */
fc_status fc_job_fit(fc_job *j, const fc_job_rules *rules, const fc_request *r);

/* searching.c: a draw that is not i.i.d.; after the job's names and sampling are there. */
fc_status fc_searching_open(fc_job *j, const fc_request *r);

/* Ids after which a log-likelihood is looked at while it is scored: hopeless:B. 0: at its end. */
int fc_job_piece(const fc_job *j);

bool fc_job_is_end(const fc_job *j, int32_t id);
/* What ended a finished candidate: a stop string's place, an end token; -1. */
int fc_path_stop(const fc_job *j, const fc_path *p);
int32_t fc_path_end_id(const fc_path *p);
/* First error wins; the sentence is this thread's last one. */
void fc_job_fail(fc_job *j, fc_status st);
/* Fails with FC_ERR_FORMAT because of the numbers that model m gave in that role, unless the answer is there already.
 * why is quoted behind the model's path. */
void fc_job_blame(fc_job *j, fc_role role, const fc_model *m, const char *why);

static inline bool fc_job_is_loglik(const fc_job *j) {
    return j->mode == FC_SCORE_LOGLIK_MEAN || j->mode == FC_SCORE_LOGLIK_SUM;
}
/* The next wave: candidates n .. n + wave - 1, n_max at most, stand idle as groups that have drawn nothing, for
 * fc_drawing_begin. Nothing is allocated. */
void fc_job_next_wave(fc_job *j);
double fc_job_logprob(const fc_path *p); /* sum over drawn ids; NAN when given */
/* Rows behind the alignment prompt: the last id of a log-likelihood predicts nothing, so it is not fed. */
int fc_job_tail_rows(const fc_job *j, const fc_path *p);

/* Pieces or ids to ids in *ids (fc_grow's memory, freed by the caller). add_bos: the tokenizer's rule, once. what names
 * the field in errors. */
fc_status fc_prompt_encode(const fc_tok *tok, int V, const fc_prompt *p, bool add_bos, const char *what, int32_t **ids,
                           size_t *n);
/* Cuts ids [n], which the same arguments gave, to the last k >= 1; an added BOS stays in front. Returns how many are
 * left. */
size_t fc_prompt_truncate(const fc_tok *tok, const fc_prompt *p, bool add_bos, size_t k, int32_t *ids, size_t n);
/* The text that names are tokenised behind, put behind *out: the last characters of a template, or, where data ends the
 * prompt, its last one: so that requests of one template share a trie. */
fc_status fc_prompt_last(const fc_tok *tok, const fc_prompt *p, fc_str *out);
/* FC_ERR_ARG: a piece has a byte that the vocabulary has no token for. */
fc_status fc_prompt_check(const fc_tok *tok, const fc_prompt *p, const char *what);

#endif
