"""Writes tests/golden/blocks.safetensors: blocks of every tensor type, and the numbers that gguf-py reads out of them.

Per type `<name>.bytes` (u8, `[blocks, bytes]`) and `<name>.values` (f32, `[blocks, elements]`). The bytes are random
except for the scales: the first blocks have ordinary ones, then each of EDGES takes its turn in every scale.
"""

import numpy as np
from gguf import GGML_QUANT_SIZES, quants
from gguf import GGMLQuantizationType as Kind
from safetensors.numpy import save_file

from common import GOLDEN, made_with

# Where a block keeps half-precision scales and offsets.
HALVES = {
    Kind.Q4_0: [0],
    Kind.Q4_1: [0, 2],
    Kind.Q5_0: [0],
    Kind.Q5_1: [0, 2],
    Kind.Q8_0: [0],
    Kind.Q2_K: [80, 82],
    Kind.Q3_K: [108],
    Kind.Q4_K: [0, 2],
    Kind.Q5_K: [0, 2],
    Kind.Q6_K: [208],
    Kind.IQ4_NL: [0],
    Kind.IQ4_XS: [0],
    Kind.MXFP4: [],
}
PLAIN = [Kind.F32, Kind.F16, Kind.BF16]

# Zeros, subnormals, the largest, infinities and NaN, of both signs.
EDGES = [0x0000, 0x8000, 0x0001, 0x83FF, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E01]
BF16_EDGES = [0x0000, 0x8000, 0x0001, 0x807F, 0x7F7F, 0xFF7F, 0x7F80, 0xFF80, 0x7FC1]
# Exponents of MXFP4: subnormal scales, the smallest normal, one, the largest, and the standard's NaN.
EXPONENTS = [0, 1, 2, 127, 254, 255]
ORDINARY = 3


def quantised(kind, random):
    elements, size = GGML_QUANT_SIZES[kind]
    edges = EDGES if HALVES[kind] else EXPONENTS
    blocks = random.integers(0, 256, (ORDINARY + len(edges), size), dtype=np.uint8)
    for at in HALVES[kind]:
        scales = random.uniform(-0.1, 0.1, len(blocks)).astype(np.float16)
        blocks[:, at : at + 2] = scales.view(np.uint8).reshape(-1, 2)
    for number, edge in enumerate(edges):
        block = blocks[ORDINARY + number]
        if not HALVES[kind]:
            block[0] = edge
        for turn, at in enumerate(HALVES[kind]):
            # The second scale has another edge than the first.
            value = edges[(number - turn) % len(edges)]
            block[at : at + 2] = np.frombuffer(np.uint16(value).tobytes(), np.uint8)
    return blocks, elements


def plain(kind, random):
    size = GGML_QUANT_SIZES[kind][1]
    blocks = random.integers(0, 256, (64, size), dtype=np.uint8)
    if size == 2:
        edges = np.array(BF16_EDGES if kind == Kind.BF16 else EDGES, dtype=np.uint16).view(np.uint8).reshape(-1, 2)
        blocks = np.concatenate([edges, blocks])
    return blocks, 1


def main():
    random = np.random.default_rng(20)
    tensors = {}
    for kind in [*PLAIN, *HALVES]:
        blocks, elements = (plain if kind in PLAIN else quantised)(kind, random)
        with np.errstate(all="ignore"):
            values = quants.dequantize(blocks.reshape(1, -1), kind).astype(np.float32)
        name = kind.name
        tensors[f"{name}.bytes"] = blocks
        tensors[f"{name}.values"] = np.ascontiguousarray(values.reshape(len(blocks), elements))
        print(f"{name:7} {len(blocks):3} blocks, {np.isfinite(values).mean():.0%} finite")
    about = made_with("make_blocks.py", "gguf", "numpy", "safetensors")
    save_file(tensors, GOLDEN / "blocks.safetensors", metadata={key: str(value) for key, value in about.items()})


if __name__ == "__main__":
    main()
