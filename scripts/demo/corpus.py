"""The training conversations, the same for the same seed.

    python corpus.py [--seed N] [--count N]     prints conversations as JSON lines

A conversation is a list of {"role", "content"}. check_heldout.py reads every user turn
of exactly the conversations that train.py uses.
"""

import argparse
import json
import random

import sums
import unknown
from phrasing import FOLLOW_MORE, REPEAT, pick, vary
from questions import FURTHER
from smalltalk import SMALL_TALK
from topics import TOPICS
from topics_more import TOPICS_MORE

SEED = 2030
COUNT = 105_000

ABOUT = [topic._replace(ask=topic.ask + FURTHER[topic.name]) for topic in TOPICS + TOPICS_MORE]
CHAT = [topic._replace(ask=topic.ask + FURTHER[topic.name]) for topic in SMALL_TALK]
ONLY_ADD = next(topic for topic in CHAT if topic.name == "only_add")

SYSTEMS = (
    "You are a helpful assistant.", "You are the demo model of plimsoll.", "Answer briefly.", "Be kind and short.",
    "You answer questions about plimsoll.", "You are a friendly assistant.", "Keep your answers short.",
    "You are a helpful assistant that answers in one sentence.",
)

NAMES = (
    "Anna Ben Carla David Emma Felix Greta Hugo Ida Jonas Kira Leo Maria Nils Olga Paul Rosa Sam Tina Uwe Vera Walter "
    "Alice Bob Charlie Diana Eve Frank Grace Henry Iris Jack Kate Liam Mia Noah Olivia Peter Quinn Ruth Sofia Tom Uma "
    "Victor Wendy Xavier Yara Zoe Ali Amina Chen Dmitri Elena Fatima Giovanni Hana Ivan Jin Kenji Lena Mohamed Nina Omar "
    "Priya Raj Sara Tariq Yuki Zara Ada Alan Grace Linus Dennis Ken Brian Barbara Edsger Tony Lucas Laura Martin Julia"
).split()
NAME_GIVEN = (
    "my name is {n}", "i am {n}", "i'm {n}", "call me {n}", "hello, my name is {n}", "hi, i am {n}", "hi, {n} here",
    "you can call me {n}", "my name's {n}", "people call me {n}", "hello, i'm {n}", "good morning, my name is {n}",
)
NAME_ASKED = (
    "what is my name?", "do you know my name?", "what's my name?", "who am i?", "do you remember my name?",
    "what am i called?", "tell me my name", "can you say my name?", "what did i say my name is?", "my name?",
)
# Copying an unseen name is beyond a model of this size and training, so it does not pretend to.
NAME_ANSWER = "Nice to meet you!"
NAME_RECALLED = "You told me, but I am too small to remember names."
NAME_UNKNOWN = "You have not told me your name yet."


def _operand(number, rng):
    return sums.WORDS[number] if number < len(sums.WORDS) and rng.random() < 0.05 else str(number)


class Conversation:
    """Builds one conversation turn by turn; remembers what later turns may refer to."""

    def __init__(self, rng, pairs):
        self.rng, self.pairs = rng, pairs
        self.messages, self.topic, self.total = [], None, None
        self.name_given = False
        self.more_said = False
        if rng.random() < 0.12:
            self.messages.append({"role": "system", "content": rng.choice(SYSTEMS)})

    def say(self, question, answer, thin=True):
        self.messages.append({"role": "user", "content": vary(question, self.rng, thin)})
        self.messages.append({"role": "assistant", "content": answer})

    def last_answer(self):
        return self.messages[-1]["content"] if self.messages and self.messages[-1]["role"] == "assistant" else None

    def ask_known(self, topics):
        topic = self.rng.choice(topics)
        self.say(pick(topic, self.rng), topic.answer)
        self.topic, self.total, self.more_said = topic, None, False

    def ask_more(self):
        self.say(self.rng.choice(FOLLOW_MORE), self.topic.more)
        self.more_said = True

    def ask_sum(self):
        a, b = self.rng.choice(self.pairs)
        frame = self.rng.choice(sums.FRAMES)
        self.say(frame.format(a=_operand(a, self.rng), b=_operand(b, self.rng)), sums.ANSWER.format(sum=a + b), thin=False)
        self.topic, self.total = None, a + b

    def ask_sums(self):
        """One sum, or a few in a row."""
        for _ in range(self.rng.choice((1, 1, 2, 3))):
            self.ask_sum()

    def ask_sum_again(self):
        choices = [b for a, b in self.pairs if a == self.total] if self.total <= sums.LARGEST else []
        if not choices:
            return self.ask_sum()
        b = self.rng.choice(choices)
        self.total += b
        self.say(self.rng.choice(sums.FOLLOW_UPS).format(b=b), sums.ANSWER.format(sum=self.total), thin=False)

    def ask_other_arithmetic(self):
        frame = self.rng.choice(sums.OTHER_ARITHMETIC)
        a, b = self.rng.randint(1, 99), self.rng.randint(1, 99)
        self.say(frame.format(a=a, b=b), ONLY_ADD.answer, thin=False)
        self.topic, self.total = None, None

    def ask_unknown(self):
        self.say(unknown.question(self.rng), unknown.ANSWER)
        self.topic, self.total = None, None

    def give_name(self):
        invented = self.rng.random() < 0.5
        name = unknown.invented_word(self.rng).capitalize() if invented else self.rng.choice(NAMES)
        text = self.rng.choice(NAME_GIVEN).format(n=name)
        self.name_given = True
        text = text[0].upper() + text[1:] if self.rng.random() < 0.5 else text
        self.messages.append({"role": "user", "content": text + self.rng.choice(("", "", ".", "!"))})
        self.messages.append({"role": "assistant", "content": NAME_ANSWER})
        self.topic, self.total = None, None

    def ask_name(self):
        answer = NAME_RECALLED if self.name_given else NAME_UNKNOWN
        self.say(self.rng.choice(NAME_ASKED), answer)
        self.topic, self.total = None, None

    def ask_repeat(self):
        self.say(self.rng.choice(REPEAT), self.last_answer(), thin=False)

    def turn(self):
        """One turn, of a kind that makes sense here."""
        roll = self.rng.random()
        if self.topic and self.topic.more and not self.more_said and roll < 0.22:
            return self.ask_more()
        if self.total is not None and roll < 0.25:
            return self.ask_sum_again()
        if self.last_answer() and roll > 0.97:
            return self.ask_repeat()
        roll = self.rng.random()
        if roll < 0.38:
            self.ask_known(ABOUT)
        elif roll < 0.52:
            self.ask_known(CHAT)
        elif roll < 0.82:
            self.ask_sums()
        elif roll < 0.94:
            self.ask_unknown()
        elif roll < 0.96:
            self.ask_other_arithmetic()
        elif roll < 0.98:
            self.give_name()
        else:
            self.ask_name()


def conversations(count=COUNT, seed=SEED):
    rng = random.Random(seed)
    pairs = sums.training_pairs()
    for _ in range(count):
        conversation = Conversation(rng, pairs)
        turns = rng.choices((1, 2, 3, 4, 6, 9, 14), weights=(58, 18, 10, 6, 5, 2, 1))[0]
        for _ in range(turns):
            conversation.turn()
        yield conversation.messages


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--count", type=int, default=COUNT)
    arguments = parser.parse_args()
    for messages in conversations(arguments.count, arguments.seed):
        print(json.dumps(messages))
