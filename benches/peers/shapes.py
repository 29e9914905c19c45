"""The shapes of the models: those of Llama-3.2-1B and Qwen2.5-0.5B. Weights are random, sizes and speed are real."""

_BOTH = {
    "hidden_act": "silu",
    "tie_word_embeddings": True,
    "dtype": "bfloat16",
    "torch_dtype": "bfloat16",
    "initializer_range": 0.02,
}

SHAPES = {
    "llama3.2-1b": _BOTH
    | {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": 128256,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "rope_theta": 5e5,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
        "attention_bias": False,
        "mlp_bias": False,
    },
    "qwen2.5-0.5b": _BOTH
    | {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "vocab_size": 151936,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
        "use_sliding_window": False,
        "sliding_window": 32768,
        "max_window_layers": 24,
    },
}


def tensors(shape):
    """Name and dimensions of each tensor of a Hugging Face folder, in the order of the layers."""
    hidden, ffn, head = shape["hidden_size"], shape["intermediate_size"], shape["head_dim"]
    q, kv = shape["num_attention_heads"] * head, shape["num_key_value_heads"] * head
    yield "model.embed_tokens.weight", (shape["vocab_size"], hidden)
    for layer in range(shape["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        yield f"{at}.input_layernorm.weight", (hidden,)
        for name, rows in (("q", q), ("k", kv), ("v", kv)):
            yield f"{at}.self_attn.{name}_proj.weight", (rows, hidden)
            if shape["model_type"] == "qwen2":
                yield f"{at}.self_attn.{name}_proj.bias", (rows,)
        yield f"{at}.self_attn.o_proj.weight", (hidden, q)
        yield f"{at}.post_attention_layernorm.weight", (hidden,)
        yield f"{at}.mlp.gate_proj.weight", (ffn, hidden)
        yield f"{at}.mlp.up_proj.weight", (ffn, hidden)
        yield f"{at}.mlp.down_proj.weight", (hidden, ffn)
    yield "model.norm.weight", (hidden,)


def parameters(shape):
    """(weights that a token is multiplied with in the layers, those in the output layer)"""
    matrices = {name: dims[0] * dims[1] for name, dims in tensors(shape) if len(dims) == 2}
    output = matrices.pop("model.embed_tokens.weight")
    return sum(matrices.values()), output
