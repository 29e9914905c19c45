"""Writes tests/golden/types: one tiny llama per quantised tensor type, and its logits from the dequantised weights.

Rows of the matrices that read the residual stream are one block of the K types wide; the two with shorter rows are Q8_0
where the type's blocks do not fit, as llama.cpp's quantiser would choose. One model is also written in parts. gguf-py quantises random weights where it
can; for the other types the blocks themselves are random, with scales of the size that weights have.
"""

import shutil

import gguf
import numpy as np
import torch
from gguf import GGML_QUANT_SIZES, quants
from gguf import GGMLQuantizationType as Kind
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from common import GOLDEN, made_with, write_json
from make_blocks import HALVES
from make_gguf import read_back
from make_models import golden_logits

OUT = GOLDEN / "types"
KINDS = [kind for kind in HALVES if kind != Kind.Q8_0]
# The type whose model is also written in three parts.
SPLIT = Kind.Q2_K
# The largest number that a block's scale is multiplied with, for the types that gguf-py cannot quantise.
LARGEST = {
    Kind.Q2_K: 45,
    Kind.Q3_K: 128,
    Kind.Q4_K: 945,
    Kind.Q5_K: 1953,
    Kind.Q6_K: 4096,
    Kind.IQ4_NL: 127,
    Kind.IQ4_XS: 4064,
}
CONFIG = {
    "attention_bias": False,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "head_dim": 8,
    "hidden_act": "silu",
    "hidden_size": 256,
    "intermediate_size": 32,
    "max_position_embeddings": 256,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 4,
    "num_hidden_layers": 1,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "vocab_size": 48,
}
PROMPT_LENGTHS = [5, 20]


def shapes():
    hidden, inner, vocab = CONFIG["hidden_size"], CONFIG["intermediate_size"], CONFIG["vocab_size"]
    q = CONFIG["num_attention_heads"] * CONFIG["head_dim"]
    kv = CONFIG["num_key_value_heads"] * CONFIG["head_dim"]
    return {
        "token_embd": (vocab, hidden),
        "output_norm": (hidden,),
        "output": (vocab, hidden),
        "blk.0.attn_norm": (hidden,),
        "blk.0.attn_q": (q, hidden),
        "blk.0.attn_k": (kv, hidden),
        "blk.0.attn_v": (kv, hidden),
        "blk.0.attn_output": (hidden, q),
        "blk.0.ffn_norm": (hidden,),
        "blk.0.ffn_gate": (inner, hidden),
        "blk.0.ffn_up": (inner, hidden),
        "blk.0.ffn_down": (hidden, inner),
    }


def matrix(kind, shape, random):
    elements, size = GGML_QUANT_SIZES[kind]
    if kind not in LARGEST:
        return quants.quantize(random.normal(0, 0.06, shape).astype(np.float32), kind)
    blocks = random.integers(0, 256, (shape[0] * shape[1] // elements, size), dtype=np.uint8)
    for at in HALVES[kind]:
        scales = (random.uniform(0.1, 0.3, len(blocks)) / LARGEST[kind]).astype(np.float16)
        blocks[:, at : at + 2] = scales.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(shape[0], -1)


def write(path, kind, random, tensors_per_part=0):
    writer = gguf.GGUFWriter(path, "llama", split_max_tensors=tensors_per_part)
    writer.add_name(f"plimsoll golden {kind.name}")
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(CONFIG["vocab_size"])
    writer.add_block_count(CONFIG["num_hidden_layers"])
    writer.add_context_length(CONFIG["max_position_embeddings"])
    writer.add_embedding_length(CONFIG["hidden_size"])
    writer.add_feed_forward_length(CONFIG["intermediate_size"])
    writer.add_head_count(CONFIG["num_attention_heads"])
    writer.add_head_count_kv(CONFIG["num_key_value_heads"])
    writer.add_key_length(CONFIG["head_dim"])
    writer.add_value_length(CONFIG["head_dim"])
    writer.add_rope_dimension_count(CONFIG["head_dim"])
    writer.add_rope_freq_base(CONFIG["rope_theta"])
    writer.add_layer_norm_rms_eps(CONFIG["rms_norm_eps"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list([chr(0x41 + index) for index in range(CONFIG["vocab_size"] - 1)] + ["AB"])
    writer.add_token_types([gguf.TokenType.NORMAL] * CONFIG["vocab_size"])
    writer.add_token_merges(["A B"])
    writer.add_bos_token_id(CONFIG["bos_token_id"])
    writer.add_eos_token_id(CONFIG["eos_token_id"])
    for name, shape in shapes().items():
        if len(shape) == 1:
            writer.add_tensor(f"{name}.weight", random.uniform(0.5, 1.5, shape).astype(np.float32))
            continue
        fits = shape[1] % GGML_QUANT_SIZES[kind][0] == 0
        stored = kind if fits else Kind.Q8_0
        writer.add_tensor(f"{name}.weight", matrix(stored, shape, random), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make(kind, seed):
    random = np.random.default_rng(seed)
    path = OUT / f"{kind.name.lower()}.gguf"
    write(path, kind, random)
    config = LlamaConfig(**CONFIG)
    config._attn_implementation = "eager"
    model = LlamaForCausalLM(config).to(torch.float32).eval()
    weights = read_back(path, CONFIG, list(model.state_dict()))
    model.load_state_dict(weights)
    second = AutoModelForCausalLM.from_pretrained(
        OUT, gguf_file=path.name, config=config, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    golden = {}
    for number, length in enumerate(PROMPT_LENGTHS):
        ids = torch.from_numpy(random.integers(0, CONFIG["vocab_size"], length))
        logits = golden_logits(model, ids)
        assert logits.isfinite().all() and logits.std() > 0.1, (kind, logits.std())
        drift = (golden_logits(second, ids) - logits).abs().max() / logits.abs().max()
        assert drift < 1e-6, (kind, drift)
        golden[f"ids_{number}"], golden[f"logits_{number}"] = ids, logits
    save_file(golden, OUT / f"{path.stem}.logits.safetensors")
    if kind == SPLIT:
        # The same again in parts; gguf-py appends their numbers to the name.
        write(OUT / f"{path.stem}-split.gguf", kind, np.random.default_rng(seed), tensors_per_part=5)
    std = weights["model.layers.0.mlp.up_proj.weight"].std()
    print(f"{kind.name:7} {path.stat().st_size:7} bytes, weights {std:.3f}, logits up to {logits.abs().max():.1f}")
    return {"file": f"types/{path.name}", "type": kind.name, "logits": f"types/{path.stem}.logits.safetensors"}


def main():
    torch.set_num_threads(2)
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    files = [make(kind, 300 + number) for number, kind in enumerate(KINDS)]
    about = made_with("make_types.py", "gguf", "torch", "transformers", "numpy")
    write_json(OUT / "index.json", {"made_with": about, "files": files})


if __name__ == "__main__":
    main()
