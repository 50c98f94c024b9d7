//! The command line.

mod explain;

use clap::{Parser, Subcommand};
use std::{path::PathBuf, process::ExitCode};

/// What went wrong, as an exit code: scripts and Kubernetes read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, or stopped when asked.
    Done = 0,
    /// It could not go on; starting it again is right (a lost lease, a lost API server).
    Failed = 1,
    /// The command line or a file says something that cannot be (clap's own code too).
    Usage = 2,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An operator for SQL Server Always On availability groups.
#[derive(Debug, Parser)]
#[command(name = "quorate", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print what would be done about a saved observation, and why
    Explain {
        /// Observation as JSON or YAML; `-` reads standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Print the plan as JSON
        #[arg(long)]
        json: bool,
    },
}

impl Cli {
    /// Runs the command.
    pub fn run(self) -> Exit {
        match self.command {
            Command::Explain { file, json } => said(explain::explain(&file, json)),
        }
    }
}

/// Prints what a command has to say, or its error.
fn said(answer: Result<String, String>) -> Exit {
    match answer {
        Ok(text) => {
            println!("{}", text.trim_end());
            Exit::Done
        }
        Err(error) => {
            eprintln!("error: {error}");
            Exit::Usage
        }
    }
}
