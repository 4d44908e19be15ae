//! See `tests/hostile/src/log_frame.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| echo_hostile::log_frame::run(data));
