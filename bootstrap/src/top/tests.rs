//! What the screen looks like, held to golden text, and what keys do. `CARAVAN_GOLDEN=write` writes
//! the golden text anew, to be read before it is kept.

use std::path::Path;

use caravan_protocol::{
    identity::{NodeCert, Tier},
    ids::{ActionKey, MeshId, NodeId},
    time::Stamp,
    view::{
        CacheView, JobView, LinkView, ModeView, NodeView, Overview, PhaseView, RunningView,
        State as JobState, WaitingView,
    },
};
use ratatui::{
    Terminal,
    backend::TestBackend,
    buffer::Buffer,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
    style::Color,
};

use super::{
    draw::draw,
    state::{Panel, State, Wish},
};

const NOW: u64 = 1_795_370_400_000;

fn node(at: u8) -> NodeId {
    NodeId::from_bytes([at; 32])
}

fn key(at: u8) -> ActionKey {
    ActionKey::from_bytes([at; 32])
}

fn before(ms: u64) -> Stamp {
    Stamp::from_ms(NOW - ms)
}

fn member(at: u8, operator: &str, mode: ModeView, why: Option<&str>) -> NodeView {
    let mut view = NodeView::of(&NodeCert {
        mesh: MeshId::from_bytes([9; 32]),
        node: node(at),
        operator: operator.to_owned(),
        tier: Tier::Donor,
        platforms: vec!["linux-x86_64".parse().expect("a platform")],
        not_before: before(1),
        expires: before(0),
    });
    view.here = at == 1;
    (view.running, view.slots) = (u32::from(at), 4);
    view.heard = Some(before(u64::from(at) * 40_000));
    (view.mode, view.why) = (mode, why.map(str::to_owned));
    view
}

fn running(at: u8, label: &str, phase: PhaseView) -> RunningView {
    let lent = label.is_empty();
    RunningView {
        job: key(at),
        label: label.to_owned(),
        project: if lent {
            String::new()
        } else {
            "/src/hello".to_owned()
        },
        owner: if lent { node(2) } else { node(1) },
        number: 1 + u32::from(at == 2),
        node: if lent { node(1) } else { node(at) },
        began: before(u64::from(at) * 17_000),
        phase,
        phase_began: before(1000),
        estimate_ms: (!lent).then_some(30_000),
        hedge: at == 2,
    }
}

fn waiting(at: u8, label: &str, reason: &str) -> WaitingView {
    WaitingView {
        job: key(100 + at),
        label: label.to_owned(),
        project: "https://example.org/mirage/hello.git".to_owned(),
        platform: "linux-x86_64".parse().expect("a platform"),
        urgent: at == 1,
        since: before(u64::from(at) * 61_000),
        reason: reason.to_owned(),
    }
}

/// A mesh with something in every panel.
fn overview() -> Overview {
    let fetching = PhaseView::Fetching {
        bytes: 40 << 20,
        of_bytes: 100 << 20,
    };
    let run = PhaseView::Running {
        log_bytes: 18_000,
        cpu_ms: 9000,
    };
    let link = |at: Option<u8>, in_per_s| LinkView {
        node: at.map(node),
        in_bytes: 3 << 30,
        out_bytes: 5 << 20,
        in_per_s,
        out_per_s: 0,
    };
    Overview {
        at: Stamp::from_ms(NOW),
        nodes: vec![
            member(1, "ann", ModeView::Open, None),
            member(2, "bob", ModeView::Open, None),
            member(3, "carol", ModeView::Paused, Some("paused by carol: lunch")),
            member(
                4,
                "dave",
                ModeView::Dead,
                Some("it vanished without a word"),
            ),
        ],
        nodes_all: 4,
        waiting: 1204,
        queue: vec![
            waiting(
                1,
                "build and test",
                "4 of 4 slots here run; 2 nodes were asked",
            ),
            waiting(2, "fmt.0.9.0", "no known node builds for linux-x86_64"),
        ],
        running_all: 4,
        running: vec![
            running(1, "dune.3.20.2", fetching),
            running(2, "astring.0.8.5", run),
            running(3, "re.1.13.2", PhaseView::Placed),
            running(4, "", PhaseView::Keeping),
        ],
        links: vec![link(None, 2 << 20), link(Some(2), 0)],
        cache: CacheView {
            hits: 90,
            executed: 8,
            remote: 2,
            saved_ms: 11_520_000,
            spared_bytes: 9 << 30,
            fetched_bytes: 1 << 30,
        },
        ..Overview::empty(MeshId::from_bytes([9; 32]), node(1))
    }
}

fn drawn(overview: &Overview, state: &State, (width, height): (u16, u16)) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("memory");
    terminal
        .draw(|frame| draw(frame, overview, state))
        .expect("memory");
    terminal.backend().buffer().clone()
}

fn text(buffer: &Buffer) -> String {
    let area = buffer.area;
    let mut text = String::new();
    for y in 0..area.height {
        let line: String = (0..area.width).map(|x| buffer[(x, y)].symbol()).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn golden(name: &str, text: &str) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/top/golden");
    let file = dir.join(format!("{name}.txt"));
    if std::env::var_os("CARAVAN_GOLDEN").is_some_and(|word| word == "write") {
        std::fs::write(&file, text).expect("writable");
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        kept == text,
        "{name} differs from {}:\n{text}",
        file.display()
    );
}

#[test]
fn screens_of_every_shape_look_as_they_should() {
    let plain = State::new(false);
    for (name, size) in [
        ("80x24", (80, 24)),
        ("160x40", (160, 40)),
        ("40x12", (40, 12)),
    ] {
        golden(name, &text(&drawn(&overview(), &plain, size)));
    }
    let nothing = Overview::empty(MeshId::from_bytes([9; 32]), node(1));
    golden("nothing", &text(&drawn(&nothing, &plain, (80, 24))));
}

#[test]
fn no_size_is_too_small_to_be_drawn_on() {
    let widths = [1, 9, 10, 39, 59, 60, 100, 149, 150, 220];
    let heights = [1, 3, 4, 7, 19, 20, 60];
    let sizes = widths
        .into_iter()
        .flat_map(|width| heights.map(|height| (width, height)));
    let mut state = State::new(true);
    for panel in Panel::ALL {
        state.panel = panel;
        for (width, height) in sizes.clone() {
            drawn(&overview(), &state, (width, height));
        }
    }
}

#[test]
fn without_colour_there_is_none_and_the_words_are_the_same() {
    let (with, without) = (State::new(true), State::new(false));
    let (painted, bare) = (
        drawn(&overview(), &with, (120, 40)),
        drawn(&overview(), &without, (120, 40)),
    );
    assert_eq!(text(&painted), text(&bare));
    let coloured = |buffer: &Buffer| buffer.content.iter().any(|cell| cell.fg != Color::Reset);
    assert!(coloured(&painted) && !coloured(&bare));
    let told_apart_by_few = [Color::Red, Color::Green, Color::LightRed, Color::LightGreen];
    assert!(
        !painted
            .content
            .iter()
            .any(|cell| told_apart_by_few.contains(&cell.fg))
    );
}

#[test]
fn words_of_strangers_steer_no_terminal() {
    let mut overview = overview();
    let words = "a\u{1b}[2Jb\u{7}\nc\u{9b}d";
    overview.standing = Some(words.to_owned());
    for run in &mut overview.running {
        (run.label, run.project) = (words.to_owned(), words.to_owned());
    }
    for job in &mut overview.queue {
        (job.label, job.reason) = (words.to_owned(), words.to_owned());
    }
    for node in &mut overview.nodes {
        (node.operator, node.why) = (words.to_owned(), Some(words.to_owned()));
    }
    let buffer = drawn(&overview, &State::new(true), (120, 40));
    let steers = |cell: &ratatui::buffer::Cell| cell.symbol().chars().any(char::is_control);
    assert!(!buffer.content.iter().any(steers));
    assert!(text(&buffer).contains('\u{fffd}'));
}

fn press(state: &mut State, code: KeyCode) -> Wish {
    state.key(KeyEvent::new(code, KeyModifiers::NONE), &overview())
}

#[test]
fn keys_go_through_panels_and_rows_and_stay_within_them() {
    let mut state = State::new(false);
    press(&mut state, KeyCode::Up);
    assert_eq!(
        (state.panel, state.row(Panel::Running, 4)),
        (Panel::Running, 0)
    );
    for _ in 0..9 {
        press(&mut state, KeyCode::Down);
    }
    assert_eq!(state.row(Panel::Running, 4), 3);
    assert_eq!(state.row(Panel::Running, 2), 1, "rows went away below it");
    press(&mut state, KeyCode::Right);
    press(&mut state, KeyCode::End);
    assert_eq!((state.panel, state.row(Panel::Queue, 2)), (Panel::Queue, 1));
    press(&mut state, KeyCode::Home);
    assert_eq!(state.row(Panel::Queue, 2), 0);
    press(&mut state, KeyCode::Left);
    press(&mut state, KeyCode::Left);
    assert_eq!(state.panel, Panel::Cache);
    press(&mut state, KeyCode::Char('p'));
    assert!(state.paused);
    assert_eq!(press(&mut state, KeyCode::Enter), Wish::Nothing);
    let ctrl_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(state.key(ctrl_c, &overview()), Wish::Quit);
    assert_eq!(press(&mut state, KeyCode::Char('q')), Wish::Quit);
}

#[test]
fn enter_looks_at_a_job_until_it_is_closed() {
    let mut state = State::new(false);
    press(&mut state, KeyCode::Right);
    press(&mut state, KeyCode::Down);
    let job = key(102);
    assert_eq!(press(&mut state, KeyCode::Enter), Wish::Job(job));
    let asking = text(&drawn(&overview(), &state, (80, 24)));
    assert!(asking.contains("asking the node"), "{asking}");
    state.told(key(1), Err("of another job".to_owned()));
    let view = JobView {
        job,
        label: "fmt.0.9.0".to_owned(),
        project: "/src/hello".to_owned(),
        platform: None,
        state: JobState::Ready,
        wanted: Some(before(61_000)),
        waits: Some("no known node builds for linux-x86_64".to_owned()),
        cost_ms: None,
        steps: Vec::new(),
        attempts: Vec::new(),
        forgotten: 0,
        note: None,
    };
    state.told(job, Ok(Box::new(view)));
    golden("job", &text(&drawn(&overview(), &state, (80, 24))));
    for _ in 0..50 {
        press(&mut state, KeyCode::PageDown);
    }
    drawn(&overview(), &state, (80, 24));
    assert_eq!(press(&mut state, KeyCode::Char('q')), Wish::Nothing);
    assert!(state.detail.is_none(), "it stayed open");
    state.told(job, Err("too late".to_owned()));
    assert!(state.detail.is_none(), "an answer that came late opened it");
}

#[test]
fn a_node_that_does_not_answer_is_said_to_and_the_last_picture_stays() {
    let mut state = State::new(false);
    state.trouble = Some("reach the node: none is running".to_owned());
    state.paused = true;
    let shown = text(&drawn(&overview(), &state, (100, 30)));
    assert!(
        shown.contains("PAUSED") && shown.contains("OLD: reach the node"),
        "{shown}"
    );
    assert!(shown.contains("dune.3.20.2"), "{shown}");
}
