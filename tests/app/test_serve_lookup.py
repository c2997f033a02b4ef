"""/v1/lookup: rows of a table, live answers for what it lacks, and tables that take each other's place under a running server."""
import json
import os
import shutil
import threading
import unittest
from urllib.parse import quote

from test_option_flags import lora
from util_cli import main
from util_serve import Serve, body
from util_table import NAMES, Tables


class Lookup(Tables):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.serves = []

    @classmethod
    def tearDownClass(cls):
        for s in cls.serves:
            s.__exit__()
        super().tearDownClass()

    def serve(self, table, *args, recipe=None):
        s = Serve("--recipe", recipe or self.recipe, "--table", self.path(table), *args)
        self.serves.append(s)
        return s

    @staticmethod
    def ask(s, *names, **more):
        """By query; also the answer's status where it is no row."""
        a = s.get("/v1/lookup?" + "&".join([f"history={quote(n)}" for n in names] + [f"{k}={quote(v)}" for k, v in more.items()]))
        return json.loads(a.body) if a.status == 200 else (a.status, json.loads(a.body)["error"]["message"])

    # If this fails, a client gets another answer than the table has.
    def test_rows(self):
        self.bulk("rows")
        s = self.serve("rows")
        for key, row in self.rows("rows").items():
            got = self.ask(s, *key)
            self.assertEqual(got, {"object": "lookup", "source": "table", **row})
        self.assertEqual(got, s.ok("/v1/lookup", {"history": list(key)}))
        self.assertEqual(got, self.ask(s, key="\t".join(key)))
        self.assertEqual(got, s.ok("/v1/lookup", {"key": "\t".join(key), "history": None, "unheard_of": 1}))
        self.assertEqual(s.number('forkcast_lookups_total{source="table"}'), len(self.rows("rows")) + 3)
        self.assertEqual(s.number('forkcast_lookups_total{source="live"}'), 0)
        self.assertEqual(self.ask(s, "Go", "Nobody"), (400, 'recipe: history: the taxonomy has no name "Nobody"'))
        self.assertEqual(self.ask(s, key="k")[0], 404)
        self.assertEqual(self.ask(s)[0], 400)
        self.assertEqual(self.ask(s, "Go", "Tea", key="k")[0], 400)
        s.refused("/v1/lookup", {"history": []}, 400, "history")
        s.refused("/v1/lookup", {"history": ["a\tb", "c"]}, 400, "history")
        s.refused("/v1/lookup", {"history": [1]}, 400, "history")
        s.refused("/v1/lookup", b"{", 400)
        self.assertEqual(s.ask(b"POST /v1/lookup HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}").status, 415)
        self.assertEqual(s.get("/v1/lookup?history=%ff").status, 400)

    # If this fails, a wish is taken and nothing comes of it, in the table's answers or in those that are computed.
    def test_fields_that_mean_something(self):
        self.bulk("fields")
        tuned = self.path("tuned")
        lora(tuned, 0.5)
        s = self.serve("fields", "--served-model-name", "m", "--served-model-name", "also", "--adapter", "tuned=" + tuned)
        there, live = list(next(iter(self.rows("fields")))), ["Chess", "Chess"]
        for history, source in ((there, "table"), (live, "live")):
            ask = {"history": history, "retrieved": ""}
            a = s.post("/v1/lookup", {**ask, "model": "also", "priority": -1, "cache_salt": "s", "user": "u", "metadata": {"a": 1}, "thinking": 1, "top": 2, "n": None, "stream": False})
            self.assertEqual((a.status, json.loads(a.body)["source"], a.headers.get("x-forkcast-ignored")), (200, source, "thinking, top"))
            self.assertEqual(json.loads(a.body), s.ok("/v1/lookup", ask))
            self.assertNotIn("x-forkcast-ignored", s.post("/v1/lookup", ask).headers)
            for name, value in (("temperature", 0.5), ("n", 2), ("seed", 1), ("stream", True), ("forkcast", {"n": 4}), ("vllm_xargs", {"best_of": 4}), ("prompt", "x"), ("request_id", "r")):
                s.refused("/v1/lookup", {**ask, name: value}, 400, name, "it means nothing in a look-up")
            s.refused("/v1/lookup", {**ask, "model": "nobody"}, 404, "model", "`nobody` does not exist")
            s.refused("/v1/lookup", {**ask, "model": "tuned"}, 400, "model", "look-ups are of m")
            s.refused("/v1/lookup", {**ask, "priority": "high"}, 400, "priority")
            s.refused("/v1/lookup", {**ask, "cache_salt": ""}, 400, "cache_salt")
            s.refused("/v1/lookup", {**ask, "retrieved": 1}, 400, "retrieved")
            names = "&".join("history=" + quote(n) for n in history)
            a = s.get(f"/v1/lookup?{names}&model=m&_=1764201600")
            self.assertEqual((a.status, a.headers["x-forkcast-ignored"]), (200, "_"))
            self.assertEqual(s.get(f"/v1/lookup?{names}&best_of=2").error()["param"], "best_of")
        cached = [s.number("forkcast_scores_cached_total")]
        for salt in ("one", "one", "two"):
            s.ok("/v1/lookup", {"history": ["Tea", "Tea"], "cache_salt": salt})
            cached.append(s.number("forkcast_scores_cached_total"))
        self.assertEqual([a < b for a, b in zip(cached, cached[1:])], [False, True, False])

    # If this fails, whoever copies a file over the table ends the server.
    def test_a_table_that_is_overwritten_in_place(self):
        self.bulk("place")
        whole = self.bytes("place")
        s = self.serve("place")
        key, row = next(iter(self.rows("place").items()))
        for junk in (b"", whole[:5000], os.urandom(len(whole))):
            with open(self.path("place"), "r+b") as f:
                f.truncate(0)
                f.write(junk)
            for _ in range(3):
                self.assertEqual(self.ask(s, *key)[0], 503)
            self.assertEqual(s.get("/livez").status, 200)
        with open(self.path("place.fresh"), "wb") as f:
            f.write(whole)
        os.replace(self.path("place.fresh"), self.path("place"))
        self.assertEqual(self.ask(s, *key), {"object": "lookup", "source": "table", **row})

    # If this fails, rows of other models and settings are mixed with this server's, and nobody is told.
    def test_a_table_of_another_recipe_is_told(self):
        self.bulk("mine")
        s = self.serve("mine")
        self.ask(s, "Go", "Tea")
        self.assertNotIn("another", s.logged())
        self.bulk("theirs", "--temperature", 2)
        os.replace(self.path("theirs"), self.path("mine"))
        self.ask(s, "Go", "Tea")
        self.assertIn("the settings of its rows and of this server are not the same", s.logged())
        other = self.write_recipe("other.json", novelty={"template": "{history} and"})
        t = self.serve("mine", recipe=other)
        self.assertIn("the templates of its rows", t.logged())

    # If this fails, a page of another site makes this machine compute; or a name in disguise is answered for another.
    def test_what_a_query_may_do(self):
        self.bulk("query")
        s = self.serve("query")
        key, row = next(iter(self.rows("query").items()))
        url = f"/v1/lookup?history={quote(key[1])}&history={quote(key[0])}&history={quote(key[0])}"
        for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)):
            a = s.ask(f"GET {url} HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: {site}\r\n\r\n".encode())
            self.assertEqual(a.status, status, site)
        self.assertEqual(s.number('forkcast_lookups_total{source="live"}'), 2)
        self.assertEqual(self.ask(s, "Go", "Nobody")[0], 400)
        self.assertEqual(s.number('forkcast_lookups_total{source="live"}'), 2)
        a = s.get(f"/v1/lookup?hist%6fry={quote(key[0])}&history={quote(key[1])}")
        self.assertEqual(json.loads(a.body), {"object": "lookup", "source": "table", **row})
        s.refused("/v1/lookup", {"history": list(key), "retrieved": "x" * 9000}, 400)
        packed = b"POST /v1/lookup HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}"
        self.assertEqual(s.ask(packed).status, 415)

    # If this fails, what is computed for a missing key is not what the bulk job would have put there.
    def test_live(self):
        recipe = self.write_recipe("live.json", novelty={"template": "{retrieved}. the night: {history}\nnext: "})
        lines = [{"key": [a, a], "text": "plain " + a} for a in NAMES]
        self.bulk("some", "--set", recipe=recipe)
        self.bulk("more", "--set", "--self", "--retrieved", self.lines("lines.jsonl", lines), recipe=recipe)
        s, rows = self.serve("some", recipe=recipe), self.rows("more")
        for name in NAMES:
            want = {"object": "lookup", "source": "live", **rows[name, name]}
            self.assertEqual(self.ask(s, name, name, retrieved="plain " + name), want)
            self.assertEqual(s.ok("/v1/lookup", {"history": [name, name], "retrieved": "plain " + name}), want)
        self.assertEqual(self.ask(s, "Tea", "Go")["source"], "table")
        three = self.ask(s, "Tea", "Go", "Chess")
        self.assertEqual((three["source"], three["key"]), ("live", ["Chess", "Go", "Tea"]))
        one = json.loads(self.ok("bestof", "--recipe", recipe, "--retrieved", "", *(a for n in three["key"] for a in ("--history", n)), "--seed", three["seed"], "--json"))
        self.assertEqual(one["confidence"], three["confidence"])
        self.assertEqual(s.number('forkcast_lookups_total{source="live"}'), 2 * len(NAMES) + 1)

    # If this fails, a refresh of the table needs a restart, or an answer mixes two tables.
    def test_another_table_takes_its_place(self):
        seeds = {}
        for seed in (7, 8):
            self.bulk(f"seed{seed}", "--seed", seed)
            seeds[seed] = self.rows(f"seed{seed}")
        shutil.copy(self.path("seed7"), self.path("swapped"))
        s = self.serve("swapped")
        wrong, over = [], threading.Event()

        def asks():
            while not over.is_set():
                for key in (("Go", "Tea"), ("Chess", "Maps")):
                    got = self.ask(s, *key)
                    if not any(got == {"object": "lookup", "source": "table", **rows[key]} for rows in seeds.values()):
                        wrong.append(got)
        threads = [threading.Thread(target=asks) for _ in range(3)]
        for t in threads:
            t.start()
        for i in range(40):
            shutil.copy(self.path(f"seed{7 + (i + 1) % 2}"), self.path("swapped.new"))
            os.replace(self.path("swapped.new"), self.path("swapped"))
            self.assertEqual(self.ask(s, "Jazz", "Go")["seed"], seeds[7 + (i + 1) % 2]["Jazz", "Go"]["seed"])
        over.set()
        for t in threads:
            t.join()
        self.assertEqual(wrong, [])
        # one that is no table, and none at all: the last one goes on
        with open(self.path("swapped.new"), "wb") as f:
            f.write(b"no table")
        last = self.ask(s, "Jazz", "Go")
        os.replace(self.path("swapped.new"), self.path("swapped"))
        self.assertEqual(self.ask(s, "Jazz", "Go"), last)
        os.remove(self.path("swapped"))
        self.assertEqual(self.ask(s, "Jazz", "Go"), last)
        self.assertIn("the table that was there before is served on", s.logged())
        shutil.copy(self.path("seed8"), self.path("swapped"))
        self.assertEqual(self.ask(s, "Jazz", "Go")["seed"], seeds[8]["Jazz", "Go"]["seed"])

    # If this fails, a disk that is slow to give a table holds up everybody who asks for something else.
    def test_a_table_that_is_waited_for(self):
        self.bulk("waited")
        s = self.serve("waited")
        key, row = next(iter(self.rows("waited").items()))
        want = {"object": "lookup", "source": "table", **row}
        self.assertEqual(self.ask(s, *key), want)
        os.mkfifo(self.path("waited.new"))  # whoever opens it waits for its other end
        os.replace(self.path("waited.new"), self.path("waited"))
        gone, asks = s.connect(), [s.connect() for _ in range(3)]
        for c in (*asks, gone):
            c.send(body("/v1/lookup", {"history": list(key)}))
        gone.s.close()
        for _ in range(20):
            self.assertEqual(s.get("/health").status, 200)
        self.assertEqual(s.ok("/tokenize", {"prompt": "a"})["count"], 1)
        other = os.open(self.path("waited"), os.O_RDWR)
        for c in asks:  # it is no table: the last one goes on
            self.assertEqual(json.loads(c.answer().body), want)
            c.s.close()
        os.close(other)
        self.assertIn("the table that was there before is served on", s.logged())
        os.remove(self.path("waited"))

    def test_none(self):
        s = Serve("--recipe", self.recipe)
        self.serves.append(s)
        self.assertEqual(self.ask(s, "Go", "Tea"), (404, "no table is served; --table FILE names one"))
        self.refused(1, "No such file", "serve", "--recipe", self.recipe, "--table", self.path("nothing"), "--port", 0)
        self.refused(1, "not a database", "serve", "--recipe", self.recipe, "--table", self.taxonomy, "--port", 0, "--check-config")

    def test_prompts(self):
        recipe = self.write_recipe("prompt.json", novelty={"template": "{prompt}"}, alignment={"template": "it is {prompt}"})
        self.bulk("prompts", "--prompts", self.lines("prompts.jsonl", [{"key": "k1 & more", "prompt": "the night"}]), recipe=recipe)
        s = self.serve("prompts", recipe=recipe)
        self.assertEqual(self.ask(s, key="k1 & more"), {"object": "lookup", "source": "table", **self.rows("prompts")["k1 & more"]})
        self.assertEqual(self.ask(s, key="k2")[0], 404)
        self.assertEqual(self.ask(s, "Go", "Tea")[0], 400)


if __name__ == "__main__":
    main()
