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
from make_models import MODELS, golden_logits
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
]


def permute(rows, heads):
    """Row order for interleaved rotation: the two halves of each head's rows, taken in turns."""
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, -1)
    return halves.swapaxes(1, 2).reshape(rows.shape)


def unpermute(rows, heads):
    pairs = rows.reshape(heads, rows.shape[0] // heads // 2, 2, -1)
    return pairs.swapaxes(1, 2).reshape(rows.shape)


def heads_to_permute(config, name):
    """The number of heads if this tensor's rows are stored permuted, else None."""
    if config["model_type"] != "llama":
        return None
    if name.endswith("q_proj.weight"):
        return config["num_attention_heads"]
    if name.endswith("k_proj.weight"):
        return config["num_key_value_heads"]
    return None


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


def write(path, folder, config, kind, file_type, pre):
    head_dim = config.get("head_dim", config["hidden_size"] // config["num_attention_heads"])
    architecture = config["model_type"]
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
    add_tokenizer(writer, folder, config, pre)
    if config.get("rope_scaling"):
        writer.add_tensor("rope_freqs.weight", rope_factors(config))
    names = name_map(config)
    for name, weight in load_file(folder / "model.safetensors").items():
        values = weight.to(torch.float32).numpy()
        heads = heads_to_permute(config, name)
        if heads is not None:
            values = permute(values, heads)
        stored = Kind.F32 if values.ndim == 1 else kind
        data = gguf.quants.quantize(np.ascontiguousarray(values), stored)
        writer.add_tensor(names[name], data, raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def name_map(config):
    architecture = gguf.MODEL_ARCH[config["model_type"].upper()]
    table = gguf.get_tensor_name_map(architecture, config["num_hidden_layers"])

    class Names:
        def __getitem__(self, name):
            found = table.get_name(name, try_suffixes=(".weight", ".bias"))
            assert found is not None, name
            return found

    return Names()


def read_back(path, config, hf_names):
    """The file's weights in f32, under their folder names and in the folder's row order."""
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    names = name_map(config)
    weights = {}
    for name in hf_names:
        tensor = tensors.pop(names[name])
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        heads = heads_to_permute(config, name)
        if heads is not None:
            values = unpermute(values, heads)
        weights[name] = torch.from_numpy(np.ascontiguousarray(values))
    extra = {"rope_freqs.weight"} if config.get("rope_scaling") else set()
    assert set(tensors) == extra, set(tensors)
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


def make(file, source, kind, file_type):
    folder = MODELS / source
    config = json.loads((folder / "config.json").read_text())
    pre = next(spec["text"]["pre"] for spec in SPECS if spec["name"] == source)
    path = OUT / f"{file}.gguf"
    write(path, folder, config, kind, file_type, pre)

    original = {name: w.to(torch.float32) for name, w in load_file(folder / "model.safetensors").items()}
    weights = read_back(path, config, list(original))
    for name, values in weights.items():
        bound = original[name].abs().max().item() / 127 if kind == Kind.Q8_0 and values.ndim > 1 else 0.0
        assert (values - original[name]).abs().max().item() <= bound, (file, name)

    hf_config = AutoConfig.from_pretrained(folder)
    model = AutoModelForCausalLM.from_config(hf_config, dtype=torch.float32, attn_implementation="eager").eval()
    model.load_state_dict(weights, strict=False)
    model.tie_weights()
    check_factors(path, model)
    second = AutoModelForCausalLM.from_pretrained(
        OUT, gguf_file=path.name, config=hf_config, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    folder_golden = load_file(folder / "logits.safetensors")
    golden = {}
    for number in range(3):
        ids = folder_golden[f"ids_{number}"]
        logits = golden_logits(model, ids)
        scale = logits.abs().max()
        assert (golden_logits(second, ids) - logits).abs().max() / scale < 1e-6, file
        drift = ((folder_golden[f"logits_{number}"] - logits).abs().max() / scale).item()
        assert drift < (0.1 if kind == Kind.Q8_0 else 1e-6), (file, drift)
        golden[f"ids_{number}"] = ids
        golden[f"logits_{number}"] = logits
    if kind == Kind.Q8_0:
        save_file(golden, OUT / f"{file}.logits.safetensors")
        logits_at = f"gguf/{file}.logits.safetensors"
    else:
        logits_at = f"models/{source}/logits.safetensors"
    print(f"{file:18} {path.stat().st_size:8} bytes, drift from the folder {drift:.1e}")
    return {"file": f"gguf/{file}.gguf", "folder": f"models/{source}", "type": kind.name, "logits": logits_at}


def main():
    torch.set_num_threads(2)
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    files = [make(*twin) for twin in TWINS]
    about = made_with("make_gguf.py", "gguf", "torch", "transformers", "numpy")
    write_json(OUT / "index.json", {"made_with": about, "files": files})


if __name__ == "__main__":
    main()
