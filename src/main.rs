//! Parse, run, and let the exit code tell how it ended.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    quorate::cli::Cli::parse().run().into()
}
