/* job - one request inside the engine: what was asked, checked and copied; and what has been drawn and scored so far.
 *
 *   job_open (caller's thread) -> waiting -> admitted -> [drawing] -> [scoring] -> ended -> job_close (with its event)
 *
 * Paths: candidate i has path i, but only the path of a branch's first member is alive: members of a coalesced branch
 * share it. members[i] links a branch's members in rising order.
 */
#ifndef FC_ENGINE_JOB_H
#define FC_ENGINE_JOB_H

#include "engine/base/mem.h"
#include "engine/forkcast.h"
#include "engine/lane.h"
#include "tokenizer/tokenizer.h"

enum { FC_MAX_CANDIDATES = 4096, FC_MAX_LABELS = 64 };

/* What one distinct candidate has drawn, or was given. Arrays have room for max_tokens. */
typedef struct {
    int32_t *ids;    /* drawn, end token included */
    float *logprobs; /* per drawn id; NULL when given */
    int32_t *top_ids;
    float *top_logprobs; /* [max_tokens, top_n], or NULL */
    int n;               /* ids so far */
    int n_text;          /* ids without the end token; set when finished */
    fc_finish finish;    /* NONE while drawing */
    int votes;           /* members, set when finished */

    /* only with stop strings or events */
    fc_tok_stream stream;
    fc_str text;    /* whole UTF-8 so far; the final text once finished */
    size_t emitted; /* bytes of text already sent */

    /* scoring */
    const int32_t *score_ids; /* the candidate in the alignment tokenizer */
    int n_score_ids;
    int n_score_done;         /* ids whose log-probability is in sum */
    double sum, score;        /* log-likelihood so far; final score */
} fc_path;

typedef struct {
    uint64_t submit_ns, admit_ns, first_draw_ns, last_draw_ns, score_begin_ns, end_ns;
    double host_ms;
} fc_job_clock;

typedef struct fc_job {
    struct fc_job *next; /* in the queue it stands in */
    uint64_t id;
    fc_arena arena; /* everything below that is a pointer */
    int n, keep, max_tokens;
    uint64_t seed;
    bool score, events, cancelled, failed;
    fc_score_mode mode;
    fc_sampling sampling; /* pointers into the arena */
    size_t *stop_sizes, longest_stop;
    int32_t *ends; /* ids that end a candidate */
    int n_ends;
    int32_t *prompt, *align, *suffix, labels[FC_MAX_LABELS];
    int n_prompt, n_align, n_suffix, n_labels;
    int32_t *prompt_seen; /* distinct prompt ids, rising; for penalties */
    int n_prompt_seen;
    char **names;
    size_t n_names, *name_sizes;

    fc_path *paths; /* [n] */
    int *members;   /* [n] next member of the branch, -1 at the end */
    int n_open;     /* branches still drawing */
    int n_finished, n_scored; /* distinct candidates */
    int *finished;            /* [n] path indices, in the order they finished */
    int next_tail;            /* into finished: not yet begun to be scored */

    int slot;        /* of the alignment lane's `last`; -1 before admission */
    int align_table; /* KV table of the alignment prompt; -1 when not there */
    bool align_ready;
    int tail_pages, tail_pages_used; /* pages promised to tails being scored, and taken */
    int tail_tables, tail_tables_used;
    int reserved_pages[2], reserved_tables[2]; /* by role */
    int pages[2];                              /* taken now, by role */

    fc_accounting rows;
    fc_job_clock clock;
    fc_status status; /* of a failed job, with its sentence */
    char error[1024];
} fc_job;

/* What job_open needs to know of the engine. */
typedef struct {
    const fc_tok *tok[2];            /* by role; alignment NULL without one */
    const fc_model_config *cfg[2];   /* by role */
    int ctx[2];
    bool same_tokenizer, reward_head;
    int max_branches;
    fc_status (*fits)(const void *arg, const fc_job *j); /* asked before anything of the answer's size is taken; or NULL */
    const void *fits_arg;
} fc_job_rules;

/* Checks and copies r. Errors name the field and the number. Caller closes. */
fc_status fc_job_open(const fc_job_rules *rules, const fc_request *r, fc_job **out);
void fc_job_close(fc_job *j); /* NULL is fine */

bool fc_job_is_end(const fc_job *j, int32_t id);
/* First error wins; the sentence is this thread's last one. */
void fc_job_fail(fc_job *j, fc_status st);

static inline bool fc_job_is_loglik(const fc_job *j) {
    return j->mode == FC_SCORE_LOGLIK_MEAN || j->mode == FC_SCORE_LOGLIK_SUM;
}
/* Rows behind the alignment prompt: the last id of a log-likelihood predicts nothing, so it is not fed. */
int fc_job_tail_rows(const fc_job *j, const fc_path *p);

/* Pieces or ids to ids in *ids (fc_grow's memory, freed by the caller). add_bos: the tokenizer's rule, once. what names
 * the field in errors. */
fc_status fc_prompt_encode(const fc_tok *tok, int V, const fc_prompt *p, bool add_bos, const char *what, int32_t **ids,
                           size_t *n);

#endif
