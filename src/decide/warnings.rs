//! What works, but not as well as people may think.

use super::{
    Reason,
    diagnose::{View, utc},
};
use crate::model::Management;

/// Warnings about a wish and what became of it: word and sentence.
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
    warnings.extend(overdue(view).map(|message| (Reason::LogBackupOverdue, message)));
    warnings
}

/// Log backups are taken each few minutes to hours. Whoever has taken none for a day takes none: the log has grown all the
/// time, and the database can be restored to no moment of it.
const LOG_BACKUP_OVERDUE: i64 = 24 * 3_600;

/// Managed databases whose log was not backed up for too long; one that never was counts from its creation, since the
/// backup to nowhere with which it begins is a full one.
fn overdue(view: &View<'_>) -> Option<String> {
    let backups = view.seen.log_backups.as_ref()?;
    let managed = view.seen.group.databases.iter().filter(|database| database.management == Management::Managed);
    let overdue = managed.filter_map(|database| {
        let backup = backups.get(&database.name)?;
        let since = backup.last.unwrap_or(backup.created);
        let words = match backup.last {
            Some(last) => format!("{} (last one at {})", database.name, utc(last)),
            None => format!("{} (never; there since {})", database.name, utc(backup.created)),
        };
        (backup.read - since > LOG_BACKUP_OVERDUE).then_some(words)
    });
    let overdue: Vec<_> = overdue.collect();
    (!overdue.is_empty()).then(|| {
        format!(
            "no log backup for more than 24 h: {}; FULL recovery keeps the whole log until BACKUP LOG, and without it a \
             restore ends at the last full backup; Quorate takes no backups",
            overdue.join(", ")
        )
    })
}
