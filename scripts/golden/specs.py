"""The golden models: one spec each. Shapes are tiny; what differs is what a loader can get wrong."""

import vocabularies
import styles
from families import FAMILIES

# 8-dimensional frequency table with all three branches of the llama3 scaling: kept, blended, divided.
LLAMA3_SCALING = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "hidden_act": "silu",
    "hidden_size": 64,
    "initializer_range": 0.02,
    "intermediate_size": 96,
    "max_position_embeddings": 256,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "use_cache": True,
    "vocab_size": 352,
}

LLAMA3 = {
    **LLAMA,
    "bos_token_id": 346,
    "eos_token_id": 351,
    "head_dim": 16,
    "rope_scaling": LLAMA3_SCALING,
    "rope_theta": 8000.0,
    "tie_word_embeddings": True,
}

QWEN = {
    "attention_dropout": 0.0,
    "bos_token_id": 337,
    "eos_token_id": 339,
    "hidden_act": "silu",
    "hidden_size": 64,
    "initializer_range": 0.02,
    "intermediate_size": 96,
    "max_position_embeddings": 256,
    "max_window_layers": 2,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": None,
    "tie_word_embeddings": True,
    "use_cache": True,
    "use_sliding_window": False,
    # Eight more rows than the tokenizer has tokens, as in the published models.
    "vocab_size": 352,
}

QWEN2 = {**QWEN, "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}
QWEN3 = {
    **QWEN,
    "architectures": ["Qwen3ForCausalLM"],
    "attention_bias": False,
    "head_dim": 32,
    "model_type": "qwen3",
}

LLAMA3_TEXT = {
    "tokenizer": lambda: vocabularies.llama3(352),
    "bos": "<|begin_of_text|>",
    "eos": "<|eot_id|>",
    "pad": "<|finetune_right_pad_id|>",
    "eos_ids": [347, 351],
    "template": styles.LLAMA3,
    "pre": "llama-bpe",
}
QWEN_TEXT = {
    "tokenizer": lambda: vocabularies.qwen2(344),
    "bos": None,
    "eos": "<|im_end|>",
    "pad": "<|endoftext|>",
    "eos_ids": [339, 337],
    "template": styles.QWEN25,
    "pre": "qwen2",
}
LLAMA2_TEXT = {
    "tokenizer": lambda: vocabularies.llama2(384),
    "bos": "<s>",
    "eos": "</s>",
    "pad": None,
    "eos_ids": 2,
    "template": styles.LLAMA2,
}

LLAMA_SHARDED = {
    **LLAMA,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "num_key_value_heads": 4,
    "vocab_size": 384,
}
NEW_CONFIG = {
    **LLAMA3,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}
UNTIED = {**LLAMA, "bos_token_id": 346, "eos_token_id": 351, "rope_theta": 500000.0}

# weights_of: the folder whose weights, rounded to this dtype, these are.
SPECS = [
    {"name": "llama3", "config": LLAMA3, "text": LLAMA3_TEXT, "seed": 11},
    # The template as a list of named ones, as some hubs store it.
    {"name": "llama-untied", "config": UNTIED, "text": LLAMA3_TEXT, "seed": 12, "named_templates": True},
    {"name": "qwen2", "config": QWEN2, "text": QWEN_TEXT, "seed": 13},
    {"name": "qwen3", "config": QWEN3, "text": {**QWEN_TEXT, "template": styles.QWEN3}, "seed": 14},
    {"name": "llama-sharded", "config": LLAMA_SHARDED, "text": LLAMA2_TEXT, "seed": 15, "shards": 2},
    {"name": "llama-f16", "config": UNTIED, "text": LLAMA3_TEXT, "weights_of": "llama-untied", "dtype": "float16"},
    {"name": "llama3-bf16", "config": LLAMA3, "text": LLAMA3_TEXT, "weights_of": "llama3", "dtype": "bfloat16"},
    {"name": "llama3-newconfig", "config": NEW_CONFIG, "text": LLAMA3_TEXT, "seed": 16, "new_layout": True},
    *FAMILIES,
]

PROMPT_LENGTHS = [5, 23, 60]
