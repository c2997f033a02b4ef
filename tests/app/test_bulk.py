"""forkcast bulk: which keys, what their rows hold, that a table is the same bytes however it came about, and what stops a job."""
import itertools
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
import unittest

from util_cli import BIN, main, run
from util_table import ANY, NAMES, Tables

KILLS = 12


class Bulk(Tables):
    # ---- keys ----

    # If this fails, a table lacks histories, or holds some that nobody asked for.
    def test_keys(self):
        forms = (((), itertools.permutations(NAMES, 2)), (("--self",), itertools.product(NAMES, repeat=2)),
                 (("--set",), (tuple(sorted(c)) for c in itertools.combinations(NAMES, 2))),
                 (("--set", "--self"), (tuple(sorted(c)) for c in itertools.combinations_with_replacement(NAMES, 2))),
                 (("--clusters", 1), ((a,) for a in NAMES)), (("--clusters", 3, "--set"), (tuple(sorted(c)) for c in itertools.combinations(NAMES, 3))))
        for args, want in forms:
            with self.subTest(args=args):
                want = set(want)
                r = self.bulk("keys", *args, "-n", 2)
                got = self.rows("keys")
                self.assertEqual(set(got), want)
                self.assertEqual((r["planned"], r["of"], r["kept"] + r["copied"] + r["computed"], r["failed"]), (len(want),) * 3 + (0,))
                self.assertEqual(list(got), sorted(got), "not in key order")
                self.gone("keys.work")
                os.remove(self.path("keys"))

    # If this fails, a row cannot be looked into with bestof: another seed, prompt or setting made it.
    def test_bestof_reproduces_rows(self):
        retrieved = self.lines("retrieved.jsonl", [{"key": ["Chess", "Jazz"], "text": "Opera"}, {"key": ["Go", "Tea"], "text": "x\ny"}])
        recipe = self.write_recipe("retrieved.json", novelty={"template": "others: {retrieved}. the night: {history}\nnext: "}, full_logprob=True)
        self.bulk("retrieved", "--retrieved", retrieved, recipe=recipe)
        rows = self.rows("retrieved")
        for key, line in ((("Chess", "Jazz"), "Opera"), (("Go", "Tea"), "x\ny"), (("Tea", "Go"), "")):
            row = rows[key]
            one = json.loads(self.ok("bestof", "--recipe", recipe, "--retrieved", line, "--history", key[0], "--history", key[1], "--seed", row["seed"], "--json"))
            self.assertEqual(one["confidence"], row["confidence"])
            self.assertEqual([{k: c[k] for k in ("rank", "text", "score", "logprob", "votes", "valid")} for c in one["candidates"]], row["candidates"])
            self.assertLess(row["seed"], 1 << 53)
        self.assertEqual(len({r["seed"] for r in rows.values()}), len(rows))

    def test_sets_are_one_key(self):
        self.bulk("sets", "--set", "-n", 4)
        one = json.loads(self.ok("table", "lookup", self.path("sets"), "Tea", "Chess", "--json"))
        self.assertEqual(one, json.loads(self.ok("table", "lookup", self.path("sets"), "Chess", "Tea", "--json")))
        self.assertEqual(one["key"], ["Chess", "Tea"])

    def test_prompts(self):
        recipe = self.write_recipe("free.json", novelty={"template": "{prompt}"}, alignment={"template": "it is {prompt}"}, constraint="off")
        asked = [{"key": f"k{i}", "prompt": f"the night {i % 5} of {i}"} for i in range(20)]
        self.bulk("prompts", "--prompts", self.lines("prompts.jsonl", asked), recipe=recipe, gates=ANY)
        rows = self.rows("prompts")
        self.assertEqual(list(rows), sorted(o["key"] for o in asked))
        one = json.loads(self.ok("bestof", "--recipe", recipe, "--prompt", asked[3]["prompt"], "--seed", rows["k3"]["seed"], "--json"))
        self.assertEqual([c["text"] for c in one["candidates"]], [c["text"] for c in rows["k3"]["candidates"]])
        # in whatever order the file has them, in parts or whole
        random.Random(1).shuffle(asked)
        self.bulk("other", "--prompts", self.lines("other.jsonl", asked), recipe=recipe)
        self.assertEqual(self.bytes("prompts"), self.bytes("other"))
        # histories of a file
        asked = [{"key": "a", "history": ["Chess", "Go"]}, {"key": "b", "history": ["Tea"], "retrieved": ""}]
        self.bulk("histories", "--prompts", self.lines("histories.jsonl", asked))
        self.assertEqual(list(self.rows("histories")), ["a", "b"])

    # ---- the same bytes ----

    # If this fails, whoever is interrupted gets another table, or one that cannot be compared with the last.
    def test_killed(self):
        self.bulk("whole", "--self", "--threads", 1)
        began = time.monotonic()
        self.bulk("again", "--self", "--threads", 1)
        seconds = time.monotonic() - began
        self.assertEqual(self.bytes("whole"), self.bytes("again"), "two runs, no kill")
        seed = random.SystemRandom().randrange(1 << 32)
        moments = random.Random(seed)
        left, killed = KILLS, 0
        while left:
            p = self.start("killed", "--self", "--in-flight", 2, "--threads", 1)
            try:
                p.communicate(timeout=moments.random() * seconds * 1.2)
                self.assertEqual(p.returncode, 0)
                os.remove(self.path("killed"))  # it came through: from the beginning again
            except subprocess.TimeoutExpired:
                p.kill()
                p.communicate()
                killed += 1
            left -= 1
        print(f"killed {killed} of {KILLS} times, seed {seed}")
        r = self.bulk("killed", "--self", "--in-flight", 7)
        self.assertEqual(self.bytes("whole"), self.bytes("killed"), f"seed {seed}")
        self.assertEqual(r["computed"] + r["kept"] + r["copied"], len(NAMES) ** 2)
        self.gone("killed.work", "killed.work-wal", "killed.work-shm", "killed.new")

    # If this fails, a job that is killed now and then never gets on.
    def test_what_was_computed_a_second_before_a_kill_is_kept(self):
        job = ("late", "--prompts", self.lines("late.jsonl", [{"key": f"k{i}", "history": ["Go", "Tea"]} for i in range(200)]), "-n", 32,
               "--constraint", "off", "--full-logprob=false", "--max-tokens", 40)
        p = self.start(*job, "--in-flight", 1, "--threads", 1)  # as many rows as one transaction has room for
        with self.assertRaises(subprocess.TimeoutExpired, msg="the job was done before it was killed"):
            p.communicate(timeout=2)
        p.kill()
        p.communicate()
        self.assertGreater(self.bulk(*job)["kept"], 0)

    # A kill while the copy is written leaves half a file beside the table.
    def test_half_a_copy_is_written_anew(self):
        self.bulk("half", "-n", 2)
        whole = self.bytes("half")
        with open(self.path("half.new"), "wb") as f:
            f.write(whole[:5000])
        self.bulk("half", "-n", 2)
        self.assertEqual(self.bytes("half"), whole)
        self.gone("half.new")

    def test_stopped(self):
        for pause in (0.3, 0.6, 1.2, 2.4, 4.8):  # of a program that has not come to its keys yet the signal is the end
            p = self.start("stopped", "--clusters", 3, "--in-flight", 2)
            time.sleep(pause)
            p.send_signal(signal.SIGTERM)
            _, err = p.communicate(timeout=60)
            if p.returncode != -signal.SIGTERM:
                break
        if p.returncode == 0:
            self.skipTest("the job was done before it was stopped")
        self.assertEqual(p.returncode, 1)
        self.assertIn(b"the same command goes on", err)
        self.gone("stopped")
        if os.path.exists(self.path("stopped.work")):  # what is there can be looked into
            self.assertIn(b"in order", self.ok("table", "check", "--work", self.path("stopped.work")))
            self.refused(1, "a work file", "table", "check", self.path("stopped.work"))
        r = self.bulk("stopped", "--clusters", 3)
        self.gone(*("stopped.work" + end for end in ("", "-wal", "-shm", "-journal")))
        self.assertEqual(r["kept"] + r["computed"], 8 * 7 * 6)

    def test_threads_and_flight_change_nothing(self):
        for i, args in enumerate((("--threads", 1, "--in-flight", 1), ("--threads", 2, "--in-flight", 200), ("--off", "all"), ("--page-slots", 8, "--max-rows", 40))):
            self.bulk(f"same{i}", "-n", 8, *args)
            self.assertEqual(self.bytes("same0"), self.bytes(f"same{i}"), args)

    def test_shards(self):
        self.bulk("all", "--clusters", 3)
        parts = [f"part{i}" for i in range(1, 5)]
        for i, part in enumerate(parts):
            r = self.bulk(part, "--clusters", 3, "--shard", f"{i + 1}/4")
            self.assertEqual((r["planned"], r["of"]), (84, 336))
        paths = [self.path(p) for p in parts]
        self.ok("table", "merge", self.path("merged"), *map(str, ANY), *reversed(paths))
        self.assertEqual(self.bytes("all"), self.bytes("merged"))
        self.gone("merged.work")
        # what must not be joined
        self.bulk("seed", "--clusters", 3, "--shard", "2/4", "--seed", 8)
        self.bulk("temperature", "--clusters", 3, "--shard", "2/4", "--temperature", 0.5)
        self.bulk("portable", "--clusters", 3, "--shard", "2/4", "--cpu", "portable")
        template = self.write_recipe("template.json", alignment={"template": "bad {history} ({keywords})\nalso: "})
        self.bulk("template", "--clusters", 3, "--shard", "2/4", recipe=template)
        self.bulk("third", "--clusters", 3, "--shard", "2/3")
        one, two, three, four = paths
        for files, words in (((one, self.path("seed"), three, four), 'seed is "7" and "8"'), ((one, self.path("temperature"), three, four), "settings is"),
                             ((one, self.path("portable"), three, four), 'and "portable"'), ((one, self.path("template"), three, four), "templates is"),
                              ((one, two, three), "3 files are given"),
                             ((one, two, two, four), "given twice"), ((one, self.path("third"), three, four), "shard 2/3")):
            self.refused(2, words, "table", "merge", self.path("no"), *ANY, *files)
        self.gone("no", "no.work")

    # ---- brought up to date ----

    # If this fails, a refresh computes what it need not, or keeps what is out of date.
    def test_incremental(self):
        recipe = self.write_recipe("line.json", novelty={"template": "{retrieved}: {history}\nnext: "})
        lines = [{"key": [a, b], "text": "plain"} for a in NAMES for b in NAMES if a != b]
        r = self.bulk("table", "--retrieved", self.lines("lines.jsonl", lines), recipe=recipe)
        self.assertEqual(r["computed"], 56)
        before = self.rows("table")
        lines[5]["text"] = lines[11]["text"] = "another"
        args = ("--retrieved", self.lines("lines.jsonl", lines), "--max-drift", 1)
        r = self.bulk("table", *args, recipe=recipe)
        self.assertEqual((r["copied"], r["computed"]), (54, 2))
        after = self.rows("table")
        changed = {k for k in before if before[k] != after[k]}
        self.assertTrue(changed <= {tuple(lines[i]["key"]) for i in (5, 11)})
        # as if there had been no table before
        self.bulk("fresh", *args, recipe=recipe)
        self.assertEqual(self.bytes("table"), self.bytes("fresh"))
        code, _, err = run("bulk", "--recipe", recipe, "--table", self.path("table"), *ANY, "--retrieved", self.lines("typo.jsonl", [*lines, {"key": ["Goo", "Tea"], "text": "x"}]))
        self.assertEqual((code, err), (0, "forkcast bulk: 1 of 57 retrieved lines are of no key\n"))
        # other settings: nothing is taken over, and that is said
        code, out, err = run("bulk", "--recipe", recipe, "--table", self.path("table"), "--json", *ANY, *args, "--seed", 8)
        self.assertEqual((code, json.loads(out)["copied"]), (0, 0), err)
        self.assertIn("has another seed", err)

    def test_keywords_of_one_name(self):
        taxonomy = self.path("words.tsv")
        self.write_taxonomy(taxonomy, NAMES)
        self.bulk("words", "--taxonomy", taxonomy)
        self.write_taxonomy(taxonomy, NAMES, {"Opera": "arias"})
        args = ("--taxonomy", taxonomy, "--max-drift", 1)
        r = self.bulk("words", *args)
        self.assertEqual((r["copied"], r["computed"]), (42, 14))
        self.bulk("anew", *args)
        self.assertEqual(self.bytes("words"), self.bytes("anew"))
        # where keywords decide who is kept, all is computed
        self.bulk("words", *args, "--diversity", "keywords")
        for names, words in ((NAMES, ("--diversity", "keywords")), (NAMES[:-1], ("--diversity", "keywords")), (NAMES, ())):
            self.write_taxonomy(taxonomy, names, {"Opera": "songs"})
            code, out, err = run("bulk", "--recipe", self.recipe, "--table", self.path("words"), "--json", *ANY, *args, *words)
            self.assertEqual((code, json.loads(out)["copied"]), (0, 0))
            self.assertRegex(err, "has another (names|settings)")

    # A job that is under way when the retrieved lines change goes on, and computes what they change.
    def test_incremental_under_way(self):
        recipe = self.write_recipe("way.json", novelty={"template": "{retrieved}: {history}\nnext: "})
        lines = [{"key": [a, b], "text": "plain"} for a in NAMES for b in NAMES if a != b]
        self.bulk("way", "--retrieved", self.lines("way.jsonl", lines), "--no-publish", recipe=recipe)
        lines[7]["text"] = "another"
        r = self.bulk("way", "--retrieved", self.lines("way.jsonl", lines), recipe=recipe)
        self.assertEqual((r["kept"], r["computed"]), (55, 1))
        self.bulk("away", "--retrieved", self.lines("way.jsonl", lines), recipe=recipe)
        self.assertEqual(self.bytes("way"), self.bytes("away"))

    # If this fails, a judge's other labels, or another suffix, leave scores as they were.
    def test_labels_and_suffix(self):
        judge = ("--mode", "judge", "--suffix", "?", "--label", "a", "--label", "b")
        self.bulk("judge", *judge)
        self.assertEqual(self.bulk("judge", *judge)["copied"], 56)
        for i, other in ((3, ">"), (7, "c")):
            args = list(judge)
            args[i] = other
            self.assertEqual(self.bulk("judge", *args, "--max-drift", 1)["computed"], 56)
        self.bulk("unscored", "--alignment", "none", "--clusters", 1)
        self.assertEqual({c["score"] for r in self.rows("unscored").values() for c in r["candidates"]}, {None})
        self.assertIn("         -", self.ok("table", "lookup", self.path("unscored"), "Tea").decode())

    # ---- what goes wrong ----

    def test_two_writers(self):
        p = self.start("two", "--clusters", 3, "--self", "--in-flight", 1, "--threads", 1)
        while not os.path.exists(self.path("two.work")) or not os.path.getsize(self.path("two.work")):
            self.assertIsNone(p.poll(), "it was over too soon")
            time.sleep(0.002)
        os.kill(p.pid, signal.SIGSTOP)
        try:
            self.refused(1, "another process writes it", "bulk", "--recipe", self.recipe, "--table", self.path("two"), *ANY, "--clusters", 3, "--self")
            self.refused(1, "another process writes it", "table", "publish", self.path("two.work"), self.path("two"), *ANY)
        finally:
            os.kill(p.pid, signal.SIGCONT)
        out, err = p.communicate(timeout=120)
        self.assertEqual(p.returncode, 0, err)
        self.bulk("one", "--clusters", 3, "--self")
        self.assertEqual(self.bytes("one"), self.bytes("two"))

    def test_disk_full(self):
        full = self.path("full")

        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (60000, 60000))
        code, out, err = run_limited(limit, "bulk", "--recipe", self.recipe, "--table", full, *ANY, "--clusters", 3)
        self.assertEqual((code, out), (1, b""), err)
        self.assertIn("full.work: ", err)
        self.gone("full", "full.new")
        self.bulk("full", "--clusters", 3)
        self.bulk("roomy", "--clusters", 3)
        self.assertEqual(self.bytes("full"), self.bytes("roomy"))
        # the copy alone does not fit: the old table stays
        old = self.bytes("full")

        def less():
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(old) - 8192,) * 2)
        self.bulk("full", "--clusters", 3, "--seed", 8, "--no-publish")
        code, out, err = run_limited(less, "table", "publish", full + ".work", full, *ANY, "--max-drift", 1)
        self.assertEqual(code, 1, err)
        self.assertEqual(self.bytes("full"), old)
        self.gone("full.new")
        self.ok("table", "publish", full + ".work", full, *ANY, "--max-drift", 1)
        self.assertNotEqual(self.bytes("full"), old)

    def test_read_only(self):
        folder = self.path("closed")
        os.mkdir(folder)
        os.chmod(folder, 0o555)
        args = [BIN, "bulk", "--recipe", self.recipe, "--table", os.path.join(folder, "t"), *map(str, ANY)]
        nobody = {"user": 65534} if os.geteuid() == 0 else {}
        if nobody:  # who is root may write anywhere; nobody must be able to read what the job reads
            os.chmod(self.folder.name, 0o755)
            if subprocess.run([BIN, "--version"], capture_output=True, **nobody).returncode:
                self.skipTest("another user cannot run the program where it lies")
        p = subprocess.run(args, capture_output=True, text=True, **nobody)
        self.assertEqual((p.returncode, p.stdout), (1, ""), p.stderr)
        self.assertRegex(p.stderr, r"closed/t\.work: (Permission denied|.*read-only)")
        self.assertEqual(os.listdir(folder), [])

    def test_failed_keys(self):
        asked = [{"key": "a", "prompt": "short"}, {"key": "long", "prompt": "night " * 3000}, {"key": "z", "prompt": "short, too"}]
        recipe = self.write_recipe("prompt.json", novelty={"template": "{prompt}"}, alignment={"template": "it is {prompt}"})
        prompts = self.lines("failing.jsonl", asked)
        code, out, err = run("bulk", "--recipe", recipe, "--table", self.path("failing"), "--prompts", prompts, "--json", *ANY)
        self.assertEqual(code, 1)
        self.assertIn('key "long": ', err)
        self.assertIn("gate coverage: 0.666667, and at least 1.000000 is asked", err)
        self.gone("failing")
        code, out, err = run("bulk", "--recipe", recipe, "--table", self.path("failing"), "--prompts", prompts, "--json", *ANY, "--min-coverage", 0.5)
        r = json.loads(out)
        self.assertEqual((code, r["kept"], r["failed"], r["published"]), (1, 2, 1, True))
        self.assertIn("1 keys have no row", err)
        self.assertEqual(list(self.rows("failing")), ["a", "z"])
        self.assertEqual([k for k, in self.sql("failing", "SELECT key FROM failures")], ["long"])
        asked[1]["prompt"] = "shorter"
        r = self.bulk("failing", "--prompts", self.lines("failing.jsonl", asked), recipe=recipe, gates=(*ANY, "--max-drift", 1))
        self.assertEqual((r["copied"], r["computed"], r["failed"]), (2, 1, 0))

    def test_refused(self):
        table = ("--table", self.path("never"))
        for code, words, args in ((2, "--table: a file is needed", ()), (2, "is not 1, 2 or 3", (*table, "--clusters", 4)), (2, "is not I/N", (*table, "--shard", "5/4")),
                                  (2, "100 shards, and 56 keys", (*table, "--shard", "1/100")), (2, "--in-flight: 0", (*table, "--in-flight", 0)),
                                  (2, "--max-drift: 2 is not between 0 and 1", (*table, "--max-drift", 2)), (1, "none: No such file", (*table, "--transitions", self.path("none"))),
                                  (1, "line 1: the document: next is missing", (*table, "--transitions", self.lines("key.jsonl", [{"key": ["Go", "Tea"]}]))), (2, "deadline_ms", (*table, "--deadline-ms", 5)), (2, "--prompt-logprobs: nothing of it is kept here", (*table, "--prompt-logprobs")), (2, "--set: it is for histories", (*table, "--set", "--prompts", "x")),
                                  (1, "No such file", (*table, "--prompts", self.path("none"))),
                                  (1, "line 2: key: ", (*table, "--prompts", self.lines("bad.jsonl", [{"key": "a", "prompt": "b"}, {"key": ["Che\tss"], "prompt": "b"}]))),
                                  (1, 'key "a" is there twice', (*table, "--prompts", self.lines("twice.jsonl", [{"key": "a", "prompt": "b"}] * 2))),
                                  (1, "no such member", (*table, "--retrieved", self.lines("more.jsonl", [{"key": "a", "txt": "b"}]))),
                                  (2, "no template has the hole {retrieved}", (*table, "--retrieved", self.lines("all.jsonl", [{"key": [a, b], "text": "x"} for a in NAMES for b in NAMES])))):
            with self.subTest(args=args):
                got, out, err = run("bulk", "--recipe", self.recipe, *args)
                self.assertEqual((got, out), (code, b""), err)
                self.assertIn(words, err)
        self.gone("never")
        self.bulk("begun", "--no-publish")
        self.refused(2, 'it was begun with another seed: "7", and now it is "8"', "bulk", "--recipe", self.recipe, "--table", self.path("begun"), "--seed", 8)


class Bench(Tables):
    # If this fails, the benchmark of a production table has not grown with the program.
    def test_bulk_pairs(self):
        out, model = self.path("pairs.json"), self.path("long.gguf")
        self.ok("tiny", model, "--seed", 1, "--ctx", 1024)
        p = subprocess.run([sys.executable, "bench/bulk_pairs.py", model, "--out", out, "--build", os.path.dirname(BIN), "--names", "20", "--pairs", "60", "-n", "4",
                            "--kills", "2", "--commit", "0123456"], capture_output=True, text=True)
        self.assertEqual(p.returncode, 0, p.stdout + p.stderr)
        self.assertRegex(p.stdout, r"^400 pairs planned, 6[0-9] computed: .* times what was computed")
        self.assertIn("the same table, byte for byte", p.stdout)
        with open(out) as f, open("bench/result.schema.json") as s:
            made, schema = json.load(f), json.load(s)
        self.assertEqual(made["rows"][0]["counts"]["of"], 400)
        try:
            import jsonschema
        except ImportError:
            return
        jsonschema.validate(made, schema)


def run_limited(limit, *args):
    p = subprocess.run([BIN, *map(str, args)], capture_output=True, preexec_fn=limit, timeout=120)
    return p.returncode, p.stdout, p.stderr.decode()


if __name__ == "__main__":
    main()
