"""OpenVINO GenAI."""

from home import REQUIREMENTS
from process import build

from engines.engine import PythonEngine, Weights


class OpenVino(PythonEngine):
    name = "OpenVINO"
    environment = "openvino"
    weights = (Weights("int8", 8, "-ov-int8"), Weights("int4", 4, "-ov-int4"), Weights("fp16", 16, "-ov-fp16"))
    # On processors with AMX bf16 or f16 is best in prefill; f32, which quantises activations to int8, elsewhere.
    ways = tuple({"INFERENCE_PRECISION_HINT": precision} for precision in ("f32", "bf16", "f16"))

    def version(self):
        return REQUIREMENTS["openvino"][0]

    def convert(self, shape, weights):
        def export(out):
            cli = self.home.python("openvino").parent / "optimum-cli"
            task = ("--task", "text-generation-with-past", "--weight-format", weights.name)
            build([cli, "export", "openvino", "-m", self.home.model(shape), *task, out], self.home.log)

        return self.home.made(self.files(shape, weights), export)
