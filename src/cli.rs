//! The command line.

mod explain;
mod prepare;
mod run;
mod script;

use clap::{Parser, Subcommand};
use std::{io::Write, path::PathBuf, process::ExitCode};

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
    /// Run the operator
    Run(run::Arguments),
    /// Print what would be done about a saved observation, and why
    Explain {
        /// Observation as JSON or YAML; `-` reads standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Print the plan as JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the custom resource definitions as YAML
    Crd,
    /// Write mssql.conf and the server's certificate to a volume (init container)
    Prepare {
        /// Folder with tls.crt and tls.key
        #[arg(long, value_name = "FOLDER")]
        certificate: PathBuf,
        /// Folder that the server reads: /var/opt/mssql
        #[arg(long, value_name = "FOLDER")]
        to: PathBuf,
        /// Setting of mssql.conf
        #[arg(long, value_name = "SECTION.KEY=VALUE")]
        set: Vec<String>,
    },
    /// Run the T-SQL of a staged upgrade against the promoted stage (in a Job)
    Script(script::Arguments),
}

impl Cli {
    /// Runs the command.
    pub fn run(self) -> Exit {
        match self.command {
            Command::Run(arguments) => run::run(arguments),
            Command::Explain { file, json } => said(explain::explain(&file, json)),
            Command::Crd => said(crds()),
            Command::Prepare { certificate, to, set } => said(prepare::prepare(&certificate, &to, &set)),
            Command::Script(arguments) => script::run(&arguments),
        }
    }
}

/// Every custom resource definition, as one YAML stream.
fn crds() -> Result<String, String> {
    let crds = crate::api::crds().map_err(|error| error.to_string())?;
    let texts: Result<Vec<_>, _> = crds.iter().map(|(_, crd)| crate::api::to_yaml(crd)).collect();
    Ok(texts.map_err(|error| error.to_string())?.join("---\n"))
}

/// Prints what a command has to say, or its error.
fn said(answer: Result<String, String>) -> Exit {
    match answer {
        Ok(text) => {
            // A reader that has seen enough (`| head`) is no error.
            let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
            Exit::Done
        }
        Err(error) => {
            eprintln!("error: {error}");
            Exit::Usage
        }
    }
}
