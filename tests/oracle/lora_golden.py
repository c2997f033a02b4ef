"""Small random PEFT adapters on the tiny models and their logits or scores: writes tests/data/adapters/<name>/.

    pip install torch transformers peft safetensors numpy
    python tests/oracle/lora_golden.py            # all of them
    python tests/oracle/lora_golden.py NAME...    # some of them

An adapter is a folder as PEFT saves it (adapter_config.json, adapter_model.safetensors), with A and B from numpy's seeded
generator, large enough to change every logit. Its answer is that of peft and transformers in float32 on one thread with
eager attention, for one prompt of random ids, after the folder was read back: golden.json (base, ids, which logits are
kept, versions) and golden.bin, little-endian float32: the kept columns at every position [T,C]; of an adapter with a head
the scores of some prefixes, in golden.json alone. `base_away` says how far the base alone is from the answer.
"""
import json
import os
import shutil
import sys
import zlib

import numpy as np
import peft
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

DATA = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data"))
T, COLUMNS, INVOCATION = 60, 24, [17, 5]

# name: (base, LoraConfig, dtype of the saved tensors)
ADAPTERS = {
    "llama_plain": ("llama", dict(r=4, lora_alpha=8, target_modules="all-linear"), torch.float32),
    # another rank and scale for some modules, by names and expressions; targets by an expression
    "llama_rslora": ("llama", dict(r=4, lora_alpha=6, use_rslora=True, target_modules=r".*\.(?:q_proj|v_proj|gate_proj|down_proj)",
                                   rank_pattern={"q_proj": 9, r"layers\.1\.mlp\.down_proj": 3},
                                   alpha_pattern={r"^model.layers.0.mlp.gate_proj": 2}), torch.float32),
    # an adapter that acts from its invocation on
    "llama_alora": ("llama", dict(r=4, lora_alpha=8, target_modules=["q_proj", "k_proj", "v_proj"],
                                  alora_invocation_tokens=INVOCATION), torch.float32),
    # one layer, not every module, bf16
    "qwen3_upper": ("qwen3", dict(r=8, lora_alpha=16, target_modules=["k_proj", "o_proj", "up_proj"], layers_to_transform=[1]),
                    torch.bfloat16),
    "gemma2_plain": ("gemma2", dict(r=4, lora_alpha=4, target_modules="all-linear"), torch.float32),
    # a head on a base that has none, and a head instead of the base's own
    "llama_score": ("llama", dict(task_type="SEQ_CLS", r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"],
                                  modules_to_save=["score"]), torch.float32),
    "qwen3_score": ("qwen3_reward", dict(task_type="SEQ_CLS", r=2, lora_alpha=3, target_modules=["down_proj", "gate_proj"],
                                         exclude_modules=["layers.0.mlp.down_proj"]), torch.float16),
}


def base_model(base, scores):
    torch.manual_seed(0)  # of a head that the file does not have
    auto = AutoModelForSequenceClassification if scores else AutoModelForCausalLM
    more = dict(num_labels=1) if scores else {}
    return auto.from_pretrained(os.path.join(DATA, "models", base), attn_implementation="eager", dtype=torch.float32,
                                **more).eval()


def fill(model, seed, dtype):
    for name, p in model.named_parameters():
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        size = 3.0 / p.shape[-1] ** 0.5 if "score" in name else 1.0 / p.shape[-1] ** 0.5 if "lora_A" in name else 0.2
        if "lora_" in name or "modules_to_save" in name:
            x = torch.from_numpy((size * rng.standard_normal(tuple(p.shape))).astype(np.float32))
            p.data.copy_(x.to(dtype).to(torch.float32))


def build(name, folder, seed):
    base, config, dtype = ADAPTERS[name]
    scores = config.get("task_type") == "SEQ_CLS"
    shutil.rmtree(folder, ignore_errors=True)
    model = get_peft_model(base_model(base, scores), LoraConfig(**{"task_type": "CAUSAL_LM", **config})).eval()
    fill(model, seed, dtype)
    model.save_pretrained(folder)
    os.remove(os.path.join(folder, "README.md"))
    path = os.path.join(folder, "adapter_model.safetensors")
    save_file({k: v.to(dtype).contiguous() for k, v in load_file(path).items()}, path, metadata={"format": "pt"})
    path = os.path.join(folder, "adapter_config.json")
    with open(path) as f:
        saved = json.load(f)
    saved["base_model_name_or_path"] = "tests/data/models/" + base
    for key, value in saved.items():
        if isinstance(value, list) and value and isinstance(value[0], str):
            saved[key] = sorted(value)  # a set, in an order of its own each time
    with open(path, "w") as f:
        json.dump(saved, f, indent=1, sort_keys=True)
        f.write("\n")
    again = PeftModel.from_pretrained(base_model(base, scores), folder).eval()
    return model, again, scores


def golden(name, folder, seed):
    model, again, scores = build(name, folder, seed)
    base, config, _ = ADAPTERS[name]
    rng = np.random.default_rng([seed, 1])
    ids = rng.integers(20, again.config.vocab_size, T)
    if "alora_invocation_tokens" in config:
        ids[10:12] = ids[41:43] = INVOCATION  # the last one counts
        ids[50] = INVOCATION[0]               # and a beginning is none
    x = torch.from_numpy(ids)[None]
    out = {"made_by": "tests/oracle/lora_golden.py", "peft": peft.__version__, "transformers": transformers.__version__,
           "torch": torch.__version__, "seed": seed, "base": base, "ids": ids.tolist()}
    with torch.no_grad():
        if scores:
            lengths = [1, 5, 33, T]
            out["scores"] = [{"n": n, "score": float(again(x[:, :n]).logits[0, 0])} for n in lengths]
            assert all(torch.equal(model(x[:, :n]).logits, again(x[:, :n]).logits) for n in lengths)
        else:
            logits = again(x).logits[0]
            assert torch.equal(logits, model(x).logits[0]), "the folder does not mean the adapter that was made"
            away = (logits - base_model(base, False)(x).logits[0]).abs().amax(-1)
            begins = 41 if "alora_invocation_tokens" in config else 0
            assert away[:begins].eq(0).all() and away[begins:].min() > 0.02, away
            columns = np.sort(rng.choice(again.config.vocab_size, COLUMNS, replace=False))
            out.update(columns=columns.tolist(), begins=begins, base_away=round(float(away.max()), 3))
            with open(os.path.join(folder, "golden.bin"), "wb") as f:
                f.write(np.ascontiguousarray(logits.numpy()[:, columns], "<f4").tobytes())
    with open(os.path.join(folder, "golden.json"), "w") as f:
        json.dump(out, f, indent=None)
        f.write("\n")
    size = sum(os.path.getsize(os.path.join(folder, f)) for f in os.listdir(folder))
    print(f"{name}: {size // 1024} KiB, base away {out.get('base_away')}, scores {[s['score'] for s in out.get('scores', [])]}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for i, name in enumerate(ADAPTERS):
        if len(sys.argv) < 2 or name in sys.argv[1:]:
            golden(name, os.path.join(DATA, "adapters", name), 4000 + i)
