//! See `tests/hostile/src/import.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| echo_hostile::import::run(data));
