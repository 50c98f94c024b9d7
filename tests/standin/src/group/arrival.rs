//! The image of a database arrives on a secondary: its seeding.

use super::{
    follow::{Following, position},
    seeding::Seeding,
    transport::Frame,
};
use std::io;

/// An image that is arriving.
pub(super) struct Arriving {
    pub(super) database: String,
    pub(super) lsn: u64,
    pub(super) fork: u64,
    pub(super) size: u64,
    pub(super) bytes: Vec<u8>,
    pub(super) refused: bool,
    pub(super) row: usize,
}

impl Following<'_> {
    pub(super) fn image(&mut self, database: String, lsn: u64, fork: u64, size: u64) -> io::Result<Vec<Frame>> {
        let mut row = Seeding::new(&database, self.partner, false, size, self.shared.now());
        let taken = self.shared.database(&database).is_some();
        // In a distributed group it is the local group's word, and its copy.
        let member = self.shared.group(&self.group.me).filter(|_| self.group.distributed);
        let of_member = member.as_ref().map(|member| {
            let state = member.state();
            (state.copy.may_create_databases, state.copy.local.contains(&database))
        });
        let (row, refused) = self.group.as_secondary(self.reign, |state| {
            let (granted, own) = of_member.unwrap_or((state.copy.may_create_databases, false));
            let ours = own || state.copy.local.contains(&database) || state.copy.seeding.contains(&database);
            // Documented failure numbers, on the target (+200).
            let refused = match (granted, taken && !ours) {
                (false, _) => Some(203),
                (true, true) => Some(223),
                (true, false) => None,
            };
            if let Some(failure) = refused {
                (row.state, row.failure, row.ended) = ("FAILED", failure, Some(row.started));
            } else {
                // Until the new files are whole nothing in the old ones counts.
                let begin = |copy: &mut super::Copy| {
                    copy.local.remove(&database);
                    copy.seeding.insert(database.clone());
                };
                self.group.persist(state, begin).map_err(io::Error::other)?;
            }
            state.seeding.push(row);
            Ok((state.seeding.len() - 1, refused))
        })?;
        let mut answers = Vec::new();
        if let Some(failure) = refused {
            tracing::warn!(group = self.group.name, database, failure, "seeding was refused");
            answers.push(Frame::SeedRefused { database: database.clone(), failure });
        }
        let image = Arriving { database, lsn, fork, size, bytes: vec![], refused: refused.is_some(), row };
        answers.extend(self.land(image)?);
        Ok(answers)
    }

    /// Takes the image into use once it is complete.
    pub(super) fn land(&mut self, image: Arriving) -> io::Result<Vec<Frame>> {
        let moved = image.bytes.len() as u64;
        self.group.as_secondary(self.reign, |state| {
            if let Some(row) = state.seeding.get_mut(image.row) {
                row.moved = moved;
            }
            Ok(())
        })?;
        if moved < image.size {
            self.arriving = Some(image);
            return Ok(vec![]);
        }
        if image.refused {
            return Ok(vec![]);
        }
        let local = self.shared.create(&image.database)?;
        let now = self.shared.now();
        self.group.as_secondary(self.reign, |state| {
            local.throw_out();
            local.seed(image.lsn, image.fork, image.bytes)?;
            let end = |copy: &mut super::Copy| {
                copy.seeding.remove(&image.database);
                copy.local.insert(image.database.clone());
            };
            self.group.persist(state, end).map_err(io::Error::other)?;
            if !self.group.distributed {
                local.set_owner(Some(super::primary::owner(self.group)));
            }
            if let Some(row) = state.seeding.get_mut(image.row) {
                (row.state, row.ended) = ("COMPLETED", Some(now));
            }
            Ok(())
        })?;
        self.shared.set_restoring(&image.database, None).map_err(io::Error::other)?;
        if self.group.distributed {
            super::sides::take_in(self.shared, self.group, &local).map_err(io::Error::other)?;
        }
        Ok(vec![position(&local)])
    }
}
