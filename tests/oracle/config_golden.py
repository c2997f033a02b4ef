"""What transformers makes of config.json files, as golden data for tests/weights/test_config.c.

    pip install "transformers==5.23.0" torch
    python tests/oracle/config_golden.py        # writes tests/data/weights/configs.json

Each case is a config.json in a form found in the wild (old rope_scaling, new rope_parameters, nested text_config, fields
left out), scaled down so that the model can be built. The expected numbers are read off the built model: scaling and
window of each attention layer, factor on cos and sin, names and shapes of its weights.
"""
import json
import os
import tempfile

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

SHAPE = dict(vocab_size=48, hidden_size=32, intermediate_size=40, num_hidden_layers=3, num_attention_heads=4)
GQA = dict(SHAPE, num_key_value_heads=2)
LLAMA3 = dict(factor=8.0, high_freq_factor=4.0, low_freq_factor=1.0, original_max_position_embeddings=8192, rope_type="llama3")


def case(architecture, model_type, **fields):
    return dict(architectures=[architecture], model_type=model_type, **fields)


def llama(**fields):
    return case("LlamaForCausalLM", "llama", **{**GQA, "hidden_act": "silu", "rms_norm_eps": 1e-5, **fields})


def mistral(**fields):
    return case("MistralForCausalLM", "mistral", **{**GQA, "hidden_act": "silu", **fields})


def qwen(version, **fields):
    return case(f"Qwen{version}ForCausalLM", f"qwen{version}", **{**GQA, "hidden_act": "silu", **fields})


def gemma2(**fields):
    return case("Gemma2ForCausalLM", "gemma2", **{**GQA, "head_dim": 16, "hidden_activation": "gelu_pytorch_tanh", **fields})


def gemma3(layers=8, **fields):
    return case("Gemma3ForCausalLM", "gemma3_text", **{**GQA, "head_dim": 16, "num_hidden_layers": layers, **fields})


VISION = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14)

CASES = {
    "llama-2": llama(max_position_embeddings=4096, num_key_value_heads=4, rope_scaling=None, eos_token_id=2, bos_token_id=1),
    "llama-plain": case("LlamaForCausalLM", "llama", **SHAPE),
    "llama-3.1": llama(max_position_embeddings=131072, rope_theta=500000.0, rope_scaling=LLAMA3, bos_token_id=40, eos_token_id=[41, 42, 43]),
    "llama-3.2": llama(max_position_embeddings=131072, rope_theta=500000.0, rope_scaling={**LLAMA3, "factor": 32.0}, head_dim=16, tie_word_embeddings=True),
    "llama-linear-old": llama(max_position_embeddings=16384, rope_theta=100000, rope_scaling={"factor": 4.0, "type": "linear"}),
    "llama-yarn-original-outside": llama(max_position_embeddings=512, original_max_position_embeddings=128, rope_scaling={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}),
    "llama-biases": llama(attention_bias=True, bos_token_id=None, eos_token_id=None),
    "llama-new-form": llama(rope_parameters={"rope_type": "default", "rope_theta": 25000.0}),
    "llama-both-forms": llama(rope_theta=7000.0, rope_scaling={"rope_type": "linear", "factor": 2.0}, rope_parameters={"rope_type": "default", "rope_theta": 25000.0}),
    "smollm2": llama(max_position_embeddings=8192, rope_theta=100000, rope_interleaved=False, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2),
    "llama-window-ignored": llama(sliding_window=16),
    "mistral-0.1": mistral(max_position_embeddings=32768, sliding_window=4096, rope_theta=10000.0),
    "mistral-0.3": mistral(max_position_embeddings=32768, sliding_window=None, rope_theta=1000000.0, head_dim=8),
    "mistral-left-out": case("MistralForCausalLM", "mistral", **{**SHAPE, "num_attention_heads": 8}),
    "qwen2.5": qwen(2, max_position_embeddings=32768, max_window_layers=21, rope_theta=1000000.0, sliding_window=32768, tie_word_embeddings=True, use_sliding_window=False, bos_token_id=43, eos_token_id=45),
    "qwen2-window": qwen(2, max_window_layers=1, sliding_window=64, use_sliding_window=True),
    "qwen2.5-yarn": qwen(2, max_position_embeddings=32768, rope_scaling={"factor": 4.0, "original_max_position_embeddings": 32768, "type": "yarn"}),
    "qwen2-yarn-mscale": qwen(2, max_position_embeddings=4096, rope_parameters={"rope_type": "yarn", "factor": 40.0, "original_max_position_embeddings": 4096, "mscale": 1.0, "mscale_all_dim": 0.707, "beta_fast": 16, "beta_slow": 2}),
    "qwen2-yarn-factor": qwen(2, max_position_embeddings=4096, rope_parameters={"rope_type": "yarn", "factor": 4.0, "attention_factor": 0.75}),
    "qwen2-layer-types": qwen(2, use_sliding_window=True, sliding_window=16, layer_types=["sliding_attention", "full_attention", "sliding_attention"]),
    "qwen3": qwen(3, head_dim=16, max_position_embeddings=40960, rope_theta=1000000, attention_bias=False, sliding_window=None, use_sliding_window=False),
    "qwen3-head-dim-left-out": qwen(3, attention_bias=True),
    "gemma-2-2b": gemma2(attn_logit_softcapping=50.0, final_logit_softcapping=30.0, query_pre_attn_scalar=256, sliding_window=4096, cache_implementation="hybrid"),
    "gemma-2-27b": gemma2(query_pre_attn_scalar=144, attn_logit_softcapping=None, final_logit_softcapping=20.0, sliding_window=32),
    "gemma-2-left-out": case("Gemma2ForCausalLM", "gemma2", **SHAPE),
    "gemma-3-1b": gemma3(query_pre_attn_scalar=256, rope_local_base_freq=10000, rope_scaling=None, rope_theta=1000000, sliding_window=512, sliding_window_pattern=6, eos_token_id=[1, 40], cache_implementation="hybrid"),
    "gemma-3-scaled": gemma3(rope_scaling={"factor": 8.0, "rope_type": "linear"}, sliding_window=32, sliding_window_pattern=3, query_pre_attn_scalar=168),
    "gemma-3-new-form": gemma3(rope_parameters={"full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 50000.0}, "sliding_attention": {"rope_type": "default", "rope_theta": 5000.0}}, final_logit_softcapping=15.0),
    "gemma-3-4b": {
        "architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "eos_token_id": [1, 41], "mm_tokens_per_image": 4,
        "text_config": {"model_type": "gemma3_text", "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 7, "head_dim": 16,
                        "vocab_size": 48, "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024},
        "vision_config": VISION},
    "qwen2-reward": {**qwen(2, pad_token_id=0, id2label={"0": "LABEL_0"}, label2id={"LABEL_0": 0}), "architectures": ["Qwen2ForSequenceClassification"]},
    "gemma2-reward": {**gemma2(id2label={"0": "score"}, label2id={"score": 0}), "architectures": ["Gemma2ForSequenceClassification"]},
}


def ids(value):
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]


def expect(name, raw):
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "config.json"), "w") as f:
            json.dump(raw, f)
        config = AutoConfig.from_pretrained(folder)
    reward = raw["architectures"][0].endswith("ForSequenceClassification")
    if raw["architectures"][0] == "Gemma3ForConditionalGeneration":
        model = transformers.Gemma3ForConditionalGeneration(config)
        text = model.model.language_model
    else:
        model = (AutoModelForSequenceClassification if reward else AutoModelForCausalLM).from_config(config)
        text = model.model
    c = config.get_text_config()
    attn = [layer.self_attn for layer in text.layers]
    windows = [getattr(a, "sliding_window", None) for a in attn]
    if c.model_type == "mistral":
        windows = [c.sliding_window] * len(attn)
    rope = c.rope_parameters
    full, local = (rope["full_attention"], rope["sliding_attention"]) if "full_attention" in rope else (rope, rope)
    factor = getattr(text.rotary_emb, "full_attention_attention_scaling", None) or text.rotary_emb.attention_scaling
    cap = getattr(c, "final_logit_softcapping", None)
    weights = {}
    for key, value in model.state_dict().items():
        if key == "lm_head.weight" and config.tie_word_embeddings:
            continue  # not in the file
        weights[key] = list(value.shape)
    e = dict(
        V=c.vocab_size, D=c.hidden_size, L=c.num_hidden_layers, H=c.num_attention_heads, G=attn[0].k_proj.out_features // attn[0].head_dim,
        E=attn[0].head_dim, F=c.intermediate_size, ctx=c.max_position_embeddings, norm_eps=c.rms_norm_eps,
        rope_theta=full["rope_theta"], rope_theta_local=local["rope_theta"], rope_type=full["rope_type"],
        rope_factor=full.get("factor"), rope_original_ctx=full.get("original_max_position_embeddings"),
        rope_low_freq=full.get("low_freq_factor"), rope_high_freq=full.get("high_freq_factor"),
        rope_beta_fast=full.get("beta_fast") or 32, rope_beta_slow=full.get("beta_slow") or 1, rope_attn_factor=float(factor),
        attn_scale=float(attn[0].scaling), attn_soft_cap=getattr(attn[0], "attn_logit_softcapping", None) or 0.0, final_soft_cap=cap or 0.0,
        windows=[w or 0 for w in windows], tied=bool(config.tie_word_embeddings), reward=reward,
        bos=c.bos_token_id if c.bos_token_id is not None else -1,
        eos=ids(raw.get("eos_token_id", c.eos_token_id)), weights=weights)
    print(f"{name:32s} {c.model_type:12s} {len(weights)} weights")
    return e


def main():
    torch.manual_seed(0)
    transformers.logging.set_verbosity_error()
    out = [dict(name=name, config=raw, expect=expect(name, raw)) for name, raw in CASES.items()]
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "weights", "configs.json")
    with open(path, "w") as f:
        f.write('{"source":"tests/oracle/config_golden.py, transformers %s",\n"cases":[\n' % transformers.__version__)
        f.write(",\n".join(json.dumps(c, separators=(",", ":")) for c in out))
        f.write("\n]}\n")
    print(os.path.getsize(path), "bytes")


if __name__ == "__main__":
    main()
