//! Faults: signals to containers, cuts between addresses.
//!
//! Cuts are packet filter rules in every node's namespace, behind the rewriting of Service addresses and before
//! masquerading, so that the real ends of a connection match and established connections are cut too.

use std::fs;
use std::net::Ipv4Addr;

use rustix::process::Signal;

use crate::error::{AtPath as _, Error, Result};
use crate::layout::{DRIVER_ADDRESS, GATEWAY, Layout, Node};
use crate::{cgroups, kubectl, network, shell};

/// One end of a cut as its user writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// A node with its pods.
    Node(Node),
    ControlPlane,
    Driver,
    /// Everything but the other end: isolates it.
    Rest,
    /// An address or a range.
    Range(String),
    /// A pod by namespace and name.
    Pod(String, String),
}

impl std::str::FromStr for End {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let explain = || {
            format!(
                "{text:?} is no end of a cut: use a node (n1), cp (control plane), t (driver), rest, \
                 an IPv4 address or range, or NAMESPACE/POD"
            )
        };
        if let Ok(node) = text.parse() {
            return Ok(Self::Node(node));
        }
        match (text, text.split_once('/')) {
            ("cp", _) => Ok(Self::ControlPlane),
            ("t", _) => Ok(Self::Driver),
            ("rest", _) => Ok(Self::Rest),
            (_, None) => {
                text.parse::<Ipv4Addr>().map(|address| Self::Range(address.to_string())).map_err(|_| explain())
            }
            (_, Some((address, bits))) if address.parse::<Ipv4Addr>().is_ok() => match bits.parse::<u8>() {
                Ok(0..=32) => Ok(Self::Range(text.to_owned())),
                _ => Err(explain()),
            },
            (_, Some((namespace, pod))) => {
                let name = |part: &str| {
                    !part.is_empty()
                        && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c))
                };
                let fine = name(namespace) && name(pod);
                if fine { Ok(Self::Pod(namespace.to_owned(), pod.to_owned())) } else { Err(explain()) }
            }
        }
    }
}

impl End {
    /// Replaces a pod by its address.
    fn resolve(self, layout: &Layout) -> Result<Self> {
        let Self::Pod(namespace, pod) = &self else { return Ok(self) };
        let object = kubectl::json(layout, &["get", "pod", "--namespace", namespace, pod, "--output=json"])?;
        match object.pointer("/status/podIP").and_then(|address| address.as_str()) {
            Some(address) => Ok(Self::Range(address.to_owned())),
            None => Err(Error::refused(format!("pod {namespace}/{pod} has no address yet"))),
        }
    }

    fn ranges(&self, other: &Self) -> Vec<String> {
        match self {
            Self::Node(node) => vec![node.address(), node.pod_range()],
            Self::ControlPlane => vec![GATEWAY.to_owned()],
            Self::Driver => vec![DRIVER_ADDRESS.to_owned()],
            Self::Range(range) => vec![range.clone()],
            Self::Pod(..) => vec![],
            Self::Rest => {
                let ends = Node::all().map(Self::Node).chain([Self::ControlPlane, Self::Driver]);
                ends.filter(|end| end != other).flat_map(|end| end.ranges(other)).collect()
            }
        }
    }
}

/// Source and destination of every packet that a cut drops.
fn pairs(a: &End, b: &End, one_way: bool) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for from in a.ranges(b) {
        for to in b.ranges(a) {
            pairs.push((from.clone(), to.clone()));
            if !one_way {
                pairs.push((to, from.clone()));
            }
        }
    }
    pairs
}

fn rules(cuts: &[(String, String)]) -> String {
    let drops: String =
        cuts.iter().map(|(from, to)| format!("    ip saddr {from} ip daddr {to} counter drop\n")).collect();
    let hook =
        |name: &str| format!("  chain {name} {{ type filter hook {name} priority 10; policy accept; jump cuts; }}\n");
    // The first two lines make the third replace whatever was there.
    format!(
        "table inet qfault\ndelete table inet qfault\ntable inet qfault {{\n  chain cuts {{\n{drops}  }}\n{}{}{}}}\n",
        hook("input"),
        hook("output"),
        hook("forward")
    )
}

fn current(layout: &Layout) -> Vec<(String, String)> {
    let text = fs::read_to_string(layout.cuts()).unwrap_or_default();
    text.lines().filter_map(|line| line.split_once(' ')).map(|(from, to)| (from.to_owned(), to.to_owned())).collect()
}

/// Brings the rules of a node to what has been cut; a node that comes back is still cut off.
pub(crate) fn apply_cuts(layout: &Layout, node: Node) -> Result<()> {
    shell::feed(network::inside(&node.namespace(), "nft").args(["-f", "-"]), &rules(&current(layout))).map(drop)
}

fn set_cuts(layout: &Layout, cuts: &[(String, String)]) -> Result<()> {
    let text: String = cuts.iter().map(|(from, to)| format!("{from} {to}\n")).collect();
    fs::write(layout.cuts(), text).at(&layout.cuts())?;
    let mut on = Node::all().filter(|node| network::exists(&node.namespace()));
    on.try_for_each(|node| apply_cuts(layout, node))
}

/// Drops all packets between two ends, or only those from the first to the second.
pub(crate) fn cut(layout: &Layout, a: End, b: End, one_way: bool) -> Result<()> {
    if a == b {
        return Err(Error::refused("both ends of the cut are the same"));
    }
    let (a, b) = (a.resolve(layout)?, b.resolve(layout)?);
    let mut cuts = current(layout);
    for pair in pairs(&a, &b, one_way) {
        if !cuts.contains(&pair) {
            cuts.push(pair);
        }
    }
    set_cuts(layout, &cuts)
}

/// Removes every cut.
pub(crate) fn heal(layout: &Layout) -> Result<()> {
    set_cuts(layout, &[])
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blow {
    Kill,
    Freeze,
    Thaw,
}

/// Strikes the processes of a container; the process ids it struck.
pub(crate) fn strike(
    layout: &Layout,
    namespace: &str,
    pod: &str,
    container: Option<&str>,
    blow: Blow,
) -> Result<Vec<i32>> {
    let object = kubectl::json(layout, &["get", "pod", "--namespace", namespace, pod, "--output=json"])?;
    let statuses =
        object.pointer("/status/containerStatuses").and_then(|list| list.as_array()).cloned().unwrap_or_default();
    let named =
        |status: &&serde_json::Value| container.is_none_or(|name| status.get("name").is_some_and(|n| n == name));
    let Some(status) = statuses.iter().find(named) else {
        let names: Vec<_> = statuses.iter().filter_map(|status| status.get("name")?.as_str()).collect();
        let known = if names.is_empty() { "none yet".to_owned() } else { names.join(", ") };
        return Err(Error::refused(format!("pod {namespace}/{pod} has no such container; it has: {known}")));
    };
    let id = status.get("containerID").and_then(|id| id.as_str()).unwrap_or_default();
    let id = id.rsplit('/').next().unwrap_or_default();
    if id.is_empty() {
        return Err(Error::refused(format!("the container of {namespace}/{pod} is not running")));
    }
    let mut pids = cgroups::container(id)?;
    let signal = match blow {
        // The others die with the first process of their namespace.
        Blow::Kill => {
            pids.truncate(1);
            Signal::KILL
        }
        Blow::Freeze => Signal::STOP,
        Blow::Thaw => Signal::CONT,
    };
    pids.iter().for_each(|pid| shell::signal(*pid, signal));
    Ok(pids)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(text: &str) -> End {
        text.parse().unwrap()
    }

    #[test]
    fn a_cut_between_nodes_covers_their_pods_in_both_directions() {
        let both = pairs(&end("n1"), &end("n2"), false);
        assert_eq!(both.len(), 8);
        assert!(both.contains(&("10.232.2.0/24".to_owned(), "10.231.0.11".to_owned())));
        let one = pairs(&end("n1"), &end("n2"), true);
        assert!(one.iter().all(|(from, _)| from.starts_with("10.231.0.11") || from.starts_with("10.232.1.")));
    }

    #[test]
    fn an_isolated_node_still_reaches_its_own_pods() {
        let cuts = pairs(&end("n2"), &end("rest"), false);
        assert!(cuts.contains(&("10.231.0.12".to_owned(), GATEWAY.to_owned())));
        assert!(cuts.contains(&(DRIVER_ADDRESS.to_owned(), "10.232.2.0/24".to_owned())));
        let own = |range: &str| range == "10.231.0.12" || range == "10.232.2.0/24";
        assert!(!cuts.iter().any(|(from, to)| own(from) && own(to)));
    }

    #[test]
    fn ends_are_read_and_nonsense_is_explained() {
        assert_eq!(end("10.1.2.3/16"), End::Range("10.1.2.3/16".to_owned()));
        assert_eq!(end("shop/orders-0"), End::Pod("shop".to_owned(), "orders-0".to_owned()));
        for bad in ["", "n7", "10.1.2", "10.1.2.3/33", "a/", "/b", "shop/orders 0", "x; drop"] {
            assert!(bad.parse::<End>().unwrap_err().contains("control plane"), "{bad:?}");
        }
    }

    #[test]
    fn rules_replace_what_was_there() {
        let text = rules(&[("10.0.0.1".to_owned(), "10.0.0.2".to_owned())]);
        assert!(text.starts_with("table inet qfault\ndelete table inet qfault\n"));
        assert!(text.contains("ip saddr 10.0.0.1 ip daddr 10.0.0.2 counter drop"));
    }
}
