//! In a calm mesh no job waits for longer than a round of digests beside a machine that could run
//! it, has a free slot and has not failed at it; where that would have to fetch what is below the
//! job first, for as long as that takes besides.

use std::collections::{BTreeMap, BTreeSet};

use caravan_protocol::offer::{Command, JobId, Waits};

use super::Invariant;
use crate::sim::{IDLE_MS_MAX, Note, Order, What, World};

/// Since when each waiting job has had a free slot beside it.
#[derive(Debug, Default)]
pub(super) struct Watch {
    idle: BTreeMap<(usize, JobId, usize), u64>,
    failed: BTreeSet<(usize, JobId, usize)>,
    looked_ms: u64,
}

impl Watch {
    fn has_slot(&self, world: &World, order: &Order, host: usize) -> bool {
        let machine = &world.hosts()[host];
        let (owner, job) = (order.owner, order.want.job);
        let is_met = host == owner
            || (machine.sees.contains_key(&owner) && world.hosts()[owner].sees.contains_key(&host));
        machine
            .engine
            .as_ref()
            .is_some_and(|engine| engine.free() > 0)
            && machine.platforms.contains(&order.want.platform)
            && (order.want.remote_ok || host == owner)
            && order.want.place.allows(machine.id)
            && order.want.needs.within(&machine.most).is_ok()
            && is_met
            && !self.failed.contains(&(owner, job, host))
    }
}

impl Invariant for Watch {
    fn name(&self) -> &'static str {
        "no_idle_slot_beside_waiting_job"
    }

    fn note(&mut self, world: &World, note: &Note) -> Result<(), String> {
        if let What::Command(Command::Lost { attempt, node, .. }) = &note.what {
            let host = world.host(*node);
            self.failed.insert((note.host, attempt.job, host));
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        let now_ms = world.now_ms();
        if !world.is_calm() || now_ms < self.looked_ms + 500 {
            return Ok(());
        }
        self.looked_ms = now_ms;
        for (key, order) in world.orders() {
            let owner = world.hosts()[order.owner].engine.as_ref();
            let queued = owner.and_then(|engine| engine.waits(order.want.job));
            let waits = queued.map(|queued| queued.waits);
            // One that rests was lost or failed more than once.
            let is_waiting = waits.as_ref().is_some_and(|waits| *waits != Waits::Rest);
            for host in 0..world.hosts().len() {
                let key = (key.0, key.1, host);
                if !is_waiting || !self.has_slot(world, order, host) {
                    self.idle.remove(&key);
                    continue;
                }
                let since_ms = *self.idle.entry(key).or_insert(now_ms);
                if now_ms - since_ms > IDLE_MS_MAX + world.would_fetch_ms(host, order.lineage) {
                    let job = order.want.job;
                    return Err(format!(
                        "{job} of host {} waits since {since_ms} beside a free slot of host {host}: {waits:?}",
                        order.owner
                    ));
                }
            }
        }
        Ok(())
    }
}
