"""The cells of the table: what is measured."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """One measurement. `prompt` and `new` count tokens of each sequence."""

    name: str
    kind: str  # prefill, decode, batch: several sequences that decode together; or one of OWN
    prompt: int
    new: int
    sequences: int = 1

    @property
    def counted(self):
        """Tokens that the timed part processes or produces: what a run must report. None: that depends."""
        return {"prefill": self.prompt, "decode": self.new, "batch": self.new * self.sequences}.get(self.kind)

    @property
    def held(self):
        """Tokens that a sequence holds halfway through the timed part."""
        return self.prompt // 2 if self.kind == "prefill" else self.prompt + self.new // 2


COMPARED = ("prefill-512", "prefill-2048", "decode", "decode-2048", "batch-4", "batch-8", "batch-16")
OWN = ("arrival-512", "turn-1024")  # what plimsoll's bench alone measures
BATCH_PROMPT = 128


def cell(name, new):
    """The cell of a name such as decode-2048: `new` tokens after 2048. In a batch, half as many each."""
    kind, _, number = name.partition("-")
    number = int(number) if number.isdecimal() else None
    if kind == "decode" and (number or name == kind):
        return Cell(name, kind, number or 1, new)
    if kind == "batch" and number:
        return Cell(name, kind, BATCH_PROMPT, new // 2, number)
    if kind in ("prefill", "arrival", "turn") and number:
        return Cell(name, kind, number, 1)
    raise ValueError(f"{name}: not prefill-N, decode, decode-N, batch-N, arrival-N or turn-N")
