"""Trains the small tokenizers of tests/data/tokenizer/: one for each family that no package ships.

  pip install tokenizers==0.22.* sentencepiece protobuf
  python3 tests/oracle/tokenizer_train.py tests/data/tokenizer

Writes <family>.json (tokenizer.json) and <family>.spec (pieces, types and scores as GGUF metadata has them). Training is
seeded but not promised to repeat across versions of the trainers: the written files are the fixtures, and
tokenizer_golden.py reads them.
"""

import base64
import io
import json
import sys
import tempfile
import unicodedata

import sentencepiece as spm
from sentencepiece import sentencepiece_model_pb2 as pb
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import tokenizer_strings

META = "\u2581"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
SIZE = 2000


def corpus():
    """Other strings than the tests': another seed, valid UTF-8 only, no names of special tokens."""
    names = [n for n in tokenizer_strings.LOOKALIKE if len(n) > 2]
    out = []
    for s in tokenizer_strings.strings(77, 20000):
        text = s.decode(errors="ignore").replace("\0", "")
        if not any(n in text for n in names):
            out.append(text)
    return out + tokenizer_strings.SENTENCES * 20 + tokenizer_strings.CODE * 20


def special(*names):
    return [AddedToken(n, special=True, normalized=False) for n in names]


def save(tok, path):
    text = json.loads(tok.to_str())
    with open(path, "w", encoding="utf-8") as f:
        json.dump(text, f, ensure_ascii=False, separators=(",", ":"))


def byte_level(lines, pre, normalizer=None):
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre
    if normalizer:
        tok.normalizer = normalizer
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=SIZE, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                                      show_progress=False))
    return tok


def split_then_bytes(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def gpt2(lines):
    tok = byte_level(lines, pre_tokenizers.ByteLevel(add_prefix_space=False))
    tok.post_processor = processors.ByteLevel(trim_offsets=False)
    tok.add_special_tokens(special("<|endoftext|>"))
    return tok


def llama3(lines):
    """Some words are in the vocabulary though no merges lead to them: ignore_merges finds them."""
    tok = byte_level(lines, split_then_bytes(LLAMA3))
    d = json.loads(tok.to_str())
    d["model"]["ignore_merges"] = True
    vocab = d["model"]["vocab"]
    words = [" evening", " maps", " Karten", "Вечером", "def", "晚上我", " 🇩🇪", "\n\n\n\n\n", " livros", "<|im_end|>"]
    for word in words:
        alphabet = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(word)[0][0]
        vocab.setdefault(alphabet, len(vocab))
    tok = Tokenizer.from_str(json.dumps(d))
    tok.add_special_tokens(special("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|reserved_1|>"))
    bos = tok.token_to_id("<|begin_of_text|>")
    tok.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|>:1 $B:1",
                                      special_tokens=[("<|begin_of_text|>", bos)])])
    return tok


def qwen2(lines):
    tok = byte_level(lines, split_then_bytes(QWEN2), normalizers.NFC())
    tok.post_processor = processors.ByteLevel(trim_offsets=False)
    tok.add_special_tokens(special("<|endoftext|>", "<|im_start|>", "<|im_end|>"))
    tok.add_tokens([AddedToken(n, special=False, normalized=False) for n in ("<tool_call>", "</tool_call>")])
    return tok


# ---- SentencePiece ------------------------------------------------------------------------------------------------

def sentencepiece(lines, **options):
    out = io.BytesIO()
    spm.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=out, vocab_size=SIZE, minloglevel=2, num_threads=1,
                                   character_coverage=0.99, max_sentence_length=100000, **options)
    proto = pb.ModelProto()
    proto.ParseFromString(out.getvalue())
    return out.getvalue(), proto


def pair_merges(proto):
    """Every way to cut a piece in two pieces, best score first: how `transformers` writes a SentencePiece model as merges."""
    ids = {p.piece: i for i, p in enumerate(proto.pieces)}
    scores = {p.piece: p.score for p in proto.pieces if p.type == 1}
    merges = []
    for piece, score in scores.items():
        cuts = [(piece[:i], piece[i:], score) for i in range(1, len(piece)) if piece[:i] in ids and piece[i:] in ids]
        merges += sorted(cuts, key=lambda c: (ids[c[0]], ids[c[1]]))
    return [c[:2] for c in sorted(merges, key=lambda c: (c[2], len(c[0]), len(c[1])), reverse=True)]


def bpe_of(proto):
    return models.BPE({p.piece: i for i, p in enumerate(proto.pieces)}, pair_merges(proto), unk_token="<unk>", fuse_unk=True,
                      byte_fallback=True)


def bos_template(tok, bos):
    tok.post_processor = processors.TemplateProcessing(single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1",
                                                       special_tokens=[(bos, tok.token_to_id(bos))])


def back_to_text(strip):
    steps = [decoders.Replace(META, " "), decoders.ByteFallback(), decoders.Fuse()]
    return decoders.Sequence(steps + ([decoders.Strip(" ", 1, 0)] if strip else []))


def llama2(proto):
    tok = Tokenizer(bpe_of(proto))
    tok.normalizer = normalizers.Sequence([normalizers.Prepend(META), normalizers.Replace(" ", META)])
    tok.decoder = back_to_text(True)
    tok.add_special_tokens(special("<unk>", "<s>", "</s>"))
    bos_template(tok, "<s>")
    return tok


def mistral(proto):
    """The same pieces behind Metaspace: the blank in front only where the text begins."""
    tok = Tokenizer(bpe_of(proto))
    tok.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tok.decoder = back_to_text(True)
    tok.add_special_tokens(special("<unk>", "<s>", "</s>", "[INST]", "[/INST]"))
    bos_template(tok, "<s>")
    return tok


def gemma(proto):
    tok = Tokenizer(bpe_of(proto))
    tok.normalizer = normalizers.Replace(" ", META)
    tok.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tok.decoder = back_to_text(False)
    tok.add_special_tokens(special("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"))
    tok.add_tokens([AddedToken(t, special=False, normalized=False) for t in ("\n\n", "\n\n\n", META * 2, META * 3)])
    bos_template(tok, "<bos>")
    return tok


def unigram(proto):
    tok = Tokenizer(models.Unigram([(p.piece, p.score) for p in proto.pieces], proto.trainer_spec.unk_id, True))
    tok.normalizer = normalizers.Sequence([normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap),
                                           normalizers.Replace(Regex(" {2,}"), " ")])
    tok.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tok.decoder = back_to_text(True)
    tok.add_special_tokens(special("<pad>", "</s>", "<unk>"))
    tok.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>",
                                                       special_tokens=[("</s>", tok.token_to_id("</s>"))])
    return tok


def xlmr(lines):
    """No byte fallback: a run of unknown characters is one <unk>."""
    tok = Tokenizer(models.Unigram())
    tok.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Strip(left=False), normalizers.Lowercase()])
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tok.decoder = decoders.Metaspace()
    tok.train_from_iterator(lines, trainers.UnigramTrainer(vocab_size=SIZE, unk_token="<unk>", show_progress=False,
                                                          special_tokens=["<s>", "<pad>", "</s>", "<unk>"]))
    tok.add_special_tokens(special("<s>", "<pad>", "</s>", "<unk>") + [AddedToken("<mask>", lstrip=True, special=True, normalized=False)])
    tok.post_processor = processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>",
                                                       special_tokens=[("<s>", 0), ("</s>", 2)])
    return tok


def write_rules(f):
    """A small normalisation table: full width, ligatures, digits in circles, blanks; not the 240 KB of nmt_nfkc."""
    for c in [*range(0xFF01, 0xFF5F), *range(0xFB00, 0xFB07), *range(0x2460, 0x2474), 0xA0, 0x3000, 0x2003, 0xBD, 0x2126]:
        f.write(f"{c:X}\t{' '.join(f'{ord(t):X}' for t in unicodedata.normalize('NFKC', chr(c)))}\n")
    for source, to in (("65 301", "E9"), ("6F 308", "F6"), ("200B", ""), ("D A", "20"), ("9", "20"), ("A", "20")):
        f.write(f"{source}\t{to}\n")


def write_spec(proto, model, path):
    """One line a piece: type, score, hex of its text; first a line of the rules that GGUF metadata states."""
    n, t = proto.normalizer_spec, proto.trainer_spec
    with open(path, "w", encoding="ascii") as f:
        f.write(f"{model} {t.bos_id} {t.eos_id} {t.unk_id} {t.pad_id} {int(n.add_dummy_prefix)} {int(n.remove_extra_whitespaces)} "
                f"{base64.b16encode(n.precompiled_charsmap).decode() or '-'}\n")
        for p in proto.pieces:
            f.write(f"{p.type} {p.score!r} {base64.b16encode(p.piece.encode()).decode()}\n")


def main(folder):
    lines = corpus()
    for make in (gpt2, llama3, qwen2):
        save(make(lines), f"{folder}/{make.__name__}.json")
    known = set("".join(tokenizer_strings.SENTENCES + tokenizer_strings.CODE))
    lines = [line for line in lines if set(line) <= known] # a vocabulary of characters must hold them all
    save(xlmr(lines), f"{folder}/xlmr.json")
    _, proto = sentencepiece(lines, model_type="bpe", byte_fallback=True, normalization_rule_name="identity", split_digits=True,
                             remove_extra_whitespaces=False, allow_whitespace_only_pieces=True)
    save(llama2(proto), f"{folder}/llama2.json")
    save(mistral(proto), f"{folder}/mistral.json")
    write_spec(proto, "llama", f"{folder}/llama2.spec")
    _, proto = sentencepiece(lines, model_type="bpe", byte_fallback=True, normalization_rule_name="identity", split_digits=True,
                             remove_extra_whitespaces=False, allow_whitespace_only_pieces=True, add_dummy_prefix=False, pad_id=0, eos_id=1,
                             bos_id=2, unk_id=3, pad_piece="<pad>", eos_piece="<eos>", bos_piece="<bos>",
                             user_defined_symbols=["<start_of_turn>", "<end_of_turn>"])
    save(gemma(proto), f"{folder}/gemma.json")
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as f:
        write_rules(f)
        f.flush()
        _, proto = sentencepiece(lines, model_type="unigram", byte_fallback=True, normalization_rule_tsv=f.name, pad_id=0, eos_id=1, unk_id=2,
                                 bos_id=-1, pad_piece="<pad>", hard_vocab_limit=False)
    save(unigram(proto), f"{folder}/unigram.json")
    write_spec(proto, "t5", f"{folder}/t5.spec")


if __name__ == "__main__":
    main(sys.argv[1])
