#!/usr/bin/env python3
"""Tiny Llamas packed as GPTQ, AWQ and compressed-tensors publish them, and what is in them, not packed.

Written from the formats' descriptions and in their makers' order of work: codes, zeros and scales are drawn first, then
packed column by column into words. Standard library only.

  tests/oracle/packed_golden.py tests/data/weights/packed
"""

import json
import os
import random
import struct
import sys

V, D, F = 16, 64, 128
MATRICES = [  # in the order of unpacked.bin
    ("self_attn.q_proj", 64, D), ("self_attn.k_proj", 32, D), ("self_attn.v_proj", 32, D), ("self_attn.o_proj", D, 64),
    ("mlp.gate_proj", F, D), ("mlp.up_proj", F, D), ("mlp.down_proj", D, F)]
CONFIG = {"architectures": ["LlamaForCausalLM"], "hidden_size": D, "intermediate_size": F, "num_hidden_layers": 1,
          "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": V, "bos_token_id": 1, "eos_token_id": 2}


def half(x):
    return struct.pack("<e", x)


def bf16(x):
    return struct.pack("<f", x)[2:]


def rounded(x, kind):
    return struct.unpack("<e", half(x))[0] if kind == "F16" else struct.unpack("<f", b"\0\0" + bf16(x))[0]


def words(values):
    return b"".join(struct.pack("<I", v) for v in values)


class File:
    """A safetensors file."""

    def __init__(self):
        self.header, self.data = {"__metadata__": {"format": "pt"}}, b""

    def put(self, name, dtype, shape, data):
        end = len(self.data) + len(data)
        self.header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(self.data), end]}
        self.data += data

    def write(self, path):
        header = json.dumps(self.header).encode()
        header += b" " * (-len(header) % 8)
        with open(path, "wb") as f:
            f.write(struct.pack("<Q", len(header)) + header + self.data)


class Matrix:
    """codes [N][K], zeros and scales [N][G], group of each column [K]."""

    def __init__(self, rng, N, K, bits, group, symmetric, scattered, kind):
        self.N, self.K, self.bits = N, K, bits
        self.G = -(-K // group)
        self.group = [k // group for k in range(K)]
        if scattered:
            rng.shuffle(self.group)
        most = (1 << bits) - 1
        self.codes = [[rng.randint(0, most) for _ in range(K)] for _ in range(N)]
        middle = 1 << (bits - 1)
        # GPTQ's first format cannot keep a zero of 0
        self.zeros = [[middle if symmetric else rng.randint(1, most) for _ in range(self.G)] for _ in range(N)]
        size = 0.02 * 15 / most
        scales = [[size * (0.5 + rng.random()) for _ in range(self.G)] for _ in range(N)]
        self.scales = [[rounded(s, kind) for s in row] for row in scales]

    def unpacked(self):
        out = b"".join(bytes(row) for row in self.codes) + bytes(self.group)
        out += b"".join(bytes(row) for row in self.zeros)
        return out + b"".join(struct.pack("<f", s) for row in self.scales for s in row)


def pack(codes, bits):
    """A list, whose length is a multiple of 32 / bits, to words: the first code lowest."""
    per = 32 // bits
    return [sum(codes[i + j] << (bits * j) for j in range(per)) for i in range(0, len(codes), per)]


def put_gptq(f, name, m, plus):
    down = [pack([m.codes[n][k] for k in range(m.K)], m.bits) for n in range(m.N)]  # [N][K / per]
    rows = len(down[0])
    f.put(name + ".qweight", "I32", [rows, m.N], words(down[n][r] for r in range(rows) for n in range(m.N)))
    zeros = [pack([m.zeros[n][g] - plus for n in range(m.N)], m.bits) for g in range(m.G)]
    f.put(name + ".qzeros", "I32", [m.G, len(zeros[0])], words(w for row in zeros for w in row))
    f.put(name + ".scales", "F16", [m.G, m.N], b"".join(half(m.scales[n][g]) for g in range(m.G) for n in range(m.N)))
    f.put(name + ".g_idx", "I32", [m.K], words(m.group))


AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]


def pack_awq(codes):
    return pack([codes[i + AWQ_ORDER[j]] for i in range(0, len(codes), 8) for j in range(8)], 4)


def put_awq(f, name, m):
    along = [pack_awq([m.codes[n][k] for n in range(m.N)]) for k in range(m.K)]
    zeros = [pack_awq([m.zeros[n][g] for n in range(m.N)]) for g in range(m.G)]
    f.put(name + ".qweight", "I32", [m.K, m.N // 8], words(w for row in along for w in row))
    f.put(name + ".qzeros", "I32", [m.G, m.N // 8], words(w for row in zeros for w in row))
    f.put(name + ".scales", "F16", [m.G, m.N], b"".join(half(m.scales[n][g]) for g in range(m.G) for n in range(m.N)))


def put_bytes(f, name, m):
    f.put(name + ".weight", "I8", [m.N, m.K], bytes((c + 128) % 256 for row in m.codes for c in row))
    f.put(name + ".weight_scale", "BF16", [m.N, 1], b"".join(bf16(s) for row in m.scales for s in row))


def put_compressed(f, name, m, symmetric, scattered):
    along = [pack(row, m.bits) for row in m.codes]
    f.put(name + ".weight_packed", "I32", [m.N, len(along[0])], words(w for row in along for w in row))
    f.put(name + ".weight_scale", "BF16", [m.N, m.G], b"".join(bf16(s) for row in m.scales for s in row))
    f.put(name + ".weight_shape", "I64", [2], struct.pack("<qq", m.N, m.K))
    if not symmetric:
        down = [pack([m.zeros[n][g] for n in range(m.N)], m.bits) for g in range(m.G)]
        rows = len(down[0])
        zeros = words(down[g][r] for r in range(rows) for g in range(m.G))
        f.put(name + ".weight_zero_point", "I32", [rows, m.G], zeros)
    if scattered:
        f.put(name + ".weight_g_idx", "I32", [m.K], words(m.group))


def compressed_config(bits, group, symmetric):
    weights = {"num_bits": bits, "type": "int", "symmetric": symmetric, "strategy": "group" if group else "channel",
               "group_size": group}
    return {"quant_method": "compressed-tensors", "format": "pack-quantized", "ignore": ["lm_head"],
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}}


VARIANTS = {  # name: kind, bits, group (0: all), symmetric, scattered
    "gptq-sym-32": ("v1", 4, 32, True, False), "gptq-asym-64": ("v1", 4, 64, False, False),
    "gptq-v2-whole": ("v2", 4, 0, False, False), "gptq-act-order": ("v1", 4, 32, False, True),
    "gptq-8-sym": ("v1", 8, 32, True, False), "gptq-8-asym": ("v2", 8, 0, False, False),
    "awq-32": ("awq", 4, 32, False, False),
    "compressed-4-sym": ("compressed", 4, 32, True, False), "compressed-4-asym": ("compressed", 4, 32, False, True),
    "compressed-8": ("compressed", 8, 0, True, False),
    "compressed-bytes": ("bytes", 8, 0, True, False)}


def write_variant(folder, name):
    kind, bits, group, symmetric, scattered = VARIANTS[name]
    rng = random.Random(name)
    os.makedirs(folder, exist_ok=True)
    f, unpacked, config = File(), b"", dict(CONFIG)

    def floats(n, pack_one, spread):
        return b"".join(pack_one(rng.uniform(-spread, spread)) for _ in range(n))

    f.put("model.embed_tokens.weight", "BF16", [V, D], floats(V * D, bf16, 1.0))
    f.put("lm_head.weight", "F16", [V, D], floats(V * D, half, 0.5))
    for norm in ("model.norm", "model.layers.0.input_layernorm", "model.layers.0.post_attention_layernorm"):
        f.put(norm + ".weight", "F16", [D], half(1.0) * D)
    for part, N, K in MATRICES:
        m = Matrix(rng, N, K, bits, group or K, symmetric, scattered, "BF16" if kind in ("compressed", "bytes") else "F16")
        full = "model.layers.0." + part
        if kind == "awq":
            put_awq(f, full, m)
        elif kind == "bytes":
            put_bytes(f, full, m)
        elif kind == "compressed":
            put_compressed(f, full, m, symmetric, scattered)
        else:
            put_gptq(f, full, m, 1 if kind == "v1" else 0)
            f.put(full + ".bias", "F16", [N], half(0.0) * N)  # as some quantisers write
        unpacked += m.unpacked()
    if kind == "awq":
        config["quantization_config"] = {"quant_method": "awq", "bits": 4, "group_size": group, "zero_point": True,
                                         "version": "gemm"}
    elif kind in ("compressed", "bytes"):
        config["quantization_config"] = compressed_config(bits, group, symmetric)
        if kind == "bytes":
            config["quantization_config"]["format"] = "int-quantized"
    else:
        own = {"bits": bits, "group_size": group or -1, "desc_act": scattered, "sym": symmetric, "static_groups": False}
        if kind == "v2":
            own["checkpoint_format"] = "gptq_v2"
        if name == "gptq-asym-64":  # as before config.json had it
            with open(os.path.join(folder, "quantize_config.json"), "w") as out:
                json.dump(own, out)
        else:
            config["quantization_config"] = {"quant_method": "gptq", **own}
    f.write(os.path.join(folder, "model.safetensors"))
    with open(os.path.join(folder, "config.json"), "w") as out:
        json.dump(config, out)
    with open(os.path.join(folder, "unpacked.bin"), "wb") as out:
        out.write(unpacked)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for variant in VARIANTS:
        write_variant(os.path.join(sys.argv[1], variant), variant)
