"""How one thing is asked in many ways: frames, openings and endings, and the noise of real typing."""

WHAT = (
    "what is {x}?", "what's {x}?", "what are {x}?", "explain {x}", "tell me about {x}", "define {x}", "{x}?", "{x}",
    "what does {x} mean?", "can you explain {x} to me?", "describe {x}", "i want to know what {x} is",
    "what do you know about {x}?", "what is meant by {x}?", "how would you describe {x}?", "{x}, what is that?",
    "teach me about {x}", "i don't understand {x}", "help me understand {x}", "give me a definition of {x}",
    "what exactly is {x}?", "i have a question about {x}", "i would like to learn about {x}", "{x} please",
    "say something about {x}", "what do you mean by {x}?", "have you heard of {x}?", "let's talk about {x}",
    "more about {x}", "why is there {x}?", "is there {x}?", "how does {x} work?", "what about {x}?", "meaning of {x}",
    "who or what is {x}?", "do you know {x}?", "the docs mention {x}, what is it?", "where can i read about {x}?",
    "what is the point of {x}?", "could you clarify {x}?", "i keep hearing of {x}", "what role does {x} play?",
    "what kind of thing is {x}?", "what is special about {x}?", "i am confused by {x}", "show me {x}", "i want {x}",
    "what is the idea of {x}?", "in a few words, what is {x}?", "explain the term {x}", "is {x} important?",
    "{x}: why?", "{x}, what is it good for?", "the purpose of {x}?", "we use {x}, but why?", "for what do i need {x}?",
    "when do i need {x}?", "where does {x} come in?", "and {x}, what about it?", "a word on {x}", "{x} does what?",
    "my friend asked me about {x}", "in your own words, {x}?", "i read about {x}, explain it",
    "i forgot what {x} is", "{x}: definition?", "could {x} be explained?", "what happens with {x}?", "any facts on {x}?",
    "does {x} matter?", "do i need {x}?", "what can {x} do?", "who uses {x}?", "whose task is {x}?", "{x} is for what?",
)

HOW = (
    "how do i {x}?", "how can i {x}?", "which function do i call to {x}?", "which call lets me {x}?",
    "what do i call to {x}?", "i want to {x}", "i need to {x}", "show me how to {x}", "how to {x}?", "how to {x}",
    "what must i do to {x}?", "tell me how to {x}", "name the function to {x}", "is there a function to {x}?",
    "how would i {x} in c?", "what is the api to {x}?", "how does one {x}?", "help me {x}", "{x}", "{x}, how?",
    "can i {x}?", "is it possible to {x}?", "what is the way to {x}?", "i would like to {x}", "how should a program {x}?",
    "please {x}", "what is needed to {x}?", "i'm trying to {x}", "could you tell me how to {x}?", "where do i {x}?",
    "may i {x}?", "let me {x}", "what is the right way to {x}?", "what's the function that can {x}?",
    "which of the functions can {x}?", "my program must {x}", "explain how to {x}", "how do you {x}?", "i'd like to {x}",
    "what would you use to {x}?", "what if i want to {x}?", "teach me to {x}", "when i want to {x}, what do i do?",
)

# For the -ing form of a verb phrase: "opening a session".
DOING = (
    "{x}?", "{x}: how is that done?", "{x}, how?", "i have trouble {x}", "what about {x}?", "a question about {x}",
    "is {x} possible?", "what is used for {x}?", "the function for {x}?", "which call is for {x}?", "{x} please",
    "how does {x} work?", "tell me about {x}", "what helps with {x}?", "i am thinking of {x}", "any advice on {x}?",
    "{x} in c", "what is the api for {x}?", "{x} is done how?", "for {x}, what is needed?", "before {x}, what do i know?",
    "we are {x} now, with what call?", "explain {x}", "{x} does not work for me", "i am stuck at {x}", "{x} with plimsoll",
    "let us talk about {x}", "what does it take, {x}?", "by which function is {x} done?", "the next step is {x}",
)

SYNONYMS = {word: group for group in (
    ("call", "function", "routine"), ("which", "what"), ("get", "obtain", "receive"), ("start", "begin"),
    ("stop", "end", "halt"), ("show", "display"), ("explain", "describe", "clarify"), ("need", "require"),
    ("big", "large", "great"), ("small", "little", "tiny"), ("conversation", "chat", "dialogue", "talk"),
    ("answer", "reply", "response"), ("answers", "replies", "responses"), ("program", "application", "app", "software"),
    ("find", "locate", "discover"), ("happens", "occurs"), ("choose", "select", "pick"), ("chosen", "selected", "picked"),
    ("way", "method", "manner"), ("refused", "rejected", "denied", "turned down"), ("accepted", "admitted", "allowed"),
    ("reserve", "book", "set aside"), ("reserved", "booked", "set aside"), ("fail", "break", "go wrong"),
    ("fails", "breaks", "goes wrong"), ("failed", "broke", "went wrong"), ("lost", "gone", "forgotten"),
    ("lose", "forget"), ("memory", "ram", "memory space"), ("made", "created", "built", "produced"),
    ("make", "create", "produce"), ("close", "finish", "shut"), ("load", "read in"), ("folder", "directory"),
    ("flag", "option", "switch", "setting"), ("kind", "type", "sort"), ("kinds", "types", "sorts"),
    ("quick", "fast"), ("much", "plenty of"), ("several", "many", "multiple", "some"), ("evicted", "thrown out"),
    ("possible", "feasible"), ("happy", "glad", "cheerful"), ("sad", "unhappy", "down"), ("good", "fine", "nice"),
    ("clever", "smart", "intelligent"), ("part", "component", "piece", "module"), ("decides", "determines"),
    ("picks", "selects", "chooses"), ("holds", "contains", "keeps", "stores"), ("hold", "contain", "keep", "store"),
    ("kept", "stored", "held", "saved"), ("compile", "build"), ("exit", "leave", "quit"), ("limit", "cap", "bound"),
    ("shorter", "briefer"), ("today", "tonight", "now"), ("tomorrow", "on sunday", "later", "next month"),
    ("purpose", "point", "aim"), ("supported", "possible", "usable"), ("work", "operate", "run"),
    ("see", "look at", "view"), ("know", "learn", "find out"), ("room", "space"), ("once", "after", "as soon as"),
    ("first", "at the start", "before all else"), ("person", "human"), ("numbers", "figures", "values"), ("keys", "key"),
    ("tell", "inform"), ("use", "employ", "work with"), ("another", "a different", "some other"), ("written", "coded"),
    ("give", "offer"), ("gives", "offers"), ("long", "lengthy"), ("clear", "wipe", "erase"),
) for word in group if " " not in word}

_OPENINGS = (
    "please, ", "hey, ", "ok, ", "quick question: ", "hello, ", "hi, ", "well, ", "tell me, ",
    "excuse me, ", "i wonder: ", "sorry, ", "another thing: ", "by the way, ", "but ", "then ", "say, ", "just curious: ",
    "good morning, ", "friend, ", "in plimsoll, ", "with this library, ", "i am new here. ", "we use c. ", "my boss asks: ",
    "sorry to bother you, ", "i just started. ", "thinking about it, ", "furthermore: ", "in my program: ", "as a beginner, ",
    "we have a problem. ", "i read the manual. ", "for my work: ", "first of all, ", "next, ", "finally, ", "listen, ",
)
_ENDINGS = (
    " please", ", please", " thanks", " in short", " exactly", " then", " here", " again", " briefly", " now", ", do you know",
    " in plimsoll", " with plimsoll", " in this library", ", i wonder", " really", " actually", " in a sentence",
)
_FILLERS = frozenset(
    "a an the is are was do does did i you me my your to of in on it can could would should please what how tell "
    "about be one with for so that this there which".split()
)
_INSERTED = (
    "a the is are do does i you me my your to of in on it can could would should please what how tell about be with for so "
    "that this there which some any when where who why just now then here any if by from at will may might must has have had "
    "was were really only also perhaps still ever always such each every its than as or and but not no like want need"
).split()

FOLLOW_MORE = (
    "tell me more", "go on", "more please", "and then?", "what else?", "can you say more?", "more about that", "continue",
    "is there more?", "more details please", "anything else?", "please go on", "and what else?", "i want to know more",
)
REPEAT = (
    "say that again", "repeat that please", "what did you say?", "pardon?", "again please", "once more please",
    "can you repeat that?", "i did not hear that", "please repeat", "sorry, what?",
)


def doing(phrase):
    """The -ing form of a verb phrase: "set the budget" gives "setting the budget"."""
    verb, _, rest = phrase.partition(" ")
    if verb in ("set", "get", "run", "stop", "begin", "quit", "cut", "cap", "admit"):
        verb += verb[-1]
    elif verb.endswith("e") and not verb.endswith("ee"):
        verb = verb[:-1]
    return f"{verb}ing {rest}".strip()


def questions_of(topic):
    """All questions about a topic, before synonyms, openings, endings and noise."""
    framed = [frame.format(x=x) for x in topic.what for frame in WHAT]
    framed += [frame.format(x=x) for x in topic.to for frame in HOW]
    framed += [frame.format(x=doing(x)) for x in topic.to for frame in DOING]
    return list(topic.ask), framed


def pick(topic, rng):
    """One question; the whole questions and the frames have equal weight."""
    asked, framed = questions_of(topic)
    pool = asked if not framed or rng.random() < 0.55 else framed
    return rng.choice(pool)


def _reword(text, rng):
    """Replaces some words by others of like meaning."""
    words = text.split()
    for i, word in enumerate(words):
        mark = word[-1] if word[-1] in ",?.!:" else ""
        group = SYNONYMS.get(word.removesuffix(mark))
        if group and rng.random() < 0.4:
            words[i] = rng.choice(group) + mark
    return " ".join(words)


def _thin(words, rng):
    """Keeps the words that carry the meaning, in any order, among others that carry none: what hurried people write."""
    kept = [w.strip(",?.!:") or w for w in words if w.lower().strip(",?.!:") not in _FILLERS or rng.random() < 0.4]
    kept = kept or list(words)
    if rng.random() < 0.7:
        rng.shuffle(kept)
    for _ in range(rng.choice((0, 0, 1, 2, 3, 5))):
        kept.insert(rng.randint(0, len(kept)), rng.choice(_INSERTED))
    if rng.random() < 0.5:
        kept[-1] += "?"
    return kept


def _mistype(text, rng):
    """Swaps, drops or doubles one letter."""
    places = [i for i in range(1, len(text) - 2) if text[i].isalpha() and text[i + 1].isalpha()]
    if not places:
        return text
    i = rng.choice(places)
    return rng.choice((
        text[:i] + text[i + 1] + text[i] + text[i + 2:],
        text[:i] + text[i + 1:],
        text[:i] + text[i] + text[i:],
    ))


def vary(text, rng, thin=True):
    """Synonyms, openings, endings, case, punctuation and small mistakes."""
    if thin and rng.random() < 0.5:
        text = _reword(text, rng)
    if thin and rng.random() < 0.35:
        text = " ".join(_thin(text.split(), rng))
    if rng.random() < 0.16:
        text = rng.choice(_OPENINGS) + text
    if rng.random() < 0.12:
        mark = text[-1] if text[-1] in "?.!" else ""
        text = text.rstrip("?.!") + rng.choice(_ENDINGS) + mark
    if thin and rng.random() < 0.06:
        text = _mistype(text, rng)
    roll = rng.random()
    if roll < 0.25:
        text = text.rstrip("?.!") if text.rstrip("?.!") else text
    elif roll < 0.33 and text[-1].isalnum():
        text += rng.choice(".!?")
    roll = rng.random()
    if roll < 0.5:
        text = text[0].upper() + text[1:]
        text = text.replace(" i ", " I ").replace(" i'", " I'")
    elif roll < 0.52:
        text = text.upper() if "_" not in text else text
    return text
