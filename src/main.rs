//! The binary: hands argv to the commands and exits with their code.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    // The title must be taken over before anything keeps a pointer into argv or the environment.
    daemon_utils::title::init();
    echo_daemon::cli::run()
}
