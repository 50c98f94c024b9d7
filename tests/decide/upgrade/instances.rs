//! What instances of the small world do when they are told a step.

use super::world::{PRODUCTION, PRODUCTION_DR, SIDES, STAGE, STAGE_DR, World};
use quorate::decide::upgrade::{
    DropAs, Instance, Mark, SqlStep, chain_name, link_name,
    observation::{Marks, trust_of},
};
use std::collections::BTreeSet;

impl World {
    fn place(&self, at: &Instance) -> (usize, usize) {
        let side = SIDES.iter().position(|name| at.group.as_str() == *name).unwrap();
        let ordinal = at.replica.ordinal() as usize;
        (side, ordinal)
    }

    /// A step with its guards: false when the instance refuses it or is away.
    pub fn tell(&mut self, step: &SqlStep) -> bool {
        let (side, ordinal) = self.place(step.at());
        if !self.sides[side].nodes[ordinal].up {
            return false;
        }
        let leads = self.sides[side].primary == ordinal;
        match step {
            SqlStep::TrustPartner { partner, .. } => {
                let key = trust_of(&partner.namespace, &partner.replica);
                self.sides[side].nodes[ordinal].trusts.insert(key);
            }
            SqlStep::CreateLink { link, .. } | SqlStep::JoinLink { link, .. } => {
                if !leads {
                    return false;
                }
                let (far, nodes) = (*link != link_name("u"), &mut self.sides[side].nodes);
                nodes.iter_mut().for_each(|node| if far { node.far = true } else { node.link = true });
                if !far && matches!(step, SqlStep::JoinLink { .. }) {
                    self.seeding = Some(5_000);
                }
            }
            SqlStep::DropLink { link, as_what, .. } if *link == chain_name("u") => {
                return self.drop_chain(side, ordinal, *as_what);
            }
            SqlStep::SetLinkMode { .. } => self.sides[side].synchronous = leads,
            SqlStep::DropLink { as_what: DropAs::Leading, .. } => {
                if !leads || (side == STAGE && !self.promoted) {
                    return false;
                }
                self.sides[side].nodes[ordinal].link = false;
            }
            SqlStep::DropLink { as_what, .. } => {
                if *as_what == DropAs::Abandoned {
                    if !leads || side != STAGE || self.promoted {
                        return false;
                    }
                    self.sides[side].restoring = Some(true);
                }
                self.sides[side].nodes[ordinal].link = false;
            }
            SqlStep::Discard { mark, .. } => return self.discard(side, ordinal, mark.as_ref()),
            SqlStep::Promote { .. } => {
                // The other side still leads, and is connected.
                if !leads || side != STAGE || self.sides[PRODUCTION].nodes[self.sides[PRODUCTION].primary].link {
                    return false;
                }
                self.promoted = true;
                self.sides[STAGE].writable = true;
                self.sides[STAGE].suspended = true;
                self.chain_waits = true;
            }
            SqlStep::Resume { group, .. } if *group == chain_name("u") => {
                self.chain_waits = false;
                self.sides[side].suspended = true;
            }
            SqlStep::Resume { .. } => self.sides[side].suspended = false,
            SqlStep::WriteMark { mark, value, .. } => return leads && self.mark(side, *mark, value),
            SqlStep::KillSessions { .. } if side == STAGE => self.stage_session &= !leads,
            SqlStep::KillSessions { sessions, .. } => self.sessions.retain(|id, _| !sessions.contains_key(id)),
            SqlStep::CreateRunner { .. } => return self.create_runner(side, leads),
            SqlStep::DropRunner { .. } => self.runner &= !leads,
            SqlStep::ForgetPartner { .. } | SqlStep::CarryLogin { .. } => {}
        }
        true
    }

    fn create_runner(&mut self, side: usize, leads: bool) -> bool {
        self.runner |= leads && self.sides[side].marks.stage.is_some();
        self.runner
    }

    fn drop_chain(&mut self, side: usize, ordinal: usize, as_what: DropAs) -> bool {
        let leads = self.sides[side].primary == ordinal;
        let stage = &self.sides[STAGE];
        let connected = stage.nodes[stage.primary].far;
        match as_what {
            DropAs::Leading if side != STAGE || !leads => return false,
            DropAs::Abandoned if side != STAGE_DR || !leads || connected => return false,
            DropAs::Abandoned => self.sides[side].restoring = Some(true),
            DropAs::Leading | DropAs::Leftover => {}
        }
        self.sides[side].nodes[ordinal].far = false;
        true
    }

    fn mark(&mut self, side: usize, mark: Mark, value: &str) -> bool {
        let marks = &mut self.sides[side].marks;
        let place = match mark {
            Mark::Barrier => &mut marks.barrier,
            Mark::Stage => &mut marks.stage,
            Mark::Completion => &mut marks.completion,
        };
        if self.sides[side].writable && place.as_deref() != Some(value) {
            *place = Some(value.into());
            self.sides[side].commits.insert(self.next);
            self.next += 1;
        }
        self.sides[side].writable
    }

    /// The last copy that goes leaves a stage as it was before anything.
    fn discard(&mut self, side: usize, ordinal: usize, mark: Option<&String>) -> bool {
        let stage = &mut self.sides[side];
        let leads = stage.primary == ordinal;
        let may = match mark {
            Some(_) => side == STAGE && leads && self.promoted && stage.marks.stage.as_ref() == mark,
            None => stage.restoring.is_some_and(|all| all || !leads),
        };
        if [PRODUCTION, PRODUCTION_DR].contains(&side) || !may || stage.nodes[ordinal].link || stage.nodes[ordinal].far
        {
            return false;
        }
        stage.restoring = stage.restoring.or(Some(false));
        stage.nodes[ordinal].discarded = true;
        if stage.nodes.iter().all(|node| node.discarded) {
            stage.nodes.iter_mut().for_each(|node| node.discarded = false);
            (stage.restoring, stage.writable, stage.suspended, stage.synchronous) = (None, false, false, false);
            (stage.commits, stage.marks) = (BTreeSet::new(), Marks::default());
            if side == STAGE {
                (self.seeding, self.promoted) = (None, false);
            }
        }
        true
    }
}
