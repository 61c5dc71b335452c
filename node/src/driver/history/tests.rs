//! What is remembered of jobs, from what the market is told and asks for.

use caravan_protocol::{
    action::Limits,
    offer::{Loss, Place, ProjectKey, Rate},
};

use super::*;

fn node(at: u8) -> NodeId {
    NodeId::from_bytes([at; 32])
}

const ME: u8 = 1;

fn key(at: u32) -> ActionKey {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&at.to_be_bytes());
    ActionKey::from_bytes(bytes)
}

fn at(ms: u64) -> Stamp {
    Stamp::from_ms(ms)
}

fn own(job: u32, number: u32) -> AttemptId {
    attempt(ME, job, number)
}

fn attempt(owner: u8, job: u32, number: u32) -> AttemptId {
    AttemptId {
        owner: node(owner),
        job: key(job).into(),
        number,
    }
}

fn want(job: u32) -> Want {
    Want {
        job: key(job).into(),
        platform: "linux-x86_64".parse().expect("a platform"),
        priority: Priority::Normal,
        project: ProjectKey::NONE,
        rate: Rate::USUAL,
        both: false,
        cost_ms: 4000,
        remote_ok: true,
        needs: Limits::default(),
        place: Place::default(),
        lineage: Vec::new(),
        missing_bytes: 0,
        holders: Vec::new(),
        role: None,
        action: vec![1],
    }
}

/// A history with the clock that it is told.
#[derive(Default)]
struct Tale {
    history: History,
    ms: u64,
}

impl Tale {
    fn hear(&mut self, event: impl Into<Box<Event>>) {
        let event = event.into();
        self.ms += 100;
        self.history.heard(node(ME), at(self.ms), &event);
    }

    fn tell(&mut self, command: impl Into<Box<Command>>) {
        let command = command.into();
        self.ms += 100;
        self.history.told(node(ME), at(self.ms), &command, None);
    }

    fn bid(&mut self, from: u8, job: u32, eta_ms: u64) {
        let message = Message::Bid {
            nonce: 1,
            job: key(job).into(),
            eta_ms,
            wait_ms: 0,
            offered: true,
            most: Limits::default(),
        };
        let from = node(from);
        self.hear(Event::Message { from, message });
    }

    fn pass(&mut self, from: u8, job: u32) {
        let message = Message::Pass {
            job: key(job).into(),
            why: Reluctance::Busy,
            most: Limits::default(),
        };
        let from = node(from);
        self.hear(Event::Message { from, message });
    }

    /// An award, as the market makes it.
    fn award(&mut self, job: u32, number: u32, to: u8) {
        let message = Message::Award {
            nonce: 1,
            job: key(job).into(),
            number,
            lease_ms: 1,
            needs: Limits::default(),
            action: Vec::new(),
            holders: Vec::new(),
            role: None,
        };
        let to = node(to);
        self.tell(Command::Send { to, message });
        self.place(job, number, to);
    }

    fn place(&mut self, job: u32, number: u32, node: NodeId) {
        let attempt = own(job, number);
        self.tell(Command::Placed { attempt, node });
    }

    fn run(&mut self, attempt: AttemptId) {
        self.tell(Command::Run {
            attempt,
            action: Vec::new(),
            holders: Vec::new(),
        });
    }

    fn lose(&mut self, job: u32, number: u32, from: u8, loss: Loss) {
        self.tell(Command::Lost {
            attempt: own(job, number),
            node: node(from),
            loss,
            outcome: Vec::new(),
        });
    }

    fn done(&mut self, job: u32, number: u32, by: u8, verdict: Verdict) {
        self.tell(Command::Done {
            attempt: own(job, number),
            node: node(by),
            verdict,
            outcome: Vec::new(),
        });
    }

    fn attempts(&self, job: u32) -> Vec<&Attempt> {
        let record = self.history.get(key(job)).expect("it is remembered");
        record.attempts.iter().collect()
    }

    fn whys(&self, job: u32) -> Vec<Why> {
        self.attempts(job)
            .iter()
            .map(|attempt| attempt.why)
            .collect()
    }
}

#[test]
fn the_lowest_bid_wins_and_all_that_was_said_is_kept_with_the_attempt() {
    let mut tale = Tale::default();
    tale.hear(Event::Want(want(7)));
    tale.bid(3, 7, 9000);
    tale.bid(2, 7, 4100);
    tale.pass(4, 7);
    tale.award(7, 1, 2);
    let phase = Phase::Fetching { bytes: 10 };
    let (attempt, by) = (own(7, 1), node(2));
    tale.tell(Command::Progress {
        attempt,
        node: by,
        phase,
    });
    let phase = Phase::Fetching { bytes: 20 };
    tale.hear(Event::Progress { attempt, phase });
    let phase = Phase::Keeping;
    tale.hear(Event::Progress { attempt, phase });
    assert_eq!(tale.history.live_len(), 1);
    tale.done(7, 1, 2, Verdict::Pass);
    let attempts = tale.attempts(7);
    let [attempt] = attempts.as_slice() else {
        panic!("{attempts:?}")
    };
    assert_eq!((attempt.why, attempt.node), (Why::Lowest, node(2)));
    let bids: Vec<NodeId> = attempt.bids.iter().map(|bid| bid.node).collect();
    assert_eq!(bids, [node(2), node(3)]);
    assert_eq!(attempt.passes[0].node, node(4));
    assert_eq!(attempt.estimate_ms, Some(4100));
    let phases: Vec<&str> = attempt
        .phases
        .iter()
        .map(|time| time.phase.word())
        .collect();
    assert_eq!(phases, ["fetching", "keeping"]);
    assert!(attempt.won && attempt.end.as_deref() == Some("it passed"));
    assert_eq!(tale.history.live_len(), 0);
    assert!(tale.history.open(key(7)).is_none(), "it is still open");
}

#[test]
fn a_second_attempt_beside_the_first_is_a_hedge_and_the_loser_says_why_it_ended() {
    let mut tale = Tale::default();
    tale.hear(Event::Want(want(7)));
    tale.run(own(7, 1));
    tale.bid(2, 7, 50);
    tale.award(7, 2, 2);
    assert_eq!(tale.whys(7), [Why::Here, Why::Hedge]);
    tale.done(7, 2, 2, Verdict::Pass);
    let event = Event::Finished {
        attempt: own(7, 1),
        verdict: Verdict::Infra,
        outcome: Vec::new(),
    };
    tale.hear(event);
    assert!(tale.attempts(7)[0].ended.is_none(), "the market goes first");
    tale.history.settled(at(9999), own(7, 1));
    let first = tale.attempts(7)[0];
    assert!(
        !first.won
            && first
                .end
                .as_deref()
                .is_some_and(|end| end.contains("stopped"))
    );
    assert!(tale.attempts(7)[1].won);
}

#[test]
fn reasons_are_told_apart() {
    let mut tale = Tale::default();
    for job in 1..=6 {
        tale.hear(Event::Want(want(job)));
    }
    tale.bid(2, 1, 900);
    tale.bid(3, 1, 500);
    tale.award(1, 1, 2);
    assert_eq!(tale.whys(1), [Why::Believed], "a lower bid was passed over");
    tale.award(2, 1, 2);
    assert_eq!(tale.whys(2), [Why::Spare], "it had not bid for this one");
    tale.place(3, 5, node(2));
    assert_eq!(tale.whys(3), [Why::Adopted], "nothing was awarded");
    tale.bid(2, 4, 10);
    tale.award(4, 1, 2);
    tale.lose(4, 1, 2, Loss::Silent);
    assert_eq!(tale.history.resting().collect::<Vec<_>>(), [key(4)]);
    tale.place(4, 1, node(2));
    assert_eq!(tale.whys(4), [Why::Back]);
    assert!(tale.attempts(4)[0].ended.is_none() && tale.history.resting().next().is_none());
    let place = Place {
        on: Some(node(2)),
        ..Place::default()
    };
    let only = Want { place, ..want(8) };
    tale.hear(Event::Want(only));
    tale.bid(2, 8, 10);
    tale.award(8, 1, 2);
    assert_eq!(tale.whys(8), [Why::Only]);
    tale.run(attempt(9, 77, 3));
    assert_eq!(tale.whys(77), [Why::Lent]);
}

#[test]
fn bids_for_jobs_that_nobody_wants_are_not_remembered() {
    let mut tale = Tale::default();
    for job in 0..100 {
        tale.bid(2, job, 1);
        tale.pass(3, job);
    }
    assert!(tale.history.get(key(5)).is_none());
    tale.hear(Event::Want(want(5)));
    for from in 2..=255 {
        tale.bid(from, 5, u64::from(from));
        tale.pass(from, 5);
    }
    tale.bid(9, 5, 1);
    tale.award(5, 1, 9);
    let attempts = tale.attempts(5);
    assert!(attempts[0].bids.len() <= BIDS_MAX && attempts[0].passes.len() <= BIDS_MAX);
}

#[test]
fn no_more_is_remembered_than_the_bounds_allow() {
    let mut tale = Tale::default();
    tale.hear(Event::Want(want(0)));
    for number in 1..=40 {
        tale.run(own(0, number));
        tale.lose(0, number, ME, Loss::Infra);
    }
    let record = tale.history.get(key(0)).expect("there");
    assert_eq!(
        (record.attempts.len(), record.forgotten),
        (ATTEMPTS_MAX, 24)
    );
    let jobs = u32::try_from(JOBS_MAX).expect("small");
    for job in 1..jobs + 50 {
        tale.hear(Event::Want(want(job)));
        tale.run(own(job, 1));
    }
    assert_eq!(tale.history.jobs.len(), JOBS_MAX);
    assert_eq!(tale.history.order.len(), JOBS_MAX);
    assert_eq!(
        tale.history.live_len(),
        JOBS_MAX,
        "one that was forgotten is live"
    );
    assert!(tale.history.get(key(0)).is_none(), "the oldest stayed");
    for job in 0..jobs + 50 {
        tale.hear(Event::Unwant(key(job).into()));
    }
    assert!(tale.history.open.is_empty() && tale.history.lost.is_empty());
}

#[test]
fn a_job_is_found_by_the_first_digits_of_its_key() {
    let mut tale = Tale::default();
    for job in [0x1234_5678, 0x1234_ffff, 0xabcd_0000] {
        tale.hear(Event::Want(want(job)));
    }
    let found = |prefix: &str| tale.history.find(prefix).len();
    assert_eq!(
        (found("abcd"), found("1234"), found("12345"), found("9")),
        (1, 2, 1, 0)
    );
}
