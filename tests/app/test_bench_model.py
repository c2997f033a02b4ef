"""`forkcast bench model`: what it prints and writes of machines that are not here, and what it refuses."""
import json
import os
import unittest

from util_bench import Bench

LIKE = ("model", "--like", "smollm2-360m", "--gpu", "h100", "-n", "1,16", "--prompt-tokens", 512, "--max-tokens", 32)


class BenchModel(Bench):
    def predicted(self, *args):
        prefix = self.path("predicted")
        said = self.bench(*args, "--out", prefix)
        with open(prefix + ".json") as f:
            result = json.load(f)
        self.schema.validate(result)
        return result, said

    def seconds(self, result, phase, n, kernel=None):
        """Of one row."""
        rows = [r for r in result["rows"] if r["case"]["phase"] == phase and r["case"]["n"] == n and r["case"].get("kernel") == kernel]
        self.assertEqual(len(rows), 1, (phase, n, kernel))
        return rows[0]["seconds"]["predicted"][0]

    # If this fails, a prediction is not what its kernels add up to.
    def test_a_result_is_the_sum_of_its_kernels(self):
        result, said = self.predicted(*LIKE)
        self.assertEqual(result["program"], "forkcast bench model")
        self.assertIn("bench model --like smollm2-360m", result["command"])
        self.assertEqual(result["settings"]["novelty"], "like:smollm2-360m")
        for phase in ("prefill", "step", "decode", "score"):
            for n in (1, 16):
                rows = [r for r in result["rows"] if r["case"]["phase"] == phase and r["case"]["n"] == n]
                whole = next(r for r in rows if "kernel" not in r["case"])
                kernels = [r for r in rows if "kernel" in r["case"]]
                self.assertGreaterEqual({r["case"]["kernel"] for r in kernels}, {"qkv", "o", "gate_up", "down", "attn", "rest"})
                self.assertAlmostEqual(sum(r["seconds"]["predicted"][0] for r in kernels) + whole["counts"]["passes"] * 25e-6,
                                       whole["seconds"]["predicted"][0], delta=1e-9 + 1e-6 * whole["seconds"]["predicted"][0])
                self.assertLess(whole["limit_seconds"], whole["seconds"]["predicted"][0])
        self.assertLess(self.seconds(result, "step", 1), self.seconds(result, "step", 16))
        for words in ("H100 SXM5 80 GB", "share of the time by kernel", "attention over the shared prompt", "mma.sync's own peak, 64 %"):
            self.assertIn(words, said)

    def test_what_is_asked_counts(self):
        usual = self.predicted(*LIKE)[0]
        step = self.seconds(usual, "step", 16)
        for args, phase, faster in ((("--weights", "int4"), "step", True), (("--no-sharing",), "step", False), (("--distinct", 0.1), "step", True),
                                    (("--requests", 8), "step", False), (("--cached",), "score", True), (("--precise", "true"), "prefill", False),
                                    (("--kv-type", "f32"), "step", False), (("--max-rows", 64), "prefill", False)):
            got, base = self.seconds(self.predicted(*LIKE, *args)[0], phase, 16), self.seconds(usual, phase, 16)
            self.assertTrue(got < base if faster else got > base, (args, got, base))
        large = ("model", "--like", "llama-3.1-8b", "--gpu", "h100", "-n", "1", "--prompt-tokens", 8192, "--max-tokens", 2, "--max-rows", 8192)
        invariant, variant = (self.seconds(self.predicted(*large, *a)[0], "prefill", 1) for a in ((), ("--no-batch-invariant",)))
        self.assertLess(variant, invariant)  # cuBLASLt reaches more of the peak where products are large
        slower = self.predicted(*[("a100" if a == "h100" else a) for a in LIKE])[0]
        self.assertGreater(self.seconds(slower, "step", 16), step)
        drawn = [{r["case"].get("kernel") for r in x["rows"] if r["case"]["phase"] == "step"} for x in (usual, self.predicted(*LIKE, "--filtered")[0])]
        self.assertEqual(["draw" in x for x in drawn], [False, True])  # logits in memory, and a kernel that draws from them
        rows = self.predicted(*LIKE, "--alignment", "none")[0]["rows"]
        self.assertFalse([r for r in rows if r["case"]["phase"] == "score"])

    def test_a_file_on_this_machine(self):
        result, said = self.predicted("model", "--novelty", self.novelty, "--alignment", self.alignment, "-n", "1,4", "--prompt-tokens", 24, "--max-tokens", 6,
                                      "--threads", 1)
        self.assertEqual(result["settings"]["novelty"], os.path.basename(str(self.novelty)))
        self.assertEqual(result["settings"]["alignment"], os.path.basename(str(self.alignment)))
        self.assertIn("measured now", said)

    def test_what_cannot_be_is_refused(self):
        self.refused(2, "--like or --novelty: one of them names", "bench", "model")
        self.refused(2, "--like or --novelty: one of them names", "bench", "model", "--like", "smollm2-135m", "--novelty", self.novelty)
        self.refused(2, 'machine "h1" is not described; cpu, h100, h100-pcie, h200, a100, l40s are', "bench", "model", "--like", "smollm2-135m", "--gpu", "h1")
        self.refused(2, "8000 positions of prompt and 256 tokens; the model was made for 8192", "bench", "model", "--like", "smollm2-135m", "--gpu", "h100",
                     "--prompt-tokens", 8000)
        self.refused(2, '-n: "5000" is not a list of numbers from 1 to 4096', "bench", "model", "--like", "smollm2-135m", "--gpu", "h100", "-n", 5000)
        self.refused(2, "--distinct: 1.5; above 0, at most 1", "bench", "model", "--like", "smollm2-135m", "--gpu", "h100", "--distinct", 1.5)
        self.refused(2, 'weights: "int3"; bf16, fp8, int8 and int4', "bench", "model", "--like", "smollm2-135m", "--gpu", "h100", "--weights", "int3")
        self.refused(1, "--out: /nowhere/x.json.part", "bench", "model", "--like", "smollm2-135m", "--gpu", "h100", "--out", "/nowhere/x")


if __name__ == "__main__":
    unittest.main()
