"""bench/MODEL.md says what the cost model does (`FORKCAST_BUILD=build/test python3 tests/app/test_model_docs.py --write` makes it again), and
bench/model.py finds a number that is another one."""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("FORKCAST_BUILD", os.path.join(ROOT, "build")))
TAXONOMY = os.path.join("results", "2026-11-26-taxonomy.json")  # whose rows a prompt it reads
MEASURED = "results/2026-11-27-gpu-h100.json"


def model(*args, root=ROOT):
    return subprocess.run([sys.executable, os.path.join(root, "bench", "model.py"), *args, "--build", BUILD], capture_output=True, text=True)


class ModelDocs(unittest.TestCase):
    def test_the_table_is_what_is_predicted(self):
        p = model("--check")
        self.assertEqual(p.returncode, 0, p.stdout + p.stderr)

    def changed(self, change, says):
        with tempfile.TemporaryDirectory() as d:
            os.makedirs(os.path.join(d, "bench", "results"))
            for name in ("model.py", "result.py", "MODEL.md", TAXONOMY, MEASURED):
                shutil.copy(os.path.join(ROOT, "bench", name), os.path.join(d, "bench", name))
            path = os.path.join(d, "bench", "MODEL.md")
            with open(path) as f:
                text = f.read()
            with open(path, "w") as f:
                f.write(change(text))
            p = model("--check", root=d)
            self.assertEqual(p.returncode, 1)
            self.assertIn(says, p.stderr)
            self.assertNotIn("Traceback", p.stderr)

    # If these fail, bars may say anything.
    def test_a_marker_that_is_gone_is_found(self):
        self.changed(lambda text: text.replace("<!-- end of bars -->", ""), "its markers are not there")

    def test_a_number_that_is_another_one_is_found(self):
        def other(text):
            at = re.search(r"\d", text[text.index("<!-- bars"):]).start() + text.index("<!-- bars")
            return text[:at] + str((int(text[at]) + 1) % 10) + text[at + 1:]
        self.changed(other, "does not say what the model does")


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        sys.exit(model("--write").returncode)
    unittest.main()
