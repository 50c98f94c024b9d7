//! A real Kubernetes cluster of three nodes on one machine, without a container engine and without a way out.
//!
//! ```text
//! cargo lab up                       build what is missing, bring the cluster up
//! cargo lab kubectl get nodes        kubectl against it
//! cargo lab status                   components, process ids, memory
//! cargo lab exec -- CMD              any command in the cluster's network, with its DNS and KUBECONFIG
//! cargo lab load all                 images of quorate, the stand-in and the lab, built from this tree
//! cargo lab fault kill POD -n NS     kill, freeze or thaw a container
//! cargo lab node off n2              pull the plug of a node; on, freeze, thaw
//! cargo lab cut n1 n2; cargo lab heal
//! cargo lab component kill kube-apiserver
//! cargo lab logs n1/kubelet
//! cargo lab down --purge
//! ```
//!
//! It needs Linux, root, Rust, Go and a Debian whose packages it may install. Kubernetes, etcd and CoreDNS are built
//! from their Go modules (pinned in `control-plane/go.sum` and `coredns/go.sum`) and kept in a cache directory:
//! `$QUORATE_CACHE`, `$XDG_CACHE_HOME/quorate` or `~/.cache/quorate`. State of the running cluster is in
//! `/var/lib/quorate-lab` (`$QUORATE_LAB_STATE`). containerd, runc and the network plugins come from Debian.
//!
//! A node is a set of namespaces whose first process is this program (`node_init`): killing it is the power switch.
//! [`layout`] shows names and addresses.

mod bench;
mod binaries;
mod cargo;
mod cgroups;
mod cli;
mod client;
mod cluster;
mod components;
mod control_plane;
mod demo;
mod demo_upgrade;
mod error;
mod faults;
mod images;
mod kubectl;
mod layout;
mod ledger;
mod lock;
mod mutants;
mod network;
mod node;
mod node_init;
mod packages;
mod peer;
mod pki;
mod processes;
mod product;
mod progress;
mod python;
mod shell;
mod shop;
mod storage;
mod test;
mod writer;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match cli::run(cli::Cli::parse()) {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(error) => {
            eprintln!("lab: {error}");
            ExitCode::FAILURE
        }
    }
}
