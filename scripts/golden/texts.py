"""Strings to tokenise: written here, or put together by seeded generators from the lists here."""

import random

from make_tokens import CODE, COMBINING, CONTROL, EMOJI, NUMBERS, PLAIN, SCRIPTS, SPACES, SPECIAL

# Words of many scripts; what is glued from them need not mean anything.
WORDS = {
    "latin": "the ship loads below its line memory counts every byte before a request runs never out of it".split(),
    "accents": "größe naïve façade señor žluťoučký łódź ğüşöç ærø þing œuvre đường ñandú ångström".split(),
    "greek": "μνήμη πλοίο γραμμή φορτίο ώρα θάλασσα Ελλάδα Ὀδύσσεια".split(),
    "cyrillic": "память корабль линия груз море ёлка Україна їжак ґанок њива".split(),
    "hebrew": "זיכרון אונייה קו מטען שָׁלוֹם".split(),
    "arabic": "ذاكرة سفينة خط حمولة بحر اَلسَّلَام فارسی‌ها".split(),
    "devanagari": "स्मृति जहाज़ रेखा भार समुद्र क्षत्रिय १२३".split(),
    "other indic": "স্মৃতি জাহাজ ஞாபகம் கப்பல் స్మృతి ఓడ ಸ್ಮೃತಿ മെമ്മറി".split(),
    "thai": "หน่วยความจำ เรือ เส้น ทะเล น้ำหนัก".split(),
    "south east": "မှတ်ဉာဏ် သင်္ဘော អង្គចងចាំ ຄວາມຈຳ".split(),
    "han": "内存 船 载重线 海 字节 請求 記憶體 𠮷野家 龘".split(),
    "kana": "メモリ ふね きじゅん バイト ｶﾀｶﾅ ガギグ が".split(),
    "hangul": "메모리 배 선 바다 바이트 각 한글".split(),
    "rare": "ქართული հայերեն አማርኛ བོད་ཡིག ᠮᠣᠩᠭᠣᠯ ᏣᎳᎩ 𐌰𐌱𐌲 𝔣𝔯𝔞𝔨 ⠃⠗⠇".split(),
}
GAPS = [" ", " ", " ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", " \n ", "\u00a0", "\u2009", "\u3000", "\u200b", "\u200d", "\ufeff", ""]
MARKS = list(".,;:!?…—–-_/\\|()[]{}<>\"'`~@#$%^&*+=") + ["«", "»", "“", "”", "。", "、", "！", "？", "؟", "।", "¿", "§", "€", "№", "™"]
PEOPLE = ["👩", "👨", "🧑", "👧", "👦"]
SKINS = ["", "🏻", "🏽", "🏿"]
THINGS = ["🔬", "🚀", "💻", "🌾", "⚖\ufe0f", "❤\ufe0f"]
PLANES = [(0x80, 0x24F), (0x300, 0x36F), (0x370, 0x5FF), (0x900, 0xDFF), (0x1E00, 0x1FFF), (0x2000, 0x27BF), (0x3000, 0x30FF),
          (0xAC00, 0xD7A3), (0xF900, 0xFAFF), (0xFB00, 0xFFEF), (0x10000, 0x103FF), (0x1D400, 0x1D7FF), (0x1F300, 0x1FAFF)]


def sentence(random):
    script = random.choice(list(WORDS.values()))
    words = [random.choice(script) for _ in range(random.randint(1, 6))]
    if random.random() < 0.3:
        words.insert(0, random.choice(random.choice(list(WORDS.values()))))
    return "".join(word + random.choice(MARKS if random.random() < 0.15 else GAPS) for word in words)


def emoji(random):
    def person():
        return random.choice(PEOPLE) + random.choice(SKINS)

    kinds = [
        lambda: "\u200d".join(person() for _ in range(random.randint(2, 4))),
        lambda: person() + "\u200d" + random.choice(THINGS),
        lambda: "".join(chr(0x1F1E6 + random.randrange(26)) for _ in range(random.randint(1, 4))),
        lambda: random.choice("0123456789#*") + "\ufe0f\u20e3",
        lambda: "🏴" + "".join(chr(0xE0000 + ord(c)) for c in "gbsct") + "\U000e007f",
        lambda: chr(random.randrange(0x1F600, 0x1F64F)) + random.choice(["", "\ufe0e", "\ufe0f"]),
    ]
    return "".join(random.choice(kinds)() + random.choice(["", " ", "ok"]) for _ in range(random.randint(1, 3)))


def code(random):
    names = ["x", "i", "self", "bytesFree", "max_tokens", "KV_CACHE", "a1", "foo"]
    name = lambda: random.choice(names)  # noqa: E731
    lines = [
        lambda: f"{name()} = {name()}[{random.randrange(1000)}] {random.choice('+-*/%&|^')} {name()}",
        lambda: f"if ({name()} {random.choice(['==', '!=', '<=', '>>', '&&'])} {random.randrange(9)}) {{",
        lambda: f"def {name()}({name()}, *{name()}, **{name()}):",
        lambda: f"    return {name()}->{name()}::{name()}<{name()}>();  // {name()}'s",
        lambda: f"\t\"{name()}\": [{random.random():.6f}, null, 0x{random.randrange(1 << 32):X}],",
        lambda: f"<{name()} {name()}=\"{random.randrange(99)}\">&amp;</{name()}>",
        lambda: f"$ {name()} --{name()}={random.randrange(10 ** 6):,} | grep -E '^[{name()}]+$'",
        lambda: "}" * random.randint(1, 5) + ";" * random.randint(0, 2),
    ]
    return random.choice(["\n", "\n    ", "\r\n", "\n\t\t"]).join(random.choice(lines)() for _ in range(random.randint(1, 3)))


def scatter(random):
    first, last = random.choice(PLANES)
    return "".join(chr(random.randint(first, last)) for _ in range(random.randint(1, 12)))


def long_word(random):
    unit = random.choice([random.choice(random.choice(list(WORDS.values()))), random.choice("ax=-1 \n あ🙂"), "abcdefghij"])
    return (unit * random.randint(20, 60))[: random.randint(60, 240)]


def texts():
    """The strings, each once, none of them with a lone surrogate."""
    generator = random.Random(20)
    written = PLAIN + NUMBERS + SPACES + CODE + SCRIPTS + COMBINING + EMOJI + SPECIAL + CONTROL
    made = [make(generator) for make, count in
            [(sentence, 800), (emoji, 160), (code, 320), (scatter, 400), (long_word, 60)] for _ in range(count)]
    pieces = written[1:] + made
    mixed = ["".join(generator.choice(pieces)[:24] for _ in range(generator.randint(2, 4))) for _ in range(260)]
    return list(dict.fromkeys(written + made + mixed))
