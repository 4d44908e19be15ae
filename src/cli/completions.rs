//! `completions SHELL`: what a shell needs to complete commands and flags, made from the flags themselves.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Outcome};

/// The program's name, as it is typed.
const NAME: &str = "echo-daemon";

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), NAME, &mut script);
    if args.shell == Shell::Bash {
        script = mended(&String::from_utf8_lossy(&script)).into_bytes();
    }
    match io::stdout().write_all(&script) {
        // The reader of a pipe that has seen enough is no failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!("could not write: {error}")),
        Ok(()) | Err(_) => Ok(ExitCode::SUCCESS),
    }
}

/// `clap_complete` 4.6.11 divides the program's own name at its hyphen in the labels of the subcommands, but not where it
/// jumps to them: nothing below the first word would be completed.
fn mended(script: &str) -> String {
    let name = NAME.replace('-', "__");
    script.replace(&name.replace("__", "__subcmd__"), &name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_bash_bear_the_name_that_is_jumped_to() {
        let script = "cmd=\"echo__daemon__subcmd__stop\"\necho__subcmd__daemon__subcmd__stop)";
        assert_eq!(mended(script), "cmd=\"echo__daemon__subcmd__stop\"\necho__daemon__subcmd__stop)");
    }
}
