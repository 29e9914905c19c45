"""llama.cpp's side, through llama-cpp-python.

    python peer.py quantize FOLDER TYPE...     FOLDER/TYPE.gguf, all matrices of one type, from FOLDER/F32.gguf
    python peer.py logits FOLDER IDS TYPE...   FOLDER/TYPE.peer-CHUNK.f32: logits of every position; TYPE-KV16 is TYPE with KV in f16
"""

import ctypes
import sys

import llama_cpp
import numpy

# llama.cpp's numbers of file types; with `pure`, every matrix gets the first type that the name says.
FILE_TYPES = {
    "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K": 12, "Q4_K": 15, "Q5_K": 17,
    "Q6_K": 18, "IQ4_NL": 25, "IQ4_XS": 30, "BF16": 32,
}  # fmt: skip
THREADS = 2
# Of the cache: ggml's numbers of f32 and f16.
F32, F16 = 0, 1
HALVED = "-KV16"
# Tokens that are fed together.
CHUNKS = (64, 1)


def quantize(source, kind, out):
    params = llama_cpp.llama_model_quantize_default_params()
    # Q4_K_M as people use it: llama.cpp's own mixture.
    mixed = kind == "Q4_K_M"
    params.ftype = FILE_TYPES["Q4_K" if mixed else kind]
    params.pure = not mixed
    params.nthread = THREADS
    if llama_cpp.llama_model_quantize(source.encode(), out.encode(), ctypes.byref(params)) != 0:
        raise SystemExit(f"llama.cpp does not make {kind}")


def logits(path, texts, out, chunk, kv):
    model = llama_cpp.Llama(
        model_path=path, n_ctx=max(map(len, texts)), n_batch=chunk, n_ubatch=chunk, n_threads=THREADS,
        n_threads_batch=THREADS, logits_all=True, flash_attn=False, type_k=kv, type_v=kv, verbose=False,
    )  # fmt: skip
    with open(out, "wb") as file:
        for text in texts:
            model.reset()
            # It feeds pieces of n_batch tokens.
            model.eval(text)
            model.scores[: len(text)].astype(numpy.float32).tofile(file)


def main():
    command, folder, *rest = sys.argv[1:]
    if command == "quantize":
        for kind in rest:
            quantize(f"{folder}/F32.gguf", kind, f"{folder}/{kind}.gguf")
        return
    ids, *kinds = rest
    texts = [list(map(int, line.split())) for line in open(ids)]
    for kind in kinds:
        for chunk in CHUNKS:
            model = f"{folder}/{kind.removesuffix(HALVED)}.gguf"
            kv = F16 if kind.endswith(HALVED) else F32
            logits(model, texts, f"{folder}/{kind}.peer-{chunk}.f32", chunk, kv)


if __name__ == "__main__":
    main()
