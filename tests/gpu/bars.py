"""What bench/MODEL.md predicts of whole requests, against the clock: scoring of many short candidates, one request a client at once; the best of 64
of two models of 8B; decoding where nothing is shared. Random weights in device memory. A line of JSON for each case goes to the file that is named.

    bars.py LINES
"""
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from latency import BIN, Service, line_of  # noqa: E402

SECONDS = 160
# model, rows a batch, of variant bits, requests at once, prompt, candidates, their tokens
SCORING = [("qwen3-0.6b", 0, False, 16, 120, 10, 180), ("qwen3-0.6b", 0, False, 32, 280, 10, 20),
           ("qwen3-0.6b", 8192, True, 16, 120, 10, 180), ("qwen3-0.6b", 8192, True, 32, 280, 10, 20)]
TWO = ["--novelty", "like:llama-3.1-8b", "--alignment", "like:llama-3.1-8b:BF16", "-n", 64, "--prompt-tokens", 1024, "--max-tokens", 256, "--runs", 3, "--ctx", 2048,
       "--kv-pool", "8G"]
# name, options of `forkcast bench latency`
WHOLE = [("best of 64", TWO), ("best of 64, large batches", [*TWO, "--max-rows", 4096, "--batch-invariant=false"]),
         ("nothing shared, fp8", ["--novelty", "like:llama-3.1-8b:F8_E4M3", "--alignment", "none", "-n", 1, "--concurrency", 256, "--runs", 512, "--prompt-tokens", 128,
                                  "--max-tokens", 128, "--ctx", 1024, "--kv-pool", "16G", "--kv-type", "fp8", "--batch-invariant=false"])]


def put(out, case, seconds, counts):
    out.write(json.dumps({"part": "latency", "case": case, "seconds": seconds, "counts": counts}) + "\n")
    out.flush()


def scoring(out, services, case, runs):
    model, max_rows, variant, requests, prompt, n, tokens = case
    key = (model, max_rows, variant)
    if key not in services:
        services[key] = Service("like:" + model, *([max_rows] if max_rows or variant else []), *(["variant"] if variant else []))
        if not services[key].ready:
            raise SystemExit(f"bars: {model}: {services[key].close()}")
    seconds, each, counts = [], [], {}
    for run in range(runs + 1):  # the first one is not counted: graphs are made in it
        answer = services[key].ask("\n".join([f"together {requests}"] + [line_of("score", prompt, n, 5000 * run + i, tokens) for i in range(requests)]))
        if run:
            seconds.append(answer["seconds"])
            each += answer["each"]
            counts = {k: v for k, v in answer.items() if k.startswith("rows_")}
    items = requests * n / sorted(seconds)[len(seconds) // 2]
    print(f"{model}, {requests} requests of {prompt} and {n} x {tokens}, max_rows {max_rows or 'default'}{', variant' if variant else ''}: {items:.0f} items/s; "
          f"slowest request {1e3 * max(each):.0f} ms", flush=True)
    put(out, {"work": "score together", "requests": requests, "prompt": prompt, "n": n, "tokens": tokens, "model": model, "max_rows": max_rows, "variant": variant},
        seconds, {**counts, "items_per_s": round(items), "p99_s": sorted(each)[math.ceil(0.99 * len(each)) - 1]})


def whole(out, folder, name, options):
    prefix = os.path.join(folder, "whole")
    p = subprocess.run([os.path.join(BIN, "forkcast"), "bench", "latency", *map(str, options), "--no-separate", "--no-limits", "--ignore-eos", "--backend", "cuda", "--out", prefix],
                       capture_output=True, text=True, timeout=SECONDS)
    print(f"== {name}\n{p.stdout}{p.stderr}", flush=True)
    if p.returncode:
        return f"FAILED: {name}: status {p.returncode}"
    with open(prefix + ".json") as f:
        for row in json.load(f)["rows"]:
            case = {k: v for k, v in row["case"].items() if isinstance(v, (int, float, str, bool))}
            counts = {k: v for k, v in row["counts"].items() if isinstance(v, (int, float))}
            counts |= {f"{k}_s": statistics.median(row["seconds"][k]) for k in ("prefill", "decode", "score") if k in row["seconds"]}
            put(out, {"work": name, **case}, row["seconds"]["total"], counts)
    return None


def main(lines):
    begin, services, wrong = time.monotonic(), {}, []
    with tempfile.TemporaryDirectory() as folder, open(lines, "a") as out:
        for case in SCORING:
            scoring(out, services, case, 3)
        for s in services.values():
            s.close()
        for name, options in WHOLE:
            late = time.monotonic() - begin > SECONDS / 2
            wrong.append(f"LEFT OUT: {name}: no time is left" if late else whole(out, folder, name, options))
    wrong = [x for x in wrong if x]
    for line in wrong:
        print(line, flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    if not shutil.which("nvidia-smi"):
        print("skipped: no CUDA device answers")
        sys.exit(77)
    sys.exit(main(sys.argv[1]))
