"""Small tokenizers of the kinds that Llama 3, Qwen and Llama 2 ship, trained on text that every Python has."""

import json
import pydoc_data.topics
from collections import Counter

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3_SPLIT = rf"{CONTRACTIONS}|{LETTERS}|\p{{N}}{{1,3}}|{REST}"
QWEN2_SPLIT = rf"{CONTRACTIONS}|{LETTERS}|\p{{N}}|{REST}"

# Enough of other scripts that some merges join, and some cut, the bytes of one character.
OTHER_SCRIPTS = [
    "Память измеряется в байтах до начала работы. Запрос принят или отклонён.",
    "每个请求在运行之前都按字节计价。内存永远不会用完。",
    "メモリはバイト単位で計算されます。これは船の線です。",
    "الذاكرة محسوبة بالبايت قبل التشغيل",
    "Größe, naïve café, señor, façade, smörgåsbord, où êtes-vous",
    "🙂🙂🚢🚢👍🏽 ok 12345 67890 2024",
]

LLAMA3_SPECIAL = [
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|finetune_right_pad_id|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
]
QWEN_SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
# Added tokens that are not special: they stay in the text when special tokens are skipped.
QWEN_ADDED = ["<tool_call>", "</tool_call>", "<think>", "</think>"]


def corpus():
    topics = pydoc_data.topics.topics
    return [topics[name] for name in sorted(topics)] + OTHER_SCRIPTS * 40


def byte_level(split, size, special, added=(), normalizer=None, ignore_merges=False):
    """Byte-level BPE of `size` ordinary tokens, then the special and the added ones."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(split), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(corpus(), trainer)
    assert tokenizer.get_vocab_size() == size
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in special])
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in added])
    return tokenizer


def llama3(size):
    tokenizer = byte_level(LLAMA3_SPLIT, size - len(LLAMA3_SPECIAL), LLAMA3_SPECIAL, ignore_merges=True)
    bos = LLAMA3_SPECIAL[0]
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single=f"{bos} $A",
                pair=f"{bos} $A {bos}:1 $B:1",
                special_tokens=[(bos, tokenizer.token_to_id(bos))],
            ),
        ]
    )
    return tokenizer


def qwen2(size):
    ordinary = size - len(QWEN_SPECIAL) - len(QWEN_ADDED)
    tokenizer = byte_level(QWEN2_SPLIT, ordinary, QWEN_SPECIAL, QWEN_ADDED, normalizers.NFC())
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def llama2(size):
    """SentencePiece style: words begin with U+2581, unknown characters fall back to byte tokens."""
    first = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trained.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    # The trainer's own choice among equally frequent characters changes from run to run.
    counts = Counter("".join(corpus()).replace(" ", "▁"))
    alphabet = sorted(counts, key=lambda character: (-counts[character], character))[:90]
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(first), initial_alphabet=alphabet, limit_alphabet=len(alphabet), show_progress=False
    )
    trained.train_from_iterator(corpus(), trainer)
    model = json.loads(trained.to_str())["model"]
    pieces = sorted(model["vocab"], key=model["vocab"].get)
    vocab = {piece: index for index, piece in enumerate(first + pieces)}
    assert len(vocab) == size
    merges = [tuple(pair) for pair in model["merges"]]
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = trained.normalizer
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)]
    )
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in first[:3]])
    return tokenizer
