#include "engine/app/bench/conditions.h"

#include "engine/app/textio.h"
#include "engine/base/hash.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "engine/table.h"

#include <string.h>

/* ---- the command ---- */

/* A word as a shell takes it. */
static fc_status put_word(const char *word, fc_str *out) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./,:=@%+";
    if (*word && !word[strspn(word, plain)]) return fc_str_printf(out, " %s", word);
    FC_TRY(fc_str_puts(out, " '"));
    for (const char *c = word; *c; c++) FC_TRY(*c == '\'' ? fc_str_puts(out, "'\\''") : fc_str_put(out, c, 1));
    return fc_str_puts(out, "'");
}

fc_status conditions_command(int argc, char **argv, fc_str *out) {
    FC_TRY(fc_str_puts(out, "forkcast bench"));
    for (int i = 0; i < argc; i++) FC_TRY(put_word(argv[i], out));
    return FC_OK;
}

/* ---- an engine in this process ---- */

static uint64_t hash_more(uint64_t hash, const char *text) { return fc_siphash(hash, 0, text, strlen(text)); }

/* Names with their keywords and parents, wherever they come from. */
static fc_status put_names(setup *s) {
    fc_taxonomy_names t = {0};
    uint64_t hash = 0;
    size_t n = s->a.opened ? fc_recipe_taxonomy(s->a.opened, &t) : 0;
    if (!n) return FC_OK;
    for (size_t i = 0; i < n; i++) {
        hash = hash_more(hash, t.names[i]);
        hash = hash_more(hash, t.keywords && t.keywords[i] ? t.keywords[i] : "");
        hash = hash_more(hash, t.parents && t.parents[i] ? t.parents[i] : "");
    }
    return report_set(&s->report, "names", "%zu of hash %016llx", n, (unsigned long long)hash);
}

/* A recipe of the program's own has no file. */
static fc_status put_recipe(setup *s) {
    char *text;
    size_t size;
    fc_status st;
    if (!s->a.recipe) return FC_OK;
    FC_TRY(report_set(&s->report, "recipe", "%s", text_file_name(s->a.recipe)));
    if (!fc_path_exists(s->a.recipe)) return FC_OK;
    FC_TRY(text_read(s->a.recipe, &text, &size));
    st = report_set(&s->report, "recipe_hash", "%016llx", (unsigned long long)fc_siphash(0, 0, text, size));
    fc_free(text);
    return st;
}

/* Two files may have one name: all of a model or adapter that is read counts. */
static fc_status put_print(setup *s, const char *name, const char *path) {
    uint64_t print;
    if (!path) return FC_OK;
    progress_say(&s->line, "reading %s for its fingerprint", text_file_name(path));
    FC_TRY(fc_table_fingerprint(path, &print));
    return report_set(&s->report, name, "%016llx", (unsigned long long)print);
}

static fc_status put_engine(setup *s) {
    const request_args *a = &s->a;
    bench_report *r = &s->report;
    fc_engine_info info;
    bench_local_describe(s->target, &info);
    FC_TRY(report_set(r, "novelty", "%s", text_file_name(a->novelty)));
    FC_TRY(report_set(r, "alignment", "%s", s->target->scores ? text_file_name(a->alignment) : "none"));
    FC_TRY(put_print(s, "novelty_hash", a->novelty));
    FC_TRY(put_print(s, "alignment_hash", s->target->scores ? a->alignment : NULL));
    FC_TRY(put_recipe(s));
    if (a->taxonomy) FC_TRY(report_set(r, "taxonomy", "%s", text_file_name(a->taxonomy)));
    FC_TRY(put_names(s));
    if (a->suffix) FC_TRY(report_set(r, "suffix", "%s", a->suffix));
    for (size_t i = 0; i < a->labels.n; i++) FC_TRY(report_set(r, "label", "%s", a->labels.items[i]));
    for (size_t i = 0; i < a->adapters.n; i++) {
        const char *item = a->adapters.items[i];
        FC_TRY(report_set(r, "adapter", "%.*s=%s", (int)strcspn(item, "="), item, text_file_name(item)));
    }
    FC_TRY(put_print(s, "novelty_adapter_hash", bench_local_adapter(s->target, FC_NOVELTY)));
    FC_TRY(put_print(s, "alignment_adapter_hash", bench_local_adapter(s->target, FC_ALIGNMENT)));
    FC_TRY(report_set(r, "backend", "%s", info.backend));
    FC_TRY(report_set(r, "level", "%s", info.cpu));
    FC_TRY(report_set(r, "threads", "%d", info.threads));
    FC_TRY(report_set(r, "kv_type", "%s", info.novelty.kv_type));
    r->threads = s->no_limits || strcmp(info.backend, "cpu") != 0 ? 0 : info.threads;
    return FC_OK;
}

/* ---- a server ---- */

static fc_status put_server(setup *s) {
    bench_report *r = &s->report;
    FC_TRY(report_set(r, "server", "%s", s->url));
    FC_TRY(report_set(r, "api", "%s", r->api));
    if (s->model) FC_TRY(report_set(r, "model", "%s", s->model));
    if (s->a.novelty) FC_TRY(report_set(r, "novelty", "%s", text_file_name(s->a.novelty)));
    FC_TRY(put_print(s, "novelty_hash", s->a.novelty));
    if (s->body.size)
        FC_TRY(report_set(r, "body_hash", "%016llx",
                          (unsigned long long)fc_siphash(0, 0, fc_str_text(&s->body), s->body.size)));
    if (s->score_url) FC_TRY(report_set(r, "score_url", "%s", s->score_url));
    return s->score_model ? report_set(r, "score_model", "%s", s->score_model) : FC_OK;
}

/* ---- both ---- */

static fc_status put_prompts(setup *s) {
    bench_report *r = &s->report;
    if (s->prompt_tokens) {
        FC_TRY(report_set(r, "prompts", "random ids, others in every run"));
        return report_set(r, "prompt_tokens", "%d", s->prompt_tokens);
    }
    FC_TRY(report_set(r, "prompts", "lines of %s", text_file_name(s->prompts_file)));
    FC_TRY(report_set(r, "prompts_hash", "%016llx", (unsigned long long)s->prompts.hash));
    FC_TRY(report_set(r, "prompts_as", s->prompts.histories ? "histories" : "text"));
    return report_set(r, "prompt_tokens", "as they come");
}

/* How candidates are drawn and scored, for readers: recipes and flags may have said it, or nobody. */
static fc_status put_request(setup *s) {
    const fc_request *r = &s->request;
    bench_report *to = &s->report;
    FC_TRY(report_set(to, "temperature", "%g", (double)r->sampling.temperature));
    if (s->url) return FC_OK;
    if (r->constraint) FC_TRY(report_set(to, "constraint", "%s", fc_constraint_name(r->constraint)));
    if (r->draw) FC_TRY(report_set(to, "draw", "%s", fc_draw_name(r->draw)));
    return s->target->scores ? report_set(to, "alignment_mode", "%s", fc_score_mode_name(r->mode)) : FC_OK;
}

/* What flags say, but what is said already: as it came to be. */
static fc_status put_options(setup *s) {
    static const char *const said[] = {"max_tokens",  "threads",    "kv_type", "backend", "seed",
                                       "temperature", "constraint", "draw",    "mode"};
    for (size_t i = 0; i < s->a.options.n; i++) {
        const char *name = s->a.options.given[i].option->name;
        bool is_said = false;
        for (size_t k = 0; k < sizeof said / sizeof *said; k++) is_said = is_said || strcmp(said[k], name) == 0;
        if (!is_said) FC_TRY(report_set(&s->report, name, "%s", s->a.options.given[i].text));
    }
    return FC_OK;
}

static fc_status put_settings(setup *s) {
    bench_report *r = &s->report;
    FC_TRY(s->url ? put_server(s) : put_engine(s));
    FC_TRY(put_prompts(s));
    FC_TRY(report_set(r, "max_tokens", "%d", r->max_tokens));
    FC_TRY(report_set(r, "warm_up", "%d", s->warm_up));
    FC_TRY(report_set(r, "caches",
                      s->keep_cache      ? "as earlier requests left them"
                      : s->target->salts ? "apart for every request"
                                         : "other prompts for every n"));
    FC_TRY(put_request(s));
    FC_TRY(put_options(s));
    FC_TRY(report_set(r, "salt", "%llu", (unsigned long long)s->salt));
    return report_set(r, "seed", "%llu", (unsigned long long)s->seed);
}

fc_status conditions_put(setup *s) {
    bench_report *r = &s->report;
    fc_str typed = {0};
    fc_status st;
    r->target = s->target;
    r->commit = s->commit;
    r->prompt_tokens = s->prompt_tokens;
    r->api = s->url && s->api ? s->api : "forkcast";
    FC_TRY(put_settings(s));
    if (r->threads) progress_say(&s->line, "measuring the machine's limits");
    FC_TRY(fc_machine_inspect(r->threads > 0, r->threads, &r->machine));
    st = conditions_command(s->argc, s->argv, &typed);
    if (!st) st = fc_copy_str(fc_str_text(&typed), "the command", &r->command);
    fc_str_fini(&typed);
    return st;
}
