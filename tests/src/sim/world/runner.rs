//! What runs on a machine: in place of fetching and building, time passes.

use caravan_protocol::{
    claim::Verdict,
    offer::{AttemptId, Event, Phase},
};

use super::{Due, World};
use crate::sim::{Fate, Flaw, Nature, Said, host::Running, names};

/// How often the program hears how far a job is.
const PROGRESS_MS: u64 = 9000;

impl World {
    /// What the driver answers when the engine asks how much of a lineage is missing.
    pub(super) fn appraised(
        &mut self,
        (host, life): (usize, u32),
        appraisal: u64,
        lineage: Option<u32>,
    ) {
        let machine = &self.hosts[host];
        if machine.life != life {
            return;
        }
        let lacking = lineage.filter(|lineage| !machine.shelf.has(*lineage));
        let bytes = lacking.map(|lineage| names::layer(lineage, self.plan.miss_ms).bytes);
        let event = Event::Appraised {
            appraisal,
            missing_bytes: bytes.unwrap_or(0),
            bytes_per_s: machine.bytes_per_ms * 1000,
        };
        self.feed(host, event);
    }

    pub(super) fn run(&mut self, host: usize, attempt: AttemptId) {
        self.token += 1;
        let token = self.token;
        let since_ms = self.now_ms;
        self.mark(host, 7, attempt.job.action().as_bytes());
        let owner = self.index[&attempt.owner];
        self.report.remote_runs += u64::from(owner != host);
        let order = &self.orders[&(owner, attempt.job)];
        let (fate, lineage, cost_ms) = (order.fate, order.lineage, order.want.cost_ms);
        let fetch_ms = self.fetch_ms(host, lineage);
        let takes_ms = fetch_ms + self.command_ms(host, cost_ms);
        let running = Running {
            token,
            since_ms,
            stopping: false,
            fetch_ms,
        };
        self.hosts[host].running.insert(attempt, running);
        let fails = !self.is_calm() && self.dice.chance(self.plan.infra);
        let is_full = self.hosts[host].full_ms > self.now_ms;
        let verdict = match fate {
            Fate::Poison => Verdict::Infra,
            _ if fails || is_full => Verdict::Infra,
            Fate::Pass => Verdict::Pass,
            Fate::Fail => Verdict::Fail,
        };
        // A full disk is met soon.
        let takes_ms = if is_full { takes_ms / 50 } else { takes_ms };
        let due = Due::Progress {
            host,
            attempt,
            token,
        };
        self.agenda
            .add(since_ms + PROGRESS_MS.min(takes_ms / 2), due);
        let due = Due::Ended {
            host,
            attempt,
            token,
            verdict,
        };
        self.agenda.add(since_ms + takes_ms, due);
    }

    /// How long what is below a job would take to come to a machine.
    #[must_use]
    pub fn would_fetch_ms(&self, host: usize, lineage: u32) -> u64 {
        let machine = &self.hosts[host];
        let bytes = names::layer(lineage, self.plan.miss_ms).bytes;
        if machine.shelf.has(lineage) {
            0
        } else {
            bytes / machine.bytes_per_ms.max(1)
        }
    }

    /// How long what is below a job takes to come to a machine, which has it from then on.
    fn fetch_ms(&mut self, host: usize, lineage: u32) -> u64 {
        let bytes = names::layer(lineage, self.plan.miss_ms).bytes;
        let machine = &mut self.hosts[host];
        let is_hit = machine.shelf.take(lineage, self.plan.shelf);
        self.report.hits.0 += u64::from(is_hit);
        self.report.hits.1 += 1;
        if is_hit {
            0
        } else {
            bytes / machine.bytes_per_ms.max(1)
        }
    }

    /// How long a job's command really takes on a machine.
    fn command_ms(&mut self, host: usize, cost_ms: u64) -> u64 {
        let cost_ms = if self.plan.vague {
            self.dice.between(cost_ms / 2, cost_ms * 2)
        } else {
            cost_ms
        };
        let machine = &self.hosts[host];
        let pace = match machine.nature {
            Nature::Braggart => machine.pace / 4,
            Nature::Honest | Nature::Impostor => machine.pace,
        };
        cost_ms * 1000 / pace.max(1)
    }

    pub(super) fn progress(&mut self, host: usize, attempt: AttemptId, token: u64) {
        let machine = &self.hosts[host];
        let running = machine.running.get(&attempt);
        let Some(running) = running.filter(|running| running.token == token && !running.stopping)
        else {
            return;
        };
        let for_ms = self.now_ms - running.since_ms;
        let phase = match for_ms.checked_sub(running.fetch_ms) {
            None => Phase::Fetching {
                bytes: for_ms * machine.bytes_per_ms,
            },
            Some(cpu_ms) => Phase::Running {
                log_bytes: token % 10_000 + cpu_ms / 1000,
                cpu_ms,
            },
        };
        let moves = machine.stuck_ms <= self.now_ms;
        let due = Due::Progress {
            host,
            attempt,
            token,
        };
        self.agenda.add(self.now_ms + PROGRESS_MS, due);
        if moves {
            self.feed(host, Event::Progress { attempt, phase });
        }
    }

    pub(super) fn stop(&mut self, host: usize, attempt: AttemptId) {
        let Some(running) = self.hosts[host].running.get_mut(&attempt) else {
            return;
        };
        running.stopping = true;
        let token = running.token;
        self.mark(host, 8, attempt.job.action().as_bytes());
        let verdict = Verdict::Infra;
        let due = Due::Ended {
            host,
            attempt,
            token,
            verdict,
        };
        self.soon(1, 200, due);
    }

    pub(super) fn ended(&mut self, host: usize, attempt: AttemptId, token: u64, verdict: Verdict) {
        let machine = &mut self.hosts[host];
        let running = machine.running.get(&attempt);
        let Some(running) = running.filter(|running| running.token == token) else {
            return;
        };
        // What is to stop is killed, whether it moves or not.
        if machine.stuck_ms > self.now_ms && !running.stopping {
            let due = Due::Ended {
                host,
                attempt,
                token,
                verdict,
            };
            return self.agenda.add(machine.stuck_ms, due);
        }
        machine.running.remove(&attempt);
        let signer = match machine.flaw {
            Flaw::Masked => host + 1,
            _ => host,
        };
        let outcome = Said::of(attempt, self.index[&attempt.owner], signer).encode();
        let event = Event::Finished {
            attempt,
            verdict,
            outcome,
        };
        self.feed(host, event);
    }
}
