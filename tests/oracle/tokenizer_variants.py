"""Every rule of tokenizer.json on its own, against `tokenizers`: writes tests/data/tokenizer/variants.json.

  pip install tokenizers==0.23.* sentencepiece protobuf
  python3 tests/oracle/tokenizer_variants.py tests/data/tokenizer

Each variant takes the model of one of the trained files and puts other sections around it. The hash is over the strings of
strings.bin that are UTF-8, the first COUNT of the file.
"""

import base64
import io
import json
import sys
import tempfile

import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as pb
from tokenizers import Tokenizer

import tokenizer_hash
import tokenizer_strings

COUNT = 1200
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
WORDS = dict(BYTES, use_regex=True)
BACK = {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]}


def seq(kind, *steps):
    return {"type": "Sequence", kind: list(steps)}


def split(pattern, behavior, invert=False, regex=True):
    return {"type": "Split", "pattern": {"Regex" if regex else "String": pattern}, "behavior": behavior, "invert": invert}


def meta(scheme, do_split=True):
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": do_split}


def replace(pattern, content, regex=False):
    return {"type": "Replace", "pattern": {"Regex" if regex else "String": pattern}, "content": content}


def added(*texts, first, **flags):
    rules = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False, **flags}
    return [{"id": first + i, "content": t, **rules} for i, t in enumerate(texts)]


def charsmap():
    """Rules of which one begins another, as SentencePiece compiles them."""
    rules = (("6F 308", "F6"), ("6F", "30"), ("65 301", "E9"), ("62 62", "42"), ("63", ""), ("4E2D 56FD", "41 42"))
    out = io.BytesIO()
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as f:
        f.write("".join(f"{a}\t{b}\n" for a, b in rules))
        f.flush()
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(["a b c d e f g h i j o p"] * 10), model_writer=out, vocab_size=30,
                                                 hard_vocab_limit=False, normalization_rule_tsv=f.name, minloglevel=2)
    proto = pb.ModelProto()
    proto.ParseFromString(out.getvalue())
    return base64.b64encode(proto.normalizer_spec.precompiled_charsmap).decode()


def variants(sizes):
    b, c = "gpt2", "llama2" # byte-level pieces, pieces of characters
    pre = lambda name, p, **more: dict(name=name, model=b, pre_tokenizer=p, **more)
    norm = lambda name, n, **more: dict(name=name, model=b, normalizer=n, pre_tokenizer=WORDS, **more)
    yield pre("prefix space", dict(WORDS, add_prefix_space=True))
    yield pre("prefix space, no words", dict(BYTES, add_prefix_space=True))
    yield pre("bytes alone", BYTES)
    yield pre("digits together", seq("pretokenizers", {"type": "Digits", "individual_digits": False}, WORDS))
    yield pre("digits alone", seq("pretokenizers", {"type": "Digits", "individual_digits": True}, WORDS))
    for behavior in ("Isolated", "Removed", "Contiguous", "MergedWithPrevious", "MergedWithNext"):
        for invert in (False, True):
            yield pre(f"split {behavior} {invert}", seq("pretokenizers", split(r"\s|[aeiou]+|\d", behavior, invert), BYTES))
        yield pre(f"split literal {behavior}", seq("pretokenizers", split(" ", behavior, regex=False), BYTES))
    yield pre("white space removed", seq("pretokenizers", {"type": "WhitespaceSplit"}, BYTES))
    yield pre("three splits", seq("pretokenizers", split(r"\p{N}{1,3}", "Isolated"), split(r"[一-龥ぁ-ん]+", "Isolated"),
                                  split(r"[!-/:-~]?[A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
                                        "Isolated"), BYTES))
    yield pre("cases", seq("pretokenizers", split(
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+", "Removed", True), BYTES))
    yield pre("classes", seq("pretokenizers", split(r"\w+|\W+", "Isolated"), split(r"[\s]+(?=[\S])|\x{41}+|\u00e9", "Isolated"), BYTES))
    yield pre("scripts", seq("pretokenizers", split(r"\p{Han}+|\p{Hiragana}+|\p{Greek}+|\P{Cyrillic}", "Isolated"), BYTES))
    yield pre("scripts removed", seq("pretokenizers", split(r"\p{Han}|\p{Hiragana}", "Removed"), BYTES))
    yield pre("line ends", seq("pretokenizers", split(r"^a|.$|\n", "Isolated"), BYTES))
    yield pre("possessive", seq("pretokenizers", split(r"[^\r\n\p{L}\p{N}]?+\p{L}++|\s++$|.", "Isolated"), BYTES))
    for form in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase"):
        yield norm(form, {"type": form})
    yield norm("rules", {"type": "Precompiled", "precompiled_charsmap": charsmap()})
    yield norm("strip", {"type": "Strip", "strip_left": True, "strip_right": True})
    yield norm("strip left", {"type": "Strip", "strip_left": True, "strip_right": False})
    yield norm("replace expression", replace(r"\s+", " ", True))
    yield norm("replace by nothing", replace(r"[aeiou]|\p{M}", "", True))
    yield norm("prepend", {"type": "Prepend", "prepend": "x "})
    yield norm("several", seq("normalizers", {"type": "NFD"}, replace(r"\p{Mn}", "", True), {"type": "Lowercase"}, {"type": "NFC"}))
    for scheme in ("always", "first", "never"):
        for do_split in (True, False):
            yield dict(name=f"metaspace {scheme} {do_split}", model=c, pre_tokenizer=meta(scheme, do_split), decoder=meta(scheme, do_split),
                       added_tokens=added("<|im_end|>", "foo", first=sizes[c]))
    yield dict(name="metaspace first behind strip", model=c, normalizer={"type": "Strip", "strip_left": True, "strip_right": False},
               pre_tokenizer=meta("first"), decoder=meta("first"))
    yield dict(name="metaspace first behind replace", model=c, normalizer=replace(" {2,}", "_", True), pre_tokenizer=meta("first"), decoder=BACK)
    yield dict(name="no pre-tokeniser", model=c, decoder=BACK)
    yield dict(name="unknown fused", model=c, decoder=BACK, edit=[['"byte_fallback":true', '"byte_fallback":false']])
    yield dict(name="unknown single", model=c, decoder=BACK,
               edit=[['"byte_fallback":true', '"byte_fallback":false'], ['"fuse_unk":true', '"fuse_unk":false']])
    yield dict(name="unknown dropped", model=c, decoder=BACK,
               edit=[['"byte_fallback":true', '"byte_fallback":false'], ['"unk_token":"<unk>"', '"unk_token":null']])
    yield dict(name="some bytes missing", model=c, decoder=BACK, edit=[['"<0xF0>"', '"<0yF0>"'], ['"<0xE4>"', '"<0yE4>"']])
    yield dict(name="decoder strips two", model=c, normalizer=replace(" ", "▁"),
               decoder=dict(BACK, decoders=BACK["decoders"] + [{"type": "Strip", "content": " ", "start": 2, "stop": 0}]))
    names = ["<|im_end|>", "<s>", "the", "é", "ab", " a", "\n", "1", "<|im", "İ"]
    for flags in ({}, {"lstrip": True}, {"rstrip": True}, {"lstrip": True, "rstrip": True}, {"single_word": True}, {"normalized": True},
                  {"special": True}, {"special": True, "normalized": True, "lstrip": True}):
        for lower in (False, True):
            fresh = [n for n in names if n not in ("the", "é", "ab", "1", "\n")] if lower else names
            yield pre(f"added {'lower' if lower else ''} {flags}", WORDS, normalizer={"type": "Lowercase"} if lower else None,
                      added_tokens=added(*[n + ">" for n in fresh], *fresh[:1], first=sizes[b], **flags))
    yield pre("template", WORDS, added_tokens=added("<a>", "<b>", first=sizes[b], special=True), post_processor=seq(
        "processors", {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
        {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<a>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                                                  {"SpecialToken": {"id": "<b>", "type_id": 0}}], "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
         "special_tokens": {"<a>": {"id": "<a>", "ids": [sizes[b]], "tokens": ["<a>"]},
                            "<b>": {"id": "<b>", "ids": [sizes[b] + 1, sizes[b]], "tokens": ["<b>", "<a>"]}}}))
    for form in (None, {"type": "NFKC"}, replace("a", "", False)):
        yield dict(name=f"unigram {form and form['type']}", model="unigram", normalizer=form, pre_tokenizer=meta("first"), decoder=BACK)
    yield dict(name="unigram, unknown", model="unigram", pre_tokenizer=meta("always", False), decoder=meta("always"),
               edit=[['"byte_fallback":true', '"byte_fallback":false']])


def head(v):
    """The file up to its model."""
    section = lambda key, otherwise: json.dumps(v.get(key, otherwise), ensure_ascii=False)
    default = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    return (f'{{"version":"1.0","truncation":null,"padding":null,"added_tokens":{section("added_tokens", [])},"normalizer":{section("normalizer", None)},'
            f'"pre_tokenizer":{section("pre_tokenizer", None)},"post_processor":{section("post_processor", None)},'
            f'"decoder":{section("decoder", default)},"model":')


def build(v, model):
    for a, b in v.get("edit", []):
        assert a in model, (v["name"], a)
        model = model.replace(a, b)
    return head(v) + model + "}"


def results(tok, text):
    tok.encode_special_tokens = True
    plain = tok.encode(text, add_special_tokens=False).ids
    tok.encode_special_tokens = False
    special = tok.encode(text, add_special_tokens=True).ids
    return plain, special, tok.decode(plain, skip_special_tokens=True), tok.decode(special, skip_special_tokens=False)


def models(folder):
    out = {}
    for name in ("gpt2", "llama2", "unigram"):
        with open(f"{folder}/{name}.json", encoding="utf-8") as f:
            text = f.read()
        out[name] = text[text.index('"model":') + 8:-1]
    return out


def texts():
    for s in tokenizer_strings.strings(1, COUNT):
        try:
            yield s.decode()
        except UnicodeDecodeError:
            pass


def main(folder):
    model = models(folder)
    sizes = {k: len(json.loads(m)["vocab"]) for k, m in model.items()}
    out = []
    for v in variants(sizes):
        tok = Tokenizer.from_str(build(v, model[v["model"]]))
        h = 0
        for text in texts():
            h = tokenizer_hash.fnv(tokenizer_hash.of_string(*results(tok, text)).to_bytes(4, "little"), h)
        out.append({"name": v["name"], "model": v["model"], "edit": v.get("edit", []), "json": head(v), "hash": f"{h:016x}"})
    with open(f"{folder}/variants.json", "w", encoding="utf-8") as f:
        json.dump(out, f, ensure_ascii=False, indent=0)


if __name__ == "__main__":
    main(sys.argv[1])
