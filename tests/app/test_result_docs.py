"""Results under bench/results have the form of bench/result.schema.json, and tables in documents say what their result says.
`python3 tests/app/test_result_docs.py --write` makes the tables again.
"""
import glob
import json
import os
import re
import subprocess
import sys
import unittest

try:
    import jsonschema
except ImportError:  # python3 is not Debian's, for which test.sh installs it
    print(f"skipped: {sys.executable} has no package jsonschema")
    sys.exit(77)

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DOCUMENTS = ("README.md", "bench/SPEED.md")
SECTION = re.compile(r"(<!-- (\w+): made by `python3 tests/app/test_result_docs.py --write` from (\S+) -->\n)(.*?)(<!-- end of \2 -->\n)", re.S)


def table(name, path):
    """What bench/<name>.py, or of peers its driver, makes of a result."""
    script = "bench/peers/compare.py" if name == "peers" else f"bench/{name}.py"
    return subprocess.run([sys.executable, script, "--table", path], check=True, capture_output=True, text=True).stdout


def remade(text):
    return SECTION.sub(lambda m: m[1] + "\n" + table(m[2], m[3]) + "\n" + m[5], text)


class ResultDocs(unittest.TestCase):
    maxDiff = None

    def test_results_have_their_form(self):
        with open("bench/result.schema.json") as f:
            schema = json.load(f)
        jsonschema.Draft202012Validator.check_schema(schema)
        paths = glob.glob("bench/results/*.json")
        self.assertTrue(paths)
        for path in paths:
            with open(path) as f:
                jsonschema.validate(json.load(f), schema)
            self.assertRegex(os.path.basename(path), r"^\d{4}-\d\d-\d\d-[\w-]+\.json$")

    def test_tables_are_their_results(self):
        found = 0
        for path in DOCUMENTS:
            with open(path) as f:
                text = f.read()
            found += len(SECTION.findall(text))
            self.assertEqual(text, remade(text), f"{path}: run tests/app/test_result_docs.py --write")
        self.assertGreater(found, 0)


if __name__ == "__main__":
    os.chdir(ROOT)
    if sys.argv[1:] == ["--write"]:
        for path in DOCUMENTS:
            with open(path) as f:
                text = f.read()
            with open(path, "w") as f:
                f.write(remade(text))
    else:
        unittest.main()
