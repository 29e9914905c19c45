"""plimsoll itself: examples/bench.c on the library of build/."""

import json
import re
from dataclasses import replace

from home import ROOT
from process import build

from engines.engine import Engine, Run, Weights, checked, parse_lines
from engines.llama_cpp import LlamaCpp

NAME = "plimsoll"


class Plimsoll(Engine):
    name = NAME
    weights = (
        Weights("Q8_0", 8, "-q8_0.gguf"),
        Weights("Q8_0 (q8 KV)", 8, "-q8_0.gguf", kv="q8_0", cells="decode-"),
        Weights("Q4_0", 4, "-q4_0.gguf"),
        Weights("Q4_0 (q8 KV)", 4, "-q4_0.gguf", kv="q8_0", cells="decode-"),
        Weights("Q4_K_M", 4, "-q4_k_m.gguf"),
        Weights("Q4_K_M (q8 KV)", 4, "-q4_k_m.gguf", kv="q8_0", cells="decode-"),
        Weights("BF16", 16),
    )
    kinds = ("prefill", "decode", "batch", "arrival", "turn")

    def version(self):
        header = (ROOT / "include/plimsoll.h").read_text()
        numbers = (re.search(rf"PLIMSOLL_VERSION_{part} (\d+)", header)[1] for part in ("MAJOR", "MINOR", "PATCH"))
        return f"plimsoll {'.'.join(numbers)}"

    @property
    def bench(self):
        return ROOT / "build/bin/bench"

    def install(self):
        if not self.bench.exists():
            build(["make", "-C", ROOT, "build"], self.home.log)

    def convert(self, shape, weights):
        if not weights.suffix:
            return self.files(shape, weights)
        # The same files, made by llama.cpp's tools.
        llama_cpp = LlamaCpp(self.home)
        llama_cpp.install()
        (same,) = [other for other in llama_cpp.weights if other.suffix == weights.suffix]
        return llama_cpp.convert(shape, same)

    def run(self, model, weights, cells, way, pinned, log):
        run = Run()
        # The pace that running answers keep while prompts come in is for readers; batches are to be fast, as the peers' are.
        batches = [cell for cell in cells if cell.kind == "batch"]
        others = [cell for cell in cells if cell.kind != "batch"]
        for group, settings in ((others, []), (batches, ["--set", "native.step_ms=0"])):
            if group:
                run.join(self.start(model, weights, group, settings, pinned, log))
        return run

    def start(self, model, weights, cells, settings, pinned, log):
        command = [self.bench, "--json", "--reps", 1, "--model", model, "--threads", pinned.threads]
        command += ["--kv-type", weights.kv, "--new", new_tokens(cells), *settings]
        command += ["--cells", ",".join(cell.name for cell in cells)]
        done = pinned.run(command, log)
        whole = {value["cell"]: value for value in map(json.loads, done.output.splitlines())}
        extra = {name: whole[name] for name in ("load", "memory")}
        records = [all_decoding(record) for record in parse_lines(done.output)]
        return Run(checked(records, cells), done.peak_bytes, extra)


def all_decoding(record):
    """A batch's tokens at the speed at which all of it decodes, as the peers' are timed: no prompt comes in meanwhile."""
    speed = record.more.get("all_decoding_per_second")
    return record if speed is None else replace(record, seconds=record.tokens / speed if speed > 0 else 0)


def new_tokens(cells):
    """What --new must say: tokens of a decode, twice those of a sequence in a batch."""
    return max((cell.new * {"decode": 1, "batch": 2}.get(cell.kind, 0) for cell in cells), default=0) or 2
