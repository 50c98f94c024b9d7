//! What a failed call means for the caller.

/// Why a call to the API server failed, by what may be done about it. Texts name the object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing happened; try again later.
    #[error("{0}")]
    Retry(String),
    /// The server says no: somebody wrote in between, or the object is not as we believe. Look again.
    #[error("{0}")]
    Refused(String),
    /// The outcome is unknown: look before anything else.
    #[error("{0}")]
    Lost(String),
    /// An object of that name belongs to somebody else.
    #[error("{0} exists and is not ours: delete it or rename the group")]
    NameTaken(String),
    /// This process does not lead.
    #[error("not the leader")]
    NotLeader,
}

impl Error {
    /// Sorts an error of the client.
    pub(super) fn from_kube(what: &str, error: kube::Error) -> Self {
        let text = format!("{what}: {error}");
        match &error {
            kube::Error::Api(status) => match status.code {
                429 | 503 => Self::Retry(text),
                500 | 502 | 504 => Self::Lost(text),
                _ => Self::Refused(text),
            },
            kube::Error::Service(_) | kube::Error::HyperError(_) => Self::Lost(text),
            _ => Self::Retry(text),
        }
    }
}
