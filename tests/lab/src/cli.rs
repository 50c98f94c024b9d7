//! The command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::client::Sql;
use crate::components::Action;
use crate::error::{Error, Result};
use crate::faults::{Blow, End};
use crate::layout::{DRIVER, Layout, Node};
use crate::lock::Lock;
use crate::progress::Progress;
use crate::shop::{Shop, Visitor};
use crate::writer::Writer;
use crate::{
    bench, cargo, cgroups, client, cluster, components, demo, demo_upgrade, faults, images, kubectl, lock, mutants,
    network, node, node_init, peer, product, shell, storage, test, writer,
};

#[derive(Debug, Parser)]
#[command(
    name = "lab",
    bin_name = "cargo lab",
    version,
    about = "A real Kubernetes cluster of three nodes on one machine"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build what is missing and bring the cluster up; does nothing if it is up
    Up,
    /// End the cluster, also the remains of a crash
    Down {
        /// Remove its data too: objects, volumes, loaded images
        #[arg(long)]
        purge: bool,
    },
    /// Show components, process ids, memory and nodes
    Status,
    /// Run kubectl against the cluster
    #[command(disable_help_flag = true)]
    Kubectl {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Run a command in the cluster's network, with KUBECONFIG set and the cluster's DNS
    Exec {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<OsString>,
    },
    /// Show the log of a component: kube-apiserver, etcd, .. or n1/kubelet, n1/containerd, n1/kube-proxy
    Logs {
        component: String,
        /// Go on as it grows
        #[arg(short, long)]
        follow: bool,
    },
    /// Tell a story on one screen: a group comes up, loses its primary, is writable again; or an application is upgraded
    Demo {
        #[arg(default_value = "failover")]
        story: Story,
    },
    /// Run everything that proves the project: format, lints, tests, tests on the cluster
    Test {
        /// Many more seeds, parts of the protocol taken out, and faults on the cluster that last
        #[arg(long)]
        long: bool,
        /// Only the tests on the cluster
        #[arg(long)]
        cluster: bool,
    },
    /// Take parts of the protocol out, one at a time, and see their stories fail
    Mutants {
        /// Only those whose description contains these words
        words: Option<String>,
    },
    /// Build and load the images of this tree and install Quorate with deploy/
    Install,
    /// Measure the lab itself; leaves it down
    Bench,
    /// Give an image to all nodes: an archive made by `docker save`, or quorate, sqlservr, lab or all, built from this tree
    Load { image: String },
    /// Strike a container of a pod
    #[command(subcommand)]
    Fault(Fault),
    /// Switch a node off or on, or hang it
    Node { action: NodeAction, node: Node },
    /// Drop all packets between two ends
    Cut {
        /// n1, cp (control plane), t (driver), rest, an IPv4 address or range, or NAMESPACE/POD
        a: End,
        b: End,
        /// Only packets from A to B
        #[arg(long)]
        one_way: bool,
    },
    /// Undo all cuts
    Heal,
    /// Stop, start, kill, freeze or thaw a part: etcd, kube-apiserver, .. or n1/kubelet, ..; or refresh all clients of the API
    Component {
        action: Action,
        /// Not needed for refresh
        name: Option<String>,
    },
    /// Write unique rows through a connection and keep a ledger; --check compares it with the table
    Writer(Box<Writer>),
    /// Run one batch of T-SQL and print its first result as JSON
    Sql(Box<Sql>),
    /// Serve a few bytes: the workload of the lab's own tests
    #[command(hide = true)]
    Serve {
        #[arg(default_value_t = 8080)]
        port: u16,
        #[arg(default_value = "/data/lines")]
        file: PathBuf,
    },
    /// Fetch HOST:PORT/PATH
    #[command(hide = true)]
    Get { url: String },
    /// Serve the page of a shop: the application of staged upgrades
    #[command(hide = true)]
    Shop(Box<Shop>),
    /// Order in a shop for ever
    #[command(hide = true)]
    Visit(Visitor),
    #[command(hide = true)]
    NodeInit { node: Node },
    #[command(hide = true)]
    Provisioner,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Story {
    Failover,
    Upgrade,
}

#[derive(Debug, Subcommand)]
enum Fault {
    /// SIGKILL to its main process
    Kill(Target),
    /// SIGSTOP to all its processes
    Freeze(Target),
    /// SIGCONT to all its processes
    Thaw(Target),
}

#[derive(Debug, Args)]
struct Target {
    pod: String,
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// The pod's first if not given
    #[arg(short, long)]
    container: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum NodeAction {
    On,
    Off,
    Freeze,
    Thaw,
}

/// Runs one command; its exit code.
pub(crate) fn run(cli: Cli) -> Result<i32> {
    let (layout, progress) = (Layout::from_environment(), Progress::start());
    match cli.command {
        Command::Up => {
            let _lock = locked("up")?;
            cluster::up(&layout, progress)?;
        }
        Command::Down { purge } => {
            let _lock = locked("down")?;
            cluster::down(&layout, purge, progress)?;
        }
        Command::Demo { story } => {
            let _lock = locked("demo")?;
            match story {
                Story::Failover => demo::run(&layout, progress)?,
                Story::Upgrade => demo_upgrade::run(&layout, progress)?,
            }
        }
        Command::Test { long, cluster } => {
            let _lock = locked("test")?;
            return test::run(&layout, long, cluster, progress);
        }
        Command::Mutants { words } => mutants::run(words.as_deref(), progress)?,
        Command::Install => {
            needs_up()?;
            product::load_images(&layout, progress)?;
            product::install(&layout, progress)?;
        }
        Command::Bench => {
            let _lock = locked("bench")?;
            bench::run(&layout, progress)?;
        }
        Command::Status => cluster::status(&layout)?,
        Command::Kubectl { arguments } => return shell::interactive(kubectl::command(&layout)?.args(arguments)),
        Command::Exec { command } => return exec(&layout, &command),
        Command::Logs { component, follow } => return components::logs(&layout, &component, follow),
        Command::Load { image } => load(&layout, &image, progress)?,
        Command::Fault(fault) => strike(&layout, fault, progress)?,
        Command::Node { action, node } => power(&layout, action, node, progress)?,
        Command::Cut { a, b, one_way } => {
            needs_up()?;
            faults::cut(&layout, a, b, one_way)?;
            progress.say("cut");
        }
        Command::Heal => {
            faults::heal(&layout)?;
            progress.say("healed: nothing is cut");
        }
        Command::Component { action, name } => components::act(&layout, action, name.as_deref(), progress)?,
        Command::Sql(sql) => return client::sql(*sql),
        Command::Writer(writer) => return writer::run(*writer),
        Command::Serve { port, file } => peer::serve(port, &file)?,
        Command::Get { url } => peer::get(&url)?,
        Command::Shop(shop) => shop.serve()?,
        Command::Visit(visitor) => visitor.visit()?,
        Command::NodeInit { node } => node_init::run(&layout, node)?,
        Command::Provisioner => storage::run(&layout)?,
    }
    Ok(0)
}

fn locked(command: &str) -> Result<Lock> {
    cluster::must_be_root()?;
    Lock::take(&lock::path(), command)
}

pub(crate) fn needs_up() -> Result<()> {
    cluster::must_be_root()?;
    if network::exists(DRIVER) {
        Ok(())
    } else {
        Err(Error::refused("the lab is not up; start it with `cargo lab up`"))
    }
}

/// A command that sees the cluster's network and names, and otherwise the machine as it is.
pub(crate) fn inside(layout: &Layout, command: &[OsString]) -> Result<Process> {
    needs_up()?;
    let resolver = layout.root().join("driver-resolv.conf");
    shell::put(
        &resolver,
        "nameserver 10.233.0.10\nsearch svc.cluster.local cluster.local\noptions timeout:1 attempts:3\n",
    )?;
    // Only the root mount becomes private: namespaces made by `lab node on` from within must stay visible outside.
    let script = "mount --make-private / && mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
    let mut process = network::inside(DRIVER, "unshare");
    process.args(["--mount", "--propagation=unchanged", "sh", "-c", script]).arg(resolver).args(command);
    cargo::without_our_package(&mut process);
    process.env("KUBECONFIG", layout.kubeconfig()).env("QUORATE_LAB", "1").env("QUORATE_LAB_STATE", layout.root());
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = std::env::current_exe().ok().and_then(|program| Some(program.parent()?.to_path_buf()));
    let paths = [layout.programs()].into_iter().chain(own).chain(std::env::split_paths(&path));
    if let Ok(paths) = std::env::join_paths(paths) {
        process.env("PATH", paths);
    }
    Ok(process)
}

fn exec(layout: &Layout, command: &[OsString]) -> Result<i32> {
    shell::interactive(&mut inside(layout, command)?)
}

fn load(layout: &Layout, image: &str, progress: Progress) -> Result<()> {
    let file = Path::new(image);
    if file.is_file() {
        needs_up()?;
        return cluster::load(layout, file, progress);
    }
    let names = [("quorate", images::QUORATE), ("sqlservr", images::STANDIN), ("lab", images::LAB)];
    let chosen: Vec<&str> = names
        .iter()
        .filter(|(short, long)| image == "all" || image == *short || image == *long)
        .map(|(_, long)| *long)
        .collect();
    if chosen.is_empty() {
        return Err(Error::refused(format!("{image:?} is neither a file nor one of quorate, sqlservr, lab, all")));
    }
    needs_up()?;
    let archives: Vec<PathBuf> = images::workspace(progress)?;
    for archive in archives {
        if chosen.contains(&images::name_of(&archive)?.as_str()) {
            cluster::load(layout, &archive, progress)?;
        }
    }
    Ok(())
}

fn strike(layout: &Layout, fault: Fault, progress: Progress) -> Result<()> {
    needs_up()?;
    let (target, blow, done) = match fault {
        Fault::Kill(target) => (target, Blow::Kill, "killed"),
        Fault::Freeze(target) => (target, Blow::Freeze, "froze"),
        Fault::Thaw(target) => (target, Blow::Thaw, "thawed"),
    };
    let pids = faults::strike(layout, &target.namespace, &target.pod, target.container.as_deref(), blow)?;
    progress.say(format!("{done} {}/{}, processes {pids:?}", target.namespace, target.pod));
    Ok(())
}

fn power(layout: &Layout, action: NodeAction, node: Node, progress: Progress) -> Result<()> {
    needs_up()?;
    match action {
        NodeAction::Off => {
            node::power_off(layout, node)?;
            progress.say(format!("{node} is off"));
        }
        NodeAction::On => {
            node::power_on(layout, node)?;
            node::start_kubelet(layout, node)?;
            progress.say(format!("{node} is on; it is Ready about a second later"));
        }
        NodeAction::Freeze => {
            cgroups::freeze(node, true)?;
            progress.say(format!("{node} hangs"));
        }
        NodeAction::Thaw => {
            cgroups::freeze(node, false)?;
            progress.say(format!("{node} goes on"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(arguments: &[&str]) -> String {
        Cli::try_parse_from(["lab"].iter().chain(arguments)).unwrap_err().to_string()
    }

    #[test]
    fn wrong_arguments_are_named() {
        for (arguments, part) in [
            (vec!["node", "off", "n9"], "there is no node"),
            (vec!["node", "explode", "n1"], "explode"),
            (vec!["cut", "n1"], "<B>"),
            (vec!["cut", "n1", "moon"], "is no end of a cut"),
            (vec!["fault", "kill"], "<POD>"),
            (vec!["exec"], "<COMMAND>"),
            (vec!["fly"], "fly"),
        ] {
            let text = refusal(&arguments);
            assert!(text.contains(part), "{arguments:?}: {text}");
        }
    }
}
