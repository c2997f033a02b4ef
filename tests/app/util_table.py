"""What tests of tables share: a taxonomy, recipes on tiny models, and jobs. Standard library alone."""
import json
import os
import sqlite3
import subprocess

from util_cli import BIN, Program, run

NAMES = ["Chess", "Jazz", "Cooking", "Go", "Opera", "Tea", "Rock", "Maps"]
ANY = ("--min-exact-match", 0)  # names are the whole of what random weights write


class Tables(Program):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.taxonomy = cls.path("names.tsv")
        cls.write_taxonomy(cls.taxonomy, NAMES)
        cls.recipe = cls.write_recipe("recipe.json")

    @staticmethod
    def write_taxonomy(path, names, keywords=()):
        words = dict(keywords)
        with open(path, "w") as f:
            f.writelines(f"{i}\t{name}\t{words.get(name, f'kw{i}, {name.lower()}')}\n" for i, name in enumerate(names))

    @classmethod
    def write_recipe(cls, name, **more):
        novelty = {"model": cls.novelty, "template": "the night: {history}\nnext: ", "end": "\n", **more.pop("novelty", {})}
        alignment = {"model": cls.alignment, "template": "good {history} ({keywords})\nalso: ", **more.pop("alignment", {})}
        with open(cls.path(name), "w") as f:
            json.dump({"novelty": novelty, "alignment": alignment, "taxonomy": cls.taxonomy, "constraint": "mask", "sampling": {"max_tokens": 12},
                       "n": 16, "keep": 3, "seed": 7, **more}, f)
        return cls.path(name)

    def bulk(self, table, *args, recipe=None, code=0, gates=ANY, **kw):
        """What the job says of itself."""
        got, out, err = run("bulk", "--recipe", recipe or self.recipe, "--table", self.path(table), "--json", *gates, *args, **kw)
        self.assertEqual(got, code, err)
        self.assertEqual(out[-1:], b"\n" if out else b"")
        return json.loads(out) if out else err

    def lines(self, name, objects):
        with open(self.path(name), "w") as f:
            f.writelines(json.dumps(o) + "\n" for o in objects)
        return self.path(name)

    def bytes(self, name):
        with open(self.path(name), "rb") as f:
            return f.read()

    def rows(self, name):
        """By key, as exported."""
        out = self.ok("table", "export", self.path(name))
        found = [json.loads(line) for line in out.decode().splitlines()]
        return {tuple(r["key"]) if isinstance(r["key"], list) else r["key"]: r for r in found}

    def sql(self, name, query):
        with sqlite3.connect(f"file:{self.path(name)}?mode=ro", uri=True) as db:
            return db.execute(query).fetchall()

    def start(self, table, *args, recipe=None, **kw):
        return subprocess.Popen([BIN, *map(str, ("bulk", "--recipe", recipe or self.recipe, "--table", self.path(table), *ANY, *args))],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kw)

    def gone(self, *names):
        for name in names:
            self.assertFalse(os.path.exists(self.path(name)), name)
