"""What tests of `forkcast bench` share: runs of it on tiny models, results held against their schema."""
import csv
import json
import os
import sys

try:
    import jsonschema
except ImportError:  # python3 is not Debian's, for which test.sh installs it
    print(f"skipped: {sys.executable} has no package jsonschema")
    sys.exit(77)

from util_cli import ROOT, Program, run

COUNTS = ("rows_prefill", "rows_decode", "rows_score")


class Bench(Program):
    """Prompts of 24 ids, candidates of 6 tokens."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        with open(os.path.join(ROOT, "bench", "result.schema.json")) as f:
            cls.schema = jsonschema.Draft202012Validator(json.load(f))
        cls.models = ("--novelty", cls.novelty, "--alignment", cls.alignment)
        cls.short = ("--prompt-tokens", 24, "--max-tokens", 6, "--threads", 1, "--no-limits")

    def bench(self, *args, **kw):
        return self.ok("bench", *args, timeout=120, **kw).decode()

    def unlike(self, key, part, a, b):
        """Runs with arguments a and b: compare refuses them for that setting alone. An argument may be a call, made just before."""
        paths = []
        for name, args in (("unlike-a", a), ("unlike-b", b)):
            self.measured(name, part, *[v for v in (x() if callable(x) else x for x in args) if v is not None])
            paths.append(self.path(name) + ".json")
        self.refused(2, f"A and B were not measured alike: {key}: ", "bench", "compare", *paths)
        self.assertIn("1 of 1 cases could not be judged", self.unknown(paths[0], paths[0]))
        return run("bench", "compare", *paths)[2]

    def compared(self, code, a, b, *args):
        """What compare prints, which ends with that exit code."""
        got, out, err = run("bench", "compare", a, b, *args)
        self.assertEqual(got, code, out.decode() + err)
        return out.decode()

    def worse(self, a, b, *args):
        return self.compared(3, a, b, *args)

    def unknown(self, a, b, *args):
        return self.compared(4, a, b, *args)

    def measured(self, name, part, *args):
        """The JSON that a part writes, the lines of its CSV, its page, and what it printed."""
        prefix = self.path(name)
        said = self.bench(part, *args, "--out", prefix)
        with open(prefix + ".json") as f:
            result = json.load(f)
        self.schema.validate(result)
        with open(prefix + ".csv") as f:
            lines = list(csv.DictReader(f))
        with open(prefix + ".html") as f:
            page = f.read()
        self.assertEqual(len(lines), len(result["rows"]))
        return result, lines, page, said
