"""What the machine allows, and what that means for a cell."""

import json

from process import Failed
from shapes import SHAPES, parameters

KV_BYTES = {"f16": 2, "q8_0": 34 / 32}  # of an element
INT8 = ("amx_int8", "vnni_int8", "avx2_int8")
FLOAT = ("amx_bf16", "avx512_bf16", "avx512_f16", "avx512_f32", "avx2_f32")
READ_SECONDS = 1  # about what decoding takes


def measure(program, pinned, log):
    """Bytes and operations a second, by name, as limits.c prints them."""
    values = json.loads(pinned.run([program, pinned.threads], log).output)
    if not pinned.level.tiles and "amx_int8" in values:
        raise Failed("matrix tiles were handed out at a level without them")
    return values


def mean_read(program, pinned, log):
    """Bytes that are read in a second, the mean of as long as decoding takes: neighbours come and go in either."""
    return json.loads(pinned.run([program, pinned.threads, READ_SECONDS], log).output)["mean_read"]


def peak(limits, bits):
    """Operations a second for products with weights of so many bits: 8-bit integers serve 4-bit weights too. None: unknown."""
    known = [limits[name] for name in (INT8 if bits <= 8 else FLOAT) if name in limits]
    return max(known, default=None)


def kv_bytes(shape, tokens, kv):
    """Of the keys and values of `tokens` tokens."""
    facts = SHAPES[shape]
    elements = 2 * facts["num_hidden_layers"] * facts["num_key_value_heads"] * facts["head_dim"]
    return tokens * elements * KV_BYTES[kv]


def bound(shape, cell, weights, weight_bytes, limits):
    """Tokens a second that no engine can pass in a cell; None where nothing simple bounds it.

    Prefill: products of the layers at the peak of the arithmetic, neither attention nor the output layer. Decode: weights and held keys and
    values at the speed of memory. In batches weights are read once for all, and products count too where they take longer.
    """
    layers, output = parameters(SHAPES[shape])
    operations = peak(limits, weights.bits)
    if cell.kind == "prefill":
        return operations and operations / (2 * layers)
    if cell.kind not in ("decode", "batch"):
        return None
    reads = (weight_bytes + cell.sequences * kv_bytes(shape, cell.held, weights.kv)) / limits["read"]
    computes = 2 * (layers + output) * cell.sequences / operations if operations else 0
    return cell.sequences / max(reads, computes)
