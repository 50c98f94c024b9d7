//! What is run in which order: guard, lock, then each file between two entries of the journal, then the completion token.

use super::{
    PROGRAM,
    door::{Door, Trouble, Until},
    failed::{Failed, Reached, rest, said},
    files::{File, Script},
    split::Batch,
    statements,
};
use crate::{
    model::{DatabaseName, GroupName},
    sql::{Dial, Secret, Target},
};
use std::{fmt::Write, sync::Arc, time::Duration};
use tiberius::Row;
use tokio::{sync::watch, time::Instant};

/// Where, as whom, and what must be found there.
#[derive(Clone, Debug)]
pub struct Order {
    /// DNS name that is dialled and that the certificate must carry.
    pub host: String,
    /// Port.
    pub port: u16,
    /// PEM bundle of the authorities that may have signed the certificate.
    pub authorities: Arc<[u8]>,
    /// Login name.
    pub login: String,
    /// Its password.
    pub password: Secret,
    /// Database that every file starts in, and that has the tokens and the journal.
    pub database: DatabaseName,
    /// What [`super::BARRIER`] must be.
    pub barrier: String,
    /// What [`super::STAGE`] must be; no blanks.
    pub attempt: String,
    /// What [`super::DONE`] becomes.
    pub completion: String,
    /// Distributed groups that may be there: those that the stage leads itself, to its own copy for disasters.
    pub links: Vec<GroupName>,
    /// Time for everything.
    pub within: Duration,
    /// Time for one batch. `None`: what is left for everything.
    pub batch_within: Option<Duration>,
}

/// Runs a script; `say` gets a line for each file and each batch. It ends early when `stop` turns true.
///
/// Errors: the first thing that went wrong. Nothing is tried twice but the connection: whoever runs the same attempt again
/// goes on behind the last file that is done, unless one was cut short.
pub async fn run(
    dialer: &dyn Dial,
    script: &Script,
    order: &Order,
    stop: watch::Receiver<bool>,
    say: &mut (dyn FnMut(&str) + Send),
) -> Result<(), Failed> {
    let target = Target {
        key: PROGRAM.into(),
        host: order.host.clone(),
        address: None,
        port: order.port,
        authorities: order.authorities.clone(),
        login: order.login.clone(),
        password: order.password.clone(),
        database: Some(order.database.as_str().into()),
        program: PROGRAM,
        kept: false,
    };
    let until = Until { deadline: Instant::now() + order.within, stop };
    let place = format!("{}, database {}", order.host, order.database);
    let door = Door::open(dialer, &target, until).await.map_err(|why| Failed {
        place: place.clone(),
        what: format!("no connection: {why}"),
        rest: rest(&script.files, Reached::default()),
    })?;
    Run { door, script, order, place, reached: Reached::default(), say }.all().await
}

struct Run<'a> {
    door: Door,
    script: &'a Script,
    order: &'a Order,
    /// The instance and its database.
    place: String,
    reached: Reached,
    say: &'a mut (dyn FnMut(&str) + Send),
}

/// What the journal says of a file.
enum Entry {
    /// Nothing of this attempt.
    New,
    /// It is done.
    Done,
    /// It cannot be run: why.
    Refused(&'static str),
}

impl Run<'_> {
    async fn all(&mut self) -> Result<(), Failed> {
        let script = self.script;
        self.own(&self.place.clone(), &statements::open(self.order)).await?;
        (self.say)(&format!("{}: {} files, sha256 {}", self.place, script.files.len(), script.sha256));
        for file in &script.files {
            self.file(file).await?;
            self.reached = Reached { files: self.reached.files + 1, ..Reached::default() };
        }
        self.own(&self.place.clone(), &statements::finished(self.order)).await?;
        (self.say)(&format!("{}: all files are done", self.place));
        Ok(())
    }

    async fn file(&mut self, file: &File) -> Result<(), Failed> {
        let began = Instant::now();
        let entry = self.own(&file.name, &statements::look(self.order, &file.name)).await?;
        match read(&entry, &self.order.attempt, &file.sha256) {
            Entry::New => {}
            Entry::Done => {
                (self.say)(&format!("{}: done by an earlier run of this attempt, left out", file.name));
                return Ok(());
            }
            Entry::Refused(why) => {
                self.reached.spoilt = true;
                return Err(self.failed(file.name.clone(), why.into()));
            }
        }
        (self.say)(&format!("{}: {} batches, sha256 {}", file.name, file.batches.len(), file.sha256));
        self.own(&file.name, &statements::started(self.order, &file.name, &file.sha256)).await?;
        self.reached.started = true;
        for batch in &file.batches {
            self.batch(file, batch).await?;
            self.reached.batches += 1;
        }
        self.own(&file.name, &statements::done(self.order, &file.name, &file.sha256)).await?;
        (self.say)(&format!("{}: done in {:.2} s", file.name, began.elapsed().as_secs_f64()));
        Ok(())
    }

    async fn batch(&mut self, file: &File, batch: &Batch) -> Result<(), Failed> {
        let (began, mut rows) = (Instant::now(), 0);
        let (number, all) = (self.reached.batches + 1, file.batches.len());
        for time in 1..=batch.times {
            let turn = if batch.times > 1 { format!(", time {time} of {}", batch.times) } else { String::new() };
            let which = format!("batch {number} of {all}, lines {} to {}{turn}", batch.first, batch.last);
            match self.door.run(&batch.text, self.order.batch_within, |_| {}).await {
                Ok(more) => rows += more,
                Err(Trouble::Refused(token)) => {
                    // In a procedure the line is one of its own text.
                    let line = if token.procedure().is_empty() { token.line().saturating_sub(1) } else { 0 };
                    let place = format!("{}:{}", file.name, batch.first.saturating_add(line));
                    return Err(self.failed(place, format!("{} ({which})", said(&token))));
                }
                Err(Trouble::Lost(why)) => {
                    let place = format!("{}:{}", file.name, batch.first);
                    let what = format!(
                        "the connection was closed while this was running, and what it did is not known: {which}: {why}"
                    );
                    return Err(self.failed(place, what));
                }
            }
        }
        let mut line = format!("{}: batch {number} of {all}, lines {} to {}", file.name, batch.first, batch.last);
        if batch.times > 1 {
            let _ = write!(line, ", {} times", batch.times);
        }
        if rows > 0 {
            let _ = write!(line, ", {rows} rows came back");
        }
        (self.say)(&format!("{line}: {:.2} s", began.elapsed().as_secs_f64()));
        Ok(())
    }

    /// Runs a batch of the runner's own: the first value of its only row.
    async fn own(&mut self, place: &str, batch: &str) -> Result<String, Failed> {
        let mut answer = None;
        let take = |row: Row| answer = row.try_get::<&str, _>(0).ok().flatten().map(str::to_owned);
        let what = match self.door.run(batch, None, take).await {
            Ok(_) => match answer {
                Some(answer) => return Ok(answer),
                None => "the session executes nothing: SET NOEXEC, PARSEONLY or FMTONLY was left on, and what stood \
                         behind it was not executed. Turn it off in the same file"
                    .into(),
            },
            Err(Trouble::Refused(token)) => said(&token),
            Err(Trouble::Lost(why)) => format!("no answer between two batches: {why}"),
        };
        Err(self.failed(place.into(), what))
    }

    fn failed(&self, place: String, what: String) -> Failed {
        Failed { place, what, rest: rest(&self.script.files, self.reached) }
    }
}

/// Reads a journal entry; those of other attempts came with the copy and mean nothing.
fn read(entry: &str, attempt: &str, sha256: &str) -> Entry {
    let mut words = entry.split(' ');
    if words.next() != Some(attempt) {
        return Entry::New;
    }
    match (words.next(), words.next()) {
        (Some(hash), Some("done")) if hash == sha256 => Entry::Done,
        (_, Some("done")) => Entry::Refused("it was changed after this attempt had run it"),
        _ => Entry::Refused(
            "an earlier run of this attempt was cut short in it: which of its batches took effect is not known",
        ),
    }
}
