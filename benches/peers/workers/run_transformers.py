"""Hugging Face transformers: greedy steps over its cache of keys and values."""

import time

import numpy as np
import torch
from transformers import AutoModelForCausalLM
from worker import Runner, arguments, measure, prompt

options = arguments(__doc__)
torch.set_num_threads(options.threads)
rng = np.random.default_rng(0)
model = AutoModelForCausalLM.from_pretrained(options.model, dtype=getattr(torch, options.set["dtype"])).eval()


def forward(tokens, cache=None):
    result = model(input_ids=tokens, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return result.logits[:, -1].argmax(-1, keepdim=True), result.past_key_values


def ids(sequences, count):
    return torch.from_numpy(prompt(rng, sequences * count).astype(np.int64)).reshape(sequences, count)


def prefill(cell):
    tokens = ids(1, cell.prompt)
    start = time.perf_counter()
    _, cache = forward(tokens)
    return time.perf_counter() - start, cache.get_seq_length()


def decode(cell):
    """All sequences step together; none ends early, for nobody looks at the tokens."""
    token, cache = forward(ids(cell.sequences, cell.prompt))
    held = cache.get_seq_length()
    start = time.perf_counter()
    for _ in range(cell.new):
        token, cache = forward(token, cache)
    seconds = time.perf_counter() - start
    return seconds, (cache.get_seq_length() - held) * token.numel()


with torch.inference_mode():
    forward(ids(1, 64))
    measure(Runner(prefill, decode, decode), options.cells)
