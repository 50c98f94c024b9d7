//! Programs built from source once and kept under the hash of all that goes into them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest as _, Sha256};

use crate::error::{AtPath as _, Error, Result};
use crate::progress::Progress;
use crate::shell;

/// The names the multi-call binary answers to.
const PROGRAMS: [&str; 7] =
    ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"];
/// Without these the programs would call themselves v0.0.0-master.
const VERSION_FLAGS: &str = "-s -w -X k8s.io/component-base/version.gitVersion=v1.34.4 \
     -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=34 \
     -X k8s.io/component-base/version.gitTreeState=clean";
const PLAIN_FLAGS: &str = "-s -w";

/// A Go program of the lab; its source is part of this binary.
struct Module {
    name: &'static str,
    flags: &'static str,
    /// What a user should expect on two free cores.
    patience: &'static str,
    files: &'static [(&'static str, &'static str)],
}

const CONTROL_PLANE: Module = Module {
    name: "k8s",
    flags: VERSION_FLAGS,
    patience: "about 5 minutes on two cores, once",
    files: &[
        ("go.mod", include_str!("../control-plane/go.mod")),
        ("go.sum", include_str!("../control-plane/go.sum")),
        ("main.go", include_str!("../control-plane/main.go")),
    ],
};
const COREDNS: Module = Module {
    name: "coredns",
    flags: PLAIN_FLAGS,
    patience: "about a minute, once",
    files: &[
        ("go.mod", include_str!("../coredns/go.mod")),
        ("go.sum", include_str!("../coredns/go.sum")),
        ("main.go", include_str!("../coredns/main.go")),
    ],
};
const PAUSE: Module = Module {
    name: "pause",
    flags: PLAIN_FLAGS,
    patience: "a second",
    files: &[("go.mod", include_str!("../pause/go.mod")), ("main.go", include_str!("../pause/main.go"))],
};

/// Where the built programs are.
#[derive(Debug, Clone)]
pub(crate) struct Binaries {
    /// Directory with one name for each program of the cluster.
    pub(crate) programs: PathBuf,
    pub(crate) coredns: PathBuf,
    pub(crate) pause: PathBuf,
}

/// `$QUORATE_CACHE`, `$XDG_CACHE_HOME/quorate` or `~/.cache/quorate`.
pub(crate) fn cache() -> Result<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let directory = variable("QUORATE_CACHE")
        .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("quorate")))
        .or_else(|| Some(variable("HOME")?.join(".cache/quorate")))
        .ok_or_else(|| Error::refused("set QUORATE_CACHE or HOME: the lab keeps what it builds there"))?;
    if directory.is_relative() {
        return Err(Error::refused(format!("the cache directory must be absolute, not {}", directory.display())));
    }
    fs::create_dir_all(&directory).at(&directory)?;
    Ok(directory)
}

/// The first 16 hexadecimal digits of a hash over named parts; neither names nor texts can run into one another.
pub(crate) fn fingerprint<'a>(parts: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut hash = Sha256::new();
    for (name, text) in parts {
        for piece in [name.as_bytes(), text] {
            hash.update(piece.len().to_le_bytes());
            hash.update(piece);
        }
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Builds what is not in the cache yet.
pub(crate) fn ensure(progress: Progress) -> Result<Binaries> {
    let cache = cache()?;
    let toolchain = toolchain()?;
    // Two commands at once would only fight for the cores: the second waits for the result of the first.
    let guard = cache.join("build.lock");
    let file = File::create(&guard).at(&guard)?;
    file.lock().at(&guard)?;
    let pause = module(&cache, &PAUSE, &toolchain, progress)?;
    let coredns = module(&cache, &COREDNS, &toolchain, progress)?;
    let programs = module(&cache, &CONTROL_PLANE, &toolchain, progress)?;
    Ok(Binaries { programs, coredns: coredns.join("coredns"), pause: pause.join("pause") })
}

fn toolchain() -> Result<String> {
    // Run outside any module, so that no go.mod asks for another toolchain.
    shell::output(Command::new("go").args(["env", "GOVERSION", "GOARCH"]).current_dir("/"))
        .map_err(|error| Error::refused(format!("the lab builds Kubernetes with Go 1.26 or later; {error}")))
}

fn module(cache: &Path, module: &Module, toolchain: &str, progress: Progress) -> Result<PathBuf> {
    let parts = module.files.iter().map(|(name, text)| (*name, text.as_bytes()));
    let hash = fingerprint(parts.chain([("flags", module.flags.as_bytes()), ("toolchain", toolchain.as_bytes())]));
    let directory = cache.join(format!("{}-{hash}", module.name));
    if directory.exists() {
        return Ok(directory);
    }
    progress.say(format!("building {} from source: {}", module.name, module.patience));
    let work = cache.join(format!("{}-{hash}.partial", module.name));
    let source = work.join("source");
    if work.exists() {
        fs::remove_dir_all(&work).at(&work)?;
    }
    fs::create_dir_all(&source).at(&source)?;
    for (name, text) in module.files {
        let file = source.join(name);
        fs::write(&file, text).at(&file)?;
    }
    let mut command = Command::new("go");
    command.args(["build", "-trimpath", "-mod=readonly", "-ldflags", module.flags, "-o"]);
    command.arg(work.join(module.name)).arg(".").current_dir(&source).env("CGO_ENABLED", "0");
    let what = format!("building {}", module.name);
    shell::long_job(&mut command, &work.join("build.log"), &what, progress)?;
    if module.name == CONTROL_PLANE.name {
        for program in PROGRAMS {
            let link = work.join(program);
            std::os::unix::fs::symlink(module.name, &link).at(&link)?;
        }
    }
    fs::rename(&work, &directory).at(&directory)?;
    progress.say(format!("built {}", module.name));
    Ok(directory)
}

/// The tree this program was built from: found upwards of the working directory, else where it was compiled.
pub(crate) fn workspace() -> Result<PathBuf> {
    let is_tree = |directory: &Path| directory.join("tests/lab/Cargo.toml").is_file();
    let here = std::env::current_dir().unwrap_or_default();
    if let Some(tree) = here.ancestors().find(|directory| is_tree(directory)) {
        return Ok(tree.to_path_buf());
    }
    let compiled = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    compiled
        .filter(|directory| is_tree(directory))
        .map(Path::to_path_buf)
        .ok_or_else(|| Error::refused("run this inside the source tree of Quorate: it has to build the images"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_tells_apart_what_concatenation_would_not() {
        let one = fingerprint([("a", b"bc".as_slice())]);
        assert_eq!(one.len(), 16);
        assert_eq!(one, fingerprint([("a", b"bc".as_slice())]));
        for other in [fingerprint([("ab", b"c".as_slice())]), fingerprint([("a", b"b".as_slice()), ("", b"c")])] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn every_go_module_pins_its_dependencies() {
        for module in [CONTROL_PLANE, COREDNS] {
            assert!(module.files.iter().any(|(name, text)| *name == "go.sum" && text.lines().count() > 100));
        }
    }
}
