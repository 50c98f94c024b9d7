//! One lab per machine: the lock names who holds it.

use std::fs::{self, File, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::error::{AtPath as _, Error, Result};

/// Held for as long as the value lives; the kernel lets go of it when the process dies.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

pub(crate) fn path() -> PathBuf {
    PathBuf::from("/run/quorate-lab.lock")
}

impl Lock {
    pub(crate) fn take(path: &Path, command: &str) -> Result<Self> {
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path).at(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::refused(held_by(path))),
            Err(TryLockError::Error(source)) => return Err(Error::File { path: path.to_path_buf(), source }),
        }
        file.set_len(0).at(path)?;
        writeln!(file, "{} {} {command}", std::process::id(), jiff::Zoned::now().strftime("%H:%M:%S")).at(path)?;
        Ok(Self { file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.file.set_len(0);
        let _ = self.file.unlock();
    }
}

fn held_by(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let mut parts = text.trim().splitn(3, ' ');
    let (pid, since, command) = (parts.next(), parts.next(), parts.next());
    match (pid, since, command) {
        (Some(pid), Some(since), Some(command)) => format!(
            "the lab is in use: `lab {command}`, process {pid}, since {since}; there is one lab per machine, so wait for it or end that process"
        ),
        _ => format!("the lab is in use by another command ({} is locked)", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_taker_is_told_who_was_first_and_gets_it_afterwards() {
        let path = std::env::temp_dir().join(format!("quorate-lab-lock-{}", std::process::id()));
        let first = Lock::take(&path, "up").unwrap();
        let refusal = Lock::take(&path, "down").unwrap_err().to_string();
        assert!(refusal.contains("`lab up`"), "{refusal}");
        assert!(refusal.contains(&format!("process {}", std::process::id())), "{refusal}");
        drop(first);
        drop(Lock::take(&path, "down").unwrap());
        fs::remove_file(&path).unwrap();
    }
}
