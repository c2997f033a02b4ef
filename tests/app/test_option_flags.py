"""Every option of the table as a flag and as a key of a recipe: what it changes, and what wrong values are told."""
import json
import os
import random
import struct

from util_cli import Program, main, run

TAXONOMY = """g1\tGames\tplay
c\tChess\tboards, clocks\tg1
o\tGo\tboards, stones\tg1
k\tCooking\tpots
b\tBaking\tpots, ovens\tk
t\tTennis\tballs
"""


def lora(folder, scale, seed=5):
    """A PEFT folder for the down projections of a tiny model: D 64, F 128, two layers, rank 2."""
    rng, tensors, data = random.Random(seed), {}, b""
    for layer in range(2):
        for part, shape in (("A", [2, 128]), ("B", [64, 2])):
            values = [rng.uniform(-1, 1) * (scale if part == "B" else 1) for _ in range(shape[0] * shape[1])]
            raw = struct.pack(f"<{len(values)}f", *values)
            name = f"base_model.model.model.layers.{layer}.mlp.down_proj.lora_{part}.weight"
            tensors[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
            data += raw
    head = json.dumps(tensors).encode()
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "adapter_model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(head)) + head + data)
    with open(os.path.join(folder, "adapter_config.json"), "w") as f:
        json.dump({"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 2, "bias": "none",
                   "target_modules": ["down_proj"]}, f)


class OptionFlags(Program):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.taxonomy = cls.path("t.tsv")
        with open(cls.taxonomy, "w") as f:
            f.write(TAXONOMY)
        cls.names = {line.split("\t")[1]: line.split("\t") for line in TAXONOMY.splitlines()}
        cls.nothing, cls.strong = cls.path("nothing"), cls.path("strong")
        lora(cls.nothing, 0)
        lora(cls.strong, 0.5)

    def answer(self, *args):
        return self.bestof("--prompt", "Likes: ", "--taxonomy", self.taxonomy, "--all", *args)

    # ---- what is drawn

    def test_prompt_and_bans(self):
        def ask(*args):
            return self.bestof("--prompt", "abcdefgh", "-n", 8, "-k", 0, "--all", "--max-tokens", 8, *args)
        plain = ask()
        cut = ask("--truncate-prompt-tokens", 3)
        self.assertEqual(cut["accounting"]["rows_prefill"], 3)
        self.assertLess(3, plain["accounting"]["rows_prefill"])
        bare = ask("--no-bos")
        self.assertIn(plain["accounting"]["rows_prefill"] - bare["accounting"]["rows_prefill"], (0, 1))
        few = plain["all_candidates"][0]["tokens"][:2]
        only = ask("--allowed-token-id", few[0], "--allowed-token-id", few[1])
        self.assertTrue(all(t in few for c in only["all_candidates"] for t in c["tokens"]))
        clean = ask("--bad-word", "e", "--bad-word", "a")
        self.assertFalse(any(t in c["text"].split() for c in clean["all_candidates"] for t in ("e", "a")))
        args = ("bestof", "--novelty", self.novelty, "--alignment", "none", "--prompt", "x")
        self.refused(2, "bad_words: word 0 is empty", *args, "--bad-word", " ")
        self.refused(2, "--truncate-prompt-tokens", *args, "--truncate-prompt-tokens", -2)

    def test_constraint(self):
        free = self.answer("-n", 16, "-k", 0)
        self.assertEqual(self.answer("-n", 16, "-k", 0, "--constraint", "off")["candidates"], free["candidates"])
        self.assertFalse(any(c["valid"] for c in free["candidates"]))
        mask = self.answer("-n", 16, "-k", 0, "--constraint", "mask")
        self.assertTrue(all(c["valid"] and c["text"] in self.names for c in mask["candidates"]))
        self.assertEqual(mask["accounting"]["redraws"], 0)
        self.assertIsNone(mask["confidence"]["valid_mass"])
        none = self.answer("-n", 16, "--constraint", "reject", "--reject-budget", 0)
        self.assertEqual((none["accounting"]["redraws"], none["confidence"]["valid_mass"]), (0, 0))
        some = self.answer("-n", 16, "--constraint", "reject", "--reject-budget", 3)
        self.assertEqual(some["accounting"]["redraws"], 48)  # a random model never says a name
        fork = self.answer("-n", 16, "--constraint", "reject", "--reject-budget", 3, "--off", "fork")["accounting"]
        self.assertEqual(fork["redraws"], 48)
        self.assertGreater(fork["rows_replayed"], 48)  # each attempt computes its prompt again
        table = self.ok("bestof", "--novelty", self.novelty, "--alignment", "none", "--prompt", "x", "-n", 4,
                        "--taxonomy", self.taxonomy, "--constraint", "reject", "--reject-budget", 3)
        self.assertIn(b", valid mass 0.0000, 12 drawn again; ", table)

    def test_full_logprob(self):
        plain = self.answer("-n", 8, "-k", 0, "--constraint", "mask")
        full = self.answer("-n", 8, "-k", 0, "--constraint", "mask", "--full-logprob")
        for a, b in zip(plain["candidates"], full["candidates"]):
            self.assertEqual((a["tokens"], a["logprob"], a["full_logprob"]), (b["tokens"], b["logprob"], None))
            self.assertLess(b["full_logprob"], b["logprob"])
        self.assertTrue(0 < full["confidence"]["valid_mass"] < 1)
        off = self.answer("-n", 8, "-k", 0, "--constraint", "mask", "--full-logprob=false")
        self.assertEqual(off["candidates"], plain["candidates"])
        args = ("bestof", "--novelty", self.novelty, "--alignment", "none", "--prompt", "x", "--taxonomy", self.taxonomy,
                "--constraint", "mask")
        self.assertIn(b" full-log-p ", self.ok(*args, "--full-logprob").splitlines()[0])
        self.assertNotIn(b" full-log-p ", self.ok(*args).splitlines()[0])

    def test_draw(self):
        exact = self.answer("-n", 6, "-k", 0, "--constraint", "mask", "--draw", "exact")["all_candidates"]
        self.assertEqual(sorted(c["text"] for c in exact), sorted(self.names))
        lp = [c["logprob"] for c in exact]
        self.assertEqual(lp, sorted(lp, reverse=True))
        for c in exact:
            self.assertIsNone(c["gumbel"])
            self.assertTrue(0 < c["weight"] < 1)
        self.assertAlmostEqual(sum(c["weight"] for c in exact), 1, places=4)
        for draw in ("topk", "beam"):
            few = self.answer("-n", 3, "-k", 0, "--constraint", "mask", "--draw", draw)["all_candidates"]
            self.assertEqual(len({c["text"] for c in few}), 3)
            self.assertTrue(all(c["gumbel"] is None and c["weight"] is None for c in few))
            if draw == "topk":
                self.assertEqual([c["text"] for c in few], [c["text"] for c in exact[:3]])
        sbs = self.answer("-n", 4, "-k", 0, "--constraint", "mask", "--draw", "sbs")["all_candidates"]
        g = [c["gumbel"] for c in sbs]
        self.assertEqual((len({c["text"] for c in sbs}), g), (4, sorted(g, reverse=True)))
        self.assertTrue(all(c["weight"] > 0 for c in sbs))
        other = self.answer("-n", 4, "-k", 0, "--constraint", "mask", "--draw", "sbs", "--seed", 2)["all_candidates"]
        self.assertNotEqual([c["gumbel"] for c in other], g)
        self.refused(2, "constraint mask", "bestof", "--novelty", self.novelty, "--alignment", "none", "--prompt", "x",
                     "--draw", "topk")
        self.refused(2, '--draw: "best"; it is iid, sbs, beam, topk or exact', "bestof", "--draw", "best")

    def test_run_and_score_know_names(self):
        text = self.ok("run", "--model", self.novelty, "--prompt", "x", "--taxonomy", self.taxonomy, "--constraint", "mask")
        self.assertIn(text.decode().rstrip("\n"), self.names)
        score = ("score", "--model", self.alignment, "--prompt", "x", "--candidates", "-", "--taxonomy", self.taxonomy, "--json")
        r = json.loads(self.ok(*score, stdin=b"Chess\nGo\nTennis\nnothing\n"))
        self.assertEqual([c["valid"] for c in r["all_candidates"]], [True, True, True, False])
        self.assertEqual(len(json.loads(self.ok(*score, stdin=b"a\nb\nc\nd\ne\nf\n"))["candidates"]), 6)  # all of them
        r = json.loads(self.ok(*score, "--diversity", "parent", stdin=b"Chess\nGo\nTennis\nnothing\n"))
        self.assertEqual(len(r["candidates"]), 3)
        self.assertEqual(len(json.loads(self.ok(*score, "--keep", 2, stdin=b"a\nb\nc\n"))["candidates"]), 2)

    # ---- how many

    def test_stop_rules(self):
        base = ("-n", 4, "-k", 2, "--constraint", "mask")
        whole = self.answer(*base)
        self.assertEqual(whole["confidence"]["n_used"], 4)
        more = self.answer(*base, "--n-max", 64)
        self.assertEqual((more["n"], more["confidence"]["n_used"], len(more["all_candidates"])), (4, 64, 64))
        self.assertEqual([c["tokens"] for c in more["all_candidates"][:4]], [c["tokens"] for c in whole["all_candidates"]])
        stable = self.answer(*base, "--n-max", 64, "--stop-when", "stable:6")
        self.assertTrue(8 <= stable["confidence"]["n_used"] < 64, stable["confidence"])
        budget = self.answer("-n", 64, "--max-tokens", 8, "--token-budget", 40, "--ignore-eos")
        self.assertEqual(budget["confidence"]["n_used"], 5)
        hopeless = self.answer("-n", 64, "-k", 1, "--mode", "loglik-sum", "--stop-when", "hopeless:1", "--max-tokens", 24)
        given_up = [c for c in hopeless["all_candidates"] if "hopeless" in c]
        self.assertTrue(given_up and all(c["hopeless"] is True and c["score"] is None for c in given_up))
        plain = self.answer("-n", 64, "-k", 1, "--mode", "loglik-sum", "--max-tokens", 24)
        self.assertEqual(hopeless["candidates"], plain["candidates"])
        self.assertFalse(any("hopeless" in c for c in plain["all_candidates"]))
        args = ("bestof", "--novelty", self.novelty, "--alignment", "none", "--prompt", "x")
        self.refused(2, '--stop-when: "soon"; it is a list of stable:R, margin:X and hopeless:B', *args, "--stop-when", "soon")
        self.refused(2, "n_max = 3", *args, "-n", 4, "--n-max", 3)
        self.refused(2, "token_budget = 5", *args, "--token-budget", 5)

    def test_deadline(self):
        base = ("bestof", "--novelty", self.novelty, "--alignment", self.alignment, "--prompt", "x", "-n", 256,
                "--max-tokens", 200, "--ignore-eos", "--json")
        code, out, err = run(*base, "--deadline-ms", 1)  # 51,200 tokens take longer
        if code == 0:
            self.assertLess(json.loads(out)["confidence"]["n_used"], 256)
        else:
            self.assertEqual(code, 1)
            self.assertIn("deadline_ms = 1 passed", err)
        self.assertEqual(self.answer("--deadline-ms", 3600000)["candidates"], self.answer()["candidates"])

    # ---- who is kept

    def test_diversity(self):
        def kept(*args):
            return [c["text"] for c in self.answer("-n", 6, "-k", 0, "--constraint", "mask", "--draw", "exact", *args)["candidates"]]
        whole = kept()
        self.assertEqual(len(whole), 6)
        def greedy(tags):
            taken, seen = [], set()
            for name in whole:
                mine = tags(self.names[name])
                if not mine & seen:
                    taken.append(name)
                    seen |= mine
            return taken
        parent = greedy(lambda row: {row[3]} if len(row) > 3 else set())
        keywords = greedy(lambda row: set(row[2].split(", ")))
        self.assertEqual(kept("--diversity", "parent"), parent)
        self.assertEqual(kept("--diversity", "keywords"), keywords)
        self.assertTrue(len(parent) < 6 and len(keywords) < 6 and parent != keywords)
        self.refused(2, "it needs a taxonomy", "bestof", "--novelty", self.novelty, "--alignment", "none", "--prompt", "x",
                     "--diversity", "parent")

    def test_blend(self):
        def order(blend):
            r = self.answer("-n", 16, "-k", 0, "--blend", blend)["candidates"]
            keys = [(1 - blend) * c["score"] + blend * c["logprob"] for c in r]
            self.assertEqual(keys, sorted(keys, reverse=True))
            return [c["index"] for c in r]
        self.assertEqual(order(0), [c["index"] for c in self.answer("-n", 16, "-k", 0)["candidates"]])
        self.assertNotEqual(order(0.5), order(0))
        self.refused(2, '--blend: "2" is not a number from 0 to 1', "bestof", "--blend", 2)

    # ---- adapters

    def test_adapters(self):
        def answer(*args):
            r = self.bestof("--prompt", "abc", "-n", 4, "-k", 0, "--all", *args)["all_candidates"]
            return [(c["tokens"], c["logprob"]) for c in r], [c["score"] for c in r]
        plain, scores = answer()
        self.assertEqual(answer("--novelty-adapter", self.nothing), (plain, scores))
        drawn, _ = answer("--novelty-adapter", self.strong)
        self.assertNotEqual(drawn, plain)
        named = ("--adapter", f"s={self.strong}")
        self.assertEqual(answer(*named, "--novelty-adapter", "s")[0], drawn)
        same, scored = answer("--alignment-adapter", self.strong)
        self.assertEqual(same, plain)
        self.assertNotEqual(scored, scores)
        self.assertEqual(answer(*named, "--novelty-adapter", "s", "--alignment-adapter", "s")[0], drawn)
        one = ("--alignment", self.novelty)  # one file in both roles, one adapter in both
        both = answer(*one, *named, "--novelty-adapter", "s", "--alignment-adapter", "s")
        self.assertEqual(both[0], drawn)
        self.assertEqual(answer(*one, *named, "--novelty-adapter", "s", "--alignment-adapter", "s", "--off", "shared-trunk"), both)
        text = self.path("two.txt")
        with open(text, "w") as f:
            f.write("one\ntwo\n")
        score = ("score", "--model", self.alignment, "--prompt", "A", "--candidates", text)
        self.assertNotEqual(self.ok(*score), self.ok(*score, "--alignment-adapter", self.strong))
        args = ("bestof", "--novelty", self.novelty, "--alignment", "none", "--prompt", "x")
        self.refused(1, "no-such", *args, "--novelty-adapter", "no-such")
        self.refused(2, '--adapter: "s" is used by neither', *args, *named)
        self.refused(2, '--adapter: "s" is given twice', *args, *named, *named, "--novelty-adapter", "s")
        for item in ("s", "=x", "s="):
            self.refused(2, f'--adapter: "{item}" is not NAME=FOLDER', *args, "--adapter", item)

    # ---- the engine

    def test_off_and_engine_options_change_no_bit(self):
        base = ("-n", 24, "-k", 0, "--constraint", "mask", "--full-logprob")
        def answer(*args):
            r = self.answer(*base, *args)
            return (r["candidates"], r["all_candidates"], r["confidence"]), r["accounting"]
        want, work = answer()
        rows = work["rows_prefill"] + work["rows_decode"] + work["rows_score"]
        for off in ("fork", "groups", "coalesce", "score-tree", "overlap", "prefix-cache", "forced", "restricted-head",
                    "shared-trunk", "score-cache", "fork,score-tree", "all"):
            got, account = answer("--off", off)
            self.assertEqual(got, want, off)
            if off in ("fork", "coalesce", "score-tree", "all"):
                self.assertGreater(account["rows_prefill"] + account["rows_decode"] + account["rows_score"], rows, off)
        self.assertEqual(answer("--off", "fork", "--off", "score-tree")[1]["rows_score"], answer("--off", "fork,score-tree")[1]["rows_score"])
        for more in (("--score-rows", 1), ("--batch-invariant",), ("--batch-invariant=true",), ("--batch-invariant=false",), ("--priority", -7),
                     ("--cache-salt", "s"), ("--page-slots", 32), ("--max-rows", 9), ("--ctx", 100)):
            self.assertEqual(answer(*more)[0], want, more)
        args = ("bestof", "--novelty", self.novelty, "--alignment", "none", "--prompt", "x")
        self.refused(2, '--off: "spoon"; it is fork, groups,', *args, "--off", "spoon")
        self.refused(2, '--score-rows: "-1" is not a whole number from 0 to 65536', *args, "--score-rows", -1)
        self.refused(2, '--priority: "high"', *args, "--priority", "high")
        self.refused(2, "--cache-salt: it is empty", *args, "--cache-salt", "")

    def test_score_cache(self):
        base = ("-n", 8, "-k", 0, "--max-tokens", 4)
        want, file = self.answer(*base), self.path("scores.db")
        first = self.answer(*base, "--score-cache-file", file)
        self.assertEqual((first["candidates"], first["accounting"]["scores_cached"]), (want["candidates"], 0))
        for more in ((), ("--score-cache", "1M")):
            again = self.answer(*base, "--score-cache-file", file, *more)
            self.assertEqual(again["candidates"], want["candidates"])
            self.assertEqual(again["accounting"]["scores_cached"], again["confidence"]["distinct"])
        for more in (("--off", "score-cache"), ("--cache-salt", "other")):
            again = self.answer(*base, "--score-cache-file", file, *more)
            self.assertEqual((again["candidates"], again["accounting"]["scores_cached"]), (want["candidates"], 0), more)
        table = self.ok("bestof", "--novelty", self.novelty, "--alignment", self.alignment, "--prompt", "Likes: ", "--taxonomy",
                        self.taxonomy, *base, "--score-cache-file", file)
        self.assertIn(b" scores known; ", table)
        self.refused(2, '--score-cache: "lots" is not a number of bytes', "bestof", "--score-cache", "lots")

    # ---- lists, switches, names

    def test_lists(self):
        def drawn(*args):
            return [c["tokens"] for c in self.bestof("--prompt", "abc", "--all", "-n", 3, "--max-tokens", 6, "--temperature", 0, *args)["all_candidates"]]
        bias = ("--logit-bias", "100=60,101=50", "--frequency-penalty", 20)
        self.assertEqual(drawn("--logit-bias", "100=60", "--logit-bias", "101=50", "--frequency-penalty", 20), drawn(*bias))
        whole = drawn(*bias)
        self.assertEqual(whole[0][:2], [100, 101] if whole[0][1] == 101 else [100, 100])
        for stops in (("--stop-token-id", 101), ("--stop-token-ids", "7,101"), ("--stop-token-ids", 7, "--stop-token-id", 101)):
            self.assertEqual(drawn(*bias, *stops), [c[:c.index(101)] for c in whole], stops)

    # If this fails, log-probs that were asked for are not shown, or are another id's.
    def test_log_probs(self):
        ids = self.path("log_probs.ids")
        def write(list):
            with open(ids, "w") as f:
                f.write(" ".join(map(str, list)))
        def run(*args):
            return json.loads(self.ok("run", "--model", self.novelty, "--prompt-ids", ids, "--json", *args))
        write([40, 50, 60])
        c = run("--max-tokens", 4, "--ignore-eos", "--top-logprobs", 3, "--logprob-token-id", 70, "--logprob-token-ids", "5,6")["candidates"][0]
        write([40, 50, 60] + c["tokens"])
        read = run("--max-tokens", 0, "--prompt-logprobs", "--prompt-top-logprobs", 3)
        self.assertEqual((read["candidates"][0]["tokens"], read["accounting"]["rows_decode"]), ([], 0))
        self.assertEqual([p["id"] for p in read["prompt_logprobs"]], [40, 50, 60] + c["tokens"])
        self.assertEqual(read["prompt_logprobs"][0], {"id": 40, "logprob": None, "top": []})
        for drawn, told in zip(c["logprobs"], read["prompt_logprobs"][3:]):
            self.assertEqual((drawn["logprob"], drawn["top"]), (told["logprob"], told["top"]))
            self.assertEqual([p["id"] for p in drawn["ids"]], [70, 5, 6])
            for p in drawn["ids"]:
                self.assertIn(p["logprob"], [t["logprob"] for t in drawn["top"] if t["id"] == p["id"]] or [p["logprob"]])
                self.assertLessEqual(p["logprob"], drawn["top"][0]["logprob"])
        said = c["logprobs"][0]["top"][0]["id"]  # the same id by both ways
        write([40, 50, 60])
        again = run("--max-tokens", 4, "--ignore-eos", "--logprob-token-id", said)["candidates"][0]["logprobs"][0]
        self.assertEqual(again, {"logprob": c["logprobs"][0]["logprob"], "ids": [c["logprobs"][0]["top"][0]]})
        self.assertNotIn("top", run("--prompt-logprobs")["prompt_logprobs"][1])
        self.assertNotIn("prompt_logprobs", run())
        base = ("run", "--model", self.novelty, "--prompt", "x")
        for flags in (("--top-logprobs", 1), ("--prompt-logprobs",), ("--prompt-top-logprobs", 1), ("--logprob-token-id", 3)):
            self.refused(2, f"{flags[0]}: it adds to the JSON; give --json too", *base, *flags)
        self.refused(2, "max_tokens = 0: nothing would be drawn", *base, "--max-tokens", 0)
        self.refused(2, "prompt_top_logprobs = 1: prompt_logprobs is off", *base, "--prompt-top-logprobs", 1, "--json")
        self.refused(2, "logprob_token_ids: id 999999", *base, "--logprob-token-id", 999999, "--json")

    # If this fails, a text has what its reader asked to leave out, or lacks what he asked for.
    def test_shown_text(self):
        def texts(*args):
            return [c["text"] for c in self.bestof("--prompt", "abc", "-n", 2, "--max-tokens", 3, "--all", *args)["all_candidates"]]
        end = ("--logit-bias", "100=60", "--logit-bias", "2=50", "--frequency-penalty", 12)
        plain = texts(*end)
        special = self.ok("tokenize", "--model", self.novelty, "--decode", "2", "--special").decode().rstrip("\n")
        self.assertEqual(texts(*end, "--include-stop-str-in-output"), plain)  # an end token is a special token
        self.assertEqual(texts(*end, "--include-stop-str-in-output", "--skip-special-tokens=false"), [t + special for t in plain])
        self.assertEqual(texts(*end, "--skip-special-tokens=false"), plain)  # it ended the candidate
        drawn = ("--logit-bias", "2=60", "--ignore-eos")
        self.assertEqual(texts(*drawn), ["", ""])
        self.assertEqual(texts(*drawn, "--skip-special-tokens=false"), [special * 3] * 2)
        stop = ("--temperature", 0, "--stop", plain[0])
        self.assertEqual(texts(*end, *stop), ["", ""])
        self.assertEqual(texts(*end, *stop, "--include-stop-str-in-output"), [plain[0]] * 2)

    # If this fails, a flag cannot take back what a recipe says, or a key of the recipe is not read.
    def test_recipe_keys(self):
        folder = self.path("recipes")
        os.makedirs(folder, exist_ok=True)
        recipe = os.path.join(folder, "r.json")
        def answer(more, *flags, sampling=None, novelty=None, alignment=None):
            with open(recipe, "w") as f:
                json.dump({"novelty": {"model": "../novelty.gguf", **(novelty or {})},
                           "alignment": {"model": "../alignment.gguf", **(alignment or {})}, "taxonomy": "../t.tsv",
                           "sampling": {"max_tokens": 6, **(sampling or {})}, "n": 12, "keep": 0, **more}, f)
            return json.loads(self.ok("bestof", "--recipe", recipe, "--prompt", "Likes: ", "--json", "--all", *flags))
        plain = answer({})["candidates"]
        mask = {"constraint": "mask", "full_logprob": True}
        masked = answer(mask)
        self.assertTrue(all(c["valid"] and c["full_logprob"] is not None for c in masked["candidates"]))
        self.assertEqual(answer(mask, "--constraint", "off", "--full-logprob=false")["candidates"], plain)
        self.assertIsNone(answer(mask, "--full-logprob=false")["candidates"][0]["full_logprob"])
        diverse = answer({**mask, "diversity": "parent"})["candidates"]
        self.assertEqual(len([c for c in diverse if c["text"] in ("Chess", "Go")]), 1)
        self.assertEqual(answer({**mask, "diversity": "parent"}, "--diversity", "off")["candidates"], masked["candidates"])
        self.assertEqual(answer({"n_max": 30, "stop_when": "stable:30"})["confidence"]["n_used"], 30)
        self.assertEqual(answer({"n_max": 30}, "--n-max", 0)["confidence"]["n_used"], 12)
        self.assertEqual(answer({"constraint": "reject", "reject_budget": 2})["accounting"]["redraws"], 24)
        self.assertEqual(answer({"token_budget": 18}, "--ignore-eos")["confidence"]["n_used"], 3)
        self.assertEqual(len(answer({"draw": "topk", "constraint": "mask", "n": 2})["candidates"]), 2)
        self.assertNotEqual([c["index"] for c in answer({"blend": 1})["candidates"]], [c["index"] for c in plain])
        said = answer({"prompt_logprobs": True, "prompt_top_logprobs": 2},
                      sampling={"logprob_token_ids": [7], "skip_special_tokens": False, "include_stop_str_in_output": True})
        self.assertEqual(len(said["prompt_logprobs"][1]["top"]), 2)
        self.assertEqual(said["candidates"][0]["logprobs"][0]["ids"][0]["id"], 7)
        self.assertNotIn("prompt_logprobs", answer({"prompt_logprobs": True}, "--prompt-logprobs=false"))
        engine = {"threads": 1, "backend": "cpu", "cpu": "auto", "kv_type": "f32", "kv_pool": "64M", "ctx": 128, "max_rows": 50,
                  "max_branches": 40, "page_slots": 8, "score_rows": 3, "score_cache": "2M", "score_cache_file": "s.db",
                  "off": "coalesce", "batch_invariant": False, "pin_threads": True, "kv_touch": True,
                  "deadline_ms": 3600000, "priority": 2, "cache_salt": "s"}
        slow = answer(engine)
        self.assertEqual(slow["candidates"], plain)
        self.assertTrue(os.path.exists(os.path.join(folder, "s.db")))  # beside the recipe
        self.assertGreater(slow["accounting"]["rows_decode"], answer({})["accounting"]["rows_decode"])
        self.assertEqual(answer(engine, "--off", "groups")["accounting"]["rows_decode"], answer({})["accounting"]["rows_decode"])
        lora = answer({}, novelty={"adapter": "../strong"})["candidates"]
        self.assertNotEqual([c["logprob"] for c in lora], [c["logprob"] for c in plain])
        self.assertEqual(answer({}, "--novelty-adapter", self.strong)["candidates"], lora)
        self.assertEqual(answer({}, "--novelty-adapter", self.nothing, novelty={"adapter": "../strong"})["candidates"], plain)
        scored = answer({}, alignment={"adapter": "../strong"})["candidates"]
        self.assertNotEqual({c["score"] for c in scored}, {c["score"] for c in plain})
        answer({}, "--alignment", "none", alignment={"adapter": "../strong"})  # nothing scores, so it is not read
        for key, value, words in (("kv_pool", "lots", "r.json: kv_pool: \"lots\" is not a number of bytes"),
                                  ("draw", "best", "r.json: draw: \"best\"; it is iid, sbs"),
                                  ("batch_invariant", 0, "r.json: batch_invariant"),
                                  ("n_maximum", 3, "r.json: n_maximum: unknown key; known here are")):
            with open(recipe, "w") as f:
                json.dump({key: value}, f)
            self.refused(1, words, "bestof", "--recipe", recipe, "--prompt", "x")

    # If this fails, a command takes options that it does not read.
    def test_each_command_has_what_it_reads(self):
        run_args, score = ("run", "--model", self.novelty, "--prompt", "x"), ("score", "--model", self.novelty, "--prompt", "x", "--candidates", "-")
        for option in ("--n", "--n-max", "--stop-when", "--keep", "--blend", "--diversity", "--mode", "--alignment-adapter"):
            self.refused(2, f"unknown option {option}", *run_args, option, 1)
        for option in ("--n", "--n-max", "--draw", "--constraint", "--seed", "--temperature", "--blend", "--novelty-adapter"):
            self.refused(2, f"unknown option {option}", *score, option, 1)
        rows = {o["name"]: o for o in json.loads(self.ok("options", "--json"))["options"]}
        parts = {"bestof": {o["part"] for o in rows.values()}, "run": {"draw", "sampling", "job", "engine"},
                 "score": {"score", "keep", "job", "engine"}}
        for command, has in parts.items():
            text = self.ok(command, "--help").decode()
            for o in rows.values():
                self.assertEqual(f"--{o['flag']} " in text, o["part"] in has, (command, o["name"]))
            self.assertTrue(all(len(line) <= 120 for line in text.splitlines()))


if __name__ == "__main__":
    main()
