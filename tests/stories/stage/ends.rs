//! How a story ends: ready within a bound, accounts settled, at rest.

use super::{Stage, clients::Writer, ledger::Told};
use std::{collections::BTreeSet, time::Duration};

/// What was done has come back through the watches.
const ECHO: Duration = Duration::from_secs(10);
/// Whatever is called ready can be read so long after, at most.
const READABLE: Duration = Duration::from_secs(60);
/// A group at rest writes nothing for so long.
const REST: Duration = Duration::from_secs(60);

impl Stage {
    /// The group becomes ready.
    pub async fn becomes_ready(&self) -> Duration {
        self.becomes_ready_within(Duration::from_secs(120)).await
    }

    /// The group becomes ready within a bound; operators whose process ended are started again, as pods are.
    pub async fn becomes_ready_within(&self, bound: Duration) -> Duration {
        self.until("ready", bound, |stage| {
            stage.restart_ended();
            stage.is_ready() && stage.primary() == stage.routed()
        })
        .await
    }

    /// Two replicas without a third voter and without commit quorum: nobody is ever promoted by itself.
    fn leaves_failover_to_people(&self) -> bool {
        let spec = self.spec();
        let number = |value: &serde_json::Value| value.as_u64().unwrap_or_default();
        number(&spec["synchronous"]["replicas"]) + number(&spec["configurationOnly"]["replicas"]) == 2
            && number(&spec["requiredSynchronizedSecondariesToCommit"]) == 0
    }

    /// No operator writes anything for a minute, once the last failover is long enough ago for another one.
    pub async fn rests(&self) {
        let wanted = if self.leaves_failover_to_people() { ("False", "TooFewAnswers") } else { ("True", "Healthy") };
        let wanted = Some((wanted.0.to_owned(), wanted.1.to_owned()));
        self.until("ready for another failover", REST + ECHO, |stage| stage.condition("FailoverReady") == wanted).await;
        self.pass(ECHO).await;
        let from = self.plane.clock.elapsed();
        self.pass(REST).await;
        let mut writes = self.plane.api.writes();
        writes.retain(|write| write.at >= from && !write.lease && is_operator(&write.client));
        self.check(writes.is_empty(), &format!("writes at rest: {writes:#?}"));
        self.check(self.is_ready(), "not ready any more");
    }

    /// The rows of a replica. The status is as old as the last answer of the API server that arrived: a replica may still
    /// be on its way back when it says ready.
    async fn rows_of(&self, pod: &str) -> BTreeSet<i64> {
        let from = self.plane.clock.elapsed();
        loop {
            match self.rows_on(pod).await {
                Ok(rows) => return rows,
                Err(error) if self.plane.clock.elapsed() - from > READABLE => {
                    self.fail(&format!("{pod} cannot be read: {error}"))
                }
                Err(_) => self.pass(super::LOOK).await,
            }
        }
    }

    /// Every acknowledged row is on the primary and on every synchronous replica, and nothing that was refused.
    pub async fn accounts(&self) {
        self.accounts_of(&self.replicas()).await;
    }

    /// The same for these replicas.
    pub async fn accounts_of(&self, pods: &[String]) {
        let acknowledged = self.ledger.rows(Told::Acknowledged);
        if acknowledged.is_empty() {
            return;
        }
        let mut first: Option<BTreeSet<i64>> = None;
        for pod in pods {
            let rows = self.rows_of(pod).await;
            self.ledger.compare(pod, &acknowledged, &rows);
            let same = first.get_or_insert_with(|| rows.clone()) == &rows;
            self.check(same, &format!("{pod} has other rows than the first replica"));
        }
        self.keeps_the_rules();
    }

    /// The whole end: ready within a bound, a row acknowledged, clients stopped, accounts settled, at rest.
    pub async fn ends_well(&self, bound: Duration, writers: Vec<Writer>) {
        let requests = |stage: &Self| stage.plane.api.all("failovers", "shop");
        // Who took the Lease and got no answer does not know that it leads: only a renewal shows that somebody does.
        let renewed = self.renewed();
        let settled = |stage: &Self| {
            stage.restart_ended();
            let names = requests(stage);
            stage.is_led()
                && stage.renewed() != renewed
                && names.iter().all(|request| stage.answer(request["metadata"]["name"].as_str().unwrap()).is_some())
        };
        let took = self.until("an operator leads, every request is answered", bound, settled).await;
        self.pass(Duration::from_secs(2)).await;
        self.becomes_ready_within(bound - took).await;
        if !writers.is_empty() {
            let before = self.ledger.acknowledged();
            let more = |stage: &Self| stage.ledger.acknowledged() > before;
            self.until("a row is acknowledged", Duration::from_secs(15), more).await;
        }
        for writer in writers {
            writer.stop().await;
        }
        self.pass(Duration::from_secs(1)).await;
        self.accounts().await;
        self.rests().await;
    }
}

fn is_operator(client: &str) -> bool {
    client.starts_with("operator-") || client.starts_with("second-")
}
