#!/usr/bin/env python3
"""What each kind of sharing saves: rows computed, KV held and time, with all on, each one off, and all off.

usage: bench/switches.py MODEL.gguf --out RESULT.json [--build build] [-n 1,4,16,64,256] [--runs 3] [--job free,taxonomy]
       bench/switches.py --table RESULT.json

Needs the program and bench/roofline: `cmake -S . -B build -G Ninja && ninja -C build` makes both. Run from the root of the tree.
One file in both roles. free: 16 tokens of free text behind a prompt of 128 random ids, scored by log-likelihood. taxonomy: names
of examples/interests.tsv under constraint mask, by the interests-taxonomy recipe without full_logprob, which would compute forced
ids too. Runs of all switches alternate; times are from submit to answer. Answers are compared: a switch that changes one is an
error. Tables are Markdown; switches with the same numbers share a line.
"""
import argparse
import json
import os
import random
import statistics
import subprocess
import tempfile

import result

SWITCHES = ["", "fork", "groups", "coalesce", "prefix-cache", "forced", "restricted-head", "score-tree", "score-cache", "overlap",
            "shared-trunk", "all"]
JOBS = ("free", "taxonomy")
RECIPE = "examples/recipes/interests-taxonomy.json"
COUNTS = ("rows_prefill", "rows_decode", "rows_score", "kv_bytes")


def command(a, job, n, off, ids):
    c = [os.path.join(a.build, "forkcast"), "bestof", "--alignment", a.model, "--novelty", a.model, "-n", str(n), "-k", "5", "--json", "--all",
         "--kv-pool", "6G", "--seed", "1", "--threads", str(a.threads)]
    if job == "free":
        c += ["--prompt-ids", ids, "--max-tokens", "16", "--ignore-eos"]
    else:
        c += ["--recipe", RECIPE, "--history", "Chess", "--history", "Jazz", "--full-logprob=false"]
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
                result.stop(f"{job}, n {n}, off {s or 'nothing'}: {out.stderr.strip()}")
            runs[s].append(json.loads(out.stdout))
    want = answer(runs[""][0])
    for s in SWITCHES:
        if any(answer(r) != want for r in runs[s]):
            result.stop(f"{job}, n {n}: another answer with {s or 'nothing'} off")
    return [{"case": {"job": job, "n": n, "off": s or "nothing"}, "subject": {"name": "forkcast", "version": a.version, "weights": os.path.basename(a.model)},
             "seconds": {"total": [r["timings_ms"]["total"] / 1000 for r in runs[s]]}, "counts": {k: runs[s][0]["accounting"][k] for k in COUNTS}}
            for s in SWITCHES]


def beyond_noise(r, nothing):
    """Slower than with nothing off by a quarter or more, and so in every run of several."""
    ours, theirs = r["seconds"]["total"], nothing["seconds"]["total"]
    return len(ours) > 1 and min(ours) > max(theirs) and statistics.median(ours) >= 1.25 * statistics.median(theirs)


def lines(cells, offs, ns):
    """A line of a table for all switches that have the same cells, in the order of the first of them."""
    of = {}
    for off in offs:
        of.setdefault(tuple(cells[off, n] for n in ns), []).append(off)
    return ["| off | " + " | ".join(f"n = {n}" for n in ns) + " |", "|---" * (len(ns) + 1) + "|",
            *("| " + " | ".join((", ".join(names), *row)) + " |" for row, names in of.items()), ""]


def tables(rows):
    """Of each job: rows, KV and time; a line a switch, a column each n."""
    out = []
    for job in dict.fromkeys(r["case"]["job"] for r in rows):
        of = {(r["case"]["off"], r["case"]["n"]): r for r in rows if r["case"]["job"] == job}
        ns, offs = sorted({n for _, n in of}), list(dict.fromkeys(s for s, _ in of))
        rows_of = {k: f"{r['counts']['rows_prefill']} + {r['counts']['rows_decode']} + {r['counts']['rows_score']}" for k, r in of.items()}
        out += [f"**{job}**, rows of prefill + decode + score", "", *lines(rows_of, offs, ns)]
        out += [f"**{job}**, most MB of KV", "", *lines({k: f"{r['counts']['kv_bytes'] / 1e6:.1f}" for k, r in of.items()}, offs, ns)]
        slow = [s for s in offs if any(beyond_noise(of[s, n], of["nothing", n]) for n in ns)]
        ms = {k: result.spread(r["seconds"]["total"], 1000) for k, r in of.items()}
        out += [f"**{job}**, ms: median (least-most), where one differs from nothing by more than noise", "", *lines(ms, ["nothing", *slow], ns)]
    return "\n".join(out)


def numbers(text):
    try:
        ns = [int(x) for x in text.split(",")]
    except ValueError:
        ns = [0]
    if min(ns) < 1 or max(ns) > 4096:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers from 1 to 4096, apart by commas")
    return ns


def jobs(text):
    names = text.split(",")
    if any(name not in JOBS for name in names):
        raise argparse.ArgumentTypeError(f"{text!r}; it is some of {', '.join(JOBS)}, apart by commas")
    return names


def count(text):
    if not text.isdecimal() or not 0 < int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 1024")
    return int(text)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS, allow_abbrev=False)
    p.add_argument("model", nargs="?", metavar="MODEL.gguf", help="in both roles")
    p.add_argument("--out", metavar="RESULT.json", help="where the result goes, after each n of each job")
    p.add_argument("--table", metavar="RESULT.json", help="measure nothing; print the tables of a result")
    p.add_argument("--build", default="build", metavar="FOLDER", help="build folder, whose forkcast and bench/roofline are run; default build")
    p.add_argument("-n", type=numbers, default="1,4,16,64,256", help="numbers of candidates, apart by commas; default 1,4,16,64,256")
    p.add_argument("--job", type=jobs, default=",".join(JOBS), help="jobs, apart by commas; default free,taxonomy")
    p.add_argument("--runs", type=count, default=3, help="of each switch; default 3")
    p.add_argument("--threads", type=count, default=os.cpu_count(), help="default all cores")
    p.add_argument("--commit", help="what is measured, where git does not know it")
    a = p.parse_args()
    if a.table:
        print(tables(result.read(a.table)), end="")
        return
    if not a.model or not a.out:
        p.error("MODEL.gguf and --out are needed")
    result.need(a.build, "forkcast", os.path.join("bench", "roofline"))
    if not os.path.exists(a.model):
        result.stop(f"{a.model}: No such file; ./quickstart.sh --no-run fetches SmolLM2-135M-Instruct")
    if "taxonomy" in a.job and not os.path.exists(RECIPE):
        result.stop(f"{RECIPE}: No such file; run it from the root of the tree")
    commit = result.commit_of(a.commit)
    a.version = subprocess.run([os.path.join(a.build, "forkcast"), "--version"], check=True, capture_output=True, text=True).stdout.split()[-1]
    rng, rows = random.Random(1), []
    with tempfile.NamedTemporaryFile("w", suffix=".ids") as f:
        f.write(" ".join(str(rng.randrange(100, 40000)) for _ in range(128)))
        f.flush()
        for job in a.job:
            for n in a.n:
                rows += measure(a, job, n, f.name)
                result.write(a.out, result.make(rows, result.limits(a.build, a.threads), of_commit=commit))  # what is there is kept
    print(tables(rows), end="")


if __name__ == "__main__":
    main()
