#include "tests/engine/util_ranks.h"

#include "kernels/cpu/backend_cpu.h"
#include "kernels/cpu/cpu.h"
#include "kernels/ranks/ranks.h"
#include "tests/engine/util_peft.h"

int ranks_n = 1, ranks_failing = -1, ranks_fail_in;

typedef struct {
    fc_cpu_level level;
    const fc_op_limits *limits;
} opening;

static fc_status (*attn)(fc_stream s, const fc_attn_args *a);

static fc_status attn_of_failing(fc_stream s, const fc_attn_args *a) {
    if (ranks_failing >= 0 && ranks_fail_in-- == 0) return FC_FAIL(FC_ERR_MEM, "told to fail");
    return attn(s, a);
}

static fc_status open_rank(void *arg, int rank, fc_comm *comm, fc_backend **out) {
    const opening *a = arg;
    FC_TRY(fc_backend_open_cpu(a->level, 1, a->limits, out));
    (*out)->stream->comm = comm;
    if (rank == ranks_failing) {
        attn = (*out)->attn;
        (*out)->attn = attn_of_failing;
    }
    return FC_OK;
}

fc_status ranks_backend_open(fc_cpu_level level, int threads, const fc_op_limits *limits, fc_backend **out) {
    enum { ROOM = 3000 }; /* little, so that sums and joins go in pieces */
    opening a = {level, limits};
    fc_comm *comms[FC_RANKS_MAX];
    (void)threads;
    FC_TRY(fc_comm_open_cpu(ranks_n, (size_t)ranks_n * ROOM, comms));
    return fc_backend_open_ranks(ranks_n, comms, open_rank, &a, out);
}

static const char *const names[] = {"house", "night sky", "naive house", "x", "the night", "craft", "a long way home"};
static const char *const labels[] = {"a", "b", "c"};

/* Six tiles of ids, the last of 20: shared unevenly by 4 ranks. */
static const char *model(const char *arch, uint64_t seed) { return tiny_model_vocab(arch, seed, true, 1300); }

static fc_request names_request(int n, int max_tokens) {
    fc_request r = text_request("a night in the house", n, max_tokens);
    r.names = names;
    r.n_names = sizeof names / sizeof *names;
    r.constraint = FC_CONSTRAINT_MASK;
    r.score = true;
    return r;
}

static ranks_job job_of(const char *name, const char *novelty, const char *alignment, fc_request r) {
    return (ranks_job){
        name, {.novelty = novelty, .alignment = alignment, .kv_type = "f32", .ctx = 256, .kv_pool = 8 << 20}, r};
}

const ranks_job *ranks_jobs(void) {
    static ranks_job jobs[RANKS_JOBS];
    static fc_adapter_option adapters[2];
    static const char *const families[] = {"llama", "qwen2", "qwen3", "gemma2", "gemma3"};
    const char *llama;
    fc_request r;
    int n = 0;
    if (jobs[0].name) return jobs;
    llama = model("llama", 1);
    r = text_request("The quick brown fox jumps over the lazy dog, again and again.", 12, 12);
    r.score = true;
    r.keep = 5;
    jobs[n++] = job_of("two tiles of ids", tiny_model("llama", 1, true), tiny_model("qwen3", 2, true), r);
    for (int i = 0; i < 5; i++)
        jobs[n++] = job_of(families[i], model(families[i], 1), model(families[(i + 1) % 5], 2), r);
    r = text_request("a night in the house", 16, 10);
    r.score = true;
    r.mode = FC_SCORE_REWARD;
    r.sampling.top_k = 20;
    r.sampling.top_p = 0.9f;
    r.sampling.repetition_penalty = 1.2f;
    r.sampling.top_logprobs = 3;
    jobs[n++] = job_of("filters, penalties and a reward", llama, llama, r);
    r = names_request(16, 32);
    r.full_logprob = true;
    jobs[n++] = job_of("names under both softmaxes", llama, llama, r);
    r = names_request(6, 32);
    r.draw = FC_DRAW_SBS;
    jobs[n++] = job_of("names without replacement", llama, llama, r);
    r.draw = FC_DRAW_EXACT;
    jobs[n++] = job_of("the whole distribution of names", llama, llama, r);
    r = text_request("a night in the house", 4, 6);
    r.score = true;
    r.mode = FC_SCORE_JUDGE;
    r.labels = labels;
    r.n_labels = 3;
    jobs[n++] = job_of("a judge", llama, model("gemma2", 3), r);
    r = text_request("a night in the house", 3, 5);
    r.sampling.temperature = 0;
    r.prompt_logprobs = true;
    jobs[n++] = job_of("greedy, with the prompt's log-probs", llama, NULL, r);
    adapters[0] =
        (fc_adapter_option){"draws", peft_folder(&(peft_options){.base = llama, .seed = 1, .r = 4}), FC_NOVELTY};
    adapters[1] = (fc_adapter_option){
        "scores", peft_folder(&(peft_options){.base = llama, .seed = 2, .r = 7, .score = true}), FC_NOVELTY};
    r = text_request("a night in the house", 8, 8);
    r.score = true;
    r.novelty_adapter = "draws";
    r.alignment_adapter = "scores";
    r.mode = FC_SCORE_REWARD;
    jobs[n] = job_of("adapters and a reward head of one", llama, llama, r);
    jobs[n].o.adapters = adapters;
    jobs[n++].o.n_adapters = 2;
    r = text_request("The quick brown fox jumps over the lazy dog, again and again.", 8, 8);
    r.score = true;
    jobs[n] = job_of("bf16 and KV of int8", tiny_model_typed("llama", 1, FC_BF16), NULL, r);
    jobs[n].r.score = false;
    jobs[n++].o.kv_type = "int8";
    assert_int_equal(n, RANKS_JOBS);
    return jobs;
}

void ranks_same(const char *what, const fc_result *got, const fc_result *want) {
    const double most = strstr(what, "bf16") ? 0.05 : 1e-3; /* products of rounded x are rounded elsewhere */
    assert_int_equal(got->n_all, want->n_all);
    for (int i = 0; i < got->n_all; i++) {
        const fc_candidate *a = &got->all[i], *b = &want->all[i];
        if (a->n_tokens != b->n_tokens || memcmp(a->tokens, b->tokens, a->n_tokens * sizeof *a->tokens) != 0)
            fail_msg("%s: candidate %d: \"%.*s\", of one rank \"%.*s\"", what, i, (int)a->text_size, a->text,
                     (int)b->text_size, b->text);
        if (!(fabs(a->logprob - b->logprob) <= most))
            fail_msg("%s: candidate %d: log-prob %.9g, of one rank %.9g", what, i, a->logprob, b->logprob);
        if (isnan(a->score) != isnan(b->score) || fabs(a->score - b->score) > most)
            fail_msg("%s: candidate %d: score %.9g, of one rank %.9g", what, i, a->score, b->score);
        if (isnan(a->full_logprob) != isnan(b->full_logprob) || fabs(a->full_logprob - b->full_logprob) > most)
            fail_msg("%s: candidate %d: full log-prob %.9g, of one rank %.9g", what, i, a->full_logprob,
                     b->full_logprob);
    }
    assert_int_equal(got->n_kept, want->n_kept);
    for (int i = 0; i < got->n_kept; i++) assert_int_equal(got->kept[i].index, want->kept[i].index);
    assert_int_equal(got->prompt_tokens, want->prompt_tokens);
    for (size_t i = 1; got->prompt_logprobs && i < got->prompt_tokens; i++)
        if (!(fabs((double)got->prompt_logprobs[i] - (double)want->prompt_logprobs[i]) <= most))
            fail_msg("%s: log-prob %zu of the prompt", what, i);
}
