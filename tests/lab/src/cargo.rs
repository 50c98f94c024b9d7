//! How this tree is compiled, and where the result lies.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::binaries;
use crate::error::Result;
use crate::shell;

/// What the images' architecture is called by the compiler.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Takes out what `cargo run` told this program: build scripts that ask for it would run anew each time.
pub(crate) fn without_our_package(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
}

/// The tree and the directory of what is compiled from it.
pub(crate) struct Build {
    tree: PathBuf,
    target: PathBuf,
}

impl Build {
    /// Into `$CARGO_TARGET_DIR`, the tree's own directory if tests were built there, else the cache, which outlives a
    /// fresh clone.
    pub(crate) fn of_the_tree() -> Result<Self> {
        Self::at(binaries::workspace()?)
    }

    /// Of a copy of the tree, too.
    pub(crate) fn at(tree: PathBuf) -> Result<Self> {
        let target = match std::env::var_os("CARGO_TARGET_DIR").filter(|value| !value.is_empty()) {
            Some(target) => tree.join(target),
            None if tree.join("target/debug").exists() => tree.join("target"),
            None => binaries::cache()?.join("target"),
        };
        Ok(Self { tree, target })
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("cargo");
        command.args(arguments);
        self.environment(&mut command);
        command
    }

    /// Has a command, which runs cargo, compile as `.cargo/config.toml` says, and nothing twice.
    pub(crate) fn environment(&self, command: &mut Command) {
        command.current_dir(&self.tree).env("CARGO_TARGET_DIR", &self.target);
        // Files for the next change cost time and space.
        command.env("CARGO_INCREMENTAL", "0");
        for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET"] {
            command.env_remove(name);
        }
        without_our_package(command);
    }

    /// A copy, in `directory`, of the static program that was compiled last, without what only a debugger reads.
    pub(crate) fn program(&self, name: &str, directory: &Path) -> Result<PathBuf> {
        let copy = directory.join(name);
        let built = self.target.join(TARGET).join("debug").join(name);
        shell::output(Command::new("strip").arg("-o").arg(&copy).arg(&built))?;
        Ok(copy)
    }
}
