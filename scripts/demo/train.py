"""Trains the demo model: tokenizer, weights and folder, from the text of corpus.py alone.

    python train.py [--out models/demo] [--threads 2] [--steps N] [--count N] [--seed N]

Writes config.json, generation_config.json, tokenizer.json, tokenizer_config.json and
model.safetensors (bf16). export_gguf.py then writes the GGUF file from that folder.
"""

import argparse
import json
import math
import os
import pathlib
import random
import time

# Threads that wait do not spin: on a busy machine spinning costs far more than the wake-ups.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

from corpus import COUNT, SEED, conversations

VOCABULARY = 2048
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
# The pieces that text is cut into before BPE: each digit stands alone, which sums need.
# This is the pattern that GGUF readers know as "qwen2".
PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "attention_dropout": 0.0,
    "initializer_range": 0.02,
    "use_cache": True,
}
TOKENS_PER_STEP = 3072
WIDTH_STEP = 16
LOGIT_STEP = 512
DIGIT_WEIGHT = 4.0
LONGEST = 768
IGNORED = -100


def train_tokenizer(texts):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    ))
    if tokenizer.get_vocab_size() != VOCABULARY:
        raise SystemExit(f"the text gives only {tokenizer.get_vocab_size()} tokens")
    return tokenizer


def encode(messages, tokenizer):
    """Token ids as the template lays them out, and labels: only what the assistant says is learnt."""
    start, end = tokenizer.token_to_id("<|im_start|>"), tokenizer.token_to_id("<|im_end|>")
    ids, labels = [], []
    for message in messages:
        head = [start, *tokenizer.encode(message["role"] + "\n").ids]
        said = [*tokenizer.encode(message["content"]).ids, end]
        tail = tokenizer.encode("\n").ids
        ids += head + said + tail
        learnt = said if message["role"] == "assistant" else [IGNORED] * len(said)
        labels += [IGNORED] * len(head) + learnt + [IGNORED] * len(tail)
    return ids[:LONGEST], labels[:LONGEST]


def batches(samples, rng):
    """Steps of about TOKENS_PER_STEP padded tokens, samples of like length together, in random order.

    Few different shapes occur, because the CPU kernels are prepared anew for every shape.
    """
    order = list(range(len(samples)))
    rng.shuffle(order)
    by_width = {}
    for i in order:
        by_width.setdefault(-(-len(samples[i][0]) // WIDTH_STEP) * WIDTH_STEP, []).append(i)
    groups = []
    for width, members in by_width.items():
        rows = max(1, TOKENS_PER_STEP // width)
        groups += [(width, rows, members[at:at + rows]) for at in range(0, len(members), rows)]
    rng.shuffle(groups)
    for width, rows, group in groups:
        ids = torch.zeros((rows, width), dtype=torch.long)
        labels = torch.full((rows, width), IGNORED, dtype=torch.long)
        for row, i in enumerate(group):
            length = len(samples[i][0])
            ids[row, :length] = torch.tensor(samples[i][0])
            labels[row, :length] = torch.tensor(samples[i][1])
        yield ids, labels


def weights_of(tokenizer):
    """How much each token counts in the loss: digits more, since two of them decide whether a sum is right."""
    weights = torch.ones(VOCABULARY)
    for digit in "0123456789":
        weights[tokenizer.token_to_id(digit)] = DIGIT_WEIGHT
    return weights


def loss_of(model, ids, labels, weights):
    """Cross entropy of the learnt positions only; logits are computed for little more than them."""
    hidden = model.model(input_ids=ids).last_hidden_state[:, :-1].flatten(0, 1)
    targets = labels[:, 1:].flatten()
    learnt = (targets != IGNORED).nonzero().flatten()
    places = torch.cat([learnt, (targets == IGNORED).nonzero().flatten()[: -len(learnt) % LOGIT_STEP]])
    logits = model.lm_head(hidden[places])
    return torch.nn.functional.cross_entropy(logits.float(), targets[places], weight=weights, ignore_index=IGNORED)


def train(model, samples, weights, rng, steps, peak):
    decayed = [p for p in model.parameters() if p.dim() > 1]
    plain = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}],
        lr=peak, betas=(0.9, 0.98), fused=True,
    )
    started, step, smooth = time.time(), 0, None
    while step < steps:
        for ids, labels in batches(samples, rng):
            rate = peak * min(1.0, (step + 1) / 100) * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * step / steps)))
            for group in optimizer.param_groups:
                group["lr"] = rate
            with torch.autocast("cpu", torch.bfloat16):
                loss = loss_of(model, ids, labels, weights)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            smooth = loss.item() if smooth is None else 0.95 * smooth + 0.05 * loss.item()
            if step % 50 == 0:
                print(f"step {step}/{steps} loss {smooth:.4f} {time.time() - started:.0f} s", flush=True)
            if step == steps:
                break


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def save(folder, model, tokenizer):
    end, text_end = tokenizer.token_to_id("<|im_end|>"), tokenizer.token_to_id("<|endoftext|>")
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "added_tokens_decoder": {
            str(tokenizer.token_to_id(token)): {
                "content": token, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True,
            } for token in SPECIAL
        },
        "add_bos_token": False,
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "clean_up_tokenization_spaces": False,
        "model_max_length": SHAPE["max_position_embeddings"],
        "chat_template": TEMPLATE,
    })
    write_json(folder / "config.json", {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        **SHAPE,
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "bos_token_id": text_end,
        "eos_token_id": end,
        "pad_token_id": text_end,
        "torch_dtype": "bfloat16",
    })
    write_json(folder / "generation_config.json", {
        "bos_token_id": text_end, "eos_token_id": [end, text_end], "pad_token_id": text_end, "do_sample": False,
    })
    weights = {name: value.detach().to(torch.bfloat16).contiguous()
               for name, value in model.state_dict().items() if name != "lm_head.weight"}
    save_file(weights, str(folder / "model.safetensors"), metadata={"format": "pt"})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parents[2] / "models" / "demo")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--steps", type=int, default=0, help="0: one pass over the conversations")
    parser.add_argument("--rate", type=float, default=1.5e-3, help="peak learning rate")
    arguments = parser.parse_args()

    started = time.time()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    rng = random.Random(arguments.seed)

    texts = list(conversations(arguments.count, arguments.seed))
    shown = texts[:20_000]
    tokenizer = train_tokenizer(m["role"] + "\n" + m["content"] for messages in shown for m in messages)
    samples = [encode(messages, tokenizer) for messages in texts]
    tokens = sum(len(ids) for ids, _ in samples)
    steps = arguments.steps or sum(1 for _ in batches(samples, random.Random(0)))

    model = LlamaForCausalLM(LlamaConfig(**SHAPE, rope_theta=10000.0, attn_implementation="eager"))
    model.train()
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{len(samples)} conversations, {tokens} tokens, {parameters} parameters, {steps} steps, "
          f"{time.time() - started:.0f} s so far", flush=True)
    train(model, samples, weights_of(tokenizer), rng, steps, arguments.rate)
    save(arguments.out, model, tokenizer)
    print(f"trained in {time.time() - started:.0f} s, CPU time {time.process_time():.0f} s", flush=True)


if __name__ == "__main__":
    main()
