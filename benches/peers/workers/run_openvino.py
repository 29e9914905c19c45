"""OpenVINO GenAI: a pipeline for one sequence, and its continuous batching for several."""

import functools
import itertools
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
    """Seconds from the first step to the last, and all tokens."""
    handles = [pipe.add_request(next(request_ids), ov.Tensor(ids(count)), generation(new)) for _ in range(sequences)]
    start = time.perf_counter()
    while pipe.has_non_finished_requests():
        pipe.step()
    seconds = time.perf_counter() - start
    return seconds, sum(len(output.generated_ids) for handle in handles for output in handle.read_all())


def batch(cell):
    """What further tokens take: a run with them less a run with one token each."""
    first, one = together(batching(), cell.sequences, cell.prompt, 1)
    check(cell, cell.sequences, one)
    whole, produced = together(batching(), cell.sequences, cell.prompt, cell.new + 1)
    return whole - first, produced - one


measure(Runner(prefill, decode, batch), options.cells)
