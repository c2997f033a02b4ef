"""Results under bench/results have the form of bench/result.schema.json, and figures in documents say what their result says.
`python3 tests/app/test_result_docs.py --write`, or bench/figures.py --write, makes the figures again.
"""
import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
import xml.dom.minidom

try:
    import jsonschema
except ImportError:  # python3 is not Debian's, for which test.sh installs it
    print(f"skipped: {sys.executable} has no package jsonschema")
    sys.exit(77)

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DOCUMENTS = ("README.md", "bench/SPEED.md")
MACHINE = {"cpu": "c", "cores": 1, "ram_bytes": 1, "system": "s"}


def figures(*args, root=ROOT):
    return subprocess.run([sys.executable, os.path.join(root, "bench", "figures.py"), *args], capture_output=True, text=True)


def latency(name, work, P, n, ms):
    return {"case": {"job": "latency", "work": work, "P": P, "n": n}, "subject": {"name": name, "version": "1"}, "seconds": {"total": [ms / 1e3] * 3}}


class ResultDocs(unittest.TestCase):
    maxDiff = None

    def schema(self):
        with open("bench/result.schema.json") as f:
            schema = json.load(f)
        jsonschema.Draft202012Validator.check_schema(schema)
        return jsonschema.Draft202012Validator(schema)

    def test_results_have_their_form(self):
        schema, paths = self.schema(), glob.glob("bench/results/*.json")
        self.assertTrue(paths)
        for path in paths:
            with open(path) as f:
                schema.validate(json.load(f))
            self.assertRegex(os.path.basename(path), r"^\d{4}-\d\d-\d\d-[\w-]+\.json$")

    # If this fails, what is no result passes for one.
    def test_the_form_refuses(self):
        schema = self.schema()
        good = {"format": 2, "program": "p", "command": "c", "date": "2026-01-01T00:00:00+00:00", "commit": None, "machine": MACHINE, "limits": None,
                "settings": {}, "rows": [latency("a", "free", 1, 1, 1)]}
        schema.validate(good)
        for bad in ({"format": 3}, {"format": 1}, {"commit": "main"}, {"rows": []}, {"settings": {"x": 1}}, {"more": 1},
                    {"rows": [{**good["rows"][0], "seconds": {"total": [-1]}}]}, {"rows": [{**good["rows"][0], "values": [1]}]}):
            self.assertFalse(schema.is_valid({**good, **bad}), bad)

    def test_figures_are_their_results(self):
        p = figures("--check")
        self.assertEqual(p.returncode, 0, p.stdout + p.stderr)
        self.assertRegex(p.stdout, r"^\d\d+ figures are what their results say")

    def copy(self, d):
        """What figures are made of and in, in a folder of its own."""
        for folder in ("bench", "bench/peers", "bench/results"):
            os.makedirs(os.path.join(d, folder), exist_ok=True)
            for path in glob.glob(f"{folder}/*.py") + glob.glob(f"{folder}/*.json"):
                shutil.copy(path, os.path.join(d, path))
        for path in DOCUMENTS:
            shutil.copy(path, os.path.join(d, path))
        return d

    # If this fails, a number in a document may be any.
    def test_a_wrong_figure_is_found(self):
        for path, old, new in (("README.md", "rows_decode-->15<", "rows_decode-->16<"), ("README.md", "| 128 + 949 + 950 |", "| 128 + 949 + 951 |"),
                               ("bench/SPEED.md", "<!-- end of peers -->", "<!-- end of beers -->"), ("README.md", "off=nothing counts", "off=nobody counts")):
            with tempfile.TemporaryDirectory() as d:
                self.copy(d)
                with open(os.path.join(d, path)) as f:
                    text = f.read()
                self.assertIn(old, text)
                with open(os.path.join(d, path), "w") as f:
                    f.write(text.replace(old, new, 1))
                p = figures("--check", root=d)
                self.assertEqual(p.returncode, 1, (old, p.stdout, p.stderr))
                self.assertNotIn("Traceback", p.stderr)

    def test_latency_has_a_table_and_a_plot(self):
        rows = [latency(name, work, P, n, ms * n ** 0.5) for name, ms in (("forkcast", 10), ("a <b> & c", 30)) for work in ("free", "taxonomy")
                for P in (128, 1024) for n in (1, 4, 64)]
        with tempfile.TemporaryDirectory() as d:
            self.copy(d)
            path = "bench/results/2026-01-01-latency.json"
            with open(os.path.join(d, path), "w") as f:
                json.dump({"rows": rows}, f)
            with open(os.path.join(d, "README.md"), "a") as f:
                f.write(f"<!-- latency: made by `bench/figures.py --write` from {path} -->\n<!-- end of latency -->\n")
            self.assertEqual(figures("--check", root=d).returncode, 1)
            self.assertEqual(figures("--write", root=d).returncode, 0)
            self.assertEqual(figures("--check", root=d).returncode, 0)
            with open(os.path.join(d, "README.md")) as f:
                text = f.read()
            self.assertIn("| 64 | 80 (80-80) | 240 (240-240) |", text)
            self.assertIn("![Latency of a request against n](bench/results/2026-01-01-latency.svg)", text)
            with open(os.path.join(d, path.replace(".json", ".svg"))) as f:
                svg = f.read()
            dom = xml.dom.minidom.parseString(svg)
            self.assertEqual(len(dom.getElementsByTagName("polyline")), 8)
            self.assertIn("a &lt;b&gt; &amp; c", svg)
            self.assertIn("prefers-color-scheme:dark", svg)
            with open(os.path.join(d, path.replace(".json", ".svg")), "a") as f:
                f.write(" ")
            self.assertEqual(figures("--check", root=d).returncode, 1)


if __name__ == "__main__":
    os.chdir(ROOT)
    if sys.argv[1:] == ["--write"]:
        sys.exit(figures("--write").returncode)
    unittest.main()
