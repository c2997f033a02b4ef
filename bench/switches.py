"""What each kind of sharing saves: rows computed, KV held and time, with all on, each one off, and all off.

usage: bench/switches.py MODEL.gguf [--forkcast build/forkcast] [-n 1,4,16,64,256] [--runs 3] [--job free,taxonomy]

One file in both roles. free: 16 tokens of free text behind a prompt of 128 random ids, scored by log-likelihood. taxonomy: names
of examples/interests.tsv under constraint mask, by the interests recipe. Runs of all switches alternate; times are medians.
Answers are compared: they must be the same with every switch. Prints one Markdown table for each job and n.
"""
import argparse
import json
import os
import random
import statistics
import subprocess
import tempfile

SWITCHES = ["", "fork", "groups", "coalesce", "prefix-cache", "forced", "restricted-head", "score-tree", "score-cache", "overlap",
            "shared-trunk", "all"]


def command(a, job, n, off, ids):
    c = [a.forkcast, "bestof", "--alignment", a.model, "--novelty", a.model, "-n", str(n), "-k", "5", "--json", "--all", "--kv-pool", "6G",
         "--seed", "1", "--threads", str(a.threads)]
    if job == "free":
        c += ["--prompt-ids", ids, "--max-tokens", "16", "--ignore-eos"]
    else:
        c += ["--recipe", "examples/recipes/interests-taxonomy.json", "--history", "Chess", "--history", "Jazz"]
    return c + (["--off", off] if off else [])


def answer(r):
    return [(c["tokens"], c["logprob"], c["score"]) for c in r["all_candidates"]]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("model")
    p.add_argument("--forkcast", default="build/forkcast")
    p.add_argument("-n", default="1,4,16,64,256")
    p.add_argument("--job", default="free,taxonomy")
    p.add_argument("--runs", type=int, default=3)
    p.add_argument("--threads", type=int, default=os.cpu_count())
    a = p.parse_args()
    rng = random.Random(1)
    with tempfile.NamedTemporaryFile("w", suffix=".ids") as f:
        f.write(" ".join(str(rng.randrange(100, 40000)) for _ in range(128)))
        f.flush()
        for job in a.job.split(","):
            for n in (int(x) for x in a.n.split(",")):
                runs = {s: [] for s in SWITCHES}
                for _ in range(a.runs):
                    for s in SWITCHES:
                        out = subprocess.run(command(a, job, n, s, f.name), capture_output=True, text=True)
                        if out.returncode:
                            raise SystemExit(f"{job}, n {n}, off {s or 'none'}: {out.stderr.strip()}")
                        runs[s].append(json.loads(out.stdout))
                want = answer(runs[""][0])
                print(f"\n{job}, n = {n}\n\n| off | rows prefill | decode | score | KV MB | total ms (least to most) |\n|---|---|---|---|---|---|")
                for s in SWITCHES:
                    if any(answer(r) != want for r in runs[s]):
                        raise SystemExit(f"{job}, n {n}: another answer with {s} off")
                    r, t = runs[s][0]["accounting"], [x["timings_ms"]["total"] for x in runs[s]]
                    print(f"| {s or 'nothing'} | {r['rows_prefill']} | {r['rows_decode']} | {r['rows_score']} | {r['kv_bytes'] / 1e6:.1f} | "
                          f"{statistics.median(t):.0f} ({min(t):.0f}-{max(t):.0f}) |", flush=True)


if __name__ == "__main__":
    main()
