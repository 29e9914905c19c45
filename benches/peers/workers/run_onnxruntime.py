"""ONNX Runtime GenAI: its generator, for one sequence or a batch."""

import json
import time

import numpy as np
import onnxruntime_genai as genai
from worker import Runner, arguments, measure, prompt

options = arguments(__doc__)
rng = np.random.default_rng(0)
config = genai.Config(options.model)
config.overlay(json.dumps({"model": {"decoder": {"session_options": {"intra_op_num_threads": options.threads}}}}))
model = genai.Model(config)


def start(sequences, count, new):
    """A generator that holds the prompts, and the seconds this took."""
    parameters = genai.GeneratorParams(model)
    length = count + new
    # The end of a text counts only from min_length on.
    parameters.set_search_options(max_length=length, min_length=length, batch_size=sequences, do_sample=False)
    generator = genai.Generator(model, parameters)
    tokens = prompt(rng, sequences * count).astype(np.int32).reshape(sequences, count)
    began = time.perf_counter()
    generator.append_tokens(tokens)
    return generator, time.perf_counter() - began


def held(generator, sequences):
    return sum(len(generator.get_sequence(i)) for i in range(sequences))


def prefill(cell):
    generator, seconds = start(1, cell.prompt, cell.new)
    return seconds, held(generator, 1)


def decode(cell):
    # The prefill leaves the logits of a token, which the first step only picks: it is not counted.
    generator, _ = start(cell.sequences, cell.prompt, cell.new + 1)
    generator.generate_next_token()
    before = held(generator, cell.sequences)
    began = time.perf_counter()
    for _ in range(cell.new):
        generator.generate_next_token()
    return time.perf_counter() - began, held(generator, cell.sequences) - before


start(1, 64, 8)
measure(Runner(prefill, decode, decode), options.cells)
