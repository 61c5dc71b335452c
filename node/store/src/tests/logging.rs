use std::time::Duration;

use super::*;
use crate::End;

#[test]
fn a_log_is_read_while_it_grows_and_then_is_a_blob() {
    let (_dir, store) = new_store();
    let mut writer = store.log_writer("job-1", 1000).expect("a log");
    assert!(
        store.log_writer("job-1", 1000).is_err(),
        "the name is taken"
    );
    let reader = store.log("job-1").expect("it is live");
    writer.append(b"first\n").expect("append");
    assert_eq!(reader.read_at(0, 100).expect("read"), b"first\n");
    assert_eq!(reader.read_at(6, 100).expect("read"), b"");
    assert_eq!(reader.read_at(600, 100).expect("read"), b"");
    assert!(reader.wait(0, Duration::ZERO));
    assert!(!reader.wait(6, Duration::ZERO), "nothing is there yet");
    let waiting = std::thread::spawn({
        let reader = reader.clone();
        move || reader.wait(6, Duration::from_secs(60))
    });
    writer.append(b"second\n").expect("append");
    assert!(waiting.join().expect("no panic"), "it was woken");
    assert_eq!(reader.read_at(3, 5).expect("read"), b"st\nse");
    let blob = writer.finish().expect("finish");
    assert_eq!(reader.end(), Some(End::Blob(blob)));
    assert!(reader.wait(13, Duration::ZERO), "it has ended");
    assert_eq!(reader.read_at(6, 100).expect("read"), b"second\n");
    assert!(store.log("job-1").is_none());
    assert_eq!(
        store.read_blob(blob, 100).expect("read"),
        b"first\nsecond\n"
    );
    let again = store.log_writer("job-1", 1000).expect("the name is free");
    assert_eq!(again.finish().expect("finish"), BlobId::of(b""));
    assert_clean(&store);
}

#[test]
fn a_log_stops_at_its_bound_and_a_dropped_one_is_gone() {
    let (_dir, store) = new_store();
    let mut writer = store.log_writer("job", 8).expect("a log");
    let reader = writer.reader();
    writer.append(b"12345").expect("append");
    assert!(matches!(
        writer.append(b"67890"),
        Err(StoreError::TooLarge { .. })
    ));
    assert_eq!(writer.size(), 8);
    assert_eq!(reader.read_at(0, 100).expect("read"), b"12345678");
    drop(writer);
    assert_eq!(reader.end(), Some(End::Dropped));
    assert!(store.log("job").is_none());
    assert_eq!(store.stat().expect("stat").objects, 0);
    assert_clean(&store);
}
