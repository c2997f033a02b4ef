#!/usr/bin/env python3
"""How long `forkcast serve` takes for a row of a table: GET /v1/lookup over one connection after the other, each kept open.

usage: bench/lookup.py TABLE RECIPE.json --out RESULT.json [--grow] [--build build] [--asks 20000] [--connections 1,8]

The table is one of `forkcast bulk`, whose keys are histories, made with that recipe. Keys are asked in a random order, seeded, so that no page of
the file is favoured. --grow: of a copy that has a row for each ordered pair of the recipe's names, those that are missing with the answers
of rows that are there, in turn: a table of production size without days of computing. Times are of the client, from the first byte sent to the last one read; the server and it share the machine. Fails where the
99th percentile of one connection is a millisecond or more.
"""
import argparse
import json
import os
import random
import shutil
import socket
import sqlite3
import statistics
import subprocess
import tempfile
import threading
import time
from urllib.parse import quote

import result

WORST = 1e-3  # seconds, of the 99th percentile


def names(recipe):
    with open(recipe) as f:
        path = os.path.join(os.path.dirname(recipe), json.load(f)["taxonomy"])
    with open(path) as f:
        return [line.rstrip("\n").split("\t")[1] for line in f]


def grow(table, recipe, folder):
    """A copy with all ordered pairs of names; its path."""
    path = os.path.join(folder, "grown")
    shutil.copyfile(table, path)
    with sqlite3.connect(path) as db:
        there = [k for k, in db.execute("SELECT key FROM rows")]
        pairs = sorted({f"{a}\t{b}" for a in names(recipe) for b in names(recipe)} - set(there))
        db.execute("CREATE TEMP TABLE made(key TEXT PRIMARY KEY, source TEXT)")
        db.executemany("INSERT INTO made VALUES(?, ?)", ((pair, there[i % len(there)]) for i, pair in enumerate(pairs)))
        for kind in ("rows", "candidates"):
            rest = ", ".join(c for _, c, *_ in db.execute(f"PRAGMA table_info({kind})") if c != "key")
            db.execute(f"INSERT INTO {kind}(key, {rest}) SELECT made.key, {rest} FROM made JOIN {kind} ON {kind}.key = made.source ORDER BY made.key")
    return path


def keys(table, n):
    with sqlite3.connect(f"file:{table}?immutable=1", uri=True) as db:
        found = [k for k, in db.execute("SELECT key FROM rows")]
    return random.Random(1).choices(found, k=n), len(found)


def ask(s, key):
    query = "&".join("history=" + quote(name) for name in key.split("\t"))
    began = time.perf_counter()
    s.sendall(f"GET /v1/lookup?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    got = b""
    while b"\r\n\r\n" not in got:
        got += s.recv(65536)
    head, body = got.split(b"\r\n\r\n", 1)
    size = int(next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")).split(b":")[1])
    while len(body) < size:
        body += s.recv(65536)
    seconds = time.perf_counter() - began
    if b'"source":"table"' not in body:
        result.stop(f"{key!r}: {body[:200]!r}")
    return seconds


def run(port, asked, connections):
    times = [[] for _ in range(connections)]

    def client(i):
        with socket.create_connection(("127.0.0.1", port)) as s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for key in asked[i::connections]:
                times[i].append(ask(s, key))
    threads = [threading.Thread(target=client, args=(i,)) for i in range(connections)]
    began = time.perf_counter()
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return sorted(x for t in times for x in t), time.perf_counter() - began



def measure(a, table):
    program = os.path.join(a.build, "forkcast")
    version = subprocess.run([program, "--version"], capture_output=True, text=True).stdout.split()[1]
    asked, of = keys(table, a.asks)
    case, rows = {"job": "lookup", "asks": a.asks, "rows": of, "table_bytes": os.path.getsize(table)}, []
    with tempfile.TemporaryFile() as log, subprocess.Popen([program, "serve", "--recipe", a.recipe, "--table", table, "--port", "0"],
                                                           stdout=subprocess.PIPE, stderr=log, text=True) as server:
        try:
            line = server.stdout.readline()
            if not line.startswith("listening on"):
                result.stop("the server did not start")
            port = int(line.rsplit(":", 1)[1])
            for connections in map(int, a.connections.split(",")):
                run(port, asked[:1000], connections)
                times, seconds = run(port, asked, connections)
                p50, p99 = statistics.median(times), times[len(times) * 99 // 100]
                print(f"{of} rows, {connections} connections: {len(times) / seconds:.0f} a second; median {p50 * 1e6:.0f} us, 99 % {p99 * 1e6:.0f} us, "
                      f"most {times[-1] * 1e6:.0f} us", flush=True)
                rows.append({"case": {**case, "connections": connections}, "subject": {"name": "forkcast", "version": version},
                             "seconds": {"total": [seconds], "p50": [p50], "p99": [p99], "most": [times[-1]]}})
        finally:
            server.terminate()
    return rows


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("table")
    p.add_argument("recipe")
    p.add_argument("--out", required=True)
    p.add_argument("--build", default="build")
    p.add_argument("--grow", action="store_true")
    p.add_argument("--asks", type=int, default=20000)
    p.add_argument("--connections", default="1,8")
    p.add_argument("--commit")
    a = p.parse_args()
    result.need(a.build, "forkcast")
    commit = result.commit_of(a.commit)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(a, grow(a.table, a.recipe, folder) if a.grow else a.table)
    result.write(a.out, result.make(rows, of_commit=commit))
    worst = [r["seconds"]["p99"][0] for r in rows if r["case"]["connections"] == 1]
    if worst and worst[0] >= WORST:
        result.stop(f"the 99th percentile is {worst[0] * 1e3:.2f} ms; less than {WORST * 1e3:.0f} ms is asked")


if __name__ == "__main__":
    main()
