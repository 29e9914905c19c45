"""What the harness asks of an engine."""

import json
from dataclasses import asdict, dataclass, field

from home import WORKERS
from process import Failed


@dataclass(frozen=True)
class Weights:
    """A form of the weights: bits of most of them; the suffix of its files beside the folder of the shape."""

    name: str
    bits: int
    suffix: str = ""
    kv: str = "f16"  # elements of the KV cache, where an engine can choose
    cells: str = ""  # what the names of cells must begin with to be run in this form


@dataclass(frozen=True)
class Record:
    """A measured cell: `tokens` are those that the engine says it processed or produced."""

    cell: str
    tokens: int
    seconds: float
    more: dict = field(default_factory=dict)  # what only this engine says of the cell

    @property
    def speed(self):
        return self.tokens / self.seconds


@dataclass
class Run:
    """What one start of an engine gave."""

    records: list = field(default_factory=list)
    peak_bytes: int = 0
    extra: dict = field(default_factory=dict)  # what only this engine reports

    def join(self, other):
        self.records += other.records
        self.peak_bytes = max(self.peak_bytes, other.peak_bytes)
        self.extra |= other.extra


class Engine:
    """An engine: how it is got, what weights it takes, how it runs cells.

    `ways` are alternative settings, of which the fastest counts in each cell; one is tried against the others in the first round.
    """

    name = ""
    weights = ()
    ways = ({},)
    kinds = ("prefill", "decode", "batch")

    def __init__(self, home):
        self.home = home

    def version(self):
        raise NotImplementedError

    def install(self):
        """Gets the engine, or raises Failed."""
        raise NotImplementedError

    def files(self, shape, weights):
        """Where the weights are, or will be."""
        return self.home.model(shape + weights.suffix)

    def convert(self, shape, weights):
        """The shape's weights in this form, made from its folder if they are not there."""
        return self.files(shape, weights)

    def run(self, model, weights, cells, way, pinned, log):
        """Measures the cells, which are of its kinds, in one or more starts: a Run."""
        raise NotImplementedError


def checked(records, cells):
    """The records, if they are of the cells asked for, complete, and counted the tokens asked for."""
    wanted = {cell.name: cell.counted for cell in cells}
    for record in records:
        if record.cell not in wanted:
            raise Failed(f"{record.cell} was not asked for")
        if wanted[record.cell] not in (None, record.tokens):
            raise Failed(f"{record.cell}: {record.tokens} tokens instead of {wanted[record.cell]}")
        if not record.seconds > 0:
            raise Failed(f"{record.cell}: took {record.seconds} s")
    missing = wanted.keys() - {record.cell for record in records}
    if missing:
        raise Failed(f"no result for {', '.join(sorted(missing))}")
    return records


class PythonEngine(Engine):
    """An engine measured by a program of workers/ in an environment of its own."""

    environment = ""

    def install(self):
        self.home.python(self.environment)

    def run(self, model, weights, cells, way, pinned, log):
        command = [
            self.home.python(self.environment),
            WORKERS / f"run_{self.environment}.py",
            *("--model", model, "--threads", pinned.threads),
            *("--cells", json.dumps([asdict(cell) for cell in cells])),
            *(part for key, value in way.items() for part in ("--set", f"{key}={value}")),
        ]
        done = pinned.run(command, log)
        return Run(checked(parse_lines(done.output), cells), done.peak_bytes)


def parse_lines(output):
    """The records that a worker or bench prints, one a line; other lines are the engine's chatter."""
    records = []
    for line in output.splitlines():
        if line.lstrip().startswith("{"):
            value = json.loads(line)
            if "tokens" in value:
                records.append(Record(value.pop("cell"), value.pop("tokens"), value.pop("seconds"), value))
    return records
