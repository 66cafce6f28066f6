"""Makes tokenizers of every kind of part, and the ids the Rust library gives them for texts that exercise the parts.

usage: tokenizer_cases.py OUT
OUT/<case>.json is a tokenizer.json; OUT/cases.json has the texts and, by case, their ids, or null where encoding fails.
"""

import json
import pathlib
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models
from tokenizers import normalizers as N
from tokenizers import pre_tokenizers as P
from tokenizers import processors

out = pathlib.Path(sys.argv[1])
TEXTS = [
    "",
    " ",
    "a b",
    "a b  a b",
    " leading and trailing ",
    "Hello, world! It's 3.14; isn't it?",
    "it’s “quoted” — really…",
    "naïve café e\u0301 \u00e9 ﬁ ﬀ ½ ² K Ω ℌ",
    "日本語のテキスト 中文 한국어 ไทย हिन्दी العربية",
    "🍣🏳️‍🌈👩‍👩‍👧 \U0001f1e9\U0001f1ea",
    "a\tb\nc\r\nd\u00a0e\u2003f\u200bg\u2028h\ufeffi\x85j",
    "zzz qqq \x00 \x7f \ue000 \ufffd",
    "12345 1,234.5 ⅔ ٣٤٥",
    "foo_bar fooBar FOO-BAR foo.bar",
    "a!b a,b ,,, !!! (a) [b]",
    "<s> hi </s> <mask> x<mask>y",
    "▁a ▁▁ b",
    "İstanbul Straße ΌΣΟΣ Ǆ",
    "aaaaaaaaaaaaaaaaaaaaaaaa bbbbbbbbbbbbbbbb",
]
LETTERS = ["<unk>"] + sorted(set("".join(TEXTS)) - set("zq🍣日")) + [f"<0x{i:02X}>" for i in range(256)]
VOCABULARY = {c: i for i, c in enumerate(dict.fromkeys(LETTERS + ["▁", "Ġ", "##a", "##b", "b</w>", "a</w>"]))}
PAIRS = [(" ", "b"), ("a", " "), ("a", "!"), ("!", "b"), ("\r", "\n"), ("a", "b"), ("e", "\u0301"), ("a", "a"), ("aa", "aa"), ("▁", "a")]
for left, right in PAIRS:
    VOCABULARY.setdefault(left + right, len(VOCABULARY))
BYTES = {c: i for i, c in enumerate(sorted(P.ByteLevel.alphabet()))}
GPT2 = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
BEHAVIOURS = ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous")

made = {}


def bpe(**options):
    return models.BPE(vocab=dict(VOCABULARY), merges=PAIRS, **{"unk_token": "<unk>", **options})


def case(name, model, pre=None, norm=None, tokens=(), post=None):
    tokenizer = Tokenizer(model)
    if pre is not None:
        tokenizer.pre_tokenizer = pre
    if norm is not None:
        tokenizer.normalizer = norm
    if post is not None:
        tokenizer.post_processor = post
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_tokens(list(tokens))
    tokenizer.save(str(out / f"{name}.json"))
    made[name] = []
    for text in TEXTS:
        try:
            made[name].append(tokenizer.encode(text, add_special_tokens=False).ids)
        except Exception:
            made[name].append(None)


scores = [(w, -1.0 - i / 100) for i, w in enumerate(VOCABULARY)]
case("bpe", bpe())
case("bpe-fused-unknown", bpe(fuse_unk=True))
case("bpe-byte-fallback", bpe(byte_fallback=True))
case("bpe-without-unknown", bpe(unk_token=None))
case("bpe-ignore-merges", bpe(ignore_merges=True), P.Split(Regex(r"\s+"), "isolated"))
case("bpe-suffix", bpe(end_of_word_suffix="</w>"), P.Whitespace())
case("bpe-prefix", models.BPE(vocab={"a": 0, "b": 1, "##b": 2, "ab": 3, "<unk>": 4}, merges=[("a", "##b")], unk_token="<unk>", continuing_subword_prefix="##"), P.Whitespace())
case("unigram", models.Unigram(scores, unk_id=0))
case("unigram-byte-fallback", models.Unigram(scores, unk_id=0, byte_fallback=True))
case("unigram-metaspace", models.Unigram(scores, unk_id=0), P.Metaspace(), N.NFKC())
case("wordlevel", models.WordLevel({"<unk>": 1, "a": 0, "b": 2}, unk_token="<unk>"), P.Whitespace())
case("wordlevel-without-unknown", models.WordLevel({"a": 0, "b": 2}), P.WhitespaceSplit())
case("wordpiece", models.WordPiece(dict(VOCABULARY), unk_token="<unk>"), P.BertPreTokenizer(), N.BertNormalizer())
case("wordpiece-cased", models.WordPiece(dict(VOCABULARY), unk_token="<unk>"), P.BertPreTokenizer(), N.BertNormalizer(lowercase=False, strip_accents=False))
byte_level = lambda **options: models.BPE(vocab=BYTES, merges=[("a", "b")][:0], **options)
case("byte-level", byte_level(), P.ByteLevel(add_prefix_space=False))
case("byte-level-prefix", byte_level(), P.ByteLevel(add_prefix_space=True), N.NFC())
case("byte-level-gpt2", byte_level(), P.Sequence([P.Split(Regex(GPT2), "isolated"), P.ByteLevel(add_prefix_space=False, use_regex=False)]))
case("byte-level-llama3", byte_level(), P.Sequence([P.Split(Regex(LLAMA3), "isolated"), P.ByteLevel(add_prefix_space=False, use_regex=False)]))
case("byte-level-inverted", byte_level(), P.Sequence([P.Split(Regex(LLAMA3), "removed", invert=True), P.ByteLevel(add_prefix_space=False, use_regex=False)]))
for behaviour in BEHAVIOURS:
    case(f"split-{behaviour}", bpe(), P.Split(Regex(" "), behaviour))
    case(f"split-text-{behaviour}", bpe(), P.Split(" ", behaviour))
    case(f"split-inverted-{behaviour}", bpe(), P.Split(Regex(r"\w+"), behaviour, invert=True))
    case(f"punctuation-{behaviour}", bpe(), P.Punctuation(behaviour))
for scheme in ("always", "never", "first"):
    case(f"metaspace-{scheme}", bpe(), P.Metaspace("▁", scheme))
    case(f"metaspace-{scheme}-whole", bpe(), P.Metaspace("▁", scheme, split=False))
case("digits", bpe(), P.Digits(True))
case("digits-together", bpe(), P.Digits(False))
case("scripts", bpe(), P.UnicodeScripts())
case("delimiter", bpe(), P.CharDelimiterSplit("_"))
case("fixed-length", bpe(), P.FixedLength(3))
normalizers = {
    "nfd": N.NFD(), "nfkd": N.NFKD(), "nfc": N.NFC(), "nfkc": N.NFKC(), "nmt": N.Nmt(), "lowercase": N.Lowercase(), "strip": N.Strip(),
    "strip-accents": N.Sequence([N.NFD(), N.StripAccents()]), "replace": N.Replace(Regex(r"\s+"), "▁"), "replace-text": N.Replace(" ", "▁"),
    "prepend": N.Sequence([N.Prepend("▁"), N.Replace(" ", "▁")]), "byte-level": N.ByteLevel(),
}
for name, normalizer in normalizers.items():
    case(f"normalizer-{name}", bpe(byte_fallback=True), norm=normalizer)
special = [
    AddedToken("<s>", special=True), AddedToken("</s>", special=True, normalized=False),
    AddedToken("<mask>", lstrip=True, rstrip=True), AddedToken("foo", single_word=True), AddedToken("HELLO", normalized=True),
]
case("added-tokens", bpe(), P.Whitespace(), N.Lowercase(), special)
case("post-processor", bpe(), post=processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)]))
(out / "cases.json").write_text(json.dumps(dict(texts=TEXTS, ids=made)))
