//! What goes wrong with machines and the network, and what it comes to.

use caravan_protocol::offer::Event;

use super::{Due, World};
use crate::sim::Fault;

impl World {
    pub(super) fn break_it(&mut self, fault: Fault) {
        if self.is_calm() {
            return;
        }
        let now_ms = self.now_ms;
        match fault {
            Fault::Crash { host, down_ms } => {
                self.crash(host);
                match down_ms {
                    Some(ms) => self.agenda.add(now_ms + ms, Due::Restart(host)),
                    None => self.hosts[host].gone = true,
                }
            }
            Fault::Usurp { host, by } => self.usurp(host, by),
            Fault::Divide { hosts, for_ms } => {
                self.divisions += 1;
                for host in hosts {
                    self.hosts[host].part = self.divisions;
                }
                self.all_look(5000, 60_000);
                self.agenda.add(now_ms + for_ms, Due::Rejoin);
            }
            Fault::Pause { host, for_ms } => {
                self.pause(host, true);
                self.agenda.add(now_ms + for_ms, Due::Unpause(host));
            }
            Fault::Freeze { host, for_ms } => self.hosts[host].frozen_ms = now_ms + for_ms,
            Fault::Stick { host, for_ms } => self.hosts[host].stuck_ms = now_ms + for_ms,
            Fault::Fill { host, for_ms } => self.hosts[host].full_ms = now_ms + for_ms,
            Fault::Slots { host, slots } => {
                self.hosts[host].slots = slots;
                self.feed(host, Event::Slots(slots));
            }
        }
    }

    /// An owner is gone for ever. Somebody else finds out and wants what it wanted.
    fn usurp(&mut self, host: usize, by: usize) {
        if host == by || self.hosts[host].gone || self.hosts[by].gone {
            return;
        }
        self.crash(host);
        self.hosts[host].gone = true;
        self.heirs.insert(host, by);
        self.soon(1000, 30_000, Due::Usurped { host, by });
    }

    pub(super) fn usurped(&mut self, host: usize, by: usize) {
        let roles = self.roles.iter_mut();
        let of_it: Vec<usize> = roles
            .filter(|(_, holder)| **holder == host)
            .map(|(role, holder)| {
                *holder = by;
                *role
            })
            .collect();
        for role in of_it {
            for host in 0..self.hosts.len() {
                self.soon(50, 5000, Due::Holder { host, role });
            }
        }
        let orders = self.orders.values();
        let open = orders.filter(|order| order.owner == host && order.end.is_none());
        let heritage: Vec<_> = open.cloned().collect();
        for mut order in heritage {
            let key = (by, order.want.job);
            order.owner = by;
            order.at_ms = order.at_ms.max(self.now_ms);
            if self.orders.contains_key(&key) {
                continue;
            }
            let number = self.keys.len();
            self.agenda.add(order.at_ms, Due::Want(number));
            if let Some(until_ms) = order.until_ms {
                let until_ms = until_ms.max(self.now_ms);
                self.agenda.add(until_ms, Due::Unwant(number));
            }
            order.wanted = false;
            self.keys.push(key);
            self.orders.insert(key, order);
        }
    }
}
