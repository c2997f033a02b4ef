"""The parity test on models made now, with another seed than the stored ones: needs torch and transformers, else skipped.

What it adds to the stored answers: they cannot have been fitted to, and a newer transformers that answers otherwise is seen.
"""
import os
import subprocess
import sys
import tempfile

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
SEED = 20250611  # another than the stored answers'; fixed, so that a red run can be repeated
NAMES = ["llama_yarn", "qwen2_window", "qwen3_reward", "gemma2", "gemma3_types"]


def main():
    try:
        import torch
        import transformers
    except ImportError as e:
        print(f"skipped: {e.name} is not installed")
        return 77
    program = os.path.join(os.environ.get("FORKCAST_BUILD", os.path.join(ROOT, "build")), "tests", "test_parity")
    if not os.path.exists(program):
        print(f"skipped: {program} is not built")
        return 77
    sys.path.insert(0, os.path.join(ROOT, "tests", "oracle"))
    sys.dont_write_bytecode = True
    import parity_golden
    torch.set_num_threads(1)
    print(f"transformers {transformers.__version__}, torch {torch.__version__}, seed {SEED}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in NAMES:
            parity_golden.golden(name, os.path.join(folder, name), SEED)
        sys.stdout.flush()
        return subprocess.run([program, folder + "/", *NAMES], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
