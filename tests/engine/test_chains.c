/* Trees of tokens computed in one pass as chains: the final hidden state of every node is, bit for bit, that of the
 * same tokens fed as one ordinary sequence, alone. */
#include "engine/lane.h"
#include "kernels/cpu/backend_cpu.h"
#include "tests/engine/util_engine.h"
#include "tests/engine/util_tree.h"

enum { JOBS = 3, CTX = 2048, MAX_ROWS = 512, MAX_SEQS = 400, MAX_EXPECTED = 8192 };

typedef struct {
    fc_weights *weights;
    fc_backend *be;
    fc_model *model;
    fc_lane lane, alone; /* of the trees; of one sequence */
    fc_batch batch, alone_batch;
} machine;

typedef struct {
    int length;              /* of the prompt; the last `late` rows of it are computed in the pass of the trees */
    int late, decode;        /* decode: table of an ordinary sequence, one row behind the prompt, or -1 */
    int32_t prompt[CTX], id; /* id: the decode row's */
    tree tree;
    int pass[TREE_NODES];                 /* in which of two passes a node is computed */
    const float *node[TREE_NODES], *last; /* [D] reference, in `expected` */
} job;

/* What one entry of a batch is. */
typedef struct {
    int job, node, end; /* a chain of its tree; or node one of these */
} entry;

enum { DECODE = -1, LATE_PROMPT = -2 };

typedef struct {
    machine m;
    int D;
    job jobs[JOBS];
    float *expected, *out; /* [MAX_EXPECTED,D], [MAX_ROWS,D] */
    int n_expected;
    entry entries[MAX_SEQS], wanted[MAX_ROWS];
    int n_entries;
} scene;

static int chains, nodes, decode_rows, late_prompts, parents_after; /* of all scenes */
static double tiles[2];                                             /* read without and with sharing */

static void machine_open(machine *m, const char *path, fc_cpu_level level, fc_dtype kv, int P) {
    fc_lane_options o = {.kv_type = kv,
                         .ctx = CTX,
                         .page_slots = P,
                         .kv_pages = 8 * fc_kv_pages_for(CTX, P),
                         .max_rows = MAX_ROWS,
                         .max_branches = MAX_SEQS};
    fc_op_limits limits = {0};
    memset(m, 0, sizeof *m);
    assert_ok(fc_weights_open(path, &m->weights));
    fc_model_limits(fc_weights_config(m->weights), MAX_ROWS, &limits);
    assert_ok(fc_backend_open_cpu(level, 2, &limits, &m->be));
    assert_ok(fc_model_open(m->weights, m->be, NULL, NULL, &m->model));
    assert_ok(fc_lane_open(m->model, &o, &m->lane));
    o.page_slots = 16;
    o.kv_pages = fc_kv_pages_for(CTX, 16);
    o.max_branches = 1;
    assert_ok(fc_lane_open(m->model, &o, &m->alone));
    assert_ok(fc_lane_batch(&m->lane, 0, &m->batch));
    assert_ok(fc_lane_batch(&m->alone, 0, &m->alone_batch));
    m->alone_batch.share = false;
}

static void machine_close(machine *m) {
    fc_batch_close(&m->alone_batch);
    fc_batch_close(&m->batch);
    fc_lane_close(&m->alone);
    fc_lane_close(&m->lane);
    fc_model_close(m->model);
    fc_backend_close(m->be);
    fc_weights_close(m->weights);
}

static int passes; /* of trees */

static int units_of_next_pass(void) { return passes % 3 * 100; } /* two passes of three are cut finer */

static fc_batch *batch_of(machine *m, const fc_lane *l) { return l == &m->alone ? &m->alone_batch : &m->batch; }

/* Plans and runs the lane's batch; what it wants goes to out. */
static void run(machine *m, fc_lane *l, float *out) {
    fc_batch *b = batch_of(m, l);
    size_t bytes = (size_t)b->n_outs * (size_t)m->model->cfg.D * sizeof *out;
    m->be->attn_units = l == &m->alone ? 0 : units_of_next_pass();
    passes += l != &m->alone;
    assert_ok(fc_kv_flush(l->kv));
    assert_ok(fc_batch_plan(b));
    assert_ok(fc_forward(m->model, b, &l->work));
    if (!bytes) return;
    assert_ok(m->be->download(m->be, out, l->work.out, bytes));
    assert_ok(m->be->sync(m->be));
}

/* Feeds ids at the end of a table; the last `want` final hidden states go to out. */
static void feed(machine *m, fc_lane *l, int table, const int32_t *ids, int n, int want, float *out) {
    fc_batch *b = batch_of(m, l);
    for (int at = 0, T; at < n; at += T) {
        T = n - at < MAX_ROWS ? n - at : MAX_ROWS;
        if (at + T < n && at + T > n - want) T = n - want - at; /* all that is wanted in one chunk */
        fc_batch_reset(b);
        assert_ok(fc_kv_append(l->kv, table, T));
        fc_batch_add(b, table, ids + at, T);
        for (int r = n - want - at > 0 ? n - want - at : 0; r < T; r++) fc_batch_want(b, r);
        run(m, l, out);
    }
}

/* The prompt and these ids as one sequence, alone: the final hidden states of the latter. */
static float *reference(scene *s, const job *j, const int32_t *ids, int n) {
    static int32_t all[CTX];
    float *out = s->expected + (size_t)s->n_expected * (size_t)s->D;
    int table;
    s->n_expected += n;
    assert_true(s->n_expected <= MAX_EXPECTED && j->length + n <= CTX);
    memcpy(all, j->prompt, (size_t)j->length * sizeof *all);
    memcpy(all + j->length, ids, (size_t)n * sizeof *all);
    assert_ok(fc_kv_table_open(s->m.alone.kv, &table));
    feed(&s->m, &s->m.alone, table, all, j->length + n, n, out);
    fc_kv_table_close(s->m.alone.kv, table);
    return out;
}

static void expect_job(scene *s, job *j) {
    for (int i = 0; i < j->tree.n; i++)
        if (tree_is_leaf(&j->tree, i)) {
            int path[TREE_NODES], n = j->tree.depth[i] + 1;
            int32_t ids[TREE_NODES];
            const float *out;
            tree_path(&j->tree, i, path);
            for (int d = 0; d < n; d++) ids[d] = j->tree.id[path[d]];
            out = reference(s, j, ids, n);
            for (int d = 0; d < n; d++) j->node[path[d]] = out + (size_t)d * (size_t)s->D;
        }
    if (j->decode >= 0) j->last = reference(s, j, &j->id, 1);
}

static void job_open(scene *s, job *j, int length, int n, uint64_t *seed) {
    fc_kv *kv = s->m.lane.kv;
    tree *t = &j->tree;
    int V = s->m.model->cfg.V;
    j->length = t->base = length;
    j->late = test_below(seed, 3) ? 0 : 1 + test_below(seed, length < 40 ? length : 40);
    j->decode = -1;
    j->id = test_below(seed, V);
    for (int i = 0; i < length; i++) j->prompt[i] = test_below(seed, V);
    assert_ok(fc_kv_table_open(kv, &t->table));
    if (length > j->late) feed(&s->m, &s->m.lane, t->table, j->prompt, length - j->late, 0, NULL);
    assert_ok(fc_kv_append(kv, t->table, j->late));
    if (!j->late) {
        assert_ok(fc_kv_fork(kv, t->table, &j->decode));
        assert_ok(fc_kv_append(kv, j->decode, 1));
    }
    tree_grow(t, n, 6 + test_below(seed, 4), V, seed);
    tree_place(t, kv, test_below(seed, 2), seed);
    for (int i = 0; i < t->n; i++) /* never before its parent's */
        j->pass[i] = t->parent[i] >= 0 && j->pass[t->parent[i]] ? 1 : test_below(seed, 5) == 0;
    expect_job(s, j);
}

/* The entries of one pass, shuffled: a chain may stand before the chain that it continues. */
static void list_entries(scene *s, int pass, uint64_t *seed) {
    int n = 0;
    for (int i = 0; i < JOBS; i++) {
        const job *j = &s->jobs[i];
        if (j->decode >= 0) s->entries[n++] = (entry){i, DECODE, 0};
        if (pass == 0 && j->late) s->entries[n++] = (entry){i, LATE_PROMPT, 0};
        for (int k = 0, end; k < j->tree.n; k = end) {
            int longest = tree_chain_end(&j->tree, k);
            for (end = k + 1; end < longest && j->pass[end] == j->pass[k] && test_below(seed, 8);) end++;
            if (j->pass[k] == pass) s->entries[n++] = (entry){i, k, end};
        }
    }
    for (int i = n; i-- > 1;) {
        int k = test_below(seed, i + 1);
        entry e = s->entries[i];
        s->entries[i] = s->entries[k];
        s->entries[k] = e;
    }
    s->n_entries = n;
}

static void want(scene *s, int row, int n, entry e) {
    for (int i = 0; i < n; i++) {
        s->wanted[fc_batch_want(&s->m.batch, row + i)] = e;
        e.node += e.node >= 0;
    }
}

/* Rows of a table that fill units of a GPU by themselves read all their tiles alone: batch.c. */
static bool fills_units(const scene *s, int rows) {
    int vectors = rows * s->m.model->H / s->m.model->G;
    int filled = (vectors + FC_ATTN_WIDE_HALF - 1) / FC_ATTN_WIDE_HALF * FC_ATTN_WIDE_HALF;
    return units_of_next_pass() && vectors >= FC_ATTN_WIDE_UNIT && 3 * filled <= 4 * vectors;
}

/* Adds the entries; returns the tiles that the pass is to read. */
static int add_entries(scene *s, bool share) {
    fc_batch *b = &s->m.batch;
    int read = 0, row_of[JOBS][TREE_NODES];
    bool any[JOBS] = {false}; /* an entry that shares the prompt's tiles */
    memset(row_of, -1, sizeof row_of);
    fc_batch_reset(b);
    b->share = share;
    for (int i = 0; i < s->n_entries; i++) {
        entry e = s->entries[i];
        const job *j = &s->jobs[e.job];
        int whole = j->length / FC_ATTN_TILE, end = j->length;
        bool alone = !share || (e.node == LATE_PROMPT && fills_units(s, j->late));
        if (e.node == LATE_PROMPT) {
            fc_batch_add(b, j->tree.table, j->prompt + j->length - j->late, j->late);
            late_prompts++;
        } else if (e.node == DECODE) {
            want(s, fc_batch_add(b, j->decode, &j->id, 1), 1, e);
            end++;
            decode_rows++;
        } else {
            int row = tree_add_chain(&j->tree, b, e.node, e.end);
            want(s, row, e.end - e.node, e);
            for (int k = e.node; k < e.end; k++) row_of[e.job][k] = row + k - e.node;
            end += j->tree.depth[e.end - 1] + 1;
            chains++;
            nodes += e.end - e.node;
        }
        read += (end + FC_ATTN_TILE - 1) / FC_ATTN_TILE - (alone ? 0 : whole);
        any[e.job] |= !alone;
    }
    for (int i = 0; i < JOBS; i++) {
        const tree *t = &s->jobs[i].tree;
        if (any[i]) read += t->base / FC_ATTN_TILE; /* once for all of them */
        for (int k = 0; k < t->n; k++)
            parents_after += row_of[i][k] >= 0 && t->parent[k] >= 0 && row_of[i][t->parent[k]] > row_of[i][k];
    }
    return read;
}

static void check_pass(scene *s, const char *what) {
    for (int i = 0; i < s->m.batch.n_outs; i++) {
        entry e = s->wanted[i];
        const job *j = &s->jobs[e.job];
        const float *expected = e.node < 0 ? j->last : j->node[e.node], *y = s->out + (size_t)i * (size_t)s->D;
        for (int d = 0; d < s->D; d++)
            if (memcmp(&y[d], &expected[d], sizeof *y))
                fail_msg("%s: job %d, prompt of %d, node %d of %d at depth %d: hidden[%d] is %.9g, alone %.9g", what,
                         e.job, j->length, e.node, j->tree.n, e.node < 0 ? 0 : j->tree.depth[e.node], d, (double)y[d],
                         (double)expected[d]);
    }
}

static void play(const char *path, fc_cpu_level level, fc_dtype kv, int P, uint64_t *seed) {
    static scene s;
    char what[160];
    memset(&s, 0, sizeof s);
    machine_open(&s.m, path, level, kv, P);
    s.D = s.m.model->cfg.D;
    s.expected = calloc((size_t)MAX_EXPECTED * (size_t)s.D, sizeof *s.expected);
    s.out = calloc((size_t)MAX_ROWS * (size_t)s.D, sizeof *s.out);
    assert_true(s.expected && s.out);
    for (int i = 0; i < JOBS; i++) {
        int length = i == 0   ? 1 + test_below(seed, 70)
                     : i == 1 ? 64 + test_below(seed, 200)
                              : 900 + test_below(seed, 300);
        job_open(&s, &s.jobs[i], length, 8 + test_below(seed, 70), seed);
    }
    for (int pass = 0; pass < 2; pass++) {
        list_entries(&s, pass, seed);
        for (int share = 1; s.n_entries && share >= 0; share--) {
            int read = add_entries(&s, share);
            snprintf(what, sizeof what, "%s %s KV %s P=%d pass %d share %s", s.m.model->cfg.arch,
                     fc_cpu_level_name(level), fc_dtype_name(kv), P, pass, share ? "on" : "off");
            run(&s.m, &s.m.lane, s.out);
            assert_int_equal((int)s.m.batch.tiles, read);
            check_pass(&s, what);
            tiles[share] += read;
        }
    }
    assert_ok(fc_kv_check(s.m.lane.kv));
    free(s.expected);
    free(s.out);
    machine_close(&s.m);
}

/* If this fails, a candidate's score depends on which candidates it shares a stem with. */
static void a_tree_in_one_pass_equals_its_paths_alone(void **state) {
    static const char *const archs[] = {"llama", "gemma3", "qwen3", "gemma2"};
    static const fc_dtype types[] = {FC_F32, FC_BF16, FC_I8, FC_F8};
    static const int pages[] = {16, 8, 64};
    uint64_t seed = 2718;
    (void)state;
    printf("seed %llu\n", (unsigned long long)seed);
    for (int i = 0; i < test_cases(12); i++)
        for (fc_cpu_level l = i % 5 ? fc_cpu_best() : FC_CPU_PORTABLE; l <= fc_cpu_best(); l++)
            play(tiny_model(archs[i % 4], 5, false), l, types[(i + i / 4) % 4], pages[(i + i / 4) % 3], &seed);
    printf("%d nodes in %d chains, %d of them before their parent; %d decode rows, %d unfinished prompts\n", nodes,
           chains, parents_after, decode_rows, late_prompts);
    printf("%.0f tiles read with sharing, %.0f without\n", tiles[1], tiles[0]);
    assert_true(parents_after > test_cases(100) && decode_rows > test_cases(40) && late_prompts > test_cases(10) &&
                chains > test_cases(500));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_tree_in_one_pass_equals_its_paths_alone)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
