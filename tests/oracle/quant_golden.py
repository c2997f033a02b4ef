"""Golden blocks for tests/base/test_quant.c, made by the `gguf` package.

    pip install gguf numpy
    python tests/oracle/quant_golden.py        (from the root of the tree)

Writes tests/data/base/quant_values_<TYPE>.bin: uint32 n, the blocks of n elements, n float32 values; and
tests/data/base/quant_blocks_<TYPE>.bin: uint32 n, n float32 values, the bytes that the package makes of them. All little-endian.
"""
import pathlib
import numpy as np
from gguf import GGMLQuantizationType as T
from gguf.quants import quantize, dequantize
from gguf.constants import GGML_QUANT_SIZES

OUT = pathlib.Path("tests/data/base")
SEED = 20240611
# f16 bits: +0, -0, 1, -1, smallest and largest subnormal, their negatives, smallest normal, largest finite, its negative
EXTREME = [0x0000, 0x8000, 0x3C00, 0xBC00, 0x0001, 0x03FF, 0x8001, 0x83FF, 0x0400, 0x7BFF, 0xFBFF]
SCALES = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}


def random_f16(rng, count):
    return (rng.standard_normal(count) * 0.02).astype("<f2").view("<u2")


def values(rng, name):
    block, size = GGML_QUANT_SIZES[T[name]]
    count = 48 if block == 32 else 16
    raw = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for k, at in enumerate(SCALES[name]):
        d = random_f16(rng, count)
        for i, bits in enumerate(EXTREME):  # every extreme meets ordinary and extreme partners
            d[(i + 5 * k) % count] = bits
        raw[:, at:at + 2] = d.view(np.uint8).reshape(count, 2)
    with np.errstate(over="ignore"):
        y = dequantize(raw, T[name])
    assert np.isfinite(y).all()
    (OUT / f"quant_values_{name}.bin").write_bytes(
        np.uint32(count * block).tobytes() + raw.tobytes() + y.astype("<f4").tobytes())


def blocks(rng, name):
    rows = [rng.standard_normal(32) * s for s in (1, 1e-3, 1e-5, 1e-7, 1e3, 1.5e4, 0.02, 0.02)]
    rows.append(np.zeros(32))
    rows.append(-np.zeros(32))
    rows.append(np.where(np.arange(32) % 2, 0.5, -0.5))               # magnitudes tie: the first one decides
    rows.append(np.linspace(-1, 1, 32))
    rows.append(np.arange(-16, 16) / 8)                                # halves that round away from zero
    rows.append((np.arange(32) - 20) * 127 / 40)
    rows.append(np.concatenate([[127], np.arange(31) - 15.5]))         # Q8_0: d is 1, every code ends in a half
    rows.append(np.concatenate([[-8], (np.arange(31) - 15) / 2]))      # Q4_0: d is 1
    rows.append(rng.standard_normal(32) * 2.0 ** -24)                  # f16 subnormals
    rows.append(rng.standard_normal(32) * 2.0 ** -15)
    if name in ("F16", "BF16"):                                       # ties of the fraction, up and down
        for step, base in ((2.0 ** -11, 1), (2.0 ** -9, 1), (2.0 ** -25, 0)):
            rows.append(base + np.arange(32) * step)
            rows.append(-(base + np.arange(32) * step + step / 1024))
    x = np.stack(rows).astype(np.float32)
    b = quantize(x, T[name])
    (OUT / f"quant_blocks_{name}.bin").write_bytes(np.uint32(x.size).tobytes() + x.astype("<f4").tobytes() + b.tobytes())


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(SEED)
    for name in SCALES:
        values(rng, name)
    for name in ("F16", "BF16", "Q8_0", "Q4_0", "Q4_1"):
        blocks(rng, name)
