//! Quorate on the lab: its images, its installation, the example group.

use std::fs;

use crate::error::{AtPath as _, Error, Result};
use crate::layout::Layout;
use crate::progress::Progress;
use crate::shell::{self, Look};
use crate::{binaries, cluster, images, kubectl};

pub(crate) const SYSTEM: &str = "quorate-system";
/// Namespace and name of the example group.
pub(crate) const SHOP: &str = "shop";
pub(crate) const ORDERS: &str = "orders";

/// Builds all images of the tree and gives them to the nodes.
pub(crate) fn load_images(layout: &Layout, progress: Progress) -> Result<()> {
    images::workspace(progress)?.iter().try_for_each(|archive| cluster::load(layout, archive, progress))
}

/// Applies `deploy/` with the image of this tree and waits for the operator's pods.
pub(crate) fn install(layout: &Layout, progress: Progress) -> Result<()> {
    let deploy = binaries::workspace()?.join("deploy");
    if !deploy.join("kustomization.yaml").exists() {
        return Err(Error::refused(format!("{} has no kustomization.yaml", deploy.display())));
    }
    let manifest = kubectl::output(layout, &["kustomize", &deploy.display().to_string()])?;
    // The image once more, as the operator's own word for its init containers.
    let manifest = manifest.replace("value: quorate:dev", &format!("value: {}", images::QUORATE));
    kubectl::apply(layout, &with_image(&manifest, "quorate", images::QUORATE))?;
    // A tag that stays the same changes no template: pods of an older image have to be replaced.
    let pods = ["delete", "pods", "--namespace", SYSTEM, "--all", "--wait=false"];
    kubectl::output(layout, &pods)?;
    let rollout = ["rollout", "status", "deployment/quorate", "--namespace", SYSTEM, "--timeout=60s"];
    kubectl::output(layout, &rollout).map_err(|error| {
        let said = ["logs", "--namespace", SYSTEM, "deployment/quorate", "--tail=5"];
        let said = kubectl::output(layout, &said).unwrap_or_default();
        Error::refused(format!("{error}\nits last words:\n{said}"))
    })?;
    progress.say("Quorate is installed: two pods, one of them leads");
    Ok(())
}

/// The example with three synchronous replicas, running on the stand-in.
pub(crate) fn example(layout: &Layout) -> Result<()> {
    let file = binaries::workspace()?.join("deploy/examples/three-synchronous.yaml");
    let manifest = with_image(&fs::read_to_string(&file).at(&file)?, "mssql", images::STANDIN);
    // One that is just being deleted would take the new objects with it.
    shell::wait_until(180, "an earlier namespace of the example to be gone", || {
        let phase = ["get", "namespace", SHOP, "--ignore-not-found", "--output=jsonpath={.status.phase}"];
        let phase = kubectl::output(layout, &phase)?;
        Ok(Look::when(phase != "Terminating", phase))
    })?;
    let namespace = format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {SHOP}}}}}");
    kubectl::apply(layout, &namespace)?;
    kubectl::apply(layout, &manifest)
}

/// The example of a staged upgrade on the stand-in, which asks nobody.
pub(crate) fn upgrade() -> Result<String> {
    let file = binaries::workspace()?.join("deploy/examples/staged-upgrade.yaml");
    let manifest = with_image(&fs::read_to_string(&file).at(&file)?, "mssql", images::STANDIN);
    let shipped = "start: Automatic, switch: Manual, retire: Manual";
    Ok(manifest.replace(shipped, "start: Manual, switch: Automatic, retire: Automatic"))
}

pub(crate) fn group(layout: &Layout) -> Result<serde_json::Value> {
    kubectl::json(layout, &["get", "availabilitygroup", "--namespace", SHOP, ORDERS, "--output=json"])
}

/// Waits until the group is Ready; its primary.
pub(crate) fn wait_for_group(layout: &Layout, seconds: u64) -> Result<String> {
    let mut primary = String::new();
    shell::wait_until(seconds, "the group to be Ready", || {
        let group = group(layout)?;
        let seen = group.pointer("/status/conditions").map(ToString::to_string).unwrap_or_default();
        primary = group.pointer("/status/primary").and_then(|name| name.as_str()).unwrap_or_default().to_owned();
        Ok(Look::when(cluster::condition_is_true(&group, "Ready") && !primary.is_empty(), seen))
    })?;
    Ok(primary)
}

/// Replaces every image whose name holds `part`, whatever its indentation, list mark or comment.
fn with_image(manifest: &str, part: &str, image: &str) -> String {
    let line = |line: &str| match line.split_once("image:") {
        Some((before, old)) if before.trim_matches([' ', '-']).is_empty() && old.contains(part) => {
            format!("{before}image: {image}\n")
        }
        _ => format!("{line}\n"),
    };
    manifest.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_image_is_replaced() {
        let manifest =
            "spec:\n  image: mcr.microsoft.com/mssql/server:2022 # pinned\n  - image: other:1\n  note: image: mssql\n";
        let replaced = "spec:\n  image: lab.local/x:1\n  - image: other:1\n  note: image: mssql\n";
        assert_eq!(with_image(manifest, "mssql", "lab.local/x:1"), replaced);
    }
}
