"""What each kind of sharing saves: rows computed, KV held and time, with all on, each one off, and all off.

usage: bench/switches.py MODEL.gguf --out RESULT.json [--build build] [-n 1,4,16,64,256] [--runs 3] [--job free,taxonomy]
       bench/switches.py --table RESULT.json

One file in both roles. free: 16 tokens of free text behind a prompt of 128 random ids, scored by log-likelihood. taxonomy: names
of examples/interests.tsv under constraint mask, by the interests-taxonomy recipe without full_logprob, which would compute forced
ids too. Runs of all switches alternate; times are from submit to answer. Answers are compared: a switch that changes one is an
error. --table prints a Markdown table for each job.
"""
import argparse
import json
import os
import random
import subprocess
import tempfile

import result

SWITCHES = ["", "fork", "groups", "coalesce", "prefix-cache", "forced", "restricted-head", "score-tree", "score-cache", "overlap",
            "shared-trunk", "all"]
COUNTS = ("rows_prefill", "rows_decode", "rows_score", "kv_bytes")


def command(a, job, n, off, ids):
    c = [os.path.join(a.build, "forkcast"), "bestof", "--alignment", a.model, "--novelty", a.model, "-n", str(n), "-k", "5", "--json", "--all",
         "--kv-pool", "6G", "--seed", "1", "--threads", str(a.threads)]
    if job == "free":
        c += ["--prompt-ids", ids, "--max-tokens", "16", "--ignore-eos"]
    else:
        c += ["--recipe", "examples/recipes/interests-taxonomy.json", "--history", "Chess", "--history", "Jazz", "--full-logprob=false"]
    return c + (["--off", off] if off else [])


def answer(r):
    return [(c["tokens"], c["logprob"], c["score"]) for c in r["all_candidates"]]


def measure(a, job, n, ids):
    """One row a switch."""
    runs = {s: [] for s in SWITCHES}
    for _ in range(a.runs):
        for s in SWITCHES:
            out = subprocess.run(command(a, job, n, s, ids), capture_output=True, text=True)
            if out.returncode:
                raise SystemExit(f"{job}, n {n}, off {s or 'nothing'}: {out.stderr.strip()}")
            runs[s].append(json.loads(out.stdout))
    want = answer(runs[""][0])
    for s in SWITCHES:
        if any(answer(r) != want for r in runs[s]):
            raise SystemExit(f"{job}, n {n}: another answer with {s or 'nothing'} off")
    return [{"case": {"job": job, "n": n, "off": s or "nothing"}, "subject": {"name": "forkcast", "version": a.version, "weights": os.path.basename(a.model)},
             "seconds": {"total": [r["timings_ms"]["total"] / 1000 for r in runs[s]]}, "counts": {k: runs[s][0]["accounting"][k] for k in COUNTS}}
            for s in SWITCHES]


def tables(rows):
    """A table a job: a line a switch, a column each n."""
    out = []
    for job in dict.fromkeys(r["case"]["job"] for r in rows):
        of = {(r["case"]["off"], r["case"]["n"]): r for r in rows if r["case"]["job"] == job}
        ns = sorted({n for _, n in of})
        out += [f"**{job}**: rows of prefill + decode + score; MB of KV; median ms", "", "| off | " + " | ".join(f"n = {n}" for n in ns) + " |",
                "|---" * (len(ns) + 1) + "|"]
        for off in dict.fromkeys(s for s, _ in of):
            cells = []
            for n in ns:
                r = of[off, n]
                c = r["counts"]
                ms = result.spread(sorted(r["seconds"]["total"]), 1000).split(" ")[0]
                cells.append(f"{c['rows_prefill']} + {c['rows_decode']} + {c['rows_score']}; {c['kv_bytes'] / 1e6:.1f}; {ms}")
            out.append(f"| {off} | " + " | ".join(cells) + " |")
        out.append("")
    return "\n".join(out)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("model", nargs="?")
    p.add_argument("--table")
    p.add_argument("--out")
    p.add_argument("--build", default="build")
    p.add_argument("-n", default="1,4,16,64,256")
    p.add_argument("--job", default="free,taxonomy")
    p.add_argument("--runs", type=int, default=3)
    p.add_argument("--threads", type=int, default=os.cpu_count())
    a = p.parse_args()
    if a.table:
        with open(a.table) as f:
            print(tables(json.load(f)["rows"]), end="")
        return
    if not a.model or not a.out:
        p.error("MODEL.gguf and --out are needed")
    a.version = subprocess.run([os.path.join(a.build, "forkcast"), "--version"], check=True, capture_output=True, text=True).stdout.split()[-1]
    rng, rows = random.Random(1), []
    with tempfile.NamedTemporaryFile("w", suffix=".ids") as f:
        f.write(" ".join(str(rng.randrange(100, 40000)) for _ in range(128)))
        f.flush()
        for job in a.job.split(","):
            for n in (int(x) for x in a.n.split(",")):
                rows += measure(a, job, n, f.name)
                result.write(a.out, result.make(rows, result.limits(a.build, a.threads)))  # what is there is kept
    print(tables(rows), end="")


if __name__ == "__main__":
    main()
