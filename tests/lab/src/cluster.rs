//! The whole cluster: up, down, status.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use rustix::process::Signal;
use serde_json::Value;

use crate::binaries::{self, Binaries};
use crate::control_plane::{self, Component};
use crate::error::{AtPath as _, Error, Result};
use crate::layout::{CGROUP, Layout, NODES, Node};
use crate::processes::{self, Memory};
use crate::progress::Progress;
use crate::shell::{self, Look};
use crate::{cgroups, images, kubectl, network, node, packages, pki};

/// Brings the lab up from nothing, from a stopped state or from the remains of a crash.
pub(crate) fn up(layout: &Layout, progress: Progress) -> Result<()> {
    must_be_root()?;
    packages::ensure(progress)?;
    let binaries = binaries::ensure(progress)?;
    prepare(layout, &binaries)?;
    network::up()?;
    progress.say("certificates and networks are there");
    let since = jiff::Timestamp::now();
    control_plane::start(layout, Component::Etcd)?;
    control_plane::start(layout, Component::KubeApiserver)?;
    thread::scope(|scope| -> Result<()> {
        let nodes: Vec<_> = Node::all().map(|node| scope.spawn(move || node::power_on(layout, node))).collect();
        shell::wait_until(60, "the API server", || Ok(Look::when(is_ready(layout)?, "not ready")))?;
        progress.say("API server ready");
        control_plane::start(layout, Component::KubeControllerManager)?;
        control_plane::start(layout, Component::KubeScheduler)?;
        kubectl::apply(layout, include_str!("../config/base.yaml"))?;
        control_plane::start(layout, Component::Provisioner)?;
        for node in nodes {
            node.join().map_err(|_| Error::refused("starting a node failed"))??;
        }
        Ok(())
    })?;
    for node in Node::all() {
        node::start_kubelet(layout, node)?;
    }
    progress.say("containerd, kubelet and kube-proxy run on all nodes");
    shell::wait_until(60, "all nodes to be Ready", || nodes_ready(layout, since))?;
    progress.say(format!("{NODES} nodes Ready"));
    shell::wait_until(60, "CoreDNS", || dns_ready(layout))?;
    progress.say("CoreDNS ready; the lab is up");
    Ok(())
}

pub(crate) fn must_be_root() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Error::refused("the lab makes network namespaces and mounts: run it as root"))
}

fn prepare(layout: &Layout, binaries: &Binaries) -> Result<()> {
    for directory in ["log", "pid", "images"] {
        let directory = layout.root().join(directory);
        fs::create_dir_all(&directory).at(&directory)?;
    }
    link(&binaries.programs, &layout.programs())?;
    pki::make(&layout.pki())?;
    node::make_mount_points(layout)?;
    for image in images::base(binaries)? {
        keep(layout, &image)?;
    }
    Ok(())
}

fn link(target: &Path, name: &Path) -> Result<()> {
    if fs::read_link(name).is_ok_and(|old| old == target) {
        return Ok(());
    }
    let new = name.with_extension("new");
    let _ = fs::remove_file(&new);
    std::os::unix::fs::symlink(target, &new).at(&new)?;
    fs::rename(&new, name).at(name)
}

/// Notes an archive among those every node must have, under its image's name; where it is now.
fn keep(layout: &Layout, archive: &Path) -> Result<PathBuf> {
    let name = images::name_of(archive)?;
    let short: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    let file = layout.images().join(format!("{short}.tar"));
    link(&fs::canonicalize(archive).at(archive)?, &file)?;
    Ok(file)
}

/// Gives an image to every node that is on; the others get it when they are switched on.
pub(crate) fn load(layout: &Layout, archive: &Path, progress: Progress) -> Result<()> {
    let name = images::name_of(archive)?;
    let file = keep(layout, &images::into_cache(archive)?)?;
    thread::scope(|scope| {
        let on = Node::all().filter(|node| node::init(layout, *node).is_some());
        let jobs: Vec<_> = on
            .map(|node| {
                let file = &file;
                scope.spawn(move || node::load(layout, node, file))
            })
            .collect();
        jobs.into_iter().try_for_each(|job| job.join().map_err(|_| Error::refused("loading failed"))?)
    })?;
    progress.say(format!("loaded {name}"));
    Ok(())
}

pub(crate) fn is_ready(layout: &Layout) -> Result<bool> {
    Ok(kubectl::output(layout, &["get", "--raw=/readyz", "--request-timeout=2s"])? == "ok")
}

fn items(value: &Value) -> &[Value] {
    value.get("items").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub(crate) fn condition_is_true(object: &Value, kind: &str) -> bool {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    conditions.is_some_and(|list| {
        list.iter().any(|condition| {
            condition.get("type").is_some_and(|it| it == kind) && condition.get("status").is_some_and(|it| it == "True")
        })
    })
}

/// Ready and seen since `since`: kept data still calls nodes Ready for seconds after a restart.
fn nodes_ready(layout: &Layout, since: jiff::Timestamp) -> Result<Look> {
    let leases = kubectl::json(layout, &["get", "leases", "--namespace=kube-node-lease", "--output=json"])?;
    let renewed = |lease: &&Value| {
        let time = lease.pointer("/spec/renewTime").and_then(Value::as_str);
        time.and_then(|time| time.parse::<jiff::Timestamp>().ok()).is_some_and(|time| time > since)
    };
    let fresh = items(&leases).iter().filter(renewed).count();
    let nodes = kubectl::json(layout, &["get", "nodes", "--output=json"])?;
    let ready = items(&nodes).iter().filter(|node| condition_is_true(node, "Ready")).count();
    let all = usize::from(NODES);
    Ok(Look::when(fresh >= all && ready >= all, format!("{ready} Ready, {fresh} with a fresh lease")))
}

fn dns_ready(layout: &Layout) -> Result<Look> {
    let dns = kubectl::json(layout, &["get", "deployment", "--namespace=kube-system", "coredns", "--output=json"])?;
    let ready = dns.pointer("/status/readyReplicas").and_then(Value::as_u64).unwrap_or_default();
    Ok(Look::when(ready >= 2, format!("{ready} of 2 replicas ready")))
}

/// Ends everything and removes it, also what a crash has left.
pub(crate) fn down(layout: &Layout, purge: bool, progress: Progress) -> Result<()> {
    must_be_root()?;
    thread::scope(|scope| {
        let nodes: Vec<_> = Node::all().map(|node| scope.spawn(move || node::power_off(layout, node))).collect();
        let parts: Vec<_> = control_plane::ALL
            .iter()
            .map(|part| scope.spawn(|| control_plane::stop(layout, *part, Signal::KILL)))
            .collect();
        let mut jobs = nodes.into_iter().chain(parts);
        jobs.try_for_each(|job| job.join().map_err(|_| Error::refused("stopping failed"))?)
    })?;
    for namespace in network::all() {
        for pid in network::processes(&namespace) {
            if pid != i32::try_from(std::process::id()).unwrap_or_default() {
                progress.say(format!("ending process {pid} ({}), left in {namespace}", processes::name(pid)));
                shell::end(pid, Signal::KILL, std::time::Duration::ZERO)?;
            }
        }
        network::delete(&namespace)?;
    }
    cgroups::remove(CGROUP);
    node::remove_mount_points(layout);
    let _ = fs::remove_file(layout.cuts());
    if purge && layout.root().exists() {
        fs::remove_dir_all(layout.root()).at(layout.root())?;
    }
    progress.say(if purge { "the lab is down, its data removed" } else { "the lab is down; its data is kept" });
    Ok(())
}

/// Every process of the cluster, pods included.
fn everything(layout: &Layout) -> BTreeSet<i32> {
    let parents = processes::parents();
    let parts = control_plane::ALL.iter().filter_map(|part| control_plane::pid(layout, *part));
    let roots = parts.chain(Node::all().filter_map(|node| node::init(layout, node)));
    roots.flat_map(|pid| processes::family(&parents, pid)).collect()
}

/// Memory of the whole cluster, pods included.
pub(crate) fn memory(layout: &Layout) -> Memory {
    everything(layout).into_iter().map(processes::memory).sum()
}

/// Prints nodes, components, process ids and memory.
pub(crate) fn status(layout: &Layout) -> Result<()> {
    if network::all().is_empty() {
        println!("the lab is down");
        return Ok(());
    }
    let parents = processes::parents();
    let mib = |kib: u64| kib / 1024;
    println!("{:<28}{:>8}{:>10}{:>10}", "COMPONENT", "PID", "RSS MiB", "PSS MiB");
    let line = |name: &str, pid: Option<i32>, family: &BTreeSet<i32>| {
        let memory: Memory = family.iter().map(|pid| processes::memory(*pid)).sum();
        let pid = pid.map_or_else(|| "off".to_owned(), |pid| pid.to_string());
        println!("{name:<28}{pid:>8}{:>10}{:>10}", mib(memory.resident), mib(memory.proportional));
    };
    for part in control_plane::ALL {
        let pid = control_plane::pid(layout, part);
        let family = pid.map(|pid| processes::family(&parents, pid)).unwrap_or_default();
        line(part.name(), pid, &family);
    }
    for node in Node::all() {
        let pid = node::init(layout, node);
        let family = pid.map(|pid| processes::family(&parents, pid)).unwrap_or_default();
        line(&format!("node {node}, all of it"), pid, &family);
        for service in pid.map(|pid| processes::children(&parents, pid)).unwrap_or_default() {
            let name = processes::name(service);
            if name.starts_with("kube") || name == "containerd" {
                line(&format!("  {name}"), Some(service), &BTreeSet::from([service]));
            }
        }
    }
    let everything = everything(layout);
    let sum: Memory = everything.iter().map(|pid| processes::memory(*pid)).sum();
    println!("{:<36}{:>10}{:>10}", format!("{} processes", everything.len()), mib(sum.resident), mib(sum.proportional));
    let cuts = fs::read_to_string(layout.cuts()).unwrap_or_default().lines().count();
    if cuts > 0 {
        println!("{cuts} paths are cut; `cargo lab heal` restores them");
    }
    print!(
        "{}",
        kubectl::output(layout, &["get", "nodes", "--request-timeout=5s"]).unwrap_or_else(|error| format!("{error}\n"))
    );
    Ok(())
}
