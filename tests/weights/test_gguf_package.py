"""The `gguf` package, which is not ours, reads what `forkcast tiny` and `forkcast convert` write, bit for bit."""
import os
import subprocess
import sys
import tempfile

try:
    import gguf  # noqa: F401
    import numpy  # noqa: F401
except ImportError as e:
    print(f"skipped: {e} (pip install gguf numpy safetensors)")
    sys.exit(77)

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "tests", "oracle"))
import check_gguf_package as check  # noqa: E402

FORKCAST = os.path.join(os.environ.get("FORKCAST_BUILD", os.path.join(ROOT, "build")), "forkcast")
TYPES = ("F32", "F16", "BF16", "Q8_0", "Q4_0")
FAMILIES = ("llama", "qwen2", "qwen3", "gemma2", "gemma3")


def run(*args):
    r = subprocess.run([FORKCAST, *args], capture_output=True, text=True)
    if r.returncode:
        sys.exit(f"forkcast {' '.join(args)}: {r.stderr}")
    return r


def tokenizer_is_sound(path):
    """The tiny model's arrays agree with each other, as another engine's loader would want them."""
    fields, tensors = check.read_gguf(path)
    tokens, types = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    check.need(len(tokens) == len(types) == tensors["token_embd.weight"].shape[1], f"{path}: tokens")
    check.need(len(set(tokens)) == len(tokens), f"{path}: a token is there twice")
    known = set(tokens)
    for merge in fields["tokenizer.ggml.merges"]:
        left, right = merge.split(" ")
        check.need({left, right, left + right} <= known, f"{path}: merge {merge}")
    check.need(tokens[fields["tokenizer.ggml.eos_token_id"]] == "<|im_end|>", f"{path}: EOS")


def main():
    compared = 0
    with tempfile.TemporaryDirectory() as folder:
        a, b = os.path.join(folder, "a.gguf"), os.path.join(folder, "b.gguf")
        for family in FAMILIES:
            run("tiny", a, "--arch", family, "--seed", "7", "--reward-head")
            want = check.reference(a)
            tokenizer_is_sound(a)
            for kind in TYPES:
                run("tiny", b, "--arch", family, "--seed", "7", "--reward-head", "--type", kind)
                counts = check.compare(want, b)
                check.need(counts.get(kind, 0) >= 15, f"tiny {family} {kind}: {counts}")
                run("convert", a, b, "--type", kind)
                check.need(check.compare(want, b) == counts, f"convert {family} {kind}")
                compared += 2
        try:
            import safetensors  # noqa: F401
        except ImportError:
            print("folders are left out: safetensors is not installed")
        else:
            models = os.path.join(ROOT, "tests", "data", "models")
            for name in sorted(os.listdir(models)):
                if not os.path.exists(os.path.join(models, name, "config.json")):
                    continue
                want = check.reference(os.path.join(models, name))
                for kind in TYPES:
                    run("convert", os.path.join(models, name), b, "--type", kind)
                    check.compare(want, b)
                    compared += 1
    print(f"{compared} files are the same for the gguf package")


if __name__ == "__main__":
    try:
        main()
    except check.Different as e:
        sys.exit(f"different: {e}")
