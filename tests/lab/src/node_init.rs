//! The first process of a node: mounts its private view of the machine, keeps its services running, collects orphans.
//!
//! It runs in the node's own network, process, mount and host-name namespaces; when it is killed, everything on the
//! node dies with it and every mount is gone. Which services run is said by files, so that a fault can stop one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};

use crate::cgroups;
use crate::error::{AtPath as _, Error, Result};
use crate::layout::{Layout, Node};

/// A directory of the node's state and the fixed path where its programs expect it.
pub(crate) const MOUNTS: [(&str, &str); 6] = [
    ("etc", "/etc/lab"),
    ("etc/cni", "/etc/cni/net.d"),
    ("kubelet", "/var/lib/kubelet"),
    ("containerd", "/var/lib/containerd"),
    ("pod-logs", "/var/log/pods"),
    ("volumes", "/var/lib/lab-volumes"),
];
pub(crate) const SCRATCH: [&str; 1] = ["/var/log/containers"];
pub(crate) const SERVICES: [&str; 3] = ["containerd", "kubelet", "kube-proxy"];
/// As a service manager would: long enough not to spin, short enough not to matter.
const RESTART_AFTER: Duration = Duration::from_secs(1);

/// Settings of the whole machine that kubelet insists on; it is shown the value it wants instead of setting it.
const SETTINGS: [(&str, &str); 4] =
    [("vm/overcommit_memory", "1"), ("vm/panic_on_oom", "0"), ("kernel/panic", "10"), ("kernel/panic_on_oops", "1")];

pub(crate) fn run(layout: &Layout, node: Node) -> Result<()> {
    let state = layout.node(node);
    cgroups::join(node)?;
    rustix::system::sethostname(node.to_string().as_bytes()).map_err(std::io::Error::from).at(Path::new("hostname"))?;
    mounts(&state)?;
    let ready = state.join("ready");
    fs::write(&ready, "").at(&ready)?;
    supervise(layout, node, &state)
}

fn mounts(state: &Path) -> Result<()> {
    let scratch = |path: &str| {
        mount("tmpfs", path, "tmpfs", MountFlags::empty(), c"mode=755")
            .map_err(std::io::Error::from)
            .at(Path::new(path))
    };
    let bind = |from: &Path, to: &str| mount_bind(from, to).map_err(std::io::Error::from).at(Path::new(to));
    scratch("/run")?;
    if !Path::new("/var/run").is_symlink() {
        bind(Path::new("/run"), "/var/run")?;
    }
    for directory in ["/run/lock", "/run/netns", "/run/settings"] {
        fs::create_dir_all(directory).at(Path::new(directory))?;
    }
    for (from, to) in MOUNTS {
        bind(&state.join(from), to)?;
    }
    for path in SCRATCH {
        scratch(path)?;
    }
    bind(&state.join("etc/resolv.conf"), "/etc/resolv.conf")?;
    // Volumes that kubelet mounts have to be seen by the containers: shared, but only inside this namespace.
    mount_change("/", MountPropagationFlags::SHARED | MountPropagationFlags::REC)
        .map_err(std::io::Error::from)
        .at(Path::new("/"))?;
    for (name, value) in SETTINGS {
        let file = Path::new("/run/settings").join(name.replace('/', "-"));
        fs::write(&file, format!("{value}\n")).at(&file)?;
        bind(&file, &format!("/proc/sys/{name}"))?;
    }
    Ok(())
}

fn supervise(layout: &Layout, node: Node, state: &Path) -> Result<()> {
    let mut running: BTreeMap<&str, Pid> = BTreeMap::new();
    let mut not_before: BTreeMap<&str, Instant> = BTreeMap::new();
    loop {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if let Some(name) = running.iter().find(|(_, running)| **running == pid).map(|(name, _)| *name) {
                println!("{name} ended: {status:?}");
                running.remove(name);
                let _ = fs::remove_file(state.join("pid").join(name));
                not_before.insert(name, Instant::now() + RESTART_AFTER);
            }
        }
        for name in SERVICES {
            let wanted = state.join("want").join(name).exists();
            match running.get(name) {
                Some(pid) if !wanted => {
                    let _ = kill_process(*pid, Signal::KILL);
                }
                None if wanted && not_before.get(name).is_none_or(|time| *time <= Instant::now()) => {
                    let pid = start(layout, node, state, name)?;
                    let file = state.join("pid").join(name);
                    fs::write(&file, pid.as_raw_nonzero().to_string()).at(&file)?;
                    running.insert(name, pid);
                }
                _ => {}
            }
        }
        sleep(Duration::from_millis(20));
    }
}

fn start(layout: &Layout, node: Node, state: &Path, name: &str) -> Result<Pid> {
    let log = state.join("log").join(format!("{name}.log"));
    let log = File::options().create(true).append(true).open(&log).at(&log)?;
    let program = |name: &str| layout.programs().join(name);
    let mut command = match name {
        "containerd" => Command::new("/usr/bin/containerd"),
        _ => Command::new(program(name)),
    };
    match name {
        "containerd" => {
            command.args(["--config", "/etc/lab/containerd.toml"]);
        }
        "kubelet" => {
            command.args(["--config=/etc/lab/kubelet.yaml", "--kubeconfig=/etc/lab/kubelet.kubeconfig", "--v=1"]);
            command.arg(format!("--hostname-override={node}")).arg(format!("--node-ip={}", node.address()));
            command.arg(format!("--node-labels=topology.kubernetes.io/zone=z{}", node.number()));
        }
        _ => {
            command.arg("--config=/etc/lab/kube-proxy.yaml").arg(format!("--hostname-override={node}"));
        }
    }
    // Otherwise a connection cut by a fault is noticed only after 45 s.
    command.env("HTTP2_READ_IDLE_TIMEOUT_SECONDS", "2").env("HTTP2_PING_TIMEOUT_SECONDS", "2");
    let errors = log.try_clone().at(state)?;
    let child = command
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
        .map_err(|source| Error::Start { program: name.to_owned(), source })?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| Error::refused(format!("{name} has no process id")))
}
