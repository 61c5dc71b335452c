//! In one life of its owner a wanted job ends once: with a result, by being given up, or by not
//! being wanted any more. Nothing but late results follows.

use std::collections::{BTreeMap, BTreeSet};

use caravan_protocol::offer::{Command, Event, JobId};

use super::Invariant;
use crate::sim::{Note, What, World};

/// What each owner wants in its present life.
#[derive(Debug, Default)]
pub(super) struct Watch(BTreeMap<usize, BTreeSet<JobId>>);

impl Invariant for Watch {
    fn name(&self) -> &'static str {
        "one_end_per_job"
    }

    fn note(&mut self, _world: &World, note: &Note) -> Result<(), String> {
        let wanted = self.0.entry(note.host).or_default();
        let (job, ends) = match &note.what {
            What::Crashed => {
                wanted.clear();
                return Ok(());
            }
            What::Event(Event::Want(want)) => {
                wanted.insert(want.job);
                return Ok(());
            }
            What::Event(Event::Unwant(job)) => {
                wanted.remove(job);
                return Ok(());
            }
            What::Command(Command::Done { attempt, .. }) => (attempt.job, true),
            What::Command(Command::GaveUp { job, .. }) => (*job, true),
            What::Command(Command::Lost { attempt, .. } | Command::Placed { attempt, .. }) => {
                (attempt.job, false)
            }
            What::Command(Command::Waiting { job, .. }) => (*job, false),
            _ => return Ok(()),
        };
        if !wanted.contains(&job) {
            return Err(format!("host {} spoke of {job} after its end", note.host));
        }
        if ends {
            wanted.remove(&job);
        }
        Ok(())
    }
}
