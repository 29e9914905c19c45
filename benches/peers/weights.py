"""Bytes of weights that a token reads: every tensor once. Tied embeddings count once, as the output layer."""

import json
import pathlib
import struct

# GGUF's scalar types by number, as struct formats; 8 is a string, 9 an array.
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
# Tensor types by number: values in a block, bytes of a block.
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 30: (1, 2),
}  # fmt: skip


class _Gguf:
    def __init__(self, file):
        self.file = file

    def scalar(self, form):
        return struct.unpack("<" + form, self.file.read(struct.calcsize("<" + form)))[0]

    def string(self):
        return self.file.read(self.scalar("Q"))

    def skip(self, kind):
        if kind == _STRING:
            self.string()
        elif kind == _ARRAY:
            inner = self.scalar("I")
            for _ in range(self.scalar("Q")):
                self.skip(inner)
        else:
            self.scalar(_SCALARS[kind])

    def tensors(self):
        """Name and bytes of each tensor."""
        if self.file.read(4) != b"GGUF":
            raise ValueError("no GGUF file")
        self.scalar("I")
        count, keys = self.scalar("Q"), self.scalar("Q")
        for _ in range(keys):
            self.string()
            self.skip(self.scalar("I"))
        for _ in range(count):
            name, values = self.string().decode(), 1
            for _ in range(self.scalar("I")):
                values *= self.scalar("Q")
            per_block, size = _BLOCKS[self.scalar("I")]
            self.scalar("Q")
            yield name, values // per_block * size


def gguf_bytes(path):
    with open(path, "rb") as file:
        sizes = dict(_Gguf(file).tensors())
    if "output.weight" in sizes:
        sizes.pop("token_embd.weight")
    return sum(sizes.values())


def safetensors_bytes(path):
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    header.pop("__metadata__", None)
    if "lm_head.weight" in header:
        header.pop("model.embed_tokens.weight")
    return sum(end - start for start, end in (tensor["data_offsets"] for tensor in header.values()))


def weight_bytes(path):
    """Of a GGUF file, or a folder in the layout of Hugging Face, OpenVINO or ONNX."""
    path = pathlib.Path(path)
    if path.is_file():
        return gguf_bytes(path)
    for name in ("openvino_model.bin", "model.onnx.data"):
        if (path / name).exists():
            return (path / name).stat().st_size
    return safetensors_bytes(path / "model.safetensors")
