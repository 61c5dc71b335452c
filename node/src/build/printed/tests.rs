use caravan_store::{LogReader, Store};
use proptest::{prelude::*, test_runner::TestRunner};
use tempfile::TempDir;

use super::*;

const SECRET: &[u8] = b"hunter2-hunter2";

fn new_store() -> (TempDir, Store) {
    let dir = TempDir::new().expect("a directory");
    let store = Store::open(&dir.path().join("store")).expect("a store");
    (dir, store)
}

fn printed(store: &Store, max: u64, secret: bool) -> Printed {
    let log = store.log_writer("step", 1 << 20).expect("a log");
    let redactor = Redactor::new(&[("id", SECRET)]).expect("a good secret");
    Printed::new(log, max, secret.then_some(redactor))
}

fn all(reader: &LogReader) -> Vec<u8> {
    reader.read_at(0, 1 << 20).expect("read")
}

fn end(store: &Store, printed: Printed, why: Option<&str>) -> (Vec<u8>, String) {
    let (blob, tail) = printed.end(why).expect("end");
    (all(&store.open_log(blob, 1 << 20).expect("kept")), tail)
}

#[test]
fn a_secret_over_two_pieces_is_in_neither_the_live_log_nor_the_kept_one_nor_the_tail() {
    let (_dir, store) = new_store();
    let mut printed = printed(&store, 1000, true);
    let live = store.log("step").expect("it is live");
    printed.take(b"login with hunter2-").expect("take");
    assert_eq!(all(&live), b"login with ");
    printed
        .take(b"hunter2 \x1b[32mok\x1b[0m\r\nhunt")
        .expect("take");
    assert_eq!(all(&live), b"login with *** \x1b[32mok\x1b[0m\r\n");
    let (log, tail) = end(&store, printed, None);
    assert_eq!(log, b"login with *** \x1b[32mok\x1b[0m\r\nhunt");
    assert_eq!(tail.as_bytes(), log);
}

#[test]
fn what_is_beyond_the_bound_is_left_out_and_the_log_says_so() {
    let (_dir, store) = new_store();
    let mut printed = printed(&store, 10, false);
    printed.take(b"12345").expect("take");
    printed.take(b"67890abc").expect("take");
    printed.take(b"def").expect("take");
    let (log, tail) = end(&store, printed, Some("it printed too much"));
    assert_eq!(log, b"1234567890\ncaravan: it printed too much\n");
    assert_eq!(tail, "1234567890");
}

#[test]
fn a_secret_that_the_bound_cuts_is_still_one() {
    let (_dir, store) = new_store();
    for max in 1..SECRET.len() as u64 {
        let mut printed = printed(&store, max, true);
        printed.take(&SECRET[..9]).expect("take");
        printed.take(&SECRET[9..]).expect("take");
        let (log, tail) = end(&store, printed, Some("."));
        let mark = &"***"[..3.min(usize::try_from(max).expect("small"))];
        assert_eq!(log, format!("{mark}\ncaravan: .\n").as_bytes());
        assert_eq!(tail, mark);
    }
}

#[test]
fn the_tail_is_the_end() {
    let (_dir, store) = new_store();
    let mut printed = printed(&store, 1 << 20, false);
    for n in 0..100_000 {
        printed.take(format!("{n}\n").as_bytes()).expect("take");
    }
    assert!(printed.tail.len() <= 2 * TAIL_BYTES);
    let (log, tail) = end(&store, printed, None);
    assert!(tail.len() >= TAIL_BYTES && log.ends_with(tail.as_bytes()));
}

#[test]
fn nobody_ever_sees_a_secret() {
    let (_dir, store) = new_store();
    let part = prop_oneof![
        Just(SECRET.to_vec()),
        Just(b"hunter2".to_vec()),
        Just(b"-".to_vec()),
        "[a-z\n]{0,9}".prop_map(String::into_bytes),
    ];
    let output = (
        proptest::collection::vec(part, 1..40),
        1usize..20,
        1u64..300,
    );
    let mut runner = TestRunner::new(ProptestConfig::with_cases(50));
    let shown = runner.run(&output, |(parts, cut, max)| {
        let mut printed = printed(&store, max, true);
        let live = store.log("step").expect("it is live");
        let has = |bytes: &[u8]| bytes.windows(SECRET.len()).any(|part| part == SECRET);
        for piece in parts.concat().chunks(cut) {
            printed.take(piece).expect("take");
            prop_assert!(!has(&all(&live)));
        }
        let (log, tail) = end(&store, printed, None);
        prop_assert!(!has(&log) && !has(tail.as_bytes()));
        prop_assert!(log.len() as u64 <= max);
        Ok(())
    });
    shown.expect("no secret is shown");
}
