//! What stands between hosts and makes their network a worse one: packets (TCP, UDP and all else)
//! wait for as long as the link is said to be, and some are lost, by a seed. The packets stay in the
//! kernel's queue of each host meanwhile; here is only who goes on when.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use super::{lan::inside, queue::Queue};

/// Longest time until a shim notices that it is not wanted any more.
const NOTICE: Duration = Duration::from_millis(20);
const BUFFER_BYTES: usize = 256 * 1024;

/// What a host's cable does to what the host sends. A round trip passes two of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// How long each packet takes at least.
    pub delay: Duration,
    /// How much longer it may take.
    pub jitter: Duration,
    /// How many of 1000 packets are lost.
    pub loss_permille: u32,
    /// Which: an equal seed loses the same packets of an equal sequence.
    pub seed: u64,
}

impl Link {
    /// The fate of the next packet: how long it takes, or that it is lost.
    fn fate(&self, dice: &mut ChaCha8Rng) -> Option<Duration> {
        let (lot, longer) = (dice.next_u32(), dice.next_u32());
        if lot % 1000 < self.loss_permille {
            return None;
        }
        let longer = self.jitter.mul_f64(f64::from(longer) / f64::from(u32::MAX));
        Some(self.delay + longer)
    }
}

/// A worse network, until it is dropped.
#[derive(Debug)]
pub struct Shim {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    namespaces: Vec<String>,
}

impl Shim {
    /// Stands before all that the hosts of these namespaces send.
    ///
    /// # Panics
    /// If the kernel has no such queues, or iptables is not installed.
    pub(super) fn new(namespaces: &[&str], link: Link) -> Self {
        let open = |name: &&str| Queue::open(name).expect("the kernel queues packets for programs");
        let queues: Vec<Queue> = namespaces.iter().map(open).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || Office::new(queues, link).run(&stopped));
        for namespace in namespaces {
            rule(namespace, "-A");
        }
        Self {
            stop,
            thread: Some(thread),
            namespaces: namespaces.iter().map(|name| (*name).to_owned()).collect(),
        }
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            for namespace in &self.namespaces {
                rule(namespace, "-D");
            }
        }
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Puts what a host sends into its queue. Without a shim that listens, packets pass.
fn rule(namespace: &str, verb: &str) {
    let words = "POSTROUTING -o eth0 -j NFQUEUE --queue-num 0 --queue-bypass";
    let head = ["iptables", "-t", "mangle", verb];
    let all: Vec<&str> = head.into_iter().chain(words.split(' ')).collect();
    inside(namespace, &all);
}

/// Where packets wait.
struct Office {
    queues: Vec<Queue>,
    dice: Vec<ChaCha8Rng>,
    link: Link,
    /// When, of which queue, which number; the next one first.
    waiting: BinaryHeap<Reverse<(Instant, usize, u32)>>,
}

impl Office {
    fn new(queues: Vec<Queue>, link: Link) -> Self {
        let dice = |host: usize| {
            let mut dice = ChaCha8Rng::seed_from_u64(link.seed);
            dice.set_stream(host as u64);
            dice
        };
        Self {
            dice: (0..queues.len()).map(dice).collect(),
            queues,
            link,
            waiting: BinaryHeap::new(),
        }
    }

    fn run(mut self, stopped: &AtomicBool) {
        let mut buffer = vec![0; BUFFER_BYTES];
        while !stopped.load(Ordering::Relaxed) {
            self.let_go();
            self.wait();
            let now = Instant::now();
            for (host, queue) in self.queues.iter().enumerate() {
                let (dice, waiting) = (&mut self.dice[host], &mut self.waiting);
                let link = self.link;
                queue.arrived(&mut buffer, |number| match link.fate(dice) {
                    Some(after) => waiting.push(Reverse((now + after, host, number))),
                    None => queue.judge(number, false),
                });
            }
        }
    }

    /// Those whose time has come go on.
    fn let_go(&mut self) {
        let now = Instant::now();
        while let Some(Reverse((due, host, number))) = self.waiting.peek().copied() {
            if due > now {
                return;
            }
            self.waiting.pop();
            self.queues[host].judge(number, true);
        }
    }

    /// Until a packet comes or is due.
    fn wait(&self) {
        let next = self.waiting.peek().map(|Reverse((due, _, _))| *due);
        let pause = next.map_or(NOTICE, |due| {
            due.saturating_duration_since(Instant::now()).min(NOTICE)
        });
        let pause = Timespec {
            tv_sec: 0,
            tv_nsec: pause.subsec_nanos().into(),
        };
        let mut all: Vec<PollFd<'_>> = self
            .queues
            .iter()
            .map(|queue| PollFd::from_borrowed_fd(queue.as_fd(), PollFlags::IN))
            .collect();
        match poll(&mut all, Some(&pause)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => panic!("queues cannot be waited for: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(seed: u64) -> Vec<Option<Duration>> {
        let link = Link {
            delay: Duration::from_millis(10),
            jitter: Duration::from_millis(5),
            loss_permille: 100,
            seed,
        };
        let mut dice = ChaCha8Rng::seed_from_u64(link.seed);
        (0..10_000).map(|_| link.fate(&mut dice)).collect()
    }

    #[test]
    fn an_equal_seed_loses_and_delays_equally() {
        assert_eq!(fates(1), fates(1));
        assert_ne!(fates(1), fates(2));
        let lost = fates(1).iter().filter(|fate| fate.is_none()).count();
        assert!((900..1100).contains(&lost), "{lost} of 10,000 are lost");
        let within = Duration::from_millis(10)..=Duration::from_millis(15);
        assert!(
            fates(1)
                .iter()
                .flatten()
                .all(|delay| within.contains(delay))
        );
    }
}
