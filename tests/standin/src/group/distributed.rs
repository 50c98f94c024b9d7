//! Distributed availability groups: a group whose two replicas are groups. Each side has a configuration of its own, which
//! only its own statements change; the databases are those of the primary side's group (SQL Server docs, "Distributed
//! availability groups").

use super::{
    config::{Config, Copy, ReplicaConfig},
    forward::change_hands,
    membership,
    roles::{Group, Role},
    sides::{align, change_side, give_up, refresh},
};
use crate::{
    ddl::{GroupOptions, GroupStatement, ReplicaOptions},
    errors::{Message, SqlResult},
    instance::Shared,
    tsql::parse::not_supported,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};
use tokio::time::sleep;

/// 19510
pub fn not_found(name: &str) -> Message {
    let text = format!(
        "Distributed availability group '{name}' not found. Rerun the command with an existing distributed availbility group."
    );
    Message::new(19_510, 16, text)
}

/// 19512
pub fn not_distributed(name: &str) -> Message {
    let text = format!(
        "The requested operation only applies to distributed availability group, and is not supported on the specified availability group '{name}'. Please make sure you are specifying the correct availability group name."
    );
    Message::new(19_512, 16, text)
}

/// 19497
pub fn conflicting() -> Message {
    let text = "Conflicting option spec provided. DISTRIBUTED option cannot be combined with any other availability group options.";
    Message::new(19_497, 16, text)
}

/// CREATE .. WITH (DISTRIBUTED): this side is the primary one. Errors: 19498, 19497, 19509.
pub fn create(
    shared: &Arc<Shared>,
    name: &str,
    exists: bool,
    options: &GroupOptions,
    members: Vec<(String, ReplicaOptions)>,
) -> SqlResult<()> {
    if !options.distributed {
        let text = "To create a distributed availability group, please specify the DISTRIBUTED option.";
        return Err(Message::new(19_498, 16, text));
    }
    if *options != (GroupOptions { distributed: true, ..GroupOptions::default() }) {
        return Err(conflicting());
    }
    if exists {
        let text = format!(
            "Cannot create a distributed availability group '{name}'. An availability group with the same name already exists."
        );
        return Err(Message::new(19_509, 16, text));
    }
    add(shared, name, members, true)
}

/// JOIN: this side is the secondary one. Errors: 19502, 19503, 19506, 19511.
pub fn join(shared: &Arc<Shared>, name: &str, exists: bool, members: Vec<(String, ReplicaOptions)>) -> SqlResult<()> {
    if exists {
        let text = format!(
            "Cannot create a distributed availability replica for availability group '{name}'. An availability replica of the specified availability group already exists on this instance of SQL Server. Verify that the specified availability group name is correct and unique, then retry the operation. To remove the existing availability replica, run DROP AVAILABILITY GROUP command."
        );
        return Err(Message::new(19_502, 16, text));
    }
    add(shared, name, members, false)
}

/// The one of two groups that is here. Errors: 19501, 19507, 41190.
fn local_member(shared: &Shared, name: &str, members: &BTreeMap<String, ReplicaConfig>) -> SqlResult<Arc<Group>> {
    let here: Vec<_> = members.keys().filter_map(|member| shared.group(member)).filter(|g| !g.distributed).collect();
    let [member] = here.as_slice() else {
        let text = "None of the specified availability groups exist locally. Please check your DDL and make sure there is one availability group exist locally.";
        return Err(Message::new(19_501, 16, text));
    };
    let same = |link: &Arc<Group>| link.state().copy.config.replicas.keys().eq(members.keys());
    if shared.links_of(&member.name).iter().any(same) {
        let text = format!(
            "Cannot create a distributed availability replica for availability group '{name}'. There is an already existing distributed availability group on top of the same replicas."
        );
        return Err(Message::new(19_507, 16, text));
    }
    if member.state().role != Role::Primary {
        return Err(member.not_primary("CREATE-AVAILABILITY GROUP"));
    }
    Ok(member.clone())
}

/// What JOIN asks of the group that becomes the secondary side.
fn may_join(name: &str, member: &Arc<Group>, automatic: bool) -> SqlResult<()> {
    let local = &member.name;
    let (databases, granted) = {
        let state = member.state();
        (!state.copy.config.databases.is_empty(), state.copy.may_create_databases)
    };
    if member.forwards.load(Ordering::SeqCst) {
        let text = format!(
            "Cannot create a distributed availability replica for availability group '{name}'. Local availability group is participating in a distributed availability group as secondary."
        );
        return Err(Message::new(19_503, 16, text));
    }
    if databases {
        let text = format!(
            "Cannot join distributed availability group '{name}'. The local availability group '{local}' contains one or more databases. Remove all the databases or create an empty availability group to join a distributed availability group."
        );
        return Err(Message::new(19_511, 16, text));
    }
    if automatic && !granted {
        let text = format!(
            "Local availability replica for availability group '{local}' has not been granted permission to create databases, but has a SEEDING_MODE of AUTOMATIC. Use the ALTER AVAILABILITY GROUP ... GRANT CREATE ANY DATABASE command to allow the creation of databases seeded by the primary availability replica."
        );
        return Err(Message::new(19_506, 16, text));
    }
    Ok(())
}

fn add(shared: &Arc<Shared>, name: &str, given: Vec<(String, ReplicaOptions)>, primary: bool) -> SqlResult<()> {
    let mut members = BTreeMap::new();
    for (member, options) in given {
        // Names are as the groups here have them.
        let own = shared.group(&member).map(|group| group.name.clone());
        members.insert(own.unwrap_or(member.clone()), member_config(shared, &member, &options)?);
    }
    if members.len() != 2 {
        return Err(not_supported("A distributed availability group of anything but two groups"));
    }
    let member = local_member(shared, name, &members)?;
    if !primary {
        let automatic = members.get(&member.name).is_some_and(|own| own.seeding_mode == 0);
        may_join(name, &member, automatic)?;
    }
    if let Some(own) = members.get_mut(&member.name) {
        own.joined = true;
    }
    let config = Config {
        number: 1 << 32 | 1,
        id: shared.uuid(),
        name: name.into(),
        replicas: members,
        databases: BTreeMap::new(),
        commit_quorum: 0,
        db_failover: false,
        failure_condition_level: 0,
        health_check_timeout: 0,
        automated_backup_preference: 0,
        external_lease: false,
        basic: false,
        distributed: true,
        links: BTreeMap::new(),
    };
    shared.add_group(name, Copy { member: Some(member.name.clone()), ..Copy::new(config, primary) })?;
    refresh(shared, &member);
    if !primary {
        change_hands(shared, &member);
    }
    align(shared, &member);
    member.reconcile();
    Ok(())
}

/// A member as CREATE and JOIN describe it. Errors: 19499, 41196.
fn member_config(shared: &Arc<Shared>, name: &str, options: &ReplicaOptions) -> SqlResult<ReplicaConfig> {
    // There is no failover but a forced one: the mode is MANUAL whatever is said.
    let plain = ReplicaOptions { failover_mode: Some("EXTERNAL".into()), ..options.clone() };
    let config = super::valid::replica_config(shared, name, name, &plain)?;
    if config.address().is_none() {
        let text = format!(
            "The specified listener URL '{}' is invalid. Reenter the command specifying the correct URL. For information about specifying the endpoint URL for an availability replica, see SQL Server Books Online.",
            config.endpoint_url
        );
        return Err(Message::new(19_499, 16, text));
    }
    Ok(ReplicaConfig { failover_mode: 1, ..config })
}

/// Statements on a distributed group that is here.
pub async fn alter(shared: &Arc<Shared>, link: &Arc<Group>, statement: GroupStatement) -> SqlResult<()> {
    if statement == GroupStatement::Drop {
        return drop_side(shared, link);
    }
    let member = shared.group(&link.me).filter(|member| member.state().role == Role::Primary);
    let member = member.ok_or_else(|| link.not_primary("ALTER AVAILABILITY GROUP"))?;
    match statement {
        GroupStatement::Failover => Err(Message::new(
            19_504,
            16,
            format!(
                "Cannot failover a distributed availability replica for availability group '{}'. Only force failover is supported in this version of SQL Server.",
                link.name
            ),
        )),
        GroupStatement::ForceFailover => force(shared, link, &member),
        GroupStatement::SetRoleSecondary => {
            step_down(shared, link, &member);
            Ok(())
        }
        GroupStatement::Set(options) => membership::set(shared, link, options).await,
        GroupStatement::ModifyGroups(groups) => modify(link, &member, groups),
        _ => Err(not_supported("This statement on a distributed availability group")),
    }
}

/// MODIFY AVAILABILITY GROUP ON: of this side's own word. Errors: 19508.
fn modify(link: &Arc<Group>, member: &Arc<Group>, groups: Vec<(String, ReplicaOptions)>) -> SqlResult<()> {
    let mut config = link.state().copy.config.clone();
    for (name, options) in groups {
        let Some(found) = config.replicas.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(&name)) else {
            let text = format!(
                "'ALTER AVAILABILITY GROUP MODIFY AVAILABILITY GROUP' command failed. Participant availability replica '{name}' not found in the distributed availability group '{}'.",
                link.name
            );
            return Err(Message::new(19_508, 16, text));
        };
        match options.availability_mode.as_deref() {
            Some("SYNCHRONOUS_COMMIT") => found.1.availability_mode = 1,
            Some("ASYNCHRONOUS_COMMIT") => found.1.availability_mode = 0,
            Some(_) => return Err(not_supported("CONFIGURATION_ONLY in a distributed availability group")),
            None => {}
        }
        membership::apply(&options, found.1);
    }
    {
        let mut state = link.state();
        let replicas = config.replicas;
        if state.role == Role::Primary {
            link.propose(&mut state, |config| {
                config.replicas = replicas;
                Ok(())
            })?;
        } else {
            link.persist(&mut state, |copy| copy.config.replicas = replicas)?;
            state.committed = state.copy.config.clone();
            // What is said here is told in a new session.
            state.again += 1;
        }
    }
    link.drop_sessions();
    member.reconcile();
    Ok(())
}

/// FORCE_FAILOVER_ALLOW_DATA_LOSS: this side becomes the primary one, with everything that is hardened here.
fn force(shared: &Arc<Shared>, link: &Arc<Group>, member: &Arc<Group>) -> SqlResult<()> {
    if link.state().copy.was_primary {
        return Err(Message::new(
            41_122,
            16,
            format!(
                "Cannot failover availability group '{}' to this instance of SQL Server. The local availability replica is already the primary replica of the availability group. To failover this availability group to another instance of SQL Server, run the failover command on that instance of SQL Server. If local instance of SQL Server is intended to host the primary replica of the availability group, then no action is required.",
                link.name
            ),
        ));
    }
    later(shared, link, member, true);
    Ok(())
}

/// SET (ROLE = SECONDARY): nobody is primary until the other side is told to.
fn step_down(shared: &Arc<Shared>, link: &Arc<Group>, member: &Arc<Group>) {
    if link.state().copy.was_primary {
        later(shared, link, member, false);
    }
}

/// The statement returns before the sides change; a later one takes it back.
fn later(shared: &Arc<Shared>, link: &Arc<Group>, member: &Arc<Group>, primary: bool) {
    tracing::info!(group = link.name, primary, "the local side is preparing to change its role (41075)");
    let intent = {
        let mut state = link.state();
        state.intent += 1;
        state.intent
    };
    let (delay, owner) = (shared.role_delay(), shared.clone());
    let (shared, link, member) = (shared.clone(), link.clone(), member.clone());
    owner.spawn(async move {
        sleep(delay).await;
        if link.state().intent != intent {
            return;
        }
        if let Err(error) = change_side(&shared, &link, &member, primary) {
            tracing::error!(group = link.name, %error, "the local side did not change its role (41181)");
        }
    });
}

/// DROP on this instance alone. Of a secondary side the databases are RESTORING then; of a primary one nothing changes.
fn drop_side(shared: &Arc<Shared>, link: &Arc<Group>) -> SqlResult<()> {
    let (primary, local) = {
        let state = link.state();
        (state.copy.was_primary, state.copy.local.iter().cloned().collect::<Vec<_>>())
    };
    link.end();
    let member = shared.group(&link.me);
    // A local secondary has its copies from its own primary: there nothing changes, either.
    let follows = member.as_ref().is_none_or(|member| member.state().role == Role::Secondary);
    if !follows && !primary {
        for name in &local {
            give_up(shared, link, name)?;
        }
    }
    shared.remove_group(&link.name)?;
    if let Some(member) = member {
        refresh(shared, &member);
        if !primary && !follows {
            change_hands(shared, &member);
        }
        member.reconcile();
    }
    Ok(())
}
