/* score_fields - what bodies of the scoring endpoints may hold, by their form: what means nothing in a form is refused
 * by its name, and so are fields and options of drawing.
 */
#include "engine/app/openai/call.h"
#include "engine/app/openai/fields.h"

#include <string.h>

enum {
    PAIRS = OPENAI_FORM_PAIRS,
    JUDGED = OPENAI_FORM_JUDGED,
    DRAWN = OPENAI_FORM_DRAWN,
    RERANK = OPENAI_FORM_RERANK,
    TEI = OPENAI_FORM_TEI,
    LABELS = JUDGED | DRAWN,
    RECIPE = PAIRS | RERANK | TEI, /* queries fill the recipe's templates */
    ALL = RECIPE | LABELS,
    NONE = 0
};

typedef struct {
    const char *name;
    int forms;
} allowed;

static const allowed fields[] = {
    {"model", ALL},
    {"user", ALL},
    {"priority", ALL},
    {"request_id", ALL},
    {"cache_salt", ALL},
    {"add_special_tokens", ALL},
    {"truncate_prompt_tokens", ALL},
    {"truncation_side", ALL},
    {"forkcast", ALL},
    {"vllm_xargs", ALL},
    {"queries", PAIRS},
    {"data_1", PAIRS},
    {"data_2", PAIRS},
    {"text_1", PAIRS},
    {"text_2", PAIRS},
    {"documents", PAIRS | RERANK},
    {"items", PAIRS | LABELS},
    {"query", LABELS | RERANK | TEI},
    {"label_token_ids", LABELS},
    {"apply_softmax", LABELS},
    {"item_first", LABELS},
    {"texts", TEI},
    {"activation", PAIRS | RERANK},
    {"use_activation", PAIRS | RERANK},
    {"raw_scores", TEI},
    {"top_n", RERANK | TEI},
    {"max_tokens_per_doc", RERANK | TEI},
    {"return_documents", RERANK},
    {"return_text", TEI},
    {"truncate", TEI},
    {"truncation_direction", TEI},
    {"rank_fields", NONE},
    {"max_chunks_per_doc", NONE},
    {"instruction", NONE},
    {"mm_processor_kwargs", NONE},
};

/* Members of `forkcast`. */
static const allowed options[] = {
    {"priority", ALL},
    {"cache_salt", ALL},
    {"deadline_ms", ALL},
    {"truncate_prompt_tokens", ALL},
    {"no_bos", ALL},
    {"mode", RECIPE},
    {"alignment_template", RECIPE},
    {"suffix", RECIPE},
    {"labels", RECIPE},
    {"history", RECIPE},
    {"score", RECIPE},
    {"alignment_adapter", RECIPE | JUDGED},
    {"novelty_adapter", DRAWN},
};

static const allowed *find(const allowed *list, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i].name, name) == 0) return &list[i];
    return NULL;
}

static fc_status check_field(openai_parse *p, const fc_json *k, int form) {
    const char *name = fc_json_key(k);
    const allowed *f = find(fields, sizeof fields / sizeof *fields, name);
    const openai_field *drawn = openai_field_find(name, strlen(name));
    if (f && f->forms & form) return FC_OK;
    if ((f || drawn) && openai_asks_nothing(k)) return FC_OK;
    if (!f && drawn && drawn->how == OPENAI_TAKEN) return FC_OK;
    if (f)
        return openai_refuse(p, f->name, f->forms ? "it means nothing in this form of the body" : "it is not offered");
    if (drawn) return openai_refuse(p, drawn->name, "it is a field of completions; nothing is drawn here");
    openai_ignore(p, name);
    return FC_OK;
}

static fc_status check_option(const fc_json *k, int form) {
    const char *name = fc_json_key(k);
    const allowed *o = find(options, sizeof options / sizeof *options, name);
    if ((o && o->forms & form) || openai_asks_nothing(k)) return FC_OK;
    if (o) return fc_json_fail(k, FC_ERR_ARG, "it means nothing in this form of the body");
    if (openai_is_more(name)) return fc_json_fail(k, FC_ERR_ARG, "nothing is drawn here");
    return FC_OK; /* no such option: whoever reads it says so */
}

fc_status openai_score_fields(openai_parse *p, int form) {
    for (const fc_json *k = fc_json_first(p->root); k; k = fc_json_next(k))
        if (fc_json_kind(k) != FC_JSON_NULL) FC_TRY(check_field(p, k, form));
    FC_TRY(openai_more_find(p));
    p->param = "forkcast";
    for (const fc_json *k = p->more ? fc_json_first(p->more) : NULL; k; k = fc_json_next(k))
        if (fc_json_kind(k) != FC_JSON_NULL) FC_TRY(check_option(k, form));
    return FC_OK;
}
