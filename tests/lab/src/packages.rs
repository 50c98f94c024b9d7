//! The Debian packages that a running cluster needs.

use std::path::Path;
use std::process::Command;

use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::shell;

/// A file that proves the package is there, and the package.
const NEEDED: [(&str, &str); 8] = [
    ("/usr/bin/containerd", "containerd"),
    ("/usr/sbin/runc", "runc"),
    ("/usr/lib/cni/ptp", "containernetworking-plugins"),
    ("/usr/sbin/nft", "nftables"),
    ("/bin/ip", "iproute2"),
    ("/usr/bin/nsenter", "util-linux"),
    ("/sbin/sysctl", "procps"),
    ("/bin/mount", "mount"),
];

fn missing(exists: impl Fn(&str) -> bool) -> Vec<&'static str> {
    NEEDED.iter().filter(|(file, _)| !exists(file)).map(|(_, package)| *package).collect()
}

/// Installs what is missing, or names it if that cannot be done here.
pub(crate) fn ensure(progress: Progress) -> Result<()> {
    install(&missing(|file| Path::new(file).exists()), progress)
}

pub(crate) fn install(missing: &[&str], progress: Progress) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !Path::new("/usr/bin/apt-get").exists() {
        return Err(Error::refused(format!("please install these programs first: {list}")));
    }
    if !rustix::process::geteuid().is_root() {
        return Err(Error::refused(format!("please install these packages first: apt-get install {list}")));
    }
    progress.say(format!("installing Debian packages: {list}"));
    let had_containerd = Path::new("/usr/bin/containerd").exists();
    let install = || {
        let mut command = Command::new("apt-get");
        command.args(["install", "--yes", "--quiet", "--no-install-recommends"]).args(missing);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        shell::output(&mut command)
    };
    if install().is_err() {
        // The lists may be old, or absent.
        shell::output(Command::new("apt-get").args(["update", "--quiet"]))?;
        install()?;
    }
    if !had_containerd && Path::new("/run/systemd/system").exists() {
        // Every node runs its own; the machine's service, which the package starts, is of no use here.
        shell::output(Command::new("systemctl").args(["disable", "--now", "containerd.service"]))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_absent_is_asked_for() {
        assert!(missing(|_| true).is_empty());
        assert_eq!(missing(|file| file != "/usr/sbin/nft"), ["nftables"]);
    }
}
