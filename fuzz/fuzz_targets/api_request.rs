//! See `tests/hostile/src/api_request.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| echo_hostile::api_request::run(data));
