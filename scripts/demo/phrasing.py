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

_OPENINGS = (
    "please, ", "hey, ", "ok, ", "so, ", "quick question: ", "hello, ", "hi, ", "well, ", "and ", "now, ", "tell me, ",
    "excuse me, ", "i wonder: ", "sorry, ", "another thing: ", "by the way, ", "but ", "then ", "say, ", "just curious: ",
    "good morning, ", "friend, ", "in plimsoll, ", "with this library, ",
)
_ENDINGS = (
    " please", ", please", " thanks", " in short", " exactly", " then", " here", " again", " briefly", " now", ", do you know",
    " in plimsoll", " with plimsoll", " in this library", ", i wonder", " really", " actually", " in a sentence",
)
_FILLERS = frozenset(
    "a an the is are was do does did i you me my your to of in on it can could would should please what how tell "
    "about be one with for so that this there which".split()
)

FOLLOW_MORE = (
    "tell me more", "go on", "more please", "and then?", "what else?", "can you say more?", "more about that", "continue",
    "is there more?", "more details please", "anything else?", "please go on", "and what else?", "i want to know more",
)
REPEAT = (
    "say that again", "repeat that please", "what did you say?", "pardon?", "again please", "once more please",
    "can you repeat that?", "i did not hear that", "please repeat", "sorry, what?",
)


def questions_of(topic):
    """All questions about a topic, before openings, endings and noise."""
    framed = [frame.format(x=x) for x in topic.what for frame in WHAT]
    framed += [frame.format(x=x) for x in topic.to for frame in HOW]
    return list(topic.ask), framed


def pick(topic, rng):
    """One question; the whole questions and the frames have equal weight."""
    asked, framed = questions_of(topic)
    pool = asked if not framed or rng.random() < 0.55 else framed
    return rng.choice(pool)


def _thin(words, rng):
    """Drops words that carry little meaning and sometimes changes the order, as hurried people do."""
    kept = [w for w in words if w.lower().strip(",?.!:") not in _FILLERS or rng.random() < 0.45]
    if len(kept) > 1 and rng.random() < 0.6:
        rng.shuffle(kept)
    return kept or words


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
    """Openings, endings, case, punctuation and small mistakes."""
    if thin and rng.random() < 0.22:
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
