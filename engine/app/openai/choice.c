/* choice - which candidates are returned, and one of them as JSON. */
#include "engine/app/openai/answer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- who ---- */

typedef struct {
    double key;
    const fc_candidate *c;
} ranked;

static int in_order(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    if (x->key != y->key) return x->key > y->key ? -1 : 1;
    return x->c->index < y->c->index ? -1 : x->c->index > y->c->index;
}

static int by_index(const void *a, const void *b) {
    const fc_candidate *x = *(const fc_candidate *const *)a, *y = *(const fc_candidate *const *)b;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* The engine's order of distinct candidates (engine/rank.h), for each candidate by itself. */
static double key_of(const fc_candidate *c, bool scored, double blend) {
    double key = !scored || blend == 1 ? c->logprob
                 : blend == 0          ? c->score
                                       : (1 - blend) * c->score + blend * c->logprob;
    return isnan(key) || (scored && isnan(c->score)) ? -INFINITY : key;
}

fc_status openai_pick(const openai_answer *a, const fc_result *r, double blend, const fc_candidate **out, size_t *n) {
    size_t all = (size_t)r->n_all, most = (size_t)a->w->n;
    ranked *order;
    void *mem;
    if (a->w->in_order && !a->w->distinct) {
        for (*n = 0; *n < all && *n < most; ++*n) out[*n] = &r->all[*n];
        return FC_OK;
    }
    if (a->w->distinct) {
        for (*n = 0; *n < (size_t)r->n_kept && *n < most; ++*n) out[*n] = &r->kept[*n];
        if (a->w->in_order) qsort(out, *n, sizeof *out, by_index);
        return FC_OK;
    }
    FC_TRY(fc_alloc(all, sizeof *order, "choices", &mem));
    order = mem;
    for (size_t i = 0; i < all; i++) order[i] = (ranked){key_of(&r->all[i], r->scored, blend), &r->all[i]};
    qsort(order, all, sizeof *order, in_order);
    for (*n = 0; *n < all && *n < most; ++*n) out[*n] = order[*n].c;
    fc_free(order);
    return FC_OK;
}

/* ---- why it ended ---- */

bool openai_is_stop_id(const openai_answer *a, int32_t id) {
    for (size_t i = 0; i < a->sampling->n_stop_ids; i++)
        if (a->sampling->stop_ids[i] == id) return true;
    return false;
}

/* ---- what is said ---- */

static openai_tokens prompt_run(const fc_result *r) {
    return (openai_tokens){.ids = r->prompt_ids,
                           .lp = r->prompt_logprobs,
                           .to = r->prompt_tokens,
                           .top_ids = r->prompt_top_ids,
                           .top_lp = r->prompt_top_logprobs,
                           .top = r->prompt_top_n};
}

void openai_describe(const openai_answer *a, const fc_result *r, const fc_candidate *c, int index, openai_choice *out) {
    *out = (openai_choice){.index = index,
                           .text = c->text,
                           .size = c->text_size,
                           .over = true,
                           .finish = c->finish,
                           .stop = c->stop,
                           .stop_id = openai_is_stop_id(a, c->end_id) ? c->end_id : -1,
                           .score = c->score,
                           .candidate = c->index,
                           .prompt = r};
    if (a->w->echo && r->prompt_logprobs) out->runs[out->n_runs++] = prompt_run(r);
    out->runs[out->n_runs++] = (openai_tokens){.ids = c->tokens,
                                               .lp = c->logprobs,
                                               .to = c->n_logprobs ? c->n_tokens : 0,
                                               .top_ids = c->top_ids,
                                               .top_lp = c->top_logprobs,
                                               .top = c->top_n,
                                               .asked = c->ids,
                                               .asked_lp = c->id_logprobs,
                                               .n_asked = c->n_ids};
}

static fc_status put_content(const openai_answer *a, const openai_choice *c, bool delta, fc_str *out) {
    if (!a->chat) {
        FC_TRY(fc_str_puts(out, "\"text\":"));
        return fc_json_put_string(out, c->text, c->size);
    }
    if (delta && !c->size && c->over) return fc_str_puts(out, "\"delta\":{}");
    FC_TRY(fc_str_puts(out, delta ? "\"delta\":{\"content\":" : "\"message\":{\"role\":\"assistant\",\"content\":"));
    FC_TRY(fc_json_put_string(out, c->text, c->size));
    return fc_str_puts(out, "}");
}

static fc_status put_ids(const openai_choice *c, fc_str *out) {
    const openai_tokens *t = &c->runs[c->n_runs - 1]; /* the candidate's; a prompt's stand in front */
    json_object o = {.out = out, .some = true};
    return c->n_runs ? json_ids(&o, "token_ids", t->ids + t->from, t->to - t->from)
                     : json_ids(&o, "token_ids", NULL, 0);
}

/* In a chat these stand beside the choices. */
static fc_status put_prompt(const openai_answer *a, const openai_choice *c, fc_str *out) {
    json_object o = {.out = out, .some = true};
    if (!c->prompt || a->chat) return FC_OK;
    if (a->w->return_ids) FC_TRY(json_ids(&o, "prompt_token_ids", c->prompt->prompt_ids, c->prompt->prompt_tokens));
    if (!a->w->prompt_logprobs || !c->prompt->prompt_logprobs) return FC_OK;
    FC_TRY(json_key(&o, "prompt_logprobs"));
    return openai_put_prompt_logprobs(a, c->prompt, out);
}

static fc_status put_stop_reason(const openai_answer *a, const openai_choice *c, fc_str *out) {
    const char *text = c->stop >= 0 ? a->sampling->stop[c->stop] : NULL;
    FC_TRY(fc_str_puts(out, ",\"stop_reason\":"));
    if (text) return fc_json_put_string(out, text, strlen(text));
    return c->stop_id >= 0 ? fc_str_printf(out, "%d", c->stop_id) : fc_str_puts(out, "null");
}

fc_status openai_put_choice(const openai_answer *a, const openai_choice *c, bool delta, size_t *offset, fc_str *out) {
    json_object o = {.out = out, .some = true};
    const char *finish = fc_finish_name(c->finish);
    FC_TRY(fc_str_printf(out, "{\"index\":%d,", c->index));
    FC_TRY(put_content(a, c, delta, out));
    FC_TRY(fc_str_puts(out, ",\"logprobs\":"));
    if (a->w->logprobs && c->n_runs) FC_TRY(openai_put_logprobs(a, c, offset, out));
    else FC_TRY(fc_str_puts(out, "null"));
    if (!c->over) {
        FC_TRY(fc_str_puts(out, ",\"finish_reason\":null"));
        if (a->w->return_ids) FC_TRY(put_ids(c, out));
        return fc_str_puts(out, "}");
    }
    FC_TRY(json_text(&o, "finish_reason", finish, strlen(finish)));
    FC_TRY(put_stop_reason(a, c, out));
    if (a->w->return_ids) FC_TRY(put_ids(c, out));
    FC_TRY(put_prompt(a, c, out));
    FC_TRY(json_number(&o, "score", c->score));
    FC_TRY(json_int(&o, "candidate_index", c->candidate));
    return fc_str_puts(out, "}");
}
