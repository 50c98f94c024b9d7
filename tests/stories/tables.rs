//! The availability tables (promotion.md 7): each cell is a story. What is out loses its power and stays away; clients write
//! through the Service and read from whoever is left.

use crate::stage::{Setup, Stage, clients::Writer, seconds, with_each_engine};
use serde_json::json;
use standin::faults::{FailoverEngine, Switches};
use std::time::Duration;

const OFTEN: Duration = Duration::from_millis(50);
/// The session timeout, its grain, `suspectAfterSeconds`, the election, and what kubelets and clients add.
const LOST: Duration = Duration::from_secs(10 + 1 + 3 + 6);
/// A write that is not acknowledged for so long is blocked.
const BLOCKED: Duration = Duration::from_secs(15);

/// Replicas of a group: synchronous ones, and whether there is a configuration-only one.
type Topology = (u64, bool);
const THREE: Topology = (3, false);
const TWO: Topology = (2, false);
const TWO_AND_A_WITNESS: Topology = (2, true);

/// What is seen once somebody is out.
#[derive(Clone, Copy, PartialEq)]
enum Seen {
    /// Another primary takes over and is written.
    Moved,
    /// Another primary takes over and answers 988 until the old one is back as a secondary.
    MovedAndBlocked,
    /// Writes go on; nobody is promoted if the primary is lost, too.
    Written,
    /// Every access gets 988; nobody is promoted if the primary is lost, too.
    Refused,
    /// Reads go on, writes wait; nobody is promoted if the primary is lost, too.
    ReadOnly,
    /// No primary, and nobody is promoted.
    Nobody,
}

/// A group, a client that writes, and who is out.
struct Table {
    stage: Stage,
    client: Option<Writer>,
    out: Vec<String>,
}

impl Table {
    async fn new(seed: u64, (replicas, witness): Topology, quorum: u64, engine: FailoverEngine) -> Self {
        let accepted = |switches: &mut Switches| switches.commit_quorum_beside_configuration_only = true;
        let setup = Setup::new(seed).engine(engine).switch(accepted).spec(|spec| {
            spec["synchronous"]["replicas"] = replicas.into();
            spec["configurationOnly"] = json!({ "replicas": u64::from(witness) });
            spec["requiredSynchronizedSecondariesToCommit"] = quorum.into();
        });
        let stage = Stage::ready(setup).await;
        let client = Some(stage.client(1, OFTEN));
        let table = Self { stage, client, out: vec![] };
        table.is_written().await;
        table
    }

    /// All of them at once.
    async fn out(&mut self, pods: &[&str]) {
        for pod in pods {
            let node = self.stage.node_of(pod).unwrap();
            self.stage.node_off(&node);
            self.out.push(node);
        }
        self.stage.pass(LOST).await;
    }

    async fn back(&mut self) {
        for node in std::mem::take(&mut self.out) {
            self.stage.node_on(&node);
        }
        self.is_written().await;
    }

    fn acknowledged(&self) -> usize {
        self.stage.ledger.acknowledged()
    }

    async fn is_written(&self) {
        let before = self.acknowledged();
        self.stage.until("rows are acknowledged", seconds(60), |_| self.acknowledged() > before + 10).await;
    }

    async fn is_blocked(&self) {
        let before = self.acknowledged();
        self.stage.pass(BLOCKED).await;
        self.stage.check(self.acknowledged() == before, "a row was acknowledged");
    }

    async fn is_read(&self, pod: &str) {
        let rows = self.stage.rows_on(pod).await;
        self.stage.check(rows.is_ok_and(|rows| !rows.is_empty()), &format!("{pod} cannot be read"));
    }

    /// A client that waits for its commit would keep readers of the same rows waiting.
    async fn nobody_writes(&mut self) {
        self.client.take().unwrap().stop().await;
    }

    fn somebody_writes(&mut self) {
        self.client = Some(self.stage.client(2, OFTEN));
    }

    /// Below the commit quorum a database answers nobody.
    async fn is_refused(&self, pod: &str) {
        let number = self.stage.rows_on(pod).await.err().and_then(|error| error.number());
        self.stage.check(number == Some(988), &format!("{pod} answers {number:?}"));
    }

    fn says(&self, kind: &str, status: &str, reason: &str) {
        let seen = self.stage.condition(kind);
        let wanted = Some((status.to_owned(), reason.to_owned()));
        self.stage.check(seen == wanted, &format!("{kind} is {seen:?}, not {wanted:?}"));
    }

    /// A failover happened by itself.
    fn moved(&self) {
        let primary = self.stage.primary();
        self.stage.check(primary != "orders-0" && primary == self.stage.routed(), "nobody was promoted");
    }

    /// Nobody was promoted, and the status says what is missing.
    async fn nobody_is_promoted(&self) {
        let epoch = self.stage.election()["epoch"].clone();
        self.stage.pass(seconds(60)).await;
        self.stage.check(self.stage.election()["epoch"] == epoch, "an election was opened");
        self.says("FailoverBlocked", "True", "TooFewAnswers");
        self.says("Available", "False", "NoPrimary");
        let told = self.stage.group()["status"]["conditions"].to_string();
        self.stage.check(told.contains(" sequence numbers seen") && told.contains("silent since"), &told);
    }

    /// Everybody is back, and nothing is lost.
    async fn ends_well(mut self) {
        self.back().await;
        self.stage.ends_well(seconds(120), self.client.into_iter().collect()).await;
    }
}

async fn cell(seed: u64, topology: Topology, quorum: u64, out: &[&str], seen: Seen, engine: FailoverEngine) {
    let mut table = Table::new(seed, topology, quorum, engine).await;
    if seen == Seen::ReadOnly {
        table.nobody_writes().await;
    }
    table.out(out).await;
    match seen {
        Seen::Moved => {
            table.moved();
            table.is_written().await;
        }
        Seen::MovedAndBlocked => {
            table.moved();
            table.is_blocked().await;
            table.is_refused(&table.stage.primary()).await;
            table.says("Available", "False", "CommitQuorumLost");
        }
        Seen::Written => {
            table.is_written().await;
            table.says("Available", "True", "Healthy");
            table.says("FailoverReady", "False", "TooFewAnswers");
        }
        Seen::Refused => {
            table.is_blocked().await;
            table.is_refused("orders-0").await;
            table.says("Available", "False", "CommitQuorumLost");
        }
        Seen::ReadOnly => {
            table.is_read("orders-0").await;
            table.somebody_writes();
            table.is_blocked().await;
            table.says("Available", "False", "ConfigurationQuorumLost");
        }
        Seen::Nobody => table.nobody_is_promoted().await,
    }
    if matches!(seen, Seen::Written | Seen::Refused | Seen::ReadOnly) {
        table.out(&["orders-0"]).await;
        table.nobody_is_promoted().await;
    }
    table.ends_well().await;
}

macro_rules! cells {
    ($($name:ident: $topology:expr, quorum $quorum:literal, out $out:expr => $seen:expr, seed $seed:literal;)+) => {
        $(
            #[test]
            fn $name() {
                with_each_engine(|engine| cell($seed, $topology, $quorum, &$out, $seen, engine));
            }
        )+
    };
}

cells! {
    three_0_primary_out: THREE, quorum 0, out ["orders-0"] => Seen::Moved, seed 101;
    three_1_primary_out: THREE, quorum 1, out ["orders-0"] => Seen::Moved, seed 102;
    three_2_primary_out: THREE, quorum 2, out ["orders-0"] => Seen::MovedAndBlocked, seed 103;
    three_0_secondary_out: THREE, quorum 0, out ["orders-2"] => Seen::Written, seed 104;
    three_1_secondary_out: THREE, quorum 1, out ["orders-2"] => Seen::Written, seed 105;
    three_2_secondary_out: THREE, quorum 2, out ["orders-2"] => Seen::Refused, seed 106;
    three_0_both_secondaries_out: THREE, quorum 0, out ["orders-1", "orders-2"] => Seen::ReadOnly, seed 107;
    three_1_both_secondaries_out: THREE, quorum 1, out ["orders-1", "orders-2"] => Seen::Refused, seed 108;
    three_2_both_secondaries_out: THREE, quorum 2, out ["orders-1", "orders-2"] => Seen::Refused, seed 109;

    two_0_primary_out: TWO, quorum 0, out ["orders-0"] => Seen::Nobody, seed 111;
    two_1_primary_out: TWO, quorum 1, out ["orders-0"] => Seen::MovedAndBlocked, seed 112;
    two_0_secondary_out: TWO, quorum 0, out ["orders-1"] => Seen::Written, seed 113;
    two_1_secondary_out: TWO, quorum 1, out ["orders-1"] => Seen::Refused, seed 114;

    witness_0_primary_out: TWO_AND_A_WITNESS, quorum 0, out ["orders-0"] => Seen::Moved, seed 121;
    witness_1_primary_out: TWO_AND_A_WITNESS, quorum 1, out ["orders-0"] => Seen::MovedAndBlocked, seed 122;
    witness_0_secondary_out: TWO_AND_A_WITNESS, quorum 0, out ["orders-1"] => Seen::Written, seed 123;
    witness_1_secondary_out: TWO_AND_A_WITNESS, quorum 1, out ["orders-1"] => Seen::Refused, seed 124;
    witness_0_witness_out: TWO_AND_A_WITNESS, quorum 0, out ["orders-c-0"] => Seen::Written, seed 125;
    witness_1_witness_out: TWO_AND_A_WITNESS, quorum 1, out ["orders-c-0"] => Seen::Written, seed 126;
    witness_0_both_out: TWO_AND_A_WITNESS, quorum 0, out ["orders-1", "orders-c-0"] => Seen::ReadOnly, seed 127;
    witness_1_both_out: TWO_AND_A_WITNESS, quorum 1, out ["orders-1", "orders-c-0"] => Seen::Refused, seed 128;
}

#[tokio::test(start_paused = true)]
async fn when_every_replica_restarts_a_majority_elects_and_nothing_is_lost() {
    let table = Table::new(110, THREE, 1, FailoverEngine::Local).await;
    for pod in table.stage.replicas() {
        table.stage.kill(&pod);
    }
    table.is_written().await;
    table.ends_well().await;
}
