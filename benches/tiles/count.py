#!/usr/bin/env python3
"""Instructions of the longest loop that has a given one, by kind and for each time that it has it.

`count.py LIBRARY FUNCTION INSTRUCTION`, such as `count.py libplimsoll.so many_bytes::amx::units::products tdpb`: FUNCTION is part of
the demangled name, so the library needs its symbols, and names that tell constants:

    RUSTFLAGS="-C symbol-mangling-version=v0" CARGO_PROFILE_RELEASE_STRIP=none cargo build --release --target-dir build/counted

Needs nm and objdump.
"""

import collections
import re
import subprocess
import sys


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def functions(library, name):
    """Address, size and demangled name of each function that has this in its name."""
    for line in output("nm", "-S", "-C", library).splitlines():
        found = re.match(r"([0-9a-f]+) ([0-9a-f]+) [tT] (.*)", line)
        if found and name in found[3]:
            yield int(found[1], 16), int(found[2], 16), found[3]


def instructions(library, start, size):
    """Address, name and operands."""
    ends = (f"--start-address={start}", f"--stop-address={start + size}")
    for line in output("objdump", "-d", "--no-show-raw-insn", *ends, library).splitlines():
        if found := re.match(r" *([0-9a-f]+):\s+(\S+)\s*(.*)", line):
            yield int(found[1], 16), found[2], found[3]


def longest_loop(body, wanted):
    """The longest stretch between a jump back and its target that has an instruction whose name begins so."""
    places = {address: number for number, (address, _, _) in enumerate(body)}
    loops = []
    for number, (_, name, operands) in enumerate(body):
        target = re.match(r"[0-9a-f]+", operands)
        if name.startswith("j") and target and places.get(int(target[0], 16), number) < number:
            loop = body[places[int(target[0], 16)] : number + 1]
            if any(name.startswith(wanted) for _, name, _ in loop):
                loops.append(loop)
    return max(loops, key=len, default=[])


def kind(name, operands):
    if name.startswith(("tile", "tdp")):
        return "tiles"
    if name.startswith("prefetch"):
        return "prefetches"
    if re.search("[xyz]mm", operands):
        if name.startswith("vmov") and operands.endswith(")"):
            return "vectors stored"
        return "vectors loaded" if name.startswith("vmov") and "(" in operands else "vectors computed"
    return "branches" if name.startswith("j") else "addresses and counters"


def main(given):
    if len(given) != 3:
        sys.exit(__doc__)
    library, function, wanted = given
    for start, size, name in functions(library, function):
        loop = longest_loop(list(instructions(library, start, size)), wanted)
        if not loop:
            print(f"{name}: no loop with {wanted}")
            continue
        times = sum(1 for _, name, _ in loop if name.startswith(wanted))
        kinds = collections.Counter(kind(name, operands) for _, name, operands in loop)
        each = ", ".join(f"{kind} {number / times:.1f}" for kind, number in kinds.most_common())
        print(f"{name}: {len(loop) / times:.1f}: {each}")


if __name__ == "__main__":
    main(sys.argv[1:])
