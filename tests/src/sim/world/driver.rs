//! Around the engine: what it asks for is done here, by waiting where the program would work.

use caravan_protocol::{
    claim::Verdict,
    offer::{AttemptId, Command, Event, JobId},
    time::Time,
};

use super::{Due, Packet, What, World, outcome};
use crate::sim::{End, Fate, host::Running};

impl World {
    pub(super) fn feed(&mut self, at: usize, event: Event) {
        let host = &mut self.hosts[at];
        let clock = host.clock(self.now_ms);
        let Some(engine) = host.engine.as_mut() else {
            return;
        };
        let mut out = Vec::new();
        engine.handle(clock, event.clone(), &mut out);
        self.note(at, What::Event(event));
        for command in out {
            self.note(at, What::Command(command.clone()));
            self.obey(at, command);
        }
    }

    pub(super) fn obey(&mut self, at: usize, command: Command) {
        match command {
            Command::Run { attempt, .. } => self.run(at, attempt),
            Command::Stop { attempt } => self.stop(at, attempt),
            Command::Send { to, message } => {
                let bytes = message.encode().expect("engines send what can travel");
                self.mark(at, 3, &bytes);
                self.report.messages += 1;
                self.carry(at, self.index[&to], &Packet::Message(bytes));
            }
            Command::Gossip { platform, digest } => {
                let bytes = digest.encode().expect("engines gossip what can travel");
                self.mark(at, 4, &bytes);
                self.report.digests += 1;
                let packet = Packet::Gossip(platform, bytes);
                for to in 0..self.hosts.len() {
                    if to != at {
                        self.carry(at, to, &packet);
                    }
                }
            }
            Command::WakeAt(time) => self.wake(at, time),
            Command::Done { attempt, .. } => self.end(at, attempt.job, End::Done),
            Command::GaveUp { job, .. } => self.end(at, job, End::GaveUp),
            Command::Placed { .. }
            | Command::Progress { .. }
            | Command::Waiting { .. }
            | Command::Lost { .. }
            | Command::Late { .. }
            | Command::Reject { .. } => {}
        }
    }

    pub(super) fn wake(&mut self, at: usize, time: Time) {
        let host = &mut self.hosts[at];
        let at_ms = time.as_ms() - host.ahead_ms;
        host.wake_ms = Some(at_ms);
        let life = host.life;
        self.agenda.add(
            at_ms,
            Due::Wake {
                host: at,
                life,
                at_ms,
            },
        );
    }

    pub(super) fn end(&mut self, owner: usize, job: JobId, end: End) {
        self.mark(
            owner,
            5 + u8::from(end == End::GaveUp),
            job.action().as_bytes(),
        );
        if let Some(order) = self.orders.get_mut(&(owner, job))
            && order.end.is_none()
        {
            order.end = Some(end);
            match end {
                End::Done => self.report.done += 1,
                _ => self.report.gave_up += 1,
            }
            self.report.ended_ms = self.now_ms;
        }
    }

    pub(super) fn want(&mut self, number: usize) {
        let order = self.orders.get_mut(&self.keys[number]).expect("planned");
        if order.end.is_none() {
            order.wanted = true;
            let (owner, want) = (order.owner, order.want.clone());
            self.feed(owner, Event::Want(want));
        }
    }

    pub(super) fn unwant(&mut self, number: usize) {
        let order = self.orders.get_mut(&self.keys[number]).expect("planned");
        if order.end.is_none() {
            order.end = Some(End::Unwanted);
            let (owner, job) = (order.owner, order.want.job);
            self.feed(owner, Event::Unwant(job));
        }
    }

    pub(super) fn runs(&self, host: usize, attempt: AttemptId, token: u64) -> bool {
        let running = self.hosts[host].running.get(&attempt);
        running.is_some_and(|running| running.token == token)
    }

    pub(super) fn run(&mut self, host: usize, attempt: AttemptId) {
        self.token += 1;
        let token = self.token;
        let since_ms = self.now_ms;
        self.mark(host, 7, attempt.job.action().as_bytes());
        let owner = self.index[&attempt.owner];
        self.report.remote_runs += u64::from(owner != host);
        let running = Running {
            token,
            since_ms,
            stopping: false,
        };
        self.hosts[host].running.insert(attempt, running);
        let order = &self.orders[&(owner, attempt.job)];
        let (fate, cost_ms) = (order.fate, order.want.cost_ms);
        let fails = !self.is_calm() && self.dice.chance(self.plan.infra);
        let verdict = match fate {
            Fate::Poison => Verdict::Infra,
            _ if fails => Verdict::Infra,
            Fate::Pass => Verdict::Pass,
            Fate::Fail => Verdict::Fail,
        };
        let stormy = self.plan.calm_ms > 0;
        let takes_ms = if stormy {
            self.dice.between(cost_ms / 2, cost_ms * 2)
        } else {
            cost_ms
        };
        self.agenda.add(
            since_ms + takes_ms / 2,
            Due::Progress {
                host,
                attempt,
                token,
            },
        );
        self.agenda.add(
            since_ms + takes_ms,
            Due::Ended {
                host,
                attempt,
                token,
                verdict,
            },
        );
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
        if self.runs(host, attempt, token) {
            self.hosts[host].running.remove(&attempt);
            let outcome = outcome(attempt.job, host);
            self.feed(
                host,
                Event::Finished {
                    attempt,
                    verdict,
                    outcome,
                },
            );
        }
    }
}
