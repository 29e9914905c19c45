"""Writes the trained folder as one GGUF file: Q8_0 matrices, f32 norms, tokenizer and template inside.

    python export_gguf.py [--model models/demo] [--out models/demo/demo-q8_0.gguf]

The file is read again afterwards and every tensor compared with the folder's.
"""

import argparse
import json
import pathlib

import gguf
import numpy
from safetensors.torch import load_file

from train import SPECIAL, TEMPLATE

OUTER = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
}
INNER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_name(name):
    if name in OUTER:
        return OUTER[name]
    _, _, layer, *part, _ = name.split(".")
    return f"blk.{layer}.{INNER['.'.join(part)]}.weight"


def interleave(matrix, heads):
    """The row order of q and k in GGUF's "llama" files: rotation pairs side by side, not half a head apart."""
    rows, columns = matrix.shape
    return matrix.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def tensors_of(folder, config):
    """Name and f32 values as GGUF lays them out, in a fixed order."""
    for name, value in sorted(load_file(folder / "model.safetensors").items()):
        values = value.float().numpy()
        if name.endswith("q_proj.weight"):
            values = interleave(values, config["num_attention_heads"])
        elif name.endswith("k_proj.weight"):
            values = interleave(values, config["num_key_value_heads"])
        yield gguf_name(name), numpy.ascontiguousarray(values)


def write(folder, out, kind=gguf.GGMLQuantizationType.Q8_0):
    config = json.loads((folder / "config.json").read_text())
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokens = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in tokenizer["model"]["merges"]]

    writer = gguf.GGUFWriter(out, "llama")
    writer.add_name("plimsoll demo")
    writer.add_description("A tiny chat model trained for the plimsoll project")
    whole = kind == gguf.GGMLQuantizationType.F32
    writer.add_file_type(gguf.LlamaFileType.ALL_F32 if whole else gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL if token in SPECIAL else gguf.TokenType.NORMAL for token in tokens])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    for name, values in tensors_of(folder, config):
        if values.ndim == 1:
            writer.add_tensor(name, values)
        else:
            writer.add_tensor(name, gguf.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def compare(folder, out):
    """The largest error of any value, as a share of the largest value of its tensor."""
    config = json.loads((folder / "config.json").read_text())
    expected = dict(tensors_of(folder, config))
    worst = 0.0
    for tensor in gguf.GGUFReader(out).tensors:
        values = gguf.dequantize(tensor.data, tensor.tensor_type)
        wanted = expected.pop(tensor.name)
        worst = max(worst, float(numpy.abs(values - wanted).max() / numpy.abs(wanted).max()))
    # Half a step of 1/127, and the rounding of the f16 scale times up to 127 steps.
    if expected or worst > (0.5 + 127 / 2048) / 127:
        raise SystemExit(f"the GGUF file differs from the folder: worst {worst}, missing {sorted(expected)}")
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = pathlib.Path(__file__).parents[2]
    parser.add_argument("--model", type=pathlib.Path, default=root / "models" / "demo")
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    out = arguments.out or arguments.model / "demo-q8_0.gguf"
    write(arguments.model, out)
    print(f"{out}: {out.stat().st_size} bytes, largest rounding error {compare(arguments.model, out):.5f} of a tensor's largest value")


if __name__ == "__main__":
    main()
