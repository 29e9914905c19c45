"""Questions about the rest of the world, which the model answers with "I don't know"."""

ANSWER = "I don't know. I only know plimsoll and small sums."

_SUBJECTS = {
    "place": """
        france|germany|japan|brazil|egypt|india|spain|italy|china|canada|mexico|norway|sweden|kenya|peru|turkey|greece|poland
        |australia|chile|cuba|iceland|ireland|london|paris|berlin|rome|tokyo|madrid|vienna|new york|moscow|cairo|africa|europe
        |the moon|mars|texas|california|the sahara|the alps|the amazon|siberia|vietnam|thailand|argentina|portugal
    """,
    "person": """
        napoleon|shakespeare|mozart|einstein|cleopatra|newton|picasso|beethoven|darwin|columbus|gandhi|caesar|plato|galileo
        |leonardo da vinci|marie curie|lincoln|elvis|the pope|the queen|the president|your neighbour|bach|van gogh|aristotle
        |alexander the great|the king of spain|homer|socrates|tesla|churchill|marco polo|my brother|my uncle|the mayor
    """,
    "thing": """
        bread|cheese|a car|a bicycle|a piano|gold|iron|water|fire|a volcano|a rainbow|an elephant|a cat|a dog|a horse|a whale
        |a spider|a tree|a rose|coffee|tea|wine|chocolate|a computer|a telephone|a television|a train|an airplane|a rocket|a star
        |a planet|a black hole|gravity|light|electricity|an atom|a molecule|oxygen|blood|the heart|the brain|a bone|a dinosaur
        |a bridge|a castle|a pyramid|a church|democracy|money|a bank|inflation|music|poetry|philosophy|history|chess|football
        |tennis|the olympics|a virus|a vaccine|sugar|salt|pasta|pizza|soup|a cake|rice|a potato|an apple|a banana|a lemon
        |a mountain|a river|the ocean|an island|a desert|a forest|a lake|a cloud|thunder|a guitar|a violin|a painting|a novel
        |a film|a shoe|a hat|a house|a door|a window|a garden|a bird|an eagle|a fish|a shark|a bee|an ant|a snake|a frog|python
        |javascript|linux|docker|the internet|a database|bitcoin|photosynthesis|evolution|a magnet|glass|paper|a battery
    """,
}

_FRAMES = {
    "place": """
        what is the capital of {x}?
        where is {x}?
        how many people live in {x}?
        how far is it to {x}?
        who rules {x}?
        what language do they speak in {x}?
        when was {x} founded?
        have you been to {x}?
        how do i get to {x}?
        what do people eat in {x}?
        what is the largest city of {x}?
        which river flows through {x}?
        is {x} a nice place?
        how large is {x}?
        how hot is it in {x}?
        tell me about {x}
        what currency is used in {x}?
        who won the war in {x}?
        {x}?
        who discovered {x}?
        which countries border {x}?
        what is the flag of {x}?
        what is {x} famous for?
        how old is {x}?
    """,
    "person": """
        who was {x}?
        when was {x} born?
        where did {x} live?
        what did {x} write?
        what is {x} known for?
        when did {x} die?
        how old is {x}?
        who is {x}?
        was {x} married?
        tell me about {x}
        what did {x} discover?
        why is {x} famous?
        how tall was {x}?
        do you know {x}?
        where was {x} buried?
        what would {x} say?
        who killed {x}?
        did {x} have children?
        where is {x} now?
        {x}?
        what did {x} think about war?
        in which century did {x} live?
    """,
    "thing": """
        what is {x}?
        how does {x} work?
        who invented {x}?
        what is {x} made of?
        how do i make {x}?
        what colour is {x}?
        where does {x} come from?
        how much does {x} cost?
        why is {x} important?
        tell me about {x}
        explain {x}
        when was {x} invented?
        how big is {x}?
        do you like {x}?
        where can i buy {x}?
        how long does {x} live?
        how heavy is {x}?
        what does {x} mean?
        is {x} dangerous?
        what is the history of {x}?
        how many kinds of {x} are there?
        {x}?
        what is the difference between {x} and {y}?
        which is better, {x} or {y}?
        how do i draw {x}?
        can {x} swim?
        write a poem about {x}
        how fast is {x}?
        what is the best {x}?
        define {x}
        i want to buy {x}
        is {x} heavier than {y}?
    """,
}

_WHOLE = """
    who won the last world cup?
    what is the meaning of life?
    what is the speed of light?
    how many planets are there?
    who wrote the bible?
    what is the tallest mountain?
    how do i cook an egg?
    can you write a program for me?
    what is the latest news?
    who will win the election?
    what should i eat tonight?
    translate good morning into french
    how do i say thank you in spanish?
    what is the boiling point of water?
    why is the sky blue?
    how do i fix my bicycle?
    can you recommend a book?
    what film should i watch?
    how many days are in a year?
    who painted the mona lisa?
    what is the stock price of gold?
    how do i lose weight?
    what is the deepest ocean?
    sing me a song
    write me a story
    write an essay about freedom
    when did the second world war end?
    which animal is the fastest?
    how do birds fly?
    why do cats purr?
    where are my keys?
    what am i thinking?
    how do i learn to swim?
    who was the first man on the moon?
    what is the population of the world?
    what is love?
    is there a god?
    are there aliens?
    how do i get rich?
    what will happen tomorrow?
    how many bones are in a body?
    what is the best restaurant in town?
    who sings this song?
    how do i tie a tie?
    give me a recipe for soup
    what is the fastest car?
    how deep is the sea?
    how do i grow tomatoes?
    what year did the titanic sink?
    who is the richest man in the world?
    what is a good name for a cat?
    what does my dog want?
    when does the next train leave?
    how do i get to the station?
    where can i find a doctor?
    what is the longest river?
    who invented the wheel?
    asdf
    qwerty
    blah blah blah
    lorem ipsum
    xyz
"""


def _split(text, mark):
    return [part.strip() for part in text.replace("\n", " " if mark == "|" else "\n").split(mark) if part.strip()]


SUBJECTS = {kind: _split(text, "|") for kind, text in _SUBJECTS.items()}
FRAMES = {kind: _split(text, "\n") for kind, text in _FRAMES.items()}
WHOLE = _split(_WHOLE, "\n")

_ONSETS = "b c d f g h j k l m n p r s t v w br cr dr fl gr kl pr sh st th tr".split()
_VOWELS = "a e i o u ai ea oo ou".split()
_CODAS = ["", "", "n", "r", "s", "l", "k", "nd", "rt", "m", "t"]


def invented_word(rng):
    """A word that means nothing, so that the model learns to admit it for any unseen word."""
    syllables = rng.randint(2, 3)
    return "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS) for _ in range(syllables))


def question(rng):
    if rng.random() < 0.15:
        return rng.choice(WHOLE)
    kind = rng.choice(("place", "person", "thing", "thing"))
    frame = rng.choice(FRAMES[kind])
    invented = rng.random() < 0.35
    article = rng.choice(("", "a ", "the ")) if kind == "thing" else ""
    x = article + invented_word(rng) if invented else rng.choice(SUBJECTS[kind])
    return frame.format(x=x, y=rng.choice(SUBJECTS[kind]))
