"""The table of KL divergences and top-1 agreements against the f32 reference.

    python compare.py FOLDER VOCABULARY LEVELS [--note TEXT]

Reads FOLDER/TYPE.{reference,peer-64,peer-1,LEVEL-64,LEVEL-1}.f32. LEVELS has commas between; the last is the best. Exit status
1 where plimsoll's KL divergence on that level is more than llama.cpp's and more than rounding in f32 accounts for.
"""

import argparse
import pathlib
import sys

import numpy

TYPES = "F32 BF16 F16 Q8_0 Q6_K Q5_K Q5_1 Q5_0 Q4_K Q4_K_M Q4_1 Q4_0 IQ4_NL IQ4_XS Q3_K Q2_K".split()
# Nats: two ways to add up the same f32 numbers differ by less.
ROUNDING = 1e-9


def log_softmax(logits):
    shifted = logits.astype(numpy.float64) - logits.max(axis=1, keepdims=True)
    return shifted - numpy.log(numpy.exp(shifted).sum(axis=1, keepdims=True))


class Distance:
    """Of logits from the reference's, over all positions."""

    def __init__(self, reference, found):
        if reference.shape != found.shape or not numpy.isfinite(found).all():
            raise SystemExit(f"{found.shape} logits, not {reference.shape}, or not all are numbers")
        true, other = log_softmax(reference), log_softmax(found)
        self.kl = float((numpy.exp(true) * (true - other)).sum(axis=1).mean())
        self.same = float((reference.argmax(axis=1) == found.argmax(axis=1)).mean())

    def __str__(self):
        return f"{max(self.kl, 0):.1e} {100 * self.same:.1f}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("vocabulary", type=int)
    parser.add_argument("levels")
    parser.add_argument("--note", default="")
    arguments = parser.parse_args()
    levels = arguments.levels.split(",")

    def read(kind, name):
        path = arguments.folder / f"{kind}.{name}.f32"
        return numpy.fromfile(path, dtype=numpy.float32).reshape(-1, arguments.vocabulary) if path.exists() else None

    kinds = [kind for kind in TYPES if (arguments.folder / f"{kind}.reference.f32").exists()]
    columns = [(f"{level} {phase}", f"{level}-{chunk}") for level in levels for phase, chunk in [("prefill", 64), ("decode", 1)]]
    columns += [("llama.cpp prefill", "peer-64"), ("llama.cpp decode", "peer-1")]
    print(f"KL divergence in nats and top-1 agreement in percent. {arguments.note}\n")
    print("| type | " + " | ".join(title for title, _ in columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    worse = []
    for kind in kinds:
        reference = read(kind, "reference")
        found = {name: read(kind, name) for _, name in columns}
        distances = {name: Distance(reference, logits) for name, logits in found.items() if logits is not None}
        print(f"| {kind} | " + " | ".join(str(distances.get(name, "-")) for _, name in columns) + " |")
        for chunk in (64, 1):
            ours, theirs = distances.get(f"{levels[-1]}-{chunk}"), distances.get(f"peer-{chunk}")
            if ours and theirs and ours.kl > max(theirs.kl, ROUNDING):
                worse.append(f"{kind} in pieces of {chunk}: {ours.kl:.2e} is more than llama.cpp's {theirs.kl:.2e}")
    if not kinds:
        sys.exit("no reference in the folder")
    for line in worse:
        print(line, file=sys.stderr)
    sys.exit(1 if worse else 0)


if __name__ == "__main__":
    main()
