#!/usr/bin/env python3
"""The table: best-of-n for many histories at once, published under gates, and how far another seed changes it.

The histories are those that were most frequent before the test part, and the last one of a user; recall is held against
what came next in the test part. Stopped, it goes on where it ended: forkcast keeps the rows.
"""
import argparse
import filecmp
import json
import os
import subprocess
import sys
from collections import Counter
from itertools import permutations

import triples
from judge import last_clusters
from tables import FILM_CLUSTER, DataError, read_names, read_ratings, read_table

RECALL_AT = 0  # all that are kept


def forkcast(args, *words, gates=False):
    """The object that it prints; with GATES a table that they held back is an answer, too, and not an error."""
    done = subprocess.run([args.forkcast, *words, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        answer = json.loads(done.stdout)
    except json.JSONDecodeError:
        answer = {}
    if done.returncode and not (gates and any(g["held"] is False for g in answer.get("gates", []))):
        raise DataError(f"forkcast {' '.join(words)} ended with {done.returncode}: {done.stderr.strip()}")
    return answer


def chosen(rows, count, names, also):
    """Histories: COUNT of them, most frequent in the train part first, and ALSO; 0: all there can be."""
    if not count:
        return list(permutations(range(len(names)), 2))
    seen = Counter((r["first"], r["second"]) for r in rows if r["split"] == "train")
    return list(dict.fromkeys([also, *sorted(seen, key=lambda p: (-seen[p], p))]))[:count]


def write_lines(path, rows):
    with open(path, "w", encoding="utf-8") as f:
        f.writelines(json.dumps(r, ensure_ascii=False) + "\n" for r in rows)


def job(args, pairs, table, *more):
    return ("bulk", "--recipe", os.path.join(args.folder, "recipe.json"), "--prompts", pairs, "--table", table, *more)


def published(args, at):
    """The job under the method's gates. What they hold back is said, and published without them: the example goes on."""
    table, work, bounds = at("clusters.table"), at("clusters.table.work"), (
        "--transitions", at("transitions.jsonl"), "--recall-at", str(RECALL_AT))
    words = job(args, at("pairs.jsonl"), table, *bounds, "--min-exact-match", str(args.min_exact_match), "--min-recall", str(args.min_recall))
    try:
        made = forkcast(args, *words, gates=True)
    except DataError as e:
        if "it was begun with another" not in str(e):
            raise
        print(f"{work} is of another run and begun again", file=sys.stderr)
        os.remove(work)
        made = forkcast(args, *words, gates=True)
    failed = [g["name"] for g in made["gates"] if g["held"] is False]
    if failed:
        print(f"held back by: {', '.join(failed)}; published without", file=sys.stderr)
        open_gates = {"coverage": ("--min-coverage", "0"), "exact match": ("--min-exact-match", "0"), "recall": ("--min-recall", "0"),
                      "drift": ("--max-drift", "1")}
        subprocess.run([args.forkcast, "table", "publish", work, table, *bounds, *(w for f in failed for w in open_gates[f])],
                       check=True, stdout=subprocess.DEVNULL)
    return made


def compared(args, at, pairs):
    """Tables of a few histories: the same seed twice, and another one."""
    write_lines(at("few.jsonl"), pairs)
    for name, seed in (("same", args.seed), ("again", args.seed), ("other", args.other_seed)):
        for file in (at(f"{name}.table"), at(f"{name}.table.work")):
            if os.path.exists(file):
                os.remove(file)  # a table that is there would give its rows, and nothing be compared
        forkcast(args, *job(args, at("few.jsonl"), at(f"{name}.table"), "--min-exact-match", "0", "--seed", str(seed)))
    return {"keys": len(pairs), "identical": filecmp.cmp(at("same.table"), at("again.table"), shallow=False),
            "other_seed": forkcast(args, "table", "diff", at("same.table"), at("other.table"))}


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--folder", default="build/movielens", help="tables and recipe of prepare.py (%(default)s)")
    p.add_argument("--forkcast", default="build/forkcast", help="the program (%(default)s)")
    p.add_argument("--pairs", type=int, default=200, help="histories in the table; 0: all (%(default)s)")
    p.add_argument("--few", type=int, default=60, help="histories of the tables that are compared (%(default)s)")
    p.add_argument("--user", type=int, default=1, help="whose last history is in the table, too (%(default)s)")
    p.add_argument("--min-exact-match", type=float, default=0.9, help="%(default)s")
    p.add_argument("--min-recall", type=float, default=0.015, help="%(default)s")
    p.add_argument("--seed", type=int, default=1, help="%(default)s")
    p.add_argument("--other-seed", type=int, default=2, help="%(default)s")
    args = p.parse_args()
    at = lambda name: os.path.join(args.folder, name)
    names, rows = read_names(args.folder), read_table(at("triples.tsv"), triples.TRIPLES)
    cluster_of = {r["film"]: r["cluster"] for r in read_table(at("film_clusters.tsv"), FILM_CLUSTER)}
    last = last_clusters([r for r in read_ratings(at("ratings.tsv")) if r["user"] == args.user], cluster_of)
    if len(last) < 2 or args.pairs < 0 or args.few < 1:
        raise DataError(f"user {args.user} has met {len(last)} clusters, {args.pairs} pairs, {args.few} compared: two, 0 and 1 are the least")
    pairs, text = chosen(rows, args.pairs, names, tuple(last)), lambda pair: [names[c] for c in pair]
    keys = [{"key": text(pair), "history": text(pair)} for pair in pairs]
    test = [r for r in rows if r["split"] == "test"]
    write_lines(at("pairs.jsonl"), keys)
    known = set(pairs)
    met = [r for r in test if (r["first"], r["second"]) in known]
    write_lines(at("transitions.jsonl"), [{"key": text((r["first"], r["second"])), "next": names[r["next"]]} for r in met])
    made = published(args, at)
    result = {"pairs": len(pairs), "of": len(names) * (len(names) - 1),
              "transitions": len(met), "test_share": round(len(met) / len(test), 4), "failed": made["failed"],
              "gates": [g for g in made["gates"] if g["name"] != "drift"],  # that hangs on the table that was there before
              "stats": forkcast(args, "table", "stats", at("clusters.table")), "compared": compared(args, at, keys[:args.few])}
    with open(at("bulk.json.part"), "w", encoding="utf-8") as f:
        json.dump(result, f, indent=1)
        f.write("\n")
    os.replace(at("bulk.json.part"), at("bulk.json"))
    if not result["compared"]["identical"]:
        raise DataError(f"{at('same.table')} and {at('again.table')} have one seed and are not the same bytes")
    print(f"{at('clusters.table')}: {len(pairs)} histories")


if __name__ == "__main__":
    try:
        main()
    except DataError as e:
        sys.exit(f"bulk: {e}")
