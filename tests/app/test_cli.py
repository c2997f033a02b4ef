"""The program as a person and a script use it: every command, its JSON, its exit codes, and what wrong input is told.

Runs against tiny models that it makes itself. Standard library alone.
"""
import json
import os
import unittest

from util_cli import ROOT, SMOLLM2, Program, main, run

RESULT = {"prompt", "n", "candidates", "confidence", "accounting", "timings_ms"}
CANDIDATE = {"rank", "index", "text", "tokens", "score", "logprob", "full_logprob", "gumbel", "weight", "votes", "valid", "finish_reason"}
CONFIDENCE = {"logprob", "entropy", "vote_share", "distinct", "margin", "valid_mass", "n_used"}
ACCOUNTING = {"rows_prefill", "rows_decode", "rows_score", "rows_reused", "scores_cached", "rows_replayed", "redraws",
              "rows_flat_prefill", "rows_flat_decode", "rows_flat_score", "kv_bytes"}
TIMINGS = {"load", "queue", "prefill", "decode", "score", "host", "total"}


class Cli(Program):
    # ---- bestof

    def test_json_has_every_field(self):
        r = self.bestof("--prompt", "Hello there", "-n", 8, "-k", 3, "--all", "--top-logprobs", 2)
        self.assertEqual(set(r), RESULT | {"all_candidates"})
        self.assertEqual(set(r["confidence"]), CONFIDENCE)
        self.assertEqual(set(r["accounting"]), ACCOUNTING)
        self.assertEqual(set(r["timings_ms"]), TIMINGS)
        self.assertEqual(r["prompt"], "Hello there")
        self.assertEqual(len(r["candidates"]), 3)
        self.assertEqual(len(r["all_candidates"]), 8)
        self.assertEqual([c["index"] for c in r["all_candidates"]], list(range(8)))
        for rank, c in enumerate(r["candidates"], 1):
            self.assertEqual(set(c), CANDIDATE | {"logprobs"})
            self.assertEqual(c["rank"], rank)
            self.assertIsNone(c["valid"])
            self.assertIn(c["finish_reason"], ("stop", "length"))
            self.assertEqual(len(c["logprobs"][0]["top"]), 2)
        self.assertIsNone(r["confidence"]["valid_mass"])
        self.assertEqual(r["confidence"]["n_used"], 8)
        self.assertGreater(r["accounting"]["kv_bytes"], 0)

    def test_none_ranks_by_logprob(self):
        r = json.loads(self.ok("bestof", "--novelty", self.novelty, "--alignment", "none", "--prompt", "x", "-n", 6, "-k", 0, "--json"))
        lp = [c["logprob"] for c in r["candidates"]]
        self.assertEqual(lp, sorted(lp, reverse=True))
        self.assertTrue(all(c["score"] is None for c in r["candidates"]))
        self.assertEqual(r["accounting"]["rows_score"], 0)
        self.assertIsNone(r["confidence"]["margin"])

    def test_same_candidates_for_every_n(self):
        many = self.bestof("--prompt", "Once upon", "-n", 16, "--all", "--seed", 5)["all_candidates"]
        for extra in ((), ("--threads", 1), ("--page-slots", 64)):
            few = self.bestof("--prompt", "Once upon", "-n", 3, "--all", "--seed", 5, *extra)["all_candidates"]
            for a, b in zip(few, many):
                self.assertEqual((a["tokens"], a["logprob"], a["score"]), (b["tokens"], b["logprob"], b["score"]))
        other = self.bestof("--prompt", "Once upon", "-n", 3, "--all", "--seed", 6)["all_candidates"]
        self.assertNotEqual([c["tokens"] for c in other], [c["tokens"] for c in many[:3]])

    def test_prompt_ids_equal_the_prompt(self):
        ids = self.ok("tokenize", "--model", self.novelty, "Hello there", "--add-special")
        path = self.path("ids.txt")
        with open(path, "wb") as f:
            f.write(ids)
        a = self.bestof("--prompt", "Hello there", "-n", 4, "--all")
        b = self.bestof("--prompt-ids", path, "-n", 4, "--all")
        self.assertEqual([c["tokens"] for c in a["all_candidates"]], [c["tokens"] for c in b["all_candidates"]])

    def test_one_is_not_many(self):
        args = ("bestof", "--novelty", self.novelty, "--alignment", "none", "--prompt", "a", "--max-tokens", 1, "--ignore-eos", "-n")
        self.assertRegex(self.ok(*args, 1).decode(), "\n1 candidate, 1 distinct, 1 kept; .* 1 separate run takes ")
        self.assertRegex(self.ok(*args, 2).decode(), "\n2 candidates, .* 2 separate runs take ")
        run1 = ("run", "--model", self.novelty, "--prompt", "a", "--ignore-eos", "--max-tokens")
        self.assertIn(" 1 new token;", run(*run1, 1)[2])
        self.assertIn(" 2 new tokens;", run(*run1, 2)[2])

    def test_table_and_modes(self):
        for mode in ("loglik-mean", "loglik-sum", "reward"):
            out = self.ok("bestof", "--novelty", self.novelty, "--alignment", self.alignment, "--prompt", "a", "-n", 4, "--mode", mode)
            self.assertIn(b"rank", out.splitlines()[0])
            self.assertIn(b"rows computed", out.splitlines()[-1])
        r = self.bestof("--prompt", "a", "-n", 4, "--mode", "judge", "--label", "a", "--label", "b", "--suffix", "?")
        self.assertTrue(all(0 <= c["score"] <= 1 for c in r["candidates"]))

    def test_recipe_and_taxonomy(self):
        taxonomy, recipe = self.path("t.tsv"), self.path("r.json")
        with open(taxonomy, "w") as f:
            f.write("# id name keywords\n1\tCooking\tpots, pans\n2\tChess\tboards\n")
        with open(recipe, "w") as f:
            json.dump({"novelty": {"model": "novelty.gguf", "template": "Likes {history} ({keywords}). Next: "},
                       "alignment": {"model": "alignment.gguf", "mode": "loglik-sum", "template": "Fan of {history_1}: "},
                       "taxonomy": "t.tsv", "sampling": {"max_tokens": 5}, "n": 6, "keep": 2, "seed": 3}, f)
        r = json.loads(self.ok("bestof", "--recipe", recipe, "--history", "Cooking", "--history", "Chess", "--json"))
        self.assertEqual(r["prompt"], "Likes Cooking, Chess (pots, pans; boards). Next: ")
        self.assertEqual((r["n"], len(r["candidates"])), (6, 2))
        self.assertTrue(all(c["valid"] is False for c in r["candidates"]))
        r = json.loads(self.ok("bestof", "--recipe", recipe, "--history", "Chess", "-n", 4, "-k", 4, "--max-tokens", 2, "--json"))
        self.assertEqual(r["n"], 4)  # flags win
        self.assertTrue(all(len(c["tokens"]) <= 2 for c in r["candidates"]))
        self.refused(2, "Knitting", "bestof", "--recipe", recipe, "--history", "Knitting")
        with open(recipe, "w") as f:
            f.write('{"novelty": {"modle": "x"}}')
        self.refused(1, "modle", "bestof", "--recipe", recipe, "--prompt", "x")
        free = self.bestof("--prompt", "x", "--taxonomy", taxonomy, "-n", 2, "-k", 0)
        self.assertTrue(all(c["valid"] is False for c in free["candidates"]))

    # If this fails, a flag changes a part of the recipe, and the rest answers for a job that nobody asked for.
    def test_flags_override_a_recipe_before_it_is_filled(self):
        def answer(alignment, *flags, history=("Cooking", "Chess")):
            recipe = self.path("over.json")
            with open(recipe, "w") as f:
                json.dump({"novelty": {"model": "novelty.gguf", "template": "Likes {history_1}. Next: "},
                           "alignment": alignment, "sampling": {"max_tokens": 4}, "n": 6, "keep": 0}, f)
            names = [x for h in history for x in ("--history", h)]
            r = json.loads(self.ok("bestof", "--recipe", recipe, *names, "--json", *flags))
            return [(c["tokens"], c["score"]) for c in r["candidates"]]
        template = {"template": "Fan of {history_2}: "}
        want = answer({"model": "alignment.gguf", **template})
        self.assertEqual(answer({"model": "none", **template}, "--alignment", self.alignment, history=("Cooking", "Chess")), want)
        self.assertEqual(answer(template, "--alignment", self.alignment), want)
        self.assertNotEqual(answer({"model": "alignment.gguf"}, history=("Cooking",)), want)  # the template counts
        # what is not read is not filled: {history_2} has no value here
        none = answer({"model": "alignment.gguf", **template}, "--alignment", "none", history=("Cooking",))
        self.assertTrue(all(score is None for _, score in none))
        suffix = {"model": "alignment.gguf", "mode": "reward", "suffix": " said {history_2}"}
        self.assertEqual(answer(suffix, "--mode", "loglik-sum", history=("Cooking",)),
                         answer({"model": "alignment.gguf", "mode": "loglik-sum"}, history=("Cooking",)))
        self.assertEqual(answer({"model": "alignment.gguf", "mode": "judge", "labels": ["a", "b"]}, "--mode", "reward", history=("Cooking",)),
                         answer({"model": "alignment.gguf", "mode": "reward"}, history=("Cooking",)))
        self.refused(2, "vibes", "bestof", "--recipe", self.path("over.json"), "--history", "Cooking", "--mode", "vibes")

    def test_the_built_in_recipe_has_a_name(self):
        long = self.path("long.gguf")  # the recipe's prompt is longer than a tiny model's context
        self.ok("tiny", long, "--ctx", 1024)
        args = ("--novelty", long, "--alignment", long, "--history", "Chess", "-n", 2, "--json")
        named, unnamed = (json.loads(self.ok("bestof", *more, *args)) for more in (("--recipe", "interests"), ()))
        self.assertEqual(named["candidates"], unnamed["candidates"])
        self.refused(1, "hobbies: No such file", "bestof", "--recipe", "hobbies", *args)

    def test_special_tokens_in_a_prompt_are_text(self):
        plain = json.loads(self.ok("tokenize", "--model", self.novelty, "<|im_end|>", "--json"))
        special = json.loads(self.ok("tokenize", "--model", self.novelty, "<|im_end|>", "--special", "--json"))
        self.assertGreater(plain["count"], 1)
        self.assertEqual(special["count"], 1)

    # ---- sampling options: each with what it changes

    def drawn(self, *args):
        """all_candidates of one prompt."""
        return self.bestof("--prompt", "abc", "--all", "--threads", 1, *args)["all_candidates"]

    def tokens(self, *args):
        return [c["tokens"] for c in self.drawn(*args)]

    def id_of(self, text):
        ids = self.ok("tokenize", "--model", self.novelty, text).split()
        self.assertEqual(len(ids), 1, text)
        return int(ids[0])

    def test_logit_bias(self):
        self.assertEqual(self.tokens("-n", 3, "--max-tokens", 4, "--logit-bias", "100=60"), [[100] * 4] * 3)
        two = self.tokens("-n", 8, "--max-tokens", 4, "--logit-bias", "100=60", "--logit-bias", "101=60")
        self.assertEqual({t for c in two for t in c}, {100, 101})
        banned = self.tokens("-n", 3, "--max-tokens", 4, "--logit-bias", "100=60", "--logit-bias", "101=50", "--logit-bias", "100=-inf")
        self.assertEqual(banned, [[101] * 4] * 3)

    def test_min_tokens(self):
        end = ("-n", 3, "--max-tokens", 6, "--logit-bias", "2=60")  # the end token of a tiny model
        for c in self.drawn(*end):
            self.assertEqual((c["tokens"], c["finish_reason"]), ([], "stop"))
        for c in self.drawn(*end, "--min-tokens", 3):
            self.assertEqual((len(c["tokens"]), c["finish_reason"]), (3, "stop"))
        for c in self.drawn(*end, "--ignore-eos"):
            self.assertEqual((c["tokens"], c["finish_reason"]), ([2] * 6, "length"))

    def test_filters(self):
        base = ("-n", 8, "--max-tokens", 4, "--logit-bias", "2=-inf")
        self.assertGreater(len({tuple(t) for t in self.tokens(*base)}), 4)
        greedy = self.tokens(*base, "--temperature", 0)
        self.assertEqual(len({tuple(t) for t in greedy}), 1)
        for only_best in (("--top-k", 1), ("--top-p", "0.000001"), ("--min-p", 1)):
            self.assertEqual(self.tokens(*base, *only_best), greedy, only_best)
        typical = self.tokens(*base, "--typical-p", "0.000001")  # one id a step, and seldom the most probable
        self.assertEqual(len({tuple(t) for t in typical}), 1)
        self.assertNotEqual(typical, greedy)

    def test_penalties(self):
        # Greedy between three ids so far apart that the model's own logits do not matter; each line is arithmetic.
        ids = [self.id_of(t) for t in "xyz"]
        x, y, z = ids
        base = ["-n", 2, "--max-tokens", 5, "--temperature", 0]
        for i, v in zip(ids, (200, 150, 100)):
            base += ["--logit-bias", f"{i}={v}"]
        self.assertEqual(self.tokens(*base), [[x] * 5] * 2)
        # once each: x 125, y 75, z 100
        self.assertEqual(self.tokens(*base, "--presence-penalty", 75), [[x, y, x, x, x]] * 2)
        # x 200, y 150, x 125, z 100, y 75; left: x 50, y 0, z 25
        self.assertEqual(self.tokens(*base, "--frequency-penalty", 75), [[x, y, x, z, y]] * 2)
        # x 50, y 37.5, z 25: all drawn once, then the largest of these
        self.assertEqual(self.tokens(*base, "--repetition-penalty", 4), [[x, y, z, x, x]] * 2)
        # the same after a prompt of x and z: x 50, y 150, z 25, and y 37.5 once drawn; the others look at the output alone
        def after(*args):
            return [c["tokens"] for c in self.bestof("--prompt", "xz", "--all", "--threads", 1, *base, *args)["all_candidates"]]
        self.assertEqual(self.ok("tokenize", "--model", self.novelty, "xz").split(), [b"%d" % x, b"%d" % z])
        self.assertEqual(after("--repetition-penalty", 4), [[y, x, x, x, x]] * 2)
        self.assertEqual(after("--presence-penalty", 75), [[x, y, x, x, x]] * 2)
        self.assertEqual(after("--frequency-penalty", 75), [[x, y, x, z, y]] * 2)

    def test_stops(self):
        a, b = self.id_of("a"), self.id_of("b")
        base = ("-n", 3, "--max-tokens", 6, "--temperature", 0, "--frequency-penalty", 10,
                "--logit-bias", f"{a}=95", "--logit-bias", f"{b}=90")
        c = self.drawn(*base)[0]
        self.assertEqual((c["text"], c["finish_reason"]), ("ababab", "length"))
        for stop, text, n in (("ba", "a", 3), ("b", "a", 2), ("aba", "", 3)):
            for c in self.drawn(*base, "--stop", "zzz", "--stop", stop):
                self.assertEqual((c["text"], c["finish_reason"], len(c["tokens"])), (text, "stop", n), stop)
        for end in (("--stop-token-id", b), ("--end", "b"), ("--stop-token-id", 2, "--stop-token-id", b)):
            for c in self.drawn(*base, *end):
                self.assertEqual((c["text"], c["finish_reason"], c["tokens"]), ("a", "stop", [a]), end)
        self.refused(2, "exactly one", "run", "--model", self.novelty, "--prompt", "x", "--end", "b%^&")
        self.refused(2, "--stop-token-id", "run", "--model", self.novelty, "--prompt", "x", "--stop-token-id", "b")

    # ---- engine options: the answer stays, or is refused

    def test_engine_options_do_not_change_the_answer(self):
        def answer(*args):
            r = self.bestof("--prompt", "Once upon a time", "-n", 12, "-k", 0, "--all", "--seed", 9, *args)
            return r["candidates"], r["all_candidates"], r["confidence"]
        want = answer()
        for extra in (("--backend", "cpu"), ("--backend", "auto"), ("--cpu", "auto"), ("--kv-type", "f32"), ("--kv-pool", "64M"),
                      ("--max-branches", 12), ("--max-rows", 5), ("--ctx", 64), ("--page-slots", 8), ("--threads", 2)):
            self.assertEqual(answer(*extra), want, extra)
        bestof = ("bestof", "--novelty", self.novelty, "--alignment", "none", "--prompt", "Once upon a time", "-n", 12)
        self.refused(2, "max_branches", *bestof, "--max-branches", 11)
        self.refused(2, '--max-rows: "70000" is not a whole number from 0 to 65535', *bestof, "--max-rows", 70000)
        self.refused(2, "64", *bestof, "--ctx", 64, "--max-tokens", 64)
        self.refused(2, "kv_pool", *bestof, "--kv-pool", "1K")
        self.refused(2, '--page-slots: "9"; it is 0, 8, 16, 32 or 64', *bestof, "--page-slots", 9)
        self.refused(2, "avx9", *bestof, "--cpu", "avx9")
        self.refused(2, "abacus", *bestof, "--backend", "abacus")

    def test_less_exact_options_are_near(self):
        def logprobs(*args):
            c = self.drawn("-n", 1, "--temperature", 0, "--max-tokens", 3, "--logit-bias", "100=60", *args)[0]
            self.assertEqual(c["tokens"], [100] * 3)  # the same tokens: what differs is arithmetic alone
            return c["logprob"], c["score"]
        exact = logprobs("--kv-type", "f32")
        self.assertEqual(logprobs(), exact)
        portable = logprobs("--cpu", "portable")
        for kv, most in (("bf16", 0.3), ("int8", 1.0), ("fp8", 1.0)):
            near = logprobs("--kv-type", kv)
            self.assertNotEqual(near, exact, kv)
            for x, y in zip(near, exact):
                self.assertLess(abs(x - y), most, kv)
        for x, y in zip(portable, exact):
            self.assertLess(abs(x - y), 1e-3)

    def test_prompt_file(self):
        text = "Two lines\nand a tab\t, naïve"
        path = self.path("prompt.txt")
        with open(path, "wb") as f:
            f.write(text.encode())
        args = ("bestof", "--novelty", self.novelty, "--alignment", self.alignment, "--json", "-n", 4, "-k", 0)
        def answer(*more, **kw):
            r = json.loads(self.ok(*args, *more, **kw))
            return r["prompt"], r["candidates"]
        want = answer("--prompt", text)
        self.assertEqual(want[0], text)
        self.assertEqual(answer("--prompt-file", path), want)
        self.assertEqual(answer("--prompt-file", "-", stdin=text.encode()), want)
        self.assertNotEqual(answer("--prompt", text + "\n"), want)  # a file's bytes are taken as they are
        missing = self.path("no-prompt.txt")
        self.refused(1, missing, *args, "--prompt-file", missing)

    # ---- the other commands

    def test_run_streams(self):
        whole = 0
        for seed in range(1, 13):
            args = ("run", "--model", self.novelty, "--prompt", "abc", "--max-tokens", 8, "--seed", seed)
            text = json.loads(self.ok(*args, "--json"))["candidates"][0]["text"]
            if not text or "\ufffd" in text:  # a draw of bytes that are no UTF-8: JSON shows U+FFFD in their place
                continue
            self.assertEqual(self.ok(*args), text.encode() + b"\n")
            whole += 1
        self.assertGreater(whole, 0)
        self.ok("run", "--model", self.novelty, "--prompt", "hi", "--chat", "--max-tokens", 3)
        ids = self.path("chat-ids.txt")
        with open(ids, "w") as f:
            f.write("5 6")
        # before the model is loaded, and so before a pool that is too small
        self.refused(2, "--chat: the template takes text", "run", "--model", self.novelty, "--prompt-ids", ids, "--chat", "--kv-pool", "1K")
        self.refused(2, '"hi": no such argument is taken: forkcast run --model MODEL --prompt TEXT', "run", "hi")  # as others have it
        self.refused(2, "--system", "run", "--model", self.novelty, "--prompt", "hi", "--system", "x")

    def test_score(self):
        path = self.path("candidates.txt")
        with open(path, "w") as f:
            f.write("one\ntwo words\none\nline\\nbreak\n")
        lines = self.ok("score", "--model", self.alignment, "--prompt", "A ", "--candidates", path).decode().splitlines()
        self.assertEqual(lines[0], "index\trank\tscore\ttext")
        rows = [line.split("\t") for line in lines[1:]]
        self.assertEqual([r[0] for r in rows], ["0", "1", "2", "3"])
        self.assertEqual(rows[0][2], rows[2][2])
        self.assertEqual(rows[3][3], "line\\nbreak")
        r = json.loads(self.ok("score", "--model", self.alignment, "--prompt", "A ", "--candidates", "-", "--json", stdin=b"one\ntwo\n"))
        self.assertEqual(r["candidates"][0]["finish_reason"], "given")
        self.assertIsNone(r["candidates"][0]["logprob"])
        self.refused(1, "standard input: no candidates", "score", "--model", self.alignment, "--prompt", "A", "--candidates", "-")

    def test_tokenize_both_ways(self):
        text = "naïve café 😀\tend\n"
        ids = self.ok("tokenize", "--model", self.novelty, stdin=text.encode())
        self.assertEqual(self.ok("tokenize", "--model", self.novelty, "--decode", stdin=ids).decode(), text)
        self.refused(2, "the ids: id 1, \"x\", is not a decimal token id", "tokenize", "--model", self.novelty, "--decode", "12 x")
        self.assertEqual(self.ok("tokenize", "--model", self.novelty, "--decode", ""), b"")

    # If this fails, bytes of a prompt vanish without a word.
    @unittest.skipUnless(os.path.exists(os.path.join(ROOT, SMOLLM2)), f"{SMOLLM2} is absent")
    def test_a_byte_without_a_token_is_named(self):
        words = "byte 0xff at offset 3 has no token"
        text = b"hi \xff\xfe"
        self.refused(2, words, "tokenize", "--model", SMOLLM2, text.decode("utf-8", "surrogateescape"))
        self.refused(1, words, "tokenize", "--model", SMOLLM2, stdin=text)
        self.refused(2, "prompt: " + words, "run", "--model", SMOLLM2, "--prompt-file", "-", stdin=text)
        self.refused(2, "candidate 1: " + words, "score", "--model", SMOLLM2, "--prompt", "x", "--candidates", "-", stdin=b"ok\n" + text)

    def test_convert_inspect_and_run_again(self):
        out = self.path("q8.gguf")
        self.ok("convert", self.novelty, out, "--type", "Q8_0")
        info = json.loads(self.ok("inspect", out, "--json"))
        was = json.loads(self.ok("inspect", self.novelty, "--json"))
        self.assertEqual(info["config"], was["config"])
        self.assertEqual([t["name"] for t in info["tensors"]], [t["name"] for t in was["tensors"]])
        types = {t["name"]: t["type"] for t in info["tensors"]}
        self.assertEqual((types["blk.0.attn_q.weight"], types["blk.0.attn_norm.weight"]), ("Q8_0", "F32"))
        self.assertIn(b"blk.0.attn_q.weight", self.ok("inspect", out))
        self.ok("run", "--model", out, "--prompt", "abc", "--max-tokens", 4)
        self.refused(2, "Q9", "convert", self.novelty, self.path("x.gguf"), "--type", "Q9")
        self.assertFalse(os.path.exists(self.path("x.gguf")))
        self.refused(1, "/nowhere", "convert", self.novelty, "/nowhere/x.gguf", "--type", "F16")

    def test_a_model_of_nan_is_named(self):
        broken = self.path("broken.gguf")
        with open(self.novelty, "rb") as f:
            data = f.read()
        with open(broken, "wb") as f:
            f.write(data[:len(data) // 2] + b"\xff" * (len(data) - len(data) // 2))
        words = f"novelty model {broken}: it gives NaN or infinity"
        self.refused(1, words, "bestof", "--novelty", broken, "--alignment", self.alignment, "--prompt", "x")
        self.refused(1, words, "run", "--model", broken, "--prompt", "x")
        self.refused(1, f"alignment model {broken}: it gives NaN or infinity",
                     "bestof", "--novelty", self.novelty, "--alignment", broken, "--prompt", "x")

    def test_tiny_is_reproducible(self):
        a, b = self.path("a.gguf"), self.path("b.gguf")
        for arch in ("llama", "qwen2", "qwen3", "gemma2", "gemma3"):
            for path in (a, b):
                self.ok("tiny", path, "--arch", arch, "--type", "Q8_0", "--seed", 9)
            with open(a, "rb") as fa, open(b, "rb") as fb:
                self.assertEqual(fa.read(), fb.read())
            self.ok("run", "--model", a, "--prompt", "abc", "--max-tokens", 3)
        self.ok("tiny", a, "--arch", "mistral", "--window", 16)
        config = json.loads(self.ok("inspect", a, "--json"))["config"]
        self.assertEqual((config["window"], config["local_layers"]), (16, 2))

    def test_tiny_refuses_what_it_cannot_make(self):
        out = self.path("never.gguf")
        for words, *args in (("gpt9", "--arch", "gpt9"), ("gpt9", "--like", "gpt9"), ("Q4_K", "--type", "Q4_K"),
                             ('--layers: "0" is not a whole number from 1 to', "--layers", 0),
                             ('--window: "0"', "--window", 0), ("vocab is 10; at least 300", "--vocab", 10),
                             ("dim 4 and heads 4", "--dim", 4, "--heads", 4)):
            self.refused(2, words, "tiny", out, *args)
        self.assertFalse(os.path.exists(out))
        for command in (("tiny",), ("convert", self.novelty, "--type", "F16")):
            self.refused(2, "x.safetensors: a GGUF file is written", *command, self.path("x.safetensors"))
        self.assertFalse(os.path.exists(self.path("x.safetensors")))

    def test_what_was_written_is_said(self):
        a, b = self.path("said.gguf"), self.path("said-q8.gguf")
        for path, args in ((a, ("tiny", a, "--dim", 48, "--head-dim", 8)), (b, ("convert", a, b, "--type", "Q8_0"))):
            code, out, err = run(*args)
            self.assertEqual((code, out), (0, b""), err)
            self.assertIn(f"{path}: {os.path.getsize(path) * 1e-6:.1f} MB\n", err)
            r = json.loads(self.ok(*args, "--json"))
            converts = args[0] == "convert"
            self.assertEqual(set(r), {"path", "bytes", "notes"} | ({"weights"} if converts else set()))
            self.assertEqual((r["path"], r["bytes"]), (path, os.path.getsize(path)))
            self.assertEqual(err.splitlines()[:-2 if converts else -1], r["notes"])
        self.assertGreater(len(r["notes"]), 0)  # rows of 48 are no whole blocks of Q8_0
        self.assertRegex(err, r"weights: relative error 0\.\d+ %, largest of \S+\.weight, 0\.\d+ %\n")
        self.assertTrue(0 < r["weights"]["error"] <= r["weights"]["worst"] < 0.01)

    def test_what_a_conversion_costs_is_measured(self):
        """--check: the same bits differ by nothing, 8 bits by little, 4 bits by more."""
        out, text = self.path("check.gguf"), self.path("check.txt")
        with open(text, "w") as f:
            f.write("A short text, of which a tiny model knows nothing. " * 60)  # two pieces
        differences = []
        for kind in ("F32", "Q8_0", "Q4_0"):
            r = json.loads(self.ok("convert", self.novelty, out, "--type", kind, "--check", "--check-text", text, "--json"))
            self.assertGreater(r["check"]["tokens"], 300)
            self.assertGreaterEqual(r["check"]["largest_difference"], r["check"]["mean_difference"])
            differences.append(r["check"]["mean_difference"])
        self.assertEqual(differences[0], 0)
        self.assertTrue(0 < differences[1] < 0.1 < differences[2], differences)
        code, _, err = run("convert", self.novelty, out, "--type", "Q8_0", "--check")
        self.assertEqual(code, 0)
        self.assertRegex(err, r"log-probs of \d+ ids: differ by 0\.\d+ on average, 0\.\d+ at most")
        self.refused(1, "nowhere.txt", "convert", self.novelty, out, "--type", "F32", "--check-text", self.path("nowhere.txt"))

    def test_doctor(self):
        r = json.loads(self.ok("doctor", "--json"))
        self.assertEqual(r["backend"], "cpu")
        for key in ("read_gbs_dram", "read_gbs_cache", "gops_int8", "gflops_bf16", "gflops_f32"):
            least, most = r["spread"][key]
            self.assertTrue(0 < least <= r[key] <= most, (key, r))
        self.assertGreaterEqual(r["runs"], 3)
        self.assertTrue(r["backend_why"])
        for name, bits in (("4-bit", 4.5), ("8-bit", 8.5), ("bf16", 16), ("f32", 32)):  # a code and 1/32 of an f16 scale
            self.assertAlmostEqual(r["fits_billion_parameters"][name], r["ram_bytes"] * 0.75 * 8e-9 / bits, places=2)
        self.assertIn(b"backend", self.ok("doctor"))

    def test_help(self):
        self.assertIn(b"bestof", self.ok("--help"))
        for c in ("bestof", "run", "score", "tokenize", "inspect", "convert", "tiny", "doctor"):
            out = self.ok(c, "--help")
            self.assertIn(b"usage: forkcast " + c.encode(), out)
        self.assertIn(b"forkcast", self.ok("--version"))

    # ---- wrong input

    def test_wrong_arguments(self):
        m = self.novelty
        b = ("bestof", "--novelty", m, "--alignment", "none", "--prompt", "x")
        self.refused(2, "unknown command", "fly")
        self.refused(2, "unknown option --fly", *b, "--fly")
        self.refused(2, "unknown option --mode", "run", "--model", m, "--prompt", "x", "--mode", "judge")
        self.refused(2, "unknown option --thread", *b, "--thread", 1)  # no abbreviations
        self.refused(2, "unknown option --thread", *b, "--full-logprob", "--thread", 1)  # a switch takes no word after it
        self.refused(2, '--ignore-eos: "yes"; it is true or false', *b, "--ignore-eos=yes")
        self.refused(2, "--json=yes: it takes no value", *b, "--json=yes")
        self.ok("bestof", "--novelty", m, "--alignment", "none", "--prompt", "--fly", "-n", 1)  # a value may look like one
        self.refused(2, "--novelty", "bestof", "--alignment", "none", "--prompt", "x")
        self.refused(2, "--alignment", "bestof", "--novelty", m, "--prompt", "x")
        self.refused(2, "give the prompt once", "bestof", "--novelty", m, "--alignment", "none")
        self.refused(2, "more than one", *b, "--prompt-file", "-")
        for n in (0, "x", "99999999999", 4097, "-1", "3 "):  # named as it was typed
            self.refused(2, f'-n: "{n}" is not a whole number from 1 to 4096', *b, "-n", n)
            self.refused(2, f'--n: "{n}" is not a whole number from 1 to 4096', *b, f"--n={n}")
        self.refused(2, '--keep: "4097" is not a whole number from 0 to 4096', *b, "--keep", 4097)
        self.refused(2, '--top-k: "many" is not a whole number from 0 to 2147483647\n', *b, "--top-k", "many")
        self.refused(2, "to 2147483647", *b, "--top-k", "99999999999")
        self.refused(2, '--top-k: "-3" is not a whole number from 0 to 2147483647\n', *b, "--top-k", -3)
        self.refused(2, '--max-tokens: "20000000" is not a whole number from 0 to 16777216\n', *b, "--max-tokens", 20000000)
        self.refused(2, '--temperature: "-0.1" is not a number from 0 to 100\n', *b, "--temperature", -0.1)
        self.refused(2, '--top-p: "1.5" is not a number from 1e-09 to 1\n', *b, "--top-p", 1.5)
        self.refused(2, '--temperature: "hot" is not a number', *b, "--temperature", "hot")
        self.refused(2, '--temperature: "nan" is not a number', *b, "--temperature", "nan")
        self.refused(2, "--seed", *b, "--seed", "-1")
        self.refused(2, "max_tokens = 0: nothing would be drawn", *b, "--max-tokens", 0)
        self.refused(2, "context", *b, "--max-tokens", 100000)
        self.refused(2, "value is missing", *b, "--seed")
        self.refused(2, "--mode: it needs an alignment model", *b, "--mode", "judge")
        self.refused(2, "--alignment-adapter: it needs an alignment model", *b, "--alignment-adapter", "x")
        self.refused(2, "--label: it needs an alignment model", *b, "--label", "x")
        self.refused(2, "vibes", "bestof", "--novelty", m, "--alignment", m, "--prompt", "x", "--mode", "vibes")
        self.refused(2, "--all", *b, "--all")
        self.refused(2, "it is empty", "bestof", "--novelty", m, "--alignment", "none", "--prompt", "")
        self.refused(2, '--kv-type: "int3"; it is f32, bf16, int8 or fp8', *b, "--kv-type", "int3")
        self.refused(2, "--kv-pool", *b, "--kv-pool", "lots")
        self.refused(2, "--logit-bias", *b, "--logit-bias", "5")

    # If this fails, a script cannot tell a wrong option from a wrong file.
    def test_one_kind_of_mistake_has_one_code(self):
        m, b = self.novelty, ("bestof", "--novelty", self.novelty, "--alignment", "none")
        for option in ("--backend", "--cpu", "--kv-type"):
            self.refused(2, '"abacus"', *b, "--prompt", "x", option, "abacus")
        ids = self.path("code-ids.txt")
        for text, words in (("1 fish", '"fish"'), ("1 999999", "999999"), ("", "no token ids"), ("99999999999", "99999999999")):
            with open(ids, "w") as f:
                f.write(text)
            self.refused(1, ids, *b, "--prompt-ids", ids)
            self.refused(1, words, *b, "--prompt-ids", ids)
            self.refused(1, words, *b, "--prompt-ids", "-", stdin=text.encode())
            if text:
                self.refused(1, words, "tokenize", "--model", m, "--decode", "--file", ids)
                self.refused(2, words, "tokenize", "--model", m, "--decode", text)
        empty = self.path("empty-folder")
        os.mkdir(empty)
        self.refused(1, "no model.safetensors", "inspect", empty)
        self.refused(1, "No such file", "inspect", self.path("nope"))
        self.refused(1, "No such file", *b, "--prompt-file", self.path("nope"))

    # If this fails, a large n needs a second option before it runs.
    def test_many_candidates_need_no_other_option(self):
        r = self.bestof("--prompt", "x", "-n", 1300, "-k", 0, "--max-tokens", 1)
        self.assertEqual(sum(c["votes"] for c in r["candidates"]), 1300)

    def test_wrong_files(self):
        missing = self.path("missing.gguf")
        self.refused(1, missing, "run", "--model", missing, "--prompt", "x")
        self.refused(1, missing, "inspect", missing)
        bad = self.path("bad.gguf")
        with open(self.novelty, "rb") as f:
            data = f.read()
        for size in (0, 3, 10, 100, 1000, len(data) // 2):
            with open(bad, "wb") as f:
                f.write(data[:size])
            self.refused(1, bad, "run", "--model", bad, "--prompt", "x")
            self.refused(1, bad, "inspect", bad)
        ids = self.path("bad-ids.txt")
        with open(ids, "w") as f:
            f.write("1 2 fish")
        self.refused(1, "fish", "bestof", "--novelty", self.novelty, "--alignment", "none", "--prompt-ids", ids)


if __name__ == "__main__":
    main()
