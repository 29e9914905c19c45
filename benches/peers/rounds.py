"""Rounds: every engine in turn, again and again, so that a drift of the machine meets all alike."""

import sys
import time
from dataclasses import asdict, dataclass

import limits
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


def cells_of(job, cells):
    """The cells that the engine and the form of its weights are for."""
    return [c for c in cells if c.kind in job.engine.kinds and c.name.startswith(job.weights.cells)]


def plan(job, cells, best):
    """Pairs of a way and the cells to run in it: those whose best way it is, and those whose best way is not known."""
    return [(way, chosen) for way in job.engine.ways if (chosen := [c for c in cells if best.get(c.name, way) == way])]


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
                measured = limits.measure(self.program, self.pinned, self.log)
                self.results["limits"].append(measured | {"round": number, "shape": shape})
                say(f"round {number + 1} of {count}, {shape}: read {measured['read'] / 1e9:.1f} GB/s")
                for job in [job for job in self.jobs if job.shape == shape]:
                    self.step(job, number)
            self.results["rounds"] = number + 1
            yield

    def step(self, job, number):
        """One round of one job, which is left out from then on when it fails."""
        cells, samples, failed = cells_of(job, self.cells), [], []
        known = self.best[job]
        for way, chosen in plan(job, cells, known):
            try:
                run = job.engine.run(job.model, job.weights, chosen, way, self.pinned, self.log)
            except Failed as reason:
                failed.append(f"{job.title}, {way}: {reason}")
                say("FAILED", failed[-1])
                continue
            for record in run.records:
                sample = {"shape": job.shape, "engine": job.engine.name, "weights": job.weights.name, "way": way}
                sample |= asdict(record) | {"speed": record.speed, "round": number, "peak_bytes": run.peak_bytes}
                samples.append(sample | {"extra": run.extra})
        best = fastest(samples)
        missing = [cell.name for cell in cells if cell.name not in best]
        if missing and not failed:
            failed.append(f"{job.title}: no result for {', '.join(missing)}")
            say("FAILED", failed[-1])
        for sample in samples:
            if best[sample["cell"]] == sample["way"]:
                say(f"  {job.title:40} {sample['cell']:14} {sample['speed']:10.1f} tokens/s")
        self.results["samples"] += samples
        self.results["failures"] += failed
        # A way that does not work leaves the others; a cell without any ends the job.
        if missing:
            self.jobs.remove(job)
        self.best[job] = best | known
