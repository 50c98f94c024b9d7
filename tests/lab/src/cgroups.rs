//! The nodes' control groups: where kubelet puts pods, where a whole node is frozen, where a container is found.
//!
//! The first version of control groups was tried; the second follows its documentation.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use crate::error::{AtPath as _, Error, Result};
use crate::layout::{CGROUP, Node};

const ROOT: &str = "/sys/fs/cgroup";

fn is_second_version() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

/// Every hierarchy there is; the second version has one.
fn hierarchies() -> Vec<PathBuf> {
    if is_second_version() {
        return vec![PathBuf::from(ROOT)];
    }
    let entries = fs::read_dir(ROOT).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    // Names such as "cpu,cpuacct" come with links to them; removing twice does no harm.
    entries.filter(|path| path.join("cgroup.procs").exists()).collect()
}

/// Makes the node's group in every hierarchy.
pub(crate) fn prepare(node: Node) -> Result<()> {
    for hierarchy in hierarchies() {
        let mut group = hierarchy.clone();
        for part in Path::new(&node.cgroup()).components() {
            if is_second_version() {
                delegate(&group)?;
            }
            let parent = group.clone();
            group.push(part);
            fs::create_dir_all(&group).at(&group)?;
            inherit_processors(&parent, &group)?;
        }
        if is_second_version() {
            delegate(&group)?;
            let services = group.join("services");
            fs::create_dir_all(&services).at(&services)?;
        }
    }
    Ok(())
}

fn delegate(group: &Path) -> Result<()> {
    let available = group.join("cgroup.controllers");
    let available = fs::read_to_string(&available).at(&available)?;
    let file = group.join("cgroup.subtree_control");
    for controller in available.split_whitespace() {
        fs::write(&file, format!("+{controller}")).at(&file)?;
    }
    Ok(())
}

/// In the first version a new cpuset is empty, and nothing can run in it.
fn inherit_processors(parent: &Path, group: &Path) -> Result<()> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let (from, to) = (parent.join(name), group.join(name));
        if !is_second_version() && to.exists() && fs::read_to_string(&to).at(&to)?.trim().is_empty() {
            fs::write(&to, fs::read_to_string(&from).at(&from)?).at(&to)?;
        }
    }
    Ok(())
}

/// Puts the calling process where [`freeze`] reaches it and all its descendants.
pub(crate) fn join(node: Node) -> Result<()> {
    let group = if is_second_version() {
        Path::new(ROOT).join(node.cgroup()).join("services")
    } else {
        Path::new(ROOT).join("freezer").join(node.cgroup())
    };
    let file = group.join("cgroup.procs");
    fs::write(&file, "0").at(&file)
}

/// Stops or continues everything that runs on the node. True if that is possible.
pub(crate) fn freeze(node: Node, frozen: bool) -> Result<()> {
    let (file, text) = if is_second_version() {
        (Path::new(ROOT).join(node.cgroup()).join("cgroup.freeze"), if frozen { "1" } else { "0" })
    } else {
        let file = Path::new(ROOT).join("freezer").join(node.cgroup()).join("freezer.state");
        (file, if frozen { "FROZEN" } else { "THAWED" })
    };
    if !file.exists() {
        return if frozen { Err(Error::refused(format!("node {node} is not running"))) } else { Ok(()) };
    }
    fs::write(&file, text).at(&file)
}

/// Removes a group, such as `qlab` or `qlab/n1`, with all below it.
pub(crate) fn remove(group: &str) {
    for hierarchy in hierarchies() {
        let directory = hierarchy.join(group);
        // A group is busy for a moment after its last process has died.
        for _ in 0..50 {
            remove_below(&directory);
            if !directory.exists() {
                break;
            }
            sleep(Duration::from_millis(20));
        }
    }
}

fn remove_below(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_below(&entry.path());
        }
    }
    let _ = fs::remove_dir(directory);
}

/// The processes of a container by its identifier; the first is its main process.
pub(crate) fn container(id: &str) -> Result<Vec<i32>> {
    let root = if is_second_version() { PathBuf::from(ROOT) } else { Path::new(ROOT).join("pids") };
    let gone = || Error::refused(format!("container {id} has no process: it is not running"));
    let group = find(&root.join(CGROUP), id).ok_or_else(gone)?;
    let file = group.join("cgroup.procs");
    let text = fs::read_to_string(&file).at(&file)?;
    let mut pids: Vec<i32> = text.lines().filter_map(|line| line.trim().parse().ok()).collect();
    pids.sort_by_key(|pid| !is_first_in_its_namespace(*pid));
    if pids.is_empty() { Err(gone()) } else { Ok(pids) }
}

fn is_first_in_its_namespace(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let inner = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    inner.and_then(|pids| pids.split_whitespace().last()) == Some("1")
}

fn find(directory: &Path, name: &str) -> Option<PathBuf> {
    let direct = directory.join(name);
    if direct.is_dir() {
        return Some(direct);
    }
    let entries = fs::read_dir(directory).ok()?.flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .find_map(|entry| find(&entry.path(), name))
}
