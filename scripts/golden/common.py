"""What every golden script shares: where fixtures live, and how outputs say what made them."""

import importlib.metadata
import json
import platform
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"


def made_with(script, *packages, **extra):
    """The record that goes into each output: the script, the versions, and its parameters."""
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {"script": f"scripts/golden/{script}", "python": platform.python_version(), **versions, **extra}


def write_json(path, value, indent=2):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, indent=indent) + "\n", encoding="utf-8")


def write_records(path, head, key, records):
    """A JSON object with one record a line, so that a change of one record is a diff of one line."""
    lines = ",\n".join("  " + json.dumps(record, ensure_ascii=False) for record in records)
    start = json.dumps(head, ensure_ascii=False, indent=1).rstrip("}").rstrip()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{start},\n {json.dumps(key)}: [\n{lines}\n ]\n}}\n", encoding="utf-8")
