"""Reads GGUF files that forkcast wrote with the `gguf` package, and compares every tensor bit for bit.

    pip install gguf safetensors numpy
    python tests/oracle/check_gguf_package.py REFERENCE FILE...

REFERENCE is a GGUF file whose matrices are F32, or a Hugging Face folder in float32. Each FILE must hold the same model: a
tensor's bytes are those that the package makes of the reference's values in that type, and its values those that the
package reads. Rows of a folder's q and k are reordered, and 1 is added to Gemma's norms, as llama.cpp's converter does.
"""
import glob
import json
import os
import sys

import gguf
import numpy as np


class Different(Exception):
    pass


def need(ok, what):
    if not ok:
        raise Different(what)


def read_gguf(path):
    """Values of a file's fields, and its tensors by name."""
    r = gguf.GGUFReader(path)
    need(r.fields["GGUF.version"].contents() == 3, f"{path}: version")
    return {k: f.contents() for k, f in r.fields.items()}, {t.name: t for t in r.tensors}


def pairs(w, heads):
    """The two halves of each head, dealt out in turn."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


LAYER = {
    "input_layernorm.weight": "attn_norm.weight",
    "self_attn.q_norm.weight": "attn_q_norm.weight",
    "self_attn.k_norm.weight": "attn_k_norm.weight",
    "self_attn.o_proj.weight": "attn_output.weight",
    "self_attn.o_proj.bias": "attn_output.bias",
    "pre_feedforward_layernorm.weight": "ffn_norm.weight",
    "post_feedforward_layernorm.weight": "post_ffw_norm.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
    **{f"self_attn.{x}_proj.{p}": f"attn_{x}.{p}" for x in "qkv" for p in ("weight", "bias")},
}
OUTSIDE = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
           "lm_head.weight": "output.weight", "score.weight": "score.weight"}


def read_folder(path):
    """A Hugging Face folder as float32 arrays under GGUF's names."""
    from safetensors.numpy import load_file
    with open(os.path.join(path, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    kind = config["model_type"]
    gemma, llama = kind.startswith("gemma"), kind in ("llama", "mistral")
    out = {}
    for shard in sorted(glob.glob(os.path.join(path, "*.safetensors"))):
        for name, w in load_file(shard).items():
            need(w.dtype == np.float32, f"{path}: {name} is {w.dtype}")
            if name in OUTSIDE:
                to = OUTSIDE[name]
            else:
                _, _, layer, rest = name.split(".", 3)
                if rest == "post_attention_layernorm.weight":
                    part = "post_attention_norm.weight" if gemma else "ffn_norm.weight"
                else:
                    part = LAYER[rest]
                to = f"blk.{layer}.{part}"
                if llama and part.startswith(("attn_q.", "attn_k.")):
                    w = pairs(w, config["num_attention_heads" if part.startswith("attn_q.") else "num_key_value_heads"])
            if gemma and to.endswith("norm.weight"):
                w = w + np.float32(1)
            out[to] = w
    return out


def reference(path):
    if os.path.isdir(path):
        return read_folder(path)
    tensors = read_gguf(path)[1]
    for t in tensors.values():
        need(t.tensor_type == gguf.GGMLQuantizationType.F32, f"{path}: {t.name} is {t.tensor_type.name}")
    return {name: np.array(t.data).reshape(tuple(reversed(t.shape.tolist()))) for name, t in tensors.items()}


def compare(want, path):
    """Every tensor of the file at path against float32 arrays by name; returns types and their counts."""
    fields, tensors = read_gguf(path)
    made = {"rope_freqs.weight"} - set(want)  # of Llama 3's scaling: config.json has no such tensor
    need(set(tensors) - made == set(want), f"{path}: tensors {sorted(set(tensors) ^ set(want))}")
    counts = {}
    for name, t in tensors.items():
        counts[t.tensor_type.name] = counts.get(t.tensor_type.name, 0) + 1
        need(int(t.data_offset) % 32 == 0, f"{path}: {name} is not aligned")
        if name in made:
            continue
        w = want[name]
        need(tuple(reversed(t.shape.tolist())) == w.shape, f"{path}: {name} has shape {t.shape}, not {w.shape}")
        packed = gguf.quants.quantize(w, t.tensor_type)
        need(packed.tobytes() == np.ascontiguousarray(t.data).tobytes(), f"{path}: bytes of {name} differ")
        values = gguf.quants.dequantize(t.data, t.tensor_type).reshape(w.shape)
        need(values.tobytes() == gguf.quants.dequantize(packed, t.tensor_type).tobytes(), f"{path}: values of {name} differ")
    need(gguf.LlamaFileType(fields["general.file_type"]) is not None, f"{path}: general.file_type")
    return counts


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    want = reference(sys.argv[1])
    for path in sys.argv[2:]:
        try:
            counts = compare(want, path)
        except Different as e:
            sys.exit(f"different: {e}")
        print(f"{path}: " + ", ".join(f"{n} {t}" for t, n in sorted(counts.items())) + ", all the same")


if __name__ == "__main__":
    main()
