//! `take-over`: what main executes the program on disk with (`supervisor::upgrade`). Nobody types it.

use std::process::ExitCode;

use clap::Args;

use super::Outcome;
use crate::supervisor::upgrade::{TakeOver, take_over};

/// What is handed over.
#[derive(Debug, Args)]
pub(super) struct TakeOverArgs {
    /// Descriptor of what main knows
    #[arg(long, value_name = "FD")]
    state: i32,
    /// Only say whether this program could
    #[arg(long = "try")]
    only_try: bool,
    /// Descriptor of the program before, to go back to
    #[arg(long, value_name = "FD")]
    back: Option<i32>,
    /// Why this program is gone back to
    #[arg(long, value_name = "REASON", allow_hyphen_values = true)]
    because: Option<String>,
}

pub(super) fn run(args: TakeOverArgs) -> Outcome {
    let TakeOverArgs { state, only_try, back, because } = args;
    let code = take_over(&TakeOver { state, back, because }, only_try)?;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}
