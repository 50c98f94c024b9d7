//! Running programs, waiting for conditions and ending processes by their id.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::error::{AtPath as _, Error, Result};
use crate::progress::Progress;

/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(50);
/// Between two signs of life of a long job.
const SIGN: Duration = Duration::from_secs(15);

/// A command line as its user would type it, for messages.
pub(crate) fn shown(command: &Command) -> String {
    let mut text = short(command.get_program());
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

fn short(program: &OsStr) -> String {
    Path::new(program).file_name().unwrap_or(program).to_string_lossy().into_owned()
}

fn checked(command: &Command, output: Output) -> Result<String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim();
    Err(Error::Command {
        command: shown(command),
        status: output.status.to_string(),
        detail: if said.is_empty() { String::new() } else { format!(": {said}") },
    })
}

/// Runs to the end; its standard output, or an error with what it said.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().map_err(|source| start_error(command, source))?;
    checked(command, output)
}

/// As [`output`], with `input` on standard input.
pub(crate) fn feed(command: &mut Command, input: &str) -> Result<String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| start_error(command, source))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends without reading its input says why on standard error.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(|source| start_error(command, source))?;
    checked(command, output)
}

/// Runs with the caller's terminal; true if it succeeded.
pub(crate) fn interactive(command: &mut Command) -> Result<i32> {
    let status = command.status().map_err(|source| start_error(command, source))?;
    Ok(status.code().unwrap_or(1))
}

/// Runs a job of minutes with its output in `log`, giving a sign of life now and then.
pub(crate) fn long_job(command: &mut Command, log: &Path, what: &str, progress: Progress) -> Result<()> {
    let file = fs::File::create(log).at(log)?;
    let errors = file.try_clone().at(log)?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(errors)
        .spawn()
        .map_err(|source| start_error(command, source))?;
    let mut sign = Instant::now();
    loop {
        let ended = child.try_wait().map_err(|source| start_error(command, source))?;
        match ended {
            Some(status) if status.success() => return Ok(()),
            Some(status) => {
                let detail = format!("; the end of {}:\n{}", log.display(), tail(log, 25));
                return Err(Error::Command { command: shown(command), status: status.to_string(), detail });
            }
            None => sleep(LOOK),
        }
        if sign.elapsed() >= SIGN {
            sign = Instant::now();
            progress.say(format!("... {what}"));
        }
    }
}

pub(crate) fn start_error(command: &Command, source: std::io::Error) -> Error {
    Error::Start { program: short(command.get_program()), source }
}

/// The last `lines` lines of a file, empty if there is none.
pub(crate) fn tail(file: &Path, lines: usize) -> String {
    let text = fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    all.iter().skip(all.len().saturating_sub(lines)).copied().collect::<Vec<_>>().join("\n")
}

/// Looks until `look` says yes; its last answer, or error, is in the message if it never does.
pub(crate) fn wait_until(seconds: u64, what: &str, mut look: impl FnMut() -> Result<Look>) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        let seen = match look() {
            Ok(Look::Done) => return Ok(()),
            Ok(Look::NotYet(seen)) => seen,
            Err(error) => error.to_string(),
        };
        if Instant::now() >= end {
            return Err(Error::Timeout { what: what.to_owned(), seconds, seen });
        }
        sleep(LOOK);
    }
}

/// The answer of one look.
pub(crate) enum Look {
    Done,
    NotYet(String),
}

impl Look {
    pub(crate) fn when(done: bool, seen: impl Into<String>) -> Self {
        if done { Self::Done } else { Self::NotYet(seen.into()) }
    }
}

/// Writes only what differs: some programs end themselves when their configuration is touched.
pub(crate) fn put(file: &Path, text: &str) -> Result<()> {
    if fs::read(file).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(());
    }
    let new = file.with_extension("new");
    fs::write(&new, text).at(&new)?;
    fs::rename(&new, file).at(file)
}

pub(crate) fn read_pid(file: &Path) -> Option<i32> {
    fs::read_to_string(file).ok()?.trim().parse().ok().filter(|pid| *pid > 0)
}

/// Sends a signal to one process; one that is gone already is no error.
pub(crate) fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

/// False for a process that has ended, also when nobody has collected it yet.
pub(crate) fn alive(pid: i32) -> bool {
    let exists = Pid::from_raw(pid).is_some_and(|pid| test_kill_process(pid).is_ok());
    exists && !fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}

/// Asks, waits and insists.
pub(crate) fn end(pid: i32, first: Signal, patience: Duration) -> Result<()> {
    signal(pid, first);
    let asked = Instant::now();
    while alive(pid) {
        if asked.elapsed() > patience {
            signal(pid, Signal::KILL);
        }
        if asked.elapsed() > patience + Duration::from_secs(10) {
            return Err(Error::refused(format!("process {pid} does not end")));
        }
        sleep(Duration::from_millis(10));
    }
    Ok(())
}
