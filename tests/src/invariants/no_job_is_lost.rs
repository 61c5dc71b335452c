//! A wanted job is known to its owner until it ends, and it is given up only where as many
//! attempts really came to nothing as are allowed.

use std::collections::BTreeMap;

use caravan_protocol::{
    limits,
    offer::{Command, GaveUp, JobId, Loss},
};

use super::Invariant;
use crate::sim::{End, Fate, Note, Order, What, World};

/// Attempts that came to nothing in the owner's present life: failed and vanished.
#[derive(Debug, Default)]
pub(super) struct Watch {
    losses: BTreeMap<(usize, JobId), (u32, u32)>,
    looked_ms: u64,
}

fn is_open(world: &World, order: &Order) -> bool {
    order.wanted && order.end.is_none() && !world.hosts()[order.owner].gone
}

impl Invariant for Watch {
    fn name(&self) -> &'static str {
        "no_job_is_lost"
    }

    fn note(&mut self, _world: &World, note: &Note) -> Result<(), String> {
        match &note.what {
            What::Crashed => self.losses.retain(|(owner, _), _| *owner != note.host),
            What::Command(Command::Lost { attempt, loss, .. }) => {
                let (failed, vanished) = self.losses.entry((note.host, attempt.job)).or_default();
                match loss {
                    Loss::Infra => *failed += 1,
                    Loss::Refused => {}
                    _ => *vanished += 1,
                }
            }
            What::Command(Command::GaveUp { job, reason }) => {
                let (failed, vanished) = self.losses.remove(&(note.host, *job)).unwrap_or_default();
                let is_due = failed >= limits::ATTEMPTS_MAX || vanished >= limits::LOSSES_MAX;
                if !is_due || !matches!(reason, GaveUp::Failures(_)) {
                    return Err(format!(
                        "{job} was given up after {failed} failures and {vanished} losses: {reason}"
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        let now_ms = world.now_ms();
        if now_ms < self.looked_ms + 1000 {
            return Ok(());
        }
        self.looked_ms = now_ms;
        for order in world
            .orders()
            .values()
            .filter(|order| is_open(world, order))
        {
            // A restarted owner wants its jobs again within seconds; until then it knows of none.
            let owner = &world.hosts()[order.owner];
            let is_known = |job| {
                let engine = owner.engine.as_ref();
                engine.is_none_or(|engine| engine.standing(job).is_some())
            };
            if owner.life == 1 && !is_known(order.want.job) {
                let job = order.want.job;
                return Err(format!("{job} of host {} is forgotten", order.owner));
            }
        }
        Ok(())
    }

    fn end(&mut self, world: &World) -> Result<(), String> {
        for order in world.orders().values() {
            let is_here = order.wanted && !world.hosts()[order.owner].gone;
            if is_here && order.end.is_none() {
                return Err(format!("{} never ended", order.want.job));
            }
            if order.fate == Fate::Poison && order.end == Some(End::Done) {
                return Err(format!("{} was done by nobody", order.want.job));
            }
        }
        Ok(())
    }
}
