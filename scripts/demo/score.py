"""Asks the held-out questions greedily and counts the right answers.

    python score.py [--model models/demo] [--engine chat|transformers] [--chat build/bin/chat] [--show]

An answer is right if it contains all phrases of one accepted entry (case and spaces do not
matter); for a sum the accepted number must be the only number in it. As a control, the same
answers are marked against accepted answers that belong to another topic. Exit status 0 only
if at least 80 % are right, less than 10 % in the control, and the answers end by themselves.
With --engine chat, Python's standard library is enough.
"""

import argparse
import json
import pathlib
import random
import re
import subprocess
import sys
from collections import Counter

ROOT = pathlib.Path(__file__).parents[2]
HELD_OUT = pathlib.Path(__file__).with_name("heldout.jsonl")
MAX_TOKENS = 64
PASS, CONTROL = 0.80, 0.10
# The result's "ending" when the model itself ended its answer.
ENDED = "end_of_text"


def normalised(text):
    return " ".join(text.lower().replace("\u2019", "'").split())


def is_right(answer, accepted):
    """`accepted` is the "accept" list of a held-out item, with "only_number" for sums."""
    if accepted["only_number"]:
        return re.findall(r"\d+", answer) in accepted["accept"]
    answer = normalised(answer)
    return any(all(normalised(phrase) in answer for phrase in phrases) for phrases in accepted["accept"])


def accepted_of(item):
    return {"accept": item["accept"], "only_number": item["category"] == "sum"}


def shuffled(items):
    """The accepted answers in another order, in which no item keeps those of its own topic."""
    rng = random.Random(1)
    order = list(range(len(items)))
    rng.shuffle(order)
    order.sort(key=lambda i: items[i]["topic"])
    largest = max(Counter(item["topic"] for item in items).values())
    moved = order[largest:] + order[:largest]
    control = [None] * len(items)
    for to, source in zip(order, moved):
        if items[to]["topic"] == items[source]["topic"]:
            raise SystemExit("the control kept a topic: one topic holds more than half of the questions")
        control[to] = accepted_of(items[source])
    return control


def ask_chat(items, model, program):
    """One `chat -p` run per question; yields (answer, ended by itself)."""
    for item in items:
        command = [str(program), "--model", str(model), "-p", item["question"],
                   "--temperature", "0", "--max-tokens", str(MAX_TOKENS), "--json"]
        run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        results = []
        for line in run.stdout.splitlines():
            event = json.loads(line)
            if event.get("event") == "result":
                results.append(event)
        if run.returncode != 0 or len(results) != 1:
            raise SystemExit(f"{' '.join(command)}\nexit status {run.returncode}, {len(results)} results\n{run.stderr}")
        result = results[0]
        yield result["text"], result["ending"] == ENDED


def ask_transformers(items, model, _program):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    for item in items:
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": item["question"]}], add_generation_prompt=True, return_tensors="pt", return_dict=True)
        with torch.no_grad():
            out = network.generate(**prompt, max_new_tokens=MAX_TOKENS, do_sample=False)
        new = out[0, prompt["input_ids"].shape[1]:]
        yield tokenizer.decode(new, skip_special_tokens=True), new[-1].item() == end


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "models" / "demo")
    parser.add_argument("--engine", choices=("chat", "transformers"), default="chat")
    parser.add_argument("--chat", type=pathlib.Path, default=ROOT / "build" / "bin" / "chat")
    parser.add_argument("--show", action="store_true", help="print every answer, not only the wrong ones")
    arguments = parser.parse_args()

    items = [json.loads(line) for line in HELD_OUT.read_text().splitlines()]
    ask = ask_chat if arguments.engine == "chat" else ask_transformers
    answers, ended = [], 0
    right, total = Counter(), Counter()
    for item, (answer, by_itself) in zip(items, ask(items, arguments.model, arguments.chat)):
        answers.append(answer)
        ended += by_itself
        good = is_right(answer, accepted_of(item))
        total[item["category"]] += 1
        right[item["category"]] += good
        if arguments.show or not good:
            print(f"{'right' if good else 'WRONG'}  [{item['topic']}] {item['question']}\n       {answer}")

    control = sum(is_right(answer, accepted) for answer, accepted in zip(answers, shuffled(items)))
    for category in total:
        print(f"{category:12} {right[category]:3} / {total[category]}")
    count = len(items)
    share, control_share = sum(right.values()) / count, control / count
    print(f"{'all':12} {sum(right.values()):3} / {count}  = {share:.1%} (at least {PASS:.0%})")
    print(f"{'shuffled':12} {control:3} / {count}  = {control_share:.1%} (less than {CONTROL:.0%})")
    print(f"{'ended':12} {ended:3} / {count}  answers ended by themselves")
    passed = share >= PASS and control_share < CONTROL and ended == count
    print("score: " + ("passed" if passed else "FAILED"))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
