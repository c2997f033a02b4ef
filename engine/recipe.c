#include "engine/recipe.h"

#include "engine/base/os.h"
#include "engine/recipe_builtin.h"

#include <string.h>
#include <strings.h>

enum { FILE_MAX = 4 << 20 };

static fc_status copy(fc_arena *arena, const char *text, size_t size, const char **out) {
    void *p;
    FC_TRY(fc_arena_alloc(arena, size + 1, 1, &p));
    memcpy(p, text, size);
    *out = p;
    return FC_OK;
}

static fc_status fill(fc_recipe *r, const char *name, const char *folder, size_t folder_size, const char *text,
                      size_t size) {
    fc_json_doc *doc;
    fc_status st;
    fc_request_init(&r->info.request);
    r->info.request.n = 16; /* as bestof without a recipe */
    r->info.request.keep = 4;
    r->info.request.seed = 1;
    r->set = (fc_option_target){.engine = &r->info.engine, .request = &r->info.request};
    FC_TRY(copy(&r->arena, name, strlen(name), &r->name));
    FC_TRY(copy(&r->arena, folder, folder_size, &r->folder));
    FC_TRY(fc_template_parse("{prompt}", &r->arena, &r->novelty_template));
    FC_TRY(fc_json_parse(name, text, size, &doc));
    st = fc_recipe_read(fc_json_root(doc), r);
    fc_json_close(doc);
    return st;
}

static fc_status open_text(const char *name, const char *folder, size_t folder_size, const char *text, size_t size,
                           fc_recipe **out) {
    fc_recipe *r;
    fc_status st;
    void *p;
    if (size > FILE_MAX) return FC_FAIL(FC_ERR_FORMAT, "%s: %zu bytes; at most %d are read", name, size, FILE_MAX);
    FC_TRY(fc_alloc(1, sizeof *r, "recipe", &p));
    r = p;
    st = fill(r, name, folder, folder_size, text, size);
    if (st) {
        fc_recipe_close(r);
        return st;
    }
    *out = r;
    return FC_OK;
}

/* As open_text, and reads the taxonomy that the recipe names. */
static fc_status open_whole(const char *name, const char *folder, size_t folder_size, const char *text, size_t size,
                            fc_recipe **out) {
    fc_recipe *r;
    fc_status st = FC_OK;
    FC_TRY(open_text(name, folder, folder_size, text, size, &r));
    if (r->taxonomy_path) st = fc_taxonomy_open(r->taxonomy_path, &r->taxonomy);
    if (st) {
        fc_recipe_close(r);
        return st;
    }
    *out = r;
    return FC_OK;
}

fc_status fc_recipe_open(const char *path, fc_recipe **out) {
    const char *slash = strrchr(path, '/');
    size_t folder = slash ? (size_t)(slash - path) : 0, size;
    char *text;
    fc_status st;
    FC_TRY(fc_file_read(path, FILE_MAX, &text, &size));
    if (slash == path) st = open_whole(path, "/.", 2, text, size, out);
    else st = open_whole(path, path, folder, text, size, out);
    fc_free(text);
    return st;
}

fc_status fc_recipe_parse(const char *name, const char *text, size_t size, fc_recipe **out) {
    return open_whole(name, "", 0, text, size, out);
}

/* "examples/recipes/../../models/m.gguf" to "models/m.gguf": the built-in copy reads as if it lay in examples/recipes,
 * a folder that need not be there. */
static const char *fold(const char *path) {
    static const char home[] = "examples/recipes/";
    int up = 0;
    if (!path || strncmp(path, home, strlen(home)) != 0) return path;
    for (path += strlen(home); strncmp(path, "../", 3) == 0 && up < 2; path += 3) up++;
    return path;
}

fc_status fc_recipe_builtin(const char *name, fc_recipe **out) {
    fc_recipe *r;
    fc_status st;
    if (strcmp(name, "interests") != 0)
        return FC_FAIL(FC_ERR_ARG, "no built-in recipe \"%.60s\"; there is \"interests\"", name);
    FC_TRY(open_text("built-in recipe interests", "examples/recipes", strlen("examples/recipes"),
                     (const char *)fc_builtin_recipe, fc_builtin_recipe_size, &r));
    r->info.novelty_model = fold(r->info.novelty_model);
    r->info.alignment_model = fold(r->info.alignment_model);
    st = fc_taxonomy_parse("built-in taxonomy interests", (const char *)fc_builtin_taxonomy, fc_builtin_taxonomy_size,
                           &r->taxonomy);
    if (st) {
        fc_recipe_close(r);
        return st;
    }
    *out = r;
    return FC_OK;
}

void fc_recipe_close(fc_recipe *r) {
    if (!r) return;
    fc_taxonomy_close(r->taxonomy);
    fc_option_target_fini(&r->set);
    fc_arena_fini(&r->request);
    fc_arena_fini(&r->arena);
    fc_free(r);
}

fc_status fc_recipe_set_taxonomy(fc_recipe *r, const char *path) {
    fc_taxonomy *t;
    FC_TRY(fc_taxonomy_open(path, &t));
    fc_taxonomy_close(r->taxonomy);
    r->taxonomy = t;
    return FC_OK;
}

size_t fc_recipe_names(const fc_recipe *r, const char *const **names) {
    *names = r->taxonomy ? r->taxonomy->names : NULL;
    return r->taxonomy ? (size_t)r->taxonomy->n : 0;
}

size_t fc_recipe_taxonomy(const fc_recipe *r, fc_taxonomy_names *out) {
    const fc_taxonomy *t = r->taxonomy;
    *out = (fc_taxonomy_names){0};
    if (!t) return 0;
    out->keywords = t->keywords;
    out->parents = t->parents;
    out->n = fc_recipe_names(r, &out->names);
    return out->n;
}

fc_recipe_info *fc_recipe_edit(fc_recipe *r) { return &r->info; }

bool fc_recipe_gives(const fc_recipe *r, const char *option) {
    for (size_t i = 0; i < fc_option_count(); i++)
        if (strcmp(fc_option_at(i)->name, option) == 0) return r->given[i];
    return false;
}

/* ---- a request ---- */

static fc_status unknown_name(const fc_recipe *r, const char *name) {
    for (int i = 0; i < r->taxonomy->n; i++)
        if (strcasecmp(r->taxonomy->names[i], name) == 0)
            return FC_FAIL(FC_ERR_ARG, "%s: history: the taxonomy has no name \"%.80s\"; it has \"%.80s\"", r->name,
                           name, r->taxonomy->names[i]);
    return FC_FAIL(FC_ERR_ARG, "%s: history: the taxonomy has no name \"%.80s\"", r->name, name);
}

/* Finds the keywords of each name. Texts are borrowed: filling a template copies them. */
static fc_status take_values(fc_recipe *r, const fc_holes *h, fc_template_values *out) {
    const char **keywords;
    void *p;
    *out = (fc_template_values){
        .prompt = h->prompt, .retrieved = h->retrieved, .history = h->history, .n_history = h->n_history};
    if (h->prompt && !h->prompt[0]) return FC_FAIL(FC_ERR_ARG, "%s: prompt: it is empty", r->name);
    if (h->n_history > FC_HOLE_INDEX_MAX)
        return FC_FAIL(FC_ERR_ARG, "%s: history: %zu names; at most %d are possible", r->name, h->n_history,
                       FC_HOLE_INDEX_MAX);
    FC_TRY(fc_arena_alloc(&r->request, h->n_history, sizeof *keywords, &p));
    keywords = p;
    for (size_t i = 0; i < h->n_history; i++) {
        const char *name = h->history[i];
        int at;
        if (!name || !name[0]) return FC_FAIL(FC_ERR_ARG, "%s: history: name %zu is empty", r->name, i + 1);
        if (!r->taxonomy) continue;
        at = fc_taxonomy_find(r->taxonomy, name);
        if (at < 0) return unknown_name(r, name);
        keywords[i] = r->taxonomy->entries[at].keywords;
    }
    if (r->taxonomy) out->keywords = keywords;
    return FC_OK;
}

/* Every value is shown by one of the n templates. */
static fc_status check_shown(const fc_recipe *r, const fc_template_values *v, const fc_template *const *t, int n) {
    bool shown = !v->prompt, retrieved = !v->retrieved || !v->retrieved[0];
    for (int k = 0; k < n; k++) {
        shown = shown || fc_template_shows(t[k], FC_HOLE_PROMPT);
        retrieved = retrieved || fc_template_shows(t[k], FC_HOLE_RETRIEVED);
    }
    if (!shown) return FC_FAIL(FC_ERR_ARG, "%s: a prompt is given, and no template has the hole {prompt}", r->name);
    if (!retrieved)
        return FC_FAIL(FC_ERR_ARG, "%s: a retrieved line is given, and no template has the hole {retrieved}", r->name);
    for (size_t i = 1; i <= v->n_history; i++) {
        shown = false;
        for (int k = 0; k < n; k++) shown = shown || fc_template_shows_history(t[k], i);
        if (!shown)
            return FC_FAIL(
                FC_ERR_ARG,
                "%s: history name %zu, \"%.60s\", is given, and no template has a hole for it: {history}, {keywords}, "
                "{history_%zu} or {keywords_%zu}",
                r->name, i, v->history[i - 1], i, i);
    }
    return FC_OK;
}

static fc_status fill_one(fc_recipe *r, const char *key, const fc_template *t, const fc_template_values *v,
                          fc_prompt *out) {
    fc_status st = fc_template_fill(t, v, &r->request, out);
    return st ? FC_FAIL(st, "%s: %s: %s", r->name, key, fc_status_text()) : FC_OK;
}

fc_status fc_recipe_request(fc_recipe *r, const fc_holes *holes, fc_request *out) {
    const fc_recipe_info *o = &r->info;
    const fc_template *shown[3] = {&r->novelty_template};
    fc_template_values v;
    fc_request q = o->request;
    int n = 1;
    fc_arena_fini(&r->request);
    q.score = o->alignment_model ? strcmp(o->alignment_model, "none") != 0 : r->says_alignment;
    if (!q.score) q.alignment_adapter = NULL;
    FC_TRY(take_values(r, holes, &v));
    FC_TRY(fill_one(r, "novelty.template", &r->novelty_template, &v, &q.prompt));
    if (q.score && r->has_alignment_template) {
        FC_TRY(fill_one(r, "alignment.template", &r->alignment_template, &v, &q.alignment_prompt));
        shown[n++] = &r->alignment_template;
    }
    if (q.score && r->has_suffix && (q.mode == FC_SCORE_JUDGE || q.mode == FC_SCORE_REWARD)) {
        FC_TRY(fill_one(r, "alignment.suffix", &r->suffix, &v, &q.suffix));
        shown[n++] = &r->suffix;
    }
    FC_TRY(check_shown(r, &v, shown, n));
    if (q.score && q.mode == FC_SCORE_JUDGE) {
        q.labels = r->labels;
        q.n_labels = r->n_labels;
    }
    q.n_names = fc_recipe_names(r, &q.names);
    *out = q;
    return FC_OK;
}
