"""Writes a Hugging Face folder of a shape with random weights: bf16 safetensors, a tokenizer, a chat template.

    python make_checkpoint.py SHAPE FOLDER
"""

import json
import pathlib
import sys
import sysconfig

import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

sys.path.append(str(pathlib.Path(__file__).parent.parent))
from shapes import SHAPES, tensors  # noqa: E402

START, END, ROLE_START, ROLE_END = SPECIAL = ("<|begin_of_text|>", "<|end_of_text|>", "<|im_start|>", "<|im_end|>")
TOKENS = 8192  # of the tokenizer; the rows of the embedding above them have no text
WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TEMPLATE = (
    "{% for message in messages %}" + ROLE_START + "{{ message['role'] }}\n{{ message['content'] }}" + ROLE_END + "\n"
    "{% endfor %}{% if add_generation_prompt %}" + ROLE_START + "assistant\n{% endif %}"
)


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1) + "\n")


def tokenizer():
    """A byte-level BPE trained on what every Python has: its own library."""
    made = Tokenizer(models.BPE())
    words = pre_tokenizers.Split(Regex(WORDS), "isolated")
    made.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(False, use_regex=False)])
    made.decoder = decoders.ByteLevel()
    sources = sorted(pathlib.Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=TOKENS, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    made.train([str(path) for path in sources], trainer)
    return made


def weights(shape):
    generator = torch.Generator().manual_seed(0)
    for name, dims in tensors(shape):
        if name.endswith("norm.weight"):
            yield name, torch.ones(dims, dtype=torch.bfloat16)
        else:
            values = torch.empty(dims, dtype=torch.bfloat16)
            yield name, values.normal_(0, shape["initializer_range"], generator=generator)


def main(name, folder):
    shape = SHAPES[name]
    folder.mkdir(parents=True, exist_ok=True)
    tokens = tokenizer()
    tokens.save(str(folder / "tokenizer.json"))
    start, end = tokens.token_to_id(START), tokens.token_to_id(END)
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": START,
            "eos_token": END,
            "pad_token": END,
            "model_max_length": shape["max_position_embeddings"],
            "chat_template": TEMPLATE,
        },
    )
    write_json(folder / "generation_config.json", {"bos_token_id": start, "eos_token_id": end})
    save_file(dict(weights(shape)), folder / "model.safetensors", metadata={"format": "pt"})
    write_json(folder / "config.json", shape | {"bos_token_id": start, "eos_token_id": end})


main(sys.argv[1], pathlib.Path(sys.argv[2]))
