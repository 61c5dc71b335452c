//! Machines going up and down, finding out about each other, and what goes wrong with them.

use caravan_protocol::offer::Event;

use super::{Due, What, World};
use crate::sim::names;

impl World {
    pub(super) fn start(&mut self, host: usize) {
        if self.hosts[host].engine.is_some() || self.hosts[host].gone {
            return;
        }
        let seed = self.dice.any();
        self.hosts[host].start(seed);
        self.mark(host, 1, &[]);
        self.note(host, What::Started);
        self.look_around(host, 10, 500);
        for role in self.roles.keys().copied().collect::<Vec<_>>() {
            self.soon(5, 2000, Due::Holder { host, role });
        }
        if self.hosts[host].life == 1 {
            return;
        }
        for number in 0..self.keys.len() {
            let order = &self.orders[&self.keys[number]];
            if order.owner == host && order.wanted && order.end.is_none() {
                self.soon(5, 2000, Due::Want(number));
            }
        }
    }

    pub(super) fn tell_holder(&mut self, host: usize, role: usize) {
        let node = self.roles.get(&role).map(|holder| self.hosts[*holder].id);
        let role = names::role(role);
        self.feed(host, Event::Holder { role, node });
    }

    pub(super) fn crash(&mut self, host: usize) {
        if self.hosts[host].engine.is_some() {
            self.hosts[host].crash();
            self.mark(host, 2, &[]);
            self.note(host, What::Crashed);
            self.look_around(host, 50, 45_000);
        }
    }

    /// Everybody finds out about a machine, and it about everybody, each in its own time.
    pub(super) fn look_around(&mut self, host: usize, low_ms: u64, high_ms: u64) {
        for at in 0..self.hosts.len() {
            if self.plan.meets(host, at) {
                self.soon(low_ms, high_ms, Due::Look { host, at });
                self.soon(low_ms, high_ms, Due::Look { host: at, at: host });
            }
        }
    }

    pub(super) fn reaches(&self, a: usize, b: usize) -> bool {
        let (a, b) = (&self.hosts[a], &self.hosts[b]);
        a.engine.is_some() && b.engine.is_some() && a.part == b.part
    }

    pub(super) fn look(&mut self, host: usize, at: usize) {
        if self.hosts[host].engine.is_none() {
            return;
        }
        let seen = self.hosts[host].sees.get(&at).copied();
        let there = self.reaches(host, at).then(|| self.hosts[at].life);
        if seen == there {
            return;
        }
        let node = self.hosts[at].id;
        if seen.is_some() {
            self.hosts[host].sees.remove(&at);
            self.feed(host, Event::PeerDown(node));
        }
        if let Some(life) = there {
            self.hosts[host].sees.insert(at, life);
            let platforms = self.hosts[at].platforms.clone();
            let emulated = std::collections::BTreeSet::new();
            self.feed(
                host,
                Event::PeerUp {
                    node,
                    operator: self.hosts[at].operator.to_string(),
                    platforms,
                    emulated,
                },
            );
        }
    }

    pub(super) fn all_look(&mut self, low_ms: u64, high_ms: u64) {
        for host in 0..self.hosts.len() {
            for at in 0..self.hosts.len() {
                if self.plan.meets(host, at) {
                    self.soon(low_ms, high_ms, Due::Look { host, at });
                }
            }
        }
    }

    pub(super) fn rejoin(&mut self) {
        for host in &mut self.hosts {
            host.part = 0;
        }
        self.all_look(50, 3000);
    }

    pub(super) fn pause(&mut self, host: usize, paused: bool) {
        if self.hosts[host].engine.is_some() && self.hosts[host].paused != paused {
            self.hosts[host].paused = paused;
            self.feed(host, Event::Pause(paused));
        }
    }

    /// From here on nothing goes wrong.
    pub(super) fn calm(&mut self) {
        for host in 0..self.hosts.len() {
            let machine = &mut self.hosts[host];
            (machine.stuck_ms, machine.full_ms) = (0, 0);
            self.start(host);
            self.pause(host, false);
        }
        self.rejoin();
    }
}
