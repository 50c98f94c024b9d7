//! A copy of an attempt that was given up goes from an instance of the stage, so that the next attempt is seeded anew.

use super::{
    super::role::{in_turn, refuse_if, refuse_unless},
    Batch, Login, indented,
    mark::only_stage,
    only_where_it_leads,
    session::kill_all,
};
use crate::{decide::upgrade::Instance, model::DatabaseName, sql::error::guard};

/// Of a promoted stage the primary's copy is taken out of its group first, and whoever is in it is sent away. What is left
/// elsewhere, and of a stage that was never promoted, is RESTORING and in no group.
pub(super) fn discard(at: &Instance, database: &DatabaseName, mark: Option<&str>) -> Batch {
    let (quoted, text) = (database.quoted(), database.literal());
    let is =
        |condition: &str| format!("EXISTS (SELECT 1 FROM sys.databases AS d WHERE d.name = {text} AND {condition})");
    let linked = "EXISTS (SELECT 1 FROM sys.availability_groups AS g WHERE g.is_distributed = 1)";
    let mut lines = vec![refuse_if(linked, guard::TAKEN, "a link is defined here")];
    match mark {
        Some(mark) => lines.extend([
            only_where_it_leads(&at.group),
            only_stage(database, mark),
            format!(
                "IF {}\n    ALTER AVAILABILITY GROUP {} REMOVE DATABASE {quoted};",
                is("d.replica_id IS NOT NULL"),
                at.group.quoted()
            ),
            kill_all(&format!("s.is_user_process = 1 AND s.session_id <> @@SPID AND s.database_id = DB_ID({text})")),
        ]),
        None => lines.push(refuse_unless(
            &is("d.state = 1 AND d.replica_id IS NULL"),
            guard::NOT_A_STAGE,
            &format!("database {database} is not RESTORING outside of any group"),
        )),
    }
    lines.push(format!("DROP DATABASE {quoted};"));
    let text = format!("IF DB_ID({text}) IS NOT NULL\nBEGIN\n{}\nEND;", indented(&lines));
    Batch::new(Login::Admin, in_turn(&[text])).within(30)
}
