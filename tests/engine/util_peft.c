#include "tests/engine/util_peft.h"

#include "engine/base/str.h"
#include "weights_tools/adapter.h"

#include <sys/stat.h>
#include <unistd.h>

enum { MAX_MADE = 32 };

static char made[MAX_MADE][64];
static int n_made;

static void remove_all(void) {
    for (int i = 0; i < n_made; i++) {
        static const char *const files[] = {"/adapter_config.json", "/adapter_model.safetensors"};
        for (int k = 0; k < 2; k++) {
            char path[128] = "";
            strcat(strcat(path, made[i]), files[k]);
            unlink(path);
        }
        rmdir(made[i]);
    }
}

static void save(const char *folder, const char *name, const fc_str *a, const fc_str *b, const fc_str *c) {
    const fc_str *const parts[] = {a, b, c};
    fc_str path = {0};
    FILE *f;
    assert_ok(fc_str_printf(&path, "%s/%s", folder, name));
    f = fopen(fc_str_text(&path), "wb");
    fc_str_fini(&path);
    assert_non_null(f);
    for (int i = 0; i < 3; i++)
        if (parts[i]) assert_int_equal(fwrite(parts[i]->data, 1, parts[i]->size, f), parts[i]->size);
    assert_int_equal(fclose(f), 0);
}

/* F32 [N,K] of normal values with this spread. */
static void put_tensor(fc_str *header, fc_str *data, uint64_t *seed, const char *name, int N, int K, float spread) {
    size_t from = data->size;
    for (int i = 0; i < N * K; i++) {
        float v = spread * test_normal(seed);
        assert_ok(fc_str_put(data, (const char *)&v, sizeof v));
    }
    assert_ok(fc_str_printf(
        header, "%s\"base_model.model.%s\":{\"dtype\":\"F32\",\"shape\":[%d,%d],\"data_offsets\":[%zu,%zu]}",
        header->size > 1 ? "," : "", name, N, K, from, data->size));
}

static void put_config(const peft_options *o, fc_str *out) {
    assert_ok(fc_str_printf(out, "{\"peft_type\":\"LORA\",\"r\":%d,\"lora_alpha\":%d,\"target_modules\":",
                            o->r ? o->r : 4, 2 * (o->r ? o->r : 4)));
    assert_ok(fc_str_printf(out, "%s", o->r ? "\"all-linear\"" : "[\"nothing\"]"));
    if (o->score) assert_ok(fc_str_printf(out, ",\"modules_to_save\":[\"score\"],\"task_type\":\"SEQ_CLS\""));
    for (int i = 0; i < o->n_invocation; i++)
        assert_ok(fc_str_printf(out, "%s%d", i ? "," : ",\"alora_invocation_tokens\":[", o->invocation[i]));
    assert_ok(fc_str_printf(out, "%s}", o->n_invocation ? "]" : ""));
}

const char *peft_folder(const peft_options *o) {
    static const char *const modules[FC_ADAPTER_MODULES] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                                            "self_attn.o_proj", "mlp.gate_proj",    "mlp.up_proj",
                                                            "mlp.down_proj"};
    fc_str header = {0}, data = {0}, config = {0}, size = {0};
    uint64_t seed = o->seed, bytes;
    const fc_model_config *c;
    fc_weights *w;
    char *folder = made[n_made], name[128];
    assert_true(n_made < MAX_MADE);
    if (n_made == 0) atexit(remove_all);
    snprintf(folder, sizeof made[0], "/tmp/forkcast-peft-XXXXXX");
    assert_non_null(mkdtemp(folder));
    n_made++;
    assert_ok(fc_weights_open(o->base, &w));
    c = fc_weights_config(w);
    assert_ok(fc_str_put(&header, "{", 1));
    for (int l = 0; o->r && l < c->L; l++)
        for (int m = 0; m < FC_ADAPTER_MODULES; m++) {
            int N, K;
            fc_adapter_shape(c, (fc_adapter_module)m, &N, &K);
            snprintf(name, sizeof name, "model.layers.%d.%s.lora_A.weight", l, modules[m]);
            put_tensor(&header, &data, &seed, name, o->r, K, 1.0f / sqrtf((float)K)); /* A x is near 1 where x is */
            snprintf(name, sizeof name, "model.layers.%d.%s.lora_B.weight", l, modules[m]);
            put_tensor(&header, &data, &seed, name, N, o->r, 0.1f);
        }
    if (o->score) put_tensor(&header, &data, &seed, "score.weight", 1, c->D, 0.5f);
    assert_ok(fc_str_put(&header, "}", 1));
    bytes = header.size;
    assert_ok(fc_str_put(&size, (const char *)&bytes, sizeof bytes)); /* little-endian, as the machine */
    put_config(o, &config);
    save(folder, "adapter_config.json", &config, NULL, NULL);
    save(folder, "adapter_model.safetensors", &size, &header, &data);
    fc_str_fini(&header);
    fc_str_fini(&data);
    fc_str_fini(&config);
    fc_str_fini(&size);
    fc_weights_close(w);
    return folder;
}
