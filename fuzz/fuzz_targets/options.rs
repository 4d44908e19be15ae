//! See `tests/hostile/src/options.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| echo_hostile::options::run(data));
