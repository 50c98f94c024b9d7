//! The availability tables (promotion.md 7) on the cluster: `cargo lab test --long`. What is out is frozen, each cell on the
//! group that the one before left; clients write through the Service.

use std::thread::sleep;
use std::time::Duration;

use crate::shop::*;
use crate::support::*;

/// Longest time until the engine has noticed silence (session timeout 10 s), and Quorate has acted on it.
const NOTICED: u64 = 40;
/// A write that is not acknowledged for so long is blocked.
const BLOCKED: Duration = Duration::from_secs(15);

/// What is seen once somebody is out.
#[derive(Clone, Copy, Debug, PartialEq)]
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

/// Who is out.
#[derive(Clone, Copy, Debug)]
enum Out {
    Primary,
    Secondary,
    Witness,
    AllButPrimary,
}

/// A group that is Ready, of so many synchronous replicas, with or without a configuration-only one.
struct Table {
    pods: Vec<&'static str>,
    _namespace: Namespace,
    _healed: Healed,
}

impl Table {
    fn new(replicas: usize, witness: bool) -> Self {
        let guards = (Namespace::new(NAMESPACE), Healed);
        let manifest = manifest().replace("{replicas: 3}", &format!("{{replicas: {replicas}}}"));
        // A failover after the other is what a table asks for.
        let spec = "\n  failover: {minimumIntervalSeconds: 0}";
        let witness = if witness { "\n  configurationOnly: {replicas: 1}" } else { "" };
        apply(&format!("{}{spec}{witness}\n", manifest.trim_end()));
        wait_for_condition(180, &GROUP, "Ready", "True");
        let pods = ["orders-0", "orders-1", "orders-2"].into_iter().take(replicas);
        let pods = pods.chain((!witness.is_empty()).then_some("orders-c-0")).collect();
        Self { pods, _namespace: guards.0, _healed: guards.1 }
    }

    fn quorum(&self, value: u64) {
        patch(&format!("{{\"requiredSynchronizedSecondariesToCommit\":{value}}}"));
        wait_until(120, &format!("commit quorum {value}"), || {
            let group = try_group()?;
            let there = text(&group, "/status/quorum") == value.to_string() && condition(&group, "Ready") == "True";
            if there { Ok(()) } else { Err(group["status"].to_string()) }
        });
    }

    fn who(&self, out: Out, primary: &str) -> Vec<&'static str> {
        let others = self.pods.iter().copied().filter(|pod| *pod != primary);
        match out {
            Out::Primary => self.pods.iter().copied().filter(|pod| *pod == primary).collect(),
            Out::Secondary => others.filter(|pod| *pod != "orders-c-0").take(1).collect(),
            Out::Witness => vec!["orders-c-0"],
            Out::AllButPrimary => others.collect(),
        }
    }

    fn cell(&self, quorum: u64, out: Out, seen: Seen) {
        let name = format!("{out:?} out of {:?} with commit quorum {quorum}: {seen:?}", self.pods);
        println!("{name}");
        self.quorum(quorum);
        let primary = text(&group(), "/status/primary").to_owned();
        let mut writer = Some(Writer::start());
        if seen == Seen::ReadOnly {
            // A client that waits for its commit would keep readers of the same rows waiting.
            writer.take().unwrap().finish(&name);
        }
        let mut frozen = self.who(out, &primary);
        frozen.iter().for_each(|pod| fault("freeze", NAMESPACE, pod));
        self.expect(seen, &primary, writer.as_ref());
        if matches!(seen, Seen::Written | Seen::Refused | Seen::ReadOnly) {
            let last = self.who(Out::Primary, &primary);
            last.iter().for_each(|pod| fault("freeze", NAMESPACE, pod));
            frozen.extend(last);
            nobody_is_promoted();
        }
        frozen.iter().for_each(|pod| fault("thaw", NAMESPACE, pod));
        wait_for_condition(300, &GROUP, "Ready", "True");
        if let Some(writer) = writer {
            writer.wait_for_more("writes with everybody back");
            writer.finish(&name);
        }
        sql("orders", "DROP TABLE dbo.ledger");
    }

    fn expect(&self, seen: Seen, primary: &str, writer: Option<&Writer>) {
        match seen {
            Seen::Moved => {
                wait_for_another_primary(primary);
                writer.unwrap().wait_for_more("writes on the new primary");
            }
            Seen::MovedAndBlocked => {
                wait_for_another_primary(primary);
                says("Available", "False", "CommitQuorumLost");
                is_blocked(writer.unwrap());
                assert!(read().is_err_and(|error| error.contains("988")), "{:?}", read());
            }
            Seen::Written => {
                says("FailoverReady", "False", "TooFewAnswers");
                sleep(Duration::from_secs(15));
                writer.unwrap().wait_for_more("writes go on");
                says("Available", "True", "Healthy");
            }
            Seen::Refused => {
                says("Available", "False", "CommitQuorumLost");
                is_blocked(writer.unwrap());
                assert!(read().is_err_and(|error| error.contains("988")), "{:?}", read());
            }
            Seen::ReadOnly => {
                says("Available", "False", "ConfigurationQuorumLost");
                assert!(read().is_ok(), "{:?}", read());
            }
            Seen::Nobody => nobody_is_promoted(),
        }
    }
}

/// What a reader gets who follows the Service for writers.
fn read() -> Result<String, String> {
    try_sql_as(("sa", &password()), "orders", "SELECT COUNT(*) FROM dbo.ledger")
}

fn says(kind: &str, status: &str, wanted: &str) {
    wait_until(NOTICED, &format!("{kind}={status}: {wanted}"), || {
        let group = try_group()?;
        let there = condition(&group, kind) == status && reason(&group, kind) == wanted;
        if there { Ok(()) } else { Err(group["status"].to_string()) }
    });
}

fn is_blocked(writer: &Writer) {
    // What was on its way when the condition changed has had its answer.
    sleep(Duration::from_secs(2));
    let before = writer.acknowledged();
    sleep(BLOCKED);
    assert_eq!(writer.acknowledged(), before, "a row was acknowledged");
}

fn nobody_is_promoted() {
    says("FailoverBlocked", "True", "TooFewAnswers");
    let before = epoch(&group());
    sleep(Duration::from_secs(30));
    let group = group();
    assert_eq!(epoch(&group), before, "{}", group["status"]);
    let told = group["status"].to_string();
    assert!(told.contains(" sequence numbers seen") && told.contains("silent since"), "{told}");
}

#[test]
#[ignore = "needs the lab"]
fn three_synchronous_replicas() {
    let table = Table::new(3, false);
    table.cell(0, Out::Primary, Seen::Moved);
    table.cell(1, Out::Primary, Seen::Moved);
    table.cell(2, Out::Primary, Seen::MovedAndBlocked);
    table.cell(0, Out::Secondary, Seen::Written);
    table.cell(1, Out::Secondary, Seen::Written);
    table.cell(2, Out::Secondary, Seen::Refused);
    table.cell(0, Out::AllButPrimary, Seen::ReadOnly);
    table.cell(1, Out::AllButPrimary, Seen::Refused);
    table.cell(2, Out::AllButPrimary, Seen::Refused);
}

#[test]
#[ignore = "needs the lab"]
fn two_synchronous_replicas() {
    let table = Table::new(2, false);
    table.cell(0, Out::Primary, Seen::Nobody);
    table.cell(1, Out::Primary, Seen::MovedAndBlocked);
    table.cell(0, Out::Secondary, Seen::Written);
    table.cell(1, Out::Secondary, Seen::Refused);
}

/// Commit quorum 1 is refused beside a configuration-only replica (47108); the other reading is told in the stories.
#[test]
#[ignore = "needs the lab"]
fn two_synchronous_replicas_and_a_configuration_only_one() {
    let table = Table::new(2, true);
    table.cell(0, Out::Primary, Seen::Moved);
    table.cell(0, Out::Secondary, Seen::Written);
    table.cell(0, Out::Witness, Seen::Written);
    table.cell(0, Out::AllButPrimary, Seen::ReadOnly);
    patch("{\"requiredSynchronizedSecondariesToCommit\":1}");
    says("CommitQuorumMet", "False", "Refused");
}
