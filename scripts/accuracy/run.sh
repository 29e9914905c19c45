#!/usr/bin/env bash
# KL divergence and top-1 agreement of the bundled model's logits, ours and llama.cpp's, against f32 arithmetic on the same
# dequantised weights. See README.md beside this.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=scripts/accuracy
out=${ACCURACY_OUT:-build/accuracy}
types=${ACCURACY_TYPES:-F32 BF16 F16 Q8_0 Q6_K Q5_K Q5_1 Q5_0 Q4_K Q4_K_M Q4_1 Q4_0 IQ4_NL IQ4_XS Q3_K Q2_K}
levels=${ACCURACY_LEVELS:-portable avx2 avx512 avx512-vnni amx}
mkdir -p "$out"

# An interpreter with the packages of a requirements file: the one given, or a venv.
interpreter() {
    if [ -n "$2" ]; then echo "$2"; return; fi
    if [ ! -e "$out/$1/done" ]; then
        python3 -m venv "$out/$1"
        "$out/$1/bin/pip" install --quiet -r "$here/$3" >&2
        touch "$out/$1/done"
    fi
    echo "$out/$1/bin/python"
}
python=$(interpreter venv "${PYTHON:-}" requirements.txt)
peer=$(interpreter venv-peer "${LLAMA_PYTHON:-}" requirements-peer.txt)

# The model is small: a debug build is fast enough, and made sooner.
cargo build --quiet -p plimsoll-candle --example logits
logits=${CARGO_TARGET_DIR:-target}/debug/examples/logits

# What is not there yet of these files: `absent SUFFIX`.
absent() { for type in $types; do [ -e "$out/$type.$1" ] || echo "$type"; done; }
"$python" $here/texts.py "$out/ids.new"
cmp -s "$out/ids" "$out/ids.new" || rm -f "$out"/*.reference.f32 "$out"/*.peer-*.f32
mv "$out/ids.new" "$out/ids"
[ -e "$out/F32.gguf" ] || "$python" $here/files.py "$out/F32.gguf"
"$peer" $here/peer.py quantize "$out" $(absent gguf) >"$out/quantize.log" 2>&1 || { tail "$out/quantize.log"; exit 1; }
"$python" $here/reference.py "$out/ids" "$out" $(absent reference.f32)
"$peer" $here/peer.py logits "$out" "$out/ids" $(absent peer-1.f32)
for type in $types; do
    for chunk in 64 1; do
        for level in $levels; do
            PLIMSOLL_CPU=$level "$logits" "$out/$type.gguf" "$out/ids" "$out/$type.$level-$chunk.f32" $chunk f32
        done
    done
done
tokens=$(wc -w <"$out/ids")
vocabulary=$(sed -n 's/.*"vocab_size": \([0-9]*\).*/\1/p' models/demo/config.json)
versions=$("$peer" -c 'import llama_cpp; print("llama-cpp-python", llama_cpp.__version__)')
"$python" $here/compare.py "$out" "$vocabulary" "$(echo $levels | tr ' ' ,)" \
    --note "$tokens tokens, the bundled model, f32 KV; $versions." | tee "$out/table.md"
exit "${PIPESTATUS[0]}"
