#!/usr/bin/env bash
# KL divergence and top-1 agreement of the bundled model's logits, ours and llama.cpp's, against f32 arithmetic on the same
# dequantised weights. See README.md beside this.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=scripts/accuracy
out=${ACCURACY_OUT:-build/accuracy}
types=${ACCURACY_TYPES:-F32 BF16 F16 Q8_0 Q6_K Q5_K Q5_1 Q5_0 Q4_K Q4_K_M Q4_1 Q4_0 IQ4_NL IQ4_XS Q3_K Q2_K}
mkdir -p "$out"

# The levels of this processor: one that it lacks would run as the best that it has.
levels=portable
add_level() {
    local name=$1 flag
    shift
    for flag; do grep -qw "$flag" /proc/cpuinfo || return 0; done
    levels="$levels $name"
}
add_level avx2 avx2 fma f16c
add_level avx512 avx512f avx512bw avx512dq avx512vl
add_level avx512-vnni avx512_vnni
add_level amx amx_int8 amx_bf16 avx512_fp16
levels=${ACCURACY_LEVELS:-$levels}

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
# llama.cpp's products on AMX need a flag with some versions of GCC, and are built here: a wheel need not have them.
export CMAKE_ARGS="${CMAKE_ARGS:-} -DLLAVA_BUILD=OFF -DCMAKE_CXX_COMPILER_LAUNCHER=$PWD/benches/peers/keep-tiles.sh"
python=$(interpreter venv "${PYTHON:-}" requirements.txt)
peer=$(interpreter venv-peer "${LLAMA_PYTHON:-}" requirements-peer.txt)

# The model is small: a debug build is fast enough, and made sooner.
cargo build --quiet -p plimsoll-candle --example logits
logits=${CARGO_TARGET_DIR:-target}/debug/examples/logits

# With KV in f16, inputs of bf16 weights are rounded too, on both sides.
halved=
case " $types " in *" BF16 "*) halved=BF16-KV16 ;; esac

# What is not there yet of these files: `absent SUFFIX TYPE...`.
absent() { for type in "${@:2}"; do [ -e "$out/$type.$1" ] || echo "$type"; done; }
"$python" $here/texts.py "$out/ids.new"
cmp -s "$out/ids" "$out/ids.new" || rm -f "$out"/*.reference.f32 "$out"/*.peer-*.f32
mv "$out/ids.new" "$out/ids"
[ -e "$out/F32.gguf" ] || "$python" $here/files.py "$out/F32.gguf"
"$peer" $here/peer.py quantize "$out" $(absent gguf $types) >"$out/quantize.log" 2>&1 || { tail "$out/quantize.log"; exit 1; }
"$python" $here/reference.py "$out/ids" "$out" $(absent reference.f32 $types)
"$peer" $here/peer.py logits "$out" "$out/ids" $(absent peer-1.f32 $types $halved)
for type in $types $halved; do
    kv=f32
    [ "$type" != "$halved" ] || kv=f16
    for chunk in 64 1; do
        for level in $levels; do
            PLIMSOLL_CPU=$level "$logits" "$out/${type%-KV16}.gguf" "$out/ids" "$out/$type.$level-$chunk.f32" $chunk $kv
        done
    done
done
vocabulary=$(sed -n 's/.*"vocab_size": \([0-9]*\).*/\1/p' models/demo/config.json)
version() { sed -n "s/^#define PLIMSOLL_VERSION_$1 //p" include/plimsoll.h; }
versions="plimsoll $(version MAJOR).$(version MINOR).$(version PATCH)"
versions="$versions, $("$peer" -c 'import llama_cpp; print("llama-cpp-python", llama_cpp.__version__)')"
versions="$versions, $("$python" -c 'import torch, transformers; print("transformers", transformers.__version__, "on torch", torch.__version__)')"
"$python" $here/compare.py "$out" "$vocabulary" "$(echo $levels | tr ' ' ,)" --versions "$versions" \
    ${ACCURACY_PAGE:+--page "$ACCURACY_PAGE"} | tee "$out/table.md"
exit "${PIPESTATUS[0]}"
