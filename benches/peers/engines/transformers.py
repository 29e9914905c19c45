"""Hugging Face transformers on PyTorch, in eager mode."""

from home import REQUIREMENTS

from engines.engine import PythonEngine, Weights


class Transformers(PythonEngine):
    name = "transformers"
    environment = "transformers"
    weights = (Weights("bf16", 16),)
    ways = ({"dtype": "bfloat16"}, {"dtype": "float32"})

    def version(self):
        return f"{REQUIREMENTS['transformers'][0]}, {REQUIREMENTS['torch'][0]}"
