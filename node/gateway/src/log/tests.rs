//! Windows keep whole lines and right numbers.

use caravan_protocol::{
    ids::{MeshId, NodeId},
    time::Stamp,
    view::{Counters, Snapshot, StoreView},
};

use super::*;
use crate::FixedSource;

const WANT: WantId = WantId(1);

fn run() -> RunId {
    RunId::from_bytes([3; 32])
}

fn source(log: &[u8], live: bool) -> FixedSource {
    let source = FixedSource::new(Snapshot {
        mesh: MeshId::from_bytes([1; 32]),
        node: NodeId::from_bytes([2; 32]),
        version: "0".into(),
        started: Stamp::from_ms(0),
        nodes: Vec::new(),
        seats: Vec::new(),
        roles: Vec::new(),
        bases: Vec::new(),
        runs: Vec::new(),
        store: StoreView::default(),
        counters: Counters::default(),
        running: 0,
        slots: 0,
        sandbox: caravan_protocol::view::SandboxView::default(),
        standing: None,
        notices: Vec::new(),
    });
    source.set_log(run(), WANT, log, live);
    source
}

#[test]
fn a_short_log_is_shown_whole() {
    let window = tail(&source(b"one\ntwo", false), run(), WANT, 100).unwrap();
    assert_eq!(window.bytes, b"one\ntwo");
    assert_eq!((window.start, window.first_line, window.next), (0, 1, 7));
}

#[test]
fn the_end_of_a_long_log_begins_with_a_whole_numbered_line() {
    let log: String = (1..=1000).map(|n| format!("line {n}\n")).collect();
    let window = tail(&source(log.as_bytes(), false), run(), WANT, 25).unwrap();
    assert_eq!(window.bytes, b"line 999\nline 1000\n");
    assert_eq!(window.first_line, 999);
    assert_eq!(window.start + window.bytes.len() as u64, window.total);
}

#[test]
fn lines_beyond_the_bound_are_skipped() {
    let log = "\n".repeat(limits::LOG_PAGE_LINES + 7);
    let window = tail(&source(log.as_bytes(), false), run(), WANT, u64::MAX).unwrap();
    assert_eq!(window.first_line, 8);
    assert_eq!(window.bytes.len(), limits::LOG_PAGE_LINES);
}

#[test]
fn an_open_line_of_a_live_log_waits_for_its_end() {
    let source = source(b"one\ntw", true);
    let window = tail(&source, run(), WANT, 100).unwrap();
    assert_eq!((window.bytes.as_slice(), window.next), (&b"one\n"[..], 4));
    source.set_log(run(), WANT, b"one\ntwo\nthree", true);
    let more = after(&source, run(), WANT, window.next, 2).unwrap();
    assert_eq!(
        (more.bytes.as_slice(), more.next, more.live),
        (&b"two\n"[..], 8, true)
    );
    source.set_log(run(), WANT, b"one\ntwo\nthree", false);
    let last = after(&source, run(), WANT, more.next, 3).unwrap();
    assert_eq!(
        (last.bytes.as_slice(), last.next, last.live),
        (&b"three"[..], 13, false)
    );
}

#[test]
fn an_excerpt_shows_the_first_error_with_the_lines_before_it() {
    let mut log: String = (1..=50).map(|n| format!("fine {n}\n")).collect();
    log += "File \"a.ml\", line 1\nError: Unbound value x\nafter\n";
    let window = tail(&source(log.as_bytes(), false), run(), WANT, 10_000).unwrap();
    let part = LogPart::new(&window, "");
    assert_eq!(part.errors, [52]);
    let shown = excerpt(&window, &part.errors);
    assert!(shown.starts_with("fine 47\n") && shown.ends_with("Error: Unbound value x\nafter\n"));
    assert_eq!(
        excerpt(&window, &[]).lines().count(),
        limits::LOG_EXCERPT_LINES
    );
}

#[test]
fn an_unknown_log_is_nothing() {
    assert_eq!(tail(&source(b"", false), run(), WantId(2), 100), None);
}
