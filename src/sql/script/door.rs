//! The one session of a run. What a batch left in it, the next one finds; whatever cuts a batch off ends it.

use crate::sql::{
    Dial, Error, Target,
    connect::{Panicked, Session, contained},
};
use std::time::Duration;
use tiberius::{Row, error::TokenError};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout_at},
};

/// An instance that cannot be reached is called again for so long: names of pods take a moment to be known.
const CALLING: Duration = Duration::from_secs(15);
/// Rest between two calls.
const PAUSE: Duration = Duration::from_secs(1);

/// Why a batch has no answer.
pub(super) enum Trouble {
    /// The instance said so.
    Refused(Box<TokenError>),
    /// It was sent, and what became of it is not known: why.
    Lost(String),
}

/// A session with an end.
pub(super) struct Door {
    session: Session,
    until: Until,
}

/// What ends a wait.
#[derive(Clone)]
pub(super) struct Until {
    /// End of all.
    pub deadline: Instant,
    /// Turns true when the process is asked to stop.
    pub stop: watch::Receiver<bool>,
}

impl Until {
    /// What the future gives, or why there was no waiting for it.
    async fn wait<T>(&self, within: Option<Duration>, future: impl Future<Output = T>) -> Result<T, String> {
        let own = within.map(|within| Instant::now() + within).filter(|own| *own < self.deadline);
        let late = if own.is_some() { "the time of a batch is over" } else { "the time of the whole run is over" };
        let mut stop = self.stop.clone();
        tokio::select! {
            answer = timeout_at(own.unwrap_or(self.deadline), contained(future)) => match answer {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(Panicked)) => Err("the driver gave up on what it read".into()),
                Err(_) => Err(late.into()),
            },
            // An error means that nobody can ask any more.
            Ok(_) = stop.wait_for(|stop| *stop) => Err("the process was asked to stop".into()),
        }
    }
}

impl Door {
    /// Connects; tries again for a while where that may help. Errors: why not, as a sentence.
    pub(super) async fn open(dialer: &dyn Dial, target: &Target, until: Until) -> Result<Self, String> {
        let patience = until.deadline.min(Instant::now() + CALLING);
        loop {
            let error = match until.wait(None, Session::open(dialer, target)).await? {
                Ok(session) => return Ok(Self { session, until }),
                Err(error) => error,
            };
            if !error.is_transient() || Instant::now() + PAUSE > patience {
                return Err(match error {
                    Error::Retry(why) => why,
                    other => other.to_string(),
                });
            }
            until.wait(None, sleep(PAUSE)).await?;
        }
    }

    /// Runs a batch to its end and counts the rows of its answer; `first` is given the first one.
    pub(super) async fn run(
        &mut self,
        batch: &str,
        within: Option<Duration>,
        mut first: impl FnMut(Row),
    ) -> Result<u64, Trouble> {
        let mut rows = 0;
        let each = |row| {
            if rows == 0 {
                first(row);
            }
            rows += 1;
        };
        match self.until.wait(within, self.session.stream(batch, each)).await {
            Ok(Ok(())) => Ok(rows),
            Ok(Err(tiberius::error::Error::Server(token))) => Err(Trouble::Refused(Box::new(token))),
            Ok(Err(other)) => Err(Trouble::Lost(other.to_string())),
            Err(why) => Err(Trouble::Lost(why)),
        }
    }
}
