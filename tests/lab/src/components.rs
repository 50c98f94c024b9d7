//! Parts of the cluster by name: their logs, and stopping, starting and hanging them.

use std::process::Command;

use clap::ValueEnum;
use rustix::process::Signal;

use crate::cli::needs_up;
use crate::control_plane::{self, Component};
use crate::error::{Error, Result};
use crate::layout::{Layout, Node};
use crate::progress::Progress;
use crate::shell::{self, Look};
use crate::{cluster, node, node_init};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Action {
    Stop,
    Start,
    Kill,
    Freeze,
    Thaw,
    Refresh,
}

/// A component of the control plane, or a service of a node written `n1/kubelet`.
enum Part {
    Central(Component),
    Service(Node, &'static str),
}

fn part(name: &str) -> Result<Part> {
    let known = || {
        let central: Vec<_> = control_plane::ALL.iter().map(|part| part.name()).collect();
        let services: Vec<_> = node_init::SERVICES.iter().map(|service| format!("n1/{service}")).collect();
        Error::refused(format!(
            "there is no component {name:?}; there are {}, {}",
            central.join(", "),
            services.join(", ")
        ))
    };
    if let Some(part) = control_plane::ALL.iter().find(|part| part.name() == name) {
        return Ok(Part::Central(*part));
    }
    let (node, service) = name.split_once('/').ok_or_else(known)?;
    let node = node.parse().map_err(Error::Refused)?;
    let service = node_init::SERVICES.iter().find(|known| **known == service).ok_or_else(known)?;
    Ok(Part::Service(node, service))
}

pub(crate) fn logs(layout: &Layout, name: &str, follow: bool) -> Result<i32> {
    let file = match part(name)? {
        Part::Central(part) => layout.log(part.name()),
        Part::Service(node, service) => layout.node(node).join("log").join(format!("{service}.log")),
    };
    if !file.exists() {
        return Err(Error::refused(format!("{name} has not written anything yet")));
    }
    let mut tail = Command::new("tail");
    tail.arg("--lines=+1");
    if follow {
        tail.arg("--follow=name");
    }
    shell::interactive(tail.arg(file))
}

pub(crate) fn act(layout: &Layout, action: Action, name: Option<&str>, progress: Progress) -> Result<()> {
    needs_up()?;
    let Some(name) = name else {
        if action == Action::Refresh {
            return refresh(layout, progress);
        }
        return Err(Error::refused("which component? For example kube-apiserver or n1/kubelet"));
    };
    match part(name)? {
        Part::Central(part) => central(layout, action, part)?,
        Part::Service(node, service) => match action {
            Action::Stop => node::want(layout, node, service, false)?,
            Action::Start => node::want(layout, node, service, true)?,
            Action::Kill | Action::Refresh => node::signal_service(layout, node, service, "KILL")?,
            Action::Freeze => node::signal_service(layout, node, service, "STOP")?,
            Action::Thaw => node::signal_service(layout, node, service, "CONT")?,
        },
    }
    progress.say(format!("{name}: done"));
    Ok(())
}

fn central(layout: &Layout, action: Action, part: Component) -> Result<()> {
    let running =
        || control_plane::pid(layout, part).ok_or_else(|| Error::refused(format!("{} is not running", part.name())));
    match action {
        Action::Stop => control_plane::stop(layout, part, Signal::TERM)?,
        Action::Kill => control_plane::stop(layout, part, Signal::KILL)?,
        Action::Freeze => shell::signal(running()?, Signal::STOP),
        Action::Thaw => shell::signal(running()?, Signal::CONT),
        Action::Refresh => {
            control_plane::stop(layout, part, Signal::KILL)?;
            control_plane::start(layout, part)?;
        }
        Action::Start => {
            control_plane::start(layout, part)?;
            let waits = match part {
                Component::KubeApiserver => true,
                Component::Etcd => control_plane::pid(layout, Component::KubeApiserver).is_some(),
                _ => false,
            };
            if waits {
                shell::wait_until(60, "the API server", || Ok(Look::when(cluster::is_ready(layout)?, "not ready")))?;
            }
        }
    }
    Ok(())
}

/// Restarts every client of the API server, whose back-off after an outage may last more than a minute.
fn refresh(layout: &Layout, progress: Progress) -> Result<()> {
    for part in [Component::KubeControllerManager, Component::KubeScheduler] {
        central(layout, Action::Refresh, part)?;
    }
    for node in Node::all().filter(|node| node::init(layout, *node).is_some()) {
        for service in ["kubelet", "kube-proxy"] {
            node::signal_service(layout, node, service, "TERM")?;
        }
    }
    progress.say("controller manager, scheduler, kubelets and kube-proxies restarted; containers go on");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_a_component_or_a_service_of_a_node() {
        assert!(matches!(part("etcd"), Ok(Part::Central(Component::Etcd))));
        assert!(matches!(part("n2/kubelet"), Ok(Part::Service(_, "kubelet"))));
        for bad in ["", "kubelet", "n9/kubelet", "n1/etcd", "../../etc/passwd"] {
            assert!(part(bad).is_err(), "{bad:?}");
        }
    }
}
