/* fuzz_openai - a libFuzzer target for bodies of the server's API. The first byte chooses the route, the rest is the
 * body; an answer to what is taken is opened and fails. Needs no engine: a tiny model's tokenizer, made in the working
 * folder. How to run: README.md here.
 */
#include "engine/app/openai/openai.h"
#include "engine/base/status.h"
#include "weights_tools/tools.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char recipe_text[] =
    "{\"novelty\":{\"template\":\"<s>Q {prompt} A\"},\"alignment\":{\"mode\":\"judge\",\"template\":\"Rate {prompt}:\","
    "\"suffix\":\"?\",\"labels\":[\"y\",\"n\"]},\"n\":6,\"keep\":2}";

/* The library's would be its own copy's: this program has the sources with sanitizers. */
const char *fc_last_error(void) { return fc_status_text(); }

static openai_model models[1] = {{.id = "m"}};
static openai_server servers[2];

static void must(fc_status st) {
    if (!st) return;
    fprintf(stderr, "%s: %s\n", fc_status_name(st), fc_status_text());
    abort();
}

static void open_server(openai_server *s, const char *recipe, fc_tokenizer *t) {
    *s = (openai_server){.models = models, .n_models = 1, .tok = {t, t}, .has_recipe = recipe != NULL};
    s->info = (fc_engine_info){.has_alignment = true, .same_tokenizer = true, .shared_model = true};
    s->info.novelty.vocab = s->info.alignment.vocab = fc_tokenizer_vocab(t);
    s->info.novelty.ctx = s->info.alignment.ctx = 256;
    must(fc_recipe_parse("recipe", recipe ? recipe : "{}", strlen(recipe ? recipe : "{}"), &s->recipe));
    must(openai_server_init(s));
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    static const char path[] = "fuzz_openai.gguf";
    fc_tokenizer *t;
    (void)argc;
    (void)argv;
    must(fc_tools_tiny(&(fc_tiny_options){.arch = "llama", .V = 512, .D = 16, .L = 1, .H = 1, .G = 1, .E = 16, .F = 16},
                       path, NULL, NULL));
    must(fc_tokenizer_open(path, &t));
    remove(path);
    open_server(&servers[0], NULL, t);
    open_server(&servers[1], recipe_text, t);
    return 0;
}

static void answer(openai_server *s, openai_call *c) {
    const fc_event ev = {.type = FC_EVENT_DONE, .status = FC_ERR_TIMEOUT, .error = "late", .text = ""};
    openai_answer *a;
    openai_error e;
    fc_str out = {0};
    bool over;
    must(openai_answer_open(s, c, &a));
    if (openai_answer_event(a, 0, &ev, &out, &over, &e) == FC_OK) abort();
    fc_str_fini(&out);
    openai_answer_close(a);
}

/* An error names a status that the table has. */
static void check(fc_status st, const openai_error *e) {
    if (st == FC_ERR_INTERNAL || e->http < 400 || e->http > 504 || !e->type || !e->message[0]) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const openai_context c = {.random = 1, .now = 1};
    openai_call *call;
    openai_error e;
    fc_str out = {0};
    fc_status st;
    openai_server *s;
    if (size < 1) return 0;
    s = &servers[data[0] >> 7];
    if ((data[0] & 7) < 5) {
        st = openai_call_parse(s, (openai_route)(data[0] & 7), &c, (const char *)data + 1, size - 1, &call, &e);
        if (!st) answer(s, call);
    } else {
        st = (data[0] & 1 ? openai_tokenize : openai_detokenize)(s, (const char *)data + 1, size - 1, &out, &e);
        fc_str_fini(&out);
    }
    if (st) check(st, &e);
    return 0;
}
