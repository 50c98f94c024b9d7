//! What can go wrong in the lab, said in words its user can act on.

use std::io;
use std::path::{Path, PathBuf};

pub(crate) type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The request makes no sense or cannot be granted now; the text says what to do instead.
    #[error("{0}")]
    Refused(String),
    #[error("{path}: {source}", path = .path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("cannot run {program}: {source}")]
    Start { program: String, source: io::Error },
    #[error("{command} failed ({status}){detail}")]
    Command { command: String, status: String, detail: String },
    #[error("gave up waiting for {what} after {seconds} s; last seen: {seen}")]
    Timeout { what: String, seconds: u64, seen: String },
    #[error("unexpected answer from {what}: {source}")]
    Json { what: String, source: serde_json::Error },
    #[error("cannot make certificates: {0}")]
    Certificates(#[from] rcgen::Error),
}

impl Error {
    pub(crate) fn refused(text: impl Into<String>) -> Self {
        Self::Refused(text.into())
    }
}

/// Names the file in an input or output error.
pub(crate) trait AtPath<T> {
    fn at(self, path: &Path) -> Result<T>;
}

impl<T> AtPath<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T> {
        self.map_err(|source| Error::File { path: path.to_path_buf(), source })
    }
}
