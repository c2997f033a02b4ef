/* job_room - is there room for a job: contexts, and what its answer may hold; and how many tokens there is room for. */
#include "engine/job.h"

fc_status fc_job_check_lengths(const fc_job *j, const fc_job_rules *rules) {
    if (j->max_tokens && j->n_prompt > rules->ctx[FC_NOVELTY] - j->sampling.max_tokens)
        return FC_FAIL(FC_ERR_ARG, "prompt: %d tokens and max_tokens %d do not fit the context of %d, which ctx sets",
                       j->n_prompt, j->sampling.max_tokens, rules->ctx[FC_NOVELTY]);
    if (j->score) {
        int longest = j->max_tokens;
        for (int i = 0; j->max_tokens == 0 && i < j->n; i++)
            if (j->paths[i].n > longest) longest = j->paths[i].n;
        if ((int64_t)j->n_align + longest + j->n_suffix > rules->ctx[FC_ALIGNMENT])
            return FC_FAIL(FC_ERR_ARG,
                           "alignment prompt: %d tokens, candidates of up to %d and a suffix of %d do not fit the "
                           "alignment context of %d, which ctx sets",
                           j->n_align, longest, j->n_suffix, rules->ctx[FC_ALIGNMENT]);
    }
    return FC_OK;
}

/* What the answer may hold: ids, log-probs and alternatives of every candidate, and of the prompt. */
static fc_status check_size(const fc_job *j, const fc_request *r) {
    const size_t most = (size_t)1 << 30;
    size_t each = 8 + 8 * (size_t)j->sampling.top_logprobs + 4 * j->sampling.n_logprob_ids;
    size_t of_prompt = r->prompt_logprobs ? (size_t)j->n_prompt * (4 + 8 * (size_t)r->prompt_top_logprobs) : 0;
    size_t bytes = (size_t)j->n_max * (size_t)j->max_tokens * each + of_prompt;
    if (bytes > most)
        return FC_FAIL(FC_ERR_ARG,
                       "n = %d, max_tokens = %d, top_logprobs = %d, %zu logprob_token_ids, prompt_top_logprobs = %d of "
                       "%d ids: the answer may take %zu bytes; at most %zu",
                       j->n_max, j->max_tokens, j->sampling.top_logprobs, j->sampling.n_logprob_ids,
                       r->prompt_top_logprobs, j->n_prompt, bytes, most);
    return FC_OK;
}

static fc_status holds(const fc_job *j, const fc_job_rules *rules, const fc_request *r) {
    FC_TRY(fc_job_check_lengths(j, rules));
    FC_TRY(check_size(j, r));
    return rules->fits ? rules->fits(rules->fits_arg, j) : FC_OK;
}

fc_status fc_job_fit(fc_job *j, const fc_job_rules *rules, const fc_request *r) {
    int low = r->sampling.min_tokens > 1 ? r->sampling.min_tokens : 1, high = j->max_tokens;
    if (j->constraint == FC_CONSTRAINT_MASK && j->trie->max_depth > low) low = j->trie->max_depth;
    if (r->fit_max_tokens && r->sampling.max_tokens > low && holds(j, rules, r)) {
        while (low < high) {
            const int middle = low + (high - low + 1) / 2;
            j->max_tokens = j->sampling.max_tokens = middle;
            if (holds(j, rules, r) == FC_OK) low = middle;
            else high = middle - 1;
        }
        j->max_tokens = j->sampling.max_tokens = low;
    }
    FC_TRY(fc_job_check_lengths(j, rules));
    return check_size(j, r);
}
