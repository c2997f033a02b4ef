#!/usr/bin/env python3
"""Makes clusters, triples, training sets and recipes of ratings.tsv and films.tsv."""
import argparse
import os
import sys

import clusters
import labels
import prompts
import triples
from tables import EXAMPLE, FILM_CLUSTER, LABEL, SUCCESSOR, DataError, read_films, read_ratings, write_table

HERE = os.path.dirname(os.path.abspath(__file__))


def write_taxonomy(path, named):
    """No line for the columns' names: this is forkcast's own format."""
    with open(path, "w", encoding="utf-8") as f:
        for i, (name, c) in enumerate(named):
            eras = [clusters.ERAS[e][0] for e in c.eras()]
            f.write(f"{i}\t{name}\t{', '.join(c.genres() + eras)}\n")


def pairs_of(rows):
    return sorted({(r["first"], r["second"]) for r in rows})


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--folder", default="build/movielens", help="where the tables are (%(default)s)")
    p.add_argument("--model", default="models/SmolLM2-135M-Instruct.Q4_1.gguf", help="%(default)s")
    p.add_argument("--adapters", default=os.path.join(HERE, "adapters"), help="%(default)s")
    p.add_argument("--least", type=int, default=clusters.MIN_RATINGS, help="ratings of a cluster (%(default)s)")
    p.add_argument("--pairs", type=int, default=800, help="histories that the alignment model learns from (%(default)s)")
    p.add_argument("--per-pair", type=int, default=12, help="next clusters of each (%(default)s)")
    p.add_argument("--seed", type=int, default=1, help="of the choice of training examples (%(default)s)")
    a = p.parse_args()
    at = lambda name: os.path.join(a.folder, name)
    ratings, films = read_ratings(at("ratings.tsv")), read_films(at("films.tsv"))
    named, cluster_of = clusters.build(ratings, films, a.least)
    rows = triples.triples(ratings, cluster_of, triples.split_time(ratings))
    feedback, scale = labels.alignment_set(rows)
    successors = labels.Successors(rows)

    write_taxonomy(at("taxonomy.tsv"), named)
    write_table(at("film_clusters.tsv"), FILM_CLUSTER, [{"film": f, "cluster": c} for f, c in sorted(cluster_of.items())])
    write_table(at("triples.tsv"), triples.TRIPLES, rows)
    chosen = labels.novelty_set(rows, seed=a.seed)
    write_table(at("novelty_set.tsv"), EXAMPLE, [
        dict(r, retrieved=successors.retrieved(r["first"], r["second"], without=r["next"])) for r in chosen])
    groups = labels.alignment_groups(rows, a.pairs, a.per_pair, a.seed)
    write_table(at("alignment_set.tsv"), LABEL, [{"first": first, "second": second, "next": n, "label": label}
                                                 for first, second, nexts in groups for n, label in nexts])
    write_table(at("retrieved.tsv"), SUCCESSOR, [{"first": f, "second": s, "next": successors.retrieved(f, s)}
                                                 for f, s in pairs_of(rows)])
    for name, with_line in (("recipe.json", False), ("recipe_retrieved.json", True)):
        prompts.write_recipe(at(name), model=a.model, adapters=a.adapters, taxonomy=at("taxonomy.tsv"), retrieved=with_line)
    test = sum(r["split"] == "test" for r in rows)
    print(f"{len(named)} clusters, {len(rows)} triples, {test} of them in the test part; {len(feedback)} of clusters with enough feedback, "
          f"0 and 1 being {scale[0]:.3f} and {scale[1]:.3f}")


if __name__ == "__main__":
    try:
        main()
    except DataError as e:
        sys.exit(f"prepare: {e}")
