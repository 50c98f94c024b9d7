//! What works, but not as well as people may think.

use super::{Reason, diagnose::View};

/// Warnings about a wish: word and sentence.
pub fn warnings(view: &View<'_>) -> Vec<(Reason, String)> {
    let group = &view.seen.group;
    let mut warnings = Vec::new();
    let votes = group.voters().count();
    if group.synchronous() == 2 && votes == 2 {
        let message = "two synchronous replicas without a configuration-only one: when the primary is lost nothing is promoted by itself (unless commit quorum is 1); add spec.configurationOnly.replicas: 1 or a third replica";
        warnings.push((Reason::TwoSynchronousReplicas, message.into()));
    }
    let tag = group.pods.image.rsplit(':').next().unwrap_or_default();
    if tag.ends_with("latest") {
        warnings.push((
            Reason::MovingTag,
            format!(
                "the tag of {} moves: pods started later may run another version; pin a cumulative update",
                group.pods.image
            ),
        ));
    }
    if let Some(long) = group.replicas.keys().find(|name| name.as_str().len() > 15) {
        warnings
            .push((Reason::LongName, format!("{long} has more than the documented 15 characters of a server name")));
    }
    warnings
}
