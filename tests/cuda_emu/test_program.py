"""`forkcast bestof --backend cuda` by the program with an emulated libforkcast_cuda.so, through the library's door: what the CPU says."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

BUILD = os.environ.get("FORKCAST_BUILD", "build")
PROGRAM = os.path.join(BUILD, "forkcast")
EMULATED = os.path.join(BUILD, "emulated", "forkcast")
SMOLLM2 = "models/SmolLM2-135M-Instruct.Q8_0.gguf"


def answer(program, backend, *args, devices=1):
    said = subprocess.run([program, "bestof", "--backend", backend, *args, "--all", "--json"], capture_output=True, text=True,
                          env={**os.environ, "FORKCAST_EMULATED_DEVICES": str(devices)})
    if said.returncode:
        raise RuntimeError(f"{program} {backend}: {said.returncode}: {said.stderr}")
    return sorted(json.loads(said.stdout)["candidates"], key=lambda c: c["index"])


class Program(unittest.TestCase):
    def test_tiny_models_say_the_same(self):
        with tempfile.TemporaryDirectory() as d:
            for arch in ("llama", "qwen3", "gemma3"):
                models = [os.path.join(d, f"{arch}{i}.gguf") for i in range(2)]
                for i, m in enumerate(models):
                    subprocess.run([PROGRAM, "tiny", m, "--arch", arch, "--seed", str(i)], check=True, capture_output=True)
                args = ("--novelty", models[0], "--alignment", models[1], "--prompt", "the house of the night", "-n", "4", "-k", "4",
                        "--max-tokens", "4", "--seed", "3", "--kv-type", "f32")
                cpu, cuda = answer(PROGRAM, "cpu", *args), answer(EMULATED, "cuda", *args)
                self.assertEqual([c["tokens"] for c in cuda], [c["tokens"] for c in cpu], arch)
                for a, b in zip(cuda, cpu):
                    self.assertAlmostEqual(a["logprob"], b["logprob"], delta=1e-3)
                    self.assertAlmostEqual(a["score"], b["score"], delta=1e-3)

    def test_gpus_share_models(self):
        with tempfile.TemporaryDirectory() as d:
            models = [os.path.join(d, f"{i}.gguf") for i in range(2)]
            for i, m in enumerate(models):
                subprocess.run([PROGRAM, "tiny", m, "--arch", "qwen3", "--seed", str(i)], check=True, capture_output=True)
            both = ("--novelty", models[0], "--alignment", models[1])
            args = ("--prompt", "the house of the night", "-n", "4", "-k", "4", "--max-tokens", "4", "--seed", "3", "--kv-type", "f32")
            one = answer(EMULATED, "cuda", *both, *args)
            for gpus in ("0,1", "3,2,1,0", "novelty=0,1 alignment=2,3", "novelty=1 alignment=0,2"):
                split = answer(EMULATED, "cuda", *both, *args, "--gpus", gpus, devices=4)
                self.assertEqual([c["tokens"] for c in split], [c["tokens"] for c in one], gpus)
                for a, b in zip(split, one):
                    self.assertAlmostEqual(a["logprob"], b["logprob"], delta=1e-3)
                    self.assertAlmostEqual(a["score"], b["score"], delta=1e-3)
            for program, backend, models_, gpus, words in (
                    (EMULATED, "cuda", both, "0,1", "device 1; there are 1"), (EMULATED, "cuda", both, "0,0", "0 is there twice"),
                    (EMULATED, "cuda", both, "0,1,2", "4 heads cannot be shared by 3 GPUs"), (PROGRAM, "cpu", both, "0", "the backend is cpu"),
                    (EMULATED, "cuda", (both[0], both[1], "--alignment", models[0]), "novelty=0 alignment=1", "one model, which needs one list")):
                with self.assertRaises(RuntimeError) as failed:
                    answer(program, backend, *models_, *args, "--gpus", gpus)
                self.assertIn(words, str(failed.exception))

    @unittest.skipUnless(os.path.exists(SMOLLM2), f"no {SMOLLM2}")
    def test_smollm2_decodes(self):
        args = ("--novelty", SMOLLM2, "--alignment", "none", "--prompt", "The capital of France is", "-n", "4", "-k", "4", "--max-tokens", "8",
                "--seed", "3", "--ignore-eos")
        cpu, cuda = answer(PROGRAM, "cpu", *args), answer(EMULATED, "cuda", *args)
        self.assertEqual([len(c["tokens"]) for c in cuda], [8] * 4)
        # the rounding of x differs: a draw may fall on the other side of a boundary, and what follows is then another text
        self.assertGreaterEqual(sum(a["tokens"][0] == b["tokens"][0] for a, b in zip(cuda, cpu)), 3)
        first = ("--temperature", "0")
        cpu, cuda = answer(PROGRAM, "cpu", *args, *first), answer(EMULATED, "cuda", *args, *first)
        self.assertEqual([c["tokens"] for c in cuda], [c["tokens"] for c in cpu])
        self.assertAlmostEqual(cuda[0]["logprob"], cpu[0]["logprob"], delta=8 * 0.05)


if __name__ == "__main__":
    if not os.path.exists(EMULATED):
        print(f"skipped: no {EMULATED}; it is not made under sanitizers")
        sys.exit(77)
    unittest.main()
