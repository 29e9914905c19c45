"""Writes the first inputs of the fuzz targets to fuzz/seeds, and their dictionaries to fuzz/dictionaries.

    pip install -r ../golden/requirements.txt
    python make_seeds.py

Inputs that a fuzzer found and that led to a fix stand in the same folders under names that begin with `found-`; this
script leaves them alone.
"""

import json
import struct
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import save

ROOT = Path(__file__).resolve().parents[2]
SEEDS = ROOT / "fuzz" / "seeds"
GOLDEN = ROOT / "tests" / "golden" / "models"


def write(target: str, name: str, data: bytes) -> None:
    folder = SEEDS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def gguf_file(path: Path, architecture: str, kind: gguf.GGMLQuantizationType, tokenizer: str, extra: dict) -> None:
    """The header of a model of one layer with a vocabulary of bytes."""
    writer = gguf.GGUFWriter(path, architecture)
    hidden, heads = 256, 4
    writer.add_context_length(64)
    writer.add_embedding_length(hidden)
    writer.add_block_count(1)
    writer.add_feed_forward_length(hidden)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_rms_eps(1e-5)
    for key, value in extra.items():
        writer.add_uint32(f"{architecture}.{key}", value)
    tokens = ["<unk>", "<s>", "</s>", "a", "b", "ab", "Ġ", "▁"]
    writer.add_tokenizer_model(tokenizer)
    writer.add_token_list(tokens)
    writer.add_token_types([2, 3, 3, 1, 1, 1, 1, 1])
    if tokenizer == "gpt2":
        writer.add_tokenizer_pre("llama-bpe")
        writer.add_token_merges(["a b"])
    else:
        writer.add_token_scores([float(-index) for index in range(len(tokens))])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template("{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}")

    def tensor(name: str, rows: int) -> None:
        if kind == gguf.GGMLQuantizationType.F32:
            writer.add_tensor(name, np.zeros((rows, hidden), dtype=np.float32))
            return
        block, size = gguf.GGML_QUANT_SIZES[kind]
        writer.add_tensor(name, np.zeros((rows, hidden // block * size), dtype=np.uint8), raw_dtype=kind)

    tensor("token_embd.weight", len(tokens))
    writer.add_tensor("output_norm.weight", np.zeros(hidden, dtype=np.float32))
    for norm in ("attn_norm", "ffn_norm"):
        writer.add_tensor(f"blk.0.{norm}.weight", np.zeros(hidden, dtype=np.float32))
    # The fuzzer needs headers, not weights: one matrix shows how they are described.
    tensor("blk.0.attn_q.weight", 1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def gguf_seeds() -> None:
    folder = SEEDS / "gguf"
    folder.mkdir(parents=True, exist_ok=True)
    types = gguf.GGMLQuantizationType
    cases = [
        ("llama-f32", "llama", types.F32, "gpt2", {}),
        ("llama-q4_k", "llama", types.Q4_K, "llama", {"attention.sliding_window": 16}),
        ("qwen3-q6_k", "qwen3", types.Q6_K, "gpt2", {"attention.key_length": 64}),
        ("gemma3-q8_0", "gemma3", types.Q8_0, "llama", {"attention.sliding_window": 16}),
        ("qwen3moe-mxfp4", "qwen3moe", types.MXFP4, "gpt2",
         {"expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": 64}),
        ("phi3-iq4_xs", "phi3", types.IQ4_XS, "t5", {"rope.dimension_count": 32}),
    ]
    for name, architecture, kind, tokenizer, extra in cases:
        gguf_file(folder / name, architecture, kind, tokenizer, extra)
    write("gguf", "magic-alone", b"GGUF")
    write("gguf", "counts-alone", b"GGUF" + struct.pack("<IQQ", 3, 1 << 61, 1 << 61))


def safetensors_seeds() -> None:
    for name, kind in (("f32", np.float32), ("f16", np.float16), ("i64", np.int64)):
        tensors = {f"model.layers.{layer}.mlp.up_proj.weight": np.zeros((2, 3), dtype=kind) for layer in range(2)}
        tensors["empty"] = np.zeros((0, 3), dtype=kind)
        write("safetensors", name, save(tensors, metadata={"format": "pt"}))

    def raw(header: str, data: bytes = b"") -> bytes:
        return struct.pack("<Q", len(header)) + header.encode() + data

    write("safetensors", "none", raw("{}"))
    write("safetensors", "hole", raw('{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', bytes(8)))
    write("safetensors", "product", raw('{"a":{"dtype":"U8","shape":[2,9223372036854775807],"data_offsets":[0,1]}}', b"x"))


def config_seeds() -> None:
    index = (GOLDEN / "llama-sharded" / "model.safetensors.index.json").read_bytes()
    for folder in sorted(GOLDEN.iterdir()):
        config = folder / "config.json"
        if config.exists():
            second = (folder / "tokenizer_config.json").read_bytes() if folder.name == "qwen2" else index[:400]
            write("config", folder.name, config.read_bytes() + b"\0" + second)
    write("config", "index", (GOLDEN / "llama-sharded" / "config.json").read_bytes() + b"\0" + index)
    write("config", "leads-out", b"{}\0" + b'{"weight_map": {"a": "../../etc/passwd", "b": "c/d"}}')


BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
TEXTS = ["ab a<|end|>b", "Привет, мир! 你好 👩‍👩‍👧", "a" * 40 + "b", " \t\n\u3000x\u200d"]


def tokenizer_seeds() -> None:
    bpe = {"type": "BPE", "vocab": {"a": 0, "b": 1, "Ġ": 2, "ab": 3}, "merges": [["a", "b"]]}
    spm = {"type": "BPE", "byte_fallback": True, "fuse_unk": True, "unk_token": "<unk>",
           "vocab": {"<unk>": 0, "▁": 1, "a": 2, "b": 3, "ab": 4} | {f"<0x{b:02X}>": 5 + b for b in range(256)},
           "merges": ["a b"]}
    unigram = {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["▁", -2.0], ["a", -1.5], ["ab", -1.0], ["b", -3.0]],
               "byte_fallback": False}
    word_piece = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": {"[UNK]": 0, "a": 1, "##b": 2}}
    split = {"type": "Split", "pattern": {"Regex": r"\s?\p{L}+|\p{N}{1,3}|\s+(?!\S)|\s+"}, "behavior": "Isolated", "invert": False}
    meta = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": False}
    cases = {
        "byte-level": (bpe, None, BYTE_LEVEL, BYTE_LEVEL),
        "split": (bpe, {"type": "NFC"}, {"type": "Sequence", "pretokenizers": [split, BYTE_LEVEL | {"use_regex": False}]}, BYTE_LEVEL),
        "byte-fallback": (spm, {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
                                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}, None,
                          {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                           {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}),
        "unigram": (unigram, {"type": "Nmt"}, meta, meta),
        "word-piece": (word_piece, {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                                    "strip_accents": None, "lowercase": True}, {"type": "BertPreTokenizer"},
                       {"type": "WordPiece", "prefix": "##", "cleanup": True}),
    }
    processor = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<|end|>", "type_id": 0}},
                 {"Sequence": {"id": "A", "type_id": 0}}], "pair": [],
                 "special_tokens": {"<|end|>": {"id": "<|end|>", "ids": [2], "tokens": ["<|end|>"]}}}
    for (name, (model, normalizer, pre, decoder)), number in zip(cases.items(), range(9)):
        added = {"id": len(model["vocab"]), "content": "<|end|>", "special": True, "single_word": False, "lstrip": False,
                 "rstrip": False, "normalized": False}
        whole = {"version": "1.0", "added_tokens": [added], "normalizer": normalizer, "pre_tokenizer": pre,
                 "post_processor": processor if number % 2 else None, "decoder": decoder, "model": model}
        text = TEXTS[number % len(TEXTS)].encode()
        write("tokenizer", name, json.dumps(whole, ensure_ascii=False).encode() + b"\0" + text)


def template_seeds() -> None:
    chat = "\0".join(["system", "Be brief.", "user", "Hello <|im_start|>", "assistant", "Hi!", "user", "2+2?"])
    sources = {
        "chatml": "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] | trim }}<|im_end|>\n{% endfor %}"
                  "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        "roles": "{{ bos_token }}{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
                 "{{ raise_exception('roles must alternate') }}{% endif %}[{{ m.role | upper }}]{{ m.content }}{% endfor %}",
        "namespace": "{% set ns = namespace(s='') %}{% for m in messages %}{% set ns.s = ns.s ~ m.content %}{% endfor %}{{ ns.s }}",
        "macro": "{% macro f(x, n=1) %}{{ x * n }}{% endmacro %}{{ f('ab', 3) }}{% if messages[0].role == 'system' %}"
                 "{{ messages[0]['content'] }}{% set rest = messages[1:] %}{% else %}{% set rest = messages %}{% endif %}"
                 "{{ rest | length }}",
        "filters": "{{ messages | tojson(indent=2) }}{{ messages | map(attribute='content') | join(', ') }}"
                   "{{ 'a,b'.split(',') | list | sort | first }}{{ 'x'.startswith('x') }}{{ strftime_now('%Y') }}",
        "double": "{% set ns = namespace(s='x') %}{% for i in range(40) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}",
        "loops": "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
        "python": "{{ ''.__class__.__mro__[1].__subclasses__() }}{% include 'x' %}",
    }
    for name, source in sources.items():
        write("template", name, (source + "\0" + chat).encode())


def call_seeds() -> None:
    """The bytes of fuzz/src/calls.rs: a call's number, then its arguments."""
    text = lambda words: bytes([len(words)]) + words.encode()  # noqa: E731
    load = bytes([0, 0, 0]) + text("m") + bytes([1])
    session = bytes([1, 0, 0, 0])
    request = bytes([3, 0])
    message = bytes([7, 0, 0, 0]) + text("Hello")
    tokens = bytes([7, 0, 4, 3, 1, 2, 3])
    limit = bytes([9, 0, 0, 5])
    generate = bytes([11, 0, 0, 0, 0, 99, 9])
    admit = bytes([13, 0, 0, 99, 1, 0])
    stream = bytes([14, 0, 0, 0, 0, 0])
    following = bytes([16, 0, 99, 0])
    begin = load + session + request
    write("calls", "nothing-made", generate + admit + stream + following + bytes([18, 0, 19, 0, 20, 0, 0, 99, 0, 1, 2, 21, 0, 3]))
    write("calls", "answer", begin + message + limit + generate + generate)
    write("calls", "ticket", begin + tokens + limit + admit + generate + generate)
    write("calls", "stream", begin + tokens + limit + stream + following * 3 + bytes([17, 0, 0]) + following * 2)
    write("calls", "freed-parents", begin + tokens + stream + bytes([23, 0, 0, 23, 0, 1, 23, 0, 2]) + following * 4)
    write("calls", "odd-numbers", begin + tokens + b"".join(bytes([9, 0, knob, 0]) for knob in range(14)) + generate)
    write("calls", "two-sessions", begin + bytes([1, 0, 0, 1]) + tokens + limit + generate + bytes([11, 1, 0, 0, 0, 99, 9, 19, 0, 18, 1]) + generate)


def dictionaries() -> None:
    folder = SEEDS.parent / "dictionaries"
    folder.mkdir(exist_ok=True)
    words = {
        "gguf": ["GGUF", "general.architecture", "general.alignment", "tokenizer.ggml.model", "tokenizer.ggml.tokens",
                 "tokenizer.ggml.scores", "tokenizer.ggml.token_type", "tokenizer.ggml.merges", "split.count", "split.no",
                 "llama.block_count", "llama.attention.head_count", "token_embd.weight", "blk.0.attn_q.weight"],
        "safetensors": ['"dtype"', '"shape"', '"data_offsets"', '"__metadata__"', '"F32"', '"BF16"', '"I4"',
                        "18446744073709551615", "9223372036854775807"],
        "config": ['"model_type"', '"num_hidden_layers"', '"rope_scaling"', '"yarn"', '"longrope"', '"llama3"', '"factor"',
                   '"sliding_window"', '"layer_types"', '"num_experts"', '"weight_map"', '"eos_token_id"', "1e308", "-1", "null"],
        "tokenizer": ['"type"', '"BPE"', '"Unigram"', '"WordPiece"', '"ByteLevel"', '"Metaspace"', '"Split"', '"Regex"',
                      '"Sequence"', '"Replace"', '"ByteFallback"', '"added_tokens"', "(a+)+$", "\\\\p{L}"],
        "template": ["{%", "%}", "{{", "}}", " for ", " in ", " if ", " set ", " macro ", "endfor", "namespace(", "range(",
                     "raise_exception(", "| tojson", "| join", "| replace", " ~ ", "loop.", "messages", "strftime_now("],
    }
    for target, list_of in words.items():
        escaped = [word.replace("\\", "\\\\").replace('"', '\\"') for word in list_of]
        (folder / f"{target}.dict").write_text("".join(f'"{word}"\n' for word in escaped))


if __name__ == "__main__":
    gguf_seeds()
    safetensors_seeds()
    config_seeds()
    tokenizer_seeds()
    template_seeds()
    call_seeds()
    dictionaries()
