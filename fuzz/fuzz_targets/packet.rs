//! See `tests/hostile/src/packet.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| echo_hostile::packet::run(data));
