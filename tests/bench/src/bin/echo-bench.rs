//! Measures the daemon beside its peers; `scripts/bench` builds what it needs and starts it.

fn main() -> std::process::ExitCode {
    echo_bench::bench()
}
