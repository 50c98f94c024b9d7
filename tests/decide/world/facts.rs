//! What a probe of one instance reads.

use super::*;

impl World {
    pub(super) fn ticks(&self) -> i64 {
        self.clock.as_millis() as i64
    }

    pub(super) fn facts(&self, who: &ReplicaName) -> Facts {
        let instance = &self.instances[who];
        let partners = instance
            .partners
            .iter()
            .map(|(p, admitted)| (p.clone(), Partner { certificate: Some(format!("cert-{p}")), admitted: *admitted }));
        let databases = instance.databases.iter().map(|d| {
            let in_group = instance.copy.as_ref().is_some_and(|c| c.databases.contains(d));
            (
                d.clone(),
                DatabaseFacts { state: "ONLINE".into(), full_recovery: true, in_group, log_chain: true, users: None },
            )
        });
        Facts {
            server: Server {
                name: who.to_string(),
                version: "16.0.4225.2".into(),
                edition: "Developer".into(),
                hadr_enabled: true,
                ticks: self.ticks(),
            },
            setup: Setup {
                certificate: instance.provisioned.then(|| format!("cert-{who}")),
                partners: partners.collect(),
                rotation: String::new(),
                endpoint_started: instance.provisioned.then_some(true),
            },
            stored: Stored { epoch: instance.epoch, settled: instance.settled.clone(), passwords: None },
            group: instance.copy.as_ref().map(|copy| self.group_facts(who, copy)),
            databases: databases.collect(),
            logins: BTreeMap::new(),
            fence: None,
        }
    }

    pub(super) fn group_facts(&self, who: &ReplicaName, copy: &Copy) -> GroupFacts {
        let follower = |n: &ReplicaName| self.connected(n).as_ref() == Some(who);
        let members = copy
            .members
            .iter()
            .map(|(n, m)| (n.clone(), Member { mode: *m, connected: copy.role == Role::Primary && follower(n) }));
        let remote =
            |n: &ReplicaName| copy.role == Role::Primary && n != who && copy.synchronized.contains(n) && follower(n);
        let databases = copy.databases.iter().map(|d| {
            let remote = copy.members.keys().filter(|n| remote(n)).map(|n| (n.clone(), SYNCHRONIZED.into())).collect();
            let local = if copy.role == Role::Primary || self.connected(who).is_some() {
                SYNCHRONIZED
            } else {
                "NOT SYNCHRONIZING"
            };
            (
                d.clone(),
                GroupDatabase {
                    failover_ready: copy.synchronized.contains(who),
                    local: Some(local.into()),
                    remote,
                    ..GroupDatabase::default()
                },
            )
        });
        GroupFacts {
            role: copy.role,
            failover_running: false,
            basic: false,
            number: copy.number,
            commit_quorum: copy.commit_quorum,
            connected: self.connected(who).is_some(),
            primary: if copy.role == Role::Primary { Some(who.clone()) } else { copy.follows.clone() },
            commit_pending: copy.accepted.is_some(),
            members: members.collect(),
            databases: databases.collect(),
        }
    }
}
