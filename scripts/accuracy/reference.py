"""f32 logits of the weights in a GGUF file, as gguf-py dequantises them, by transformers.

    python reference.py IDS FOLDER TYPE...

Reads FOLDER/TYPE.gguf and writes FOLDER/TYPE.reference.f32.
"""

import json
import pathlib
import sys

import gguf
import numpy
import torch
from transformers import LlamaConfig, LlamaForCausalLM

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "scripts" / "demo"))

from export_gguf import gguf_name  # noqa: E402


def separate(matrix, heads):
    """From the row order of q and k in GGUF's "llama" files, pairs side by side, to that of folders, half a head apart."""
    rows, columns = matrix.shape
    return matrix.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def weights(path, names, config):
    stored = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    for name in names:
        if name == "lm_head.weight":  # tied, and in the file once
            continue
        tensor = stored.pop(gguf_name(name))
        values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(numpy.float32)
        if name.endswith("q_proj.weight"):
            values = separate(values, config["num_attention_heads"])
        elif name.endswith("k_proj.weight"):
            values = separate(values, config["num_key_value_heads"])
        yield name, torch.from_numpy(numpy.ascontiguousarray(values))
    if stored:
        raise SystemExit(f"{path}: tensors that nobody reads: {sorted(stored)}")


def write(path, texts, out):
    config = json.loads((ROOT / "models/demo/config.json").read_text())
    made = LlamaConfig(**config)
    made._attn_implementation = "eager"
    model = LlamaForCausalLM(made).to(torch.float32).eval()
    missing, unexpected = model.load_state_dict(dict(weights(path, list(model.state_dict()), config)), strict=False)
    if unexpected or set(missing) - {"lm_head.weight"}:
        raise SystemExit(f"{path}: missing {missing}, unexpected {unexpected}")
    model.tie_weights()
    logits = []
    for text in texts:
        with torch.no_grad():
            logits.append(model(input_ids=torch.tensor([text]), use_cache=False).logits[0])
    numpy.concatenate([part.numpy() for part in logits]).astype(numpy.float32).tofile(out)


def main():
    ids, folder, kinds = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3:]
    texts = [list(map(int, line.split())) for line in ids.read_text().splitlines()]
    for kind in kinds:
        write(folder / f"{kind}.gguf", texts, folder / f"{kind}.reference.f32")


if __name__ == "__main__":
    main()
