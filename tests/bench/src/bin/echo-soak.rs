//! Half an hour of mixed traffic and trouble; `scripts/soak` builds what it needs and starts it.

fn main() -> std::process::ExitCode {
    echo_bench::soak()
}
