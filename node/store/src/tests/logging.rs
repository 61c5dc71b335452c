use std::{
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use proptest::{prelude::*, test_runner::TestRunner};

use super::*;
use crate::{End, LAST_WORDS_BYTES_MAX, LogError, LogReader, log_blob_bytes_max};

const MAX: u64 = 1 << 30;
/// More than one frame.
const LONG: usize = 300_000;

fn lines(length: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..=length / 16)
        .flat_map(|n| format!("\u{1b}[1mline\u{1b}[0m {n}\r\n").into_bytes())
        .collect();
    bytes.truncate(length);
    bytes
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

fn put_log(store: &Store, bytes: &[u8]) -> BlobId {
    let mut writer = store.log_writer("put", MAX).expect("a log");
    writer.append(bytes).expect("append");
    writer.finish().expect("finish")
}

fn read_all(reader: &LogReader) -> Result<Vec<u8>, LogError> {
    let mut all = Vec::new();
    loop {
        let piece = reader.read_at(all.len() as u64, usize::MAX)?;
        if piece.is_empty() {
            return Ok(all);
        }
        all.extend_from_slice(&piece);
    }
}

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
    assert_eq!(reader.read_at(u64::MAX, 100).expect("read"), b"");
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
    let done = store.open_log(blob, 1000).expect("it is kept");
    assert_eq!(done.end(), Some(End::Blob(blob)));
    assert_eq!(done.size(), 13);
    assert_eq!(read_all(&done).expect("read"), b"first\nsecond\n");
    let again = store.log_writer("job-1", 1000).expect("the name is free");
    let empty = again.finish().expect("finish");
    let empty = store.open_log(empty, 0).expect("it is kept");
    assert_eq!(empty.size(), 0);
    assert_eq!(empty.read_at(0, 100).expect("read"), b"");
    assert_eq!(empty.lines_from_end(3).expect("read"), 0);
    assert_clean(&store);
}

#[test]
fn equal_logs_are_one_blob_however_they_came() {
    let (_dir, store) = new_store();
    let log = lines(LONG);
    let whole = put_log(&store, &log);
    let mut writer = store.log_writer("pieces", MAX).expect("a log");
    for piece in log.chunks(777) {
        writer.append(piece).expect("append");
    }
    assert_eq!(writer.finish().expect("finish"), whole);
    let packed = store.blob_size(whole).expect("look").expect("there");
    assert!(
        packed * 4 < LONG as u64,
        "{packed} bytes are not compressed"
    );
    assert_clean(&store);
}

#[test]
fn a_log_stops_at_its_bound_and_a_dropped_one_is_gone() {
    let (_dir, store) = new_store();
    let mut writer = store.log_writer("job", 8).expect("a log");
    let reader = writer.reader();
    writer.append(b"12345").expect("append");
    assert_eq!(writer.room(), 3);
    assert!(matches!(
        writer.append(b"67890"),
        Err(StoreError::TooLarge { .. })
    ));
    assert_eq!(writer.size(), 8);
    assert_eq!(reader.read_at(0, 100).expect("read"), b"12345678");
    drop(writer);
    assert_eq!(reader.end(), Some(End::Dropped));
    assert_eq!(reader.read_at(0, 100).expect("read"), b"12345678");
    assert!(store.log("job").is_none());
    assert_eq!(store.stat().expect("stat").objects, 0);
    assert_clean(&store);
    assert!(store.log_writer("job", u64::MAX).is_err());
}

#[test]
fn a_full_log_has_room_for_its_last_words() {
    let (_dir, store) = new_store();
    let mut writer = store.log_writer("job", 8).expect("a log");
    writer.append(b"12345678").expect("append");
    writer.last_words("it is full").expect("there is room");
    assert!(writer.append(b"x").is_err(), "something came after the end");
    assert_eq!(writer.room(), 0);
    let blob = writer.finish().expect("finish");
    let done = store.open_log(blob, 8).expect("within the bound");
    assert_eq!(read_all(&done).expect("read"), b"12345678\nit is full\n");

    let mut writer = store.log_writer("job", 8).expect("a log");
    writer.append(b"1234567\n").expect("append");
    writer.last_words(&"é".repeat(2000)).expect("cut to fit");
    assert!(writer.size() <= 8 + LAST_WORDS_BYTES_MAX);
    let blob = writer.finish().expect("finish");
    let done = store.open_log(blob, 8).expect("within the bound");
    let bytes = read_all(&done).expect("read");
    assert!(bytes.starts_with(b"1234567\n\xc3\xa9") && bytes.ends_with(b"\n"));
}

#[test]
fn a_reader_goes_on_over_the_end_with_the_same_bytes() {
    let (_dir, store) = new_store();
    let log = lines(LONG);
    let mut writer = store.log_writer("job", MAX).expect("a log");
    let reader = writer.reader();
    let mut seen = Vec::new();
    for piece in log.chunks(50_000) {
        writer.append(piece).expect("append");
        // A reader that lags behind: it asks for less than has come.
        let more = reader.read_at(seen.len() as u64, 30_000).expect("read");
        seen.extend_from_slice(&more);
    }
    let blob = writer.finish().expect("finish");
    assert!(seen.len() < log.len());
    let done = store.open_log(blob, MAX).expect("it is kept");
    let next = seen.len() as u64;
    let rest = done.read_at(next, LONG).expect("read");
    assert_eq!(rest, reader.read_at(next, LONG).expect("read"));
    seen.extend_from_slice(&rest);
    assert!(seen == log, "a byte was lost or came twice");
}

#[test]
fn followers_see_every_byte_once() {
    let (_dir, store) = new_store();
    let log = lines(LONG);
    let mut writer = store.log_writer("job", MAX).expect("a log");
    let follow = |reader: LogReader, ask: usize| {
        let mut seen = Vec::new();
        loop {
            let _ = reader.wait(seen.len() as u64, Duration::from_secs(60));
            let ended = reader.end().is_some();
            let piece = reader.read_at(seen.len() as u64, ask).expect("read");
            if piece.is_empty() && ended {
                return seen;
            }
            seen.extend_from_slice(&piece);
        }
    };
    std::thread::scope(|scope| {
        let followers = [100, 4096, usize::MAX].map(|ask| {
            let reader = writer.reader();
            scope.spawn(move || follow(reader, ask))
        });
        for piece in log.chunks(1000) {
            writer.append(piece).expect("append");
        }
        writer.finish().expect("finish");
        for follower in followers {
            assert!(follower.join().expect("no panic") == log);
        }
    });
}

#[test]
fn the_last_lines_are_found_live_and_done() {
    let (_dir, store) = new_store();
    let mut long = vec![b'x'; LONG];
    long.extend_from_slice(b"\none\ntwo\n");
    let logs: [&[u8]; 5] = [b"a\nb\nc", b"a\nb\nc\n", b"\n\n\n", b"", &long];
    for (n, log) in logs.into_iter().enumerate() {
        let mut writer = store.log_writer("job", MAX).expect("a log");
        writer.append(log).expect("append");
        let live = writer.reader();
        let blob = writer.finish().expect("finish");
        let done = store.open_log(blob, MAX).expect("it is kept");
        let pieces: Vec<&[u8]> = log.split_inclusive(|byte| *byte == b'\n').collect();
        for count in 0..6 {
            let shown = &pieces[pieces.len().saturating_sub(count)..];
            let want = log.len() - shown.iter().map(|line| line.len()).sum::<usize>();
            for reader in [&live, &done] {
                let start = reader.lines_from_end(count as u64).expect("read");
                assert_eq!(start, want as u64, "log {n}, {count} lines");
            }
        }
    }
}

#[test]
fn a_log_that_does_not_compress_is_kept_within_its_bound() {
    let (_dir, store) = new_store();
    let log = noise(LONG);
    let blob = put_log(&store, &log);
    let packed = store.blob_size(blob).expect("look").expect("there");
    assert!(packed > LONG as u64 && packed <= log_blob_bytes_max(LONG as u64));
    let done = store.open_log(blob, LONG as u64).expect("it is kept");
    assert!(read_all(&done).expect("read") == log);
}

#[test]
fn a_blob_without_a_table_is_shown_as_it_is() {
    let (_dir, store) = new_store();
    let bytes = lines(5000);
    let blob = store.put_blob(&bytes).expect("put");
    let reader = store.open_log(blob, 5000).expect("plain");
    assert_eq!(reader.size(), 5000);
    assert_eq!(reader.read_at(4990, 100).expect("read"), bytes[4990..]);
    assert_eq!(read_all(&reader).expect("read"), bytes);
    let error = store.open_log(blob, 5000 - LAST_WORDS_BYTES_MAX - 1);
    assert!(matches!(error, Err(LogError::Broken { .. })), "{error:?}");
}

#[test]
fn a_log_that_lies_is_refused_by_its_blob() {
    let (_dir, store) = new_store();
    let good = put_log(&store, &lines(LONG));
    let bytes = store.read_blob(good, MAX).expect("read");
    let mut torn = bytes.clone();
    torn.drain(..1000);
    let blob = store.put_blob(&torn).expect("put");
    let error = store.open_log(blob, MAX).expect_err("it is torn");
    assert!(error.to_string().contains(&blob.to_string()), "{error}");
    // The table is right and a frame is not: what the frame does not touch is still shown.
    let mut damaged = bytes;
    damaged[1000] ^= 1;
    let blob = store.put_blob(&damaged).expect("put");
    let reader = store.open_log(blob, MAX).expect("its table is right");
    let error = reader.read_at(0, 10).expect_err("its frame is damaged");
    assert!(error.to_string().contains(&blob.to_string()), "{error}");
    let end = reader.read_at(LONG as u64 - 10, 10).expect("another frame");
    assert_eq!(end, lines(LONG)[LONG - 10..]);
    let missing = store.open_log(BlobId::of(b"nothing"), MAX);
    assert!(matches!(
        missing,
        Err(LogError::Store(StoreError::NoBlob { .. }))
    ));
}

const CHILD: &str = "CARAVAN_STORE_TEST_LOG";

/// The work of the child processes below.
#[test]
fn child_that_writes_a_log() {
    // In an ordinary run this is no child and there is nothing to do.
    let Ok(dir) = std::env::var(CHILD) else {
        return;
    };
    let (dir, whole) = dir.split_once(':').expect("a directory and a word");
    let store = Store::open(Path::new(dir)).expect("open");
    let mut writer = store.log_writer("job", MAX).expect("a log");
    let piece = lines(64 * 1024);
    for _ in 0..HUGE / piece.len() {
        writer.append(&piece).expect("append");
    }
    if whole == "killed" {
        println!("WRITTEN");
        loop {
            std::thread::park();
        }
    }
    let live = writer.reader();
    let blob = writer.finish().expect("finish");
    let done = store.open_log(blob, HUGE as u64).expect("it is kept");
    for reader in [live, done] {
        assert_eq!(reader.size(), HUGE as u64);
        let mut at = 0;
        while at < HUGE {
            let bytes = reader.read_at(at as u64, piece.len()).expect("read");
            assert!(bytes == piece, "other bytes at {at}");
            at += piece.len();
        }
    }
    let status = fs::read_to_string("/proc/self/status").expect("proc");
    let peak = status.lines().find(|line| line.starts_with("VmHWM:"));
    println!("{}", peak.expect("a peak"));
}

const HUGE: usize = 200 << 20;

fn child(dir: &Path, word: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command
        .args([
            "tests::logging::child_that_writes_a_log",
            "--exact",
            "--nocapture",
        ])
        .env(CHILD, format!("{}:{word}", dir.display()));
    command
}

#[test]
fn a_huge_log_takes_little_memory() {
    let dir = TempDir::new().expect("a directory");
    let output = child(dir.path(), "whole").output().expect("the child runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.expect("a peak").trim().trim_end_matches(" kB");
    let peak: usize = peak.parse().expect("a number");
    assert!(peak < 48 * 1024, "{peak} KiB for a log of 200 MiB");
}

#[test]
fn a_killed_writer_leaves_nothing() {
    use std::io::{BufRead, BufReader};
    let dir = TempDir::new().expect("a directory");
    let mut child = child(dir.path(), "killed")
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child runs");
    let mut out = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let written = out.any(|line| line.is_ok_and(|line| line == "WRITTEN"));
    assert!(written, "the child did not write its log");
    child.kill().expect("kill");
    child.wait().expect("it ended");
    let store = Store::open(dir.path()).expect("open after a kill");
    assert!(store.log("job").is_none());
    assert_eq!(store.stat().expect("stat").objects, 0);
    assert_clean(&store);
}

#[test]
fn a_full_disk_is_said_and_what_was_written_stays() {
    if !is_root("a_full_disk_is_said_and_what_was_written_stays") {
        return;
    }
    let dir = TempDir::new().expect("a directory");
    let _mounted = super::full::Tmpfs::mount(dir.path(), "6m");
    let store = Store::open(&dir.path().join("store")).expect("it is empty");
    let hog = dir.path().join("hog");
    let mut writer = store.log_writer("job", MAX).expect("a log");
    let log = noise(LONG);
    writer.append(&log[..200_000]).expect("there is room");
    let mut file = File::create(&hog).expect("a file");
    while std::io::Write::write(&mut file, &[1; 4096]).is_ok_and(|written| written > 0) {}
    let error = writer.append(&log[200_000..]).expect_err("it is full");
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    let kept = usize::try_from(writer.size()).expect("small");
    let seen = read_all(&writer.reader()).expect("read");
    assert!(seen == log[..kept], "what was written has changed");
    fs::remove_file(&hog).expect("remove");
    drop(file);
    writer.append(&log[kept..]).expect("there is room again");
    let blob = writer.finish().expect("finish");
    let done = store.open_log(blob, MAX).expect("it is kept");
    assert!(read_all(&done).expect("read") == log);
    assert_clean(&store);
}

#[test]
fn readers_and_the_writer_race_without_a_torn_byte() {
    let (_dir, store) = new_store();
    let mut writer = store.log_writer("job", MAX).expect("a log");
    let log = lines(4 * LONG);
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for start in [0, 100_000, 131_000, 262_144] {
            let (reader, log, ended) = (writer.reader(), &log, &ended);
            scope.spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    let bytes = reader.read_at(start as u64, LONG).expect("read");
                    assert!(bytes == log[start..start + bytes.len()] || bytes.is_empty());
                }
            });
        }
        for piece in log.chunks(10_007) {
            writer.append(piece).expect("append");
        }
        ended.store(true, Ordering::Relaxed);
    });
}

#[test]
fn any_offset_gives_the_bytes_there_live_and_done() {
    let (_dir, store) = new_store();
    let pieces = proptest::collection::vec(0usize..90_000, 0..8);
    let asks = proptest::collection::vec((0u64..400_000, 0usize..300_000), 8);
    let mut runner = TestRunner::new(ProptestConfig::with_cases(30));
    let same = runner.run(&(pieces, asks), |(pieces, asks)| {
        let log = lines(pieces.iter().sum());
        let mut writer = store.log_writer("job", MAX).expect("a log");
        let mut at = 0;
        for piece in pieces {
            writer.append(&log[at..at + piece]).expect("append");
            at += piece;
        }
        let live = writer.reader();
        let read = |reader: &LogReader| {
            for &(offset, max) in &asks {
                let from = log.len().min(usize::try_from(offset).expect("small"));
                let to = log.len().min(from + max);
                let bytes = reader.read_at(offset, max).expect("read");
                prop_assert!(bytes == log[from..to], "{} and {} more", offset, max);
            }
            Ok(())
        };
        read(&live)?;
        let blob = writer.finish().expect("finish");
        read(&live)?;
        read(&store.open_log(blob, log.len() as u64).expect("it is kept"))
    });
    same.expect("the bytes of the log");
}
