//! A job ends only by a result of an attempt that its owner gave to the very machine that is
//! named, and the result is that machine's.

use std::collections::{BTreeMap, BTreeSet};

use caravan_protocol::offer::{Command, JobId};

use super::Invariant;
use crate::sim::{Note, Said, What, World};

type Awarded = BTreeSet<(JobId, u32, usize)>;

/// What each owner gave to whom in its present life.
#[derive(Debug, Default)]
pub(super) struct Watch(BTreeMap<usize, Awarded>);

impl Invariant for Watch {
    fn name(&self) -> &'static str {
        "done_is_said_by_the_one_awarded"
    }

    fn note(&mut self, world: &World, note: &Note) -> Result<(), String> {
        let awarded = self.0.entry(note.host).or_default();
        match &note.what {
            What::Crashed => awarded.clear(),
            What::Command(Command::Run { attempt, .. })
                if world.host(attempt.owner) == note.host =>
            {
                awarded.insert((attempt.job, attempt.number, note.host));
            }
            What::Command(Command::Placed { attempt, node }) => {
                awarded.insert((attempt.job, attempt.number, world.host(*node)));
            }
            What::Command(Command::Done {
                attempt,
                node,
                outcome: said,
                ..
            }) => {
                let host = world.host(*node);
                if !awarded.contains(&(attempt.job, attempt.number, host)) {
                    return Err(format!("{attempt} was never awarded to host {host}"));
                }
                let said = Said::decode(said).map(|said| (said.job, said.host));
                let expected = Said::of(*attempt, 0, host);
                if said != Some((expected.job, expected.host)) {
                    return Err(format!("{attempt} ended with somebody else's result"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
