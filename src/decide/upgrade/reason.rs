//! Every reason of an upgrade.

use serde::{Deserialize, Serialize};
use std::fmt;

crate::decide::reason::reasons! {
    /// Why an upgrade stands where it stands: one word for condition, event, metric label and log line.
    pub enum Reason;

    Checking:
        "Queries only: nothing is changed anywhere.",
        "Looks at both groups, endpoints and script.",
        "Nothing.";
    PreflightFailed:
        "Something that the upgrade needs is not there.",
        "Nothing; looks again every few seconds.",
        "Do what each sentence says.";
    GroupBusy:
        "One of the groups takes part in another upgrade.",
        "Waits until that one is over.",
        "Wait, or delete the other `RollingUpgrade`.";
    Linking:
        "Both groups learn to trust each other, logins are carried over, the link is made.",
        "Production serves as before.",
        "Nothing.";
    Seeding:
        "The databases of production are copied to the stage.",
        "Waits; production serves as before.",
        "Nothing; a large database takes its time.";
    LogHeldBack:
        "Production's log grows because the stage does not take it fast enough.",
        "Drops the link before the log fills its volume; production serves as before.",
        "Find out why the stage is slow or away, then change anything in the spec: another attempt begins.";
    EndpointsMissing:
        "An endpoint has no pods.",
        "Waits.",
        "Deploy the application of the new version; its pods need not be ready yet.";
    NameTaken:
        "The front Service exists and is not this upgrade's.",
        "Leaves it alone.",
        "Choose another `spec.traffic.service`, or delete the Service.";
    AwaitingApproval:
        "A step waits for a person.",
        "Keeps everything ready.",
        "Add the word that is named to `spec.approved`.";
    NotReady:
        "The copy is not as close to production as the switch to read-only asks for, or a transaction has been open for long.",
        "Waits.",
        "Nothing, or end the session that is named.";
    Fencing:
        "Writers are kept out of production, and led to its readable secondaries.",
        "Waits for open transactions, then ends the sessions that are left.",
        "Nothing.";
    Synchronizing:
        "The stage takes the last of production's log; a barrier in each database proves it.",
        "Waits until both sides are level.",
        "Nothing.";
    Terminating:
        "The link is cut and the stage promoted; production stays as it is, read-only.",
        "Looks where it stands before each statement.",
        "Nothing.";
    RunningScript:
        "The script runs on the stage.",
        "Watches its Job.",
        "Nothing; `kubectl logs` of the Job shows how far it is.";
    Verifying:
        "The stage is checked after the script.",
        "Asks each query of `spec.verify`, and waits for the endpoint's pods.",
        "Nothing.";
    Switching:
        "The fence is made lasting, then users are led to the stage in one write.",
        "Reads back where they are led.",
        "Nothing.";
    Switched:
        "Users are on the new version.",
        "Production stays fenced.",
        "Watch the new version; approve Retire when the old one may go.";
    Retired:
        "The old version is not needed any more.",
        "Nothing is deleted that you applied; production's group stays fenced.",
        "Remove the manifests of the old version.";
    Aborted:
        "A person gave up.",
        "Production gets its writers back; the stage is let go.",
        "Nothing.";
    ReadOnlyTooLong:
        "Production was read-only for longer than `spec.readOnly.maximumSeconds`.",
        "Production gets its writers back.",
        "Find out which part took long (`status.readOnly.parts`); make the script faster or allow more time.";
    ScriptWrong:
        "The script cannot be read, or is not the one that the attempt began with.",
        "Before production is read-only it waits; after that it rolls back.",
        "Correct the file that is named.";
    ScriptFailed:
        "The script ended with an error.",
        "Production gets its writers back, the stage is kept as it is; with `onFailure: Pause` it waits, production stays read-only.",
        "Look at the stage and at the Job's log; a corrected script starts over on a fresh copy. When it waits, see `docs/upgrades.md`, \"The script\".";
    VerificationFailed:
        "A query on the stage gave another answer than expected.",
        "Production gets its writers back; the stage is kept as it is.",
        "Look at the stage; correct the script or the query.";
    BarrierMissing:
        "The promoted copy does not show the barrier: something that was acknowledged may be missing there.",
        "Production gets its writers back; nothing is lost.",
        "Report it, with both groups' error logs.";
    LateCommit:
        "Production committed something after the barrier: somebody wrote past the fence.",
        "Users stay on production, which gets its writers back.",
        "Find the login that wrote (`spec.readOnly.allowedLogins` are suspects).";
    StageLost:
        "The stage's group cannot be promoted or used any more.",
        "Production gets its writers back.",
        "Look at the stage's group; start over on a fresh copy.";
    Discarded:
        "A person went back to the old version after the switch (`spec.discardStageWrites`).",
        "Keeps writers out of the stage, opens production as it was at the switch, leads users there.",
        "What was written on the stage since the switch is there, read-only: save what you need.";
    RegionLost:
        "A person made a copy in another region the one that users write to.",
        "Ends the upgrade; a production that was read-only stays so where it comes back.",
        "See `docs/upgrades.md`, \"A region is lost\".";
    RollingBack:
        "Production gets its writers back.",
        "Lifts the fence first of all.",
        "Nothing.";
    RolledBack:
        "Users are on production; nothing was lost that nobody discarded.",
        "Nothing.",
        "See `status.record.failure` for why; correct the script, or the spec, and another attempt begins.";
    Emptying:
        "Something was corrected after an attempt was given up: its copies are taken away from the stage.",
        "Drops the databases of that attempt on the stage's instances, then begins anew.",
        "Nothing; what the stage still holds is named.";
    Unreachable:
        "An instance or the API server does not answer, and it is needed now.",
        "Waits; read-only time goes on until its limit.",
        "Look at the pod that is named.";
}

impl Reason {
    /// Whether its event is a Warning: something went wrong, or a person is asked for.
    pub fn is_warning(self) -> bool {
        matches!(
            self,
            Self::PreflightFailed
                | Self::LogHeldBack
                | Self::NameTaken
                | Self::ReadOnlyTooLong
                | Self::ScriptWrong
                | Self::ScriptFailed
                | Self::VerificationFailed
                | Self::BarrierMissing
                | Self::LateCommit
                | Self::StageLost
                | Self::Discarded
                | Self::RegionLost
        )
    }
}
