"""forkcast against llama.cpp on the same GGUF and machine: n candidates of one prompt, the prompt shared, runs alternating.

usage: bench/vs_llamacpp.py LLAMA_BATCHED_BENCH MODEL.gguf [--forkcast build/forkcast] [-P 128] [-G 32] [-n 1,4,16,64] [--runs 5]

llama.cpp: its llama-batched-bench with -pps (prompt shared by sequence copy), from the sources in the PyPI sdist of
llama-cpp-python (0.3.36), cmake -DGGML_NATIVE=ON. forkcast: bestof --alignment none --ignore-eos, a random prompt of P ids.
Prints medians, minimum and maximum of generated tokens a second (prefill apart) and of whole seconds, and their ratio.
"""
import argparse
import json
import os
import random
import statistics
import subprocess
import tempfile


def llama(a, n):
    out = subprocess.run([a.llama, "-m", a.model, "-c", str((a.P + a.G * n) * 2), "-b", "2048", "-ub", "512", "-npp", str(a.P), "-ntg", str(a.G),
                          "-npl", str(n), "-pps", "-t", str(a.threads), "-tb", str(a.threads), "--output-format", "jsonl"],
                         capture_output=True, text=True, check=True).stdout
    r = [json.loads(line) for line in out.splitlines() if line.startswith("{")][-1]
    return n * a.G / r["t_tg"], r["t_pp"] + r["t_tg"]


def forkcast(a, n, seed):
    with tempfile.NamedTemporaryFile("w", suffix=".ids") as f:
        rng = random.Random(seed)
        f.write(" ".join(str(rng.randrange(100, 40000)) for _ in range(a.P)))
        f.flush()
        out = subprocess.run([a.forkcast, "bestof", "--novelty", a.model, "--alignment", "none", "--prompt-ids", f.name, "-n", str(n), "-k", "1",
                              "--max-tokens", str(a.G), "--ignore-eos", "--threads", str(a.threads), "--seed", str(seed), "--json"],
                             capture_output=True, text=True, check=True).stdout
    t = json.loads(out)["timings_ms"]
    # decode begins after the first of G draws, which the prefill paid for
    return n * (a.G - 1) / (t["decode"] / 1000), (t["prefill"] + t["decode"]) / 1000


def row(values):
    return f"{statistics.median(values):8.2f} ({min(values):.2f}-{max(values):.2f})"


def main():
    p = argparse.ArgumentParser()
    p.add_argument("llama")
    p.add_argument("model")
    p.add_argument("--forkcast", default="build/forkcast")
    p.add_argument("-P", type=int, default=128)
    p.add_argument("-G", type=int, default=32)
    p.add_argument("-n", default="1,4,16,64")
    p.add_argument("--runs", type=int, default=5)
    p.add_argument("--threads", type=int, default=os.cpu_count())
    a = p.parse_args()
    print(f"{os.path.basename(a.model)}, P {a.P}, G {a.G}, {a.threads} threads, {a.runs} alternating runs: median (min-max)")
    for n in (int(x) for x in a.n.split(",")):
        ours, theirs = [], []
        forkcast(a, n, 0)  # warm-up: the file cache
        for seed in range(a.runs):
            ours.append(forkcast(a, n, seed + 1))
            theirs.append(llama(a, n))
        ratio = [o[0] / t[0] for o, t in zip(ours, theirs)]
        whole = [t[1] / o[1] for o, t in zip(ours, theirs)]
        print(f"n {n:3d}  tokens/s: forkcast {row([o[0] for o in ours])}  llama.cpp {row([t[0] for t in theirs])}  ratio {row(ratio)}"
              f"  | seconds: forkcast {row([o[1] for o in ours])}  llama.cpp {row([t[1] for t in theirs])}  ratio {row(whole)}", flush=True)


if __name__ == "__main__":
    main()
