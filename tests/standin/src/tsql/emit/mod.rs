//! sqlparser's tree to SQLite's language, with the types that SQL Server would give.
//!
//! Everything is written out by hand, so that a construct nobody thought of is an error and never silence. Operators
//! whose meaning differs (`+`, `/`, comparison of text) become functions or collations of [`super::functions`];
//! names in backticks, because SQLite takes an unknown name in double quotes for a string.

mod expression;
mod from;
mod function;
mod modify;
mod query;

use super::{ast::ObjectName, parse::not_supported};
use crate::{
    errors::{Message, SqlResult},
    value::{SqlType, Value},
};
use sqlparser::ast::{Expr, Ident, ObjectName as Name, ObjectNamePart, Query};
use std::collections::BTreeSet;

pub use expression::value_sql;
pub use modify::{Modification, Target, target_of_delete, target_of_insert, target_of_update};

/// What the emitter has to know of the session and its database.
pub trait Facts {
    /// Value and type of `@@NAME`, upper case.
    fn global(&self, name: &str) -> Option<(Value, SqlType)>;
    /// Type of `@name`.
    fn variable(&self, name: &str) -> Option<SqlType>;
    /// Columns of a user table or view, by its name in SQLite.
    fn columns(&self, database: &str, table: &str) -> Option<Vec<(String, SqlType)>>;
    /// Columns of a system view by schema and name.
    fn system_view(&self, schema: &str, name: &str) -> Option<(&'static str, Vec<(String, SqlType)>)>;
    /// Now, microseconds since 1970.
    fn now(&self) -> i64;
    /// A new GUID.
    fn uuid(&self) -> uuid::Uuid;
    /// Current database.
    fn database(&self) -> &str;
    /// Suffix of this session's temporary tables.
    fn spid(&self) -> u16;
}

/// SQLite text and the type of its value; `None`: as its column is declared, or as its values are.
#[derive(Clone, Debug)]
pub struct Piece {
    /// SQLite text.
    pub sql: String,
    /// Type.
    pub kind: Option<SqlType>,
}

impl Piece {
    fn new(sql: impl Into<String>, kind: Option<SqlType>) -> Self {
        Self { sql: sql.into(), kind }
    }
}

/// A column of a relation.
pub type NamedKind = (String, Option<SqlType>);

/// What a statement touches.
#[derive(Clone, Debug, Default)]
pub struct Used {
    /// System views by their key, with the database they describe.
    pub views: BTreeSet<(&'static str, String)>,
    /// Databases with user tables.
    pub databases: BTreeSet<String>,
    /// User tables and views: database, name in SQLite.
    pub tables: BTreeSet<(String, String)>,
    /// A function that asks the server is called.
    pub state: bool,
    /// The time or a random value became a constant of the statement.
    pub drawn: bool,
}

/// A query in SQLite's language.
#[derive(Clone, Debug)]
pub struct EmittedQuery {
    /// SQLite text.
    pub sql: String,
    /// Names and types of its columns, as far as they are known.
    pub columns: Vec<NamedKind>,
    /// Variables that `SELECT @x = ..` assigns, by column.
    pub assignments: Vec<Option<String>>,
    /// What it touches.
    pub used: Used,
}

/// A relation in FROM.
struct Relation {
    alias: String,
    columns: Option<Vec<NamedKind>>,
}

/// The emitter of one statement.
pub struct Emitter<'a> {
    facts: &'a dyn Facts,
    /// The statement is replayed elsewhere: nothing in it may differ between runs.
    replayed: bool,
    scopes: Vec<Vec<Relation>>,
    ctes: Vec<(String, Vec<NamedKind>)>,
    used: Used,
    depth: usize,
    /// SQLite text that tells rows apart, where NEWID differs by row.
    row: Option<String>,
}

/// Nesting of expressions and queries (error 8631 beyond).
const DEEPEST: usize = 700;

impl<'a> Emitter<'a> {
    /// An emitter. `replayed`: for a statement that changes data.
    pub fn new(facts: &'a dyn Facts, replayed: bool) -> Self {
        Self { facts, replayed, scopes: vec![], ctes: vec![], used: Used::default(), depth: 0, row: None }
    }

    /// A whole query.
    pub fn whole_query(mut self, query: &Query) -> SqlResult<EmittedQuery> {
        let (sql, columns) = self.query(query)?;
        let assignments = query::assignments(query);
        let some = assignments.iter().filter(|variable| variable.is_some()).count();
        if some > 0 && some < assignments.len() {
            return Err(Message::new(
                141,
                15,
                "A SELECT statement that assigns a value to a variable must not be combined with data-retrieval operations.",
            ));
        }
        Ok(EmittedQuery { sql, columns, assignments, used: self.used })
    }

    /// An expression as a query of one row and column.
    pub fn whole_expression(mut self, expression: &Expr) -> SqlResult<EmittedQuery> {
        let piece = self.expression(expression)?;
        Ok(EmittedQuery {
            sql: format!("SELECT {}", piece.sql),
            columns: vec![(String::new(), piece.kind)],
            assignments: vec![None],
            used: self.used,
        })
    }

    /// A condition as a query of 1 or 0.
    pub fn whole_condition(mut self, condition: &Expr) -> SqlResult<EmittedQuery> {
        let piece = self.expression(condition)?;
        Ok(EmittedQuery {
            sql: format!("SELECT CASE WHEN {} THEN 1 ELSE 0 END", piece.sql),
            columns: vec![(String::new(), Some(SqlType::Int))],
            assignments: vec![None],
            used: self.used,
        })
    }

    fn enter(&mut self) -> SqlResult<()> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(Message::new(
                8631,
                17,
                "Internal error: Server stack limit has been reached. Please look for potentially deep nesting in your query, and try to simplify it.",
            ));
        }
        Ok(())
    }

    fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    /// Resolves a table's name: database, name in SQLite.
    fn resolve(&self, name: &ObjectName) -> (String, String) {
        resolve(self.facts, name)
    }

    /// Type of a column in scope.
    fn column(&self, relation: Option<&str>, column: &str) -> Option<SqlType> {
        self.scopes.iter().rev().find_map(|scope| {
            scope.iter().filter(|r| relation.is_none_or(|name| r.alias.eq_ignore_ascii_case(name))).find_map(|r| {
                let columns = r.columns.as_ref()?;
                columns.iter().find(|(name, _)| name.eq_ignore_ascii_case(column)).map(|(_, kind)| *kind)
            })
        })?
    }
}

/// Database and name in SQLite of a user table: temporary tables live in tempdb, other schemas than dbo are a prefix.
pub fn resolve(facts: &dyn Facts, name: &ObjectName) -> (String, String) {
    if name.name.starts_with('#') {
        return ("tempdb".into(), format!("{}~{}", name.name.to_lowercase(), facts.spid()));
    }
    let database = name.database.clone().unwrap_or_else(|| facts.database().to_string()).to_lowercase();
    match &name.schema {
        Some(schema) if !schema.eq_ignore_ascii_case("dbo") => (database, format!("{schema}.{}", name.name)),
        _ => (database, name.name.clone()),
    }
}

/// A name of sqlparser's in up to three parts.
pub fn object_name(name: &Name) -> SqlResult<ObjectName> {
    let mut parts: Vec<String> = name
        .0
        .iter()
        .map(|part| match part {
            ObjectNamePart::Identifier(ident) => Ok(ident.value.clone()),
            ObjectNamePart::Function(_) => Err(not_supported("A function in a name")),
        })
        .collect::<SqlResult<_>>()?;
    let object = parts.pop().unwrap_or_default();
    let schema = parts.pop().filter(|schema| !schema.is_empty());
    let database = parts.pop().filter(|database| !database.is_empty());
    if !parts.is_empty() {
        return Err(not_supported("A name with four parts"));
    }
    Ok(ObjectName { database, schema, name: object })
}

/// A name in backticks.
pub fn quote(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A string literal.
pub fn literal(text: &str) -> String {
    // SQLite's text ends at a NUL in SQL source.
    format!("'{}'", text.replace('\'', "''").replace('\0', ""))
}

fn ident(ident: &Ident) -> String {
    quote(&ident.value)
}

/// The type that two alternatives share.
fn combine(left: Option<SqlType>, right: Option<SqlType>) -> Option<SqlType> {
    use SqlType as T;
    let rank = |kind: SqlType| match kind {
        T::Variant => 20,
        T::DateTime2(_) => 19,
        T::DateTime => 18,
        T::Float => 17,
        T::Decimal { .. } => 16,
        T::BigInt => 15,
        T::Int => 14,
        T::SmallInt => 13,
        T::TinyInt => 12,
        T::Bit => 11,
        T::Guid => 10,
        T::NVarCharMax => 9,
        T::NVarChar(_) => 8,
        T::NChar(_) => 7,
        T::VarCharMax => 6,
        T::VarChar(_) => 5,
        T::VarBinaryMax => 3,
        T::VarBinary(_) => 2,
    };
    match (left?, right?) {
        (T::NVarChar(a) | T::NChar(a) | T::VarChar(a), T::NVarChar(b))
        | (T::NVarChar(a), T::NChar(b) | T::VarChar(b)) => Some(T::NVarChar(a.max(b).min(4000))),
        (T::VarChar(a), T::VarChar(b)) => Some(T::VarChar(a.max(b))),
        (T::VarBinary(a), T::VarBinary(b)) => Some(T::VarBinary(a.max(b))),
        (T::Decimal { precision: a, scale: s }, T::Decimal { precision: b, scale: t }) => {
            let scale = s.max(t);
            let whole = (a - s.min(a)).max(b - t.min(b));
            Some(T::Decimal { precision: (whole + scale).min(38), scale })
        }
        (a, b) => Some(if rank(a) >= rank(b) { a } else { b }),
    }
}
