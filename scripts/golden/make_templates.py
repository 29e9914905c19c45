"""Writes tests/golden/templates.json: chat templates and what transformers' apply_chat_template makes of them."""

from jinja2.exceptions import TemplateError, TemplateSyntaxError
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

import styles
from common import GOLDEN, made_with, write_json

# name, template, bos, eos
TEMPLATES = [
    ("llama3", styles.LLAMA3, "<|begin_of_text|>", "<|eot_id|>"),
    ("chatml", styles.CHATML, None, "<|im_end|>"),
    ("qwen2.5", styles.QWEN25, None, "<|im_end|>"),
    ("qwen3", styles.QWEN3, None, "<|im_end|>"),
    ("mistral", styles.MISTRAL, "<s>", "</s>"),
    ("llama2", styles.LLAMA2, "<s>", "</s>"),
    ("gemma", styles.GEMMA, "<bos>", "<eos>"),
    ("phi", styles.PHI, "<s>", "<|endoftext|>"),
    ("strict_roles", styles.STRICT_ROLES, None, None),
    ("namespace", styles.NAMESPACE, "<s>", "</s>"),
    ("macros", styles.MACROS, None, None),
    ("trailing", styles.TRAILING, "<s>", "</s>"),
    ("undefined", styles.UNDEFINED, None, None),
]


def talk(*turns):
    return [{"role": role, "content": content} for role, content in turns]


CONVERSATIONS = {
    "user": talk(("user", "What is a load line?")),
    "system_user": talk(("system", "Answer in one sentence."), ("user", "What is a load line?")),
    "multi_turn": talk(
        ("user", "Hello!"),
        ("assistant", "Hello. What can I do for you?"),
        ("user", "Add 17 and 25."),
        ("assistant", "42"),
        ("user", "And one more?"),
    ),
    "system_multi_turn": talk(
        ("system", "You are terse."), ("user", "Hi"), ("assistant", "Hi."), ("user", "Name a ship."),
    ),
    "assistant_last": talk(("user", "Count to three."), ("assistant", "One, two,")),
    "unicode": talk(
        ("system", "Réponds en français."),
        ("user", "Что такое память? 内存 🚢👩\u200d🔬 e\u0301 \u05e9\u05dc\u05d5\u05dd \u00a0\u3000x"),
        ("assistant", "ﷺ ½ 🇫🇷"),
        ("user", "merci\u2028beaucoup"),
    ),
    "spaces": talk(
        ("system", "  two spaces before\n"),
        ("user", "\n\n line\n\ttab \n"),
        ("assistant", " \t answer \n\n"),
        ("user", "   "),
    ),
    "markup": talk(
        ("user", "<b>\"a\" & 'b'</b> {{ messages }} {% raise %} {# c #} \\n \\u00e9 ${x} %s"),
        ("assistant", "<|im_end|></s><eos>"),
        ("user", "if a < b && c > d:"),
    ),
    "thinking": talk(
        ("user", "2+2?"), ("assistant", "<think>\nadd them\n</think>\n\n4"), ("user", "3+3?"),
        ("assistant", "<think>\nadd again\n</think>\n\n6"),
    ),
    "empty_content": talk(("system", ""), ("user", "")),
    "two_users": talk(("user", "one"), ("user", "two")),
    "starts_with_assistant": talk(("assistant", "I begin."), ("user", "go on")),
    "system_later": talk(("user", "Hi"), ("system", "Be kind."), ("user", "Hi again")),
    "unknown_role": talk(("user", "Hi"), ("wizard", "abracadabra")),
    "tool_role": talk(
        ("user", "weather?"), ("assistant", "asking"), ("tool", "{\"t\": 21}"), ("tool", "{\"t\": 22}"), ("user", "so?")
    ),
}


def render(template, bos, eos, messages, add_generation_prompt):
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE()), bos_token=bos, eos_token=eos, chat_template=template
    )
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=add_generation_prompt)
        return {"text": text}
    except TemplateSyntaxError:
        raise
    except TemplateError as error:
        return {"error": error.message}


def main():
    records = []
    for name, template, bos, eos in TEMPLATES:
        for conversation, messages in CONVERSATIONS.items():
            for prompt in (False, True):
                outcome = render(template, bos, eos, messages, prompt)
                records.append(
                    {"template": name, "messages": conversation, "add_generation_prompt": prompt, **outcome}
                )
    out = {
        "made_with": made_with("make_templates.py", "transformers", "jinja2"),
        "templates": {n: {"template": t, "bos_token": b, "eos_token": e} for n, t, b, e in TEMPLATES},
        "conversations": CONVERSATIONS,
        "records": records,
    }
    write_json(GOLDEN / "templates.json", out, indent=1)
    errors = sum("error" in record for record in records)
    print(f"{len(records)} records, {errors} of them errors")


if __name__ == "__main__":
    main()
