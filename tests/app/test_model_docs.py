"""bench/MODEL.md says what the cost model does (`FORKCAST_BUILD=build/test python3 tests/app/test_model_docs.py --write` makes it again), and
bench/model.py finds a number that is another one."""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("FORKCAST_BUILD", os.path.join(ROOT, "build")))


def model(*args, root=ROOT):
    return subprocess.run([sys.executable, os.path.join(root, "bench", "model.py"), *args, "--build", BUILD], capture_output=True, text=True)


class ModelDocs(unittest.TestCase):
    def test_the_table_is_what_is_predicted(self):
        p = model("--check")
        self.assertEqual(p.returncode, 0, p.stdout + p.stderr)

    # If this fails, bars may say anything.
    def test_a_marker_that_is_gone_is_found(self):
        with tempfile.TemporaryDirectory() as d:
            os.mkdir(os.path.join(d, "bench"))
            for name in ("model.py", "result.py", "MODEL.md"):
                shutil.copy(os.path.join(ROOT, "bench", name), os.path.join(d, "bench", name))
            path = os.path.join(d, "bench", "MODEL.md")
            with open(path) as f:
                text = f.read()
            with open(path, "w") as f:
                f.write(text.replace("<!-- end of bars -->", ""))
            p = model("--check", root=d)
            self.assertEqual(p.returncode, 1)
            self.assertIn("its markers are not there", p.stderr)
            self.assertNotIn("Traceback", p.stderr)


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        sys.exit(model("--write").returncode)
    unittest.main()
