"""What tests of the program share: it is run on tiny models that it makes itself. Standard library alone."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

BIN = os.path.join(os.environ.get("FORKCAST_BUILD", "build"), "forkcast")
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ENV = {k: v for k, v in os.environ.items() if k != "FORKCAST_BUILD"}  # which the tests read, and the program has no option for
SMOLLM2 = "models/SmolLM2-135M-Instruct.Q4_1.gguf"


def run(*args, stdin=b"", timeout=120):
    p = subprocess.run([BIN, *map(os.fsencode, map(str, args))], input=stdin, capture_output=True, timeout=timeout, env=ENV)
    return p.returncode, p.stdout, p.stderr.decode("utf-8", "replace")


class Program(unittest.TestCase):
    """Two tiny models in a folder that goes away, and what most tests ask of the program."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.novelty = cls.path("novelty.gguf")
        cls.alignment = cls.path("alignment.gguf")
        for path, seed in ((cls.novelty, 1), (cls.alignment, 2)):
            code, _, err = run("tiny", path, "--seed", seed, "--reward-head")
            assert code == 0, err

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    @classmethod
    def path(cls, name):
        return os.path.join(cls.folder.name, name)

    def ok(self, *args, **kw):
        code, out, err = run(*args, **kw)
        self.assertEqual(code, 0, f"{args}: {err}")
        return out

    def refused(self, code, words, *args, **kw):
        got, out, err = run(*args, **kw)
        self.assertEqual(got, code, f"{args}: exit {got}, {err}")
        self.assertEqual(out, b"", f"{args}: something on standard output")
        self.assertIn(words, err)
        self.assertTrue(err.startswith("forkcast"), err)

    def bestof(self, *args):
        return json.loads(self.ok("bestof", "--novelty", self.novelty, "--alignment", self.alignment, "--json", *args))


def main():
    if not os.path.exists(BIN):
        sys.exit(f"{BIN} is not built")
    os.chdir(ROOT)
    unittest.main()
