/* Adapters made by peft against peft and transformers in float32 (tests/oracle/lora_golden.py); rows of several
 * adapters and of the base in one batch; a GGUF base.
 *
 * tolerance  1e-4 absolute on logits with a spread of 3 and more, as test_parity.c
 */
#include "engine/adapter.h"
#include "engine/base/json.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "engine/lane.h"
#include "engine/probe.h"
#include "tests/engine/util_late.h"
#include "tests/util.h"
#include "weights_tools/tools.h"

#include <unistd.h>

#define MODELS   "tests/data/models/"
#define ADAPTERS "tests/data/adapters/"

enum { MAX_T = 64, MAX_COLUMNS = 32, MAX_SCORES = 8, V = 320 };

static const char *const with_logits[] = {"llama_plain", "llama_rslora", "llama_alora", "qwen3_upper", "gemma2_plain"};
static const char *const with_scores[] = {"llama_score", "qwen3_score"};

/* What peft answered. */
typedef struct {
    char base[64];
    int32_t ids[MAX_T], columns[MAX_COLUMNS], lengths[MAX_SCORES];
    int T, n_columns, n_scores;
    int64_t begins;
    float scores[MAX_SCORES], at[MAX_T * MAX_COLUMNS]; /* [T,n_columns] */
} golden;

static const fc_json *need(const fc_json *n, const char *key) {
    const fc_json *x = fc_json_get(n, key);
    if (!x) fail_msg("no key %s in a golden file", key);
    return x;
}

static int read_ints(const fc_json *list, int32_t *out, int room) {
    int n = 0;
    for (const fc_json *x = fc_json_first(list); x; x = fc_json_next(x)) {
        int64_t v;
        assert_ok(fc_json_int(x, 0, INT32_MAX, &v));
        assert_true(n < room);
        out[n++] = (int32_t)v;
    }
    return n;
}

static golden golden_of(const char *name) {
    golden g = {.T = 0};
    char path[256], *bytes;
    const char *base;
    fc_json_doc *doc;
    const fc_json *root;
    size_t size;
    snprintf(path, sizeof path, ADAPTERS "%s/golden.json", name);
    assert_ok(fc_json_open(path, 1 << 20, &doc));
    root = fc_json_root(doc);
    assert_ok(fc_json_string(need(root, "base"), &base));
    snprintf(g.base, sizeof g.base, MODELS "%s", base);
    g.T = read_ints(need(root, "ids"), g.ids, MAX_T);
    if (fc_json_get(root, "scores")) {
        for (const fc_json *x = fc_json_first(fc_json_get(root, "scores")); x; x = fc_json_next(x)) {
            int64_t n;
            double score;
            assert_true(g.n_scores < MAX_SCORES);
            assert_ok(fc_json_int(need(x, "n"), 1, g.T, &n));
            assert_ok(fc_json_double(need(x, "score"), &score));
            g.lengths[g.n_scores] = (int32_t)n;
            g.scores[g.n_scores++] = (float)score;
        }
    } else {
        g.n_columns = read_ints(need(root, "columns"), g.columns, MAX_COLUMNS);
        assert_ok(fc_json_int(need(root, "begins"), 0, g.T, &g.begins));
        snprintf(path, sizeof path, ADAPTERS "%s/golden.bin", name);
        assert_ok(fc_file_read(path, 1 << 20, &bytes, &size));
        assert_int_equal(size, sizeof(float) * (size_t)(g.T * g.n_columns));
        memcpy(g.at, bytes, size);
        fc_free(bytes);
    }
    fc_json_close(doc);
    return g;
}

/* Largest distance of an adapter's logits or scores from the golden ones, on a base (NULL: its own). */
static double distance(const char *name, const char *base, fc_probe_options o) {
    golden g = golden_of(name);
    char adapter[256];
    fc_probe *p;
    double most = 0;
    snprintf(adapter, sizeof adapter, ADAPTERS "%s", name);
    o.adapter = adapter;
    assert_ok(fc_probe_open(base ? base : g.base, &o, &p));
    for (int i = 0; i < g.n_scores; i++) {
        float score;
        double d;
        assert_ok(fc_probe_reward(p, g.ids, g.lengths[i], &score));
        d = fabs((double)score - (double)g.scores[i]);
        if (!(d <= most)) most = d;
    }
    if (!g.n_scores) {
        float *logits = malloc(sizeof *logits * (size_t)g.T * V);
        assert_non_null(logits);
        assert_ok(fc_probe_logits(p, g.ids, g.T, logits));
        for (int t = 0; t < g.T; t++)
            for (int k = 0; k < g.n_columns; k++) {
                double d = fabs((double)logits[t * V + g.columns[k]] - (double)g.at[t * g.n_columns + k]);
                if (!(d <= most)) most = d; /* a NaN stays */
            }
        free(logits);
    }
    fc_probe_close(p);
    return most;
}

static void near_at_every_level(const char *const *names, size_t n) {
    for (size_t i = 0; i < n; i++)
        for (fc_cpu_level level = FC_CPU_PORTABLE; level <= fc_cpu_best(); level++) {
            const char *cpu = fc_cpu_level_name(level);
            double a = distance(names[i], NULL, (fc_probe_options){.cpu = cpu, .max_rows = 64, .threads = 1});
            double b = distance(names[i], NULL, (fc_probe_options){.cpu = cpu, .max_rows = 7, .threads = 2});
            printf("%-13s %-8s %.2e at once, %.2e in chunks of 7\n", names[i], cpu, a, b);
            if (!(a <= 1e-4) || !(b <= 1e-4)) fail_msg("%s: %g, in chunks %g, away from peft", names[i], a, b);
        }
}

/* If this fails, an adapter says something else here than where it was trained. */
static void logits_equal_peft(void **state) {
    (void)state;
    near_at_every_level(with_logits, sizeof with_logits / sizeof *with_logits);
}

static void scores_equal_peft(void **state) {
    (void)state;
    near_at_every_level(with_scores, sizeof with_scores / sizeof *with_scores);
}

/* If this fails, an adapter trained on the original is nonsense on a GGUF of it: q and k lie in another order there. */
static void a_gguf_base_gives_the_same(void **state) {
    static const char *const names[] = {"llama_plain", "llama_rslora", "llama_alora", "qwen3_upper", "gemma2_plain"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        golden g = golden_of(names[i]);
        char path[] = "/tmp/fc-adapter-XXXXXX";
        int fd = mkstemp(path);
        fc_str notes = {0};
        double d;
        assert_true(fd >= 0);
        close(fd);
        assert_ok(fc_tools_convert(g.base, path, FC_F32, NULL, NULL, &notes, NULL));
        d = distance(names[i], path, (fc_probe_options){.threads = 1});
        printf("%-13s on GGUF %.2e\n", names[i], d);
        if (!(d <= 1e-4)) fail_msg("%s on GGUF: %g away from peft", names[i], d);
        fc_str_fini(&notes);
        unlink(path);
    }
}

/* ---- batches of several adapters ----------------------------------------------------------------------- */

typedef struct {
    fc_weights *weights;
    fc_backend *be;
    fc_model *model;
    fc_adapter *opened[3];
    const fc_adapter *table[3];
    fc_lane lane;
    fc_batch batch;
} fixture;

static void open_fixture(fixture *f, const char *base, const char *const *names, int n, bool late, int threads) {
    fc_op_limits limits = {0};
    memset(f, 0, sizeof *f);
    assert_ok(fc_weights_open(base, &f->weights));
    fc_model_limits(fc_weights_config(f->weights), 128, &limits);
    if (late) assert_ok(late_backend_open(FC_CPU_AUTO, threads, &limits, &f->be));
    else assert_ok(fc_backend_open_cpu(FC_CPU_AUTO, threads, &limits, &f->be));
    assert_ok(fc_model_open(f->weights, f->be, NULL, NULL, &f->model));
    for (int i = 0; i < n; i++) {
        char path[256];
        snprintf(path, sizeof path, ADAPTERS "%s", names[i]);
        assert_ok(fc_adapter_open(f->model, path, &f->opened[i]));
        f->table[i] = f->opened[i];
    }
    f->model->adapters = f->table;
    f->model->n_adapters = n;
    assert_ok(fc_lane_open(
        f->model,
        &(fc_lane_options){
            .kv_type = FC_F32, .ctx = 256, .page_slots = 16, .kv_pages = 64, .max_rows = 128, .max_branches = 8},
        &f->lane));
    assert_ok(fc_lane_batch(&f->lane, 0, &f->batch));
}

static void close_fixture(fixture *f) {
    fc_batch_close(&f->batch);
    fc_lane_close(&f->lane);
    for (int i = 0; i < 3; i++) fc_adapter_close(f->opened[i]);
    fc_model_close(f->model);
    fc_backend_close(f->be);
    fc_weights_close(f->weights);
}

typedef struct {
    int adapter; /* -1: none */
    const int32_t *ids;
    int n, since; /* rows since .. n-1 go through it */
} sequence;

/* Logits of all rows of the sequences in one pass, one behind another; freed with free. */
static float *pass(fixture *f, const sequence *s, int n) {
    fc_lane *l = &f->lane;
    fc_batch *b = &f->batch;
    int tables[8], done = 0;
    float *out;
    fc_batch_reset(b);
    for (int i = 0; i < n; i++) {
        int row;
        assert_ok(fc_kv_table_open(l->kv, &tables[i]));
        assert_ok(fc_kv_append(l->kv, tables[i], s[i].n));
        row = fc_batch_add(b, tables[i], s[i].ids, s[i].n);
        if (s[i].adapter >= 0) fc_batch_adapter(b, row + s[i].since, s[i].n - s[i].since, s[i].adapter);
        for (int r = 0; r < s[i].n; r++) fc_batch_want(b, row + r);
    }
    assert_ok(fc_kv_flush(l->kv));
    assert_ok(fc_batch_plan(b));
    assert_ok(fc_forward(f->model, b, &l->work));
    out = malloc((size_t)b->n_outs * V * sizeof *out);
    assert_non_null(out);
    for (; done < b->n_outs; done++) { /* one at a time: no bit may depend on it */
        assert_ok(fc_forward_logits(f->model, l->work.out + (size_t)done * (size_t)f->model->cfg.D, 1, 0, &l->work));
        assert_ok(f->be->download(f->be, out + (size_t)done * V, l->work.logits, V * sizeof *out));
        assert_ok(f->be->sync(f->be));
    }
    for (int i = 0; i < n; i++) fc_kv_table_close(l->kv, tables[i]);
    return out;
}

static void same_rows(const char *what, const float *a, const float *b, int rows) {
    for (int i = 0; i < rows * V; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0)
            fail_msg("%s: logit %d of row %d is %.9g and %.9g", what, i % V, i / V, (double)a[i], (double)b[i]);
}

/* If this fails, requests with different adapters cannot share a batch. */
static void a_mixed_batch_equals_each_alone(void **state) {
    static const char *const names[] = {"llama_plain", "llama_rslora", "llama_alora"};
    golden g = golden_of("llama_alora");
    const sequence mixed[] = {{0, g.ids, 9, 0},  {-1, g.ids + 3, 11, 0}, {1, g.ids + 1, 20, 0}, {0, g.ids + 7, 1, 0},
                              {-1, g.ids, 1, 0}, {2, g.ids, 58, 41},     {1, g.ids + 30, 5, 3}};
    const int n = (int)(sizeof mixed / sizeof *mixed);
    (void)state;
    for (int late = 0; late < 2; late++) {
        fixture f;
        float *together;
        int at = 0;
        open_fixture(&f, MODELS "llama", names, 3, late, 2);
        together = pass(&f, mixed, n);
        for (int i = 0; i < n; i++) {
            float *alone = pass(&f, &mixed[i], 1);
            same_rows("alone", together + (size_t)at * V, alone, mixed[i].n);
            free(alone);
            at += mixed[i].n;
        }
        free(together);
        close_fixture(&f);
    }
}

static fc_status no_lora(fc_stream s, const fc_lora_args *a) {
    (void)s;
    return FC_FAIL(FC_ERR_INTERNAL, "%d groups", a->n_groups);
}

/* If this fails, loading an adapter changes or slows requests that do not use it. */
static void rows_without_an_adapter_are_the_bases(void **state) {
    static const char *const names[] = {"llama_plain"};
    golden g = golden_of("llama_plain");
    const sequence s[] = {{-1, g.ids, 40, 0}, {-1, g.ids, 3, 0}}, one[] = {{-1, g.ids, 40, 0}, {0, g.ids, 3, 0}};
    fixture base, loaded;
    float *a, *b, *c;
    (void)state;
    open_fixture(&base, MODELS "llama", NULL, 0, false, 1);
    open_fixture(&loaded, MODELS "llama", names, 1, false, 1);
    assert_null(base.lane.work.z);
    a = pass(&base, s, 2);
    c = pass(&loaded, one, 2);
    loaded.be->lora = no_lora; /* not even called */
    b = pass(&loaded, s, 2);
    same_rows("loaded", a, b, 43);
    same_rows("beside one", a, c, 40);
    assert_memory_not_equal(a + 40 * V, c + 40 * V, V * sizeof *a);
    free(a);
    free(b);
    free(c);
    close_fixture(&base);
    close_fixture(&loaded);
}

/* If this fails, KV of the base is kept where an aLoRA adapter has changed it, or thrown away where it has not. */
static void an_adapter_begins_where_it_is_invoked(void **state) {
    static const char *const names[] = {"llama_plain", "llama_alora", "llama_score"};
    static const int32_t none[] = {17, 4, 5, 17}, twice[] = {17, 5, 17, 5, 17};
    golden g = golden_of("llama_alora");
    fixture f;
    fc_adapter *a;
    (void)state;
    open_fixture(&f, MODELS "llama", names, 3, false, 1);
    assert_int_equal(fc_adapter_begins(f.table[0], none, 4), 0);
    a = f.opened[1];
    assert_int_equal(fc_adapter_begins(a, g.ids, g.T), g.begins);
    assert_int_equal(fc_adapter_begins(a, none, 4), 4);
    assert_int_equal(fc_adapter_begins(a, none, 1), 1);
    assert_int_equal(fc_adapter_begins(a, none, 0), 0);
    assert_int_equal(fc_adapter_begins(a, twice, 5), 2);
    assert_int_equal(fc_adapter_begins(a, twice, 2), 0);
    assert_int_equal(fc_adapter_begins(&(fc_adapter){.rank = 0}, none, 4), 4);
    assert_non_null(f.table[2]->reward);
    assert_null(f.table[0]->reward);
    assert_true(f.table[0]->fingerprint != f.table[1]->fingerprint);
    assert_true(f.table[0]->rank == 12 && f.table[0]->bytes > 0);
    close_fixture(&f);
}

static void an_adapter_of_another_model_is_refused(void **state) {
    fc_probe *p;
    (void)state;
    assert_fails(
        fc_probe_open(MODELS "qwen3", &(fc_probe_options){.adapter = ADAPTERS "llama_plain", .threads = 1}, &p),
        FC_ERR_FORMAT, "32 x 4 are expected");
    assert_fails(fc_probe_open(MODELS "llama", &(fc_probe_options){.adapter = ADAPTERS "none", .threads = 1}, &p),
                 FC_ERR_IO, "adapter_config.json");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_equal_peft),
        cmocka_unit_test(scores_equal_peft),
        cmocka_unit_test(a_gguf_base_gives_the_same),
        cmocka_unit_test(a_mixed_batch_equals_each_alone),
        cmocka_unit_test(rows_without_an_adapter_are_the_bases),
        cmocka_unit_test(an_adapter_begins_where_it_is_invoked),
        cmocka_unit_test(an_adapter_of_another_model_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
