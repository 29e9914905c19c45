"""Writes tests/golden/expected_bytes.json: KV and weight bytes from plain formulas over config.json.

Nothing here is taken from the engine: the formulas are the definition that the estimator is held to.

  blocks   = ceil(tokens / block_tokens)
  kv_bytes = layers * blocks * block_tokens * kv_heads * (head_dim + head_dim) * element_bytes
  weights  = matrices in their type (q8_0: 34 bytes for 32 values of a row), norms and biases in f32
"""

import json
import struct

from common import GOLDEN, ROOT, made_with, write_json
from families import FAMILIES

KV_BYTES = {"f32": 4, "f16": 2}
BLOCK_TOKENS = [16, 32]
TOKENS = [1, 15, 16, 17, 100, 513, 2048]

BASE = {"model_type": "llama", "tie_word_embeddings": True}
SHAPES = {
    "demo-like": {
        **BASE, "hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 2048,
    },
    "llama-3.2-1b": {
        **BASE, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128256,
    },
    "qwen2.5-0.5b": {
        **BASE, "model_type": "qwen2", "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
        "num_attention_heads": 14, "num_key_value_heads": 2, "vocab_size": 151936,
    },
    "qwen3-0.6b": {
        **BASE, "model_type": "qwen3", "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28,
        "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936,
    },
}
# The parameter counts that the published models state.
STATED = {"llama-3.2-1b": 1_235_814_400, "qwen2.5-0.5b": 494_032_768, "qwen3-0.6b": 596_049_920}
FIELDS = [
    "model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "head_dim", "vocab_size", "tie_word_embeddings",
]


def head_dim(config):
    return config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]


def tensors(config):
    """(name, shape, how many): every weight the model has, one row for all its layers."""
    hidden, inner, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    q_rows = config["num_attention_heads"] * head_dim(config)
    kv_rows = config["num_key_value_heads"] * head_dim(config)
    layer = [
        ("self_attn.q_proj.weight", [q_rows, hidden]),
        ("self_attn.k_proj.weight", [kv_rows, hidden]),
        ("self_attn.v_proj.weight", [kv_rows, hidden]),
        ("self_attn.o_proj.weight", [hidden, q_rows]),
        ("mlp.gate_proj.weight", [inner, hidden]),
        ("mlp.up_proj.weight", [inner, hidden]),
        ("mlp.down_proj.weight", [hidden, inner]),
        ("input_layernorm.weight", [hidden]),
        ("post_attention_layernorm.weight", [hidden]),
    ]
    if config["model_type"] == "qwen2":
        layer += [
            ("self_attn.q_proj.bias", [q_rows]),
            ("self_attn.k_proj.bias", [kv_rows]),
            ("self_attn.v_proj.bias", [kv_rows]),
        ]
    if config["model_type"] == "qwen3":
        layer += [
            ("self_attn.q_norm.weight", [head_dim(config)]),
            ("self_attn.k_norm.weight", [head_dim(config)]),
        ]
    table = [("model.embed_tokens.weight", [config["vocab_size"], hidden], 1), ("model.norm.weight", [hidden], 1)]
    table += [(f"model.layers.*.{name}", shape, layers) for name, shape in layer]
    if not config["tie_word_embeddings"]:
        table.append(("lm_head.weight", [config["vocab_size"], hidden], 1))
    return table


def elements(shape):
    count = 1
    for side in shape:
        count *= side
    return count


def tensor_bytes(shape, kind):
    if len(shape) == 1:
        return shape[0] * 4
    rows, columns = shape
    if kind == "q8_0":
        assert columns % 32 == 0
        return rows * (columns // 32) * 34
    return rows * columns * {"f32": 4, "f16": 2, "bf16": 2}[kind]


def kv_table(config):
    rows = []
    for kind, element in KV_BYTES.items():
        for block in BLOCK_TOKENS:
            for tokens in TOKENS:
                blocks = (tokens + block - 1) // block
                held = blocks * block
                per_token = config["num_key_value_heads"] * (head_dim(config) + head_dim(config)) * element
                rows.append(
                    {
                        "kv_type": kind,
                        "block_tokens": block,
                        "tokens": tokens,
                        "blocks": blocks,
                        "kv_bytes": config["num_hidden_layers"] * held * per_token,
                    }
                )
    return rows


def entry(config):
    table = tensors(config)
    return {
        "config": {field: config[field] for field in FIELDS if field in config},
        "head_dim": head_dim(config),
        "parameters": sum(elements(shape) * count for _, shape, count in table),
        "tensors": [{"name": name, "shape": shape, "count": count} for name, shape, count in table],
        "weight_bytes": {
            kind: sum(tensor_bytes(shape, kind) * count for _, shape, count in table)
            for kind in ("f32", "f16", "bf16", "q8_0")
        },
        "kv": kv_table(config),
    }


def stored_elements(folder):
    """What the files' headers say they hold."""
    total = 0
    for path in folder.glob("model*.safetensors"):
        with path.open("rb") as file:
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        total += sum(elements(t["shape"]) for name, t in header.items() if name != "__metadata__")
    return total


def main():
    configs = {}
    bundled = ROOT / "models" / "demo" / "config.json"
    # The formulas are those of dense models without windows.
    others = {spec["name"] for spec in FAMILIES}
    golden = [path for path in sorted((GOLDEN / "models").glob("*/config.json")) if path.parent.name not in others]
    for path in golden + [bundled] * bundled.exists():
        configs[path.parent.name] = entry(json.loads(path.read_text()))
        assert configs[path.parent.name]["parameters"] == stored_elements(path.parent), path
    for name, shape in SHAPES.items():
        configs[name] = entry(shape)
        assert configs[name]["parameters"] == STATED.get(name, configs[name]["parameters"]), name
    out = {"made_with": made_with("expected_bytes.py"), "configs": configs}
    write_json(GOLDEN / "expected_bytes.json", out, indent=1)
    print(f"{len(configs)} configs, {sum(len(c['kv']) for c in configs.values())} KV rows")


if __name__ == "__main__":
    main()
