//! `quorate script`: runs the T-SQL of a staged upgrade against the promoted stage, in the pod of a Job.

use super::Exit;
use crate::sql::{
    Secret, Tcp,
    script::{self, Order, Script},
};
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

/// Where Kubernetes reads the last words of a container.
const LAST_WORDS: &str = "/dev/termination-log";
/// It reads no more of them, bytes (Kubernetes docs, "Determine the Reason for Pod Failure").
const MOST_LAST_WORDS: usize = 4096;

/// What `script` is told.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Folder with the files, *.sql, run in the order of their names
    #[arg(long, value_name = "FOLDER")]
    folder: PathBuf,
    /// SHA-256 over all files; another one is refused
    #[arg(long, value_name = "HEX")]
    sha256: String,
    /// DNS name of the instance, as its certificate has it
    #[arg(long)]
    host: String,
    /// Its port
    #[arg(long, default_value_t = 1433)]
    port: u16,
    /// PEM file with the authorities that may have signed its certificate
    #[arg(long, value_name = "FILE")]
    authorities: PathBuf,
    /// Login of the run: db_owner there, with VIEW ANY DEFINITION
    #[arg(long)]
    login: String,
    /// File with the login's password
    #[arg(long, value_name = "FILE")]
    password_file: PathBuf,
    /// Database that every file starts in
    #[arg(long)]
    database: String,
    /// Token that the database must have as quorate_barrier
    #[arg(long, value_name = "TOKEN", value_parser = word)]
    barrier: String,
    /// Attempt that the database must have as quorate_stage, as in UID/1
    #[arg(long, value_parser = word)]
    attempt: String,
    /// Token that is left as quorate_script_done after the last file
    #[arg(long, value_name = "TOKEN", value_parser = word)]
    completion: String,
    /// Distributed group that may be there: one from the stage to its own copy for disasters
    #[arg(long, value_name = "NAME")]
    link: Vec<String>,
    /// Seconds for everything
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    timeout: u32,
    /// Seconds for one batch
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    batch_timeout: Option<u32>,
    /// File for the reason of a failure; /dev/termination-log if it is there
    #[arg(long, value_name = "FILE")]
    termination_log: Option<PathBuf>,
}

/// A text that is one word of a journal entry.
fn word(text: &str) -> Result<String, String> {
    let fits = (1..=200).contains(&text.len()) && text.chars().all(|c| c.is_ascii_graphic());
    if fits { Ok(text.into()) } else { Err("it is 1 to 200 ASCII characters without blanks".into()) }
}

/// Runs the script. Progress and, last, the reason of a failure go to standard output.
pub fn run(arguments: &Arguments) -> Exit {
    let (exit, why) = match prepared(arguments) {
        Err(why) => (Exit::Usage, why),
        Ok((script, order)) => match operated(&script, &order) {
            Ok(()) => return Exit::Done,
            Err(why) => (Exit::Failed, why),
        },
    };
    say(&format!("error: {why}"));
    let given = arguments.termination_log.as_deref();
    if let Some(file) = given.or_else(|| Some(Path::new(LAST_WORDS)).filter(|file| file.exists())) {
        let end = why.floor_char_boundary(MOST_LAST_WORDS);
        if let Err(error) = fs::write(file, why.get(..end).unwrap_or_default()) {
            eprintln!("{}: {error}", file.display());
        }
    }
    exit
}

/// Reads every file and checks it. Errors: all that cannot be, a line each.
fn prepared(arguments: &Arguments) -> Result<(Script, Order), String> {
    let script = Script::new(files(&arguments.folder)?).map_err(|faults| {
        let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
        format!("nothing was run: {}", faults.join("\n"))
    })?;
    if !script.sha256.eq_ignore_ascii_case(&arguments.sha256) {
        return Err(format!(
            "nothing was run: {}: the files are not those that the upgrade was started with: their sha256 is {}, not {}",
            arguments.folder.display(),
            script.sha256,
            arguments.sha256
        ));
    }
    let password = fs::read_to_string(&arguments.password_file).map_err(named(&arguments.password_file))?;
    let links: Result<_, _> = arguments.link.iter().cloned().map(TryInto::try_into).collect();
    let order = Order {
        host: arguments.host.clone(),
        port: arguments.port,
        authorities: fs::read(&arguments.authorities).map_err(named(&arguments.authorities))?.into(),
        login: arguments.login.clone(),
        password: Secret::new(password.trim_end_matches(['\r', '\n'])),
        database: arguments.database.clone().try_into().map_err(|error| format!("--database: it {error}"))?,
        barrier: arguments.barrier.clone(),
        attempt: arguments.attempt.clone(),
        completion: arguments.completion.clone(),
        links: links.map_err(|error| format!("--link: it {error}"))?,
        within: Duration::from_secs(arguments.timeout.into()),
        batch_within: arguments.batch_timeout.map(|seconds| Duration::from_secs(seconds.into())),
    };
    Ok((script, order))
}

/// The files of a folder that count. A mounted ConfigMap has them as links into a folder of its own.
fn files(folder: &Path) -> Result<Vec<(String, Vec<u8>)>, String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(named(folder))? {
        let path = entry.map_err(named(folder))?.path();
        let name = path.file_name().unwrap_or_default();
        // A name that is not UTF-8 is refused by its replacement characters.
        let name = name.to_string_lossy().into_owned();
        if script::counts(&name) {
            let bytes = fs::read(&path).map_err(named(&path))?;
            files.push((name, bytes));
        }
    }
    Ok(files)
}

fn named(path: &Path) -> impl Fn(io::Error) -> String {
    move |error| format!("nothing was run: {}: {error}", path.display())
}

fn operated(script: &Script, order: &Order) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("nothing was run: no runtime: {error}"))?;
    let ended = runtime.block_on(operate(script, order));
    // A lookup of a name that hangs must not hold up the end.
    runtime.shutdown_timeout(Duration::from_millis(200));
    ended
}

async fn operate(script: &Script, order: &Order) -> Result<(), String> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let stop = super::run::stop().map_err(|error| format!("nothing was run: signals cannot be heard: {error}"))?;
    script::run(&Tcp, script, order, stop, &mut say).await.map_err(|failed| failed.to_string())
}

/// A line for whoever reads the log of the pod; that nobody does is no reason to stop in the middle.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::os::unix::fs::symlink;

    /// A folder as a mounted ConfigMap is one, with a password and authorities beside it.
    fn mounted(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("script/..2026_01_01");
        fs::create_dir_all(&data).unwrap();
        symlink("..2026_01_01", root.path().join("script/..data")).unwrap();
        for (name, text) in files {
            fs::write(data.join(name), text).unwrap();
            symlink(format!("..data/{name}"), root.path().join("script").join(name)).unwrap();
        }
        fs::write(root.path().join("password"), "pa55 \n").unwrap();
        fs::write(root.path().join("ca.crt"), "authorities").unwrap();
        root
    }

    fn arguments(root: &Path, sha256: &str) -> Arguments {
        #[derive(Parser)]
        struct Only {
            #[command(flatten)]
            arguments: Arguments,
        }
        let path = |name: &str| root.join(name).display().to_string();
        let line = format!(
            "script --folder {} --sha256 {sha256} --host nowhere.invalid --authorities {} --login runner --password-file {} \
             --database shop --barrier b --attempt uid/1 --completion c --timeout 1 --termination-log {}",
            path("script"),
            path("ca.crt"),
            path("password"),
            path("last-words")
        );
        Only::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{error}")).arguments
    }

    #[test]
    fn a_mounted_config_map_is_read_file_by_file() {
        let files = [("b.sql", "SELECT 2"), ("a.sql", "SELECT 1"), ("README", "x")];
        let root = mounted(&files);
        let sha256 = script::sha256(files);
        let (script, order) = prepared(&arguments(root.path(), &sha256.to_uppercase())).unwrap();
        assert_eq!(script.files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), ["a.sql", "b.sql"]);
        assert_eq!(order.password.reveal(), "pa55 ");
        assert_eq!(&*order.authorities, b"authorities");
        assert_eq!((order.port, order.within, order.batch_within), (1433, Duration::from_secs(1), None));
    }

    #[test]
    fn what_cannot_be_run_is_said_in_the_last_words_and_is_no_failure_of_the_run() {
        let root = mounted(&[("a.sql", "SELECT 1\n:r x\n"), ("b.sql", "SELECT '")]);
        assert_eq!(run(&arguments(root.path(), "x")), Exit::Usage);
        let words = fs::read_to_string(root.path().join("last-words")).unwrap();
        assert!(words.starts_with("nothing was run: a.sql:2: :r is a directive of sqlcmd"), "{words}");
        assert!(words.contains("\nb.sql:1: the string that begins here has no end"), "{words}");
        let root = mounted(&[("a.sql", "SELECT 1")]);
        assert_eq!(run(&arguments(root.path(), "x")), Exit::Usage);
        let words = fs::read_to_string(root.path().join("last-words")).unwrap();
        assert!(words.contains("the files are not those that the upgrade was started with"), "{words}");
        fs::remove_file(root.path().join("password")).unwrap();
        let error = prepared(&arguments(root.path(), &script::sha256([("a.sql", "SELECT 1")]))).err().unwrap();
        assert!(error.contains("/password: "), "{error}");
    }

    #[test]
    fn an_instance_that_is_not_there_is_a_failure_of_the_run() {
        let root = mounted(&[("a.sql", "SELECT 1")]);
        let sha256 = script::sha256([("a.sql", "SELECT 1")]);
        assert_eq!(run(&arguments(root.path(), &sha256)), Exit::Failed);
        let words = fs::read_to_string(root.path().join("last-words")).unwrap();
        assert!(words.starts_with("nowhere.invalid, database shop: no connection: "), "{words}");
        assert!(words.ends_with("leaves out what is done."), "{words}");
    }

    #[test]
    fn tokens_are_words() {
        for bad in ["", "a b", "ä", "a\n", &"x".repeat(201)] {
            assert!(word(bad).is_err(), "{bad:?}");
        }
        assert_eq!(word("6f1c-2/1"), Ok("6f1c-2/1".into()));
    }
}
