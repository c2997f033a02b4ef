#include "tests/weights/util_st.h"

#include "engine/base/rng.h"
#include "tests/weights/util_gguf.h"

#include <stdio.h>
#include <string.h>

const char st_llama_config[] =
    "{\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":32,\"intermediate_size\":48,\"num_hidden_layers\":1,"
    "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"vocab_size\":24,\"bos_token_id\":1,\"eos_token_id\":[2,3]}";

void st_fini(st_file *f) {
    fc_str_fini(&f->header);
    fc_str_fini(&f->data);
}

void st_raw(st_file *f, const char *entry) {
    if (f->header.size) gg_put(&f->header, ",", 1);
    gg_put(&f->header, entry, strlen(entry));
}

void st_tensor(st_file *f, const char *name, const char *dtype, uint64_t N, uint64_t K) {
    char entry[400], shape[64];
    size_t begin = f->data.size, size = strcmp(dtype, "F32") == 0 ? 4 : 2;
    for (uint64_t i = 0; i < (N ? N : 1) * K; i++) {
        uint32_t r = (uint32_t)(fc_rng_next(&f->seed) >> 40);
        float v = (float)r * 0x1p-24f - 0.5f;
        uint16_t half = (uint16_t)(r & 0x3bffu); /* finite in both 16-bit types */
        gg_put(&f->data, size == 4 ? (const void *)&v : (const void *)&half, size);
    }
    if (N) snprintf(shape, sizeof shape, "[%d,%d]", (int)N, (int)K);
    else snprintf(shape, sizeof shape, "[%d]", (int)K);
    snprintf(entry, sizeof entry, "\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%zu,%zu]}", name, dtype,
             shape, begin, f->data.size);
    st_raw(f, entry);
}

void st_finish(const st_file *f, size_t align, fc_str *out) {
    size_t header = f->header.size + 2, padding = 0;
    while ((8 + header + padding) % align) padding++;
    gg_put_u64(out, header + padding);
    gg_put(out, "{", 1);
    gg_put(out, fc_str_text(&f->header), f->header.size);
    gg_put(out, "}", 1);
    for (size_t i = 0; i < padding; i++) gg_put(out, " ", 1);
    gg_put(out, fc_str_text(&f->data), f->data.size);
}

void st_llama(st_file *f, const char *dtype, int part) {
    enum { V = 24, D = 32, HE = 32, GE = 16, F = 48 };
    if (part != 2) {
        st_raw(f, "\"__metadata__\":{\"format\":\"pt\"}");
        st_tensor(f, "model.embed_tokens.weight", dtype, V, D);
        st_tensor(f, "model.norm.weight", dtype, 0, D);
    }
    if (part == 1) return;
    st_tensor(f, "lm_head.weight", dtype, V, D);
    st_tensor(f, "model.layers.0.input_layernorm.weight", dtype, 0, D);
    st_tensor(f, "model.layers.0.self_attn.q_proj.weight", dtype, HE, D);
    st_tensor(f, "model.layers.0.self_attn.k_proj.weight", dtype, GE, D);
    st_tensor(f, "model.layers.0.self_attn.v_proj.weight", dtype, GE, D);
    st_tensor(f, "model.layers.0.self_attn.o_proj.weight", dtype, D, HE);
    st_tensor(f, "model.layers.0.post_attention_layernorm.weight", dtype, 0, D);
    st_tensor(f, "model.layers.0.mlp.gate_proj.weight", dtype, F, D);
    st_tensor(f, "model.layers.0.mlp.up_proj.weight", dtype, F, D);
    st_tensor(f, "model.layers.0.mlp.down_proj.weight", dtype, D, F);
}
