#!/usr/bin/env python3
"""The low level: films of a chosen cluster for one user, by matrix factorisation (the package implicit).

Without --user it measures itself: films of the cluster that a user went on to, ranked for that user, against the most
popular ones of the cluster. With --user the table of bulk.py, or forkcast where it has no row, says clusters after the last
two of the user, and films of each follow.
"""
import argparse
import json
import os
import subprocess
import sys

import implicit
import numpy
import scipy.sparse
import threadpoolctl

import triples
from judge import estimate, last_clusters
from measures import Resampling
from tables import FILM_CLUSTER, DataError, read_films, read_names, read_ratings, read_table

TOP = (1, 5, 10)
# Chosen on the last fifth of the train part. What was watched counts, and twice if it was liked.
FACTORS, REGULARIZATION, ALPHA = 8, 1.0, 10.0
weight = lambda rating: 2.0 if rating["rating"] >= triples.LIKED else 1.0


class Films:
    """Who watched what before a time, factorised; films are ranked inside a cluster."""

    def __init__(self, folder, before, seed):
        at = lambda name: os.path.join(folder, name)
        self.films = read_films(at("films.tsv"))
        self.cluster_of = {r["film"]: r["cluster"] for r in read_table(at("film_clusters.tsv"), FILM_CLUSTER)}
        self.ratings = read_ratings(at("ratings.tsv"))
        self.by_user = {}
        for r in self.ratings:
            self.by_user.setdefault(r["user"], []).append(r)
        known = self.matrix([r for r in self.ratings if r["time"] < before], max(self.by_user) + 1)
        self.popular = known.getnnz(axis=0)
        with threadpoolctl.threadpool_limits(1, "blas"): # its own threads and those of BLAS would wait for one another
            self.model = implicit.als.AlternatingLeastSquares(factors=FACTORS, regularization=REGULARIZATION, alpha=ALPHA,
                                                              random_state=seed, num_threads=1)
            self.model.fit(known, show_progress=False)

    def matrix(self, rows, users):
        values, where = numpy.array([weight(r) for r in rows], numpy.float32), ([r["user"] for r in rows], [r["film"] for r in rows])
        return scipy.sparse.csr_matrix((values, where), (users, max(self.films) + 1))

    def unseen(self, user, cluster, before):
        seen = {r["film"] for r in self.by_user[user] if r["time"] < before}
        return [f for f, c in sorted(self.cluster_of.items()) if c == cluster and f not in seen]

    def ranked(self, user, cluster, before):
        """Films of the cluster that the user had not rated, best first; the user is who rated those before that time."""
        films = self.unseen(user, cluster, before)
        past = [dict(r, user=0) for r in self.by_user[user] if r["time"] < before]
        if not films:
            return []
        found, _ = self.model.recommend(0, self.matrix(past, 1), N=len(films), filter_already_liked_items=False,
                                        items=films, recalculate_user=True)
        return [int(f) for f in found]

    def most_popular(self, user, cluster, before):
        return sorted(self.unseen(user, cluster, before), key=lambda f: (-self.popular[f], f))


def measured(films, rows, args):
    """Share of triples whose film is among the first few of its cluster: ranked for the user, by popularity, by chance."""
    out, users = {"triples": len(rows)}, Resampling((r["user"] for r in rows), args.bootstrap, args.seed)
    ranks, popular, sizes = [], [], []
    for r in rows:
        ranks.append(films.ranked(r["user"], r["next"], r["time"]).index(r["film"]))
        popular.append(films.most_popular(r["user"], r["next"], r["time"]).index(r["film"]))
        sizes.append(len(films.unseen(r["user"], r["next"], r["time"])))
    for top in TOP:
        out[str(top)] = {"factorisation": estimate(rows, [float(i < top) for i in ranks], users),
                         "popularity": estimate(rows, [float(i < top) for i in popular], users),
                         "chance": estimate(rows, [min(1.0, top / s) for s in sizes], users)}
    return out


def chosen(args, names, history):
    """What the table has after the history, else what forkcast finds; and which of both."""
    said = [names[c] for c in history]
    if args.table:
        command = [args.forkcast, "table", "lookup", args.table, *said, "--json"]
        done = subprocess.run(command, capture_output=True, text=True)
        if not done.returncode:
            return json.loads(done.stdout)["candidates"], args.table
        if "no row of key" not in done.stderr:
            raise DataError(f"{' '.join(command)}: {done.stderr.strip()}")
    command = [args.forkcast, "bestof", "--recipe", os.path.join(args.folder, "recipe.json"), "--json",
               *(f"--history={name}" for name in said)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise DataError(f"{' '.join(command)}: {done.stderr.strip()}")
    return json.loads(done.stdout)["candidates"], "best of n, asked now"


def show(films, args, names):
    if args.user not in films.by_user:
        raise DataError(f"user {args.user} has no ratings; there are {len(films.by_user)} users, from 1")
    seen = {films.cluster_of[r["film"]] for r in films.by_user[args.user]}
    history = last_clusters(films.by_user[args.user], films.cluster_of)
    if len(history) < 2:
        raise DataError(f"user {args.user} has met one cluster alone; two make a history")
    candidates, source = chosen(args, names, history)
    print("last met: " + "; ".join(names[c] for c in history) + f" ({source})")
    for candidate in candidates:
        cluster = names.index(candidate["text"])
        note = ", met before" if cluster in seen else ""
        print(f"{candidate['rank']}. {candidate['text']} (score {candidate['score']:.3f}, votes {candidate['votes']}{note})")
        found = films.ranked(args.user, cluster, float("inf"))[:args.films]
        for title in [films.films[f]["title"] for f in found] or ["(all of its films are rated by this user)"]:
            print(f"     {title}")


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--folder", default="build/movielens", help="tables and recipe of prepare.py (%(default)s)")
    p.add_argument("--forkcast", default="build/forkcast", help="the program (%(default)s)")
    p.add_argument("--table", help="of bulk.py; without it, or where it lacks the history, forkcast is asked")
    p.add_argument("--user", type=int, help="films for this user, in place of measuring")
    p.add_argument("--films", type=int, default=3, help="films of each cluster (%(default)s)")
    p.add_argument("--out", default="build/movielens/items.json", help="%(default)s")
    p.add_argument("--bootstrap", type=int, default=1000, help="%(default)s")
    p.add_argument("--seed", type=int, default=1, help="%(default)s")
    args = p.parse_args()
    names = read_names(args.folder)
    test_from = triples.split_time(read_ratings(os.path.join(args.folder, "ratings.tsv")))
    films = Films(args.folder, float("inf") if args.user is not None else test_from, args.seed)
    if args.user is not None:
        return show(films, args, names)
    rows = [r for r in read_table(os.path.join(args.folder, "triples.tsv"), triples.TRIPLES) if r["split"] == "test"]
    result = measured(films, rows, args)
    with open(args.out, "w", encoding="utf-8") as f:
        json.dump(result, f, indent=1)
        f.write("\n")
    print(f"{args.out}: {len(rows)} triples")


if __name__ == "__main__":
    try:
        main()
    except DataError as e:
        sys.exit(f"items: {e}")
