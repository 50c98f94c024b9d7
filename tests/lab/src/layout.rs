//! The fixed shape of the lab: names, addresses and directories.
//!
//! ```text
//! qlab      10.231.0.1    bridge; etcd, API server, controller manager, scheduler
//! qlab-t    10.231.0.2    the driver's seat: tests, kubectl, the volume provisioner
//! qlab-nI   10.231.0.1I   node nI; its pods 10.232.I.0/24
//!           10.233.0.0/16 Services; 10.233.0.10 DNS
//! ```

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub(crate) const NODES: u8 = 3;
pub(crate) const CONTROL_PLANE: &str = "qlab";
pub(crate) const DRIVER: &str = "qlab-t";
pub(crate) const GATEWAY: &str = "10.231.0.1";
pub(crate) const DRIVER_ADDRESS: &str = "10.231.0.2";
pub(crate) const SERVICES: &str = "10.233.0.0/16";
pub(crate) const FIRST_SERVICE: &str = "10.233.0.1";
/// Parent of the nodes' cgroups, in every hierarchy.
pub(crate) const CGROUP: &str = "qlab";

/// A node by its number, 1 to [`NODES`]; written `n1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Node(u8);

impl Node {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (1..=NODES).map(Self)
    }

    pub(crate) fn number(self) -> u8 {
        self.0
    }

    pub(crate) fn address(self) -> String {
        format!("10.231.0.{}", 10 + self.0)
    }

    pub(crate) fn pod_range(self) -> String {
        format!("10.232.{}.0/24", self.0)
    }

    pub(crate) fn namespace(self) -> String {
        format!("qlab-{self}")
    }

    /// The bridge's end of the node's cable.
    pub(crate) fn cable(self) -> String {
        format!("qv{}", self.0)
    }

    pub(crate) fn cgroup(self) -> String {
        format!("{CGROUP}/{self}")
    }
}

impl fmt::Display for Node {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "n{}", self.0)
    }
}

impl FromStr for Node {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::all()
            .find(|node| node.to_string() == text)
            .ok_or_else(|| format!("there is no node {text:?}; the lab has n1 to n{NODES}"))
    }
}

/// Everything the running lab writes.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// `$QUORATE_LAB_STATE`, or `/var/lib/quorate-lab`.
    pub(crate) fn from_environment() -> Self {
        let root = std::env::var_os("QUORATE_LAB_STATE").filter(|value| !value.is_empty());
        Self { root: root.map_or_else(|| PathBuf::from("/var/lib/quorate-lab"), PathBuf::from) }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn pki(&self) -> PathBuf {
        self.root.join("pki")
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.pki().join("admin.kubeconfig")
    }

    /// Link to the directory of the programs the cluster was started with.
    pub(crate) fn programs(&self) -> PathBuf {
        self.root.join("programs")
    }

    /// Archives that every node must have, also one that is powered on later.
    pub(crate) fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    pub(crate) fn log(&self, component: &str) -> PathBuf {
        self.root.join("log").join(format!("{component}.log"))
    }

    pub(crate) fn pid(&self, component: &str) -> PathBuf {
        self.root.join("pid").join(component)
    }

    pub(crate) fn cuts(&self) -> PathBuf {
        self.root.join("cuts")
    }

    pub(crate) fn node(&self, node: Node) -> PathBuf {
        self.root.join(node.to_string())
    }

    /// Where the volumes of a node are, seen from outside it.
    pub(crate) fn volumes(&self, node: Node) -> PathBuf {
        self.node(node).join("volumes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_known_by_its_name_and_no_other() {
        assert_eq!("n2".parse::<Node>().unwrap().address(), "10.231.0.12");
        for bad in ["n0", "n4", "2", "N1", "", "n1 "] {
            assert!(bad.parse::<Node>().unwrap_err().contains("n1 to n3"), "{bad:?}");
        }
    }
}
