//! Requests of the transaction manager: how drivers begin and end transactions without a batch.

use super::{
    bytes::{Malformed, Reader},
    token::Change,
};

const GET_DTC_ADDRESS: u16 = 0;
const PROPAGATE: u16 = 1;
const BEGIN: u16 = 5;
const PROMOTE: u16 = 6;
const COMMIT: u16 = 7;
const ROLLBACK: u16 = 8;
const SAVE: u16 = 9;

const AND_BEGIN: u8 = 0x01;

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Begin,
    Commit,
    Rollback,
    /// Savepoints and isolation levels have a statement, but no change of environment.
    Statement(String),
}

impl Order {
    /// What the client is told when it is done.
    pub(super) fn change(&self) -> Option<Change> {
        match self {
            Self::Begin => Some(Change::Begin),
            Self::Commit => Some(Change::Commit),
            Self::Rollback => Some(Change::Rollback),
            Self::Statement(_) => None,
        }
    }
}

/// What a request asks for, in order; `None` for distributed transactions.
pub(super) fn parse(body: &[u8]) -> Result<Option<Vec<Order>>, Malformed> {
    let mut reader = Reader::new(body);
    let mut orders = Vec::new();
    match reader.u16()? {
        GET_DTC_ADDRESS | PROPAGATE | PROMOTE => return Ok(None),
        BEGIN => begin(&mut reader, &mut orders)?,
        COMMIT => {
            reader.b_varchar()?;
            orders.push(Order::Commit);
            and_begin(&mut reader, &mut orders)?;
        }
        ROLLBACK => {
            let name = reader.b_varchar()?;
            orders.push(if name.is_empty() { Order::Rollback } else { named("ROLLBACK", &name) });
            and_begin(&mut reader, &mut orders)?;
        }
        SAVE => {
            let name = reader.b_varchar()?;
            orders.push(named("SAVE", &name));
        }
        _ => return Err(Malformed("an unknown transaction manager request")),
    }
    Ok(Some(orders))
}

fn begin(reader: &mut Reader<'_>, orders: &mut Vec<Order>) -> Result<(), Malformed> {
    let level = match reader.u8()? {
        0 => None,
        1 => Some("READ UNCOMMITTED"),
        2 => Some("READ COMMITTED"),
        3 => Some("REPEATABLE READ"),
        4 => Some("SERIALIZABLE"),
        5 => Some("SNAPSHOT"),
        _ => return Err(Malformed("an unknown isolation level")),
    };
    reader.b_varchar()?;
    orders.extend(level.map(|level| Order::Statement(format!("SET TRANSACTION ISOLATION LEVEL {level}"))));
    orders.push(Order::Begin);
    Ok(())
}

/// COMMIT and ROLLBACK may begin the next transaction at once.
fn and_begin(reader: &mut Reader<'_>, orders: &mut Vec<Order>) -> Result<(), Malformed> {
    if reader.is_empty() || reader.u8()? & AND_BEGIN == 0 {
        return Ok(());
    }
    begin(reader, orders)
}

fn named(what: &str, name: &str) -> Order {
    Order::Statement(format!("{what} TRANSACTION [{}]", name.replace(']', "]]")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_begin_commit_and_roll_back() {
        assert_eq!(parse(&[5, 0, 0, 0]), Ok(Some(vec![Order::Begin])));
        assert_eq!(parse(&[7, 0, 0, 0]), Ok(Some(vec![Order::Commit])));
        assert_eq!(parse(&[8, 0, 0, 0]), Ok(Some(vec![Order::Rollback])));
        let serializable = Order::Statement("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE".into());
        assert_eq!(parse(&[5, 0, 4, 0]), Ok(Some(vec![serializable, Order::Begin])));
    }

    #[test]
    fn a_commit_may_begin_the_next_transaction() {
        assert_eq!(parse(&[7, 0, 0, 1, 0, 0]), Ok(Some(vec![Order::Commit, Order::Begin])));
    }

    #[test]
    fn savepoints_become_statements_with_quoted_names() {
        let save = Order::Statement("SAVE TRANSACTION [a]]]".into());
        assert_eq!(parse(&[9, 0, 2, b'a', 0, b']', 0]), Ok(Some(vec![save])));
    }

    #[test]
    fn distributed_transactions_are_told_apart_from_nonsense() {
        assert_eq!(parse(&[1, 0]), Ok(None));
        assert!(parse(&[99, 0]).is_err());
        assert!(parse(&[5, 0, 9, 0]).is_err());
        assert!(parse(&[]).is_err());
    }
}
