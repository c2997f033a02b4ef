/* Models as GPTQ, AWQ and compressed-tensors publish them, packed by tests/oracle/packed_golden.py: every weight is
 * scale * (code - zero) of what it packed, and what is wrong is refused by name. */
#include "tests/util.h"

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "engine/base/quant.h"
#include "engine/probe.h"
#include "tests/weights/util_gguf.h"
#include "weights_tools/tools.h"
#include "weights_tools/weights.h"

#include <math.h>
#include <stdlib.h>

#define FOLDER "tests/data/weights/packed/"
enum { V = 16, D = 64, F = 128 };

static const struct {
    const char *name;
    int bits, group; /* 0: all columns */
    fc_dtype type;
    const char *method;
} variants[] = {
    {"gptq-sym-32", 4, 32, FC_Q4_0, "gptq"},
    {"gptq-asym-64", 4, 64, FC_Q4_W, "gptq"},
    {"gptq-v2-whole", 4, 0, FC_Q4_W, "gptq"},
    {"gptq-act-order", 4, 32, FC_F32, "gptq"},
    {"gptq-8-sym", 8, 32, FC_Q8_0, "gptq"},
    {"gptq-8-asym", 8, 0, FC_Q8_W, "gptq"},
    {"awq-32", 4, 32, FC_Q4_W, "awq"},
    {"compressed-4-sym", 4, 32, FC_Q4_0, "compressed-tensors"},
    {"compressed-4-asym", 4, 32, FC_F32, "compressed-tensors"},
    {"compressed-8", 8, 0, FC_Q8_0, "compressed-tensors"},
    {"compressed-bytes", 8, 0, FC_Q8_0, "compressed-tensors"},
};
enum { VARIANTS = sizeof variants / sizeof variants[0] };

/* In the order of unpacked.bin. */
static const struct {
    const char *name;
    int N, K;
} matrices[] = {{"blk.0.attn_q.weight", 64, D},      {"blk.0.attn_k.weight", 32, D},  {"blk.0.attn_v.weight", 32, D},
                {"blk.0.attn_output.weight", D, 64}, {"blk.0.ffn_gate.weight", F, D}, {"blk.0.ffn_up.weight", F, D},
                {"blk.0.ffn_down.weight", D, F}};
enum { MATRICES = sizeof matrices / sizeof matrices[0] };

static const char *path_of(int variant, const char *file) {
    static char text[2][200];
    static int turn;
    char *out = text[turn++ % 2];
    snprintf(out, sizeof text[0], FOLDER "%s%s%s", variants[variant].name, *file ? "/" : "", file);
    return out;
}

static fc_weights *open_model(const char *path) {
    fc_weights *w = NULL;
    assert_ok(fc_weights_open(path, &w));
    return w;
}

static float f32_at(const unsigned char *p) {
    float f;
    memcpy(&f, p, sizeof f);
    return f;
}

/* Row r of both ways to read a matrix against what was packed; exact, since a code's difference to zero times a scale
 * of 16 bits fits in f32. */
static void check_row(const fc_tensor *t, const unsigned char *p, int r, int G, const char *variant) {
    const unsigned char *group = p + t->N * t->K, *zeros = group + t->K, *scales = zeros + t->N * G;
    float row[F], again[F];
    unsigned char bytes[F * 4];
    assert_ok(fc_tensor_row(t, r, row));
    assert_ok(fc_tensor_rows(t, r, 1, bytes));
    assert_ok(fc_dequant_row(t->dtype, bytes, again, (size_t)t->K));
    for (int k = 0; k < t->K; k++) {
        int at = r * G + group[k];
        float want = f32_at(scales + 4 * at) * (float)(p[r * t->K + k] - zeros[at]);
        if (row[k] != want || again[k] != want)
            fail_msg("%s: %s[%d,%d] is %a and %a, not %a", variant, t->name, r, k, (double)row[k], (double)again[k],
                     (double)want);
    }
}

static void weights_are_what_was_packed(void **state) {
    (void)state;
    for (int v = 0; v < VARIANTS; v++) {
        fc_weights *w = open_model(path_of(v, ""));
        fc_map map;
        size_t at = 0;
        assert_ok(fc_map_open(path_of(v, "unpacked.bin"), &map));
        assert_string_equal(fc_weights_quant(w)->method, variants[v].method);
        for (int i = 0; i < MATRICES; i++) {
            int N = matrices[i].N, K = matrices[i].K, G = variants[v].group ? (K - 1) / variants[v].group + 1 : 1;
            const fc_tensor *t = NULL;
            assert_ok(fc_weights_need(w, matrices[i].name, N, K, &t));
            assert_int_equal(t->dtype, variants[v].type);
            assert_true(at + (size_t)(N * K + K + 5 * N * G) <= map.size);
            for (int r = 0; r < N; r++) check_row(t, (const unsigned char *)map.data + at, r, G, variants[v].name);
            at += (size_t)(N * K + K + 5 * N * G);
        }
        assert_int_equal(at, map.size);
        fc_map_close(&map);
        fc_weights_close(w);
    }
}

static void read_logits(const char *path, float *logits, int n) {
    int32_t ids[V];
    fc_probe *p = NULL;
    for (int i = 0; i < n; i++) ids[i] = (i * 5 + 1) % V;
    assert_ok(fc_probe_open(path, &(fc_probe_options){.threads = 1}, &p));
    assert_ok(fc_probe_logits(p, ids, n, logits));
    fc_probe_close(p);
}

/* The engine runs what is packed as it runs the same weights in F32, but that it rounds activations to 8 bits: 2 % of
 * these logits, whose weights have zeros far from the middle. */
static void logits_are_those_of_the_floats(void **state) {
    enum { N = 12 };
    (void)state;
    for (int v = 0; v < VARIANTS; v++) {
        const char *plain = gg_path("plain.gguf");
        float got[N * V], want[N * V];
        double off = 0.0, all = 0.0;
        assert_ok(fc_tools_convert(path_of(v, ""), plain, FC_F32, NULL, NULL, NULL, NULL));
        read_logits(path_of(v, ""), got, N);
        read_logits(plain, want, N);
        for (int i = 0; i < N * V; i++) {
            double d = (double)got[i] - (double)want[i];
            off += d * d;
            all += (double)want[i] * (double)want[i];
        }
        if (!(off <= (variants[v].type == FC_F32 ? 1e-12 : 4e-4) * all))
            fail_msg("%s: logits differ by %g of %g", variants[v].name, sqrt(off), sqrt(all));
    }
}

/* Codes of 4 bits stay as Q4_1: the minimum alone is rounded, to f16. Q4_0 and Q8_0 stay byte for byte. */
static void conversion_keeps_codes(void **state) {
    (void)state;
    for (int v = 0; v < VARIANTS; v++) {
        fc_dtype from = variants[v].type, to = from == FC_Q4_W ? FC_Q4_1 : from;
        fc_convert_loss loss = {.worst = 1.0};
        fc_weights *a, *b;
        if (from == FC_F32 || from == FC_Q8_W) continue;
        assert_ok(fc_tools_convert(path_of(v, ""), gg_path("kept.gguf"), to, NULL, NULL, NULL, &loss));
        a = open_model(path_of(v, ""));
        b = open_model(gg_path("kept.gguf"));
        for (int i = 0; i < MATRICES; i++) {
            const fc_tensor *x = fc_weights_find(a, matrices[i].name), *y = fc_weights_find(b, matrices[i].name);
            bool turned = i < 2; /* rows of q and k change places: their loss says it */
            assert_int_equal(y->dtype, to);
            for (int r = 0; r < matrices[i].N && !turned; r++) {
                float want[F], got[F];
                assert_ok(fc_tensor_row(x, r, want));
                assert_ok(fc_tensor_row(y, r, got));
                for (int k = 0; k < matrices[i].K; k++)
                    if (!(fabsf(got[k] - want[k]) <= (to == FC_Q4_1 ? 15 * 0.03f / 2048 : 0.0f)))
                        fail_msg("%s: %s[%d,%d] is %a, was %a", variants[v].name, x->name, r, k, (double)got[k],
                                 (double)want[k]);
            }
        }
        assert_true(loss.error <= loss.worst && loss.worst < 0.2); /* of embedding and head, which were floats */
        fc_weights_close(a);
        fc_weights_close(b);
    }
}

static void fingerprints_differ(void **state) {
    uint64_t print[VARIANTS];
    (void)state;
    for (int v = 0; v < VARIANTS; v++) {
        fc_weights *w = open_model(path_of(v, ""));
        print[v] = fc_weights_fingerprint(w);
        fc_weights_close(w);
        for (int u = 0; u < v; u++) assert_true(print[u] != print[v]);
    }
}

/* ---- mistakes: a good file with one text of its header or configuration replaced by one of the same length ------ */

static void copy_file(const char *from, const char *to, const char *before, const char *after) {
    fc_map map;
    fc_str bytes = {0};
    assert_ok(fc_map_open(from, &map));
    gg_put(&bytes, map.data, map.size);
    fc_map_close(&map);
    if (before) {
        char *at = gg_at(&bytes, before);
        assert_int_equal(strlen(before), strlen(after));
        memcpy(at, after, strlen(after));
    }
    gg_write(to, bytes.data, bytes.size);
    fc_str_fini(&bytes);
}

static void mistakes_are_named(void **state) {
    static const struct {
        int variant;
        const char *file, *before, *after;
        fc_status status;
        const char *words;
    } bad[] = {
        {0, "config.json", "\"bits\": 4", "\"bits\": 3", FC_ERR_UNSUPPORTED, "codes of 3 bits; 4 and 8 are supported"},
        {0, "config.json", "\"bits\": 4", "\"bits\": 8", FC_ERR_FORMAT,
         "down_proj.scales has 4 x 64 elements; it needs 2 x 64"},
        {0, "config.json", "\"group_size\": 32", "\"group_size\": 16", FC_ERR_FORMAT,
         "down_proj.scales has 4 x 64 elements; it needs 8 x 64"},
        {0, "config.json", "\"group_size\": 32", "\"group_size\":  0", FC_ERR_FORMAT,
         "group_size: groups of 0 columns"},
        {0, "config.json", "\"group_size\"", "\"group_sizz\"", FC_ERR_FORMAT, "group_size is missing"},
        {0, "config.json", "\"quantization_config\"", "\"quantization_confix\"", FC_ERR_FORMAT,
         "qweight is quantised, but neither config.json nor a file beside it says how"},
        {2, "config.json", "\"gptq_v2\"", "\"marlin2\"", FC_ERR_UNSUPPORTED, "format \"marlin2\"; gptq and gptq_v2"},
        {6, "config.json", "\"gemm\"", "\"gemv\"", FC_ERR_UNSUPPORTED, "version \"gemv\" of backend"},
        {6, "config.json", "\"bits\": 4", "\"bits\": 8", FC_ERR_UNSUPPORTED,
         "codes of 8 bits; of AWQ, 4 are supported"},
        {7, "config.json", "\"num_bits\": 4", "\"num_bits\": 2", FC_ERR_UNSUPPORTED, "packed weights of 2 bits"},
        {7, "config.json", "\"group_size\": 32", "\"group_size\": 16", FC_ERR_FORMAT,
         "down_proj.weight_scale has 4 scales a row; groups of 16 in 128 columns need 8"},
        {7, "config.json", "pack-quantized", "nvfp4-pack-qu.", FC_ERR_UNSUPPORTED, "weights of 4 bits, type \"int\""},
        {0, "model.safetensors", "q_proj.scales", "q_proj.scalez", FC_ERR_FORMAT,
         "q_proj.qweight: there is no model.layers.0.self_attn.q_proj.scales for it"},
        {0, "model.safetensors", "q_proj.qzeros", "q_proj.qzeroz", FC_ERR_FORMAT, "q_proj.qzeros for it"},
        {3, "model.safetensors", "q_proj.g_idx", "q_proj.g_idy", FC_ERR_FORMAT, "q_proj.g_idx for it"},
        {0, "model.safetensors", "q_proj.g_idx", "q_proj.g_idy", FC_ERR_UNSUPPORTED, "q_proj.g_idy"},
        {0, "model.safetensors", "q_proj.qweight\": {\"dtype\": \"I32", "q_proj.qweight\": {\"dtype\": \"F32",
         FC_ERR_UNSUPPORTED, "q_proj.qweight has type F32; it needs I32"},
        {0, "model.safetensors", "q_proj.qzeros\": {\"dtype\": \"I32\", \"shape\": [2, 8]",
         "q_proj.qzeros\": {\"dtype\": \"I32\", \"shape\": [8, 2]", FC_ERR_FORMAT,
         "q_proj.qzeros has 8 x 2 elements; it needs 2 x 8"},
        {0, "model.safetensors", "q_proj.qweight\": {\"dtype\": \"I32\", \"shape\": [8, 64]",
         "q_proj.qweight\": {\"dtype\": \"I32\", \"shape\": [64, 8]", FC_ERR_FORMAT, "q_proj."},
        {7, "model.safetensors", "q_proj.weight_shape", "q_proj.weight_shapf", FC_ERR_FORMAT,
         "q_proj.weight_shape for it"},
        {7, "model.safetensors", "q_proj.weight_scale", "q_proj.weight_scalf", FC_ERR_FORMAT,
         "q_proj.weight_scale for it"},
        {7, "model.safetensors", "q_proj.weight_packed\": {\"dtype\": \"I32\", \"shape\": [64, 8]",
         "q_proj.weight_packed\": {\"dtype\": \"I32\", \"shape\": [32,16]", FC_ERR_FORMAT,
         "q_proj.weight_packed has 32 x 16"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        static const char *const files[] = {"config.json", "model.safetensors"};
        fc_weights *w = NULL;
        for (int k = 0; k < 2; k++) {
            bool this_one = strcmp(files[k], bad[i].file) == 0;
            copy_file(path_of(bad[i].variant, files[k]), gg_path(files[k]), this_one ? bad[i].before : NULL,
                      bad[i].after);
        }
        assert_fails(fc_weights_open(gg_folder(), &w), bad[i].status, bad[i].words);
    }
}

/* Numbers in the data: a group that is not there, a scale that is no number, a shape of another matrix. */
static void bad_numbers_are_named(void **state) {
    static const struct {
        int variant;
        const char *tensor;
        int at;
        unsigned char bytes[2];
        const char *words;
    } bad[] = {
        {3, "self_attn.q_proj.g_idx", 5 * 4, {2, 0}, "q_proj.g_idx: column 5 is of group 2 of 2"},
        {3, "self_attn.q_proj.g_idx", 3, {0x80, 0}, "q_proj.g_idx: column 0 is of group -2147483"},
        {0, "self_attn.k_proj.scales", 6, {0, 0x7c}, "k_proj.scales: scale 3 is not finite"},
        {7, "mlp.up_proj.weight_scale", 2, {0xc0, 0x7f}, "up_proj.weight_scale: scale 1 is not finite"},
        {7, "mlp.up_proj.weight_shape", 0, {0, 0}, "up_proj.weight_shape: a shape of 0 x 64"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        fc_weights *w = NULL;
        fc_map map;
        fc_str bytes = {0};
        uint64_t header;
        char *at;
        copy_file(path_of(bad[i].variant, "config.json"), gg_path("config.json"), NULL, NULL);
        assert_ok(fc_map_open(path_of(bad[i].variant, "model.safetensors"), &map));
        gg_put(&bytes, map.data, map.size);
        fc_map_close(&map);
        memcpy(&header, bytes.data, 8);
        at = strstr(gg_at(&bytes, bad[i].tensor), "data_offsets\": [");
        assert_non_null(at);
        memcpy(bytes.data + 8 + header + strtoul(at + strlen("data_offsets\": ["), NULL, 10) + bad[i].at, bad[i].bytes,
               2);
        gg_write(gg_path("model.safetensors"), bytes.data, bytes.size);
        assert_fails(fc_weights_open(gg_folder(), &w), FC_ERR_FORMAT, bad[i].words);
        fc_str_fini(&bytes);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_are_what_was_packed), cmocka_unit_test(logits_are_those_of_the_floats),
        cmocka_unit_test(fingerprints_differ),         cmocka_unit_test(conversion_keeps_codes),
        cmocka_unit_test(mistakes_are_named),          cmocka_unit_test(bad_numbers_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
