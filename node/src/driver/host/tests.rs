//! Tests of the talk with a policy.

use caravan_protocol::{
    action::{Action, Fetch, Limits, TrustDomain, Work},
    claim::Verdict,
    ids::{ActionKey, NodeId},
    level::Level,
    platform::Platform,
    policy::Watched,
};

use super::*;

/// Wishes for one thing after another, and writes down what it hears.
#[derive(Debug)]
struct Chain {
    steps: u64,
    heard: Vec<WantId>,
    /// Gives each wish up at once.
    fickle: bool,
}

impl Chain {
    fn of(steps: u64) -> Self {
        Self {
            steps,
            heard: Vec::new(),
            fickle: false,
        }
    }
}

impl Policy for Chain {
    fn role(&self) -> &'static str {
        "chain"
    }

    fn handle(&mut self, event: Event, out: &mut Vec<Command>) {
        if let Event::Want {
            id,
            state: WantState::Done(_),
        } = event
        {
            self.heard.push(id);
        }
        let next = self.heard.len() as u64;
        if next < self.steps {
            out.push(Command::Want {
                id: WantId(next),
                label: format!("step {next}"),
                action: action(),
                level: Level::Local,
            });
        }
        if self.fickle {
            out.push(Command::Unwant(WantId(next)));
        }
    }

    fn view(&self) -> PolicyView {
        PolicyView::default()
    }

    fn is_settled(&self) -> bool {
        self.heard.len() as u64 == self.steps
    }
}

fn action() -> Action {
    Action {
        platform: Platform::here(),
        domain: TrustDomain::project("p"),
        work: Work::Fetch(Fetch { files: Vec::new() }),
        limits: Limits::default(),
        sources: Vec::new(),
        caches: Vec::new(),
    }
}

fn outcome() -> Outcome {
    Outcome {
        action: ActionKey::from_bytes([1; 32]),
        verdict: Verdict::Pass,
        output: None,
        outputs: std::collections::BTreeMap::new(),
        log: None,
        level: Level::Local,
        node: NodeId::from_bytes([2; 32]),
        cached: true,
        wall_ms: 1,
        message: None,
    }
}

fn begin() -> Vec<Event> {
    vec![Event::Watched(Watched::Unavailable("nothing".to_owned()))]
}

/// What was said: a wish is its number with whether it was answered.
fn told(said: &[Said]) -> Vec<(u64, bool)> {
    let wish = |said: &Said| match &said.command {
        Command::Want { id, .. } => Some((id.0, said.answer.is_some())),
        _ => None,
    };
    said.iter().filter_map(wish).collect()
}

#[test]
fn a_chain_of_answered_wishes_is_one_talk() {
    let mut chain = Chain::of(20);
    let said = converse(
        &mut chain,
        begin(),
        |_| true,
        |_| Some(outcome()),
        |_| panic!("all was answered"),
    );
    let all: Vec<(u64, bool)> = (0..20).map(|number| (number, true)).collect();
    assert_eq!(told(&said), all);
    assert_eq!(chain.heard, (0..20).map(WantId).collect::<Vec<_>>());
    assert!(chain.is_settled());
}

#[test]
fn the_talk_ends_with_a_wish_that_nothing_answers() {
    let mut chain = Chain::of(20);
    let mut left = 3;
    let answer = |_: &Command| {
        left -= 1;
        (left >= 0).then(outcome)
    };
    let said = converse(&mut chain, begin(), |_| true, answer, |_| false);
    assert_eq!(told(&said), [(0, true), (1, true), (2, true), (3, false)]);
    assert_eq!(chain.heard.len(), 3);
}

#[test]
fn a_policy_that_never_stops_wanting_is_interrupted() {
    let mut chain = Chain::of(u64::MAX);
    let said = converse(&mut chain, begin(), |_| true, |_| Some(outcome()), |_| true);
    assert_eq!(said.len(), ANSWERS_MAX + 1);
    assert!(
        said.last().is_some_and(|last| last.answer.is_none()),
        "the driver answers the last"
    );
}

#[test]
fn what_is_given_up_in_the_same_breath_is_not_looked_for() {
    let mut chain = Chain {
        fickle: true,
        ..Chain::of(20)
    };
    let said = converse(
        &mut chain,
        begin(),
        |_| true,
        |_| panic!("it was looked for"),
        |_| panic!("it was looked up"),
    );
    assert_eq!(told(&said), [(0, false)]);
}

#[test]
fn no_wish_is_answered_before_what_it_may_name_is_kept() {
    let mut chain = Chain::of(20);
    let answer = |_: &Command| panic!("it was looked for");
    let look_up = |_: &[&Command]| panic!("it was looked up");
    assert!(converse(&mut chain, begin(), |_| false, answer, look_up).is_empty());
}

#[test]
fn what_nothing_here_answers_is_looked_up_and_asked_for_again() {
    let mut chain = Chain::of(3);
    let (known, looked) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    // Each step is known only once it was looked up.
    let answer = |command: &Command| match command {
        Command::Want { id, .. } => (id.0 < known.get()).then(outcome),
        _ => None,
    };
    let look_up = |open: &[&Command]| {
        assert_eq!(open.len(), 1, "one question for all wishes of a round");
        looked.set(looked.get() + 1);
        known.set(looked.get().min(2));
        looked.get() <= 2
    };
    let said = converse(&mut chain, begin(), |_| true, answer, look_up);
    assert_eq!(told(&said), [(0, true), (1, true), (2, false)]);
    assert_eq!(looked.get(), 3);
}
