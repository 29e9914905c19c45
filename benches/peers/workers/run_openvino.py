"""OpenVINO GenAI: a pipeline for one sequence, and its continuous batching for several."""

import functools
import itertools
import sys
import time

import numpy as np
import openvino as ov
import openvino_genai as genai
from worker import Runner, arguments, check, measure, prompt

options = arguments(__doc__)
rng = np.random.default_rng(0)
properties = {"INFERENCE_NUM_THREADS": options.threads, **options.set}


def generation(new):
    config = genai.GenerationConfig()
    config.max_new_tokens = config.min_new_tokens = new
    config.ignore_eos = True
    config.do_sample = False
    return config


def ids(count):
    return prompt(rng, count).astype(np.int64).reshape(1, count)


@functools.cache
def pipeline():
    made = genai.LLMPipeline(options.model, "CPU", **properties)
    generate(made, 64, 8)
    return made


def generate(pipe, count, new):
    tokens = ids(count)
    result = pipe.generate(genai.TokenizedInputs(ov.Tensor(tokens), ov.Tensor(np.ones_like(tokens))), generation(new))
    return result.perf_metrics, len(result.tokens[0])


def prefill(cell):
    metrics, produced = generate(pipeline(), cell.prompt, cell.new)
    check(cell, cell.new, produced)
    return metrics.get_ttft().mean / 1000, cell.prompt


def decode(cell):
    # The first token belongs to the prefill.
    metrics, produced = generate(pipeline(), cell.prompt, cell.new + 1)
    return metrics.get_tpot().mean / 1000 * cell.new, produced - 1


@functools.cache
def batching():
    pipeline.cache_clear()  # the weights need not be there twice
    scheduler = genai.SchedulerConfig()
    scheduler.cache_size = 1
    scheduler.max_num_batched_tokens = 512
    scheduler.max_num_seqs = 64
    scheduler.dynamic_split_fuse = True
    scheduler.enable_prefix_caching = False
    made = genai.ContinuousBatchingPipeline(options.model, scheduler, "CPU", properties)
    together(made, 2, 64, 8)
    return made


request_ids = itertools.count()


def together(pipe, sequences, count, new):
    """The time after each step, and how many tokens each sequence then had."""
    handles = [pipe.add_request(next(request_ids), ov.Tensor(ids(count)), generation(new)) for _ in range(sequences)]
    steps, produced = [], [0] * sequences
    while pipe.has_non_finished_requests():
        pipe.step()
        for number, handle in enumerate(handles):
            if handle.can_read():
                produced[number] += sum(len(output.generated_ids) for output in handle.read().values())
        steps.append((time.perf_counter(), list(produced)))
    return steps


def batch(cell):
    """What the further tokens take at the speed at which all decode together: a prompt's pieces come in beside others' tokens."""
    steps = together(batching(), cell.sequences, cell.prompt, cell.new + 1)
    check(cell, cell.sequences * (cell.new + 1), sum(steps[-1][1]))
    alike = [(at, sum(counts)) for at, counts in steps if min(counts) and max(counts) <= cell.new]
    if len(alike) < 2:
        sys.exit(f"{cell.name}: {cell.new} tokens are too few for all sequences to decode together")
    (began, before), (ended, after) = alike[0], alike[-1]
    wanted = cell.sequences * cell.new
    return (ended - began) / (after - before) * wanted, wanted


measure(Runner(prefill, decode, batch), options.cells)
