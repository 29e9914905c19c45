"""Bytes that a token reads."""

import json
import pathlib
import struct
import tempfile
import unittest

from weights import weight_bytes


def gguf(tensors):
    """A GGUF file's beginning with a string, an array and a number: tensors are (name, dimensions, type)."""
    text = lambda value: struct.pack("<Q", len(value)) + value.encode()
    parts = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), 3)]
    parts += [text("a.text"), struct.pack("<I", 8), text("value")]
    parts += [text("a.list"), struct.pack("<IIQ", 9, 8, 2), text("x"), text("yy")]
    parts += [text("a.number"), struct.pack("<IQ", 10, 7)]
    for name, dims, kind in tensors:
        parts += [text(name), struct.pack("<I", len(dims)), *(struct.pack("<Q", d) for d in dims)]
        parts += [struct.pack("<IQ", kind, 0)]
    return b"".join(parts)


class Bytes(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def test_gguf(self):
        path = self.folder / "a.gguf"
        embedding, matrix = ("token_embd.weight", (64, 10), 8), ("blk.0.ffn_up.weight", (256, 2), 14)
        path.write_bytes(gguf([embedding, matrix]))
        self.assertEqual(weight_bytes(path), 20 * 34 + 2 * 210)
        path.write_bytes(gguf([embedding, matrix, ("output.weight", (64, 10), 1)]))
        self.assertEqual(weight_bytes(path), 1280 + 2 * 210)

    def test_a_file_that_is_none(self):
        path = self.folder / "a.gguf"
        path.write_bytes(b"nothing of the kind")
        with self.assertRaises(ValueError):
            weight_bytes(path)

    def test_folders(self):
        header = json.dumps({"__metadata__": {}, "a": {"data_offsets": [0, 10]}, "b": {"data_offsets": [10, 34]}}).encode()
        (self.folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
        self.assertEqual(weight_bytes(self.folder), 34)
        (self.folder / "openvino_model.bin").write_bytes(bytes(21))
        self.assertEqual(weight_bytes(self.folder), 21)
