//! Nodes: power, services and images.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::error::{AtPath as _, Error, Result};
use crate::layout::{Layout, Node};
use crate::node_init::{MOUNTS, SCRATCH, SERVICES};
use crate::shell::{self, Look, put};
use crate::{cgroups, network, processes};

/// The node's first process, as the machine numbers it, if the node is on.
pub(crate) fn init(layout: &Layout, node: Node) -> Option<i32> {
    let pid = shell::read_pid(&layout.pid(&node.to_string()))?;
    (shell::alive(pid) && network::holds(&node.namespace(), pid)).then_some(pid)
}

/// A command that will run on the node.
pub(crate) fn inside(layout: &Layout, node: Node, program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
    let pid = init(layout, node).ok_or_else(|| Error::refused(format!("node {node} is off")))?;
    let mut command = Command::new("nsenter");
    command.arg(format!("--target={pid}")).args(["--mount", "--pid", "--uts", "--net", "--"]).arg(program);
    Ok(command)
}

/// Configuration of the node; files that are right already are not touched.
fn configure(layout: &Layout, node: Node) -> Result<()> {
    let state = layout.node(node);
    for (directory, _) in MOUNTS {
        let directory = state.join(directory);
        fs::create_dir_all(&directory).at(&directory)?;
    }
    for directory in ["log", "want", "pid"] {
        let directory = state.join(directory);
        fs::create_dir_all(&directory).at(&directory)?;
    }
    let etc = state.join("etc");
    let fill = |text: &str| {
        text.replace("@NODE_ADDRESS@", &node.address())
            .replace("@POD_RANGE@", &node.pod_range())
            .replace("@CGROUP@", &format!("/{}", node.cgroup()))
            .replace("@SNAPSHOTTER@", if on_overlay(&state) { "native" } else { "overlayfs" })
    };
    put(&etc.join("containerd.toml"), &fill(include_str!("../config/containerd.toml")))?;
    put(&etc.join("kubelet.yaml"), &fill(include_str!("../config/kubelet.yaml")))?;
    put(&etc.join("kube-proxy.yaml"), &fill(include_str!("../config/kube-proxy.yaml")))?;
    put(&etc.join("cni/10-lab.conflist"), &fill(include_str!("../config/cni.conflist")))?;
    put(&etc.join("resolv.conf"), "nameserver 127.0.0.1\n")?;
    let copy = |from: String, to: &str| {
        let from = layout.pki().join(from);
        put(&etc.join(to), &fs::read_to_string(&from).at(&from)?)
    };
    copy("ca.crt".to_owned(), "ca.crt")?;
    copy("proxy.kubeconfig".to_owned(), "proxy.kubeconfig")?;
    for kind in ["crt", "key", "kubeconfig"] {
        copy(format!("kubelet-{node}.{kind}"), &format!("kubelet.{kind}"))?;
    }
    Ok(())
}

/// An overlay cannot be stacked on another one.
fn on_overlay(directory: &Path) -> bool {
    const OVERLAY: i64 = 0x794c_7630;
    rustix::fs::statfs(directory).is_ok_and(|file_system| file_system.f_type == OVERLAY)
}

/// Makes the fixed paths that nodes mount over, and remembers those that were not there.
pub(crate) fn make_mount_points(layout: &Layout) -> Result<()> {
    let paths = MOUNTS.iter().map(|(_, to)| *to).chain(SCRATCH);
    let list = layout.root().join("mount-points");
    let mut made = fs::read_to_string(&list).unwrap_or_default();
    for path in paths {
        let missing = Path::new(path).ancestors().take_while(|path| !path.exists());
        for directory in missing.collect::<Vec<_>>().into_iter().rev() {
            made.push_str(&format!("{}\n", directory.display()));
            fs::write(&list, &made).at(&list)?;
            fs::create_dir(directory).at(directory)?;
        }
    }
    Ok(())
}

pub(crate) fn remove_mount_points(layout: &Layout) {
    let list = layout.root().join("mount-points");
    for path in fs::read_to_string(&list).unwrap_or_default().lines().rev() {
        let _ = fs::remove_dir(path);
    }
    let _ = fs::remove_file(&list);
}

/// Switches the node on, up to a running containerd with all its images.
pub(crate) fn power_on(layout: &Layout, node: Node) -> Result<()> {
    if init(layout, node).is_none() {
        power_off(layout, node)?;
        configure(layout, node)?;
        for service in SERVICES {
            let _ = fs::remove_file(layout.node(node).join("want").join(service));
        }
        network::node_up(layout, node)?;
        cgroups::prepare(node)?;
        boot(layout, node)?;
    }
    want(layout, node, "containerd", true)?;
    let probe = || shell::output(inside(layout, node, "ctr")?.arg("version")).map(|_| Look::Done);
    shell::wait_until(20, &format!("containerd on {node}"), probe)?;
    let images = fs::read_dir(layout.images()).into_iter().flatten().flatten().map(|entry| entry.path());
    for image in images.filter(|path| path.extension().is_some_and(|kind| kind == "tar")) {
        load(layout, node, &image)?;
    }
    Ok(())
}

fn boot(layout: &Layout, node: Node) -> Result<()> {
    let state = layout.node(node);
    let log = state.join("log/init.log");
    let log = File::options().create(true).append(true).open(&log).at(&log)?;
    let errors = log.try_clone().at(&state)?;
    let program = std::env::current_exe().at(Path::new("/proc/self/exe"))?;
    let mut command = Command::new("setsid");
    command.arg("nsenter").arg(format!("--net={}", network::file(&node.namespace()).display())).arg("--");
    command.args(["unshare", "--mount", "--propagation=private", "--uts", "--pid", "--fork", "--kill-child=KILL"]);
    command.arg("--mount-proc").arg(program).arg("node-init").arg(node.to_string());
    command.env("QUORATE_LAB_STATE", layout.root()).current_dir("/");
    let child = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn();
    let child = child.map_err(|source| shell::start_error(&command, source))?;
    let outer = i32::try_from(child.id()).unwrap_or_default();
    let ready = state.join("ready");
    shell::wait_until(10, &format!("the first process of {node}"), || {
        if !shell::alive(outer) {
            return Err(Error::refused(shell::tail(&state.join("log/init.log"), 3)));
        }
        Ok(Look::when(ready.exists(), "not ready"))
    })?;
    let first = processes::children(&processes::parents(), outer);
    let file = layout.pid(&node.to_string());
    match first.first() {
        Some(pid) => fs::write(&file, pid.to_string()).at(&file),
        None => Err(Error::refused(format!("node {node} did not start; see {}", state.join("log/init.log").display()))),
    }
}

/// Starts or stops a service of the node.
pub(crate) fn want(layout: &Layout, node: Node, service: &str, wanted: bool) -> Result<()> {
    let file = layout.node(node).join("want").join(service);
    if wanted {
        fs::write(&file, "").at(&file)
    } else {
        let _ = fs::remove_file(&file);
        Ok(())
    }
}

pub(crate) fn start_kubelet(layout: &Layout, node: Node) -> Result<()> {
    want(layout, node, "kubelet", true)?;
    want(layout, node, "kube-proxy", true)
}

/// Sends a signal to a service of the node, which is restarted a second after it has ended.
pub(crate) fn signal_service(layout: &Layout, node: Node, service: &str, signal: &str) -> Result<()> {
    let pid = shell::read_pid(&layout.node(node).join("pid").join(service))
        .ok_or_else(|| Error::refused(format!("{service} is not running on {node}")))?;
    shell::output(inside(layout, node, "kill")?.args(["-s", signal, &pid.to_string()])).map(drop)
}

/// Cuts the power: the cable first, since a dead machine is silent, then everything at once.
pub(crate) fn power_off(layout: &Layout, node: Node) -> Result<()> {
    let namespace = node.namespace();
    network::unplug(node);
    // What is frozen cannot die.
    cgroups::freeze(node, false)?;
    if let Some(pid) = init(layout, node) {
        shell::end(pid, Signal::KILL, Duration::ZERO)?;
    }
    if network::exists(&namespace) {
        // After a crash the file with the process id may be missing; the namespace still knows its processes.
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            let pids = network::processes(&namespace);
            if pids.is_empty() {
                break;
            }
            if Instant::now() > end {
                return Err(Error::refused(format!("processes of {node} do not end: {pids:?}")));
            }
            pids.into_iter().for_each(|pid| shell::signal(pid, Signal::KILL));
            sleep(Duration::from_millis(10));
        }
        network::delete(&namespace)?;
    }
    for file in [layout.pid(&node.to_string()), layout.node(node).join("ready")] {
        let _ = fs::remove_file(file);
    }
    for service in SERVICES {
        let _ = fs::remove_file(layout.node(node).join("pid").join(service));
    }
    cgroups::remove(&node.cgroup());
    Ok(())
}

/// Imports an archive unless the node has exactly it.
pub(crate) fn load(layout: &Layout, node: Node, archive: &Path) -> Result<()> {
    let name = archive.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mark = layout.node(node).join("etc").join(format!("{name}.loaded"));
    let target = fs::canonicalize(archive).at(archive)?.display().to_string();
    if fs::read_to_string(&mark).is_ok_and(|loaded| loaded == target) {
        return Ok(());
    }
    shell::output(inside(layout, node, "ctr")?.args(["--namespace=k8s.io", "images", "import", &target]))?;
    fs::write(&mark, target).at(&mark)
}
