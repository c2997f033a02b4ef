/* forkcast - best-of-n exploration: a novelty model samples n candidates for one prompt, an alignment model scores each
 * distinct one, the best k come back with every score and a confidence record.
 *
 * This is the whole public interface of libforkcast.so (C99).
 *
 * Threads: one engine thread owns models, KV memory, random streams and plans. Every function here may be called
 * from any thread; submit and cancel go through one bounded queue. fc_poll may be called by one thread at a time. Every
 * call on an engine must have returned before fc_engine_close is called. A recipe belongs to one thread at a time; an
 * open tokenizer may be shared.
 * Errors: fc_status, 0 = OK; fc_last_error() is the calling thread's sentence. Out-parameters are written on FC_OK
 * only. Options: a zeroed struct means every default.
 * Reproducibility: candidate i of (model, prompt, seed) is the same tokens for every n, batch, thread count and page
 * size.
 */
#ifndef FORKCAST_H
#define FORKCAST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define FC_API __attribute__((visibility("default")))
#else
#define FC_API
#endif

#define FC_VERSION "0.1.0"

#ifndef FC_STATUS_DEFINED
#define FC_STATUS_DEFINED
typedef enum {
    FC_OK = 0,
    FC_ERR_ARG,         /* the caller's argument or request is wrong          */
    FC_ERR_FORMAT,      /* a file or text does not follow its format          */
    FC_ERR_IO,          /* the operating system refused                       */
    FC_ERR_MEM,         /* host or device memory is not to be had             */
    FC_ERR_FULL,        /* a bounded resource is used up; may succeed later   */
    FC_ERR_UNSUPPORTED, /* understood, but this build or model cannot do it   */
    FC_ERR_CANCELLED,   /* the request was cancelled                          */
    FC_ERR_TIMEOUT,     /* nothing arrived in the time given                  */
    FC_ERR_INTERNAL     /* our own bug, reported instead of a crash           */
} fc_status;
#endif

FC_API const char *fc_version(void);
FC_API const char *fc_last_error(void);            /* this thread's last sentence, "" if none */
FC_API const char *fc_status_string(fc_status st); /* "FC_ERR_ARG" */

/* ---- engine ---------------------------------------------------------------------------------------------- */

typedef struct fc_engine fc_engine;

typedef enum { FC_NOVELTY = 0, FC_ALIGNMENT = 1 } fc_role;

/* A PEFT folder (LoRA, aLoRA, reward head) on one of the models. When both roles are one model, so is the adapter's. */
typedef struct {
    const char *name, *path;
    fc_role model; /* whose base it stands on */
} fc_adapter_option;

typedef struct {
    const char *novelty;               /* model: a GGUF file, a safetensors file or a folder. Required */
    const char *alignment;             /* NULL: no scoring; the same path as novelty: loaded once */
    const char *kv_type;               /* "f32", "bf16", "int8", "fp8"; NULL: f32 for f32 models, else bf16 */
    const char *cpu;                   /* "auto", "amx", "avx512", "avxvnni", "avx2", "portable" */
    const char *backend;               /* "auto", "cpu", "cuda" */
    const char *gpus;                  /* of cuda: "0,1" for both models, "novelty=0 alignment=1"; NULL: GPU 0 */
    int threads;                       /* 0: all cores */
    int ctx;                           /* positions a request may use; 0: the model's own, at most 8192 */
    int page_slots;                    /* token slots a KV page: 8, 16, 32, 64; 0: 16 */
    int max_rows;                      /* rows of one batch; 0: 512, on a GPU 1024 */
    int max_branches;                  /* KV timelines at once, over all requests; 0: 1024 */
    int max_requests;                  /* queue bound: waiting and running; 0: 256 */
    const fc_adapter_option *adapters; /* [n_adapters] loaded at open; requests name them */
    size_t n_adapters;
    int score_rows;       /* a scoring pass of its own model starts at so many waiting rows; 0: measured at open */
    uint32_t off;         /* fc_off bits: what is not shared, so that its gain can be measured. 0: all is on */
    uint64_t score_cache; /* bytes of memory for scores of earlier requests; 0: 16 MiB */
    const char *score_cache_file; /* SQLite: scores on disk too, for all engines; made if missing. NULL: memory alone */
    uint64_t kv_pool; /* bytes of KV memory a model; 0: room for 2 x ctx, at least 256 MiB, at most a quarter of RAM */
    bool batch_variant;  /* bits may depend on what else is in the batch: CUDA may ask cuBLASLt. The CPU's never do */
    const char *precise; /* "false": fewer numbers in products have 16 bits, on CUDA bf16; "true"; "auto": on a CPU */
    bool kv_touch;       /* all KV memory of a CPU is written at open, not when it is first used */
    bool pin_threads;    /* thread i stays on the i-th core that the process may use; more than cores: an error */
} fc_engine_options;

/* What can be turned off; answers are the same bits with and without. */
typedef enum {
    FC_OFF_FORK = 1 << 0,         /* prompts computed and stored once a candidate, in both models; none is coalesced */
    FC_OFF_GROUPS = 1 << 1,       /* attention reads every branch's pages alone */
    FC_OFF_COALESCE = 1 << 2,     /* candidates that have drawn the same ids are rows of their own */
    FC_OFF_SCORE_TREE = 1 << 3,   /* every candidate is scored alone behind an alignment prompt of its own */
    FC_OFF_OVERLAP = 1 << 4,      /* scoring waits until all candidates of the request are drawn */
    FC_OFF_PREFIX_CACHE = 1 << 5, /* nothing is kept from one request to the next */
    FC_OFF_FORCED = 1 << 6,       /* names that can go on in one way only are drawn token by token */
    FC_OFF_RESTRICTED_HEAD = 1 << 7, /* the whole vocabulary's logits are computed, and the allowed ones picked */
    FC_OFF_SHARED_TRUNK = 1 << 8,    /* one file in both roles is loaded twice */
    FC_OFF_SCORE_CACHE = 1 << 9,     /* every candidate is scored, whether or not an earlier request scored the same */
    FC_OFF_ALL = (1 << 10) - 1
} fc_off;
FC_API fc_status fc_off_parse(const char *list, uint32_t *out); /* "fork,groups", "all"; an unknown name is named */
FC_API const char *fc_off_name(fc_off bit);                     /* "fork"; NULL for no such bit */

FC_API fc_status fc_engine_open(const fc_engine_options *o, fc_engine **out);
FC_API void fc_engine_close(fc_engine *e); /* cancels what runs, when no other call is under way; NULL is fine */

typedef struct {
    char name[128], arch[32], path[512];
    int vocab, layers, ctx;
    uint64_t weight_bytes;  /* held in memory, packed; 0 for a model that is the other one */
    uint64_t kv_page_bytes; /* one page, all layers */
    int kv_pages, page_slots;
    char kv_type[8];
    bool reward_head;
} fc_model_info;

typedef struct {
    bool has_alignment, same_tokenizer, shared_model;
    fc_model_info novelty, alignment;
    char backend[16], cpu[48];
    int threads;
    double load_ms;
} fc_engine_info;

FC_API void fc_engine_describe(const fc_engine *e, fc_engine_info *out);
/* Pages in use right now, both models: 0 when nothing runs. */
FC_API int fc_engine_pages_used(const fc_engine *e);

/* What runs now, and what was done since it was opened. */
typedef struct {
    bool lost; /* the device computes no more: all requests fail until an engine is opened anew */
    int running, waiting, pages_used, pages; /* requests; KV pages of both models, without the prefix cache's own */
    int64_t steps, batches, preemptions;
    int64_t rows_prefill, rows_decode, rows_score, rows_replayed; /* computed, of requests that were cancelled too */
    int64_t prefix_asked, prefix_hit;            /* tokens of prompts that began, and those found in the prefix cache */
    int64_t batch_rows, batches_of[14];          /* batches of up to 1, 8, 16, 32, ... 16384 rows, and more */
    uint64_t adapters_running, adapters_waiting; /* bit i: the novelty model's adapter i, in order, acts in some */
    double bytes, flops; /* what passes and heads had to move and compute at least, by the costs of kernels/ */
} fc_engine_counts;

/* As of the engine's last step; each number is whole, taken one after the other. Waits for nobody. */
FC_API void fc_engine_count(const fc_engine *e, fc_engine_counts *out);

/* ---- taxonomy -------------------------------------------------------------------------------------------- */

/* A closed set of names. keywords ("a, b") and parents (ids of other entries, or groups) are read by `diversity`
 * alone. */
typedef struct {
    const char *id;              /* what requests call it; NULL is "" */
    const char *const *names;    /* [n] different, not empty */
    const char *const *keywords; /* [n] or NULL; an entry may be NULL */
    const char *const *parents;  /* [n] or NULL; an entry may be NULL */
    size_t n;
} fc_taxonomy_names;

/* Registers the set under its id, or replaces it: requests that are under way keep the old one. Everything is
 * copied. */
FC_API fc_status fc_engine_set_taxonomy(fc_engine *e, const fc_taxonomy_names *t);
FC_API void fc_engine_drop_taxonomy(fc_engine *e, const char *id); /* an unknown id is fine */

/* ---- request --------------------------------------------------------------------------------------------- */

/* Of one request: candidates, labels, bad words and bytes of one, logprob_token_ids. */
enum {
    FC_N_MAX = 4096,
    FC_LABELS_MAX = 64,
    FC_BAD_WORDS_MAX = 1024,
    FC_BAD_WORD_BYTES = 1024,
    FC_LOGPROB_IDS_MAX = 128
};

/* A prompt is pieces in a row. In a piece with special = true the names of special tokens become those tokens:
 * templates by the operator. Everything else is data and never does. */
typedef struct {
    const char *text; /* [size] */
    size_t size;
    bool special;
} fc_piece;

/* Either pieces, or ids (ids != NULL) used as they are. BOS is put in front of pieces as the tokenizer's rule says,
 * unless the first piece already begins with it. */
typedef struct {
    const fc_piece *pieces; /* [n_pieces] */
    size_t n_pieces;
    const int32_t *ids; /* [n_ids] */
    size_t n_ids;
} fc_prompt;

typedef struct {
    float temperature;                         /* 0: greedy */
    int top_k;                                 /* 0: off */
    float top_p;                               /* 1: off */
    float min_p;                               /* 0: off */
    float typical_p;                           /* 1: off */
    float repetition_penalty;                  /* 1: off; prompt and output */
    float presence_penalty, frequency_penalty; /* 0: off; output only */
    const int32_t *bias_ids;                   /* [n_bias] logit bias; -INFINITY forbids an id */
    const float *bias_values;                  /* [n_bias] */
    size_t n_bias;
    const int32_t *stop_ids; /* [n_stop_ids] end a candidate, besides the model's own end tokens */
    size_t n_stop_ids;
    const char *const *stop; /* [n_stop] stop strings, cut off the text */
    size_t n_stop;
    int min_tokens, max_tokens;
    bool ignore_eos;            /* the model's end tokens are drawn as any other and do not end a candidate */
    int top_logprobs;           /* 0..128 alternatives a token in the result */
    const int32_t *allowed_ids; /* [n_allowed] allowed_token_ids: no other id is drawn, no end token either unless it is
                                   listed; n_allowed 0: off. Under constraint mask an id must be listed and go on to a
                                   name; where none does, the request ends in FC_ERR_ARG, which says so */
    size_t n_allowed;
    /* [n_bad_words] texts, at most 1024: no candidate has the ids of one, by itself or behind a blank, in a row; blanks
     * in front of a word are left out, the prompt is not read. Under constraint mask a name that begins as others do
     * may have one further on: who has drawn that far, which the seed decides, ends the request in FC_ERR_ARG */
    const char *const *bad_words;
    size_t n_bad_words;
    /* [n_logprob_ids] logprob_token_ids: at each step, log-probs of these too; at most 128 */
    const int32_t *logprob_ids;
    size_t n_logprob_ids;
    bool include_stop; /* include_stop_str_in_output: a candidate's text ends with the stop string or end token that
                          ended it; tokens, names and scores are as without */
    bool skip_special; /* skip_special_tokens; false: special tokens stand in the text, wherever it is read: by stop
                          strings, names, and an alignment model of another tokenizer. An end token only with
                          include_stop */
} fc_sampling;

/* temperature 1, no filters, no penalties, max_tokens 16, special tokens skipped: the values that flags and recipes
 * start from. */
FC_API void fc_sampling_init(fc_sampling *s);

/* What candidates may be. MASK: each step draws among the ids that go on to a name, and every candidate is a name.
 * REJECT: drawn freely, and again up to reject_budget times while it is no name. OFF: names only mark `valid`. */
typedef enum { FC_CONSTRAINT_OFF = 0, FC_CONSTRAINT_MASK, FC_CONSTRAINT_REJECT } fc_constraint;
FC_API const char *fc_constraint_name(fc_constraint c);
FC_API fc_status fc_constraint_parse(const char *name, fc_constraint *out);

/* How candidates are drawn. IID: each on its own, repeats and all. The others give up to n different names of a
 * taxonomy, in their order, and need constraint mask: SBS without replacement (stochastic beam search, Gumbel-top-k),
 * BEAM the baseline, TOPK the n most probable, exactly, by best-first search, EXACT the same from the whole
 * distribution. */
typedef enum { FC_DRAW_IID = 0, FC_DRAW_SBS, FC_DRAW_BEAM, FC_DRAW_TOPK, FC_DRAW_EXACT } fc_draw_mode;
FC_API const char *fc_draw_name(fc_draw_mode d);
FC_API fc_status fc_draw_parse(const char *name, fc_draw_mode *out);

/* What no two of the kept may share: the parent id, or any keyword, of the names that they are. The best stays; fewer
 * than `keep` may then be kept. What is no name of the taxonomy, or has no parent or keyword there, shares nothing. */
typedef enum { FC_DIVERSITY_OFF = 0, FC_DIVERSITY_PARENT, FC_DIVERSITY_KEYWORDS } fc_diversity;
FC_API const char *fc_diversity_name(fc_diversity d);
FC_API fc_status fc_diversity_parse(const char *name, fc_diversity *out);

typedef enum { FC_SCORE_LOGLIK_MEAN = 0, FC_SCORE_LOGLIK_SUM, FC_SCORE_REWARD, FC_SCORE_JUDGE } fc_score_mode;
FC_API const char *fc_score_mode_name(fc_score_mode m);
FC_API fc_status fc_score_mode_parse(const char *name, fc_score_mode *out);

/* A candidate that is given instead of drawn: text, or ids. */
typedef struct {
    const char *text; /* [size] */
    size_t size;
    const int32_t *ids; /* [n_ids]; NULL: the text */
    size_t n_ids;
} fc_given;

typedef struct {
    fc_prompt prompt;           /* the novelty model's */
    fc_prompt alignment_prompt; /* empty: the same as prompt */
    fc_prompt suffix;           /* alignment ids after the candidate; BOS is never added */
    bool no_bos;                /* add_special_tokens false: BOS is put in front of neither prompt */
    /* k: of each of the two prompts the last k ids are used; a BOS that the tokenizer's rule put in front stays, as one
     * of the k. -1: what the context leaves beside max_tokens (and the suffix); not with given candidates. 0: off */
    int truncate_prompt_tokens;
    const char *const *labels; /* [n_labels] judge: texts of one token; score = P(labels[0]) among them; Yes, No */
    size_t n_labels;
    fc_score_mode mode;
    bool score;             /* false: alignment none, ranking by log-prob */
    int n, keep;            /* 1 <= n <= 4096; keep 0: all */
    float blend;            /* 0..1: ranking by (1-blend)*score + blend*logprob, a plain sum of the two as they are;
                                   candidates without a score rank last. Needs score, and drawn candidates */
    fc_diversity diversity; /* needs a taxonomy that has the column */
    /* When enough is drawn. Rules look at candidates in candidate order, so that the answer does not depend on who
     * finishes first; it covers candidates 0..n_used-1, as if no other had been asked for. stop_when, NULL or any of
     * "stable:R,margin:X,hopeless:B": ends when R candidates in a row changed nothing about who is kept; when the best
     * is X above the second by what ranks them; ends nothing: every B ids of a log-likelihood, a candidate that can
     * neither be kept nor come second is given up. Not with diversity keywords */
    const char *stop_when;
    int n_max;            /* while no rule holds, more are drawn, n at a time, up to here; 0: n */
    int64_t token_budget; /* ends before the candidate with which more ids than this would have been drawn, end
                                   tokens and redraws included; 0: none. At least what one candidate may take */
    int deadline_ms;      /* from submit: the answer covers the candidates that are complete, up to the first
                                   that is not; FC_ERR_TIMEOUT when that is none. 0: none */
    int priority;         /* lower runs first; equal ones in order of arrival */
    uint64_t seed;
    fc_sampling sampling;
    bool fit_max_tokens;      /* max_tokens is the most: fewer where contexts and pools hold no more, but min_tokens */
    bool prompt_logprobs;     /* log-probs of the novelty prompt's ids too: it is read whole, not from the prefix cache.
                                 With max_tokens 0 that is all: n 1, without score, constraint and draw; the answer
                                 has one candidate, that has no tokens */
    int prompt_top_logprobs;  /* 0..128 alternatives of each */
    const char *end;          /* text of exactly one token that ends a candidate; NULL: the model's first EOS */
    const char *taxonomy;     /* id of a registered set of names, or NULL */
    const char *const *names; /* [n_names] the same for this request alone, without an id */
    size_t n_names;
    fc_constraint constraint;
    fc_draw_mode draw;
    int reject_budget; /* redraws of one candidate, 0..1000; the last attempt stays, name or not */
    bool full_logprob; /* mask alone: also log-probs under the whole vocabulary, and valid_mass */
    const char *novelty_adapter, *alignment_adapter; /* names of loaded adapters, or NULL */
    const char *cache_salt, *api_key; /* cached pages and scores are shared only where both are equal; NULL: none */
    const fc_given *given;            /* [n_given] score these instead of drawing: n, seed and sampling are not used */
    size_t n_given;
    bool events; /* also send token, candidate and score events; done always comes */
} fc_request;

FC_API void fc_request_init(fc_request *r); /* n 1, mode loglik-mean, sampling as above */

/* Copies all it needs. FC_ERR_FULL: the queue is at its bound. FC_ERR_ARG: the request can never run; the sentence says
 * which field and number. */
FC_API fc_status fc_submit(fc_engine *e, const fc_request *r, uint64_t *id);
/* Its done event carries FC_ERR_CANCELLED. An unknown or ended id is FC_OK: the race is the caller's right. */
FC_API fc_status fc_cancel(fc_engine *e, uint64_t id);
/* Returns when every accepted request has ended; submit fails with FC_ERR_FULL from now on. */
FC_API fc_status fc_drain(fc_engine *e);

/* ---- answer ---------------------------------------------------------------------------------------------- */

typedef enum { FC_FINISH_NONE = 0, FC_FINISH_STOP, FC_FINISH_LENGTH, FC_FINISH_GIVEN } fc_finish;
FC_API const char *fc_finish_name(fc_finish f); /* "stop", "length", "given" */

typedef struct {
    int rank;         /* from 1 among the kept; 0: not kept */
    int index;        /* the first candidate that drew it */
    const char *text; /* [text_size], NUL behind; stop strings and end tokens left out, unless include_stop */
    size_t text_size;
    const int32_t *tokens; /* [n_tokens] ids drawn, without the end token */
    size_t n_tokens;
    double score;        /* NAN when not scored */
    bool hopeless;       /* given up while it was scored, by stop_when */
    double logprob;      /* sum over drawn ids, end token included if drawn; model's own distribution, under the mask
                            where one is set; NAN when given */
    double gumbel;       /* draw sbs: perturbed log-prob, by which they are ordered; else NAN */
    double weight;       /* draw sbs: p / inclusion probability, for unbiased estimates; exact: p; else NAN */
    double full_logprob; /* the same under the whole vocabulary; NAN unless asked */
    int votes;           /* of the n_used candidates, how many drew it */
    int valid;           /* 1, 0; -1 without names */
    fc_finish finish;
    int stop;                  /* of the request's stop strings, the one that ended it; -1: none did */
    int32_t end_id;            /* the end token that ended it, which is not among tokens; -1: none did */
    const float *logprobs;     /* [n_logprobs] per drawn id */
    size_t n_logprobs;         /* n_tokens, + 1 when an end token was drawn; 0 when given */
    const int32_t *top_ids;    /* [n_logprobs, top_n] */
    const float *top_logprobs; /* [n_logprobs, top_n] */
    int top_n;
    const int32_t *ids;       /* [n_ids] logprob_token_ids */
    const float *id_logprobs; /* [n_logprobs, n_ids] of these; whole vocabulary, as top_* */
    int n_ids;
} fc_candidate;

typedef struct {
    double logprob;    /* of the best candidate */
    double entropy;    /* nats, of the votes over distinct candidates */
    double vote_share; /* of the best */
    int distinct;
    double margin;     /* best minus second by what ranks them, score or blend; NAN with fewer than two scored */
    double valid_mass; /* mask, with full_logprob: mean over the candidates of the product over steps of the whole
                          vocabulary's probability of the allowed ids; reject: share of valid first attempts; else
                          NAN */
    int n_used;        /* candidates that the answer covers: n, or where drawing ended */
} fc_confidence;

typedef struct {
    int64_t rows_prefill, rows_decode, rows_score, rows_reused;
    int64_t scores_cached; /* distinct candidates whose score was that of an earlier request: no row was computed */
    int64_t redraws;       /* candidates drawn again by constraint reject */
    int64_t rows_replayed; /* computed again after a preemption, for redraws, or by a search that cannot hold all its
                              names' nodes; in none of the others */
    int64_t rows_flat_prefill, rows_flat_decode, rows_flat_score; /* what n_used separate runs compute */
    int64_t kv_bytes;                                             /* peak of this request, both models */
} fc_accounting;

typedef struct {
    double load, queue, prefill, decode, score, host, total;
} fc_timings_ms;

typedef struct {
    int n, n_kept, n_all;     /* asked for; kept; covered: n_used */
    const fc_candidate *kept; /* [n_kept] distinct, in rank order */
    const fc_candidate *all;  /* [n_all] by index, duplicates included */
    fc_confidence confidence;
    fc_accounting accounting;
    fc_timings_ms timings;
    bool scored;
    size_t prompt_tokens, prompt_cached; /* of prompt_ids; of them, computed for an earlier request */
    const int32_t *prompt_ids; /* [prompt_tokens] of the novelty prompt as it was fed; given: of the alignment prompt */
    const float
        *prompt_logprobs; /* [prompt_tokens] of each id behind those before it; NAN: the first, and what deadline_ms
                                     left out; NULL unless asked */
    const int32_t *prompt_top_ids;    /* [prompt_tokens, prompt_top_n] -1 where the log-prob is NAN */
    const float *prompt_top_logprobs; /* [prompt_tokens, prompt_top_n] */
    int prompt_top_n;
} fc_result;

typedef enum { FC_EVENT_TOKEN = 1, FC_EVENT_CANDIDATE, FC_EVENT_SCORE, FC_EVENT_DONE } fc_event_type;

typedef struct {
    fc_event_type type;
    uint64_t id;      /* request */
    int candidate;    /* TOKEN, CANDIDATE, SCORE: index */
    int32_t token;    /* TOKEN */
    float logprob;    /* TOKEN */
    const char *text; /* [text_size] TOKEN: whole UTF-8 that became certain, may be empty (an end token's own text never
                          comes); CANDIDATE: whole text, also what the tokens' texts left open at the end */
    size_t text_size;
    const int32_t *top_ids;    /* TOKEN: [top_n] alternatives, as of an fc_candidate */
    const float *top_logprobs; /* [top_n] */
    const float *id_logprobs;  /* TOKEN: [n_ids] of logprob_token_ids */
    int top_n, n_ids;
    fc_finish finish;        /* CANDIDATE */
    int stop;                /* CANDIDATE: as of an fc_candidate */
    int32_t end_id;          /* CANDIDATE: likewise */
    double score;            /* SCORE */
    fc_status status;        /* DONE */
    const char *error;       /* DONE: the sentence, "" when OK */
    const fc_result *result; /* DONE and OK */
    void *memory;            /* freed by fc_event_fini */
} fc_event;

/* The next event, in order per request. timeout_ms: -1 waits, 0 does not. FC_ERR_TIMEOUT when none came. */
FC_API fc_status fc_poll(fc_engine *e, int timeout_ms, fc_event *out);
/* For a loop that waits elsewhere: wake(arg) is called when an event waits and none did before, also at once, until
 * there is another one, or NULL. The loop polls then, with timeout 0, until FC_ERR_TIMEOUT; wake calls nothing here. */
FC_API void fc_engine_notify(fc_engine *e, void (*wake)(void *arg), void *arg);
FC_API void fc_event_fini(fc_event *ev); /* frees what the event points to; zeroed is fine */

/* ---- options --------------------------------------------------------------------------------------------- */

/* One table names what can be set, once: as a flag (with - for _), a key of a recipe, a field of HTTP's `forkcast`
 * object and a setting of a job's table. Help and documentation are made from it. */

typedef enum {
    FC_SCOPE_ENGINE = 0,
    FC_SCOPE_REQUEST,
    FC_SCOPE_SAMPLING
} fc_option_scope; /* the struct it belongs to */

/* What it is about, in the order of the table. Which parts a request has depends on what it does: one completion has no
 * MANY, given candidates have no MANY, DRAW and SAMPLING, RANK is for drawn candidates with scores. */
typedef enum {
    FC_PART_MANY = 0, /* how many are drawn   */
    FC_PART_DRAW,     /* how one is drawn     */
    FC_PART_SAMPLING, /* how a token is drawn */
    FC_PART_SCORE,
    FC_PART_KEEP,
    FC_PART_RANK,
    FC_PART_JOB, /* any request          */
    FC_PART_ENGINE
} fc_option_part;

typedef enum {
    FC_OPTION_BOOL = 0, /* true, false */
    FC_OPTION_INT,      /* min..max, and one of choices where there are any */
    FC_OPTION_INT64,    /* 0 to 2^63-1 */
    FC_OPTION_UINT64,   /* 0 to 2^64-1 */
    FC_OPTION_FLOAT,    /* min..max */
    FC_OPTION_BYTES,    /* "512M", with K, M, G or T; or their number */
    FC_OPTION_CHOICE,   /* one of choices, an enum's values in their order */
    FC_OPTION_WORD,     /* one of choices, as text */
    FC_OPTION_WORDS,    /* some of choices, apart by commas */
    FC_OPTION_TEXT,     /* not empty */
    FC_OPTION_PATH,     /* the same; in a recipe a path, relative to the recipe's folder */
    FC_OPTION_TEXTS,    /* one a call */
    FC_OPTION_IDS,      /* token ids, apart by commas */
    FC_OPTION_BIASES    /* ID=VALUE, apart by commas; -inf forbids the id */
} fc_option_kind;

typedef struct {
    const char *name; /* "kv_pool" */
    const char *key;  /* in a recipe: "kv_pool", "sampling.top_k", "novelty.adapter" */
    const char *flag; /* where the flag is not the name: "stop-token-id", one id each; else NULL */
    fc_option_scope scope;
    fc_option_part part;
    fc_option_kind kind;
    double min, max;      /* INT, FLOAT */
    const char *choices;  /* "off|mask|reject", or NULL */
    const char *fallback; /* what counts when nothing is said, as text; NULL: nothing */
    const char *value;    /* what help calls the value; NULL: a BOOL, or choices say it */
    const char *help;     /* one line */
} fc_option;

FC_API size_t fc_option_count(void);
FC_API const fc_option *fc_option_at(size_t i);           /* i < count; static */
FC_API const fc_option *fc_option_find(const char *name); /* NULL: there is none */
/* The choices as "a, b or c", into out [size]. */
FC_API const char *fc_option_choices(const fc_option *o, char *out, size_t size);
FC_API const char *fc_option_kind_name(fc_option_kind k);   /* "int" */
FC_API const char *fc_option_scope_name(fc_option_scope s); /* "engine" */
FC_API const char *fc_option_part_name(fc_option_part p);   /* "draw" */

/* Where values go. Zeroed, with the structs set; texts and lists are copied and belong to it. */
typedef struct {
    fc_engine_options *engine; /* NULL: options of the engine are refused by name */
    fc_request *request;       /* NULL: options of a request and of sampling likewise */
    const char *said;          /* what sentences call the option; NULL: its name */
    void *memory;
} fc_option_target;

/* FC_ERR_ARG names the option, the value and what is possible; nothing is set then. What is a list (TEXTS, IDS, BIASES,
 * WORDS) replaces what was there before the target, and adds to what the target has set. */
FC_API fc_status fc_option_set_text(fc_option_target *t, const char *name, const char *text);
/* The same from a value of engine/base/json.h, whose document and path then name it (FC_ERR_FORMAT); a list replaces.
 * For the programs of this tree. */
struct fc_json;
FC_API fc_status fc_option_set_json(fc_option_target *t, const char *name, const struct fc_json *value);
FC_API void fc_option_target_fini(fc_option_target *t); /* what was set is gone */

/* ---- recipe ---------------------------------------------------------------------------------------------- */

/* One JSON file that says what a best-of-n job is; examples/recipes/README.md has every key. */
typedef struct fc_recipe fc_recipe;

FC_API fc_status fc_recipe_open(const char *path, fc_recipe **out);
FC_API fc_status fc_recipe_parse(const char *name, const char *text, size_t size, fc_recipe **out);
/* "interests": the built-in copy of examples/recipes/interests-loglik.json, taxonomy included. */
FC_API fc_status fc_recipe_builtin(const char *name, fc_recipe **out);
FC_API void fc_recipe_close(fc_recipe *r); /* NULL is fine */

/* Reads a taxonomy (TSV: id, name, keywords, optional parent id) into the recipe, in place of its own. */
FC_API fc_status fc_recipe_set_taxonomy(fc_recipe *r, const char *path);
/* The number of names, 0 without a taxonomy. *names [the number] is the recipe's until set_taxonomy or close. */
FC_API size_t fc_recipe_names(const fc_recipe *r, const char *const **names);
/* The same with keywords and parents, for fc_engine_set_taxonomy under an id that the caller puts in. */
FC_API size_t fc_recipe_taxonomy(const fc_recipe *r, fc_taxonomy_names *out);

/* What the recipe says, for flags to override before a request is made. Strings are owned by the recipe. */
typedef struct {
    const char *novelty_model, *alignment_model; /* NULL: not said; alignment "none": no scoring */
    fc_engine_options engine;                    /* without models and adapters */
    fc_request request; /* without prompts, labels, names; its adapters are paths, to be loaded under these names */
} fc_recipe_info;
FC_API fc_recipe_info *fc_recipe_edit(fc_recipe *r);                 /* the recipe's own copy: changes count */
FC_API bool fc_recipe_gives(const fc_recipe *r, const char *option); /* "seed": its text says it; else a default is */

/* What fills the holes: {prompt}, {retrieved}, {history}, {keywords}, {history_1}, {keywords_1}, ... */
typedef struct {
    const char *prompt, *retrieved; /* NULL: not given; retrieved may be empty */
    const char *const *history;     /* [n_history] names of the taxonomy */
    size_t n_history;
} fc_holes;

/* Fills *r; everything it points to is owned by the recipe and lives until the next call or close. A hole without a
 * value, or a value without a hole, is an error that names it; so is a history name that the taxonomy lacks. */
FC_API fc_status fc_recipe_request(fc_recipe *r, const fc_holes *holes, fc_request *out);

/* ---- tokenizer ------------------------------------------------------------------------------------------- */

typedef struct fc_tokenizer fc_tokenizer;
FC_API fc_status fc_tokenizer_open(const char *model_path, fc_tokenizer **out); /* no weights are read */
FC_API void fc_tokenizer_close(fc_tokenizer *t);
/* *ids [*n] is freed with fc_memory_free. FC_ERR_ARG names the first byte that the vocabulary has no token for. */
FC_API fc_status fc_tokenizer_encode(const fc_tokenizer *t, const char *text, size_t size, bool add_special,
                                     bool parse_special, int32_t **ids, size_t *n);
/* ids [n]. *text [*size], NUL behind, freed with fc_memory_free. */
FC_API fc_status fc_tokenizer_decode(const fc_tokenizer *t, const int32_t *ids, size_t n, bool special, char **text,
                                     size_t *size);
FC_API int32_t fc_tokenizer_vocab(const fc_tokenizer *t);

typedef struct {
    const char *role, *content; /* system, user, assistant */
} fc_message;
/* The chat prompt as pieces for fc_prompt, by the model's own recognised template; messages [n]. *pieces [*n_pieces]
 * and their text are one allocation, freed with fc_memory_free. */
FC_API fc_status fc_tokenizer_chat(const fc_tokenizer *t, const fc_message *messages, size_t n,
                                   bool add_generation_prompt, fc_piece **pieces, size_t *n_pieces);
FC_API void fc_memory_free(void *p);

/* ---- machine --------------------------------------------------------------------------------------------- */

typedef struct {
    char cpu_name[128], cpu_level[16];
    int cores;
    uint64_t ram_bytes;
    double read_gbs_dram, read_gbs_cache;      /* GB/s, all threads; 0 when not measured */
    double gops_int8, gflops_bf16, gflops_f32; /* peak of the vector units, all threads */
    char backend[16];                          /* that auto would choose */
    char backend_why[256];
    int gpus;
    char gpu_names[8][96];
    uint64_t gpu_bytes[8];
} fc_machine;

/* measure: takes about a second; false leaves rates 0. */
FC_API fc_status fc_machine_inspect(bool measure, int threads, fc_machine *out);

#ifdef __cplusplus
}
#endif

#endif
