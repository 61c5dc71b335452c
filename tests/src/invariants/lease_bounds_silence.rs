//! Neither side holds on to an attempt for longer than a lease without a word from the other: the
//! owner gives it up, and the worker stops it.

use std::collections::BTreeMap;

use caravan_protocol::{
    limits,
    offer::{AttemptId, Command, Event, Message, Standing},
};

use super::Invariant;
use crate::sim::{Note, What, World};

/// When a word about an attempt was last heard, by machine.
#[derive(Debug, Default)]
pub(super) struct Watch {
    owners: BTreeMap<(usize, AttemptId), u64>,
    workers: BTreeMap<(usize, AttemptId), u64>,
    looked_ms: u64,
}

impl Watch {
    fn heard(&mut self, world: &World, note: &Note, event: &Event) {
        let Event::Message { from, message } = event else {
            return;
        };
        let (me, now_ms) = (world.hosts()[note.host].id, world.now_ms());
        match message {
            Message::Beat { attempts } => {
                for beat in attempts {
                    let attempt = AttemptId {
                        owner: me,
                        job: beat.job,
                        number: beat.number,
                    };
                    self.owners.insert((note.host, attempt), now_ms);
                }
            }
            Message::Renew { attempts } => {
                for (job, number) in attempts {
                    let attempt = AttemptId {
                        owner: *from,
                        job: *job,
                        number: *number,
                    };
                    self.workers.insert((note.host, attempt), now_ms);
                }
            }
            _ => {}
        }
    }

    fn check_host(&self, world: &World, host: usize, silent_ms: u64) -> Result<(), String> {
        let machine = &world.hosts()[host];
        let Some(engine) = &machine.engine else {
            return Ok(());
        };
        // Whoever stood still finds out when it moves again.
        if machine.frozen_ms + 1000 > world.now_ms() {
            return Ok(());
        }
        for job in engine.jobs() {
            if let Some(Standing::There { number, .. }) = engine.standing(job) {
                let owner = machine.id;
                let attempt = AttemptId { owner, job, number };
                if self
                    .owners
                    .get(&(host, attempt))
                    .is_none_or(|at| *at < silent_ms)
                {
                    return Err(format!("host {host} waits for {attempt} in silence"));
                }
            }
        }
        for (attempt, running) in &machine.running {
            if attempt.owner != machine.id
                && !running.stopping
                && self
                    .workers
                    .get(&(host, *attempt))
                    .is_none_or(|at| *at < silent_ms)
            {
                return Err(format!("host {host} runs {attempt} for nobody"));
            }
        }
        Ok(())
    }
}

impl Invariant for Watch {
    fn name(&self) -> &'static str {
        "lease_bounds_silence"
    }

    fn note(&mut self, world: &World, note: &Note) -> Result<(), String> {
        let now_ms = world.now_ms();
        match &note.what {
            What::Event(event) => self.heard(world, note, event),
            What::Command(Command::Placed { attempt, .. }) => {
                self.owners.insert((note.host, *attempt), now_ms);
            }
            What::Command(Command::Run { attempt, .. }) => {
                self.workers.insert((note.host, *attempt), now_ms);
            }
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        let now_ms = world.now_ms();
        if now_ms < self.looked_ms + 500 {
            return Ok(());
        }
        self.looked_ms = now_ms;
        let silent_ms = now_ms.saturating_sub(limits::LEASE_MS + 1);
        (0..world.hosts().len()).try_for_each(|host| self.check_host(world, host, silent_ms))
    }
}
