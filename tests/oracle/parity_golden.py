"""Tiny random models of every family and their logits: writes tests/data/models/<name>/.

    pip install torch transformers safetensors numpy
    python tests/oracle/parity_golden.py            # all of them
    python tests/oracle/parity_golden.py NAME...    # some of them

A model is a Hugging Face folder (config.json, safetensors, float32) whose weights come from numpy's seeded generator.
Its answer is that of transformers in float32 on one thread with eager attention, for one prompt of random ids longer
than the sliding window and the original context: golden.json (ids, which logits are kept, versions) and golden.bin,
little-endian float32: the kept columns at every position [T,C], then whole rows [R,V]; of a reward model the scores of
some prefixes, in golden.json alone.

Half of the models have a config.json in the older layout (rope_theta, rope_scaling, sliding_window_pattern), as most
published files do; both layouts are read back by transformers before the logits are taken.
"""
import json
import os
import shutil
import sys
import zlib

import numpy as np
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "models"))
T, COLUMNS, ROWS = 180, 24, (0, 77, 179)

# What all share; a family's own numbers come on top.
BASE = dict(vocab_size=320, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, head_dim=16, max_position_embeddings=256, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2)
GEMMA = dict(hidden_activation="gelu_pytorch_tanh", tie_word_embeddings=True)
DEFAULT = dict(rope_type="default", rope_theta=10000.0)

# name: (model_type, config, layout of config.json)
MODELS = {
    # head_dim apart from D/H, an eps that matters, untied
    "llama": ("llama", dict(hidden_size=40, head_dim=32, rms_norm_eps=0.02, tie_word_embeddings=False,
                            rope_parameters=DEFAULT), "new"),
    # every head its own K and V
    "llama_linear": ("llama", dict(num_key_value_heads=4, tie_word_embeddings=True,
                                   rope_parameters=dict(rope_type="linear", factor=4.0, rope_theta=10000.0)), "old"),
    # one K and V for all heads
    "llama_llama3": ("llama", dict(num_key_value_heads=1, tie_word_embeddings=True, head_dim=32,
                                   rope_parameters=dict(rope_type="llama3", rope_theta=5000.0, factor=8.0, low_freq_factor=1.0,
                                                        high_freq_factor=4.0, original_max_position_embeddings=64)), "old"),
    "llama_yarn": ("llama", dict(tie_word_embeddings=True, head_dim=32,
                                 rope_parameters=dict(rope_type="yarn", rope_theta=1000.0, factor=4.0, beta_fast=4.0,
                                                      beta_slow=0.5, original_max_position_embeddings=64)), "new"),
    "llama_bias": ("llama", dict(attention_bias=True, tie_word_embeddings=False, hidden_size=48, intermediate_size=40,
                                 rope_parameters=DEFAULT), "old"),
    "mistral_window": ("mistral", dict(sliding_window=16, tie_word_embeddings=False, rope_parameters=DEFAULT), "old"),
    "qwen2": ("qwen2", dict(tie_word_embeddings=True, rope_parameters=dict(rope_type="default", rope_theta=1000000.0)), "old"),
    # the window on the upper layers only; in shards
    "qwen2_window": ("qwen2", dict(tie_word_embeddings=False, num_hidden_layers=3, use_sliding_window=True, sliding_window=16,
                                   max_window_layers=1, rope_parameters=DEFAULT), "shards"),
    "qwen3": ("qwen3", dict(tie_word_embeddings=True, head_dim=32, rope_parameters=DEFAULT), "new"),
    "gemma2": ("gemma2", dict(**GEMMA, num_hidden_layers=3, sliding_window=16, query_pre_attn_scalar=24,
                              attn_logit_softcapping=4.0, final_logit_softcapping=8.0, rope_parameters=DEFAULT), "old"),
    "gemma3": ("gemma3_text", dict(**GEMMA, num_hidden_layers=4, sliding_window=16, query_pre_attn_scalar=24,
                                   layer_types=["sliding_attention", "full_attention"] * 2,
                                   rope_parameters=dict(full_attention=dict(rope_type="linear", factor=8.0, rope_theta=100000.0),
                                                        sliding_attention=dict(rope_type="default", rope_theta=500.0))), "old"),
    # layer kinds in an order that no pattern gives, which only the newer layout can say
    "gemma3_types": ("gemma3_text", dict(**GEMMA, num_hidden_layers=3, sliding_window=24, num_key_value_heads=1,
                                         query_pre_attn_scalar=16,
                                         layer_types=["full_attention", "sliding_attention", "sliding_attention"],
                                         rope_parameters=dict(full_attention=dict(rope_type="default", rope_theta=20000.0),
                                                              sliding_attention=dict(rope_type="default", rope_theta=800.0))),
                     "new"),
    "llama_reward": ("llama", dict(num_labels=1, pad_token_id=0, tie_word_embeddings=False, rope_parameters=DEFAULT), "old"),
    "qwen3_reward": ("qwen3", dict(num_labels=1, pad_token_id=0, tie_word_embeddings=True, rope_parameters=DEFAULT), "new"),
}


def fill(model, config, seed):
    """Weights of a size at which every part of the model shows in the logits: queries and keys that make attention
    peaky, biases and norms away from what leaves a vector alone, logits with a spread of about 3."""
    gemma = config.model_type.startswith("gemma")
    for name, p in model.named_parameters():
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        x = rng.standard_normal(tuple(p.shape))
        if name.endswith("norm.weight") and ("q_norm" in name or "k_norm" in name):
            x = 1.5 + 0.3 * x - gemma
        elif name.endswith("norm.weight"):
            x = 1.0 + 0.25 * x - gemma
        elif name.endswith("bias"):
            x = 0.5 * x
        elif "q_proj" in name or "k_proj" in name:
            x *= (2.0 / p.shape[1]) ** 0.5
        elif name.startswith("score"):
            x *= 3.0 / p.shape[1] ** 0.5
        elif "embed_tokens" in name or "lm_head" in name:
            x *= 3.0 / config.hidden_size ** 0.5
        else:
            x *= 1.0 / p.shape[1] ** 0.5
        p.data.copy_(torch.from_numpy(x.astype(np.float32)))


def old_layout(config):
    """config.json as it was written before rope_parameters."""
    rope = config.pop("rope_parameters")
    full = rope.get("full_attention", rope)
    config["rope_theta"] = full["rope_theta"]
    if "sliding_attention" in rope:
        config["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
    scaling = {k: v for k, v in full.items() if k not in ("rope_theta", "partial_rotary_factor")}
    config["rope_scaling"] = None if scaling["rope_type"] == "default" else scaling
    config.pop("layer_types", None)
    config.pop("_sliding_window_pattern", None)
    if config["model_type"] == "gemma3_text":
        config["sliding_window_pattern"] = 2
    return config


def build(name, folder, seed):
    kind, changes, layout = MODELS[name]
    shutil.rmtree(folder, ignore_errors=True)
    config = AutoConfig.for_model(kind, **{**BASE, **changes})
    auto = AutoModelForSequenceClassification if "num_labels" in changes else AutoModelForCausalLM
    model = auto.from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
    fill(model, config, seed)
    model.save_pretrained(folder, max_shard_size="60KB" if layout == "shards" else "1GB")
    path = os.path.join(folder, "config.json")
    with open(path) as f:
        saved = json.load(f)
    if layout != "new":
        saved = old_layout(saved)
    with open(path, "w") as f:
        json.dump(saved, f, indent=1, sort_keys=True)
        f.write("\n")
    generation = os.path.join(folder, "generation_config.json")
    if os.path.exists(generation):
        os.remove(generation)
    again = auto.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    return model, again


def golden(name, folder, seed):
    model, again = build(name, folder, seed)
    config = again.config
    rng = np.random.default_rng([seed, 1])
    ids = rng.integers(3, config.vocab_size, T)
    out = {"made_by": "tests/oracle/parity_golden.py", "transformers": transformers.__version__, "torch": torch.__version__,
           "seed": seed, "ids": ids.tolist()}
    with torch.no_grad():
        x = torch.from_numpy(ids)[None]
        if hasattr(again, "score"):
            lengths = [1, 5, 64, 150, T]
            out["scores"] = [{"n": n, "score": float(again(x[:, :n]).logits[0, 0])} for n in lengths]
            assert all(torch.equal(model(x[:, :n]).logits, again(x[:, :n]).logits) for n in lengths)
        else:
            logits = again(x).logits[0]
            assert torch.equal(logits, model(x).logits[0]), "config.json does not mean the model that was made"
            logits = logits.numpy()
            columns = np.sort(rng.choice(config.vocab_size, COLUMNS, replace=False))
            out.update(columns=columns.tolist(), rows=list(ROWS), logit_std=round(float(logits.std()), 4))
            assert logits.std() >= 2.0, logits.std()
            with open(os.path.join(folder, "golden.bin"), "wb") as f:
                f.write(np.ascontiguousarray(logits[:, columns], "<f4").tobytes())
                f.write(np.ascontiguousarray(logits[list(ROWS)], "<f4").tobytes())
    with open(os.path.join(folder, "golden.json"), "w") as f:
        json.dump(out, f, indent=None)
        f.write("\n")
    size = sum(os.path.getsize(os.path.join(folder, f)) for f in os.listdir(folder))
    print(f"{name}: {size // 1024} KiB, logit std {out.get('logit_std')}, scores {[s['score'] for s in out.get('scores', [])]}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for i, name in enumerate(MODELS):
        if len(sys.argv) < 2 or name in sys.argv[1:]:
            golden(name, os.path.join(ROOT, name), 1000 + i)
