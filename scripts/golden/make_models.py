"""Writes tests/golden/models: tiny random-weight folders, and the logits transformers computes from them.

The configs are in the layout that hubs hold today (rope_theta and rope_scaling at the top, torch_dtype); one
folder is in the layout that transformers 5 writes. Logits are computed in f32 with eager attention at every
position of three prompts, from the weights as the files hold them.
"""

import json
import shutil
import sys

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from common import GOLDEN, made_with, write_json
from families import PROMPT_LENGTHS as FAMILY_PROMPT_LENGTHS
from specs import PROMPT_LENGTHS, SPECS

MODELS = GOLDEN / "models"


def random_weights(config, seed):
    """Weights under which queries, keys and logits vary by more than one, and norms and biases matter."""
    with torch.device("meta"):
        shapes = {name: p.shape for name, p in AutoModelForCausalLM.from_config(config).named_parameters()}
    generator = torch.Generator().manual_seed(seed)
    # Gemma adds one to each of its norms' weights.
    one = 0.0 if config.model_type.startswith("gemma") else 1.0
    weights = {}
    for name, shape in shapes.items():
        values = torch.randn(shape, generator=generator, dtype=torch.float32)
        if name in ("model.norm.weight", "model.language_model.norm.weight"):
            values = 4.0 + one + 1.25 * values
        elif "norm" in name:
            values = one + 0.25 * values
        elif name.endswith("bias"):
            values = 0.5 * values
        elif "embed_tokens" in name:
            # Small, so that the norm's epsilon shows; the last norm makes up for it in tied logits.
            values = 0.05 * values
        elif "q_proj" in name or "k_proj" in name:
            values = values * 1.5 / shape[-1] ** 0.5
        elif "experts" in name:
            values = values * 2.0 / shape[-1] ** 0.5
        else:
            values = values * 1.2 / shape[-1] ** 0.5
        weights[name] = values
    if "lm_head.weight" in weights:
        weights["lm_head.weight"] *= 0.4
    return weights


def published(weights, spec):
    """The weights under the names that hubs have, which are not those transformers 5 computes with."""
    eyes = spec["config"]["model_type"] == "gemma3"
    mixtral = spec["config"]["model_type"] == "mixtral"
    renamed = {}
    for name, values in weights.items():
        if eyes:
            name = name.replace("model.language_model.", "language_model.model.").removeprefix("model.")
            name = name.replace("language_language_model", "language_model")
        if mixtral:
            name = name.replace(".mlp.", ".block_sparse_moe.")
        if ".experts." not in name or spec.get("stacked"):
            renamed[name] = values
            continue
        prefix, kind = name.rsplit(".", 1)
        parts = values.chunk(2, dim=1) if kind == "gate_up_proj" else [values]
        kinds = ["gate_proj", "up_proj"] if kind == "gate_up_proj" else [kind]
        older = {"gate_proj": "w1", "up_proj": "w3", "down_proj": "w2"}
        for kind, part in zip(kinds, parts):
            for number, expert in enumerate(part):
                kind_name = older[kind] if mixtral else kind
                renamed[f"{prefix}.{number}.{kind_name}.weight"] = expert.contiguous()
    return renamed


def save_weights(folder, weights, shards):
    if shards == 1:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names = list(weights)
    # The cut falls inside a layer, so that a reader must take one layer from two files.
    cut = next(i for i, name in enumerate(names) if "layers.1.self_attn.o_proj" in name)
    index = {"metadata": {"total_size": sum(w.nbytes for w in weights.values())}, "weight_map": {}}
    for number, part in enumerate([names[:cut], names[cut:]], start=1):
        file = f"model-{number:05}-of-00002.safetensors"
        save_file({name: weights[name] for name in part}, folder / file, metadata={"format": "pt"})
        index["weight_map"] |= {name: file for name in part}
    index["weight_map"] = dict(sorted(index["weight_map"].items()))
    write_json(folder / "model.safetensors.index.json", index)


def save_tokenizer(folder, spec):
    text = spec["text"]
    tokenizer = text["tokenizer"]()
    tokenizer.save(str(folder / "tokenizer.json"))
    added = {
        str(index): {
            "content": token.content,
            "lstrip": token.lstrip,
            "normalized": token.normalized,
            "rstrip": token.rstrip,
            "single_word": token.single_word,
            "special": token.special,
        }
        for index, token in sorted(tokenizer.get_added_tokens_decoder().items())
    }
    config = {
        "added_tokens_decoder": added,
        "bos_token": text["bos"],
        "chat_template": text["template"],
        "clean_up_tokenization_spaces": False,
        "eos_token": text["eos"],
        "model_max_length": spec["config"]["max_position_embeddings"],
        "pad_token": text["pad"],
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    if spec.get("shards"):
        # Older folders spell the special tokens as objects.
        for key in ("bos_token", "eos_token"):
            config[key] = {"__type": "AddedToken", **added[str(tokenizer.token_to_id(config[key]))]}
    if spec.get("named_templates"):
        config["chat_template"] = [
            {"name": "default", "template": text["template"]},
            {"name": "tool_use", "template": "{{ raise_exception('this template is not the default one') }}"},
        ]
    if spec.get("new_layout"):
        (folder / "chat_template.jinja").write_text(config.pop("chat_template"), encoding="utf-8")
    write_json(folder / "tokenizer_config.json", config)
    generation = {
        "bos_token_id": spec["config"]["bos_token_id"],
        "do_sample": True,
        "eos_token_id": text["eos_ids"],
        "temperature": 0.6,
        "top_p": 0.9,
        "transformers_version": "4.46.0",
    }
    write_json(folder / "generation_config.json", generation)
    return tokenizer


def save_config(folder, spec, dtype):
    classic = {**spec["config"], "torch_dtype": dtype, "transformers_version": "4.46.0"}
    write_json(folder / "config.json", dict(sorted(classic.items())))
    if spec.get("new_layout"):
        config = AutoConfig.from_pretrained(folder)
        config.save_pretrained(folder)
        written = json.loads((folder / "config.json").read_text())
        assert "rope_parameters" in written and "dtype" in written, written
        assert "rope_theta" not in written and "rope_scaling" not in written, written


def prompts(spec, vocab):
    generator = torch.Generator().manual_seed(100)
    lengths = spec.get("prompt_lengths", PROMPT_LENGTHS)
    lists = [torch.randint(0, vocab, (length,), generator=generator) for length in lengths]
    for ids in lists[1:]:
        ids[0] = spec["config"]["bos_token_id"]
    return lists


def golden_logits(model, ids):
    with torch.no_grad():
        return model(input_ids=ids.unsqueeze(0), use_cache=False).logits[0].to(torch.float32).contiguous()


def load_f32(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return model.eval()


def make(spec):
    folder = MODELS / spec["name"]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    dtype = spec.get("dtype", "float32")
    save_config(folder, spec, dtype)
    tokenizer = save_tokenizer(folder, spec)
    assert tokenizer.get_vocab_size() <= spec["config"]["vocab_size"]
    for key in ("bos", "eos"):
        if spec["text"][key]:
            ids = spec["config"][f"{key}_token_id"]
            ids = ids if isinstance(ids, list) else [ids]
            assert tokenizer.token_to_id(spec["text"][key]) in ids, (spec["name"], key)
    config = AutoConfig.from_pretrained(folder)
    if "weights_of" in spec:
        source = load_file(MODELS / spec["weights_of"] / "model.safetensors")
        weights = {name: values.to(getattr(torch, dtype)) for name, values in source.items()}
    else:
        weights = random_weights(config, spec["seed"])
    save_weights(folder, published(weights, spec), spec.get("shards", 1))

    # The golden model is built in memory from the weights; the folder is then read back and must agree.
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
    missing, unexpected = model.load_state_dict({n: w.to(torch.float32) for n, w in weights.items()}, strict=False)
    assert not unexpected and missing in ([], ["lm_head.weight"]), (missing, unexpected)
    model.tie_weights()
    reloaded = load_f32(folder)
    golden = {}
    for number, ids in enumerate(prompts(spec, spec["config"]["vocab_size"])):
        logits = golden_logits(model, ids)
        again = golden_logits(reloaded, ids)
        difference = (logits - again).abs().max() / logits.abs().max()
        assert difference < 1e-6, (spec["name"], difference)
        golden[f"ids_{number}"] = ids
        golden[f"logits_{number}"] = logits
    spread = golden["logits_2"].std().item()
    assert spread > 1.0, (spec["name"], spread)
    save_file(golden, folder / "logits.safetensors")
    print(f"{spec['name']:18} logits std {spread:.2f} max {golden['logits_2'].abs().max():.1f}")


def main():
    """Makes the models named on the command line, or all of them."""
    torch.set_num_threads(2)
    for spec in SPECS:
        if not sys.argv[1:] or spec["name"] in sys.argv[1:]:
            make(spec)
    about = made_with(
        "make_models.py",
        "torch",
        "transformers",
        "tokenizers",
        "safetensors",
        arithmetic="f32, eager attention",
        prompt_lengths=PROMPT_LENGTHS,
        family_prompt_lengths=FAMILY_PROMPT_LENGTHS,
        prompt_seed=100,
        models={
            spec["name"]: {key: spec[key] for key in ("seed", "weights_of", "dtype") if key in spec} for spec in SPECS
        },
    )
    write_json(MODELS / "made_with.json", about)


if __name__ == "__main__":
    main()
