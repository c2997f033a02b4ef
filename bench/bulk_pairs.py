#!/usr/bin/env python3
"""The bulk job at the size of a production table: 761 names, all 579,121 ordered pairs planned, some of them computed.

usage: bench/bulk_pairs.py MODEL.gguf --out RESULT.json [--build build] [--pairs 2000] [-n 16] [--threads 0] [--kills 0] [--names 761] [--keep FOLDER]

Needs the program: `cmake -S . -B build -G Ninja && ninja -C build`. Names are made up, each with a description of about the length that
clusters have; templates are an instruction with six examples. One file in both roles, names drawn under the mask, scored by mean
log-likelihood. --pairs are a shard of the plan, in its own order. --kills: the same shard again, killed so many times at random moments
(the seed of which is printed), and the two tables compared byte by byte. Fails where less than 6 times the computed prompt tokens are
saved: tokens of all novelty prompts by rows of them that were computed.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time

import result

SAVED = 6.0  # times, at least
FIRST = ["Quiet", "Northern", "Paper", "Morning", "Urban", "Antique", "River", "Hidden", "Modern", "Winter", "Festival", "Garden", "Island", "Open", "Velvet", "Mountain",
         "Electric", "Wooden", "Desert", "Harbour", "Silver", "Painted", "Wild", "Evening", "Glass", "Slow", "Folk", "Royal"]
SECOND = ["Cooking", "Dance", "Sailing", "Chess", "Puppetry", "Trains", "Poetry", "Cycling", "Baking", "Astronomy", "Drums", "Knitting", "Football", "Pottery", "Fishing",
          "Robots", "Opera", "Maps", "Running", "Cinema", "Tea", "Castles", "Surfing", "Bees", "Comedy", "Letters", "Bridges", "Climbing"]
EXAMPLES = [("Bread Baking, Tea Culture", "Cheese Making"), ("Chess, Mathematics Puzzles", "Card Games"), ("Rock Climbing, Geology", "Cave Exploration"),
            ("Ballet, Classical Music", "Opera"), ("Programming, Home Electronics", "Robotics"), ("Family Trees, Old Maps", "Archaeology")]


def names(n):
    pairs = [f"{a} {b}" for a in FIRST for b in SECOND]
    random.Random(1).shuffle(pairs)
    if n > len(pairs):
        result.stop(f"--names: {n}; at most {len(pairs)}")
    return pairs[:n]


def template(head, ask):
    return head + "\n\n" + "".join(f"Interests: {a}\n{ask}:\n{b}\n\n" for a, b in EXAMPLES) + "Interests: {history}\n" + ask + ":\n"


def recipe(a, folder):
    with open(os.path.join(folder, "names.tsv"), "w") as f:
        f.writelines(f"{i}\t{name}\t\n" for i, name in enumerate(names(a.names)))
    model = os.path.abspath(a.model)
    path = os.path.join(folder, "pairs.json")
    with open(path, "w") as f:
        json.dump({"novelty": {"model": model, "template": template("Interests of a person, and one new interest that suits them.", "New interest"), "end": "\n"},
                   "alignment": {"model": model, "mode": "loglik-mean", "template": template("Interests that go together.", "Also")},
                   "taxonomy": "names.tsv", "constraint": "mask", "sampling": {"max_tokens": 16}, "n": a.n, "keep": 5, "seed": 1}, f)
    return path


def command(a, folder, table):
    total = a.names * a.names
    return [os.path.join(a.build, "forkcast"), "bulk", "--recipe", recipe(a, folder), "--self", "--table", table, "--shard", f"1/{max(1, total // a.pairs)}",
            "--threads", str(a.threads), "--json"]


def whole(a, folder):
    """The shard in one go."""
    p = subprocess.run(command(a, folder, os.path.join(folder, "whole")), stdout=subprocess.PIPE, text=True)
    if p.returncode:
        result.stop("the job failed")
    return json.loads(p.stdout)


def killed(a, folder, seconds):
    """The same, killed at random moments of a whole run's time, each a share of what is left; how often it was."""
    seed = a.seed if a.seed is not None else random.SystemRandom().randrange(1 << 32)
    moments = random.Random(seed)
    print(f"kills: seed {seed}", flush=True)
    done = 0
    while done < a.kills:
        p = subprocess.Popen(command(a, folder, os.path.join(folder, "killed")), stdout=subprocess.DEVNULL)
        try:
            p.wait(0.2 + moments.random() * 2 * seconds / a.kills)
        except subprocess.TimeoutExpired:
            p.kill()
            done += 1
        if p.wait() not in (0, -9):
            result.stop("a run that was killed before failed")
        if p.returncode == 0:
            break
    p = subprocess.run(command(a, folder, os.path.join(folder, "killed")), stdout=subprocess.PIPE, text=True)
    if p.returncode:
        result.stop("the last run failed")
    kept = json.loads(p.stdout)["kept"]
    print(f"{kept} rows of those that were killed had not to be computed again", flush=True)
    if done == a.kills and not kept:
        result.stop("no row outlived a kill")
    with open(os.path.join(folder, "whole"), "rb") as x, open(os.path.join(folder, "killed"), "rb") as y:
        if x.read() != y.read():
            result.stop(f"the table of the job that was killed {done} times is another one (seed {seed})")
    return done


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("model")
    p.add_argument("--out", required=True)
    p.add_argument("--build", default="build")
    p.add_argument("--pairs", type=int, default=2000)
    p.add_argument("--names", type=int, default=761)
    p.add_argument("-n", type=int, default=16)
    p.add_argument("--threads", type=int, default=0)
    p.add_argument("--kills", type=int, default=0)
    p.add_argument("--keep", metavar="FOLDER", help="where recipe, names and table stay (whole; bench/lookup.py takes it)")
    p.add_argument("--seed", type=int, help="of the moments of kills")
    p.add_argument("--commit")
    a = p.parse_args()
    result.need(a.build, "forkcast")
    commit = result.commit_of(a.commit)
    version = subprocess.run([os.path.join(a.build, "forkcast"), "--version"], capture_output=True, text=True).stdout.split()[1]
    with tempfile.TemporaryDirectory() as temporary:
        folder = a.keep or temporary
        os.makedirs(folder, exist_ok=True)
        if os.listdir(folder):
            result.stop(f"{folder}: it is not empty")
        began = time.monotonic()
        r = whole(a, folder)
        seconds = time.monotonic() - began
        rows = r["rows_prefill"] + r["rows_decode"] + r["rows_score"]
        print(f"{r['of']} pairs planned, {r['computed']} computed: {r['pairs_per_second']:.1f} pairs/s; {rows / r['computed']:.1f} rows a pair (prefill "
              f"{r['rows_prefill'] / r['computed']:.1f}, decode {r['rows_decode'] / r['computed']:.1f}, score {r['rows_score'] / r['computed']:.1f}); "
              f"novelty prompts {r['prompt_tokens'] / r['computed']:.1f} tokens, {r['prefill_saved']:.1f} times what was computed; "
              f"scoring {r['score_tokens'] / r['rows_score']:.1f} times")
        kills = killed(a, folder, seconds) if a.kills else 0
        if a.kills:
            print(f"killed {kills} times: the same table, byte for byte")
        size = os.path.getsize(os.path.join(folder, "whole"))
    case = {"job": "pairs", "names": a.names, "pairs": r["computed"], "n": a.n, "keep": 5, "kills": kills}
    counts = {k: r[k] for k in ("of", "computed", "rows_prefill", "rows_decode", "rows_score", "rows_reused", "scores_cached", "prompt_tokens", "score_tokens")}
    counts["table_bytes"] = size
    result.write(a.out, result.make([{"case": case, "subject": {"name": "forkcast", "version": version, "weights": os.path.basename(a.model)},
                                      "seconds": {"total": [r["seconds"]]}, "counts": counts}], of_commit=commit))
    if r["prefill_saved"] < SAVED:
        result.stop(f"prompt tokens are {r['prefill_saved']:.2f} times what was computed; at least {SAVED} is asked")


if __name__ == "__main__":
    main()
