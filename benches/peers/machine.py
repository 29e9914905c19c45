"""The machine: which CPUs a run is pinned to, which instructions it may use, what to call it."""

import datetime
import os
import pathlib
import platform
from dataclasses import dataclass, field

SYS = pathlib.Path("/sys/devices/system/cpu")


@dataclass(frozen=True)
class Level:
    """An instruction level: the variables that lower each engine to it, and whether matrix tiles (AMX) are handed out.

    Tiles are refused by `lowered`, which every engine believes; see lowered.c.
    """

    name: str
    tiles: bool = True
    variables: dict = field(default_factory=dict)


# OpenVINO refuses to run compressed weights at oneDNN levels below the processor's vector length, so there is no AVX2 here.
LEVELS = {
    level.name: level
    for level in (
        Level("native"),
        Level(
            "avx512-vnni",
            tiles=False,
            variables={"PLIMSOLL_CPU": "avx512-vnni", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_FP16"},
        ),
    )
}


def siblings(cpu):
    """The hardware threads of the core of a CPU, as the kernel lists them."""
    path = SYS / f"cpu{cpu}/topology/thread_siblings_list"
    return path.read_text().strip() if path.exists() else str(cpu)


def pick_cpus(count):
    """`count` CPUs that this process may use, each on a core of its own."""
    cores = {}
    for cpu in sorted(os.sched_getaffinity(0)):
        cores.setdefault(siblings(cpu), cpu)
    if len(cores) < count:
        raise SystemExit(f"{count} threads asked for, {len(cores)} cores usable")
    return sorted(cores.values())[:count]


def first_value(path, key):
    """What stands after `key:` in the first line of a /proc file that has it."""
    for line in pathlib.Path(path).read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return "unknown"


def describe():
    return {
        "processor": first_value("/proc/cpuinfo", "model name"),
        "cores": len(set(map(siblings, os.sched_getaffinity(0)))),
        "memory": first_value("/proc/meminfo", "MemTotal"),
        "kernel": platform.release(),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }
