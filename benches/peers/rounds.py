"""Rounds: every engine in turn, again and again, so that a drift of the machine meets all alike."""

import sys
import time
from dataclasses import asdict, dataclass

import limits
from engines.plimsoll import NAME
from process import Failed


@dataclass(frozen=True)
class Job:
    """One engine with one form of one shape's weights."""

    shape: str
    engine: object
    weights: object
    model: object

    @property
    def title(self):
        return f"{self.shape} {self.engine.name} {self.weights.name}"


def say(*what):
    print(time.strftime("%H:%M:%S"), *what, file=sys.stderr, flush=True)


def takes(job, cell):
    """Whether the engine and the form of its weights are for the cell."""
    return cell.kind in job.engine.kinds and cell.name.startswith(job.weights.cells)


def ways(job, cell, best):
    """The ways to run a cell: the best one where it is known, else all."""
    return [way for way in job.engine.ways if best.get(cell.name, way) == way]


def fastest(samples):
    """The way of the fastest sample of each cell."""
    best = {}
    for sample in samples:
        if sample["cell"] not in best or sample["speed"] > best[sample["cell"]]["speed"]:
            best[sample["cell"]] = sample
    return {name: sample["way"] for name, sample in best.items()}


def known_ways(job, samples):
    """The best ways that samples of another run tell, by cell."""
    mine = [s for s in samples if (s["shape"], s["engine"], s["weights"]) == (job.shape, job.engine.name, job.weights.name)]
    return fastest([s for s in mine if s["way"] in job.engine.ways])


class Rounds:
    """Runs jobs; keeps samples, limits and failures in `results`, in the form that goes to JSON.

    `earlier` are samples of another run that tell the best ways; where they do not, the first round tries all.
    """

    def __init__(self, jobs, cells, pinned, log, program, earlier=()):
        self.jobs, self.cells, self.pinned, self.log, self.program = list(jobs), cells, pinned, log, program
        self.best = {job: known_ways(job, earlier) for job in jobs}
        self.results = {"samples": [], "limits": [], "failures": []}

    def run(self, count):
        """Yields after each round, so that what there is can be written."""
        for number in range(count):
            for shape in dict.fromkeys(job.shape for job in self.jobs):
                for cell in self.cells:
                    self.turn(shape, cell, number)
            self.results["rounds"] = number + 1
            yield

    def turn(self, shape, cell, number):
        """One cell of all engines, one after the other: seconds lie between what is compared, not minutes."""
        jobs = [job for job in self.jobs if job.shape == shape and takes(job, cell)]
        if not jobs:
            return
        measured = limits.measure(self.program, self.pinned, self.log)
        self.results["limits"].append(measured | {"round": number, "shape": shape, "cell": cell.name})
        say(f"round {number + 1}, {shape}, {cell.name}: read {measured['read'] / 1e9:.1f} GB/s")
        for job in jobs:
            self.step(job, cell, number)

    def between_reads(self, job, cell, way):
        """A run, and how fast memory was read just before and after it where its share of that is shown."""

        def read():
            return limits.mean_read(self.program, self.pinned, self.log)

        def run():
            return job.engine.run(job.model, job.weights, [cell], way, self.pinned, self.log)

        if job.engine.name != NAME or cell.kind != "decode":
            return run(), {}
        before, done, after = read(), run(), read()
        return done, {"read": (before + after) / 2}

    def step(self, job, cell, number):
        """One cell of one job, which is left out from then on when it fails."""
        samples, failed = [], []
        for way in ways(job, cell, self.best[job]):
            try:
                run, reads = self.between_reads(job, cell, way)
            except Failed as reason:
                failed.append(f"{job.title}, {way}: {reason}")
                say("FAILED", failed[-1])
                continue
            for record in run.records:
                sample = {"shape": job.shape, "engine": job.engine.name, "weights": job.weights.name, "way": way}
                sample |= asdict(record) | {"speed": record.speed, "round": number, "peak_bytes": run.peak_bytes}
                samples.append(sample | {"extra": run.extra} | reads)
        if not samples and not failed:
            failed.append(f"{job.title}: no result for {cell.name}")
            say("FAILED", failed[-1])
        if samples:
            speed = max(sample["speed"] for sample in samples)
            say(f"  {job.title:40} {cell.name:14} {speed:10.1f} tokens/s")
        else:
            # A way that does not work leaves the others; a cell without any ends the job.
            self.jobs.remove(job)
        self.results["samples"] += samples
        self.results["failures"] += failed
        self.best[job] = fastest(samples) | self.best[job]
