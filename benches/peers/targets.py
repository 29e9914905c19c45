"""What plimsoll is to reach: multiples of a peer's speed with weights of the same width, and shares of a raw memory read.

A multiple is of one engine, which was the fastest when the figure was set, or of the best peer, whichever that is. Being ahead of
all of them is wanted in every cell.
"""

from dataclasses import dataclass

from engines.openvino import OpenVino


@dataclass(frozen=True)
class Target:
    """A multiple of an engine's speed; `of` is None for the best peer."""

    multiple: float
    of: str | None = None


def of_openvino(multiple):
    return Target(multiple, OpenVino.name)


PREFILL = {8: of_openvino(1.4), 4: of_openvino(1.4), 16: Target(1.0)}
DECODE = {"Q8_0": Target(1.1), "Q4_0": of_openvino(1.45), "Q4_K_M": of_openvino(1.3), "BF16": Target(1.2)}
DECODE_AT_DEPTH = {4: of_openvino(1.6)}
BATCH = {8: of_openvino(1.4), 4: of_openvino(1.7)}
READ_SHARE = {"Q8_0": 0.92, "Q4_0": 0.9}


def ratio(cell, weights):
    """The target of a cell, None where there is none."""
    if cell.kind == "prefill":
        return PREFILL[weights.bits]
    if cell.kind == "batch":
        return BATCH.get(weights.bits)
    if cell.name == "decode":
        return DECODE.get(weights.name)
    return DECODE_AT_DEPTH.get(weights.bits) if cell.kind == "decode" else None


def share(cell, weights):
    """The share of the bound, None where there is no target."""
    return READ_SHARE.get(weights.name) if cell.name == "decode" else None
