//! A job runs once, and again only with a reason: its attempt was lost, its machine or its owner
//! went down, or a second attempt was given out because the first takes long.

use std::collections::BTreeMap;

use caravan_protocol::{
    limits,
    offer::{AttemptId, Command, Event, JobId, Loss},
};

use super::Invariant;
use crate::sim::{Note, What, World};

/// By role and job, how often it has run and how often it may have.
#[derive(Debug, Default)]
pub(super) struct Watch {
    runs: BTreeMap<(usize, JobId), Runs>,
    live: BTreeMap<(usize, AttemptId), (usize, JobId)>,
}

#[derive(Debug, Default)]
struct Runs {
    count: u32,
    reasons: u32,
    /// Attempts that its owner has given out in its present life and has not lost.
    given: u32,
    /// When it gave out the last of them.
    given_ms: u64,
}

impl Watch {
    fn key(world: &World, owner: usize, job: JobId) -> (usize, JobId) {
        let order = world.orders().get(&(owner, job));
        (order.map_or(owner, |order| order.role), job)
    }

    /// A machine is down: what ran there has to run again, and what it owned may.
    fn crashed(&mut self, world: &World, host: usize) {
        let (gone, kept) = std::mem::take(&mut self.live)
            .into_iter()
            .partition(|((at, _), _)| *at == host);
        self.live = kept;
        let gone: BTreeMap<_, _> = gone;
        for key in gone.into_values() {
            self.runs.entry(key).or_default().reasons += 1;
        }
        let owned = world.orders().values().filter(|order| order.owner == host);
        for order in owned {
            let runs = self.runs.entry((order.role, order.want.job)).or_default();
            runs.reasons += 1;
            runs.given = 0;
        }
    }
}

impl Invariant for Watch {
    fn name(&self) -> &'static str {
        "no_run_without_reason"
    }

    fn note(&mut self, world: &World, note: &Note) -> Result<(), String> {
        match &note.what {
            What::Crashed => self.crashed(world, note.host),
            What::Command(Command::Run { attempt, .. }) => {
                let owner = world.host(attempt.owner);
                let key = Self::key(world, owner, attempt.job);
                let runs = self.runs.entry(key).or_default();
                runs.count += 1;
                if runs.count > runs.reasons + 1 {
                    let (count, host) = (runs.count, note.host);
                    return Err(format!(
                        "{attempt} on host {host} is run {count} of the job"
                    ));
                }
                if owner == note.host {
                    runs.given += 1;
                    runs.given_ms = world.now_ms();
                }
                self.live.insert((note.host, *attempt), key);
            }
            What::Command(Command::Placed { attempt, .. }) => {
                let runs = self
                    .runs
                    .entry(Self::key(world, note.host, attempt.job))
                    .or_default();
                // Beside one that is under way: it is thought to take too long.
                let is_long = world.now_ms() >= runs.given_ms + limits::SECOND_MS;
                runs.reasons += u32::from(runs.given > 0 && is_long);
                runs.given += 1;
                runs.given_ms = world.now_ms();
            }
            What::Command(Command::Lost { attempt, loss, .. }) => {
                let runs = self
                    .runs
                    .entry(Self::key(world, note.host, attempt.job))
                    .or_default();
                runs.given = runs.given.saturating_sub(1);
                runs.reasons += u32::from(*loss != Loss::Refused);
            }
            What::Event(Event::Finished { attempt, .. }) => {
                self.live.remove(&(note.host, *attempt));
            }
            _ => {}
        }
        Ok(())
    }
}
