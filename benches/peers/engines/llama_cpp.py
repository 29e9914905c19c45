"""llama.cpp, from the sources in llama-cpp-python."""

import json
import os
import shutil
import sys

from home import HERE, WORKERS, remove
from process import Failed, build

from engines.engine import Engine, Record, Run, Weights, checked

RELEASE = "0.3.36"  # of llama-cpp-python
TOOLS = ("llama-bench", "llama-batched-bench", "llama-quantize")
BATCH = 2048  # tokens that go in together, in pieces of 512


class LlamaCpp(Engine):
    name = "llama.cpp"
    weights = (
        Weights("Q8_0", 8, "-q8_0.gguf"),
        Weights("Q4_0", 4, "-q4_0.gguf"),
        Weights("Q4_K_M", 4, "-q4_k_m.gguf"),
        Weights("BF16", 16, "-bf16.gguf"),
    )
    ways = ({"flash_attention": "0"}, {"flash_attention": "1"})

    def version(self):
        return f"llama-cpp-python=={RELEASE}"

    @property
    def sources(self):
        return self.home.path / f"llama_cpp_python-{RELEASE}"

    def tool(self, name):
        return self.home.path / "llama-build/bin" / name

    def fetch(self, out):
        """The sources as the registry has them, unpacked."""
        download = self.home.folder("download")
        pip = (sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "-d", download)
        build([*pip, f"llama-cpp-python=={RELEASE}"], self.home.log)
        (archive,) = download.glob(f"llama_cpp_python-{RELEASE}.tar.gz")
        out.mkdir()
        build(["tar", "-xzf", archive, "-C", out, "--strip-components=1"], self.home.log)
        remove(archive)

    def install(self):
        if all(self.tool(name).exists() for name in TOOLS):
            return
        if shutil.which("cmake") is None:
            raise Failed("cmake is missing")
        sources = self.home.made(self.sources, self.fetch) / "vendor/llama.cpp"
        flags = ["CMAKE_BUILD_TYPE=Release", "GGML_NATIVE=ON", "LLAMA_CURL=OFF", "BUILD_SHARED_LIBS=OFF"]
        flags += ["LLAMA_BUILD_TESTS=OFF", "LLAMA_BUILD_SERVER=OFF"]
        flags += [f"CMAKE_CXX_COMPILER_LAUNCHER={HERE / 'keep-tiles.sh'}"]
        folder = self.home.path / "llama-build"
        build(["cmake", "-S", sources, "-B", folder, *(f"-D{flag}" for flag in flags)], self.home.log)
        build(["cmake", "--build", folder, "-j", os.cpu_count(), "--target", *TOOLS], self.home.log)

    def convert(self, shape, weights):
        bf16 = self.home.model(shape + "-bf16.gguf")

        def from_folder(out):
            python = self.home.python("transformers")
            script = WORKERS / "convert_gguf.py"
            build([python, script, self.sources / "vendor/llama.cpp", self.home.model(shape), out], self.home.log)

        def quantize(out):
            self.home.made(bf16, from_folder)
            build([self.tool("llama-quantize"), bf16, out, weights.name, os.cpu_count()], self.home.log)

        make = from_folder if weights.bits == 16 else quantize
        return self.home.made(self.files(shape, weights), make)

    def run(self, model, weights, cells, way, pinned, log):
        run = Run()
        # Prefills and the decode from nothing go together; each depth is a run, for the tool would cross it with all tests.
        for group in groups(cells):
            if group[0].kind == "batch":
                command, parse = self.batched_command(model, group, way, pinned), parse_batched
            else:
                command, parse = self.bench_command(model, group, way, pinned), parse_bench
            done = pinned.run(command, log)
            run.join(Run(checked(parse(done.output), group), done.peak_bytes))
        return run

    def bench_command(self, model, cells, way, pinned):
        prompts = ",".join(str(cell.prompt) for cell in cells if cell.kind == "prefill") or "0"
        decodes = [cell for cell in cells if cell.kind == "decode"]
        command = [self.tool("llama-bench"), "-m", model, "-t", pinned.threads, "-r", 1, "-o", "json", "-b", BATCH]
        command += ["-fa", way["flash_attention"], "-p", prompts, "-n", decodes[0].new if decodes else 0]
        return command + (["-d", depth(decodes[0])] if decodes and depth(decodes[0]) else [])

    def batched_command(self, model, cells, way, pinned):
        first = cells[0]
        context = max(cell.sequences for cell in cells) * (first.prompt + first.new)
        counts = ",".join(str(cell.sequences) for cell in cells)
        command = [self.tool("llama-batched-bench"), "-m", model, "-t", pinned.threads, "-tb", pinned.threads]
        command += ["-c", context, "-b", BATCH, "-ub", 512, "-npp", first.prompt, "-ntg", first.new, "-npl", counts]
        return command + ["-fa", "on" if way["flash_attention"] == "1" else "off", "--output-format", "jsonl"]


def depth(cell):
    """Tokens held before a decode: the tool needs no prompt to begin with."""
    return 0 if cell.name == "decode" else cell.prompt


def groups(cells):
    """Cells that one start measures."""
    together = [cell for cell in cells if cell.kind == "prefill" or cell.name == "decode"]
    deep = [[cell] for cell in cells if cell.kind == "decode" and cell.name != "decode"]
    return [group for group in (together, *deep, [cell for cell in cells if cell.kind == "batch"]) if group]


def parse_bench(output):
    """Records of llama-bench's JSON."""
    records = []
    for test in json.loads(output):
        prompt, new, held = test["n_prompt"], test["n_gen"], test["n_depth"]
        if prompt and new:
            raise Failed(f"a test of {prompt} and {new} tokens was not asked for")
        name = f"prefill-{prompt}" if prompt else f"decode-{held}" if held else "decode"
        records += [Record(name, prompt or new, ns / 1e9) for ns in test["samples_ns"]]
    return records


def parse_batched(output):
    """Records of llama-batched-bench's lines, which counts the prompts' prefill apart."""
    tests = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    return [Record(f"batch-{test['pl']}", test["pl"] * test["tg"], test["t_tg"]) for test in tests]
