"""Writes tests/golden/tokens.json: strings with the ids that Hugging Face tokenizers gives them, and back."""

import random
import unicodedata

from tokenizers import Tokenizer

from common import GOLDEN, made_with, write_records

# One folder for each kind of tokenizer among the golden models.
FOLDERS = ["llama3", "qwen2", "llama-sharded"]

PLAIN = [
    "", "a", "A", "Hello", "hello world", "Hello, world!", " hello", "hello ", "  hello  world  ",
    "The quick brown fox jumps over the lazy dog.", "It's he'll we've I'M THEY'RE don'T 'Twas o'clock 's",
    "I'd've said: \"don't\" -- isn't that so?", "well-known e-mail co-operate", "UPPER lower MiXeD camelCase snake_case",
    "one.two,three;four:five", "...", "!!!???", "-----", "=====>", "#hashtag @user $100 50% a&b", "(a [b {c} d] e)",
    "https://example.org/a/b?c=d&e=f#g", "user.name+tag@example.co.uk", "C:\\Users\\x\\file.txt", "~/.config/app.toml",
    "antidisestablishmentarianism", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "abcabcabcabcabc", "x" * 100,
    "the the the the", "memory guard bytes session block lease", "token", "tokens tokenizer tokenization",
]
NUMBERS = [
    "0", "7", "42", "123", "1234", "12345", "1234567890", "3.14159", "-17", "+5", "1,000,000", "1e-9", "0x1F", "0b1010",
    "2024-02-29", "12:34:56", "192.168.0.1", "v1.2.3-rc.4", "17 + 25 = 42", "1/2 ½ ⅓ ² ³ ₄", "٣٤٥", "१२३४", "一二三", "Ⅻ",
    "007", "100%", "$1.50", "€2,30", "5km", "3rd 4th", "a1b2c3", "12a34", "99999999999999999999",
]
SPACES = [
    " ", "  ", "   ", "    ", "\t", "\t\t", "\n", "\n\n", "\n\n\n", "\r\n", "\r\n\r\n", "\r", " \n", "\n ", " \n ", "\t\n",
    "a b", "a  b", "a   b", "a\tb", "a\nb", "a\n\nb", "a \n b", "a\r\nb", "a \t b", "a\u00a0b", "a\u3000b", "a\u2003b",
    "a\u200bb", "a\u2028b", "a\u2029b", "\ufeffa", "a\u0085b", "a\x0bb", "a\x0cb", "   leading", "trailing   ",
    "\n\nleading lines", "trailing lines\n\n", "  two\n    four\n  two\n", "x\n\n\n   y", " \u00a0 ", "a \u3000 b",
]
CODE = [
    "fn main() {\n    println!(\"hi {}\", 1 + 2);\n}\n", "def f(x):\n\treturn x**2  # square\n", "if (a != b && c <= d) { return; }",
    "for (int i = 0; i < n; ++i) sum += a[i];", "#include <stdio.h>\nint main(void) { return 0; }",
    "SELECT * FROM t WHERE id = 'x' -- note\n", "{\"key\": [1, 2.5, null, true], \"s\": \"a\\nb\"}", "<div class=\"a\">&nbsp;</div>",
    "let x: Vec<Option<&'a str>> = vec![];", "#!/bin/sh\nset -eu\necho \"$1\" | grep -q '^x' && exit 0\n", "a->b::c.d?.e ?? f",
    "x = y if z else w; __init__(self, *args, **kwargs)", "\\frac{a}{b} \\sum_{i=0}^{n} x_i^2", "| a | b |\n|---|---|\n| 1 | 2 |",
    "// TODO\\t\\n", "0xDEADBEEF & ~0b11 << 3", "lambda x: (x, [x], {x})", "<<<<<<< HEAD\n=======\n>>>>>>> main",
    "diff --git a/x b/x\n@@ -1,2 +1,3 @@\n-old\n+new\n", "[package]\nname = \"x\"\nversion = \"0.1.0\"\n",
]
SCRIPTS = [
    "Größe Straße über ÄÖÜß", "naïve café façade señor piñata", "Où êtes-vous? Ça va très bien.", "Žluťoučký kůň úpěl ďábelské ódy",
    "Zażółć gęślą jaźń", "İstanbul ıspanak ğüşöç", "Þórður æðardúnn", "Tiếng Việt rất đẹp", "Ελληνικά: Καλημέρα κόσμε",
    "Память измеряется в байтах", "Съешь ещё этих мягких французских булок", "Їжак ґанок", "Հայերեն լեզու", "ქართული ენა",
    "שלום עולם", "שָׁלוֹם", "مرحبا بالعالم", "اَلْعَرَبِيَّةُ", "فارسی می\u200cخواهم", "اردو زبان", "नमस्ते दुनिया", "হ্যালো বিশ্ব", "வணக்கம் உலகம்",
    "తెలుగు లిపి", "ಕನ್ನಡ", "മലയാളം", "ไทย ภาษาไทย สวัสดี", "ພາສາລາວ", "မြန်မာဘာသာ", "ភាសាខ្មែរ", "བོད་ཡིག", "አማርኛ", "你好，世界！", "內存永遠不會用完。",
    "每个请求在运行之前都按字节计价。", "こんにちは世界", "カタカナ ﾊﾝｶｸ ひらがな", "メモリはバイト単位で計算されます。", "안녕하세요 세계", "한국어 텍스트",
    "Монгол ᠮᠣᠩᠭᠣᠯ", "ᏣᎳᎩ", "𐌰𐌱𐌲 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝒳", "mixed 中文 and English и русский 123", "𠀀𠀁 𪚥", "ﬁ ﬂ ﷺ ㎏ ①②③",
]
COMBINING = [
    "e\u0301", "caf\u00e9 cafe\u0301", "a\u0308\u0323", "\u1100\u1161\u11a8", "\uac01", "n\u0303o", "\u212b \u00c5 A\u030a", "\u0301",
    "Z\u0351\u036b\u0343a\u0357l\u0321g\u0316o", "\u1e9b\u0323", "x\u0338", "i\u0307", "\u0958", "q\u0307\u0323",
]
EMOJI = [
    "🙂", "🙂🙂🙂", "🚢", "👍🏽", "👩\u200d🔬", "👨\u200d👩\u200d👧\u200d👦", "🏳️\u200d🌈", "🇫🇷🇯🇵", "1️⃣2️⃣", "❤️ ❤", "☺ ☺️ ☺︎", "🤷🏿\u200d♀️",
    "hello 🙂 world", "🙂hello🙂", "ok👍ok", "🫠🪼", "♠♥♦♣ →←↑↓ ∀∃∈ √∞≠≤", "░▒▓█ ┌─┐ └─┘", "👩🏽\u200d🚀🚀", "\U0001f9d1\u200d\u2764\ufe0f\u200d\U0001f9d1",
]
SPECIAL = [
    "<|begin_of_text|>", "<|eot_id|>", "<|end_of_text|> after", "before <|eot_id|>after", "<|im_start|>user\nhi<|im_end|>\n",
    "<|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>", "<|im_end|><|im_end|>", " <|im_end|> ", "<|endoftext|>",
    "<s>[INST] hi [/INST] yes </s>", "<s>", "</s>", "<unk>", "a<s>b</s>c", " <s> a", "<|eot_id", "<|not_a_token|>", "<| eot_id |>",
    "<think>\nhm\n</think>\n\nyes", "<tool_call>{\"a\": 1}</tool_call>", "<think", "<<s>>", "<0x41>", "<0x0A>x", "▁", "▁a ▁▁b", "Ġ Ċ",
    "<|im_start|>", "<|finetune_right_pad_id|>", "x<|begin_of_text|>y<|im_start|>z",
]
CONTROL = [
    "\x00", "a\x00b", "\x01\x02\x1f", "\x7f", "\u0080\u009f", "\u00ad", "\ufffd", "\ufffe", "\uffff", "\U0010ffff", "\ue000", "\u202eabc\u202c",
    "\u200d", "\u200e\u200f", "\ufe0f", "\U000e0041",
]


def random_mixtures(count):
    """Strings glued from pieces of all the others, where kinds meet without a border between them."""
    pieces = PLAIN[1:20] + NUMBERS + SPACES + SCRIPTS + COMBINING + EMOJI + SPECIAL
    generator = random.Random(5)
    return ["".join(generator.choice(pieces) for _ in range(generator.randint(2, 4))) for _ in range(count)]


def main():
    texts = PLAIN + NUMBERS + SPACES + CODE + SCRIPTS + COMBINING + EMOJI + SPECIAL + CONTROL
    texts = list(dict.fromkeys(texts + random_mixtures(60)))
    tokenizers = {name: Tokenizer.from_file(str(GOLDEN / "models" / name / "tokenizer.json")) for name in FOLDERS}
    prefix = {name: tokenizer.encode("", add_special_tokens=True).ids for name, tokenizer in tokenizers.items()}
    records = []
    for text in texts:
        record = {"text": text, "nfc": unicodedata.is_normalized("NFC", text)}
        for name, tokenizer in tokenizers.items():
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            assert tokenizer.encode(text, add_special_tokens=True).ids == prefix[name] + ids
            record[name] = {
                "ids": ids,
                "decoded": tokenizer.decode(ids, skip_special_tokens=False),
                "decoded_skip_special": tokenizer.decode(ids, skip_special_tokens=True),
            }
        records.append(record)
    head = {
        "made_with": made_with("make_tokens.py", "tokenizers", unicode=unicodedata.unidata_version),
        "folders": {name: f"models/{name}" for name in FOLDERS},
        "special_prefix": prefix,
    }
    write_records(GOLDEN / "tokens.json", head, "records", records)
    changed = {name: sum(r[name]["decoded"] != r["text"] for r in records) for name in FOLDERS}
    print(f"{len(records)} strings; decoded text differs from the input: {changed}")


if __name__ == "__main__":
    main()
