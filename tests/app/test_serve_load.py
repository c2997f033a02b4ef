"""bench/serve_load.py in small: each part ends, nothing is lost or left, and the result has the form of bench/result.schema.json."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

from util_cli import ROOT
from util_serve import main

BUILD = os.environ.get("FORKCAST_BUILD", "build")
PARTS = ("idle", "health", "overhead", "overload", "soak", "drain")


def load(*args):
    p = subprocess.run([sys.executable, os.path.join(ROOT, "bench", "serve_load.py"), *args], capture_output=True, text=True, timeout=600)
    return p.returncode, p.stdout, p.stderr


class Load(unittest.TestCase):
    # If this fails, the server's bars are measured by something that does not work, or what it counts is lost.
    def test_smoke(self):
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "result.json")
            code, out, err = load("--smoke", "--out", path, "--build", BUILD, "--commit", "0" * 7)
            self.assertEqual((code, err), (0, ""), out)
            with open(path) as f:
                r = json.load(f)
        try:
            import jsonschema
            with open(os.path.join(ROOT, "bench", "result.schema.json")) as f:
                jsonschema.validate(r, json.load(f))
        except ImportError:
            pass
        rows = {row["case"]["part"]: row for row in r["rows"]}
        self.assertEqual(tuple(rows), PARTS)
        for part, row in rows.items():
            for name, b in row["bars"].items():
                self.assertIn(f"{part:<9} {name}", out)
                self.assertTrue(b["met"] or not b["judged"], (part, name, b))
        counts = {part: row["counts"] for part, row in rows.items()}
        self.assertEqual(sum(counts["soak"][k] for k in ("answered", "given_up", "other", "lost")), 300)
        self.assertGreater(counts["soak"]["given_up"], 10)
        self.assertEqual(counts["overload"]["taken"] + counts["overload"]["refused"], counts["overload"]["sent"])
        self.assertGreater(counts["overload"]["refused"], 0)
        self.assertGreaterEqual(counts["health"]["connections"], 55)
        for of in ("done", "streaming", "waiting"):  # nobody waits in vain
            self.assertEqual(counts["drain"][f"patient_{of}_full"], rows["drain"]["case"][of])
        self.assertGreater(counts["drain"]["hasty_streaming_error"], 0)
        timed = {name for row in r["rows"] for name, b in row["bars"].items() if not b["judged"]}
        self.assertLessEqual({"CPU share", "p99 of /health", "HTTP beside it", "p99 of a 429"}, timed)

    def test_what_it_refuses(self):
        for args, word in ((("--out", "x"), "a model is needed"), (("a", "b", "--out", "x"), "b: no part"),
                           (("--smoke", "--out", "x", "--build", "/nowhere"), "/nowhere/forkcast: not built"),
                           (("--smoke", "--out", "x", "--build", BUILD, "--commit", "none"), "is not a commit")):
            code, out, err = load(*args)
            self.assertEqual((code, out), (1, ""), args)
            self.assertIn(word, err)
        with tempfile.TemporaryDirectory() as d:
            model = os.path.join(d, "none.gguf")
            code, _, err = load(model, "idle", "--out", os.path.join(d, "r"), "--build", BUILD, "--commit", "0" * 7)
            self.assertEqual(code, 1)
            self.assertIn("none.gguf: there is no such file", err)


if __name__ == "__main__":
    main()
