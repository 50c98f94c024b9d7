//! Everything that proves the project, in one command.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::binaries;
use crate::cargo::Build;
use crate::error::{AtPath as _, Error, Result};
use crate::layout::Layout;
use crate::progress::Progress;
use crate::{cli, cluster, images, kubectl, mutants, product, python, shell};

/// How often it is told how many tests of a program have ended.
const EVERY: Duration = Duration::from_secs(60);
/// Lines that are repeated at the end of what a test said when it failed.
const SAID: usize = 4;

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
}

impl Tally {
    /// Adds a line such as `test result: ok. 5 passed; 0 failed; 1 ignored; ..`; any other line changes nothing.
    fn add(&mut self, line: &str) {
        let Some(rest) = line.trim_start().strip_prefix("test result: ") else { return };
        let number = |word: &str| {
            let part = rest.split(['.', ';']).map(str::trim).find_map(|part| part.strip_suffix(word));
            part.and_then(|number| number.trim().parse::<u64>().ok()).unwrap_or_default()
        };
        self.passed += number("passed");
        self.failed += number("failed");
    }
}

/// Why tests failed, from their output: what they said when they failed, if it was not kept for the summary, and the summary;
/// or else the compiler's first error.
fn story(text: &str) -> String {
    let from = text.find("\nfailures:\n").or_else(|| text.find("\nerror")).unwrap_or_default();
    let (before, summary) = text.split_at(from);
    let lines: Vec<_> = before.lines().collect();
    let failed = lines.iter().enumerate().filter(|(_, line)| line.contains("panicked at"));
    let said = failed.flat_map(|(at, _)| lines.iter().skip(at).take(SAID));
    said.copied().chain(summary.lines().take(200)).collect::<Vec<_>>().join("\n")
}

struct Run<'a> {
    build: Build,
    logs: PathBuf,
    python: PathBuf,
    long: bool,
    layout: &'a Layout,
    progress: Progress,
    tally: Tally,
}

/// Runs it all, stopping at the first failure; the last line on standard output counts the tests.
pub(crate) fn run(layout: &Layout, long: bool, cluster_only: bool, progress: Progress) -> Result<i32> {
    let mut tally = Tally::default();
    let outcome = everything(layout, long, cluster_only, progress, &mut tally);
    if let Err(error) = &outcome {
        eprintln!("lab: {error}");
        // A step that is no test, such as a lint, or a crash before any result, counts as one.
        tally.failed = tally.failed.max(1);
    }
    progress.say("done");
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(i32::from(outcome.is_err()))
}

fn everything(layout: &Layout, long: bool, cluster_only: bool, progress: Progress, tally: &mut Tally) -> Result<()> {
    let (build, cache) = (Build::of_the_tree()?, binaries::cache()?);
    let logs = cache.join("logs");
    fs::create_dir_all(&logs).at(&logs)?;
    let python = python::interpreter(&cache, progress)?;
    let mut run = Run { build, logs, python, long, layout, progress, tally: Tally::default() };
    // Rust's compiler leaves a core idle for minutes, while it waits for single crates; Go builds the cluster then.
    let outcome = thread::scope(|scope| {
        let building = scope.spawn(move || binaries::ensure(progress));
        let before = if cluster_only { Ok(()) } else { run.without_cluster() };
        let built = building.join().map_err(|_| Error::refused("the build of the cluster ended without a word"))?;
        before.and(built.map(drop))
    });
    let outcome = outcome.and_then(|()| run.with_cluster());
    *tally = run.tally;
    outcome
}

impl Run<'_> {
    fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = self.build.command(arguments);
        self.settings(&mut command);
        command
    }

    fn settings(&self, command: &mut Command) {
        command.env("QUORATE_PYTHON", &self.python);
        if self.long {
            command.env("QUORATE_LONG", "1");
        }
    }

    fn without_cluster(&mut self) -> Result<()> {
        for (what, arguments) in [
            ("format", ["fmt", "--all", "--check"].as_slice()),
            ("lints", &["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]),
        ] {
            self.progress.say(what);
            let log = self.logs.join(format!("{what}.log"));
            shell::long_job(&mut self.cargo(arguments), &log, what, self.progress)?;
        }
        self.progress.say("tests without the cluster");
        // The driver reads the machine's trust store at each connection, though no test trusts anybody in it.
        let trust = "env.SSL_CERT_FILE='/dev/null'";
        let command = self.cargo(&["test", "--locked", "--workspace", "--config", trust]);
        self.tests(command, "tests", false)?;
        if self.long { mutants::run(None, self.progress) } else { Ok(()) }
    }

    fn with_cluster(&mut self) -> Result<()> {
        self.progress.say("the cluster");
        cluster::down(self.layout, true, self.progress)?;
        let outcome = self.on_the_lab();
        if outcome.is_err() {
            self.keep_evidence();
        }
        cluster::down(self.layout, true, self.progress)?;
        outcome
    }

    fn on_the_lab(&mut self) -> Result<()> {
        // Built before the cluster is there to compete for the processors.
        let images = images::with_cluster_tests(self.progress)?;
        cluster::up(self.layout, self.progress)?;
        for image in images {
            cluster::load(self.layout, &image, self.progress)?;
        }
        self.progress.say("tests of the lab itself");
        self.cluster_tests("ground", &["ground::", "manifests::"])?;
        product::install(self.layout, self.progress)?;
        self.progress.say("tests of Quorate on the lab");
        self.cluster_tests("group", &["group::", "upgrade::"])?;
        if self.long { self.cluster_tests("long", &["long::", "tables::", "regions::", "window::"]) } else { Ok(()) }
    }

    fn cluster_tests(&mut self, name: &str, modules: &[&str]) -> Result<()> {
        let line = "cargo test --locked --offline --workspace --test cluster --";
        let options = "--ignored --nocapture --test-threads=1";
        let words = line.split(' ').chain(options.split(' ')).chain(modules.iter().copied()).map(OsString::from);
        let mut command = cli::inside(self.layout, &words.collect::<Vec<_>>())?;
        self.build.environment(&mut command);
        self.settings(&mut command);
        self.tests(command, &format!("cluster-{name}"), true)
    }

    /// Runs tests with their output in a log, or on the terminal too, and counts them.
    fn tests(&mut self, mut command: Command, name: &str, shown: bool) -> Result<()> {
        let path = self.logs.join(format!("{name}.log"));
        let mut log = File::create(&path).at(&path)?;
        let (output, end) = io::pipe().at(&path)?;
        command.stdin(Stdio::null()).stdout(end.try_clone().at(&path)?).stderr(end);
        let mut child = command.spawn().map_err(|source| shell::start_error(&command, source))?;
        // The output ends with the last program that writes it, which this one is not.
        drop(command);
        let mut lines = BufReader::new(output);
        let mut bytes = Vec::new();
        let (mut of, mut ended, mut told) = (String::new(), 0_u32, Instant::now());
        while lines.read_until(b'\n', &mut bytes).at(&path)? > 0 {
            log.write_all(&bytes).at(&path)?;
            let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            self.tally.add(&line);
            if shown {
                println!("           {line}");
            } else if line.starts_with("test result: ") {
                self.progress.say(&line);
            } else if let Some(all) = line.strip_prefix("running ") {
                (of, ended) = (all.to_owned(), 0);
            } else if line.starts_with("test ") {
                ended += 1;
                if told.elapsed() > EVERY {
                    told = Instant::now();
                    self.progress.say(format!("... {ended} of {of}"));
                }
            }
            bytes.clear();
        }
        let status = child.wait().at(&path)?;
        if status.success() {
            return Ok(());
        }
        let text = fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        Err(Error::refused(format!("{name} failed; the whole output is in {}\n{}", path.display(), story(&text))))
    }

    /// Saves what the next reader wants to see before the cluster is gone.
    fn keep_evidence(&self) {
        let directory = self.logs.join("cluster-evidence");
        let _ = fs::remove_dir_all(&directory);
        let _ = fs::create_dir_all(&directory);
        let kinds = "pods,pvc,services,statefulsets,jobs,availabilitygroups,failovers,rollingupgrades,leases";
        let objects = ["get", kinds, "-A", "-o", "yaml"];
        let events = ["get", "events", "-A", "--sort-by=.lastTimestamp"];
        let operator = [
            "logs",
            "--namespace",
            product::SYSTEM,
            "--selector=app.kubernetes.io/name=quorate",
            "--tail=-1",
            "--prefix",
        ];
        for (file, arguments) in
            [("objects.yaml", objects.as_slice()), ("events.txt", &events), ("operator.log", &operator)]
        {
            let text = kubectl::output(self.layout, arguments).unwrap_or_else(|error| error.to_string());
            let _ = fs::write(directory.join(file), text);
        }
        let copy = Command::new("cp").arg("--recursive").arg(self.layout.root().join("log")).arg(&directory).status();
        if copy.is_ok() {
            self.progress.say(format!("objects, events and logs are kept in {}", directory.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_test_said_when_it_failed_stands_before_the_summary() {
        let text = "running 1 test\ntest a ...    2.0 s  Ready\n\nthread 'a' panicked at tests/a.rs:1:2:\n3 acknowledged rows are lost\n\
                    note: x\n\npods\nevents\nFAILED\n\nfailures:\n\nfailures:\n    a\n";
        let told = story(text);
        assert!(told.starts_with("thread 'a' panicked at tests/a.rs:1:2:\n3 acknowledged rows are lost\n"), "{told}");
        assert!(told.ends_with("\nfailures:\n    a") && !told.contains("events"), "{told}");
        assert!(story("   Compiling a\nerror[E0308]: mismatched types").contains("E0308"));
    }

    #[test]
    fn results_of_all_binaries_are_summed() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test a_test_that_says_test_result ... ok",
            "test result: FAILED. 12 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
        ] {
            tally.add(line);
        }
        assert_eq!(tally, Tally { passed: 15, failed: 2 });
    }
}
