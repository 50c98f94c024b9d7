//! The program as a Job runs it: arguments, files, log, last words, exit code, SIGTERM.

use crate::stage::{ATTEMPT, BARRIER, COMPLETION, HERE, PASSWORD, Stage};
use quorate::sql::script;
use std::{
    fs,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Job {
    stage: Stage,
    port: u16,
    root: tempfile::TempDir,
}

/// How the program ended.
struct Exit {
    code: Option<i32>,
    log: String,
    last_words: String,
}

impl Job {
    async fn new(files: &[(&str, &str)]) -> Self {
        let stage = Stage::promoted().await;
        let port = stage.listen().await;
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("script")).unwrap();
        for (name, text) in files {
            fs::write(root.path().join("script").join(name), text).unwrap();
        }
        fs::write(root.path().join("ca.crt"), &stage.authority).unwrap();
        fs::write(root.path().join("password"), PASSWORD).unwrap();
        Self { stage, port, root }
    }

    fn start(&self, files: &[(&str, &str)]) -> Child {
        let path = |name: &str| self.root.path().join(name).display().to_string();
        Command::new(env!("CARGO_BIN_EXE_quorate"))
            .args(["script", "--folder", &path("script"), "--sha256", &script::sha256(files.iter().copied())])
            .args(["--host", HERE, "--port", &self.port.to_string(), "--authorities", &path("ca.crt")])
            .args(["--login", "runner", "--password-file", &path("password"), "--database", "shop"])
            .args(["--barrier", BARRIER, "--attempt", ATTEMPT, "--completion", COMPLETION])
            .args(["--timeout", "60", "--batch-timeout", "50", "--termination-log", &path("last-words")])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    async fn end(&self, program: Child) -> Exit {
        let output = tokio::task::spawn_blocking(|| program.wait_with_output());
        let output = tokio::time::timeout(PATIENCE, output).await.unwrap().unwrap().unwrap();
        let last_words = fs::read_to_string(self.root.path().join("last-words")).unwrap_or_default();
        Exit { code: output.status.code(), log: String::from_utf8(output.stdout).unwrap(), last_words }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_runs_the_files_of_a_folder_and_says_what_it_did() {
    let files = [("a.sql", "INSERT INTO dbo.log (word) VALUES (N'a')\nGO 2\n"), ("b.sql", "-- nothing\n")];
    let job = Job::new(&files).await;
    let exit = job.end(job.start(&files)).await;
    assert_eq!((exit.code, exit.last_words.as_str()), (Some(0), ""), "{}", exit.log);
    assert_eq!(job.stage.words().await, ["a", "a"]);
    assert_eq!(job.stage.property("quorate_script_done").await, COMPLETION);
    let first_words: Vec<_> = exit.log.lines().map(|line| line.split(": ").next().unwrap_or_default()).collect();
    let place = "localhost, database shop";
    assert_eq!(first_words, [place, "a.sql", "a.sql", "a.sql", "b.sql", "b.sql", place], "{}", exit.log);
    assert!(!exit.log.contains(PASSWORD));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reason_of_a_failure_is_the_last_line_of_the_log_and_the_last_words() {
    let files = [("a.sql", "SELECT 1\nGO\nSELECT * FROM dbo.missing\n")];
    let job = Job::new(&files).await;
    let exit = job.end(job.start(&files)).await;
    assert_eq!(exit.code, Some(1), "{}", exit.log);
    assert!(exit.last_words.starts_with("a.sql:3: error 208, "), "{}", exit.last_words);
    assert_eq!(exit.log.lines().last().unwrap(), format!("error: {}", exit.last_words));
    let exit = job.end(job.start(&[("a.sql", "other")])).await;
    assert_eq!(exit.code, Some(2), "{}", exit.log);
    assert!(
        exit.last_words.contains("the files are not those that the upgrade was started with"),
        "{}",
        exit.last_words
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_the_program_and_its_batch() {
    let files = [("a.sql", "INSERT INTO dbo.log (word) VALUES (N'begun'), (N'slow')\nGO\nWAITFOR DELAY '00:00:40'\n")];
    let job = Job::new(&files).await;
    let program = job.start(&files);
    let id = program.id().to_string();
    job.stage.until_running().await;
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let exit = job.end(program).await;
    assert_eq!(exit.code, Some(1), "{}", exit.log);
    assert!(exit.last_words.contains("the process was asked to stop"), "{}", exit.last_words);
}
