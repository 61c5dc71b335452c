//! What became of a job, for people: where it ran, what each attempt did, and why the market chose so.

use caravan_protocol::{
    time::Stamp,
    view::{AttemptView, JobView, PhaseTime, PhaseView, State},
};

use super::{bytes, date, duration, grid::Paint, mark, plain};

/// A line with its paint.
pub(crate) type Line = (String, Paint);

/// Words before each line's text are as wide as this.
const HEAD: usize = 10;

/// All lines about a job.
pub(crate) fn lines(job: &JobView, now: Stamp) -> Vec<Line> {
    let mut lines = Vec::new();
    head(&mut lines, job);
    for attempt in &job.attempts {
        lines.push((String::new(), Paint::None));
        self::attempt(&mut lines, attempt, now);
    }
    if job.attempts.is_empty() && job.note.is_none() {
        lines.push((String::new(), Paint::None));
        lines.push(("no attempt at it was made yet".to_owned(), Paint::Dim));
    }
    lines
}

fn field(lines: &mut Vec<Line>, name: &str, text: impl AsRef<str>, paint: Paint) {
    let text = plain(text.as_ref());
    lines.push((format!("{name:<HEAD$}{text}"), paint));
}

fn head(lines: &mut Vec<Line>, job: &JobView) {
    field(lines, "job", job.job.to_string(), Paint::None);
    if !job.label.is_empty() {
        field(lines, "what", &job.label, Paint::None);
    }
    if !job.project.is_empty() {
        field(lines, "project", &job.project, Paint::None);
    }
    if let Some(platform) = &job.platform {
        field(lines, "platform", platform.to_string(), Paint::None);
    }
    let state = format!("{} {}", mark(job.state), job.state.word());
    field(lines, "state", state, paint(job.state));
    if let Some(wanted) = job.wanted {
        field(
            lines,
            "wanted",
            format!("{} UTC", date(wanted)),
            Paint::None,
        );
    }
    if let Some(cost) = job.cost_ms {
        let text = format!("{}, as its owner thinks", duration(cost));
        field(lines, "cost", text, Paint::None);
    }
    if let Some(waits) = &job.waits {
        field(lines, "waits", waits, Paint::Warn);
    }
    for step in &job.steps {
        let (run, want) = (step.run.fmt_short(), step.want.0);
        field(lines, "step", format!("{want} of run {run}"), Paint::Dim);
    }
    if let Some(note) = &job.note {
        field(lines, "note", note, Paint::Dim);
    }
    if job.forgotten > 0 {
        let text = format!("{} earlier attempts are not remembered", job.forgotten);
        field(lines, "note", text, Paint::Dim);
    }
}

const fn paint(state: State) -> Paint {
    match state {
        State::Ok => Paint::Good,
        State::Failed => Paint::Bad,
        State::Ready | State::Blocked => Paint::Warn,
        State::Running | State::Cancelled => Paint::None,
    }
}

fn attempt(lines: &mut Vec<Line>, attempt: &AttemptView, now: Stamp) {
    let operator = match attempt.operator.as_str() {
        "" => String::new(),
        operator => format!(" of {}", plain(operator)),
    };
    let node = attempt.node.fmt_short();
    let (number, at) = (attempt.number, date(attempt.placed));
    let text = format!("attempt {number} on node {node}{operator}, since {at} UTC");
    lines.push((
        text,
        if attempt.won {
            Paint::Good
        } else {
            Paint::None
        },
    ));
    let owner = attempt.owner.fmt_short();
    field(lines, "  for", format!("node {owner}"), Paint::Dim);
    field(lines, "  because", attempt.why.words(), Paint::None);
    for bid in &attempt.bids {
        let chosen = if bid.node == attempt.node { " <-" } else { "" };
        let wait = match bid.wait_ms {
            0 => "at once".to_owned(),
            wait => format!("in {}", duration(wait)),
        };
        let (node, eta) = (bid.node.fmt_short(), duration(bid.eta_ms));
        let text = format!("{node} begins {wait}, done in {eta}{chosen}");
        field(lines, "  bid", text, Paint::None);
    }
    for pass in &attempt.passes {
        let text = format!("{}: {}", pass.node.fmt_short(), pass.why);
        field(lines, "  passed", text, Paint::Dim);
    }
    let end = attempt.ended.unwrap_or(now);
    for (at, phase) in attempt.phases.iter().enumerate() {
        let until = attempt.phases.get(at + 1).map_or(end, |next| next.began);
        field(lines, "  phase", phase_line(phase, until), Paint::None);
    }
    let took = end.as_ms().saturating_sub(attempt.placed.as_ms());
    match (&attempt.end, attempt.ended) {
        (Some(how), _) => {
            let paint = if attempt.won {
                Paint::Good
            } else {
                Paint::Warn
            };
            let text = format!("{how}, after {}", duration(took));
            field(lines, "  ended", text, paint);
        }
        (None, Some(_)) => field(lines, "  ended", duration(took), Paint::None),
        (None, None) => {
            let text = format!("for {}", duration(took));
            field(lines, "  goes on", text, Paint::Good);
        }
    }
}

fn phase_line(time: &PhaseTime, until: Stamp) -> String {
    let took = duration(until.as_ms().saturating_sub(time.began.as_ms()));
    let word = time.phase.word();
    match far(time.phase) {
        Some(far) => format!("{word} for {took}, {far}"),
        None => format!("{word} for {took}"),
    }
}

/// How far a phase is, as far as that was said.
pub(crate) fn far(phase: PhaseView) -> Option<String> {
    match phase {
        PhaseView::Placed | PhaseView::Keeping => None,
        PhaseView::Fetching {
            bytes: 0,
            of_bytes: 0,
        } => None,
        PhaseView::Fetching {
            bytes: got,
            of_bytes: 0,
        } => Some(bytes(got)),
        PhaseView::Fetching {
            bytes: got,
            of_bytes,
        } => Some(format!("{} of {}", bytes(got), bytes(of_bytes))),
        PhaseView::Running { log_bytes, cpu_ms } => {
            let log = (log_bytes > 0).then(|| format!("{} of log", bytes(log_bytes)));
            let cpu = (cpu_ms > 0).then(|| format!("{} of processor", duration(cpu_ms)));
            let words: Vec<String> = log.into_iter().chain(cpu).collect();
            (!words.is_empty()).then(|| words.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use caravan_protocol::{
        ids::{ActionKey, NodeId},
        view::{BidView, PassView, Why},
    };

    use super::*;

    fn node(at: u8) -> NodeId {
        NodeId::from_bytes([at; 32])
    }

    fn ms(at: u64) -> Stamp {
        Stamp::from_ms(1_795_370_400_000 + at)
    }

    fn ended() -> JobView {
        let phases = [
            (PhaseView::Placed, 0),
            (
                PhaseView::Fetching {
                    bytes: 1 << 20,
                    of_bytes: 0,
                },
                200,
            ),
            (
                PhaseView::Running {
                    log_bytes: 2048,
                    cpu_ms: 0,
                },
                1200,
            ),
        ];
        JobView {
            job: ActionKey::from_bytes([7; 32]),
            label: "fmt.0.9\u{1b}[2J".to_owned(),
            project: "/src/hello".to_owned(),
            platform: Some("linux-x86_64".parse().expect("a platform")),
            state: State::Ok,
            wanted: Some(ms(0)),
            waits: None,
            cost_ms: Some(4000),
            steps: Vec::new(),
            attempts: vec![AttemptView {
                owner: node(1),
                number: 2,
                node: node(2),
                operator: "bob".to_owned(),
                placed: ms(0),
                why: Why::Lowest,
                bids: vec![
                    BidView {
                        node: node(2),
                        eta_ms: 4100,
                        wait_ms: 0,
                    },
                    BidView {
                        node: node(3),
                        eta_ms: 9000,
                        wait_ms: 5000,
                    },
                ],
                passes: vec![PassView {
                    node: node(4),
                    why: "it has too much to do".to_owned(),
                }],
                phases: phases
                    .map(|(phase, at)| PhaseTime {
                        phase,
                        began: ms(at),
                    })
                    .into(),
                ended: Some(ms(4200)),
                end: Some("it passed".to_owned()),
                won: true,
            }],
            forgotten: 1,
            note: None,
        }
    }

    #[test]
    fn a_job_that_has_ended_tells_who_bid_what_and_what_it_did() {
        let text: Vec<String> = lines(&ended(), ms(9_999_999))
            .into_iter()
            .map(|line| line.0)
            .collect();
        let whole = [
            "job       0707070707070707070707070707070707070707070707070707070707070707",
            "what      fmt.0.9\u{fffd}[2J",
            "project   /src/hello",
            "platform  linux-x86_64",
            "state     ✓ ok",
            "wanted    2026-11-22 18:00:00 UTC",
            "cost      4.0 s, as its owner thinks",
            "note      1 earlier attempts are not remembered",
            "",
            "attempt 2 on node 0202020202 of bob, since 2026-11-22 18:00:00 UTC",
            "  for     node 0101010101",
            "  because its estimate was the lowest",
            "  bid     0202020202 begins at once, done in 4.1 s <-",
            "  bid     0303030303 begins in 5.0 s, done in 9.0 s",
            "  passed  0404040404: it has too much to do",
            "  phase   placed for 0.2 s",
            "  phase   fetching for 1.0 s, 1.0 MiB",
            "  phase   running for 3.0 s, 2.0 KiB of log",
            "  ended   it passed, after 4.2 s",
        ];
        assert_eq!(text, whole);
    }

    #[test]
    fn a_job_without_attempts_says_so() {
        let job = JobView {
            attempts: Vec::new(),
            ..ended()
        };
        let last = lines(&job, ms(0)).pop().expect("lines");
        assert_eq!(last.0, "no attempt at it was made yet");
    }
}
