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


def answer(program, backend, *args):
    said = subprocess.run([program, "bestof", "--backend", backend, *args, "--all", "--json"], capture_output=True, text=True)
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
