"""Writes the bundled model as one GGUF file in f32, from which the quantised ones are made.

    python files.py OUT
"""

import pathlib
import sys

import gguf

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "scripts" / "demo"))

from export_gguf import compare, write  # noqa: E402

folder, out = ROOT / "models" / "demo", pathlib.Path(sys.argv[1])
write(folder, out, gguf.GGMLQuantizationType.F32)
# bf16 weights lose nothing in f32.
assert compare(folder, out) == 0
