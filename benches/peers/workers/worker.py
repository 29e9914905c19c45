"""What the programs in the peers' environments share: arguments, prompts, and the records that they print."""

import argparse
import json
import pathlib
import sys
from dataclasses import dataclass
from typing import Callable

sys.path.append(str(pathlib.Path(__file__).parent.parent))  # last: no package of a peer is shadowed
from cells import Cell  # noqa: E402


def arguments(description):
    a = argparse.ArgumentParser(description=description)
    a.add_argument("--model", required=True)
    a.add_argument("--threads", type=int, required=True)
    a.add_argument("--cells", required=True, type=json.loads, help="a JSON array of cells")
    a.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the engine")
    parsed = a.parse_args()
    parsed.cells = [Cell(**cell) for cell in parsed.cells]
    parsed.set = dict(pair.split("=", 1) for pair in parsed.set)
    return parsed


def prompt(rng, count):
    """Random token ids, far from the special ones; all vocabularies here are larger."""
    return rng.integers(300, 8000, size=count)


def check(cell, wanted, produced):
    """Fewer tokens than asked for would be another benchmark."""
    if produced != wanted:
        sys.exit(f"{cell.name}: {produced} tokens instead of {wanted}")


@dataclass
class Runner:
    """How an engine runs one cell: each function returns the seconds of the timed part and the tokens it counted."""

    prefill: Callable[[Cell], tuple[float, int]]
    decode: Callable[[Cell], tuple[float, int]]
    batch: Callable[[Cell], tuple[float, int]]


def measure(runner, chosen):
    """Prints a record of each cell."""
    for cell in chosen:
        seconds, tokens = getattr(runner, cell.kind)(cell)
        check(cell, cell.counted, tokens)
        print(json.dumps({"cell": cell.name, "tokens": tokens, "seconds": seconds}), flush=True)
