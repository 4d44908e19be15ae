//! See `tests/hostile/src/main_order.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| echo_hostile::main_order::run(data));
