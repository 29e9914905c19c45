"""Proves that the held-out questions are not in the training text.

    python check_heldout.py [--count N]

For every question: it is not a training question, and it shares no four words in a row with
any user turn of the training conversations (lower case, punctuation left out). For every sum:
neither (a, b) nor (b, a) is asked in training; the number frames of sums are shared on purpose.
Exit status 1 if any rule is broken. Python's standard library only.
"""

import argparse
import json
import pathlib
import re
import sys
from collections import Counter

import sums
from corpus import COUNT, SEED, conversations

HELD_OUT = pathlib.Path(__file__).with_name("heldout.jsonl")


def words(text):
    return tuple(re.findall(r"[a-z0-9_]+", text.lower().replace("'", "")))


def grams(sequence, n=4):
    return {sequence[i:i + n] for i in range(len(sequence) - n + 1)}


def held_out():
    return [json.loads(line) for line in HELD_OUT.read_text().splitlines()]


def operand_pairs(sequence, total):
    """The two numbers that a sum adds, in digits or in words; a follow-up adds to the last total."""
    numbers = [int(w) if w.isdigit() else sums.WORDS.index(w) for w in sequence if w.isdigit() or w in sums.WORDS]
    if len(numbers) == 1 and total is not None:
        numbers.append(total)
    return tuple(sorted(numbers))


def is_repeat(sequence):
    return not any(w.isdigit() or w in sums.WORDS for w in sequence)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()

    questions, seen_grams, seen_pairs = set(), {}, set()
    turns = 0
    for messages in conversations(arguments.count, arguments.seed):
        total = None
        for message, reply in zip(messages, messages[1:]):
            if message["role"] != "user":
                continue
            turns += 1
            sequence = words(message["content"])
            questions.add(sequence)
            for gram in grams(sequence):
                seen_grams.setdefault(gram, message["content"])
            found = re.fullmatch(r"That makes (\d+)\.", reply["content"])
            if found and not is_repeat(sequence):
                pair = operand_pairs(sequence, total)
                total = int(found.group(1))
                if sum(pair) != total:
                    sys.exit(f"a sum that this check cannot read: {message['content']!r} -> {total}")
                seen_pairs.add(pair)
            elif not found:
                total = None

    problems = []
    categories = Counter()
    for item in held_out():
        categories[item["category"]] += 1
        sequence = words(item["question"])
        if sequence in questions and item["category"] != "sum":
            problems.append(f"{item['id']}: asked in training: {item['question']}")
        if item["category"] == "sum":
            if tuple(sorted(item["operands"])) in seen_pairs:
                problems.append(f"{item['id']}: operands seen in training: {item['question']}")
            continue
        for gram in sorted(grams(sequence)):
            if gram in seen_grams:
                problems.append(f"{item['id']}: \"{' '.join(gram)}\" is in training: {seen_grams[gram]!r}")

    for problem in problems:
        print(problem)
    print(f"{turns} training questions, {len(questions)} different, {len(seen_grams)} 4-grams, {len(seen_pairs)} operand pairs")
    print(f"{sum(categories.values())} held-out questions: " + ", ".join(f"{n} {name}" for name, n in categories.items()))
    print("held-out check: " + (f"{len(problems)} problems" if problems else "passed"))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
