//! See `tests/hostile/src/names.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| echo_hostile::names::run(data));
