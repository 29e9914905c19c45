"""The tables of KL divergences and top-1 agreements against the f32 reference.

    python compare.py FOLDER VOCABULARY LEVELS [--versions TEXT] [--page FILE]

Reads FOLDER/TYPE.{reference,peer-64,peer-1,LEVEL-64,LEVEL-1}.f32. LEVELS has commas between; the last is the best. `--page` also
writes a page with them. Exit status 1 where plimsoll's KL divergence on that level is more than llama.cpp's, by more than
rounding in f32 and the choice of texts account for: three standard errors of the mean of their differences at each position.
"""

import argparse
import pathlib
import sys

import numpy

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "benches" / "peers"))

from machine import describe  # noqa: E402

TYPES = "F32 BF16 BF16-KV16 F16 Q8_0 Q6_K Q5_K Q5_1 Q5_0 Q4_K Q4_K_M Q4_1 Q4_0 IQ4_NL IQ4_XS Q3_K Q2_K".split()
# Nats: two ways to add up the same f32 numbers differ by less.
ROUNDING = 1e-9
# Tokens that are fed together, and what that stands for.
CHUNKS = {64: "prefill", 1: "decode"}
PAGE = """# What the kernels lose

Written by `make accuracy` with `ACCURACY_PAGE` set; how it measures is in [its README](../scripts/accuracy/README.md).

"""


def log_softmax(logits):
    shifted = logits.astype(numpy.float64) - logits.max(axis=1, keepdims=True)
    return shifted - numpy.log(numpy.exp(shifted).sum(axis=1, keepdims=True))


class Distance:
    """Of logits from the reference's, over all positions."""

    def __init__(self, reference, found):
        if reference.shape != found.shape or not numpy.isfinite(found).all():
            raise SystemExit(f"{found.shape} logits, not {reference.shape}, or not all are numbers")
        true, other = log_softmax(reference), log_softmax(found)
        self.each = (numpy.exp(true) * (true - other)).sum(axis=1)
        self.kl = float(self.each.mean())
        self.same = float((reference.argmax(axis=1) == found.argmax(axis=1)).mean())

    def __str__(self):
        return f"{max(self.kl, 0):.1e} {100 * self.same:.1f}"


def table(heads, lines):
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def report(distances, levels, note):
    """The best level beside llama.cpp, then all levels. `distances`: by type, then by level or "peer" and chunk."""

    def lines(names):
        columns = [(name, chunk) for chunk in CHUNKS for name in names]
        return [[kind] + [str(found.get(column, "–")) for column in columns] for kind, found in distances.items()]

    def heads(names):
        return ["type"] + [f"{phase}, {name}" for phase in CHUNKS.values() for name in names]

    beside = table(heads([f"plimsoll {levels[-1]}", "llama.cpp"]), lines([levels[-1], "peer"]))
    return f"{note}\n\n{beside}\n\nplimsoll on every instruction level:\n\n{table(heads(levels), lines(levels))}\n"


def sure(differences):
    """Whether their mean is above zero for any such texts, as far as these can tell."""
    return differences.mean() > 3 * differences.std(ddof=1) / len(differences) ** 0.5


def worse(distances, level):
    """Where plimsoll loses more than llama.cpp."""
    for kind, found in distances.items():
        for chunk in CHUNKS:
            ours, theirs = found.get((level, chunk)), found.get(("peer", chunk))
            if ours and theirs and ours.kl > max(theirs.kl, ROUNDING) and sure(ours.each - theirs.each):
                yield f"{kind} in pieces of {chunk}: {ours.kl:.2e} is more than llama.cpp's {theirs.kl:.2e}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("vocabulary", type=int)
    parser.add_argument("levels")
    parser.add_argument("--versions", default="")
    parser.add_argument("--page", type=pathlib.Path)
    arguments = parser.parse_args()
    levels = arguments.levels.split(",")

    def read(kind, name):
        path = arguments.folder / f"{kind}.{name}.f32"
        return numpy.fromfile(path, dtype=numpy.float32).reshape(-1, arguments.vocabulary) if path.exists() else None

    distances = {}
    for kind in TYPES:
        reference = read(kind.removesuffix("-KV16"), "reference")
        if reference is not None:
            names = [(name, chunk) for name in [*levels, "peer"] for chunk in CHUNKS]
            found = {(name, chunk): read(kind, f"{name}-{chunk}") for name, chunk in names}
            distances[kind] = {key: Distance(reference, logits) for key, logits in found.items() if logits is not None}
            positions = len(reference)
    if not distances:
        sys.exit("no reference in the folder")
    machine = describe()
    note = (
        f"Mean KL divergence in nats and top-1 agreement in percent, over {positions} positions of the bundled model, KV in f32, but where the name says f16 (KV16); all "
        f"matrices of the type named, Q4_K_M in llama.cpp's mixture. {machine['processor']}, Linux {machine['kernel']}; {machine['date']}. "
        f"{arguments.versions}."
    )
    made = report(distances, levels, note)
    print(made)
    if arguments.page is not None:
        arguments.page.write_text(PAGE + made)
    found = list(worse(distances, levels[-1]))
    for line in found:
        print(line, file=sys.stderr)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
