#include "weights_tools/weights.h"

#include "engine/base/json.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"

#include <string.h>

enum { MAX_CONFIG = 16 << 20 };

/* "chat_template" of tokenizer_config.json: a text, or a list of {name, template} of which "default" counts. */
static fc_status of_config(const fc_json *root, fc_str *out) {
    const fc_json *t = fc_json_get(root, "chat_template"), *chosen = NULL;
    const char *text = NULL;
    if (t && fc_json_kind(t) == FC_JSON_ARRAY) {
        for (const fc_json *e = fc_json_first(t); e; e = fc_json_next(e)) {
            const fc_json *name = fc_json_get(e, "name");
            const char *word;
            if (!name) continue;
            FC_TRY(fc_json_string(name, &word));
            if (strcmp(word, "default") == 0) chosen = fc_json_get(e, "template");
        }
        t = chosen;
    }
    if (!t || fc_json_kind(t) == FC_JSON_NULL) return FC_OK;
    FC_TRY(fc_json_string(t, &text));
    return fc_str_puts(out, text);
}

static fc_status of_file(const char *path, fc_str *out) {
    char *text;
    size_t size;
    fc_status st;
    FC_TRY(fc_file_read(path, MAX_CONFIG, &text, &size));
    st = fc_str_put(out, text, size);
    fc_free(text);
    return st;
}

fc_status fc_weights_chat_template(const fc_weights *w, fc_str *out) {
    const char *model = fc_weights_path(w);
    fc_str path = {0};
    fc_json_doc *doc = NULL;
    fc_meta m;
    fc_status st;
    if (fc_weights_is_gguf(w)) {
        if (!fc_weights_meta(w, "tokenizer.chat_template", &m) || m.kind != FC_META_STRING) return FC_OK;
        return fc_str_put(out, m.s.text, m.s.size);
    }
    FC_TRY_GOTO(st, fc_path_beside(model, "chat_template.jinja", &path), out);
    if (fc_path_exists(path.data)) {
        st = of_file(path.data, out);
        goto out;
    }
    FC_TRY_GOTO(st, fc_path_beside(model, "tokenizer_config.json", &path), out);
    if (!fc_path_exists(path.data)) goto out;
    FC_TRY_GOTO(st, fc_json_open(path.data, MAX_CONFIG, &doc), out);
    st = of_config(fc_json_root(doc), out);
out:
    fc_json_close(doc);
    fc_str_fini(&path);
    return st;
}
