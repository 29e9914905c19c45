"""Writes token ids of held-out conversations, one a line.

    python texts.py OUT

The questions are those of scripts/demo/heldout.jsonl, which the bundled model was not trained on; the answers are phrases that
would be right.
"""

import json
import pathlib
import sys

from transformers import AutoTokenizer

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Questions of a conversation, and conversations: some hundreds of tokens in all.
TURNS, TEXTS = 10, 4


def answer(item):
    accepted = item["accept"][0]
    return (accepted if isinstance(accepted, str) else ", ".join(accepted)).capitalize() + "."


def main():
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "models" / "demo")
    items = [json.loads(line) for line in (ROOT / "scripts/demo/heldout.jsonl").read_text().splitlines()]
    # Neighbours ask about the same topic, so each conversation takes every few.
    step = len(items) // (TURNS * TEXTS)
    chosen = items[:: max(1, step)]
    lines = []
    for number in range(TEXTS):
        messages = []
        for item in chosen[number::TEXTS][:TURNS]:
            messages.append({"role": "user", "content": item["question"]})
            messages.append({"role": "assistant", "content": answer(item)})
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        lines.append(" ".join(map(str, ids)))
    pathlib.Path(sys.argv[1]).write_text("\n".join(lines) + "\n")
    print(f"{len(lines)} texts, {sum(len(line.split()) for line in lines)} tokens")


if __name__ == "__main__":
    main()
