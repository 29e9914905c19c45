#!/usr/bin/env python3
"""plimsoll and its peers on this machine's CPU, side by side: see README.md beside this file."""

import argparse
import json
import pathlib
import sys
import time

from cells import COMPARED, OWN, cell
from home import ROOT, WORKERS, Home
from machine import LEVELS, describe, pick_cpus
from process import Failed, Pinned, build
from report import ENGINES, add_page, write
from rounds import Job, Rounds, say
from shapes import SHAPES
from weights import weight_bytes


def names(text):
    return text.split(",")


def arguments(given):
    a = argparse.ArgumentParser(description=__doc__)
    a.add_argument("--models", type=names, default=list(SHAPES), help="[%(default)s]")
    a.add_argument("--engines", type=names, default=[engine.name for engine in ENGINES], help="[%(default)s]")
    a.add_argument("--bits", type=names, default=["8", "4", "16"], help="widths of weights, of 8, 4, 16 [%(default)s]")
    a.add_argument("--weights", type=names, help="only these forms of weights, such as Q4_0,int4 or llama.cpp:Q4_0")
    a.add_argument("--cells", type=names, default=[*COMPARED, *OWN], help="[%(default)s]")
    a.add_argument("--new", type=int, default=128, help="tokens of a decode; half as many in batches [%(default)s]")
    a.add_argument("--rounds", type=int, default=3, help="the median counts [%(default)s]")
    a.add_argument("--threads", type=int, default=2, help="[%(default)s]")
    a.add_argument("--cpu", choices=LEVELS, default="native", help="the instruction level of all engines [%(default)s]")
    a.add_argument("--tuned", type=pathlib.Path, action="append", default=[], metavar="RESULTS.JSON",
                   help="an earlier run, whose best settings are taken")
    a.add_argument("--home", type=pathlib.Path, default=ROOT / "build/peers", help="of all that is made [%(default)s]")
    a.add_argument("--out", type=pathlib.Path, help="results.json, table.md, chart.svg go here [HOME/results]")
    add_page(a)
    a.add_argument("--timeout", type=int, default=900, help="seconds until a start of an engine counts as hung [%(default)s]")
    a.add_argument("--prepare", action="store_true", help="install and make everything, measure nothing")
    options = a.parse_args(given)
    check(a, options)
    return options


def check(parser, options):
    """Mistakes that would show only after an hour."""
    known = {"--models": (options.models, SHAPES), "--bits": (options.bits, ("8", "4", "16"))}
    known["--engines"] = (options.engines, [engine.name for engine in ENGINES])
    for option, (given, allowed) in known.items():
        for name in given:
            if name not in allowed:
                parser.error(f"{option} {name}: not of {', '.join(allowed)}")
    if options.new < 4 or options.new % 2 or min(options.rounds, options.threads, options.timeout) < 1:
        parser.error("--new is even and at least 4, --rounds, --threads and --timeout at least 1")
    try:
        options.cells = [cell(name, options.new) for name in options.cells]
    except ValueError as reason:
        parser.error(f"--cells {reason}")


def make_checkpoint(home, shape):
    def make(out):
        build([home.python("transformers"), WORKERS / "make_checkpoint.py", shape, out], home.log)

    home.made(home.model(shape), make)


def prepare(home, options):
    """Jobs of all engines that can be had, those of a width side by side, and why the others cannot."""
    engines = [engine(home) for engine in ENGINES if engine.name in options.engines]
    jobs, failures = [], []
    for shape in options.models:
        make_checkpoint(home, shape)
        for bits in options.bits:
            for engine in engines:
                for weights in engine.weights:
                    names = {weights.name, f"{engine.name}:{weights.name}"}
                    wanted = options.weights is None or not names.isdisjoint(options.weights)
                    if weights.bits != int(bits) or not wanted:
                        continue
                    try:
                        engine.install()
                        jobs.append(Job(shape, engine, weights, engine.convert(shape, weights)))
                    except Failed as reason:
                        failures.append(f"{shape} {engine.name} {weights.name}: {reason}")
                        say("LEFT OUT", failures[-1])
    return engines, jobs, failures


def main(given):
    options = arguments(given)
    home = Home(options.home.resolve())
    log = home.folder() / "run.log"
    lowered, program = home.program("lowered"), home.program("limits")
    pinned = Pinned(options.threads, tuple(pick_cpus(options.threads)), LEVELS[options.cpu], str(lowered), options.timeout)
    engines, jobs, failures = prepare(home, options)
    if options.prepare:
        return 1 if failures else 0
    earlier = [sample for path in options.tuned for sample in json.loads(path.read_text())["samples"]]
    rounds = Rounds(jobs, options.cells, pinned, log, program, earlier)
    rounds.results |= {
        "machine": describe(),
        "threads": options.threads,
        "cpus": list(pinned.cpus),
        "level": options.cpu,
        "new": options.new,
        "versions": [engine.version() for engine in engines],
        "weight_bytes": {job.title: weight_bytes(job.model) for job in jobs},
        "failures": failures,
    }
    began = time.monotonic()
    out = options.out or home.path / "results"
    for _ in rounds.run(options.rounds):
        rounds.results["minutes"] = round((time.monotonic() - began) / 60, 1)
        report = write(rounds.results, options.cells, out, options.page)
        say(f"written to {out}")
    print(report)
    return 1 if rounds.results["failures"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
