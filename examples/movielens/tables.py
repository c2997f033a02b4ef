"""Tables of the example as text: columns apart by tabs, the first line names them. Errors name file, line and column."""
import csv
import os


class DataError(Exception):
    """What is wrong with an input, in one sentence."""


def read_table(path, columns):
    """Rows of PATH as dicts; COLUMNS maps each name that must be there to what makes its value of text."""
    try:
        with open(path, encoding="utf-8", newline="") as f:
            reader = csv.reader(f, delimiter="\t", quoting=csv.QUOTE_NONE)
            names = next(reader, None)
            if names is None:
                raise DataError(f"{path} is empty")
            missing = [c for c in columns if c not in names]
            if missing:
                raise DataError(f"{path} has no column {missing[0]}; it has {', '.join(names)}")
            rows = []
            for number, row in enumerate(reader, 2):
                if len(row) != len(names):
                    raise DataError(f"{path}, line {number}: {len(row)} columns in place of {len(names)}")
                rows.append({c: _value(path, number, c, make, row[names.index(c)]) for c, make in columns.items()})
            return rows
    except OSError as e:
        raise DataError(f"cannot read {path}: {e.strerror}") from e


def _value(path, number, column, make, text):
    try:
        return make(text)
    except ValueError as e:
        raise DataError(f"{path}, line {number}: {column} is {text!r}, no {make.__name__}") from e


def write_table(path, columns, rows):
    """Writes ROWS (dicts); the file is there whole or not at all."""
    with open(path + ".part", "w", encoding="utf-8", newline="") as f:
        f.write("\t".join(columns) + "\n")
        for row in rows:
            f.write("\t".join(str(row[c]) for c in columns) + "\n")
    os.replace(path + ".part", path)


RATINGS = {"user": int, "film": int, "rating": int, "time": int}
FILMS = {"film": int, "title": str, "year": int, "genres": str}
FILM_CLUSTER = {"film": int, "cluster": int}
EXAMPLE = {"first": int, "second": int, "next": int, "retrieved": int}  # of the novelty model
LABEL = {"first": int, "second": int, "next": int, "label": float}      # of the alignment model
SUCCESSOR = {"first": int, "second": int, "next": int}                  # the retrieved line


def read_names(folder):
    """Names of the taxonomy by id, which is the line's number."""
    path = os.path.join(folder, "taxonomy.tsv")
    try:
        with open(path, encoding="utf-8") as f:
            rows = [line.rstrip("\n").split("\t") for line in f]
    except OSError as e:
        raise DataError(f"cannot read {path}: {e.strerror}") from e
    if not rows or [r[0] for r in rows] != [str(i) for i in range(len(rows))] or any(len(r) < 2 for r in rows):
        raise DataError(f"{path}: lines are not id and name, with ids 0, 1, 2 and so on; prepare.py writes them so")
    return [r[1] for r in rows]


def read_ratings(path):
    """In order of time. Which rating of one second came first is not in the data: film numbers order them, so that there is
    one order only; experiment.py says how many triples hang on that."""
    rows = read_table(path, RATINGS)
    for r in rows:
        if not 1 <= r["rating"] <= 5:
            raise DataError(f"{path}: user {r['user']} gave film {r['film']} {r['rating']}; ratings are 1 to 5")
    return sorted(rows, key=lambda r: (r["time"], r["user"], r["film"]))


def read_films(path):
    """Film -> row, whose genres are a list in the file's order."""
    films = {}
    for row in read_table(path, FILMS):
        if row["film"] in films:
            raise DataError(f"{path}: film {row['film']} is there twice")
        films[row["film"]] = dict(row, genres=row["genres"].split("|"))
    return films
