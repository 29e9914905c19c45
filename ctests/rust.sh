# What a Rust host gets: the documentation, and the guard without candle. The doc tests, examples/chat.rs and a host with its
# own allocator (hosts/rust) are cargo's to test. Sourced by run.sh.
cargo=${CARGO:-cargo}
in_build() { $cargo tree -p plimsoll --edges normal,build --prefix none "$@" | cut -d ' ' -f 1 | sort -u; }

test_that "rust: the documentation has no warnings" env RUSTDOCFLAGS="-D warnings" $cargo doc --quiet --workspace --no-deps
in_build >"$out/with"
in_build --no-default-features >"$out/without"
test_that "rust: the native engine is on candle" grep -qE '^candle-core$' "$out/with"
test_that "rust: without default features no candle, no kernels, no code generator" bash -c \
    "grep -q '^minijinja$' '$out/without' && ! grep -E '^(candle|plimsoll-candle|plimsoll-formats|gemm|cbindgen)' '$out/without'"
test_that "rust: without default features guard, sessions and text pass their tests" $cargo test --quiet -p plimsoll \
    --no-default-features --lib --test own_engine
