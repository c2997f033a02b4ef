#!/usr/bin/env python3
"""A table of `forkcast bulk` as a Parquet file: a row a key, its candidates as a list; what it was made with as metadata.

usage: python/table_to_parquet.py TABLE OUT.parquet [--rows 65536]

Needs the package pyarrow. Keys of histories are lists of names, others texts. Reals are the doubles of the table; what it does not know
is null. The file is written beside OUT and takes its place when it is whole.
"""
import argparse
import itertools
import json
import os
import sqlite3
import sys

APPLICATION, SCHEMA = 0x666B7462, 1
ROW = ("seed", "n", "n_used", "n_valid", "distinct_count", "logprob", "entropy", "vote_share", "margin", "valid_mass")
CANDIDATE = ("rank", "text", "score", "logprob", "votes", "valid")


def stop(text):
    print(f"{os.path.basename(sys.argv[0])}: {text}", file=sys.stderr)
    raise SystemExit(1)


try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError:
    stop("the package pyarrow is needed: pip install pyarrow")


def open_table(path):
    if not os.path.exists(path):
        stop(f"{path}: there is no such file")
    db = sqlite3.connect(f"file:{path.replace('%', '%25').replace('?', '%3f').replace('#', '%23')}?immutable=1", uri=True)
    db.text_factory = lambda b: b.decode("utf-8", "replace")
    try:
        found = db.execute("PRAGMA application_id").fetchone()[0], db.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.DatabaseError as e:
        stop(f"{path}: {e}")
    if found != (APPLICATION, SCHEMA):
        stop(f"{path}: no table of schema {SCHEMA} (application_id {found[0]}, user_version {found[1]})")
    return db


def schema(meta):
    key = pa.list_(pa.string()) if json.loads(meta["keys"])["kind"] == "histories" else pa.string()
    reals = ("logprob", "entropy", "vote_share", "margin", "valid_mass")
    candidate = pa.struct([("rank", pa.int32()), ("text", pa.string()), ("score", pa.float64()), ("logprob", pa.float64()), ("votes", pa.int32()), ("valid", pa.bool_())])
    fields = [("key", key)] + [(name, pa.float64() if name in reals else pa.int64() if name == "seed" else pa.int32()) for name in ROW]
    return pa.schema(fields + [("candidates", pa.list_(candidate))], metadata={f"forkcast.{k}": v for k, v in meta.items()})


def rows(db, histories):
    """In key order; candidates are read beside them, in the same order."""
    candidates = itertools.groupby(db.execute(f"SELECT key, {', '.join(CANDIDATE)} FROM candidates ORDER BY key, rank"), key=lambda c: c[0])
    key, group = next(candidates, (None, ()))
    for r in db.execute(f"SELECT key, {', '.join(ROW)} FROM rows ORDER BY key"):
        mine = []
        if key == r[0]:
            mine = [dict(zip(CANDIDATE, c[1:])) for c in group]
            key, group = next(candidates, (None, ()))
        for c in mine:
            c["valid"] = None if c["valid"] is None else bool(c["valid"])
        yield {"key": r[0].split("\t") if histories else r[0], **dict(zip(ROW, r[1:])), "candidates": mine}


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("table")
    p.add_argument("out")
    p.add_argument("--rows", type=int, default=65536, help="rows of a group")
    a = p.parse_args()
    db = open_table(a.table)
    meta = dict(db.execute("SELECT name, value FROM meta ORDER BY name"))
    shape = schema(meta)
    all_rows = rows(db, not pa.types.is_string(shape.field("key").type))
    temporary = a.out + ".new"
    try:
        with pq.ParquetWriter(temporary, shape, compression="zstd") as w:
            while batch := list(itertools.islice(all_rows, a.rows)):
                w.write_table(pa.Table.from_pylist(batch, schema=shape))
        os.replace(temporary, a.out)
    except OSError as e:
        if os.path.exists(temporary):
            os.remove(temporary)
        stop(f"{a.out}: {e}")


if __name__ == "__main__":
    main()
