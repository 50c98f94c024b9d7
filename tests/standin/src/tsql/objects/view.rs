//! CREATE and ALTER VIEW.

use crate::{
    errors::{Message, SqlResult},
    tsql::{
        ast::{Definition, ObjectName},
        emit::{EmittedQuery, Emitter, quote},
        parse::not_supported,
        problem,
        read::SessionFacts,
        session::Session,
    },
};
use sqlparser::ast::{Query, SetExpr};

impl Session {
    pub(super) async fn create_view(&mut self, name: &ObjectName, how: Definition, query: &Query) -> SqlResult<()> {
        let (database, view) = self.new_object(name, "CREATE VIEW", how, 'V')?;
        let facts = SessionFacts::new(self);
        let emitted = Emitter::new(&facts, true).whole_query(query).map_err(|message| facts.decide(message))?;
        check(query, &emitted, &name.name)?;
        if !emitted.used.views.is_empty() || emitted.used.state || emitted.used.databases.iter().any(|d| *d != database)
        {
            return Err(not_supported("A view over system views, other databases or functions of the server"));
        }
        if emitted.used.drawn {
            return Err(not_supported("A moment or a random value in a view"));
        }
        // SQLite would take a query of tables and columns that are not there.
        self.on_connection(&database, |connection| {
            let prepared = connection.prepare(&emitted.sql).map(|_| ());
            prepared.map_err(|error| problem::translate(Message::new(50_000, 16, error.to_string()), Some(connection)))
        })?;
        let sql = emitted.sql.replace("main.`", "`");
        let statements = vec![
            (format!("DROP VIEW IF EXISTS main.{}", quote(&view)), vec![]),
            (format!("CREATE VIEW main.{} AS {sql}", quote(&view)), vec![]),
        ];
        self.write_all(&database, &statements).await
    }
}

/// What the query of a view must satisfy: 1033, 4506, 4508, 4511.
fn check(query: &Query, emitted: &EmittedQuery, view: &str) -> SqlResult<()> {
    let top = matches!(query.body.as_ref(), SetExpr::Select(select) if select.top.is_some());
    if query.order_by.is_some() && !top && query.limit_clause.is_none() && query.fetch.is_none() {
        return Err(Message::new(
            1033,
            15,
            "The ORDER BY clause is invalid in views, inline functions, derived tables, subqueries, and common table expressions, unless TOP, OFFSET or FOR XML is also specified.",
        ));
    }
    if emitted.used.databases.contains("tempdb") {
        return Err(Message::new(
            4508,
            16,
            "Views or functions are not allowed on temporary tables. Table names that begin with '#' denote temporary tables.",
        ));
    }
    for (number, (column, _)) in emitted.columns.iter().enumerate() {
        if column.is_empty() {
            let text = format!(
                "Create View or Function failed because no column name was specified for column {}.",
                number + 1
            );
            return Err(Message::new(4511, 16, text));
        }
        if emitted.columns.iter().take(number).any(|(other, _)| other.eq_ignore_ascii_case(column)) {
            let text = format!(
                "Column names in each view or function must be unique. Column name '{column}' in view or function '{view}' is specified more than once."
            );
            return Err(Message::new(4506, 16, text));
        }
    }
    Ok(())
}
