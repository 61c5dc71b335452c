//! Nobody who heard a farewell accuses the one that left, or takes it for dead afterwards.

use std::collections::BTreeSet;

use caravan_protocol::member::{Change, Kind};

use super::Invariant;
use crate::{
    host::Phase,
    world::{Note, What, World},
};

/// Who heard whose farewell.
#[derive(Debug, Default)]
pub(super) struct Watch(BTreeSet<(usize, usize)>);

impl Invariant for Watch {
    fn name(&self) -> &'static str {
        "left_is_not_accused"
    }

    fn note(&mut self, world: &World, note: &Note) -> Result<(), String> {
        let at = note.host;
        match note.what {
            What::Started => self.0.retain(|(heard, of)| *heard != at && *of != at),
            What::Changed {
                who,
                change: Change::Left,
            } if world.hosts()[who].phase == Phase::Left || world.hosts()[who].is_up() => {
                self.0.insert((at, who));
            }
            What::Changed {
                who,
                change: Change::Died,
            } if self.0.contains(&(at, who)) => {
                return Err(format!("host {at} takes host {who} for dead, which left"));
            }
            What::Changed {
                who,
                change: Change::Joined | Change::Forgotten,
            } => {
                self.0.remove(&(at, who));
            }
            What::Signed {
                kind: Kind::Alert,
                who: Some(who),
            } if self.0.contains(&(at, who)) && world.is_honest(at) => {
                return Err(format!("host {at} accuses host {who}, which left"));
            }
            _ => {}
        }
        Ok(())
    }
}
