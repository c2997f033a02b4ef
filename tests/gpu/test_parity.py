"""The CUDA backend against the CPU's, through the program: models made here, of every family and weight type, on both. Runs where a device
answers; skipped elsewhere.

Scores are of given candidates, so that one rounding does not lead to another text: they may differ by what x rounded to 16 bits, and KV to its
type, does to them. The CPU's are of the same weights as f32: over quantised ones it rounds x to 8 bits itself. Under batch_invariant, which is the default, a candidate is the same bits for any n.
"""
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

BIN = os.path.join(os.environ.get("FORKCAST_BUILD", "build"), "forkcast")
FAMILIES = ("llama", "qwen2", "qwen3", "gemma2", "gemma3")
# Largest difference of a mean log-prob: but for f32 weights, KV is bf16, and CUDA multiplies x as bf16.
ALLOWED = {"F32": 2e-3, "F16": 3e-2, "BF16": 3e-2, "F8_E4M3": 3e-2, "Q8_0": 3e-2, "Q4_0": 3e-2, "Q4_1": 5e-2}
REAL = "models/SmolLM2-135M-Instruct.Q4_1.gguf"  # with minimums, and Q6_K for its embeddings; its bound is that of the CPU's own rounding
MADE = [t for t in ALLOWED if t != "Q4_1"]
TEXTS = ["a", "bc", " the city", "science and food", "first design, then games; " * 3, "x" * 90, "\u00e9t\u00e9", "12345", " would be"]


def run(*args):
    return subprocess.run([BIN, *map(str, args)], capture_output=True, text=True, timeout=200)


def answer(*args):
    p = run(*args, "--json")
    if p.returncode:
        raise AssertionError(f"{' '.join(map(str, args))}: {p.stderr.strip()}")
    return json.loads(p.stdout)


class Parity(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.lines = os.path.join(cls.folder.name, "candidates")
        with open(cls.lines, "w") as f:
            f.write("\n".join(TEXTS) + "\n")

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def model(self, family, type_, *more):
        path = os.path.join(self.folder.name, f"{family}-{type_}.gguf")
        if os.path.exists(path):
            return path
        if type_ == "F8_E4M3":  # which tiny does not make
            answer("convert", self.model(family, "F32"), path, "--type", type_)
        else:
            answer("tiny", path, "--arch", family, "--type", type_, "--seed", 3, "--ctx", 2048, *more)
        return path

    def scores(self, backend, model, prompt, *more):
        r = answer("score", "--backend", backend, "--model", model, "--prompt", prompt, "--candidates", self.lines, *more)
        return {c["index"]: c["score"] for c in r.get("all_candidates") or r["candidates"]}

    def exact(self, model):
        """The same weights as f32, of which the CPU rounds nothing."""
        path = os.path.join(self.folder.name, os.path.basename(model) + ".f32")
        if not os.path.exists(path):
            answer("convert", model, path, "--type", "F32")
        return path

    def close(self, model, type_, prompt, *more):
        cpu = self.scores("cpu", self.exact(model), prompt, *more)
        cuda = self.scores("cuda", model, prompt, *more)
        self.assertEqual(sorted(cpu), sorted(cuda))
        self.assertGreater(len(cpu), 1)
        worst = max(abs(cpu[i] - cuda[i]) if math.isfinite(cuda[i]) else math.inf for i in cpu)
        print(f"{os.path.basename(model)} {' '.join(map(str, more))}: at most {worst:.2e} apart, {ALLOWED[type_]:.0e} allowed", flush=True)
        self.assertLessEqual(worst, ALLOWED[type_])

    # If this fails, a GPU scores candidates by another model than the one that was given.
    def test_scores(self):
        for family in FAMILIES:
            for type_ in MADE:
                with self.subTest(family=family, type=type_):
                    self.close(self.model(family, type_), type_, "Hello there, " * 20)

    def test_scores_of_a_real_model(self):
        if not os.path.exists(REAL):
            self.skipTest(f"{REAL} is not there")
        self.close(REAL, "Q4_1", "The capital of France is Paris. " * 8)

    def test_scores_over_each_kv_type(self):
        for kv in ("f32", "bf16", "int8", "fp8"):
            with self.subTest(kv_type=kv):
                self.close(self.model("llama", "BF16"), "BF16", "Hello there, " * 60, "--kv-type", kv)

    def test_greedy_text(self):
        """Reported, and held to the first token: later ones follow from it."""
        for type_ in MADE:
            with self.subTest(type=type_):
                model = self.model("llama", type_)
                cpu, cuda = (answer("bestof", "--backend", b, "--novelty", model, "--alignment", "none", "--prompt", "Hello", "-n", 1, "--temperature", 0,
                                    "--max-tokens", 48, "--ignore-eos")["candidates"][0]["tokens"] for b in ("cpu", "cuda"))
                same = next((i for i, (a, b) in enumerate(zip(cpu, cuda)) if a != b), len(cpu))
                print(f"{type_}: {same} of {len(cpu)} greedy tokens alike", flush=True)
                self.assertGreater(same, 0)

    # If this fails, candidate i is another text when more candidates are asked for.
    def test_candidates_are_the_same_for_every_n(self):
        for type_ in ("BF16", "Q4_0"):
            with self.subTest(type=type_):
                model = self.model("llama", type_)
                few, many = (answer("bestof", "--backend", "cuda", "--novelty", model, "--alignment", model, "--prompt", "Hello there", "-n", n, "-k", 0,
                                    "--max-tokens", 24)["candidates"] for n in (4, 64))
                of = {c["index"]: (c["tokens"], c["logprob"], c["score"]) for c in many}
                for c in few:
                    self.assertEqual((c["tokens"], c["logprob"], c["score"]), of[c["index"]])


if __name__ == "__main__":
    if not shutil.which("nvidia-smi") or subprocess.run(["nvidia-smi", "-L"], capture_output=True).returncode:
        print("skipped: no CUDA device answers")
        sys.exit(77)
    unittest.main()
