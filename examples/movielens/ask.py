#!/usr/bin/env python3
"""Asks forkcast about held-out triples and keeps what it answers, so that measuring needs no model.

For each triple: the draws of best-of-n with their scores (names alone), the exact probability and score of every name, the
same probabilities with the retrieved line, and a few free draws. One line of JSON a triple.
"""
import argparse
import http.client
import json
import os
import random
import subprocess
import sys
import time

import triples
from tables import SUCCESSOR, DataError, read_names, read_table


class Forkcast:
    """A server with one recipe; ask() is best-of-n for one history."""

    def __init__(self, binary, recipe, most, options, log):
        """most: candidates of one answer."""
        self.log = open(log, "w+", encoding="utf-8")
        command = [binary, "serve", "--recipe", recipe, "--port", "0", "--access-log=false",
                   "--max-best-of", str(most), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        line = self.process.stdout.readline()
        if "listening on http://" not in line:
            self.process.wait()
            self.log.seek(0)
            raise DataError(f"{binary} did not start: {self.log.read().strip().splitlines()[-1:] or line}")
        host, _, port = line.split("http://", 1)[1].strip().rstrip("/").rpartition(":")
        self.connection = http.client.HTTPConnection(host, int(port), timeout=600)

    def ask(self, history, prompt=None, **options):
        """The object that bestof --json prints."""
        body = {"forkcast": {"history": history, **options}}
        if prompt is not None:
            body["prompt"] = prompt
        self.connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise DataError(f"forkcast answered {answer.status} to {history}: {text.decode()}")
        return json.loads(text)["best_of"]

    def close(self):
        self.connection.close()
        self.process.terminate()
        self.process.wait()
        self.log.close()


def one(server, with_line, triple, line, names, number, args):
    """What is kept of a triple: indexes of names, log-probs, scores."""
    index = {name: i for i, name in enumerate(names)}
    history = [names[triple["first"]], names[triple["second"]]]
    seed = args.seed * 1_000_003 + number
    drawn = server.ask(history, n=args.n, keep=0, all=True, seed=seed)
    every = server.ask(history, n=len(names), keep=0, draw="exact", full_logprob=False)
    lined = with_line.ask(history, prompt=names[line], n=len(names), keep=0, draw="exact", full_logprob=False, score=False)
    free = server.ask(history, n=args.free, keep=0, all=True, seed=seed, constraint="off", full_logprob=False, score=False)
    logprob, score, logprob_lined = ([None] * len(names) for _ in range(3))
    for c in every["candidates"]:
        logprob[index[c["text"]]], score[index[c["text"]]] = c["logprob"], c["score"]
    for c in lined["candidates"]:
        logprob_lined[index[c["text"]]] = c["logprob"]
    return {"number": number, **{k: triple[k] for k in triples.TRIPLES}, "retrieved": line,
            "draws": [index[c["text"]] for c in drawn["all_candidates"]],
            "draw_scores": [c["score"] for c in drawn["all_candidates"]],
            "confidence": drawn["confidence"], "logprob": logprob, "score": score, "logprob_retrieved": logprob_lined,
            "free": [index.get(c["text"]) for c in free["all_candidates"]],
            "rows": {k: drawn["accounting"][k] for k in ("rows_prefill", "rows_decode", "rows_score", "rows_reused")}}


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--folder", default="build/movielens", help="tables and recipes of prepare.py (%(default)s)")
    p.add_argument("--forkcast", default="build/forkcast", help="the program (%(default)s)")
    p.add_argument("--option", action="append", default=[], help="option of forkcast serve, such as --option=--cpu=avx2")
    p.add_argument("--triples", type=int, default=400, help="held-out triples, drawn at random (%(default)s)")
    p.add_argument("--n", type=int, default=64, help="draws for each (%(default)s)")
    p.add_argument("--free", type=int, default=16, help="draws without the constraint (%(default)s)")
    p.add_argument("--seed", type=int, default=1, help="of the choice of triples and of the draws (%(default)s)")
    args = p.parse_args()
    at = lambda name: os.path.join(args.folder, name)
    names = read_names(args.folder)
    rows = [r for r in read_table(at("triples.tsv"), triples.TRIPLES) if r["split"] == "test"]
    lines = {(r["first"], r["second"]): r["next"] for r in read_table(at("retrieved.tsv"), SUCCESSOR)}
    if args.triples > len(rows):
        raise DataError(f"{args.triples} triples are asked for, and the test part has {len(rows)}")
    chosen = random.Random(args.seed).sample(rows, args.triples)
    servers, began = [], time.monotonic()
    try:
        for recipe in ("recipe.json", "recipe_retrieved.json"):
            servers.append(Forkcast(args.forkcast, at(recipe), max(args.n, args.free, len(names)), args.option, at(recipe + ".log")))
        with open(at("answers.jsonl.part"), "w", encoding="utf-8") as out:
            for number, row in enumerate(chosen):
                answer = one(*servers, row, lines[row["first"], row["second"]], names, number, args)
                out.write(json.dumps(answer) + "\n")
                if (number + 1) % 20 == 0 or number + 1 == len(chosen):
                    print(f"{number + 1} of {len(chosen)} triples, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    finally:
        for s in servers:
            s.close()
    os.replace(at("answers.jsonl.part"), at("answers.jsonl"))


if __name__ == "__main__":
    try:
        main()
    except DataError as e:
        sys.exit(f"ask: {e}")
