"""Programs under test: pinned, lowered, timed out, and their peak memory."""

import os
import subprocess
import threading
from dataclasses import dataclass


class Failed(Exception):
    """A program did not do what was asked; the message says which and why."""


@dataclass
class Finished:
    output: str
    peak_bytes: int


@dataclass(frozen=True)
class Pinned:
    """How all engines are started alike."""

    threads: int
    cpus: tuple
    level: object
    lowered: str  # the program that refuses tiles
    timeout: int  # seconds until a program is ended: one that hangs must not stop the others

    def command(self, command):
        pin = ["taskset", "-c", ",".join(map(str, self.cpus))]
        return pin + ([] if self.level.tiles else [self.lowered]) + [str(part) for part in command]

    def run(self, command, log, variables=None):
        """Standard output and peak memory of a program that must succeed; its errors go to the file `log`."""
        environment = os.environ | self.level.variables | (variables or {})
        environment["OMP_NUM_THREADS"] = str(self.threads)
        with open(log, "a") as errors:
            print("$", *command, file=errors, flush=True)
            child = subprocess.Popen(
                self.command(command), stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
            )
            timer = threading.Timer(self.timeout, child.kill)
            timer.start()
            with child.stdout:
                output = child.stdout.read()
            _, status, usage = os.wait4(child.pid, 0)
            timer.cancel()
            child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            raise Failed(f"{command[0]} ended with {child.returncode}; see {log}")
        return Finished(output, usage.ru_maxrss * 1024)


def build(command, log, cwd=None):
    """A step of the preparation: quiet, unless it fails."""
    with open(log, "a") as out:
        print("$", *command, file=out, flush=True)
        done = subprocess.run([str(part) for part in command], stdout=out, stderr=out, cwd=cwd)
    if done.returncode != 0:
        raise Failed(f"{' '.join(map(str, command[:4]))} ... ended with {done.returncode}; see {log}")
