use super::*;
use crate::{
    decide::Record,
    model::{
        Database, FailoverMode, Fence, FenceState, GroupName, Login as AppLogin, Management, Mode,
        SecondaryConnections, SequenceNumber,
        group::{Failover, Pods},
    },
};

fn replica(text: &str) -> ReplicaName {
    ReplicaName::new(text).unwrap()
}

fn group() -> Group {
    let database = DatabaseName::new("ord]ers").unwrap();
    Group {
        name: GroupName::new("orders").unwrap(),
        namespace: "shop".into(),
        uid: "u".into(),
        generation: 1,
        replicas: [
            (replica("orders-0"), Mode::Synchronous),
            (replica("orders-1"), Mode::Synchronous),
            (replica("orders-c-0"), Mode::ConfigurationOnly),
        ]
        .into(),
        commit_quorum: None,
        databases: vec![Database { name: database.clone(), management: Management::Managed }],
        logins: vec![AppLogin {
            name: LoginName::new("o'shop").unwrap(),
            password_secret: ("shop-db".into(), "password".into()),
            databases: [(database, vec!["db_datareader".into(), "db_datawriter".into()])].into(),
        }],
        secondary_connections: SecondaryConnections::All,
        certificate_rotation: Some("2026-11".into()),
        failover: Failover {
            mode: FailoverMode::Automatic,
            suspect_after: Duration::from_secs(3),
            minimum_interval: Duration::from_secs(60),
        },
        paused: false,
        pods: Pods::default(),
    }
}

fn text(step: &Step) -> String {
    let group = group();
    let (look, act) = (Secret::new("look'pw"), Secret::new("act-pw"));
    let logins = [(LoginName::new("o'shop").unwrap(), Secret::new("s'1"))].into();
    let certificates = BTreeMap::new();
    let context = Context {
        group: &group,
        partners: group.replicas.keys().cloned().collect(),
        certificates: &certificates,
        look: &look,
        act: &act,
        admin: Some(&act),
        logins: &logins,
        random: &|| Secret::new("random-pw"),
    };
    let batches = batches(step, &context).unwrap();
    let show = |batch: &Batch| {
        let inside = batch.database.as_ref().map_or_else(String::new, |database| format!(" in {database}"));
        format!("-- {}{inside}, {} s, {}\n{}\n", batch.login.name(), batch.within.as_secs(), batch.program, batch.text)
    };
    batches.iter().map(show).collect()
}

fn record() -> Record {
    Record::first(replica("orders-0"), 0).settle([replica("orders-1")].into())
}

#[test]
fn an_instance_is_provisioned_in_one_batch_that_may_run_again() {
    insta::assert_snapshot!(text(&Step::Provision(replica("orders-0"))));
}

#[test]
fn two_own_certificates_take_turns_when_one_is_replaced() {
    insta::assert_snapshot!(text(&Step::RotateCertificate(replica("orders-0"))));
}

#[test]
fn a_fence_is_a_trigger_that_knows_the_primary_the_time_and_who_may_pass() {
    let fence = |state| {
        let allowed = [LoginName::new("monitor'ing").unwrap()].into();
        text(&Step::SetFence {
            replica: replica("orders-0"),
            fence: Some(Fence { state, until: 1_800_000_000, allowed }),
            open: state == FenceState::Prepared,
            databases: [DatabaseName::new("ord]ers").unwrap(), DatabaseName::new("o'ther").unwrap()].into(),
        })
    };
    let lifted = Step::SetFence { replica: replica("orders-0"), fence: None, open: true, databases: BTreeSet::new() };
    let ends = Step::EndSessions { replica: replica("orders-1") };
    let all = [fence(FenceState::On), fence(FenceState::Prepared), fence(FenceState::Kept), text(&lifted), text(&ends)];
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn a_partner_is_imported_with_its_public_half() {
    insta::assert_snapshot!(text(&Step::ImportPartner {
        replica: replica("orders-0"),
        partner: replica("orders-1"),
        certificate: "30ab".into(),
    }));
}

#[test]
fn a_certificate_that_is_not_hexadecimal_never_reaches_an_instance() {
    let group = group();
    let secret = Secret::new("");
    let context = Context {
        group: &group,
        partners: BTreeSet::new(),
        certificates: &BTreeMap::new(),
        look: &secret,
        act: &secret,
        admin: None,
        logins: &BTreeMap::new(),
        random: &|| Secret::new(""),
    };
    let step = Step::ImportPartner {
        replica: replica("orders-0"),
        partner: replica("orders-1"),
        certificate: "30; DROP".into(),
    };
    assert_eq!(batches(&step, &context), Err(Unbuildable::NotHex("certificate")));
}

#[test]
fn passwords_are_told_to_every_login_and_which_they_are_comes_last() {
    let step = Step::SetPasswords { replica: replica("orders-1"), version: "sa u/1; operator u/2; o'shop u/3".into() };
    insta::assert_snapshot!(text(&step));
}

#[test]
fn the_group_is_created_with_the_first_primary_first() {
    insta::assert_snapshot!(text(&Step::CreateGroup {
        replica: replica("orders-0"),
        members: group().replicas.into_iter().collect(),
    }));
}

#[test]
fn a_replica_joins_and_may_be_seeded() {
    insta::assert_snapshot!(text(&Step::Join { replica: replica("orders-1"), holds_data: true }));
}

#[test]
fn a_replica_is_added_and_removed_on_the_primary() {
    let (primary, replica) = (replica("orders-0"), replica("orders-c-0"));
    let add = Step::AddReplica { primary: primary.clone(), replica: replica.clone(), mode: Mode::ConfigurationOnly };
    insta::assert_snapshot!(text(&add) + &text(&Step::RemoveReplica { primary, replica }));
}

#[test]
fn a_mode_is_set_on_the_primary_of_this_epoch() {
    let (primary, replica) = (replica("orders-a-0"), replica("orders-a-0"));
    insta::assert_snapshot!(text(&Step::SetMode { primary, replica, mode: Mode::Synchronous, epoch: 7 }));
}

#[test]
fn a_voter_stands_down_unless_connected_or_newer() {
    insta::assert_snapshot!(text(&Step::StandDown {
        replica: replica("orders-1"),
        epoch: 7,
        unless_connected_to: Some(replica("orders-0")),
        admit: [replica("orders-c-0")].into(),
        configuration_only: false,
    }));
}

#[test]
fn a_configuration_only_voter_that_refuses_offline_still_cuts_its_connections() {
    insta::assert_snapshot!(text(&Step::StandDown {
        replica: replica("orders-c-0"),
        epoch: 7,
        unless_connected_to: None,
        admit: [replica("orders-0"), replica("orders-1")].into(),
        configuration_only: true,
    }));
}

#[test]
fn a_follower_admits_its_primary_alone() {
    insta::assert_snapshot!(text(&Step::Follow {
        replica: replica("orders-1"),
        epoch: 7,
        primary: replica("orders-0")
    }));
}

#[test]
fn a_secondary_leaves_its_group_unless_it_follows_or_a_newer_epoch_is_stored() {
    let (replica, primary) = (replica("orders-1"), replica("orders-0"));
    insta::assert_snapshot!(text(&Step::Leave { replica, epoch: 7, primary, configuration_only: false }));
}

#[test]
fn failover_is_guarded_by_epoch_role_number_and_clock() {
    insta::assert_snapshot!(text(&Step::Failover {
        replica: replica("orders-1"),
        epoch: 7,
        number: SequenceNumber::new(2, 5),
        deadline: 123_456,
        force: false,
    }));
}

#[test]
fn a_forced_failover_has_the_same_guards_and_another_verb() {
    let step = |force| Step::Failover {
        replica: replica("orders-1"),
        epoch: 7,
        number: SequenceNumber::new(2, 5),
        deadline: 123_456,
        force,
    };
    let forced = text(&step(true));
    assert!(forced.contains("ALTER AVAILABILITY GROUP [orders] FORCE_FAILOVER_ALLOW_DATA_LOSS;"), "{forced}");
    assert_eq!(forced.replace("FORCE_FAILOVER_ALLOW_DATA_LOSS", "FAILOVER"), text(&step(false)));
}

#[test]
fn only_what_a_forced_failover_left_behind_is_resumed() {
    let (replica, database) = (replica("orders-1"), DatabaseName::new("ord]ers").unwrap());
    insta::assert_snapshot!(text(&Step::Resume { replica, database, epoch: 7 }));
}

#[test]
fn a_settled_election_is_stored_beside_its_epoch() {
    insta::assert_snapshot!(text(&Step::StoreSettled { replica: replica("orders-1"), record: Box::new(record()) }));
}

#[test]
fn the_commit_quorum_is_set_unless_a_newer_epoch_is_stored() {
    insta::assert_snapshot!(text(&Step::SetCommitQuorum { replica: replica("orders-0"), epoch: 7, value: 1 }));
}

#[test]
fn everyone_is_admitted_and_the_endpoint_restarted_on_demand() {
    let replica = replica("orders-0");
    insta::assert_snapshot!(text(&Step::AdmitAll(replica.clone())) + &text(&Step::RestartEndpoint(replica)));
}

#[test]
fn a_database_is_created_and_added_with_a_log_chain() {
    let (replica, database) = (replica("orders-0"), DatabaseName::new("ord]ers").unwrap());
    let create = Step::CreateDatabase { replica: replica.clone(), database: database.clone() };
    insta::assert_snapshot!(text(&create) + &text(&Step::AddDatabase { replica, database }));
}

#[test]
fn a_login_has_one_sid_and_its_users_their_roles() {
    let (replica, login) = (replica("orders-0"), LoginName::new("o'shop").unwrap());
    let ensure = Step::EnsureLogin { replica: replica.clone(), login: login.clone(), sid: Some("0A".repeat(16)) };
    insta::assert_snapshot!(text(&ensure) + &text(&Step::EnsureUsers { replica, login }));
}

#[test]
fn a_batch_does_not_print_its_text() {
    let batch = Batch::new(Login::Admin, "CREATE LOGIN x WITH PASSWORD = N'y'".into());
    assert_eq!(format!("{batch:?}"), "Batch(Admin, 35 bytes)");
}
