"""Expected ids and texts of every tokenizer family, for tests/tokenizer/test_golden.c.

  pip install tokenizers==0.23.* sentencepiece protobuf gguf
  python3 tests/oracle/tokenizer_golden.py tests/data/tokenizer [models/SmolLM2-135M-Instruct.Q4_1.gguf]

Reads <family>.json and <family>.spec (tokenizer_train.py), writes strings.bin and <family>.golden.

strings.bin  u32 count, then each string as u16 size and bytes
golden       u32 n, n_full, n_decode; u32 hash[n] of the strings (tokenizer_hash.of_string); the ids of the first n_full as data,
             each u16 count and u16 ids; n_decode lists of ids, each u16 count, u16 ids, u32 hash of the text without
             special tokens, u32 with them

Oracles: `tokenizers` on the same tokenizer.json; for .spec files `sentencepiece` on the same pieces; for SmolLM2 `tokenizers` put
together from the GGUF's own metadata. Data never yields special tokens: encode_special_tokens, and for unigram models, whose
lattice would find the names of special tokens as pieces, a copy whose special pieces have names that no text has. Bytes that are
not UTF-8 reach `tokenizers` as U+FFFD; for byte-level models, which keep the bytes, words are cut on that text, and then
each word is given to the model with its own bytes in place.
"""

import base64
import json
import random
import re
import struct
import sys

import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as pb
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

import tokenizer_hash
import tokenizer_strings
import tokenizer_train

N, N_FULL, N_DECODE, SEED = 10000, 200, 400, 1
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def byte_alphabet():
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    return {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(rest)}}


ALPHABET = byte_alphabet()


def stand_ins(data):
    """The text with U+FFFD for what is not UTF-8, and the bytes that each U+FFFD of it stands for."""
    text, chunks = data.decode(errors="replace"), []
    at = 0
    for c in text:
        if c != "\ufffd" or data[at:at + 3] == b"\xef\xbf\xbd":
            size = len(c.encode())
        else: # as much as one U+FFFD replaces
            size = next(k for k in (3, 2, 1) if len(data[at:at + k]) == k and data[at:at + k].decode(errors="replace") == "\ufffd"
                        and data[at:].decode(errors="replace")[1:] == data[at + k:].decode(errors="replace"))
        if c == "\ufffd":
            chunks.append(data[at:at + size])
        at += size
    assert at == len(data)
    return text, chunks


class Json:
    """One tokenizer.json; words: the pre-tokeniser without its step to bytes, for byte-level models."""

    def __init__(self, tok, words=None):
        self.tok, self.words = tok, words
        self.data = self.names = tok
        self.back = {}
        spec = json.loads(tok.to_str())
        self.added = spec["added_tokens"]
        if spec["model"]["type"] == "Unigram":
            self.hide_names(spec)

    def hide_names(self, spec):
        for a in spec["added_tokens"]:
            if a["special"] and a["id"] < len(spec["model"]["vocab"]):
                spec["model"]["vocab"][a["id"]][0] = f"\U0010fff0{a['id']}"
        self.names = Tokenizer.from_str(json.dumps(spec))
        self.back = {self.names.token_to_id(a["content"]): a["id"] for a in spec["added_tokens"]}
        self.data = Tokenizer.from_str(json.dumps({**spec, "added_tokens": [], "post_processor": None}))

    def by_words(self, data, special):
        text, chunks = stand_ins(data)
        names = [a["content"] for a in self.added if special or not a["special"]]
        parts = re.split("(" + "|".join(re.escape(n) for n in sorted(names, key=len, reverse=True)) + ")", text) if names else [text]
        ids, chunks = [], iter(chunks)
        for part in parts:
            if part in names:
                ids.append(self.tok.token_to_id(part))
                continue
            if self.tok.normalizer:
                part = self.tok.normalizer.normalize_str(part)
            for word, _ in self.words.pre_tokenize_str(part):
                raw = b"".join(next(chunks) if c == "\ufffd" else c.encode() for c in word)
                ids += [t.id for t in self.tok.model.tokenize("".join(ALPHABET[b] for b in raw))]
        return ids

    def encode(self, data):
        text = data.decode(errors="replace")
        if self.words and text.encode() != data:
            plain, special = self.by_words(data, False), self.by_words(data, True)
            special = self.tok.encode("", add_special_tokens=True).ids + special
        else:
            self.data.encode_special_tokens = True
            plain = self.data.encode(text, add_special_tokens=False).ids
            self.data.encode_special_tokens = False
            special = [self.back.get(i, i) for i in self.names.encode(text, add_special_tokens=True).ids]
        return plain, special, self.tok.decode(plain), self.tok.decode(special, skip_special_tokens=False)

    def decode_lists(self, r):
        """Any ids; but single bytes of <0xNN> only as whole characters, where `tokenizers` and bytes mean the same."""
        size = self.tok.get_vocab_size()
        single = {self.tok.token_to_id(f"<0x{b:02X}>"): b for b in range(256)} if not self.words else {}
        at = {b: i for i, b in single.items() if i is not None}
        for _ in range(N_DECODE):
            ids = []
            for _ in range(r.randint(0, 20)):
                i = r.randrange(size)
                ids += [i] if i not in single else [at[b] for b in r.choice("é中😀ш").encode()] if len(at) == 256 else []
            yield ids, self.tok.decode(ids), self.tok.decode(ids, skip_special_tokens=False)


class Spec:
    """The pieces of a .spec file in `sentencepiece`. BOS and EOS as llama.cpp's defaults for the model say."""

    def __init__(self, path):
        with open(path, encoding="ascii") as f:
            head, *lines = f.read().splitlines()
        model, bos, eos, unk, pad, prefix, extra, charsmap = head.split()
        proto = pb.ModelProto()
        for line in lines:
            kind, score, text = line.split()
            proto.pieces.add(piece=base64.b16decode(text).decode(), score=float(score), type=int(kind))
        t, n = proto.trainer_spec, proto.normalizer_spec
        t.model_type = 2 if model == "llama" else 1
        t.byte_fallback = True
        t.bos_id, t.eos_id, t.unk_id, t.pad_id = int(bos), int(eos), int(unk), int(pad)
        n.add_dummy_prefix, n.remove_extra_whitespaces, n.escape_whitespaces = prefix == "1", extra == "1", True
        n.precompiled_charsmap = b"" if charsmap == "-" else base64.b16decode(charsmap)
        self.sp = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
        self.prefix, self.suffix = ([int(bos)], []) if model == "llama" else ([], [int(eos)])

    def encode(self, data):
        ids = self.sp.encode(data.decode(errors="replace"))
        text = self.sp.decode(ids)
        return ids, self.prefix + ids + self.suffix, text, text

    def decode_lists(self, _):
        for s in tokenizer_strings.strings(SEED + 1, N_DECODE):
            ids = self.sp.encode(s.decode(errors="replace"))
            yield ids, self.sp.decode(ids), self.sp.decode(ids)


def smollm2(path):
    import gguf
    fields = gguf.GGUFReader(path).fields
    get = lambda key: fields["tokenizer.ggml." + key].contents()
    pieces, types = get("tokens"), get("token_type")
    tok = Tokenizer(models.BPE({p: i for i, p in enumerate(pieces)}, [tuple(m.split(" ")) for m in get("merges")]))
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens([AddedToken(p, special=True, normalized=False) for p, t in zip(pieces, types) if t == 3])
    return tok


def write(path, oracle, strings):
    out = struct.pack("<III", len(strings), N_FULL, N_DECODE)
    results = [oracle.encode(s) for s in strings]
    out += b"".join(struct.pack("<I", tokenizer_hash.of_string(*r)) for r in results)
    for plain, _, _, _ in results[:N_FULL]:
        out += struct.pack(f"<{len(plain) + 1}H", len(plain), *plain)
    fold = lambda text: (lambda h: (h ^ h >> 32) & 0xFFFFFFFF)(tokenizer_hash.fnv(text.encode()))
    for ids, plain, special in oracle.decode_lists(random.Random(SEED)):
        out += struct.pack(f"<{len(ids) + 1}H", len(ids), *ids) + struct.pack("<II", fold(plain), fold(special))
    with open(path, "wb") as f:
        f.write(out)
    print(path, len(out))


def main(folder, model=None):
    strings = tokenizer_strings.strings(SEED, N)
    with open(f"{folder}/strings.bin", "wb") as f:
        f.write(struct.pack("<I", N) + b"".join(struct.pack("<H", len(s)) + s for s in strings))
    cut = lambda pattern: pre_tokenizers.Split(Regex(pattern), "isolated")
    words = {"gpt2": cut(GPT2), "llama3": cut(tokenizer_train.LLAMA3), "qwen2": cut(tokenizer_train.QWEN2)}
    for family in ("gpt2", "llama3", "qwen2", "llama2", "mistral", "gemma", "unigram", "xlmr"):
        write(f"{folder}/{family}.golden", Json(Tokenizer.from_file(f"{folder}/{family}.json"), words.get(family)), strings)
    write(f"{folder}/llama2.spec.golden", Spec(f"{folder}/llama2.spec"), strings)
    write(f"{folder}/t5.spec.golden", Spec(f"{folder}/t5.spec"), strings)
    if model:
        digits = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), cut(GPT2)])
        write(f"{folder}/smollm2.golden", Json(smollm2(model), digits), strings)


if __name__ == "__main__":
    main(*sys.argv[1:])
