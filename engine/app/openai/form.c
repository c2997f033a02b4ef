/* form - structured output: a choice is a set of names that candidates are drawn from; grammars are not
 * offered. */
#include "engine/app/openai/call.h"

#include <string.h>

static const char limited[] = "structured output is limited to choice and taxonomy (forkcast: taxonomy)";

/* Some clients send every kind, all but one of them null. */
static fc_status pick_choice(const fc_json *o, const fc_json **choice) {
    static const char *const kinds[] = {"json", "regex", "grammar", "structural_tag", "json_object"};
    const fc_json *n;
    if (fc_json_kind(o) != FC_JSON_OBJECT) return fc_json_fail(o, FC_ERR_ARG, "an object is expected");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        n = fc_json_get(o, kinds[i]);
        if (n && fc_json_kind(n) != FC_JSON_NULL) return fc_json_fail(n, FC_ERR_ARG, "%s", limited);
    }
    n = fc_json_get(o, "choice");
    if (n && fc_json_kind(n) != FC_JSON_NULL) *choice = n;
    return FC_OK;
}

static fc_status read_response_format(openai_parse *p) {
    const fc_json *o = openai_get(p, p->root, "response_format"), *type;
    const char *text;
    if (!o) return FC_OK;
    type = fc_json_get(o, "type");
    if (!type) return openai_refuse(p, "response_format", "an object with type is expected");
    FC_TRY(fc_json_string(type, &text));
    return strcmp(text, "text") == 0 ? FC_OK : openai_refuse(p, "response_format", "type is text here; %s", limited);
}

fc_status openai_form_read(openai_parse *p) {
    const fc_json *choice = NULL, *guided, *o;
    FC_TRY(read_response_format(p));
    o = openai_get(p, p->root, "structured_outputs");
    if (o) FC_TRY(pick_choice(o, &choice));
    guided = openai_get(p, p->root, "guided_choice");
    if (guided && choice) return openai_refuse(p, "guided_choice", "structured_outputs has a choice, too");
    if (guided) choice = guided;
    else p->param = "structured_outputs";
    if (!choice) return FC_OK;
    FC_TRY(openai_get_texts(p, choice, &p->choices, &p->n_choices));
    if (!p->n_choices) return fc_json_fail(choice, FC_ERR_ARG, "it is empty");
    p->base->constraint = FC_CONSTRAINT_MASK;
    return FC_OK;
}
