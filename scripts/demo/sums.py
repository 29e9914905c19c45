"""Sums of two small numbers: which pairs are held out, and how they are asked."""

LARGEST = 49

WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen "
    "fourteen fifteen sixteen seventeen eighteen nineteen twenty"
).split()

FRAMES = (
    "what is {a} plus {b}?", "what's {a} plus {b}?", "{a} plus {b}", "{a} + {b}", "{a}+{b}",
    "{a} + {b} = ?", "{a}+{b}=", "what is {a} + {b}?", "what is {a}+{b}?", "add {a} and {b}",
    "add {b} to {a}", "how much is {a} plus {b}?", "how much is {a} + {b}?", "how much is {a} and {b}?",
    "what is the sum of {a} and {b}?", "sum of {a} and {b}", "calculate {a} + {b}", "calculate {a} plus {b}",
    "can you add {a} and {b}?", "what do {a} and {b} make?", "{a} and {b} together?", "compute {a}+{b}",
    "what does {a} plus {b} give?", "tell me {a} plus {b}", "{a} plus {b} equals what?",
    "i have {a} apples and get {b} more, how many do i have?", "please add {a} and {b}",
    "what do you get if you add {a} and {b}?", "what is {a} and {b} added together?", "sum {a} and {b}",
    "i have {a} coins and find {b}, how many are there now?", "what is the total of {a} and {b}?",
)

ANSWER = "That makes {sum}."

FOLLOW_UPS = ("and plus {b}?", "now add {b}", "plus {b}?", "add {b} to that", "and {b} more?", "and + {b}?")

OTHER_ARITHMETIC = (
    "what is {a} minus {b}?", "{a} - {b}", "what is {a} times {b}?", "{a} * {b}", "{a} divided by {b}",
    "what is {a} / {b}?", "subtract {b} from {a}", "multiply {a} by {b}", "{a} times {b}", "{a}-{b}",
    "what is {a}00 plus {b}?", "{a}00 + {b}00", "{a}{b}1 + {b}", "what is the square root of {a}?", "{a} x {b}",
    "is {a} a prime number?", "what is half of {a}?", "{a} minus {b}", "divide {a} by {b}", "what is {a} squared?",
)


def is_held_out(a, b):
    """About one unordered pair in ten, spread over the whole table; (a, b) and (b, a) go together."""
    low, high = min(a, b), max(a, b)
    return (low * 7 + high * 13) % 10 == 3


def training_pairs():
    numbers = range(LARGEST + 1)
    return [(a, b) for a in numbers for b in numbers if not is_held_out(a, b)]
