"""The folder of everything that is made or installed here, and what is in it already."""

import pathlib
import shutil
import sys
from dataclasses import dataclass

from process import Failed, build

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
WORKERS = HERE / "workers"

# Versions that the figures are for. Torch comes once: it is large, and two peers and all converters need it.
REQUIREMENTS = {
    "torch": ["torch==2.15.0", "numpy"],
    "transformers": ["transformers==5.23.0", "safetensors", "sentencepiece", "protobuf"],
    "openvino": [
        "openvino-genai==2026.4.1.0",
        "openvino-tokenizers==2026.4.1.0",
        "optimum-intel==2.2.0",
        "nncf==3.4.0",
        "transformers==5.5.4",
    ],
    "onnxruntime": ["onnxruntime-genai==0.18.0", "onnxruntime", "onnx", "onnx-ir", "transformers"],
}


@dataclass(frozen=True)
class Home:
    path: pathlib.Path

    @property
    def log(self):
        return self.path / "prepare.log"

    def folder(self, *parts):
        made = self.path.joinpath(*parts)
        made.mkdir(parents=True, exist_ok=True)
        return made

    def model(self, name):
        return self.folder("models") / name

    def made(self, path, make):
        """`path`, made by `make(temporary)` unless it is there: half a file never counts."""
        path = pathlib.Path(path)
        if not path.exists():
            print(f"making {path}", file=sys.stderr, flush=True)
            temporary = path.with_name(f"part-{path.name}")
            remove(temporary)
            make(temporary)
            if not temporary.exists():
                raise Failed(f"{path} was not made; see {self.log}")
            temporary.rename(path)
        return path

    def program(self, name):
        """A C program of this folder."""

        def compile_(out):
            build(["cc", "-O3", "-pthread", HERE / f"{name}.c", "-o", out], self.log)

        stale = self.path / name
        if stale.exists() and stale.stat().st_mtime < (HERE / f"{name}.c").stat().st_mtime:
            stale.unlink()
        return self.made(self.folder() / name, compile_)

    def python(self, name):
        """The interpreter of the environment of a peer, installed if its requirements are not those that it has."""
        folder = self.path / "environments" / name
        stamp = folder / "requirements.txt"
        wanted = "\n".join(REQUIREMENTS[name]) + "\n"
        if not stamp.exists() or stamp.read_text() != wanted:
            print(f"installing {' '.join(REQUIREMENTS[name])}", file=sys.stderr, flush=True)
            remove(folder)
            build([sys.executable, "-m", "venv", folder], self.log)
            if name != "torch":
                self.share_torch(folder)
            build([folder / "bin/python", "-m", "pip", "install", *REQUIREMENTS[name]], self.log)
            stamp.write_text(wanted)
        return folder / "bin/python"

    def share_torch(self, folder):
        """Lets an environment see torch: packages of its own come first."""
        self.python("torch")
        (packages,) = (self.path / "environments/torch/lib").resolve().glob("python3*/site-packages")
        (own,) = (folder / "lib").glob("python3*/site-packages")
        (own / "torch.pth").write_text(f"{packages}\n")


def remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
