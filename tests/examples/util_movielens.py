"""A small world of films and ratings, made up here, and the modules of examples/movielens."""
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
EXAMPLE = os.path.join(ROOT, "examples", "movielens")
sys.path.insert(0, EXAMPLE)

SMALL = ("--least", "60", "--pairs", "3", "--per-pair", "2")  # options of prepare.py for a world of this size
GENRES = ("Comedy", "Drama", "Horror", "War", "Western")


def films(n=40):
    """Film i has one or two genres and one of four eras, as a row of films.tsv."""
    rows = []
    for i in range(1, n + 1):
        genres = sorted({GENRES[i % 5], GENRES[i // 5 % 5]})
        year = (1950, 1980, 1992, 1997)[i % 4]
        rows.append({"film": i, "title": f"Film {i}", "year": year, "genres": "|".join(genres)})
    return rows


def ratings(users=30, each=30, n_films=40):
    """User u rates EACH films, one a minute, and begins 5 minutes after the one before; all comes of a fixed rule."""
    rows = []
    for u in range(1, users + 1):
        for k in range(each):
            rows.append({"user": u, "film": (u * 7 + k * (u % 9 + 2)) % n_films + 1, "rating": (u * k + k) % 5 + 1,
                         "time": 1000 + 300 * u + 60 * k})
    return rows
