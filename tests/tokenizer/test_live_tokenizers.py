"""Against `tokenizers` itself, where it is installed, on strings that no golden file holds. Goes through libforkcast.so.

  FORKCAST_BUILD=build python3 tests/tokenizer/test_live_tokenizers.py [seed]
"""

import ctypes
import os
import sys

sys.path.insert(0, "tests/oracle")
sys.dont_write_bytecode = True
try:
    from tokenizers import Tokenizer
except ImportError:
    print("skipped: the tokenizers package is not installed")
    sys.exit(77)
import tokenizer_strings

COUNT = 1500


class Ours:
    def __init__(self, lib, path):
        self.lib, self.handle = lib, ctypes.c_void_p()
        self.check(lib.fc_tokenizer_open(path.encode(), ctypes.byref(self.handle)))

    def check(self, status):
        if status:
            sys.exit(self.lib.fc_last_error().decode())

    def encode(self, data, special):
        ids, n = ctypes.POINTER(ctypes.c_int32)(), ctypes.c_size_t()
        self.check(self.lib.fc_tokenizer_encode(self.handle, data, ctypes.c_size_t(len(data)), ctypes.c_bool(special), ctypes.c_bool(special),
                                                ctypes.byref(ids), ctypes.byref(n)))
        out = ids[:n.value]
        self.lib.fc_memory_free(ids)
        return out

    def decode(self, ids, special):
        text, size = ctypes.c_void_p(), ctypes.c_size_t()
        self.check(self.lib.fc_tokenizer_decode(self.handle, (ctypes.c_int32 * len(ids))(*ids), ctypes.c_size_t(len(ids)), ctypes.c_bool(special),
                                                ctypes.byref(text), ctypes.byref(size)))
        out = ctypes.string_at(text, size.value)
        self.lib.fc_memory_free(text)
        return out.decode(errors="replace")


def main():
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    print("seed", seed)
    lib = ctypes.CDLL(os.path.join(os.path.abspath(os.environ["FORKCAST_BUILD"]), "libforkcast.so"))
    lib.fc_last_error.restype = ctypes.c_char_p
    lib.fc_memory_free.argtypes = [ctypes.c_void_p]
    wrong = 0
    for family in ("gpt2", "llama3", "qwen2", "llama2", "mistral", "gemma"): # unigram: names of special tokens are data here, not there
        path = f"tests/data/tokenizer/{family}.json"
        theirs, ours, count = Tokenizer.from_file(path), Ours(lib, os.path.abspath(path)), 0
        for data in tokenizer_strings.strings(seed, COUNT):
            try:
                text = data.decode()
            except UnicodeDecodeError:
                continue # bytes: `tokenizers` takes text only
            count += 1
            for special in (False, True):
                theirs.encode_special_tokens = not special
                ids = theirs.encode(text, add_special_tokens=special).ids
                mine = ours.encode(data, special)
                if mine != ids or ours.decode(ids, special) != theirs.decode(ids, skip_special_tokens=not special):
                    wrong += 1
                    print(f"{family}: {text!r}: {mine} and not {ids}")
        print(f"{family}: {count} strings")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
