"""Programs in C that measure kernels say, with --json, rows as bench/result.schema.json has them. They are ended after the first."""
import contextlib
import io
import json
import os
import subprocess
import sys
import types
import unittest

from util_bench import jsonschema
from util_cli import BIN, ROOT

FOLDER = os.path.join(os.path.dirname(BIN), "bench")


class Programs(unittest.TestCase):
    def first_row(self, name, *args):
        with subprocess.Popen(["stdbuf", "-oL", os.path.join(FOLDER, name), "--json", *args], stdout=subprocess.PIPE, text=True) as p:
            line = p.stdout.readline()
            p.kill()
        return json.loads(line)

    def test_rows_have_their_form(self):
        with open("bench/result.schema.json") as f:
            schema = json.load(f)
        row = jsonschema.Draft202012Validator(schema["properties"]["rows"]["items"])
        for kernel, *more in (("attn",), ("linear", "Q8_0"), ("lora",)):
            got = self.first_row(f"bench_{kernel}", "portable", *more, "1")
            row.validate(got)
            self.assertEqual((got["case"]["kernel"], got["case"]["level"], got["case"]["threads"]), (kernel, "portable", 1))
            self.assertGreater(got["limit_seconds"], 0)

    def test_kernels_says_what_it_needs(self):
        def told(words, *args):
            p = subprocess.run(["bench/kernels.py", *args], capture_output=True, text=True)
            self.assertNotEqual(p.returncode, 0)
            self.assertIn(words, p.stderr)
            self.assertNotIn("Traceback", p.stderr)
        told("nowhere/bench/roofline and nowhere/bench/bench_attn: not built", "--out", "x", "--build", "nowhere", "--only", "attn")
        told("--only: some of attn, linear, lora", "--out", "x", "--only", "poem")
        told("'abc' is not a commit", "--out", "x", "--build", os.path.dirname(BIN), "--commit", "abc")


class Peers(unittest.TestCase):
    """bench/peers/latency.py, without peers."""

    @classmethod
    def setUpClass(cls):
        sys.path.insert(0, os.path.join(ROOT, "bench", "peers"))
        import latency
        cls.latency = latency

    # If this fails, a server finds the beginning of an earlier run's prompt in its cache.
    def test_no_two_runs_of_a_server_share_a_seed(self):
        seeds = [self.latency.seed_of(work, P, run) for work in self.latency.WORKS for P in (128, 512, 1024) for run in range(50)]
        self.assertEqual(len(set(seeds)), len(seeds))
        self.assertEqual(self.latency.seed_of("free", 128, 0), self.latency.seed_of("free", 128, 0))

    def test_rows_of_a_cache_are_refused(self):
        server, a = types.SimpleNamespace(name="forkcast", version="1", weights="w"), types.SimpleNamespace(model="m.gguf")
        row = {"case": {"P": 128, "n": 4}, "seconds": {"total": [1.0]}, "counts": {"requests": 1, "failures": 0, "rows_reused": 0}}
        rows = {}
        self.latency.add(rows, server, "free", a, [row])
        self.assertEqual(len(rows), 1)
        row["counts"]["rows_reused"] = 127
        said = io.StringIO()
        with contextlib.redirect_stderr(said), self.assertRaises(SystemExit):
            self.latency.add({}, server, "free", a, [row])
        self.assertIn("forkcast, free, P 128, n 4: 127 rows came from a cache", said.getvalue())


if __name__ == "__main__":
    os.chdir(ROOT)
    if not os.path.exists(os.path.join(FOLDER, "bench_lora")):
        print("skipped: bench/ was not built")
        sys.exit(77)
    unittest.main()
