"""What a person is told where he is likely to go wrong, and what the last line of the table counts. Standard library alone."""
import json
import os
import subprocess

from util_cli import BIN, Program, main, run

TAXONOMY = "c\tChess\tboards\no\tGo\tstones\nk\tCooking\tpots\n"


class Words(Program):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.taxonomy = cls.path("t.tsv")
        with open(cls.taxonomy, "w") as f:
            f.write(TAXONOMY)
        cls.base = ("bestof", "--novelty", cls.novelty, "--alignment", "none", "--prompt", "x")
        cls.mask = (*cls.base, "--taxonomy", cls.taxonomy, "--constraint", "mask")

    # If this fails, a name must be searched for in a list of fields that nobody gave.
    def test_sentences_name_what_was_given(self):
        run1 = ("run", "--model", self.novelty, "--prompt", "x")
        self.refused(2, "allowed_token_ids and logit_bias: together they leave no id to draw as token 1 of a candidate",
                     *run1, "--allowed-token-id", 70, "--logit-bias", "70=-inf")
        self.refused(2, "allowed_token_ids and min_tokens: together", *run1, "--allowed-token-id", 2, "--min-tokens", 1)
        word = self.ok("tokenize", "--model", self.novelty, "--decode", "70").decode().rstrip("\n")
        self.refused(2, "allowed_token_ids and bad_words: together", *run1, "--allowed-token-id", 70, "--bad-word", word)
        self.refused(2, "constraint mask and allowed_token_ids: together", *self.mask, "--allowed-token-id", 2)
        self.refused(2, "draw topk: top_k and stop belong to draw iid\n", *self.mask, "--draw", "topk", "--top-k", 3, "--stop", "x")
        self.refused(2, "draw topk: its candidates come all at once; leave out n_max\n", *self.mask, "--draw", "topk", "-n", 2, "--n-max", 3)
        self.refused(2, "n = 4 needs a branch for each candidate, and max_branches is 2; raise it, or ask for fewer", *self.base,
                     "-n", 4, "--max-branches", 2)

    # If this fails, an option that does nothing is passed over in silence.
    def test_full_logprob_belongs_to_mask(self):
        self.refused(2, "full_logprob: it belongs to constraint mask, and the constraint is off", *self.base, "--full-logprob")
        self.refused(2, "the constraint is reject", *self.base, "--taxonomy", self.taxonomy, "--constraint", "reject", "--full-logprob")
        recipe = self.path("full.json")
        def answer(constraint, *flags):
            with open(recipe, "w") as f:
                json.dump({"novelty": {"model": "novelty.gguf"}, "alignment": {"model": "none"}, "taxonomy": "t.tsv", "n": 2,
                           "constraint": constraint, "full_logprob": True}, f)
            return ("bestof", "--recipe", recipe, "--prompt", "x", *flags)
        self.ok(*answer("mask"))
        self.ok(*answer("mask", "--constraint", "off"))  # a recipe's goes with its mask
        self.refused(2, "full_logprob: it belongs", *answer("mask", "--constraint", "off", "--full-logprob"))
        self.refused(2, "full_logprob: it belongs", *answer("off"))

    def test_prompts_that_are_only_read(self):
        read = ("--prompt-logprobs", "--max-tokens", 0, "--json")
        self.refused(2, "--max-tokens: 0 draws nothing, so there is nothing to score; give --alignment none", "bestof", "--novelty",
                     self.novelty, "--alignment", self.alignment, "--prompt", "x", "-n", 1, *read)
        r = json.loads(self.ok("run", "--model", self.novelty, "--prompt", "xyz", *read))
        self.assertEqual([c["tokens"] for c in r["candidates"]], [[]])

    # If this fails, a file is looked for under the name of its ids, and nobody knows why.
    def test_ids_of_a_prompt(self):
        self.refused(1, "--prompt-ids: 5 6: No such file or directory; it takes a file of ids, or -", "run", "--model", self.novelty,
                     "--prompt-ids", "5 6")
        got = [json.loads(self.ok("run", "--model", self.novelty, "--prompt-ids", "-", "--json", stdin=text))["candidates"]
               for text in (b"5 6 7", b"5,6,7", b"5, 6,\n7\n")]
        self.assertEqual(got[0], got[1])
        self.assertEqual(got[0], got[2])
        for command in ("bestof", "run", "score"):
            self.assertIn(b"apart by blanks or commas", b" ".join(self.ok(command, "--help").split()))

    # If this fails, the work of all candidates is held against separate runs of some.
    def test_the_last_line_counts_what_it_covers(self):
        def last(*args):
            return self.ok(*args).decode("utf-8", "replace").splitlines()[-1]
        part = last(*self.base, "-n", 16, "--max-tokens", 4, "--ignore-eos", "--token-budget", 20)
        self.assertRegex(part, r"^5 of 16 candidates, .* 5 separate runs for these take ")
        self.assertRegex(last(*self.base, "-n", 2), r"^2 candidates, .* 2 separate runs take ")
        names = last(*self.mask, "--draw", "topk", "-n", 500, "--max-branches", 8)
        self.assertRegex(names, r"^3 of 500 candidates, 3 distinct, ")

    def test_help_of_switches_and_lists(self):
        text = " ".join(self.ok("bestof", "--help").decode().split())
        for words in ("default false", "special tokens are left out of the text; default true", "--NAME=false off",
                      "repeatable, or apart by commas"):
            self.assertIn(words, text)
        self.refused(2, "--skip-special-tokens false: a switch has its value behind =; give --skip-special-tokens=false", *self.base,
                     "--skip-special-tokens", "false")

    def test_sizes(self):
        self.refused(2, '--score-cache: "1000000T" is too large; it is at most 900000T', *self.base, "--score-cache", "1000000T")
        self.refused(2, '--score-cache: "1P" is not a number of bytes', *self.base, "--score-cache", "1P")
        code, _, err = run(*self.base, "--kv-pool", "100T")
        self.assertNotEqual(code, 0)
        self.assertIn("kv_pool = 109951162777600 bytes is too large: ", err)

    def test_a_recipe_turns_off_a_list(self):
        recipe = self.path("off.json")
        for off in (["fork", "groups"], "fork,groups"):
            with open(recipe, "w") as f:
                json.dump({"novelty": {"model": "novelty.gguf"}, "alignment": {"model": "none"}, "n": 3, "off": off}, f)
            r = json.loads(self.ok("bestof", "--recipe", recipe, "--prompt", "Hello", "--json"))
            self.assertEqual(r["accounting"]["rows_prefill"], r["accounting"]["rows_flat_prefill"])

    def test_inspect_says_who_puts_bos(self):
        self.assertRegex(self.ok("inspect", self.novelty).decode(), r"BOS \d+ \((not )?put in front of prompts\)")

    # If this fails, a benchmark ends in a traceback where something was not built.
    def test_bench_says_what_it_needs(self):
        def told(words, *args):
            p = subprocess.run(["bench/switches.py", *args], capture_output=True, text=True, timeout=60)
            self.assertNotEqual(p.returncode, 0)
            self.assertIn(words, p.stderr)
            self.assertNotIn("Traceback", p.stderr)
        out = self.path("r.json")
        told("nowhere.json: No such file", "--table", "nowhere.json")
        told("it is no result", "--table", self.taxonomy)
        told("nowhere/forkcast and nowhere/bench/roofline: not built; `cmake", self.novelty, "--out", out, "--build", "nowhere")
        told("'0,4' is not a list of numbers", self.novelty, "--out", out, "-n", "0,4")
        told("'poem'; it is some of free, taxonomy", self.novelty, "--out", out, "--job", "poem")
        told("are needed")
        if os.path.exists(os.path.join(os.path.dirname(BIN), "bench", "roofline")):
            told("none.gguf: No such file", "none.gguf", "--out", out, "--build", os.path.dirname(BIN))
            told("'abc' is not a commit", self.novelty, "--out", out, "--build", os.path.dirname(BIN), "--commit", "abc")
            for name, args in (("bench_linear", ("auto", "Q4_1", "many")), ("bench_lora", ("auto", "0"))):
                p = subprocess.run([os.path.join(os.path.dirname(BIN), "bench", name), *args], capture_output=True, text=True)
                self.assertEqual((p.returncode, p.stdout), (2, ""))
                self.assertIn("THREADS is 1 to 1024", p.stderr)


if __name__ == "__main__":
    main()
