#include "tests/engine/util_engine.h"

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "weights_tools/weights.h"

#include <unistd.h>

enum { MAX_MADE = 32 };

static char folder[64], made[MAX_MADE][128];
static int n_made;

static void remove_all(void) {
    for (int i = 0; i < n_made; i++) unlink(made[i]);
    rmdir(folder);
}

const char *tiny_model_of(const fc_tiny_options *o) {
    char path[128];
    if (!folder[0]) {
        snprintf(folder, sizeof folder, "/tmp/forkcast-test-XXXXXX");
        assert_non_null(mkdtemp(folder));
        atexit(remove_all);
    }
    snprintf(path, sizeof path, "%s/%s-%llu-%d-%d-%d-%s%s.gguf", folder, o->arch, (unsigned long long)o->seed, o->V,
             o->L, o->F, fc_dtype_name(o->type), o->reward_head ? "-reward" : "");
    for (int i = 0; i < n_made; i++)
        if (strcmp(made[i], path) == 0) return made[i];
    assert_true(n_made < MAX_MADE);
    snprintf(made[n_made], sizeof made[n_made], "%s", path);
    if (o->type == FC_F8) { /* made of one in BF16 */
        char from[sizeof path + 8];
        fc_tiny_options wide = *o;
        wide.type = FC_BF16;
        snprintf(from, sizeof from, "%s.bf16", path);
        assert_ok(fc_tools_tiny(&wide, from, NULL, NULL));
        assert_ok(fc_tools_convert(from, path, FC_F8, NULL, NULL, NULL, NULL));
        unlink(from);
        return made[n_made++];
    }
    assert_ok(fc_tools_tiny(o, path, NULL, NULL));
    return made[n_made++];
}

const char *tiny_model(const char *arch, uint64_t seed, bool reward) {
    return tiny_model_of(&(fc_tiny_options){.arch = arch, .seed = seed, .reward_head = reward});
}

const char *tiny_model_vocab(const char *arch, uint64_t seed, bool reward, int V) {
    return tiny_model_of(&(fc_tiny_options){.arch = arch, .seed = seed, .reward_head = reward, .V = V});
}

const char *tiny_model_typed(const char *arch, uint64_t seed, fc_dtype type) {
    return tiny_model_of(&(fc_tiny_options){.arch = arch, .seed = seed, .type = type});
}

void change_row(const char *from, const char *tensor, int row, float v, char path[160]) {
    fc_weights *w;
    const fc_tensor *t;
    char *bytes, *at;
    size_t size, first, n;
    FILE *f;
    assert_ok(fc_weights_open(from, &w));
    assert_ok(fc_file_read(from, 1 << 26, &bytes, &size));
    t = fc_weights_find(w, tensor);
    assert_non_null(t);
    assert_int_equal(t->dtype, FC_F32);
    at = bytes;
    while (memcmp(at, t->data, t->bytes) != 0) {
        at++;
        assert_true((size_t)(at - bytes) + t->bytes <= size);
    }
    n = (size_t)(row < 0 ? t->N * t->K : t->K);
    first = row < 0 ? 0 : (size_t)row * (size_t)t->K;
    for (size_t i = 0; i < n; i++) memcpy(at + (first + i) * sizeof v, &v, sizeof v);
    snprintf(path, 160, "%s.changed", from);
    f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
    fc_free(bytes);
    fc_weights_close(w);
}

fc_backend_opener engine_opener;

fc_engine *open_engine(const fc_engine_options *o) {
    fc_engine *e = NULL;
    assert_ok(fc_engine_open_on(o, engine_opener, &e));
    return e;
}

fc_event run_request(fc_engine *e, const fc_request *r) {
    fc_event ev;
    uint64_t id;
    assert_ok(fc_submit(e, r, &id));
    for (;;) {
        assert_ok(fc_poll(e, ENGINE_PATIENCE, &ev));
        if (ev.type == FC_EVENT_DONE && ev.id == id) break;
        fc_event_fini(&ev);
    }
    if (ev.status) fail_msg("request: %s", ev.error);
    return ev;
}

fc_request text_request(const char *prompt, int n, int max_tokens) {
    static _Thread_local fc_piece pieces[64]; /* borrowed by the request: enough for the requests of one test */
    static _Thread_local int at;
    fc_request r;
    fc_request_init(&r);
    pieces[at] = (fc_piece){.text = prompt, .size = strlen(prompt)};
    r.prompt = (fc_prompt){.pieces = &pieces[at], .n_pieces = 1};
    at = (at + 1) % 64;
    r.n = n;
    r.seed = 7;
    r.sampling.max_tokens = max_tokens;
    return r;
}

void assert_same_candidate(const char *what, const fc_candidate *a, const fc_candidate *b) {
    bool same = a->n_tokens == b->n_tokens && a->n_logprobs == b->n_logprobs && a->finish == b->finish &&
                memcmp(a->tokens, b->tokens, a->n_tokens * sizeof *a->tokens) == 0 &&
                (a->n_logprobs == 0 || memcmp(a->logprobs, b->logprobs, a->n_logprobs * sizeof *a->logprobs) == 0) &&
                memcmp(&a->score, &b->score, sizeof a->score) == 0;
    if (!same)
        fail_msg("%s: candidate %d: \"%.*s\" (%zu tokens, log-prob %.9g, score %.9g) is not \"%.*s\" (%zu, %.9g, %.9g)",
                 what, a->index, (int)a->text_size, a->text, a->n_tokens, a->logprob, a->score, (int)b->text_size,
                 b->text, b->n_tokens, b->logprob, b->score);
}
