"""ONNX Runtime GenAI."""

from home import REQUIREMENTS
from process import build

from engines.engine import PythonEngine, Weights


class OnnxRuntime(PythonEngine):
    name = "ONNX Runtime"
    environment = "onnxruntime"
    weights = (Weights("int4", 4, "-onnx-int4"),)

    def version(self):
        return REQUIREMENTS["onnxruntime"][0]

    def convert(self, shape, weights):
        def export(out):
            python = self.home.python("onnxruntime")
            builder = (python, "-m", "onnxruntime_genai.models.builder", "-e", "cpu", "-p", weights.name)
            cache = self.home.folder("onnx-cache")
            build([*builder, "-i", self.home.model(shape), "-o", out, "-c", cache], self.home.log)

        return self.home.made(self.files(shape, weights), export)
