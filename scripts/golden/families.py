"""The golden models of the families beyond the first: as small as shows what sets each apart.

Windows are of 8 tokens, so that every prompt but the shortest passes them, and contexts are stretched from 32 tokens,
so that the longest prompt passes that too.
"""

import styles
import vocabularies

TOKENS = 276
TEXT = {
    "tokenizer": lambda: vocabularies.llama3(TOKENS),
    "bos": "<|begin_of_text|>",
    "eos": "<|eot_id|>",
    "pad": "<|finetune_right_pad_id|>",
    "eos_ids": [271, 275],
    "template": styles.CHATML,
    "pre": "llama-bpe",
}
PROMPT_LENGTHS = [5, 17, 40]

BASE = {
    "attention_dropout": 0.0,
    "bos_token_id": 270,
    "eos_token_id": 275,
    "hidden_act": "silu",
    "hidden_size": 32,
    "initializer_range": 0.02,
    "intermediate_size": 48,
    "max_position_embeddings": 128,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "use_cache": True,
    "vocab_size": 280,
}
LLAMA = {**BASE, "architectures": ["LlamaForCausalLM"], "head_dim": 16, "model_type": "llama", "tie_word_embeddings": True}
MISTRAL = {
    **BASE,
    "architectures": ["MistralForCausalLM"],
    "head_dim": 16,
    "model_type": "mistral",
    "sliding_window": 8,
}
YARN = {"factor": 4.0, "original_max_position_embeddings": 32, "type": "yarn"}
PHI = {
    **BASE,
    "architectures": ["Phi3ForCausalLM"],
    "model_type": "phi3",
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "original_max_position_embeddings": 32,
    "pad_token_id": 272,
    "rope_scaling": None,
    "sliding_window": 8,
}
PHI_LONG = {
    **PHI,
    "partial_rotary_factor": 0.75,
    "rope_scaling": {
        "long_factor": [1.0, 1.25, 2.0, 4.5, 6.0, 9.0],
        "short_factor": [1.0, 1.0, 1.125, 1.25, 1.5, 2.0],
        "type": "longrope",
    },
    "sliding_window": None,
    "tie_word_embeddings": True,
}
GEMMA2 = {
    **BASE,
    "architectures": ["Gemma2ForCausalLM"],
    "attention_bias": False,
    "attn_logit_softcapping": 4.0,
    "final_logit_softcapping": 10.0,
    "head_dim": 16,
    "hidden_activation": "gelu_pytorch_tanh",
    "model_type": "gemma2",
    "num_hidden_layers": 3,
    "query_pre_attn_scalar": 16,
    "rms_norm_eps": 1e-06,
    "sliding_window": 8,
    "tie_word_embeddings": True,
}
GEMMA3 = {
    **{key: value for key, value in BASE.items() if key != "hidden_act"},
    "architectures": ["Gemma3ForCausalLM"],
    "attention_bias": False,
    "attn_logit_softcapping": None,
    "final_logit_softcapping": None,
    "head_dim": 16,
    "hidden_activation": "gelu_pytorch_tanh",
    "model_type": "gemma3_text",
    "num_hidden_layers": 3,
    "query_pre_attn_scalar": 16,
    "rms_norm_eps": 1e-06,
    "rope_local_base_freq": 100.0,
    "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
    "rope_theta": 1000000.0,
    "sliding_window": 8,
    "sliding_window_pattern": 2,
    "tie_word_embeddings": True,
}
# With eyes: most of the text's keys are left out, as in the published files. Scores are divided by the root of 256,
# which is not the head's width, and six layers hold one without a window.
GEMMA3_EYES = {
    "architectures": ["Gemma3ForConditionalGeneration"],
    "boi_token_index": 276,
    "bos_token_id": 270,
    "eoi_token_index": 277,
    "eos_token_id": [271, 275],
    "image_token_index": 278,
    "initializer_range": 0.02,
    "max_position_embeddings": 128,
    "mm_tokens_per_image": 1,
    "model_type": "gemma3",
    "text_config": {
        "head_dim": 16,
        "hidden_size": 32,
        "intermediate_size": 24,
        "max_position_embeddings": 128,
        "model_type": "gemma3_text",
        "num_attention_heads": 2,
        "num_hidden_layers": 6,
        "num_key_value_heads": 1,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 8,
        "vocab_size": 280,
    },
    "vision_config": {
        "hidden_size": 8,
        "image_size": 4,
        "intermediate_size": 8,
        "model_type": "siglip_vision_model",
        "num_attention_heads": 1,
        "num_hidden_layers": 1,
        "patch_size": 4,
    },
    "vocab_size": 280,
}
EXPERTS = {"num_experts_per_tok": 2, "output_router_logits": False, "router_aux_loss_coef": 0.001}
MIXTRAL = {
    **BASE,
    **EXPERTS,
    "architectures": ["MixtralForCausalLM"],
    "model_type": "mixtral",
    "num_local_experts": 4,
    "sliding_window": None,
}
QWEN_MOE = {
    **BASE,
    **EXPERTS,
    "decoder_sparse_step": 1,
    "max_window_layers": 2,
    "mlp_only_layers": [],
    "moe_intermediate_size": 24,
    "num_experts": 6,
    "num_experts_per_tok": 3,
    "sliding_window": None,
    "use_sliding_window": False,
}
QWEN2_MOE = {
    **QWEN_MOE,
    "architectures": ["Qwen2MoeForCausalLM"],
    "model_type": "qwen2_moe",
    "norm_topk_prob": False,
    "shared_expert_intermediate_size": 40,
}
QWEN3_MOE = {
    **QWEN_MOE,
    "architectures": ["Qwen3MoeForCausalLM"],
    "attention_bias": False,
    "head_dim": 16,
    "model_type": "qwen3_moe",
    "norm_topk_prob": True,
    "tie_word_embeddings": True,
}
QWEN2_WINDOW = {
    **BASE,
    "architectures": ["Qwen2ForCausalLM"],
    "max_window_layers": 1,
    "model_type": "qwen2",
    "num_hidden_layers": 3,
    "rope_scaling": YARN,
    "sliding_window": 8,
    "tie_word_embeddings": True,
    "use_sliding_window": True,
}


def spec(name, seed, config, **more):
    return {"name": name, "config": config, "text": TEXT, "seed": seed, "prompt_lengths": PROMPT_LENGTHS, **more}


# stacked: the experts of a layer are one tensor, as transformers 5 has them in memory.
FAMILIES = [
    spec("llama-linear", 21, {**LLAMA, "rope_scaling": {"factor": 4.0, "type": "linear"}}),
    spec("llama-yarn", 22, {**LLAMA, "rope_scaling": {**YARN, "beta_fast": 8.0, "rope_type": "yarn"}}),
    spec("mistral", 23, MISTRAL),
    spec("qwen2-window", 24, QWEN2_WINDOW),
    spec("phi3-window", 25, PHI),
    spec("phi3-long", 26, PHI_LONG),
    spec("gemma2", 27, GEMMA2),
    spec("gemma3", 28, GEMMA3),
    spec("gemma3-eyes", 29, GEMMA3_EYES),
    spec("mixtral", 30, MIXTRAL),
    spec("qwen2-moe", 31, QWEN2_MOE),
    spec("qwen3-moe", 32, QWEN3_MOE, stacked=True),
    spec("qwen3-moe-mixed", 33, {**QWEN3_MOE, "mlp_only_layers": [0], "norm_topk_prob": False}),
]
