#!/usr/bin/env python3
"""What one H100 should do, by `forkcast bench model`, against the bars that it is held to: the tables of bench/MODEL.md.

usage: bench/model.py --check | --write [--build build]

Between the markers of MODEL.md stands what this program makes, for each bar: what is predicted, with the arithmetic, whether it is met, and
what would change it; and, where an H100 was measured (MEASURED), that. --check says what differs, and fails. Nothing is measured here and nothing
runs but the prediction, so the numbers do not depend on this machine.
"""
import argparse
import difflib
import json
import os
import statistics
import subprocess
import sys
import tempfile

import result

DOCUMENT = "bench/MODEL.md"
BEGIN, END = "<!-- bars: made by `bench/model.py --write` -->\n", "<!-- end of bars -->\n"
H100 = {"memory": 3350e9, "bf16": 989.4e12}
MEASURED = "bench/results/2026-11-27-gpu-h100.json"


class Model:
    """Predictions of one command line after another; each is made once."""

    def __init__(self, build):
        self.program, self.known = os.path.join(build, "forkcast"), {}
        result.need(build, "forkcast")

    def rows(self, *args):
        if args not in self.known:
            with tempfile.TemporaryDirectory() as d:
                command = [self.program, "bench", "model", "--gpu", "h100", *map(str, args), "--out", os.path.join(d, "r")]
                out = subprocess.run(command, capture_output=True, text=True)
                if out.returncode:
                    result.stop(out.stderr.strip())
                self.known[args] = result.read(os.path.join(d, "r.json"))
        return self.known[args]

    def row(self, phase, n, kernel, *args):
        found = [r for r in self.rows(*args) if r["case"]["phase"] == phase and r["case"]["n"] == n and r["case"].get("kernel") == kernel]
        if len(found) != 1:
            result.stop(f"{len(found)} rows have phase {phase}, n {n}, kernel {kernel} in what {' '.join(map(str, args))} gives")
        return found[0]

    def seconds(self, phase, n, kernel, *args):
        return self.row(phase, n, kernel, *args)["seconds"]["predicted"][0]


def seconds(**case):
    """The median of one case of MEASURED."""
    found = [x for x in result.read(MEASURED) if case.items() <= x["case"].items()]
    if len(found) != 1:
        result.stop(f"{MEASURED}: {len(found)} rows are of {case}")
    return statistics.median(next(iter(found[0]["seconds"].values())))


def measured_at():
    with open(MEASURED) as f:
        return f"`{json.load(f)['commit']}`"


def attention(prefix, n, shared):
    return seconds(part="bench", op="attn", prefix=prefix, n=n, kv="BF16", shared=shared)


def bar(what, words, predicted, unit, met, arithmetic, change, measured=None):
    """Of the table: met is by what was measured, a sentence and whether it meets the bar, and by the prediction where nothing was."""
    said, reached = measured or ("-", met)
    if reached is None:
        result.stop(f"{what}: what was measured does not say all of the bar: its p99, or the share of scoring")
    return {"what": what, "bar": words, "predicted": f"{predicted:.3g} {unit}".strip(), "measured": said, "met": reached, "arithmetic": arithmetic, "change": change}


L8, Q06 = ("--like", "llama-3.1-8b"), ("--like", "qwen3-0.6b")
ALONE = ("--alignment", "none")


def kernel_gain(m):
    args = (*L8, *ALONE, "-n", 256, "--prompt-tokens", 32768, "--max-tokens", 256)
    shared, alone = m.row("step", 256, "attn", *args), m.row("step", 256, "attn", *args, "--no-sharing")
    s, a = (r["seconds"]["predicted"][0] for r in (shared, alone))
    return bar("attention of a decode step, shared against alone, P 32,768, n 256, GQA 4", ">= 31x", a / s, "x", a / s >= 31,
               f"alone {a * 1e3:.0f} ms ({alone['counts']['memory_bytes'] / 1e9:.0f} GB of KV, bound by {alone['bound']}), shared {s * 1e3:.2f} ms "
               f"({shared['counts']['memory_bytes'] / 1e9:.1f} GB, {shared['counts']['ops_bf16'] / 1e12:.2f} x 10^12 operations, bound by {shared['bound']})",
               "a group's runs folded in registers before they are written: now each of 32 runs leaves 256 x 32 partial states, which are written and read "
               "in f32",
               (f"{4 * attention(32768, 64, False) / attention(32768, 256, True):.3g} x (alone: four times that of 64)", 4 * attention(32768, 64, False) / attention(32768, 256, True) >= 31))


def kernel_gain_short(m):
    out = []
    for like, g, P, n in (("qwen2.5-0.5b", 7, 128, 8), ("llama-3.1-8b", 4, 128, 8)):
        args = ("--like", like, *ALONE, "-n", n, "--prompt-tokens", P, "--max-tokens", 64)
        s, a = m.seconds("step", n, "attn", *args), m.seconds("step", n, "attn", *args, "--no-sharing")
        layers = {"qwen2.5-0.5b": 24, "llama-3.1-8b": 32}[like]
        out.append((a / s, f"{like} (GQA {g}): alone {a / layers * 1e6:.2f} us a layer, shared {s / layers * 1e6:.2f} us"))
    worst = min(r for r, _ in out)
    return bar("the same, P 128, n 8, GQA 8 (the nearest shapes: GQA 7)", ">= 1.0x", worst, "x", worst >= 1, "; ".join(t for _, t in out),
               "one launch does both, so its gap is the same; what a unit waits for counts, and the rows of a shared one are more",
               (f"{attention(128, 8, False) / attention(128, 8, True):.3g} x (GQA 4)", attention(128, 8, False) >= attention(128, 8, True)))


def alone_share():
    kv = 64 * (32768 + 64) * 2 * 8 * 128 * 2.0  # bytes that 64 branches read: whole tiles of 8 heads of 128, K and V in bf16
    v = kv / H100["memory"] / attention(32768, 64, False)
    return f"{100 * v:.3g} % (P 32,768)", v >= 0.9


def ridge_share():
    done = 4.0 * 32 * 128 * (256 * 32768 + 256 * 64)  # operations of scores and values, nothing filled up
    v = done / H100["bf16"] / attention(32768, 256, True)
    return f"{100 * v:.3g} % (P 32,768)", v >= 0.67


def attention_bandwidth(m):
    r = m.row("step", 64, "attn", *L8, *ALONE, "-n", 64, "--prompt-tokens", 8192, "--max-tokens", 256, "--no-sharing")
    v = r["counts"]["memory_bytes"] / H100["memory"] / r["seconds"]["predicted"][0]
    return bar("attention, share of memory bandwidth (64 branches alone, P 8,192)", ">= 90 %", 100 * v, "%", v >= 0.9,
               f"{r['counts']['memory_bytes'] / 1e9:.1f} GB in {r['seconds']['predicted'][0] * 1e3:.2f} ms, bound by {r['bound']}; measured: P 32,768, the data sheet's 3,350 GB/s",
               "few branches: units of 16 tiles wait for memory, 2 or 3 halves of a tile on their way (kernels/attn/attn_tiles.cuh)", alone_share())


def attention_tensor(m):
    r = m.row("step", 256, "attn", *L8, *ALONE, "-n", 256, "--prompt-tokens", 8192, "--max-tokens", 256)
    p = m.row("prefill", 256, "attn", *L8, *ALONE, "-n", 256, "--prompt-tokens", 8192, "--max-tokens", 256)
    v, w = (x["counts"]["ops_bf16"] / H100["bf16"] / x["seconds"]["predicted"][0] for x in (r, p))
    return bar("attention, share of the tensor peak at the ridge (shared, n 256, P 8,192)", ">= 67 %", 100 * v, "%", v >= 0.67,
               f"{r['counts']['ops_bf16'] / 1e12:.2f} x 10^12 operations in {r['seconds']['predicted'][0] * 1e3:.2f} ms, bound by {r['bound']}; prefill of the same "
               f"prompt: {100 * w:.0f} %, bound by {p['bound']}",
               "to be measured: attn_wide.cu's waits are assumed. Of a tile's 1,100 issue slots a third folds its o: as many tiles as a run has could be added up in the tensor cores' own sums, which would change bits", ridge_share())


def decode_share(moved):
    step = seconds(part="latency", work="generate", prompt=128, n=1) / 32  # the prompt of 128 too: about a step and a half
    return f"{100 * moved / H100['memory'] / step:.3g} % ({1e3 * step:.2f} ms, the prompt spread over 32 steps)", moved / H100["memory"] / step >= 0.78


def step_share(m):
    r = m.row("step", 1, None, *L8, *ALONE, "-n", 1, "--prompt-tokens", 128, "--max-tokens", 64)
    v = r["limit_seconds"] / r["seconds"]["predicted"][0]
    w = r["counts"]["bytes"] / H100["memory"] / r["seconds"]["predicted"][0]
    return bar("8B bf16, a decode step at n 1, against the byte floor", ">= 78 %", 100 * w, "%", w >= 0.78,
               f"{r['counts']['bytes'] / 1e9:.2f} GB at 3,350 GB/s are {r['counts']['bytes'] / H100['memory'] * 1e3:.2f} ms, {r['seconds']['predicted'][0] * 1e3:.2f} ms are "
               f"predicted, of which {r['counts']['launches']:.0f} launches take {r['counts']['launches'] * 1.3e-3:.2f} ms",
               "attention's 26 us a layer and the norms' 7 (ncu), which wait for memory and barriers; then the few-row kernel, 58 to 80 % of memory's rate",
               decode_share(r["counts"]["bytes"]))


def fp8_throughput(m):
    args = (*L8, *ALONE, "--weights", "fp8", "--kv-type", "fp8", "-n", 1, "--requests", 448, "--prompt-tokens", 128, "--max-tokens", 2048)
    pre, dec = m.row("prefill", 1, None, *args), m.row("decode", 1, None, *args)
    v = 448 * 2048 / (pre["seconds"]["predicted"][0] + dec["seconds"]["predicted"][0])
    gate = m.row("step", 1, "gate_up", *args)
    floor = 448 * 2048 / (pre["limit_seconds"] + dec["limit_seconds"])
    return bar("8B fp8, 128 in, 2,048 out, nothing shared, 448 at once (what 80 GB hold with fp8 KV)", ">= 22,700 tokens/s", v, "tokens/s", v >= 22700,
               f"a step takes {dec['seconds']['predicted'][0] / 2047 * 1e3:.1f} ms; gate and up are {gate['counts']['ops_bf16'] / 1e12:.1f} x 10^12 operations of bf16; "
               f"at the peaks of memory and fp8 {floor:.0f} tokens/s",
               "fp8 multiplied as fp8, twice the rate of bf16, where a request asks for that (kernels/cuda/README.md); attention of one vector an item, which waits")


def draw_added():
    plain, filtered = (seconds(part="bench", op="draw", rows=128, members=1, temperature=t, top_p=p, top_k=0) for t, p in ((1, 1), (0.8, 0.9)))
    return f"{1e3 * (filtered - plain):.2g} ms added to {1e3 * plain:.2g}", filtered - plain <= 0.14e-3


def draw_cost(m):
    r = m.row("step", 128, "draw", *L8, *ALONE, "-n", 128, "--prompt-tokens", 128, "--max-tokens", 64, "--filtered")
    v = r["seconds"]["predicted"][0] * 131072 / 128256
    return bar("draw, 128 rows of 131,072 words, top-p", "<= 0.14 ms", v * 1e3, "ms", v <= 0.14e-3,
               f"logits once, {r['counts']['memory_bytes'] / 1e6:.0f} MB, {r['counts']['launches']} launches; kernels/draw's filters read a row again, which is not counted",
               "to be measured: filters read a row three times, which were four or five; the model counts none of it", draw_added())


def scored(P, requests, items):
    default, large = (10 * requests / seconds(part="latency", work="score together", prompt=P, requests=requests, max_rows=r, variant=v)
                      for r, v in ((0, False), (8192, True)))
    return f"{default:.0f} items/s; {large:.0f} with large passes by cuBLASLt", False if default < items else None


def scoring(m, P, L, items, requests):
    base = (*Q06, "-n", 10, "--requests", requests, "--prompt-tokens", P, "--max-tokens", L)
    now, tuned = m.row("score", 10, None, *base), m.row("score", 10, None, *base, "--max-rows", 8192, "--no-batch-invariant")
    (s, t), n = (x["seconds"]["predicted"][0] for x in (now, tuned)), 10 * requests
    twice = m.seconds("score", 10, None, *base, "--precise", "true")
    return bar(f"scoring, Qwen3-0.6B shape, bf16, {P} shared and 10 x {L} tokens, {requests} requests at once", f">= {items:,} items/s" + (", p99 < 450 ms" if L == 180 else ""),
               n / s, "items/s", n / s >= items and (L != 180 or s < 0.45),
               f"{now['counts']['rows']:.0f} rows in {s * 1e3:.0f} ms, {now['counts']['passes']:.0f} passes of 1,024; with --max-rows 8192 --no-batch-invariant {n / t:.0f} items/s in "
               f"{t * 1e3:.0f} ms; with --precise true {n / twice:.0f}; at the peaks {n / now['limit_seconds']:.0f}",
               "o and down, whose 128 blocks of 64 rows leave four processors idle and ask the cache for more; attention of few vectors; larger passes", scored(P, requests, items))


def best_of_64(m):
    args = (*L8, "-n", 64, "--prompt-tokens", 1024, "--max-tokens", 256)
    parts = [m.seconds(k, 64, None, *args) for k in ("prefill", "decode", "score")]
    tuned = [m.seconds(k, 64, None, *args, "--max-rows", 4096, "--no-batch-invariant") for k in ("prefill", "decode", "score")]
    twice = sum(m.seconds(k, 64, None, *args, "--precise", "true") for k in ("prefill", "decode", "score"))
    total, share = sum(parts), parts[2] / sum(parts)
    return bar("best of 64, two 8B bf16 models, P 1,024, L 256", "<= 2.2 s, scoring <= 20 % of it", total, f"s, scoring {100 * share:.0f} %", total <= 2.2 and share <= 0.2,
               f"prefill {parts[0]:.3f}, decode {parts[1]:.2f}, score {parts[2]:.2f} s; with --max-rows 4096 --no-batch-invariant {tuned[0]:.3f}, {tuned[1]:.2f}, {tuned[2]:.2f} s, "
               f"{sum(tuned):.2f} in all; with --precise true {twice:.2f}",
               "larger passes; what overlaps with decoding is not counted",
               (f"{seconds(part='latency', work='best of 64'):.3g} s", False if seconds(part="latency", work="best of 64") > 2.2 else None))


TAXONOMY = "bench/results/2026-11-26-taxonomy.json"


def taxonomy(m):
    counts = next(r for r in result.read(TAXONOMY) if r["subject"]["name"] == "forkcast")["counts"]
    pre, dec, score = (counts[f"rows_{k}"] / counts["prompts"] for k in ("prefill", "decode", "score"))
    args = (*Q06, "-n", 16, "--requests", 32, "--prompt-tokens", 96, "--max-tokens", 6, "--cached")
    whole = m.row("score", 16, None, *args)
    rows, seconds = whole["counts"]["rows"], whole["seconds"]["predicted"][0]
    head = m.seconds("score", 16, "head", *args)
    a, b = (seconds - head) / rows, seconds / rows
    v = 1 / ((pre + dec) * a + score * b)
    return bar("taxonomy table, 0.6B shapes, n 64", ">= 1,000 prompts/s", v, "prompts/s", v >= 1000,
               f"{pre:.1f} rows of prefill, {dec:.1f} of decode and {score:.1f} scored ones a prompt ({TAXONOMY}), in full batches of 1,024 at {a * 1e6:.2f} us a row, "
               f"{b * 1e6:.2f} with the head; what lists of allowed ids cost is left out",
               "products whose blocks are whole turns of 132; larger passes")


def invariance(m):
    out = []
    for n in (64, 256):
        args = (*L8, *ALONE, "-n", n, "--prompt-tokens", 1024, "--max-tokens", 256)
        out.append(m.seconds("step", n, None, *args) / m.seconds("step", n, None, *args, "--no-batch-invariant") - 1)
    return bar("batch-invariant mode, 8B bf16, n 64", "<= 10 %", 100 * out[0], "%", out[0] <= 0.1,
               f"at 64 rows it multiplies by warpgroups, the other mode by mma.sync, since its weights lie as cuBLASLt reads them; at n 256 it costs {100 * out[1]:.0f} %, where cuBLASLt reaches 70 % of the peak",
               "")


def bars(m):
    return [kernel_gain(m), kernel_gain_short(m), attention_bandwidth(m), attention_tensor(m), step_share(m), fp8_throughput(m), draw_cost(m),
            scoring(m, 120, 180, 3000, 16), scoring(m, 280, 20, 6000, 32), best_of_64(m), taxonomy(m), invariance(m)]


def tables(m):
    all_ = bars(m)
    out = ["", f"| what, on one H100 | bar | predicted | measured at {measured_at()} | |", "|---|---|---|---|---|"]
    out += [f"| {b['what']} | {b['bar']} | {b['predicted']} | {b['measured']} | {'met' if b['met'] else '**short**'}{', predicted' if b['measured'] == '-' else ''} |" for b in all_]
    out += ["", f"{sum(b['met'] for b in all_)} of {len(all_)} are met. The arithmetic of what is predicted, and what would change a number:", ""]
    out += [f"- **{b['what']}**: {b['arithmetic']}." + (f" Next: {b['change']}." if b["change"] else "") for b in all_]
    return "\n".join(out) + "\n\n"


def remade(text, m):
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        result.stop(f"{DOCUMENT}: its markers are not there, or not as bench/model.py has them")
    return before + begin + tables(m) + end + after


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = p.add_mutually_exclusive_group(required=True)
    what.add_argument("--check", action="store_true")
    what.add_argument("--write", action="store_true")
    p.add_argument("--build", default=os.path.join(result.ROOT, "build"), help="where forkcast is")
    a = p.parse_args()
    build = os.path.abspath(a.build)
    os.chdir(result.ROOT)
    with open(DOCUMENT) as f:
        there = f.read()
    wanted = remade(there, Model(build))
    if a.write:
        with open(DOCUMENT, "w") as f:
            f.write(wanted)
    elif wanted != there:
        sys.stdout.writelines(difflib.unified_diff(there.splitlines(True), wanted.splitlines(True), DOCUMENT, "as the model says", n=0))
        result.stop(f"{DOCUMENT} does not say what the model does; bench/model.py --write makes it again")
    else:
        print(f"{DOCUMENT} says what the model does")


if __name__ == "__main__":
    main()
