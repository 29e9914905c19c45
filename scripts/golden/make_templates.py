"""Writes tests/golden/templates.json and template_tools.json: chat templates, and what transformers' apply_chat_template
makes of them."""

from jinja2.exceptions import TemplateError, TemplateSyntaxError, UndefinedError
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

import styles
import tool_styles
from common import GOLDEN, made_with, write_json, write_records

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


TOOLS = {
    "two": [
        {
            "type": "function",
            "function": {
                "name": "get_weather",
                "description": "tells the weather of a city.\nOf \"today\", or <b>later</b> & later",
                "parameters": {
                    "type": "object",
                    "properties": {
                        "city": {"type": "string", "description": "Où? 城市 🏙"},
                        "unit": {"type": "string", "enum": ["°C", "°F"]},
                        "days": {"type": "array", "items": {"type": "integer"}, "minItems": 1},
                        "where": {"type": "object", "properties": {"lat": {"type": "number"}, "lon": {"type": "number"}}},
                    },
                    "required": ["city"],
                },
            },
        },
        {
            "type": "function",
            "function": {"name": "note", "description": "", "parameters": {"type": "object", "properties": {}}, "b": 1.0, "a": None, "é": True},
        },
    ],
    "empty": [],
    "none": None,
}


def call(name, arguments, ident="abcdef123"):
    return {"id": ident, "type": "function", "function": {"name": name, "arguments": arguments}}


ASKED = {"role": "user", "content": "Weather in Zürich?"}
TOOL_CONVERSATIONS = {
    "asked": [ASKED],
    "system_asked": [{"role": "system", "content": "Use tools.\n"}, ASKED],
    "one_call": [
        ASKED,
        {"role": "assistant", "content": None, "tool_calls": [call("get_weather", {"city": "Zürich", "days": [1, 2], "x": {"y": None, "z": 0.5}})]},
        {"role": "tool", "tool_call_id": "abcdef123", "name": "get_weather", "content": "{\"t\": 21.5}"},
    ],
    "two_calls": [
        ASKED,
        {"role": "assistant", "content": "", "tool_calls": [call("get_weather", {"city": "\"Z\"\n"}), call("note", {}, "123456789")]},
        {"role": "tool", "tool_call_id": "abcdef123", "content": "21"},
        {"role": "tool", "tool_call_id": "123456789", "content": "noted"},
    ],
    "answered": [
        ASKED,
        {"role": "assistant", "tool_calls": [call("get_weather", {})], "reasoning": "\nlook it up\n"},
        {"role": "tool", "tool_call_id": "abcdef123", "content": "<|im_end|>\n{{ 1 }}"},
        {"role": "assistant", "content": "21 degrees.", "reasoning_content": "so it is", "thinking": "older"},
        {"role": "user", "content": "Thanks"},
    ],
    "arguments_as_text": [
        ASKED,
        {"role": "assistant", "content": "Let me see.", "tool_calls": [call("get_weather", "{\"city\": \"Bern\"}")]},
    ],
    "short_id": [ASKED, {"role": "assistant", "tool_calls": [call("note", {}, "7")]}],
    "parts": [{"role": "user", "content": [{"type": "text", "text": "Look: "}, {"type": "image"}, {"type": "text", "text": " what is it?"}]}],
    "two_users": [ASKED, ASKED],
    "result_first": [{"role": "tool", "content": "21", "tool_call_id": "abcdef123"}],
    "system_only": [{"role": "system", "content": "Alone."}],
    "no_content": [{"role": "user"}],
    "extra_fields": [{"role": "user", "name": "Ann", "content": "hi", "n": 3, "x": [1, [2.0, "a"]], "empty": {}, "gone": None}],
}


def render(template, bos, eos, messages, add_generation_prompt, tools=None):
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE()), bos_token=bos, eos_token=eos, chat_template=template
    )
    try:
        text = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=add_generation_prompt, tools=tools
        )
        return {"text": text}
    except TemplateSyntaxError as error:
        return {"fails": f"syntax: {error.message}"}
    except UndefinedError as error:
        return {"error": error.message}
    except TemplateError as error:
        return {"error": error.message}
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        return {"fails": f"{type(error).__name__}: {error}"}


def write_tools():
    """Tools, messages of any JSON, and the language bit by bit."""
    records = []
    for name, template, bos, eos in tool_styles.TEMPLATES:
        for conversation, messages in TOOL_CONVERSATIONS.items():
            for tools, given in TOOLS.items():
                for prompt in (False, True):
                    outcome = render(template, bos, eos, messages, prompt, given)
                    what = {"template": name, "messages": conversation, "tools": tools, "add_generation_prompt": prompt}
                    records.append({**what, **outcome})
    for source in tool_styles.EXPRESSIONS:
        outcome = render(source, "<s>", "</s>", TOOL_CONVERSATIONS["two_calls"], True, TOOLS["two"])
        records.append({"source": source, **outcome})
    head = {
        "made_with": made_with("make_templates.py", "transformers", "jinja2"),
        "templates": {n: {"template": t, "bos_token": b, "eos_token": e} for n, t, b, e in tool_styles.TEMPLATES},
        "conversations": TOOL_CONVERSATIONS,
        "tools": TOOLS,
    }
    write_records(GOLDEN / "template_tools.json", head, "records", records)
    errors = sum("text" not in record for record in records)
    print(f"{len(records)} records with tools, {errors} of them errors")


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
    write_tools()


if __name__ == "__main__":
    main()
