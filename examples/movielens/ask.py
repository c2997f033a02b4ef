#!/usr/bin/env python3
"""Asks forkcast about held-out triples and keeps what it answers, so that measuring needs no model.

For each triple: the draws of best-of-n with their scores (names alone), the exact probability and score of every name, the
same draws and probabilities with the retrieved line, a few free draws, and where stop_when ends drawing. One line of JSON a
triple. Of some triples of the train part the exact probabilities and scores alone, from which confidence.py takes how much
to flatten. A run that was stopped goes on where it ended, if nothing about it is different.
"""
import argparse
import hashlib
import http.client
import json
import os
import random
import subprocess
import sys
import time

import triples
from tables import EXAMPLE, SUCCESSOR, DataError, read_names, read_table

WAVE = 8  # draws after which stop_when may end


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


def exact(server, history, index, **options):
    """Log-prob and score of every name, by its index."""
    logprob, score = [None] * len(index), [None] * len(index)
    for c in server.ask(history, n=len(index), keep=0, draw="exact", full_logprob=False, **options)["candidates"]:
        logprob[index[c["text"]]], score[index[c["text"]]] = c["logprob"], c["score"]
    return logprob, score


def one(server, with_line, triple, line, names, number, args):
    """What is kept of a triple: indexes of names, log-probs, scores."""
    index = {name: i for i, name in enumerate(names)}
    history = [names[triple["first"]], names[triple["second"]]]
    seed = args.seed * 1_000_003 + number
    logprob, score = exact(server, history, index)
    answer = {"number": number, **{k: triple[k] for k in triples.TRIPLES}, "retrieved": line, "logprob": logprob, "score": score}
    if triple["split"] == "train":
        return answer
    several = dict(n=args.n, keep=0, all=True, seed=seed)
    drawn = server.ask(history, **several)
    lined = with_line.ask(history, prompt=names[line], full_logprob=False, **several)
    free = server.ask(history, n=args.free, keep=0, all=True, seed=seed, constraint="off", full_logprob=False, score=False)
    stopped = server.ask(history, n=WAVE, n_max=args.n, keep=1, seed=seed, stop_when=f"stable:{args.stable}", full_logprob=False)
    found = lambda answered: {"": [index[c["text"]] for c in answered], "_scores": [c["score"] for c in answered]}
    return {**answer, "draws": found(drawn["all_candidates"])[""], "draw_scores": found(drawn["all_candidates"])["_scores"],
            "draws_retrieved": found(lined["all_candidates"])[""],
            "draw_scores_retrieved": found(lined["all_candidates"])["_scores"],
            "logprob_retrieved": exact(with_line, history, index, prompt=names[line], score=False)[0],
            "confidence": drawn["confidence"], "free": [index.get(c["text"]) for c in free["all_candidates"]],
            "stopped": {"stable": args.stable, "n": stopped["confidence"]["n_used"], "pick": index[stopped["candidates"][0]["text"]]},
            "rows": {k: drawn["accounting"][k] for k in ("rows_prefill", "rows_decode", "rows_score", "rows_reused")}}


def settings(args, at):
    """What an answer hangs on: options, recipes, adapters, names, triples, the program."""
    said = {k: v for k, v in vars(args).items() if k not in ("folder", "forkcast")}
    files = [at(f) for f in ("triples.tsv", "retrieved.tsv", "taxonomy.tsv", "recipe.json", "recipe_retrieved.json")]
    with open(at("recipe.json"), encoding="utf-8") as f:
        recipe = json.load(f)
    for role in ("novelty", "alignment"):
        files.append(os.path.join(args.folder, recipe[role]["adapter"], "adapter_model.safetensors"))
    for path in [*files, args.forkcast]:
        try:
            with open(path, "rb") as f:
                said[os.path.basename(os.path.dirname(path)) + "/" + os.path.basename(path)] = hashlib.file_digest(f, "sha256").hexdigest()
        except OSError as e:
            raise DataError(f"cannot read {path}: {e.strerror}") from e
    return said


def kept(part, about, said):
    """Answers of a run that was stopped, whole lines alone; none where its settings were others."""
    if os.path.exists(part) and os.path.exists(about):
        with open(about, encoding="utf-8") as f:
            same = f.read() == said
        if same:
            with open(part, encoding="utf-8") as f:
                return [line for line in f if line.endswith("\n")]
    return []


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--folder", default="build/movielens", help="tables and recipes of prepare.py (%(default)s)")
    p.add_argument("--forkcast", default="build/forkcast", help="the program (%(default)s)")
    p.add_argument("--option", action="append", default=[], help="option of forkcast serve, such as --option=--cpu=avx2")
    p.add_argument("--triples", type=int, default=400, help="held-out triples, drawn at random (%(default)s)")
    p.add_argument("--n", type=int, default=64, help="draws for each (%(default)s)")
    p.add_argument("--free", type=int, default=16, help="draws without the constraint (%(default)s)")
    p.add_argument("--fit", type=int, default=100, help="triples of the train part (%(default)s)")
    p.add_argument("--stable", type=int, default=8, help="R of stop_when stable:R (%(default)s)")
    p.add_argument("--seed", type=int, default=1, help="of the choice of triples and of the draws (%(default)s)")
    args = p.parse_args()
    at = lambda name: os.path.join(args.folder, name)
    names = read_names(args.folder)
    every = read_table(at("triples.tsv"), triples.TRIPLES)
    rows = [r for r in every if r["split"] == "test"]
    lines = {(r["first"], r["second"]): r["next"] for r in read_table(at("retrieved.tsv"), SUCCESSOR)}
    if args.triples > len(rows):
        raise DataError(f"{args.triples} triples are asked for, and the test part has {len(rows)}")
    learnt = {(r["first"], r["second"], r["next"]) for r in read_table(at("novelty_set.tsv"), EXAMPLE)}
    fit = [r for r in every if r["split"] == "train" and (r["first"], r["second"], r["next"]) not in learnt]
    chosen = random.Random(args.seed).sample(fit, min(args.fit, len(fit))) + random.Random(args.seed).sample(rows, args.triples)
    part, about = at("answers.jsonl.part"), at("answers.settings.json")
    said = json.dumps(settings(args, at), indent=1) + "\n"
    done = kept(part, about, said)
    with open(part, "w", encoding="utf-8") as out:
        out.writelines(done)
    with open(about, "w", encoding="utf-8") as f:
        f.write(said)
    servers, began = [], time.monotonic()
    try:
        for recipe in ("recipe.json", "recipe_retrieved.json"):
            servers.append(Forkcast(args.forkcast, at(recipe), max(args.n, args.free, len(names)), args.option, at(recipe + ".log")))
        with open(part, "a", encoding="utf-8") as out:
            for number, row in list(enumerate(chosen))[len(done):]:
                answer = one(*servers, row, lines[row["first"], row["second"]], names, number, args)
                out.write(json.dumps(answer) + "\n")
                out.flush()
                if (number + 1) % 20 == 0 or number + 1 == len(chosen):
                    print(f"{number + 1} of {len(chosen)} triples, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    finally:
        for s in servers:
            s.close()
    os.replace(part, at("answers.jsonl"))


if __name__ == "__main__":
    try:
        main()
    except DataError as e:
        sys.exit(f"ask: {e}")
