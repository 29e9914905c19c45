"""The tables in Markdown."""

import statistics

from compare import by_round, median
from engines.plimsoll import NAME

MIB = 1 << 20


def number(value, digits=1):
    return "–" if value is None else f"{value:.{digits}f}"


def line(cells):
    return "| " + " | ".join(cells) + " |"


def grid(heads, lines):
    return "\n".join([line(heads), line(["---"] * len(heads)), *map(line, lines)])


def targeted(value, target, digits=2):
    """A value and what it should reach, such as 1.52 (≥ 1.4)."""
    return number(value, digits) + (f" (≥ {target:g})" if target is not None else "")


VERDICTS = {True: "yes", False: "**no**", None: ""}


def multiple(row):
    """What the target is a multiple of, where that is not the best peer."""
    name = f" {row.target_peer}" if row.target_peer != row.peer else ""
    return targeted(row.target_ratio, row.target) + name if row.target is not None else ""


def compared(rows):
    """plimsoll beside the best peer of each width, the peer that a target names, and the bound."""
    heads = ["cell", "weights", "rounds", "tokens/s", "best peer", "its tokens/s", "ratio", "target", "limit", "of the limit", "met"]
    lines = [
        [
            *(row.cell, row.weights, str(row.rounds), number(row.speed), row.peer or "–", number(row.peer_speed)),
            *(number(row.ratio, 2), multiple(row), number(row.bound), targeted(row.share, row.share_target)),
            VERDICTS[row.met],
        ]
        for row in rows
    ]
    return grid(heads, lines)


def engines(results, shape, cells):
    """Every engine: bytes of weights that a token reads, peak memory, and its median in every cell."""
    heads = ["engine", "weights", "MiB a token", "peak MiB", *(cell.name for cell in cells)]
    lines = []
    samples = [sample for sample in results["samples"] if sample["shape"] == shape]
    for engine, weights in dict.fromkeys((sample["engine"], sample["weights"]) for sample in samples):
        mine = [sample for sample in samples if (sample["engine"], sample["weights"]) == (engine, weights)]
        size = results["weight_bytes"].get(f"{shape} {engine} {weights}")
        peak = max(sample["peak_bytes"] for sample in mine)
        medians = [number(median(by_round(mine, cell=cell.name))) for cell in cells]
        lines.append([engine, weights, number(size and size / MIB, 0), number(peak / MIB, 0), *medians])
    return grid(heads, lines)


def own(results, shape):
    """What only plimsoll's bench measures: the median of each value."""
    heads = ["cell", "weights", "ms", "more"]
    values = {}
    for sample in results["samples"]:
        if sample["shape"] == shape and sample["engine"] == NAME and sample["cell"].startswith(("arrival", "turn")):
            key = sample["cell"], sample["weights"]
            values.setdefault(key, []).append({"ms": sample["seconds"] * 1e3} | sample["more"])
    lines = []
    for (cell, weights), found in sorted(values.items()):
        medians = {name: statistics.median(value[name] for value in found) for name in found[0]}
        first = medians.pop("ms")
        medians.pop("tokens_per_second", None)
        shown = ", ".join(f"{name} {number(value)}" for name, value in medians.items())
        lines.append([cell, weights, number(first), shown])
    return grid(heads, lines) if lines else ""


def limits(results):
    """What the machine allowed, the best of each round."""
    names = [name for name in results["limits"][0] if name not in ("threads", "round", "shape", "cell")]
    units = {"read": ("GB/s", 1e9)}
    lines = []
    for name in names:
        unit, scale = units.get(name, ("TOP/s", 1e12))
        values = [measured[name] / scale for measured in results["limits"]]
        lines.append([name, unit, *(number(f(values), 2) for f in (min, max))])
    return grid(["limit", "unit", "lowest round", "highest round"], lines)


def report(results, rows, cells):
    """The whole page."""
    machine = results["machine"]
    parts = [
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory']}, Linux {machine['kernel']}; {machine['date']}. "
        f"{results['threads']} threads on CPUs {', '.join(map(str, results['cpus']))}, instructions: {results['level']}, "
        f"{results['new']} tokens a decode. " + ", ".join(results["versions"]) + "."
    ]
    for shape in dict.fromkeys(row.shape for row in rows):
        parts += [f"### {shape}", compared([row for row in rows if row.shape == shape])]
    for shape in dict.fromkeys(sample["shape"] for sample in results["samples"]):
        parts += [f"### All engines, {shape}", engines(results, shape, cells)]
        if alone := own(results, shape):
            parts += [f"### While others decode, and second turns, {shape}", alone]
    parts += ["### Limits", limits(results)]
    if results["failures"]:
        parts += ["### Left out", "\n".join(f"- {failure}" for failure in results["failures"])]
    return "\n\n".join(parts) + "\n"
