"""The documents say what the option table says: their sections are made from `forkcast options`, and this test fails where they
differ. `python3 tests/app/test_option_docs.py --write` makes them again.
"""
import json
import os
import subprocess
import sys
import unittest

from util_cli import BIN, ROOT, main


def options(*args):
    return subprocess.run([BIN, "options", *args], check=True, capture_output=True, text=True).stdout


def key_default(o):
    """The default as a recipe would write it."""
    if o["default"] is None:
        return {"ids": "`[]`", "texts": "`[]`", "biases": "`{}`", "word": "by the model", "words": "nothing"}.get(o["kind"], "`null`")
    if o["kind"] in ("choice", "word"):
        return f'`"{o["default"]}"`'
    return f"`{o['default']}`"


def keys():
    rows = ["| key | default | values | meaning |", "|---|---|---|---|"]
    for o in json.loads(options("--json"))["options"]:
        help = o["help"].replace("-inf forbids it", "`false` forbids it").replace("|", "\\|")
        values = "a folder" if o["values"] == "a name or folder" else o["values"]
        rows.append(f"| `{o['key']}` | {key_default(o)} | {values} | {help} |")
    return "\n".join(rows) + "\n"


SECTIONS = (("README.md", "options", lambda: options("--markdown")), ("README.md", "serve", lambda: options("--serve", "--markdown")), ("examples/recipes/README.md", "keys", keys))


def split(path, name):
    """The file as what stands before, in and behind the section."""
    begin, end = f"<!-- {name}: made by `python3 tests/app/test_option_docs.py --write` -->\n", f"<!-- end of {name} -->\n"
    with open(path) as f:
        text = f.read()
    before, rest = text.split(begin)
    inside, after = rest.split(end)
    return before + begin, inside, end + after


class OptionDocs(unittest.TestCase):
    maxDiff = None

    def test_sections_are_the_table(self):
        for path, name, make in SECTIONS:
            self.assertEqual(split(path, name)[1], make(), f"{path}: run tests/app/test_option_docs.py --write")

    def test_forms_agree(self):
        rows = json.loads(options("--json"))["options"]
        self.assertEqual(set(rows[0]), {"name", "flag", "key", "scope", "part", "kind", "min", "max", "choices", "default", "values", "help"})
        head, *plain = [line for line in options().splitlines() if line]
        self.assertEqual([line.split()[:4] for line in plain], [[o["name"], "--" + o["flag"], o["key"], o["scope"]] for o in rows])
        at = [head.index(word) for word in ("--flag", "key of a recipe", "scope", "values")]
        self.assertTrue(all(line[i - 1] == " " and line[i] != " " for line in plain for i in at))
        marked = [line.split("`")[1] for line in options("--markdown").splitlines()[2:]]
        self.assertEqual(marked, ["--" + o["flag"] for o in rows])
        one_each = ("stop_token_ids", "allowed_token_ids", "bad_words", "logprob_token_ids")  # the flag is in the singular
        for o in rows:
            self.assertEqual(o["flag"].replace("-", "_") + ("s" if o["name"] in one_each else ""), o["name"])
        by_name = {o["name"]: o for o in rows}
        self.assertEqual(by_name["draw"]["choices"], ["iid", "sbs", "beam", "topk", "exact"])
        self.assertEqual((by_name["kv_pool"]["scope"], by_name["temperature"]["key"]), ("engine", "sampling.temperature"))
        p = subprocess.run([BIN, "options", "--json", "--markdown"], capture_output=True, text=True)
        self.assertEqual((p.returncode, p.stdout), (2, ""))
        self.assertIn("give one of them", p.stderr)


    def test_serve(self):
        rows = json.loads(options("--serve", "--json"))["options"]
        self.assertEqual(set(rows[0]), {"name", "flag", "kind", "choices", "default", "values", "help"})
        self.assertEqual([o["flag"].replace("-", "_") for o in rows], [o["name"] for o in rows])
        self.assertEqual([line.split()[0] for line in options("--serve").splitlines()], ["--" + o["flag"] for o in rows])
        engine = [o["name"] for o in json.loads(options("--json"))["options"] if o["scope"] == "engine"]
        self.assertEqual(set(engine) & {o["name"] for o in rows}, set())
        help = subprocess.run([BIN, "serve", "--help"], check=True, capture_output=True, text=True).stdout
        self.assertEqual([f for f in (o["flag"] for o in rows) if f"    --{f} " not in help], [])


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        os.chdir(ROOT)
        for path, name, make in SECTIONS:
            before, _, after = split(path, name)
            text = before + make() + after
            with open(path, "w") as f:
                f.write(text)
    else:
        main()
