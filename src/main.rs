//! The binary: hands argv to the commands and exits with their code.

fn main() {}
