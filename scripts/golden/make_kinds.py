"""Writes tests/golden/kinds: small vocabularies of every kind, and digests of what Hugging Face's tokenizers and
SentencePiece make of some two thousand strings with them."""

import base64
import io
import json
import zlib
from collections import Counter

import gguf
import numpy as np
import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from common import GOLDEN, made_with
from texts import WORDS, texts
from vocabularies import LLAMA3_SPLIT, QWEN2_SPLIT, corpus

FOLDER = GOLDEN / "kinds"
SIZE = 700

GPT2_SPLIT = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
GPT4O_SPLIT = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{ENDINGS}|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{ENDINGS}|\p{{N}}{{1,3}}|{TAIL}"
)
TEKKEN_SPLIT = rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*|\p{{N}}|{TAIL}"
CJK = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
CASED = (
    r"A-Za-z\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}\x{1C4}-\x{293}"
    r"\x{295}-\x{2AF}\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386}\x{388}-\x{38A}\x{38C}"
    r"\x{38E}-\x{3A1}\x{3A3}-\x{3F5}\x{3F7}-\x{481}\x{48A}-\x{52F}\x{531}-\x{556}\x{10A0}-\x{10C5}"
    r"\x{13A0}-\x{13F5}\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF}\x{1D00}-\x{1D2B}"
    r"\x{1D6B}-\x{1D77}\x{1D79}-\x{1D9A}\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D}\x{1F20}-\x{1F45}"
    r"\x{1F48}-\x{1F4D}\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}\x{1F5D}\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4}"
    r"\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4}\x{1FC6}-\x{1FCC}\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}"
    r"\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4}\x{1FF6}-\x{1FFC}\x{2102}\x{2107}\x{210A}-\x{2113}\x{2115}"
    r"\x{2119}-\x{211D}\x{2124}\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134}\x{2139}"
    r"\x{213C}-\x{213F}\x{2145}-\x{2149}\x{214E}\x{2183}\x{2184}\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4}"
    r"\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D}\x{A680}-\x{A69B}\x{A722}-\x{A76F}"
    r"\x{A771}-\x{A787}\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF}\x{FB00}-\x{FB06}\x{FB13}-\x{FB17}"
    r"\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A}\x{10400}-\x{1044F}\x{104B0}-\x{104D3}\x{104D8}-\x{104FB}"
    r"\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2}\x{118A0}-\x{118DF}\x{1E900}-\x{1E943}"
)
# What llama.cpp names, and the splits that stand for it.
BYTE_LEVEL = {
    "llama-bpe": [LLAMA3_SPLIT],
    "qwen2": [QWEN2_SPLIT],
    "gpt-4o": [GPT4O_SPLIT],
    "tekken": [TEKKEN_SPLIT],
    "deepseek-llm": [r"[\r\n]", rf"\s?[{CASED}]+", r"\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+", r"\s+$", CJK, r"\p{N}+"],
    "deepseek-coder": [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", CJK, r"\p{N}"],
    "deepseek-v3": [
        r"\p{N}{1,3}",
        "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
        r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"""
        r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    ],
    "smollm": [r"\p{N}", GPT2_SPLIT],
    "gpt-2": [GPT2_SPLIT],
    "default": [r"[\p{P}\$\+<=>\^~\|]+", GPT2_SPLIT, r"\p{N}+", r"[0-9][0-9][0-9]"],
}
ADDED = [AddedToken("<|end|>", special=True), AddedToken("<think>", special=False, normalized=False)]


def lines():
    return corpus() + [" ".join(words) for words in WORDS.values()] * 20


def alphabet(tokenizer, size):
    """The most frequent characters. The trainers' own choice among equally frequent ones changes from run to run."""
    normalize = tokenizer.normalizer.normalize_str if tokenizer.normalizer else lambda text: text.replace(" ", "▁")
    counts = Counter("".join(map(normalize, lines())))
    found = sorted((c for c in counts if not c.isspace()), key=lambda c: (-counts[c], c))[:size]
    return {"initial_alphabet": found, "limit_alphabet": len(found)}


def byte_level(name):
    tokenizer = Tokenizer(models.BPE(ignore_merges=name in ("llama-bpe", "tekken")))
    if name == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    splits = [pre_tokenizers.Split(Regex(split), "isolated") for split in BYTE_LEVEL[name]]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=SIZE, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(lines(), trainer)
    tokenizer.add_tokens(ADDED)
    return tokenizer


def word_pieces():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=60))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[UNK]", "[CLS]", "[SEP]"]
    tokenizer.train_from_iterator(
        lines(), trainers.WordPieceTrainer(vocab_size=SIZE, special_tokens=special, show_progress=False, **alphabet(tokenizer, 90))
    )
    ids = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ids)
    return tokenizer


def whole_words():
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase(), normalizers.Strip()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.UnicodeScripts()]
    )
    tokenizer.train_from_iterator(
        lines(), trainers.WordLevelTrainer(vocab_size=SIZE, special_tokens=["<unk>"], show_progress=False)
    )
    tokenizer.add_tokens([AddedToken("Ship", normalized=True), AddedToken("line", single_word=True, normalized=False)])
    return tokenizer


def words_with_ends():
    """Merges that know where a word ends, behind chains of normalisers and pre-tokenisers."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace("``", '"'), normalizers.Replace(Regex("[0-9]{4,}"), "0")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.CharDelimiterSplit("_"),
            pre_tokenizers.Punctuation("contiguous"),
            pre_tokenizers.Split("er", "merged_with_previous"),
            pre_tokenizers.FixedLength(12),
        ]
    )
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE, special_tokens=["<unk>"], end_of_word_suffix="</w>", show_progress=False, **alphabet(tokenizer, 120)
    )
    tokenizer.train_from_iterator(lines(), trainer)
    return tokenizer


def metaspace():
    """Added tokens with every flag, a space before the first word only."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first")
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace("▁", "first"), decoders.Fuse()])
    special = ["<unk>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=SIZE + 257, special_tokens=special, show_progress=False, **alphabet(tokenizer, 90))
    tokenizer.train_from_iterator(lines(), trainer)
    plain = json.loads(tokenizer.to_str())
    plain["added_tokens"] = []
    tokenizer = Tokenizer.from_str(json.dumps(plain))
    tokenizer.add_special_tokens([AddedToken("<s>", lstrip=True), AddedToken("</s>", rstrip=True)])
    tokenizer.add_tokens([AddedToken("hello", single_word=True), AddedToken("🙂", lstrip=True, rstrip=True)])
    return tokenizer


SENTENCEPIECE = {
    # As Llama 2's.
    "spm-bpe": dict(model_type="bpe", normalization_rule_name="identity", remove_extra_whitespaces=False, byte_fallback=True,
                    split_digits=True, allow_whitespace_only_pieces=True, user_defined_symbols=["<think>"]),
    # As Gemma's.
    "spm-bpe-bare": dict(model_type="bpe", normalization_rule_name="identity", remove_extra_whitespaces=False,
                         byte_fallback=True, add_dummy_prefix=False, allow_whitespace_only_pieces=True,
                         user_defined_symbols=["\n\n", "<think>", "▁▁▁▁"]),
    # As T5's, with and without tokens for bytes.
    "spm-unigram": dict(model_type="unigram", normalization_rule_name="nmt_nfkc"),
    "spm-unigram-bytes": dict(model_type="unigram", normalization_rule_name="nmt_nfkc", byte_fallback=True),
}


def train(name):
    model = io.BytesIO()
    options = SENTENCEPIECE[name]
    size = SIZE + 256 * options.get("byte_fallback", False)
    sentences = [line for text in lines() for line in text.split("\n")]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_writer=model, vocab_size=size, character_coverage=0.98,
        num_threads=1, minloglevel=2, **options,
    )
    return model.getvalue()


def tables(proto):
    """The keys that gguf-py's converters write for a SentencePiece model; the types have the same numbers."""
    spec = proto.normalizer_spec
    kinds = {1: "t5", 2: "llama"}
    return {
        "model": kinds[proto.trainer_spec.model_type],
        "tokens": [piece.piece for piece in proto.pieces],
        "token_type": [piece.type for piece in proto.pieces],
        "scores": [piece.score for piece in proto.pieces],
        "unknown_token_id": proto.trainer_spec.unk_id,
        "bos_token_id": proto.trainer_spec.bos_id,
        "eos_token_id": proto.trainer_spec.eos_id,
        "add_space_prefix": spec.add_dummy_prefix,
        "remove_extra_whitespaces": spec.remove_extra_whitespaces,
        "charsmap": bool(spec.precompiled_charsmap),
    }


def write_gguf(path, proto):
    """The same keys in a file of a model with one tiny layer, so that it can be loaded."""
    table, width = tables(proto), 16
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(512)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(width)
    writer.add_head_count(1)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model(table["model"])
    writer.add_tokenizer_pre("default")
    writer.add_token_list(table["tokens"])
    writer.add_token_scores(table["scores"])
    writer.add_token_types(table["token_type"])
    writer.add_bos_token_id(table["bos_token_id"])
    writer.add_eos_token_id(table["eos_token_id"])
    writer.add_unk_token_id(table["unknown_token_id"])
    writer.add_add_space_prefix(table["add_space_prefix"])
    writer.add_remove_extra_whitespaces(table["remove_extra_whitespaces"])
    if table["charsmap"]:
        writer.add_precompiled_charsmap(proto.normalizer_spec.precompiled_charsmap)
    writer.add_tensor("token_embd.weight", np.zeros((len(table["tokens"]), width), np.float16))
    writer.add_tensor("output_norm.weight", np.ones(width, np.float32))
    for part in ("attn_norm", "ffn_norm"):
        writer.add_tensor(f"blk.0.{part}.weight", np.ones(width, np.float32))
    for part in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        writer.add_tensor(f"blk.0.{part}.weight", np.zeros((width, width), np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def unigram_json(proto):
    """The same model as a tokenizer.json, as transformers converts T5's."""
    pieces = [(piece.piece, piece.score) for piece in proto.pieces]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=proto.trainer_spec.unk_id))
    rules = normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap)
    tokenizer.normalizer = normalizers.Sequence([rules, normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip(left=False)])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in ("<unk>", "<s>", "</s>")])
    return tokenizer


def digest(ids, text):
    """Eight digits of what must be equal: the ids, and the text that they decode to."""
    return f"{zlib.crc32((' '.join(map(str, ids)) + chr(10) + text).encode()):08x}"


def write(name, value):
    (FOLDER / name).write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    strings = texts()
    digests = {}

    def compare(name, encode, decode):
        digests[name] = [digest(ids, decode(ids)) for ids in map(encode, strings)]

    def compare_json(name, tokenizer):
        file = json.loads(tokenizer.to_str())
        for step in (file["normalizer"] or {}).get("normalizers", []):
            if step["type"] == "Precompiled":
                # Kept once, beside the tables.
                step["precompiled_charsmap"] = ""
        write(f"{name}.json", file)
        encode = lambda text: tokenizer.encode(text, add_special_tokens=False).ids  # noqa: E731
        compare(name, encode, lambda ids: tokenizer.decode(ids, skip_special_tokens=True))

    for name in BYTE_LEVEL:
        compare_json(name, byte_level(name))
    for name, make in [("word-pieces", word_pieces), ("whole-words", whole_words), ("words-with-ends", words_with_ends),
                       ("metaspace", metaspace)]:
        # These trainers number tokens by the order of a hash table: a vocabulary that is there stays.
        kept = FOLDER / f"{name}.json"
        compare_json(name, Tokenizer.from_file(str(kept)) if kept.exists() else make())
    for name in SENTENCEPIECE:
        model = train(name)
        proto = sentencepiece_model_pb2.ModelProto.FromString(model)
        write(f"{name}.tables.json", tables(proto))
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        compare(name, processor.encode, processor.decode)
        if name in ("spm-bpe", "spm-unigram"):
            write_gguf(FOLDER / f"{name}.gguf", proto)
        if name == "spm-unigram":
            (FOLDER / "nmt_nfkc.base64").write_text(base64.b64encode(proto.normalizer_spec.precompiled_charsmap).decode() + "\n")
            compare_json("unigram-json", unigram_json(proto))

    head = {
        "made_with": made_with("make_kinds.py", "tokenizers", "sentencepiece", "gguf"),
        "byte_level": list(BYTE_LEVEL),
        "tokenizer_json": [*BYTE_LEVEL, "word-pieces", "whole-words", "words-with-ends", "metaspace", "unigram-json"],
        "sentencepiece": list(SENTENCEPIECE),
    }
    lines = [json.dumps(head, ensure_ascii=False)[:-1] + ',\n"digests": {']
    lines.append(",\n".join(f'"{name}": "{"".join(found)}"' for name, found in digests.items()) + '},\n"texts": [')
    lines.append(",\n".join(json.dumps(text, ensure_ascii=False) for text in strings) + "\n]}\n")
    (FOLDER / "digests.json").write_text("\n".join(lines), encoding="utf-8")
    print(f"{len(strings)} strings, {len(digests)} kinds")


if __name__ == "__main__":
    main()
