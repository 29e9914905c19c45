//! A second Rust library with its own copy of the standard library, for a program that links it beside plimsoll.

#[unsafe(no_mangle)]
pub extern "C" fn other_length(number: u64) -> usize {
    std::panic::catch_unwind(|| number.to_string().len()).unwrap_or(0)
}
