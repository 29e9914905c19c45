"""Writes tests/golden/demo_greedy.json: greedy answers of the bundled model by transformers in f32.

Each step says how far apart the two largest logits are and how large the largest |logit| is, so that a
reader can tell where rounding may choose otherwise. `--model` and `--out` point it elsewhere for a trial.
"""

import argparse
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from common import GOLDEN, ROOT, made_with, write_records

MAX_TOKENS = 48

# One list per conversation: the user's turns; the answers between them are the model's own.
CONVERSATIONS = [
    ["Hello!"],
    ["Hi, how are you?"],
    ["Good morning"],
    ["What is plimsoll?"],
    ["What can you do?"],
    ["Who are you?"],
    ["Why is it called plimsoll?"],
    ["What does the memory guard do?"],
    ["How do I load a model?"],
    ["How do I open a session?"],
    ["What happens when there is not enough memory?"],
    ["How do I stop an answer?"],
    ["What is a ticket?"],
    ["2 + 3"],
    ["What is 17 plus 8?"],
    ["How much is 40 + 21?"],
    ["What is the capital of France?"],
    ["Who wrote Hamlet?"],
    ["thanks"],
    ["Grüße aus Köln 🙂"],
    ["Hello!", "What is plimsoll?"],
    ["What is 4 + 5?", "And 6 + 7?"],
    ["What is a lease?", "Thank you!", "Goodbye"],
]
SYSTEM = [("You are a helpful assistant.", ["Hello!"]), ("Answer in one sentence.", ["What is plimsoll?", "What is 1 + 1?"])]


def end_ids(model):
    ids = model.generation_config.eos_token_id
    if ids is None:
        ids = model.config.eos_token_id
    return set(ids if isinstance(ids, list) else [ids])


def greedy(model, prompt, ends):
    """The continuation, the end token included, and each step's margin; nothing is cached between steps."""
    ids, steps = list(prompt), {"ids": [], "top2_gaps": [], "max_abs_logits": []}
    while len(steps["ids"]) < MAX_TOKENS:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
        top = torch.topk(logits, 2)
        chosen = int(top.indices[0])
        steps["ids"].append(chosen)
        steps["top2_gaps"].append(float(f"{(top.values[0] - top.values[1]).item():.6g}"))
        steps["max_abs_logits"].append(float(f"{logits.abs().max().item():.6g}"))
        ids.append(chosen)
        if chosen in ends:
            return {**steps, "finish": "eos"}
    return {**steps, "finish": "length"}


def answer(model, tokenizer, messages, ends):
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    prompt = tokenizer.encode(text, add_special_tokens=False)
    steps = greedy(model, prompt, ends)
    kept = [index for index in steps["ids"] if index not in ends]
    reply = tokenizer.decode(kept, skip_special_tokens=True)
    return {"messages": list(messages), "prompt": text, "prompt_ids": prompt, **steps, "text": reply}


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", type=Path, default=ROOT / "models" / "demo")
    options.add_argument("--out", type=Path, default=GOLDEN / "demo_greedy.json")
    options = options.parse_args()
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32, attn_implementation="eager").eval()
    ends = end_ids(model)
    records = []
    for system, turns in [(None, turns) for turns in CONVERSATIONS] + SYSTEM:
        messages = [{"role": "system", "content": system}] if system else []
        for turn in turns:
            messages.append({"role": "user", "content": turn})
            records.append(answer(model, tokenizer, messages, ends))
            messages.append({"role": "assistant", "content": records[-1]["text"]})
    head = {
        "made_with": made_with("make_demo.py", "torch", "transformers", "tokenizers", arithmetic="f32, eager attention"),
        "model": options.model.name,
        "max_tokens": MAX_TOKENS,
        "end_ids": sorted(ends),
    }
    write_records(options.out, head, "records", records)
    finished = sum(record["finish"] == "eos" for record in records)
    steps = sum(len(record["ids"]) for record in records)
    sure = sum(gap > 0.002 * top for r in records for gap, top in zip(r["top2_gaps"], r["max_abs_logits"]))
    print(f"{len(records)} answers, {finished} end by themselves; {sure} of {steps} steps clear of rounding")


if __name__ == "__main__":
    main()
