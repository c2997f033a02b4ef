#include "engine/options.h"

#include "engine/base/status.h"
#include "engine/stop.h"

#include <limits.h>
#include <string.h>

enum { CANDIDATES = FC_N_MAX, TOKENS = 1 << 24, ROWS = 1 << 16, TOPS = 128 };

static fc_status check_stop_when(const fc_option_value *v) {
    static const char prefix[] = "stop_when: "; /* whoever sets it says so himself */
    fc_stop_rules rules;
    fc_status st = fc_stop_parse(v->text, &rules);
    const char *text = fc_status_text();
    if (!st) return FC_OK;
    return FC_FAIL(st, "%s", text + (strncmp(text, prefix, sizeof prefix - 1) == 0 ? sizeof prefix - 1 : 0));
}

#define OPTION(STRUCT, field, SCOPE, PART, KIND)                                                                       \
    .at = offsetof(STRUCT, field), .o.scope = FC_SCOPE_##SCOPE, .o.part = FC_PART_##PART, .o.kind = FC_OPTION_##KIND
#define ENGINE(field, KIND) ENGINE_AS(#field, field, KIND)
#define ENGINE_AS(called, field, KIND)                                                                                 \
    .o.name = called, .o.key = called, OPTION(fc_engine_options, field, ENGINE, ENGINE, KIND)
#define REQUEST(field, PART, KIND) REQUEST_AS(#field, field, PART, KIND)
#define REQUEST_AS(in_recipe, field, PART, KIND)                                                                       \
    .o.name = #field, .o.key = in_recipe, OPTION(fc_request, field, REQUEST, PART, KIND)
#define SAMPLING(field, KIND) SAMPLING_AS(field, field, KIND)
#define SAMPLING_AS(called, field, KIND)                                                                               \
    .o.name = #called, .o.key = "sampling." #called, OPTION(fc_sampling, field, SAMPLING, SAMPLING, KIND)

/* In the order of help and documentation. fc_request_init and fc_sampling_init hold the same defaults (but n, keep and
 * seed, which are a recipe's), the enums the same choices in the same order: test_options.c holds them together. */
/* clang-format off */
static const fc_option_row rows[] = {
    {REQUEST(n, MANY, INT), .o.min = 1, .o.max = CANDIDATES, .o.fallback = "16", .o.value = "N",
     .o.help = "candidates to sample"},
    {REQUEST(n_max, MANY, INT), .o.max = CANDIDATES, .o.fallback = "0", .o.value = "N",
     .o.help = "while no rule of stop_when holds, n more are drawn, up to so many; 0: n, all in one wave"},
    {REQUEST(stop_when, MANY, TEXT), .check = check_stop_when, .o.value = "RULES",
     .o.help = "enough is drawn: any of stable:R (R candidates in a row changed nothing about who is kept), margin:X "
               "(the best is X above the second, even if fewer than keep are there), hopeless:B (every B tokens, who "
               "can "
               "no longer be kept is given up); apart by commas; spares what n_max has not begun by then"},
    {REQUEST(token_budget, MANY, INT64), .o.fallback = "0", .o.value = "N",
     .o.help = "end before the candidate with which more tokens would have been drawn; spares what n_max has not "
               "begun by then; 0: none"},
    {REQUEST(seed, DRAW, UINT64), .o.fallback = "1", .o.value = "S",
     .o.help = "candidate i of a seed is the same for every n"},
    {REQUEST(draw, DRAW, CHOICE), .o.choices = "iid|sbs|beam|topk|exact", .o.fallback = "iid",
     .o.help = "each on its own; or, with constraint mask, n different names: without replacement, by beam search, or "
               "the n most probable, by search or from the whole distribution"},
    {REQUEST(constraint, DRAW, CHOICE), .o.choices = "off|mask|reject", .o.fallback = "off",
     .o.help = "names of the taxonomy are only marked; nothing else can be drawn; what is none is drawn again"},
    {REQUEST(reject_budget, DRAW, INT), .o.max = 1000, .o.fallback = "4", .o.value = "N",
     .o.help = "constraint reject: redraws of one candidate; then the last one stays, marked as no name"},
    {REQUEST(full_logprob, DRAW, BOOL), .o.fallback = "false",
     .o.help = "constraint mask alone: also log-probs under the whole vocabulary, and valid_mass"},
    {REQUEST_AS("novelty.adapter", novelty_adapter, DRAW, PATH), .o.value = "ADAPTER",
     .o.help = "PEFT adapter (LoRA, aLoRA) of the novelty model: a folder, or a name given by "
               "--adapter"},
    {REQUEST_AS("novelty.end", end, DRAW, TEXT), .o.value = "TEXT",
     .o.help = "text of exactly one token that ends a candidate, besides the model's own"},

    {REQUEST(truncate_prompt_tokens, DRAW, INT), .o.min = -1, .o.max = TOKENS, .o.fallback = "0", .o.value = "K",
     .o.help = "the last K ids of each prompt are used; -1: what the context leaves beside max_tokens; 0: all"},
    {REQUEST(no_bos, DRAW, BOOL), .o.fallback = "false", .o.help = "BOS is put in front of neither prompt"},
    {REQUEST(prompt_logprobs, DRAW, BOOL), .o.fallback = "false",
     .o.help = "log-probs of the prompt's own ids, in the JSON; with max_tokens 0 that is all, for n 1 and no "
               "alignment model"},
    {REQUEST(prompt_top_logprobs, DRAW, INT), .o.max = TOPS, .o.fallback = "0", .o.value = "N",
     .o.help = "alternatives of each, too"},

    {SAMPLING(max_tokens, INT), .o.max = TOKENS, .o.fallback = "16", .o.value = "N",
     .o.help = "tokens of a candidate, as far as the context goes; 0 draws nothing, for prompt_logprobs"},
    {SAMPLING(min_tokens, INT), .o.max = TOKENS, .o.fallback = "0", .o.value = "N",
     .o.help = "no end before so many tokens"},
    {SAMPLING(temperature, FLOAT), .o.max = 100, .o.fallback = "1", .o.value = "T",
     .o.help = "0 is greedy"},
    {SAMPLING(top_k, INT), .o.max = INT_MAX, .o.fallback = "0", .o.value = "K",
     .o.help = "draw from the K most probable; 0 is off"},
    {SAMPLING(top_p, FLOAT), .o.min = 1e-9, .o.max = 1, .o.fallback = "1", .o.value = "P",
     .o.help = "draw from the most probable that reach mass P; 1 is off"},
    {SAMPLING(min_p, FLOAT), .o.max = 1, .o.fallback = "0", .o.value = "P",
     .o.help = "drop what is under P times the most probable; 0 is off"},
    {SAMPLING(typical_p, FLOAT), .o.min = 1e-9, .o.max = 1, .o.fallback = "1", .o.value = "P",
     .o.help = "draw from the most typical that reach mass P; 1 is off"},
    {SAMPLING(repetition_penalty, FLOAT), .o.min = 1e-3, .o.max = 1e3, .o.fallback = "1", .o.value = "R",
     .o.help = "over prompt and output; 1 is off"},
    {SAMPLING(presence_penalty, FLOAT), .o.min = -100, .o.max = 100, .o.fallback = "0", .o.value = "R",
     .o.help = "over the output; 0 is off"},
    {SAMPLING(frequency_penalty, FLOAT), .o.min = -100, .o.max = 100, .o.fallback = "0", .o.value = "R",
     .o.help = "over the output, by count; 0 is off"},
    {SAMPLING_AS(logit_bias, bias_ids, BIASES), .o.value = "ID=VALUE",
     .count_at = offsetof(fc_sampling, n_bias), .values_at = offsetof(fc_sampling, bias_values),
     .o.help = "add VALUE to a token's logit; -inf forbids it"},
    {SAMPLING(stop, TEXTS), .o.value = "TEXT", .count_at = offsetof(fc_sampling, n_stop),
     .o.help = "end a candidate before TEXT, taken as it stands"},
    {SAMPLING_AS(stop_token_ids, stop_ids, IDS), .o.flag = "stop-token-id", .o.value = "ID",
     .count_at = offsetof(fc_sampling, n_stop_ids), .o.help = "end a candidate at a token, besides the model's own"},
    {SAMPLING_AS(allowed_token_ids, allowed_ids, IDS), .o.flag = "allowed-token-id", .o.value = "ID",
     .count_at = offsetof(fc_sampling, n_allowed),
     .o.help = "no other id is drawn, no end token either unless it is listed"},
    {SAMPLING(bad_words, TEXTS), .o.flag = "bad-word", .o.value = "TEXT",
     .count_at = offsetof(fc_sampling, n_bad_words),
     .o.help = "no candidate has the ids of TEXT, by itself or behind a blank, in a row; under constraint mask a name "
               "that "
               "begins so may end the request"},
    {SAMPLING(ignore_eos, BOOL), .o.fallback = "false",
     .o.help = "the model's end tokens are drawn as any other and do not end a candidate"},
    {SAMPLING_AS(include_stop_str_in_output, include_stop, BOOL), .o.fallback = "false",
     .o.help = "a candidate's text ends with the stop string that ended it; with the end token where "
               "skip_special_tokens is "
               "false"},
    {SAMPLING_AS(skip_special_tokens, skip_special, BOOL), .o.fallback = "true",
     .o.help = "special tokens are left out of the text"},
    {SAMPLING_AS(logprob_token_ids, logprob_ids, IDS), .o.flag = "logprob-token-id", .o.value = "ID",
     .count_at = offsetof(fc_sampling, n_logprob_ids),
     .o.help = "its log-prob at each token, in the JSON; at most 128"},
    {SAMPLING(top_logprobs, INT), .o.max = TOPS, .o.fallback = "0", .o.value = "N",
     .o.help = "alternatives of each token, in the JSON"},

    {REQUEST_AS("alignment.mode", mode, SCORE, CHOICE), .o.fallback = "loglik-mean",
     .o.choices = "loglik-mean|loglik-sum|reward|judge",
     .o.help = "log-probability of the candidate's tokens, the reward head at its last one, or the probability of "
               "the first label"},
    {REQUEST_AS("alignment.adapter", alignment_adapter, SCORE, PATH), .o.value = "ADAPTER",
     .o.help = "PEFT adapter (LoRA, aLoRA, reward head) of the alignment model: a folder, or a name given by "
               "--adapter"},

    {REQUEST(keep, KEEP, INT), .o.max = CANDIDATES, .o.fallback = "4", .o.value = "K",
     .o.help = "distinct candidates to keep; 0: all"},
    {REQUEST(blend, RANK, FLOAT), .o.max = 1, .o.fallback = "0", .o.value = "B",
     .o.help = "rank by (1-B) x score + B x log-prob"},
    {REQUEST(diversity, KEEP, CHOICE), .o.choices = "off|parent|keywords", .o.fallback = "off",
     .o.help = "no two of the kept are names with one parent, or with a keyword in common"},

    {REQUEST(deadline_ms, JOB, INT), .o.max = INT_MAX, .o.fallback = "0", .o.value = "MS",
     .o.help = "from submit; the answer covers the first candidates that are complete by then, an error if there is "
               "none; "
               "0: none"},
    {REQUEST(priority, JOB, INT), .o.min = INT_MIN, .o.max = INT_MAX, .o.fallback = "0", .o.value = "N",
     .o.help = "lower runs first; equal ones in order of arrival"},
    {REQUEST(cache_salt, JOB, TEXT), .o.value = "TEXT",
     .o.help = "cached pages and scores are shared only with requests of the same salt"},

    {ENGINE(threads, INT), .o.max = 1024, .o.fallback = "0", .o.value = "T", 
     .o.help = "threads; 0: all cores; more than cores only wait for one another"},
    {ENGINE(pin_threads, BOOL), .o.fallback = "false",
     .o.help = "each thread stays on a core of its own; for machines that run nothing else"},
    {ENGINE(backend, WORD), .o.choices = "auto|cpu|cuda", .o.fallback = "auto",
     .o.help = "what computes; auto: cuda where a device answers, else cpu"},
    {ENGINE(gpus, TEXT), .o.value = "LIST",
     .o.help = "of backend cuda: 0,1 splits both models over two GPUs, as \"novelty=0,1 alignment=2,3\" each over its "
               "own; at most 8; GPU 0 unless said"},
    {ENGINE(cpu, WORD), .o.choices = "auto|amx|avx512|avxvnni|avx2|portable", .o.fallback = "auto",
     .o.help = "vector level; levels round differently; auto takes all but amx"},
    {ENGINE(kv_type, WORD), .o.choices = "f32|bf16|int8|fp8",
     .o.help = "of the KV cache; f32 for f32 models, else bf16, unless said"},
    {ENGINE(kv_pool, BYTES), .o.fallback = "0", .o.value = "BYTES",
     .o.help = "KV memory of each model, such as 512M (K, M, G or T); 0: two contexts, at least 256M, at most a "
               "quarter of RAM"},
    {ENGINE(kv_touch, BOOL), .o.fallback = "false",
     .o.help = "on a CPU the whole KV pool is written once at open, for servers that run long: opening takes longer "
               "and all its memory is taken; else each page is when it is first used, up to a fifteenth of a "
               "request's time on virtual machines"},
    {ENGINE(score_cache, BYTES), .o.fallback = "0", .o.value = "BYTES",
     .o.help = "memory for scores of earlier requests; 0: 16M"},
    {ENGINE(score_cache_file, PATH), .o.value = "FILE",
     .o.help = "SQLite file in which they outlive the engine; made where there is none"},
    {ENGINE(ctx, INT), .o.max = TOKENS, .o.fallback = "0", .o.value = "N",
     .o.help = "positions a request may use; 0: the model's, at most 8192"},
    {ENGINE(max_rows, INT), .o.max = ROWS - 1, .o.fallback = "0", .o.value = "N",
     .o.help = "rows of one batch; 0: 512, on a GPU 1024"},
    {ENGINE(max_branches, INT), .o.max = ROWS, .o.fallback = "0", .o.value = "N",
     .o.help = "KV timelines at once; 0: 1024, or what n takes"},
    {ENGINE(page_slots, INT), .o.max = 64, .o.choices = "0|8|16|32|64", .o.fallback = "0", .o.value = "P",
     .o.help = "token slots of a KV page; 0: 16"},
    {ENGINE(score_rows, INT), .o.max = ROWS, .o.fallback = "0", .o.value = "N",
     .o.help = "a scoring pass of its own model starts at so many waiting rows; 0: measured at open"},
    {ENGINE(off, WORDS), .o.value = "LIST",
     .o.choices = "fork|groups|coalesce|score-tree|overlap|prefix-cache|forced|restricted-head|shared-trunk|"
                  "score-cache|all",
     .o.help = "what is not shared, so that its gain can be measured; answers stay the same bits"},
    {ENGINE_AS("batch_invariant", batch_variant, BOOL), .negated = true, .o.fallback = "true",
     .o.help = "a candidate's bits do not depend on the batch; false: CUDA may sum many rows faster"},
    {ENGINE(precise, WORD), .o.choices = "auto|true|false", .o.fallback = "auto",
     .o.help = "how the input of products is rounded. On a CPU, beside quantised weights alone: to 8 bits, numbers "
               "that stand out to 16; false: fewer numbers to 16. On CUDA, except for weights of f32 and f16: to the "
               "sum of two bf16; false: to one bf16. auto: true on a CPU, false on CUDA, as other GPU engines have it"},
};
/* clang-format on */

enum { N_ROWS = sizeof rows / sizeof *rows };
_Static_assert((int)N_ROWS <= (int)FC_OPTIONS_MAX, "raise FC_OPTIONS_MAX");

size_t fc_option_count(void) { return N_ROWS; }

const fc_option_row *fc_option_row_at(size_t i) {
    FC_ASSERT(i < N_ROWS);
    return &rows[i];
}

const fc_option *fc_option_at(size_t i) { return &fc_option_row_at(i)->o; }

int fc_option_index(const char *name) {
    for (int i = 0; i < N_ROWS; i++)
        if (strcmp(rows[i].o.name, name) == 0) return i;
    return -1;
}

const fc_option *fc_option_find(const char *name) {
    int i = fc_option_index(name);
    return i < 0 ? NULL : &rows[i].o;
}

const char *fc_option_kind_name(fc_option_kind k) {
    static const char *const names[] = {"bool", "int",   "int64", "uint64", "float", "bytes", "choice",
                                        "word", "words", "text",  "path",   "texts", "ids",   "biases"};
    return (unsigned)k < sizeof names / sizeof *names ? names[k] : "?";
}

const char *fc_option_scope_name(fc_option_scope s) {
    static const char *const names[] = {"engine", "request", "sampling"};
    return (unsigned)s < sizeof names / sizeof *names ? names[s] : "?";
}

const char *fc_option_part_name(fc_option_part p) {
    static const char *const names[] = {"many", "draw", "sampling", "score", "keep", "rank", "job", "engine"};
    return (unsigned)p < sizeof names / sizeof *names ? names[p] : "?";
}
