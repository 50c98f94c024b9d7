//! Network namespaces joined by one bridge, with no way out and no way in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::Result;
use crate::layout::{CONTROL_PLANE, DRIVER, DRIVER_ADDRESS, GATEWAY, Layout, Node, SERVICES};
use crate::shell;

pub(crate) fn file(namespace: &str) -> PathBuf {
    Path::new("/run/netns").join(namespace)
}

pub(crate) fn exists(namespace: &str) -> bool {
    file(namespace).exists()
}

/// A command that will run `program` in the namespace.
pub(crate) fn inside(namespace: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", file(namespace).display())).arg("--").arg(program);
    command
}

/// True if the process lives in the namespace: the only processes the lab ever signals.
pub(crate) fn holds(namespace: &str, pid: i32) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let (Ok(own), Ok(named)) = (fs::metadata(format!("/proc/{pid}/ns/net")), fs::metadata(file(namespace))) else {
        return false;
    };
    own.ino() == named.ino() && own.dev() == named.dev()
}

pub(crate) fn processes(namespace: &str) -> Vec<i32> {
    let text = shell::output(Command::new("ip").args(["netns", "pids", namespace])).unwrap_or_default();
    text.lines().filter_map(|line| line.trim().parse().ok()).collect()
}

/// The lab's namespaces that exist, also those of a lab with more nodes.
pub(crate) fn all() -> Vec<String> {
    let Ok(entries) = fs::read_dir("/run/netns") else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| name == CONTROL_PLANE || name.starts_with("qlab-")).collect()
}

pub(crate) fn delete(namespace: &str) -> Result<()> {
    shell::output(Command::new("ip").args(["netns", "delete", namespace])).map(drop)
}

fn batch(namespace: &str, lines: &[String]) -> Result<()> {
    shell::feed(Command::new("ip").args(["-n", namespace, "-batch", "-"]), &lines.join("\n")).map(drop)
}

fn set(namespace: &str, values: &[&str]) -> Result<()> {
    shell::output(inside(namespace, "sysctl").arg("-qw").args(values)).map(drop)
}

/// Makes a namespace complete or not at all, as far as later commands can tell.
fn make(namespace: &str, fill: impl FnOnce() -> Result<()>) -> Result<()> {
    if exists(namespace) {
        return Ok(());
    }
    shell::output(Command::new("ip").args(["netns", "add", namespace]))?;
    let filled = fill();
    if filled.is_err() {
        let _ = delete(namespace);
    }
    filled
}

fn pod_routes(except: Option<Node>) -> impl Iterator<Item = String> {
    Node::all()
        .filter(move |node| Some(*node) != except)
        .map(|node| format!("route add {} via {}", node.pod_range(), node.address()))
}

/// The namespaces of the control plane and of the driver.
pub(crate) fn up() -> Result<()> {
    // A crash may have left a namespace half made: the bridge tells.
    if exists(CONTROL_PLANE) && !has_link(CONTROL_PLANE, "qbr0") {
        delete(CONTROL_PLANE)?;
    }
    if exists(DRIVER) && !has_link(CONTROL_PLANE, "qvt") {
        delete(DRIVER)?;
    }
    make(CONTROL_PLANE, || {
        let mut lines = vec![
            "link set lo up".to_owned(),
            "link add qbr0 type bridge forward_delay 0".to_owned(),
            format!("address add {GATEWAY}/24 dev qbr0"),
            "link set qbr0 up".to_owned(),
            "route add unreachable default".to_owned(),
        ];
        lines.extend(pod_routes(None));
        batch(CONTROL_PLANE, &lines)
    })?;
    make(DRIVER, || {
        batch(CONTROL_PLANE, &cable("qvt", DRIVER))?;
        // A ClusterIP is rewritten by the kube-proxy of any node; the kernel passes over nodes that do not answer.
        set(DRIVER, &["net.ipv4.fib_multipath_use_neigh=1", "net.ipv4.fib_multipath_hash_policy=1"])?;
        let mut lines = address(DRIVER_ADDRESS);
        lines.extend(pod_routes(None));
        let hops: Vec<String> = Node::all().map(|node| format!("nexthop via {}", node.address())).collect();
        lines.push(format!("route add {SERVICES} {}", hops.join(" ")));
        batch(DRIVER, &lines)
    })
}

fn has_link(namespace: &str, link: &str) -> bool {
    shell::output(Command::new("ip").args(["-n", namespace, "link", "show", link])).is_ok()
}

fn cable(name: &str, namespace: &str) -> Vec<String> {
    vec![
        format!("link add {name} type veth peer name eth0 netns {namespace}"),
        format!("link set {name} master qbr0 up"),
    ]
}

fn address(address: &str) -> Vec<String> {
    vec![
        "link set lo up".to_owned(),
        format!("address add {address}/24 dev eth0"),
        "link set eth0 up".to_owned(),
        "route add unreachable default".to_owned(),
    ]
}

/// The namespace of a node, its cable and its routes.
pub(crate) fn node_up(layout: &Layout, node: Node) -> Result<()> {
    let namespace = node.namespace();
    make(&namespace, || {
        batch(CONTROL_PLANE, &cable(&node.cable(), &namespace))?;
        let mut lines = address(&node.address());
        // Never travelled: kube-proxy rewrites the address first, but only if the kernel finds some route.
        lines.push(format!("route add {SERVICES} via {GATEWAY}"));
        lines.extend(pod_routes(Some(node)));
        batch(&namespace, &lines)?;
        set(&namespace, &["net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0"])?;
        crate::faults::apply_cuts(layout, node)
    })
}

/// Pulls the node's cable: from now on it is silent, not even its kernel refuses a connection.
pub(crate) fn unplug(node: Node) {
    let _ = shell::output(Command::new("ip").args(["-n", CONTROL_PLANE, "link", "delete", &node.cable()]));
}
