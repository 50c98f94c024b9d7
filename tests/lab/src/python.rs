//! Python with database clients that nobody here wrote; they try the stand-in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::binaries::fingerprint;
use crate::error::{AtPath as _, Result};
use crate::progress::Progress;
use crate::{packages, shell};

/// The clients and all that they need, each at one version.
const REQUIREMENTS: &str = include_str!("../../standin/tests/clients/requirements.txt");
/// Fails unless both clients work here. The ODBC driver is loaded at the first connection only, and says no more than that
/// it could not be.
const TRY: &str = "
import ctypes, pathlib, mssql_python, mssql_python_odbc, pymssql
drivers = pathlib.Path(mssql_python_odbc.__file__).parent.glob('libs/linux/debian_ubuntu/*/lib/libmsodbcsql*')
assert [ctypes.CDLL(str(driver)) for driver in drivers], 'no ODBC driver'
";
/// What the ODBC driver is linked with.
const LIBRARIES: [&str; 3] = ["libltdl7", "libkrb5-3", "libgssapi-krb5-2"];

/// The interpreter of a virtual environment with the clients in it, made if need be.
pub(crate) fn interpreter(cache: &Path, progress: Progress) -> Result<PathBuf> {
    let hash = fingerprint([("requirements", REQUIREMENTS.as_bytes()), ("try", TRY.as_bytes())]);
    let directory = cache.join(format!("python-{hash}"));
    let interpreter = directory.join("bin/python");
    let done = directory.join("done");
    let works = || shell::output(Command::new(&interpreter).args(["-c", TRY]));
    if !done.exists() {
        progress.say("installing Python clients");
        environment(&directory, progress)?;
        let file = directory.join("requirements.txt");
        fs::write(&file, REQUIREMENTS).at(&file)?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--requirement"];
        shell::output(Command::new(&interpreter).args(pip).arg(&file))?;
        fs::write(&done, "").at(&done)?;
    }
    // The cache may be older than the machine.
    if works().is_err() {
        packages::install(&LIBRARIES, progress)?;
        works()?;
    }
    Ok(interpreter)
}

fn environment(directory: &Path, progress: Progress) -> Result<()> {
    let make = || {
        let _ = fs::remove_dir_all(directory);
        shell::output(Command::new("python3").args(["-m", "venv"]).arg(directory))
    };
    if make().is_err() {
        packages::install(&["python3-venv"], progress)?;
        make()?;
    }
    Ok(())
}
