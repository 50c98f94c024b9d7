//! kubectl from the driver's seat.

use std::process::Command;

use crate::error::{Error, Result};
use crate::layout::{DRIVER, Layout};
use crate::{network, shell};

/// A kubectl command in the lab's network, with the administrator's kubeconfig.
pub(crate) fn command(layout: &Layout) -> Result<Command> {
    if !network::exists(DRIVER) || !layout.kubeconfig().exists() {
        return Err(Error::refused("the lab is not up; start it with `cargo lab up`"));
    }
    let mut command = network::inside(DRIVER, layout.programs().join("kubectl"));
    command.env("KUBECONFIG", layout.kubeconfig());
    Ok(command)
}

pub(crate) fn output(layout: &Layout, arguments: &[&str]) -> Result<String> {
    shell::output(command(layout)?.args(arguments))
}

pub(crate) fn json(layout: &Layout, arguments: &[&str]) -> Result<serde_json::Value> {
    let text = output(layout, arguments)?;
    serde_json::from_str(&text)
        .map_err(|source| Error::Json { what: format!("kubectl {}", arguments.join(" ")), source })
}

pub(crate) fn apply(layout: &Layout, manifest: &str) -> Result<()> {
    let mut command = command(layout)?;
    shell::feed(command.args(["apply", "--server-side", "--force-conflicts", "--filename=-"]), manifest).map(drop)
}
