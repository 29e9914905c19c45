#![no_main]

use libfuzzer_sys::fuzz_target;

#[global_allocator]
static HEAP: plimsoll_fuzz::heap::Counting = plimsoll_fuzz::heap::Counting;

fuzz_target!(|bytes: &[u8]| plimsoll_fuzz::safetensors(bytes));
