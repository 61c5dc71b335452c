//! What every source must hold to, shown on the fixed one.

use caravan_protocol::{
    ids::{MeshId, NodeId},
    time::Stamp,
    view::{Counters, StoreView},
};

use super::*;

fn source() -> FixedSource {
    FixedSource::new(Snapshot {
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
    })
}

#[test]
fn a_log_is_read_in_pieces_and_its_end_is_told() {
    let source = source();
    let run = RunId::from_bytes([3; 32]);
    source.set_log(run, WantId(1), b"hello world", true);
    let first = source.log(run, WantId(1), 0, 5).unwrap();
    assert_eq!(
        (first.bytes.as_slice(), first.next, first.total),
        (&b"hello"[..], 5, 11)
    );
    let rest = source.log(run, WantId(1), first.next, 100).unwrap();
    assert_eq!(
        (rest.bytes.as_slice(), rest.next, rest.live),
        (&b" world"[..], 11, true)
    );
    let beyond = source.log(run, WantId(1), u64::MAX, 100).unwrap();
    assert!(beyond.bytes.is_empty() && beyond.next == 11);
    assert_eq!(source.log(run, WantId(2), 0, 1), None);
}

#[test]
fn every_change_moves_the_revision() {
    let source = source();
    let mut changed = source.changed();
    assert!(!changed.has_changed().unwrap());
    source.set_log(RunId::from_bytes([3; 32]), WantId(1), b"", false);
    assert!(changed.has_changed().unwrap());
    changed.mark_unchanged();
    let snapshot = (*source.snapshot()).clone();
    source.set_snapshot(snapshot);
    assert!(changed.has_changed().unwrap());
}
