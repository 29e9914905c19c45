"""Writes tests/golden/gguf: GGUF twins of the golden folders, laid out as llama.cpp's converter lays them out.

Llama's Q and K rows are permuted for interleaved rotation, norms and biases are F32, llama3 scaling is a
tensor of factors. A twin in its folder's own precision shares the folder's logits; for Q8_0 the logits are
computed in f32 from the dequantised weights and stored beside the file. Each file is read back by gguf-py
and, as a second opinion, by transformers' own GGUF loader.
"""

import json
import math
import shutil

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Kind
from gguf import LlamaFileType as FileType
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from common import GOLDEN, made_with, write_json
from make_models import MODELS, golden_logits, load_f32
from specs import SPECS

OUT = GOLDEN / "gguf"

# the file, the folder it is made from, the type of its matrices, the type it states
TWINS = [
    ("llama3-f32", "llama3", Kind.F32, FileType.ALL_F32),
    ("llama-f16", "llama-f16", Kind.F16, FileType.MOSTLY_F16),
    ("llama3-bf16", "llama3-bf16", Kind.BF16, FileType.MOSTLY_BF16),
    ("llama3-q8_0", "llama3", Kind.Q8_0, FileType.MOSTLY_Q8_0),
    ("qwen2-f32", "qwen2", Kind.F32, FileType.ALL_F32),
    ("qwen3-f32", "qwen3", Kind.F32, FileType.ALL_F32),
    ("llama-linear-f32", "llama-linear", Kind.F32, FileType.ALL_F32),
    ("llama-yarn-f32", "llama-yarn", Kind.F32, FileType.ALL_F32),
    ("mistral-f32", "mistral", Kind.F32, FileType.ALL_F32),
    ("phi3-long-f32", "phi3-long", Kind.F32, FileType.ALL_F32),
    ("gemma2-f32", "gemma2", Kind.F32, FileType.ALL_F32),
    ("gemma3-f32", "gemma3", Kind.F32, FileType.ALL_F32),
    ("mixtral-f32", "mixtral", Kind.F32, FileType.ALL_F32),
    ("qwen2-moe-f32", "qwen2-moe", Kind.F32, FileType.ALL_F32),
    ("qwen3-moe-f32", "qwen3-moe", Kind.F32, FileType.ALL_F32),
]

# Those that transformers' own loader cannot read, or reads otherwise.
UNREAD = {"mistral", "mixtral"}

# GGUF's names of architectures where they are not those of folders.
ARCHITECTURES = {
    "mistral": "llama",
    "mixtral": "llama",
    "gemma3_text": "gemma3",
    "qwen2_moe": "qwen2moe",
    "qwen3_moe": "qwen3moe",
}


def architecture_of(config):
    return ARCHITECTURES.get(config["model_type"], config["model_type"])


def permute(rows, heads):
    """Row order for interleaved rotation: the two halves of each head's rows, taken in turns."""
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, -1)
    return halves.swapaxes(1, 2).reshape(rows.shape)


def unpermute(rows, heads):
    pairs = rows.reshape(heads, rows.shape[0] // heads // 2, 2, -1)
    return pairs.swapaxes(1, 2).reshape(rows.shape)


def heads_to_permute(config, name):
    """The number of heads if this tensor's rows are stored permuted, else None."""
    if architecture_of(config) != "llama":
        return None
    if name.endswith("q_proj.weight"):
        return config["num_attention_heads"]
    if name.endswith("k_proj.weight"):
        return config["num_key_value_heads"]
    return None


def parts_of(config, name, values):
    """What becomes of a weight: names that gguf-py knows, with their values."""
    heads = heads_to_permute(config, name)
    if heads is not None:
        return [(name, permute(values, heads))]
    if name.endswith("norm.weight") and config["model_type"].startswith("gemma"):
        return [(name, values + 1)]
    if name.endswith("experts.gate_up_proj"):
        gate, up = np.split(values, 2, axis=1)
        base = name.removesuffix("gate_up_proj")
        return [(f"{base}gate_proj.weight", gate), (f"{base}up_proj.weight", up)]
    if name.endswith("experts.down_proj"):
        return [(f"{name}.weight", values)]
    if name.endswith("shared_expert_gate.weight"):
        return [(name, values[0])]
    return [(name, values)]


def whole_of(config, name, parts):
    """The inverse of `parts_of`."""
    heads = heads_to_permute(config, name)
    if heads is not None:
        return unpermute(parts[0], heads)
    if name.endswith("norm.weight") and config["model_type"].startswith("gemma"):
        return parts[0] - 1
    if name.endswith("experts.gate_up_proj"):
        return np.concatenate(parts, axis=1)
    if name.endswith("shared_expert_gate.weight"):
        return parts[0][None]
    return parts[0]


def rope_factors(config):
    """What each rotary frequency is divided by under llama3 scaling."""
    scaling = config["rope_scaling"]
    factors = []
    for index in range(config["head_dim"] // 2):
        wavelength = 2 * math.pi * config["rope_theta"] ** (2 * index / config["head_dim"])
        context = scaling["original_max_position_embeddings"]
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        blend = min(max((context / wavelength - low) / (high - low), 0.0), 1.0)
        factors.append(1 / ((1 - blend) / scaling["factor"] + blend))
    return np.array(factors, dtype=np.float32)


def add_tokenizer(writer, folder, config, pre):
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    tokens = {index: token for token, index in tokenizer["model"]["vocab"].items()}
    kinds = {index: gguf.TokenType.NORMAL for index in tokens}
    for added in tokenizer["added_tokens"]:
        tokens[added["id"]] = added["content"]
        kinds[added["id"]] = gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
    # Rows of the embedding beyond the tokenizer's vocabulary get placeholder tokens.
    for index in range(len(tokens), config["vocab_size"]):
        tokens[index], kinds[index] = f"[PAD{index}]", gguf.TokenType.UNUSED
    order = range(config["vocab_size"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list([tokens[index] for index in order])
    writer.add_token_types([kinds[index] for index in order])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    pad = next(index for index, token in tokens.items() if token == settings["pad_token"])
    writer.add_pad_token_id(pad)
    writer.add_add_bos_token(settings["bos_token"] is not None)
    template = settings["chat_template"]
    if isinstance(template, list):
        template = next(named["template"] for named in template if named["name"] == "default")
    writer.add_chat_template(template)


def add_family(writer, config):
    """The keys that llama.cpp's converter writes for the families beyond the first."""
    scaling = config.get("rope_scaling") or {}
    kind = scaling.get("rope_type", scaling.get("type"))
    if kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(scaling["factor"])
    elif kind == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(scaling["factor"])
        writer.add_rope_scaling_orig_ctx_len(scaling["original_max_position_embeddings"])
        if "beta_fast" in scaling:
            writer.add_rope_scaling_yarn_beta_fast(scaling["beta_fast"])
    elif kind == "longrope":
        context, original = config["max_position_embeddings"], config["original_max_position_embeddings"]
        writer.add_rope_scaling_type(gguf.RopeScalingType.LONGROPE)
        writer.add_rope_scaling_orig_ctx_len(original)
        writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(context / original) / math.log(original)))
    if config["model_type"] == "phi3":
        head_dim = config["hidden_size"] // config["num_attention_heads"]
        writer.add_rope_dimension_count(int(head_dim * config.get("partial_rotary_factor", 1.0)))
    if config["model_type"] in ("mistral", "phi3", "gemma2", "gemma3_text"):
        writer.add_sliding_window(config["sliding_window"] or 0)
    if "sliding_window_pattern" in config:
        writer.add_sliding_window_pattern(config["sliding_window_pattern"])
    if "rope_local_base_freq" in config:
        writer.add_rope_freq_base_swa(config["rope_local_base_freq"])
    if config.get("attn_logit_softcapping"):
        writer.add_attn_logit_softcapping(config["attn_logit_softcapping"])
    if config.get("final_logit_softcapping"):
        writer.add_final_logit_softcapping(config["final_logit_softcapping"])
    if "num_experts_per_tok" in config:
        writer.add_expert_count(config.get("num_local_experts") or config["num_experts"])
        writer.add_expert_used_count(config["num_experts_per_tok"])
    if "moe_intermediate_size" in config:
        writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
    if "shared_expert_intermediate_size" in config:
        writer.add_expert_shared_feed_forward_length(config["shared_expert_intermediate_size"])


def factors_of(config):
    """The tensors of rotary divisors."""
    scaling = config.get("rope_scaling") or {}
    if scaling.get("rope_type") == "llama3":
        return {"rope_freqs.weight": rope_factors(config)}
    if scaling.get("type") == "longrope":
        lists = {"long": scaling["long_factor"], "short": scaling["short_factor"]}
        return {f"rope_factors_{name}.weight": np.array(factors, np.float32) for name, factors in lists.items()}
    return {}


def write(path, folder, config, weights, kind, file_type, pre):
    head_dim = config.get("head_dim", config["hidden_size"] // config["num_attention_heads"])
    architecture = architecture_of(config)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name(f"plimsoll golden {path.stem}")
    writer.add_file_type(file_type)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    if "head_dim" in config:
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    if architecture == "llama":
        writer.add_vocab_size(config["vocab_size"])
        writer.add_rope_dimension_count(head_dim)
    add_family(writer, config)
    add_tokenizer(writer, folder, config, pre)
    for name, factors in factors_of(config).items():
        writer.add_tensor(name, factors)
    names = name_map(config)
    for name, weight in weights.items():
        for part, values in parts_of(config, name, weight.numpy()):
            # Routers and gates of experts stay in F32, as vectors do.
            small = values.ndim == 1 or part.endswith(("mlp.gate.weight", "shared_expert_gate.weight"))
            stored = Kind.F32 if small else kind
            data = gguf.quants.quantize(np.ascontiguousarray(values), stored)
            writer.add_tensor(names[part], data, raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def name_map(config):
    architecture = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture_of(config))
    table = gguf.get_tensor_name_map(architecture, config["num_hidden_layers"])

    class Names:
        def __getitem__(self, name):
            found = table.get_name(name, try_suffixes=(".weight", ".bias"))
            assert found is not None, name
            return found

    return Names()


def read_back(path, config, originals):
    """The file's weights in f32, under the names and in the row order they were given in."""
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    names = name_map(config)
    weights = {}
    for name, original in originals.items():
        parts = []
        for part, _ in parts_of(config, name, original.numpy()):
            tensor = tensors.pop(names[part])
            parts.append(gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32))
        weights[name] = torch.from_numpy(np.ascontiguousarray(whole_of(config, name, parts)))
    assert set(tensors) == set(factors_of(config)), set(tensors)
    return weights


def check_factors(path, model):
    """rope_freqs.weight against the frequencies that transformers works with."""
    stored = next((t.data for t in gguf.GGUFReader(path).tensors if t.name == "rope_freqs.weight"), None)
    if stored is None:
        return
    rope = model.config.rope_parameters
    half = len(stored)
    plain = torch.tensor([rope["rope_theta"] ** (-index / half) for index in range(half)])
    scaled = plain / torch.from_numpy(np.array(stored))
    assert torch.allclose(scaled, model.model.rotary_emb.inv_freq, rtol=1e-6, atol=0), scaled


def second_opinion(path, hf_config):
    """The file as transformers' own loader reads it, or why it does not."""
    try:
        model = AutoModelForCausalLM.from_pretrained(
            OUT, gguf_file=path.name, config=hf_config, dtype=torch.float32, attn_implementation="eager"
        )
    except Exception as error:  # The loader fails in as many ways as there are families that it does not know.
        return None, f"{type(error).__name__}: {error}"[:200]
    return model.eval(), None


def make(file, source, kind, file_type):
    folder = MODELS / source
    config = json.loads((folder / "config.json").read_text())
    pre = next(spec["text"]["pre"] for spec in SPECS if spec["name"] == source)
    path = OUT / f"{file}.gguf"
    original = dict(sorted(load_f32(folder).state_dict().items()))
    if config["tie_word_embeddings"]:
        del original["lm_head.weight"]
    write(path, folder, config, original, kind, file_type, pre)

    weights = read_back(path, config, original)
    for name, values in weights.items():
        bound = 0.0
        if kind == Kind.Q8_0 and values.ndim > 1:
            bound = original[name].abs().max().item() / 127
        elif name.endswith("norm.weight") and config["model_type"].startswith("gemma"):
            # One was added and taken off again.
            bound = 1e-6
        assert (values - original[name]).abs().max().item() <= bound, (file, name)

    hf_config = AutoConfig.from_pretrained(folder)
    model = AutoModelForCausalLM.from_config(hf_config, dtype=torch.float32, attn_implementation="eager").eval()
    model.load_state_dict(weights, strict=False)
    model.tie_weights()
    check_factors(path, model)
    second, refusal = second_opinion(path, hf_config)
    folder_golden = load_file(folder / "logits.safetensors")
    golden = {}
    for number in range(3):
        ids = folder_golden[f"ids_{number}"]
        logits = golden_logits(model, ids)
        scale = logits.abs().max()
        if second is not None:
            apart = (golden_logits(second, ids) - logits).abs().max() / scale
            if apart >= 1e-6:
                second, refusal = None, f"its logits are {apart:.1e} apart"
        drift = ((folder_golden[f"logits_{number}"] - logits).abs().max() / scale).item()
        assert drift < (0.1 if kind == Kind.Q8_0 else 1e-5), (file, drift)
        golden[f"ids_{number}"] = ids
        golden[f"logits_{number}"] = logits
    assert refusal is None or source in UNREAD, (file, refusal)
    if kind == Kind.Q8_0:
        save_file(golden, OUT / f"{file}.logits.safetensors")
        logits_at = f"gguf/{file}.logits.safetensors"
    else:
        logits_at = f"models/{source}/logits.safetensors"
    agreed = "transformers' loader agrees" if refusal is None else f"transformers' loader: {refusal}"
    print(f"{file:18} {path.stat().st_size:8} bytes, drift from the folder {drift:.1e}; {agreed}")
    return {
        "file": f"gguf/{file}.gguf",
        "folder": f"models/{source}",
        "type": kind.name,
        "logits": logits_at,
        "second_opinion": refusal is None,
    }


def main():
    torch.set_num_threads(2)
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    files = [make(*twin) for twin in TWINS]
    about = made_with("make_gguf.py", "gguf", "torch", "transformers", "numpy")
    write_json(OUT / "index.json", {"made_with": about, "files": files})


if __name__ == "__main__":
    main()
