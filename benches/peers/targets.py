"""What plimsoll is to reach: ratios to the best peer of the same weight width, and shares of a raw memory read."""

PREFILL = {8: 1.4, 4: 1.4, 16: 1.0}
DECODE = {"Q8_0": 1.1, "Q4_0": 1.45, "Q4_K_M": 1.3, "BF16": 1.2}
DECODE_AT_DEPTH = {4: 1.6}
BATCH = {8: 1.4, 4: 1.7}
READ_SHARE = {"Q8_0": 0.92, "Q4_0": 0.9}


def ratio(cell, weights):
    """The ratio to the best peer, None where there is no target."""
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
