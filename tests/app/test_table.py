"""forkcast table: gates, statistics, differences, look-ups, exports, checks; and the table as Parquet."""
import json
import math
import os
import shutil
import sqlite3
import subprocess
import sys
import unittest

from util_cli import ROOT, main, run
from util_table import ANY, NAMES, Tables


class Table(Tables):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        code, _, err = run("bulk", "--recipe", cls.recipe, "--table", cls.path("base"), *ANY)
        assert code == 0, err

    def gate(self, words, *args, table="gated", code=1, **kw):
        """A job that a gate stops: the table is as before, the rows wait."""
        before = self.bytes(table) if os.path.exists(self.path(table)) else None
        got, out, err = run("bulk", "--recipe", self.recipe, "--table", self.path(table), "--json", *args, **kw)
        self.assertEqual(got, code, err)
        self.assertIn(words, err)
        self.assertFalse(json.loads(out)["published"])
        self.assertEqual(self.bytes(table) if before else None, before)
        self.assertTrue(os.path.exists(self.path(table) + ".work"))
        return json.loads(out)["gates"]

    # ---- gates ----

    # If this fails, a table that nobody looked at takes the place of one that was good.
    def test_gates(self):
        free = ("--constraint", "off", "--full-logprob=false")
        g = self.gate("gate exact match: 0.0", *free, "--max-tokens", 4)
        self.assertEqual([x["name"] for x in g], ["coverage", "exact match", "recall", "drift"])
        self.assertEqual((g[0]["held"], g[1]["held"], g[2]["held"], g[3]["held"]), (True, False, None, None))
        self.assertIn("is not made", run("table", "publish", self.path("gated.work"), self.path("gated"))[2])
        self.ok("table", "publish", self.path("gated.work"), self.path("gated"), "--min-exact-match", 0)
        self.ok("table", "check", self.path("gated"))
        os.remove(self.path("gated.work"))
        # another model's scores: names where the old table had free text, so the distributions are apart
        g = self.gate("gate drift: ", *ANY, "--max-drift", 0.01, "--temperature", 3)
        self.assertLess(g[3]["bound"], g[3]["found"])
        os.remove(self.path("gated.work"))

    def test_recall(self):
        rows = self.rows("base")
        hits = [{"key": list(k), "next": r["candidates"][0]["text"]} for k, r in rows.items()]
        second = [{"key": list(k), "next": r["candidates"][1]["text"]} for k, r in rows.items() if len(r["candidates"]) > 1]
        miss = [{"key": list(k), "next": "nothing"} for k in rows]
        out = [{"key": ["Nobody", "Knows"], "next": "Tea"}]
        for name, lines, args, found, held in (("all", hits, (), 1, True), ("none", miss + out, (), 0, False), ("half", hits + miss, ("--min-recall", 0.5), 0.5, True), ("lost", hits + out * len(rows), ("--min-recall", 0.51), 0.5, False),
                                               ("less", hits + miss, ("--min-recall", 0.51), 0.5, False), ("first", second, (), 0, False),
                                               ("second", second, ("--recall-at", 2), 1, True), ("every", second, ("--recall-at", 0), 1, True)):
            with self.subTest(lines=name):
                args = (*ANY, "--transitions", self.lines(name + ".jsonl", lines), *args)
                shutil.copy(self.path("base"), self.path("recall"))
                if held:
                    g = self.bulk("recall", gates=args)["gates"]
                else:
                    g = self.gate("gate recall: ", *args, table="recall")
                    os.remove(self.path("recall.work"))
                self.assertEqual((g[2]["found"], g[2]["held"]), (found, held))
        shutil.copy(self.path("base"), self.path("recall"))
        self.gate("gate recall: ", *ANY, "--transitions", self.lines("out.jsonl", out), table="recall")

    # ---- statistics ----

    def test_stats(self):
        s = json.loads(self.ok("table", "stats", self.path("base"), "--json"))
        rows = self.rows("base").values()
        firsts = [r["candidates"][0] for r in rows]
        mean = {k: sum(r["confidence"][k] for r in rows) / len(rows) for k in ("entropy", "vote_share", "n_used", "distinct")}
        self.assertEqual((s["planned"], s["rows"], s["failures"], s["empty"]), (56, 56, 0, 0))
        self.assertEqual(s["candidates"], sum(len(r["candidates"]) for r in rows))
        self.assertEqual(s["first_texts"], len({c["text"] for c in firsts}))
        for k, v in mean.items():
            self.assertAlmostEqual(s[k], v, 6)
        scores = sorted(c["score"] for c in firsts)
        self.assertEqual(s["score"], [scores[55 * i // 10] for i in range(11)])
        self.assertEqual(s["exact_match"], 1)
        self.assertEqual((s["seed"], s["shard"], s["backend"]), ("7", "1/1", "cpu"))
        self.assertEqual(json.loads(s["settings"])["temperature"], 1)
        self.assertIn("exact_match        1.0000\n", self.ok("table", "stats", self.path("base")).decode())

    # If this fails, what two seeds have in common is not what is told.
    def test_diff(self):
        self.bulk("seed8", "--seed", 8)
        a, b = self.rows("base"), self.rows("seed8")
        d = json.loads(self.ok("table", "diff", self.path("base"), self.path("seed8"), "--json"))
        texts = [[[c["text"] for c in t[k]["candidates"]] for t in (a, b)] for k in a]
        self.assertEqual((d["both"], d["only_a"], d["only_b"], d["same_rows"], d["differs"]), (56, 0, 0, 0, ["seed"]))
        self.assertEqual(d["same_first"], sum(x[0] == y[0] for x, y in texts))
        self.assertEqual(d["same_kept"], sum(set(x) == set(y) for x, y in texts))
        self.assertAlmostEqual(d["overlap"], sum(len(set(x) & set(y)) / len(set(x) | set(y)) for x, y in texts) / 56, 6)
        x, y = (sorted(r["candidates"][0]["score"] for r in t.values()) for t in (a, b))
        ks = max(abs(sum(v <= at for v in x) - sum(v <= at for v in y)) / 56 for at in x + y)
        self.assertAlmostEqual(d["ks"], ks, 6)
        self.assertLess(d["same_first"], 56, "two seeds that draw the same say nothing")
        d = json.loads(self.ok("table", "diff", self.path("base"), self.path("base"), "--json"))
        self.assertEqual((d["same_rows"], d["same_first"], d["overlap"], d["ks"], d["differs"]), (56, 56, 1, 0, []))
        self.bulk("one", "--clusters", 1)
        d = json.loads(self.ok("table", "diff", self.path("base"), self.path("one"), "--json"))
        self.assertEqual((d["only_a"], d["only_b"], d["both"], d["overlap"]), (56, 8, 0, None))
        self.assertEqual(d["differs"], ["keys", "planned"])

    # ---- rows ----

    def test_lookup(self):
        rows = self.rows("base")
        got = json.loads(self.ok("table", "lookup", self.path("base"), "Go", "Tea", "--json"))
        self.assertEqual(got, rows["Go", "Tea"])
        self.assertEqual(got, json.loads(self.ok("table", "lookup", self.path("base"), "--key", "Go\tTea", "--json")))
        self.assertIn(got["candidates"][0]["text"], self.ok("table", "lookup", self.path("base"), "Go", "Tea").decode())
        self.refused(1, 'no row of key "Go\\tGo"', "table", "lookup", self.path("base"), "Go", "Go")
        self.refused(2, "or --key", "table", "lookup", self.path("base"))
        self.refused(2, "or --key", "table", "lookup", self.path("base"), "Go", "--key", "x")

    def test_export(self):
        self.ok("table", "export", self.path("base"), "--out", self.path("rows.jsonl"))
        self.assertEqual(self.bytes("rows.jsonl"), self.ok("table", "export", self.path("base")))
        first = next(iter(self.rows("base").values()))
        self.assertEqual(list(first), ["key", "seed", "n", "candidates", "confidence"])
        self.assertEqual(list(first["candidates"][0]), ["rank", "text", "score", "logprob", "votes", "valid"])
        self.refused(1, "No such file", "table", "export", self.path("none"))
        self.refused(1, "Is a directory", "table", "export", self.path("base"), "--out", self.folder.name)

    # If this fails, the schema is not what engine/table.h says, and readers of other languages break.
    def test_schema(self):
        for table, columns in (("meta", "name value"), ("rows", "key input seed n n_used n_valid distinct_count logprob entropy vote_share margin valid_mass"),
                               ("candidates", "key rank text score logprob votes valid"), ("failures", "key status error")):
            self.assertEqual([r[1] for r in self.sql("base", f"PRAGMA table_info({table})")], columns.split())
        self.assertEqual(self.sql("base", "PRAGMA user_version") + self.sql("base", "PRAGMA application_id"), [(1,), (0x666B7462,)])
        self.assertEqual(self.sql("base", "PRAGMA journal_mode"), [("delete",)])
        with open(os.path.join(ROOT, "engine", "table.h")) as f:
            text = f.read()
        self.assertIn("rows(key, input, seed, n, n_used, n_valid, distinct_count, logprob, entropy, vote_share, margin, valid_mass)", text)
        self.assertIn("candidates(key, rank, text, score, logprob, votes, valid)", text)

    # ---- checks ----

    # If this fails, a table that somebody has edited, or a disk has changed, goes on as if it were whole.
    def test_check(self):
        self.assertIn(b"in order, 56 rows, 0 failures", self.ok("table", "check", self.path("base")))
        for sql, words in (("UPDATE rows SET seed = seed + 1 WHERE key = 'Go\tTea'", "its seed is"), ("DELETE FROM rows WHERE key = 'Go\tTea'", "candidates of no row"),
                           ("UPDATE candidates SET rank = 9 WHERE rank = 1 AND key = 'Go\tTea'", "ranks are not"), ("UPDATE candidates SET votes = 99", "votes of 16 candidates"),
                           ("INSERT INTO failures VALUES('Go\tTea', 'x', 'y')", "a row and a failure"), ("UPDATE meta SET value = '3' WHERE name = 'planned'", "of 3 planned keys"),
                           ("DELETE FROM meta WHERE name = 'seed'", "meta has no seed"), ("PRAGMA user_version = 9", "version 9; this program has 1"),
                           ("PRAGMA application_id = 5", "but no table")):
            with self.subTest(sql=sql):
                shutil.copy(self.path("base"), self.path("edited"))
                with sqlite3.connect(self.path("edited")) as db:
                    db.execute(sql)
                db.close()
                self.refused(1, words, "table", "check", self.path("edited"))
        whole = bytearray(self.bytes("base"))
        whole[4096] ^= 0xff  # what kind of page the second one is
        with open(self.path("edited"), "wb") as f:
            f.write(whole)
        self.assertEqual(run("table", "check", self.path("edited"))[0], 1)
        with open(self.path("edited"), "wb") as f:
            f.write(b"no table at all")
        self.refused(1, "not a database", "table", "check", self.path("edited"))

    def test_usage(self):
        self.assertEqual(run("table")[0], 2)
        self.assertEqual(run("table", "burn")[0], 2)
        self.assertIn(b"usage: forkcast table merge", self.ok("table", "--help"))
        self.assertIn(b"--min-recall", self.ok("table", "publish", "--help"))
        self.refused(2, "1 files are given; it takes A B", "table", "diff", self.path("base"))

    # ---- Parquet ----

    def test_parquet(self):
        tool = os.path.join(ROOT, "python", "table_to_parquet.py")
        p = subprocess.run([sys.executable, tool, self.path("base"), self.path("base.parquet")], capture_output=True, text=True)
        if p.returncode == 1 and "pyarrow" in p.stderr:
            self.skipTest("the package pyarrow is missing")
        self.assertEqual(p.returncode, 0, p.stderr)
        import pyarrow.parquet
        t = pyarrow.parquet.read_table(self.path("base.parquet"))
        rows = self.rows("base")
        self.assertEqual(t.num_rows, 56)
        self.assertEqual(t.schema.metadata[b"forkcast.seed"], b"7")
        for got, (key, row) in zip(t.to_pylist(), rows.items()):
            self.assertEqual((tuple(got["key"]), got["seed"], got["n"]), (key, row["seed"], row["n"]))
            self.assertEqual([c["text"] for c in got["candidates"]], [c["text"] for c in row["candidates"]])
            for a, b in zip(got["candidates"], row["candidates"]):
                self.assertTrue(math.isclose(a["score"], b["score"], rel_tol=1e-8) and a["votes"] == b["votes"])
            self.assertEqual(got["n_used"], row["confidence"]["n_used"])


if __name__ == "__main__":
    main()
