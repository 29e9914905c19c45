"""Writes tests/golden/expected_bytes.json: KV and weight bytes from plain formulas over config.json.

Nothing here is taken from the engine: the formulas are the definition that the estimator is held to.

  blocks   = ceil(tokens / block_tokens)
  kv_bytes = layers * blocks * block_tokens * kv_heads * (head_dim + head_dim) * element_bytes
             where a layer with a window holds, of these blocks, only what a step sees at once: the tokens that its first
             one looks back to and its own, wherever they begin in a block
  weights  = matrices in their type (q8_0: 34 bytes for 32 values of a row), norms and biases in f32; all matrices but
             those of f32 are in panels of 16 rows and in cells of 32 (q8_0: 64) values along a row, the last ones filled up
"""

import json
import struct

from common import GOLDEN, ROOT, made_with, write_json

# Bytes of so many values that belong together.
KV_TYPES = {"f32": (4, 1), "f16": (2, 1), "q8_0": (34, 32)}
BLOCK_TOKENS = [16, 32]
TOKENS = [1, 15, 16, 17, 100, 513, 2048]
# A third of the tokens is generated; a step feeds at most so many.
STEP_TOKENS = 64

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
# What follows from the family alone.
PLAIN = {"llama", "qwen2", "qwen3"}
QKV_BIAS = {"qwen2", "qwen2_moe"}
QK_NORM = {"qwen3", "qwen3_moe", "gemma3_text"}
POST_NORMS = {"gemma2", "gemma3_text"}


def text_of(config):
    """The part of a configuration that is of text, with what Gemma's files leave out."""
    config = config.get("text_config", config)
    gemma = config["model_type"].startswith("gemma")
    return {"tie_word_embeddings": gemma, **config}


def windowed_layers(config):
    """Layers that look back no further than the window: as transformers has them."""
    layers, window = config["num_hidden_layers"], config.get("sliding_window")
    kind = config["model_type"]
    if window is None or (kind.startswith("qwen") and not config.get("use_sliding_window")):
        return []
    if kind == "qwen2":
        return list(range(config["max_window_layers"], layers))
    period = {"gemma2": 2, "gemma3_text": config.get("sliding_window_pattern", 6)}.get(kind)
    return [layer for layer in range(layers) if period is None or (layer + 1) % period]


def expert_layers(config):
    """Layers with a mixture of experts."""
    layers = config["num_hidden_layers"]
    if "num_local_experts" in config:
        return list(range(layers))
    if "num_experts" not in config:
        return []
    step, dense = config["decoder_sparse_step"], config["mlp_only_layers"]
    return [layer for layer in range(layers) if layer not in dense and (layer + 1) % step == 0]


def head_dim(config):
    return config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]


def gated(prefix, inner, hidden):
    return [
        (f"{prefix}.gate_proj.weight", [inner, hidden]),
        (f"{prefix}.up_proj.weight", [inner, hidden]),
        (f"{prefix}.down_proj.weight", [hidden, inner]),
    ]


def experts(config):
    """What a layer's mixture has in place of the plain part."""
    hidden = config["hidden_size"]
    count = config.get("num_local_experts") or config["num_experts"]
    inner = config.get("moe_intermediate_size") or config["intermediate_size"]
    layer = [("mlp.gate.weight", [count, hidden])]
    for expert in range(count):
        layer += gated(f"mlp.experts.{expert}", inner, hidden)
    if "shared_expert_intermediate_size" in config:
        layer.append(("mlp.shared_expert_gate.weight", [1, hidden]))
        layer += gated("mlp.shared_expert", config["shared_expert_intermediate_size"], hidden)
    return layer


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
    ]
    norms = [("input_layernorm.weight", [hidden]), ("post_attention_layernorm.weight", [hidden])]
    if config["model_type"] in POST_NORMS:
        norms += [("pre_feedforward_layernorm.weight", [hidden]), ("post_feedforward_layernorm.weight", [hidden])]
    if config["model_type"] in QKV_BIAS:
        norms += [
            ("self_attn.q_proj.bias", [q_rows]),
            ("self_attn.k_proj.bias", [kv_rows]),
            ("self_attn.v_proj.bias", [kv_rows]),
        ]
    if config["model_type"] in QK_NORM:
        norms += [
            ("self_attn.q_norm.weight", [head_dim(config)]),
            ("self_attn.k_norm.weight", [head_dim(config)]),
        ]
    mixed = len(expert_layers(config))
    table = [("model.embed_tokens.weight", [config["vocab_size"], hidden], 1), ("model.norm.weight", [hidden], 1)]
    rows = [(layer, layers), (gated("mlp", inner, hidden), layers - mixed), (norms, layers)]
    if mixed:
        rows.append((experts(config), mixed))
    table += [(f"model.layers.*.{name}", shape, count) for part, count in rows for name, shape in part if count]
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
    if kind == "f32":
        return rows * columns * 4
    rows = -(-rows // 16) * 16
    if kind == "q8_0":
        return rows * -(-columns // 64) * 2 * 34
    return rows * -(-columns // 32) * 32 * 2


def rolling_blocks(window, block, prompt, total):
    """The most blocks of a layer with a window at once."""
    def touched(tokens):
        return max((start + tokens - 1) // block + 1 for start in range(block))

    fed = min(prompt, STEP_TOKENS)
    # No step of the prompt reaches past its end; then single tokens follow.
    prefill = min((prompt + block - 1) // block, touched(window - 1 + fed))
    return min((total + block - 1) // block, max(prefill, touched(window)))


def kv_table(config, kinds=tuple(KV_TYPES)):
    rows = []
    rolling = len(windowed_layers(config))
    for kind, (size, together) in ((kind, KV_TYPES[kind]) for kind in kinds):
        if head_dim(config) % together:
            continue
        for block in BLOCK_TOKENS:
            for tokens in TOKENS:
                blocks = (tokens + block - 1) // block
                per_head = head_dim(config) // together * size
                per_token = config["num_key_value_heads"] * (per_head + per_head)
                layer_blocks = (config["num_hidden_layers"] - rolling) * blocks
                row = {"kv_type": kind, "block_tokens": block, "tokens": tokens, "blocks": blocks}
                if rolling:
                    prompt = tokens - (tokens + 2) // 3
                    row["rolling_blocks"] = rolling_blocks(config["sliding_window"], block, prompt, tokens)
                    layer_blocks += rolling * row["rolling_blocks"]
                rows.append({**row, "kv_bytes": layer_blocks * block * per_token})
    return rows


def entry(config):
    config = text_of(config)
    table = tensors(config)
    return {
        "config": {field: config[field] for field in FIELDS if field in config},
        "head_dim": head_dim(config),
        "parameters": sum(elements(shape) * count for _, shape, count in table),
        # Whether the fields above are all of it.
        "plain": config["model_type"] in PLAIN and not windowed_layers(config) and not expert_layers(config),
        "tensors": [{"name": name, "shape": shape, "count": count} for name, shape, count in table],
        "weight_bytes": {
            kind: sum(tensor_bytes(shape, kind) * count for _, shape, count in table)
            for kind in ("f32", "f16", "bf16", "q8_0")
            if kind != "q8_0" or all(len(shape) == 1 or shape[1] % 32 == 0 for _, shape, _ in table)
        },
        "kv": kv_table(config),
        # With heads as wide as a block of q8_0, which those of small models are not.
        "kv_wide": kv_table({**config, "head_dim": 32}, ["q8_0"]),
    }


def is_text(name):
    return name != "__metadata__" and not any(part in name for part in ("vision_tower", "multi_modal_projector"))


def stored_elements(folder):
    """What the files' headers say they hold, of text."""
    total = 0
    for path in folder.glob("model*.safetensors"):
        with path.open("rb") as file:
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        total += sum(elements(t["shape"]) for name, t in header.items() if is_text(name))
    return total


def main():
    configs = {}
    bundled = ROOT / "models" / "demo" / "config.json"
    for path in sorted((GOLDEN / "models").glob("*/config.json")) + [bundled] * bundled.exists():
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
