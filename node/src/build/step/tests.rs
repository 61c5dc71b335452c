use caravan_sandbox::{End, FakeSandbox, JobName, Sandbox, Script};
use caravan_store::Store;
use tempfile::TempDir;

use super::*;

/// A step that prints this and ends like that, followed into a log of at most `max` bytes.
fn followed(output: &[u8], end: End, max: u64, secret: Option<&[u8]>) -> (Ended, Vec<u8>) {
    let dir = TempDir::new().expect("a directory");
    let store = Store::open(&dir.path().join("store")).expect("a store");
    let job: JobName = "step".parse().expect("a name");
    let sandbox = FakeSandbox::default();
    let output = output.to_vec();
    sandbox.expect(job.clone(), Script { output, end });
    let root = Root {
        store: dir.path().join("store"),
        lowers: vec!["layers/base".into()],
        upper: "work/upper".into(),
        work: "work/work".into(),
    };
    let spec = Spec::new(job, root, vec!["true".to_owned()]);
    let mut running = sandbox.start(&spec).expect("it starts");
    let log = store.log_writer("step", 1 << 20).expect("a log");
    let redactor =
        secret.map(|value| crate::build::Redactor::new(&[("id", value)]).expect("a good secret"));
    let printed = Printed::new(log, max, redactor);
    let ended = follow(&mut running, printed, None).expect("it is followed");
    let log = store.open_log(ended.log, max).expect("it is kept");
    (ended, log.read_at(0, 1 << 20).expect("read"))
}

#[test]
fn a_step_that_prints_too_much_is_stopped_and_its_log_says_so() {
    let output = "it goes on and on\n".repeat(20_000);
    let (ended, log) = followed(output.as_bytes(), End::Killed, 1000, None);
    assert_eq!(ended.exit.limit, Some(Limit::Output));
    let last = "\ncaravan: the step was stopped: it printed more than the 1000 bytes it may\n";
    let want = [&output.as_bytes()[..1000], last.as_bytes()].concat();
    assert_eq!(
        String::from_utf8_lossy(&log),
        String::from_utf8_lossy(&want)
    );
    assert_eq!(ended.tail, output[..1000]);
    assert_eq!(
        words::printed_too_much(64 << 20),
        "it printed more than the 64 MiB it may"
    );
}

#[test]
fn a_step_that_prints_all_it_may_is_not_stopped() {
    let (ended, log) = followed(&[b'x'; 1000], End::At(Status::Code(0)), 1000, None);
    assert_eq!(
        (ended.exit.status, ended.exit.limit),
        (Status::Code(0), None)
    );
    assert_eq!(log, [b'x'; 1000]);
}

#[test]
fn a_steps_secret_is_in_neither_its_log_nor_its_words() {
    let output = format!(
        "{}Error: no such token: s3cr3t-token\n",
        "noise\n".repeat(30_000)
    );
    let end = End::At(Status::Code(2));
    let (ended, log) = followed(output.as_bytes(), end, 1 << 20, Some(b"s3cr3t-token"));
    assert_eq!(log, output.replace("s3cr3t-token", "***").as_bytes());
    assert_eq!(words::of_failure(&ended.tail), "Error: no such token: ***");
}

/// What is read as the output `/out/result` from an upper directory that was prepared so.
fn read_prepared(prepare: impl FnOnce(&Path, &Path)) -> Option<Vec<u8>> {
    let dir = TempDir::new().expect("a directory");
    let (upper, host) = (dir.path().join("upper"), dir.path().join("host"));
    for dir in [&upper.join("out"), &host] {
        std::fs::create_dir_all(dir).expect("a directory");
    }
    std::fs::write(host.join("result"), "the host's").expect("a file");
    prepare(&upper, &host);
    read_beneath(&upper, "/out/result").expect("no fault of the host's")
}

#[test]
fn a_named_output_is_a_plain_file_of_at_most_the_bound_or_nothing() {
    use std::fs;
    let most = usize::try_from(limits::OUTPUT_BYTES_MAX).expect("it fits");
    for (length, there) in [(0, true), (1, true), (most, true), (most + 1, false)] {
        let bytes = vec![b'x'; length];
        let read = read_prepared(|upper, _| {
            fs::write(upper.join("out/result"), &bytes).expect("a file");
        });
        assert_eq!(read.is_some_and(|read| read == bytes), there, "{length}");
    }
    let sparse = read_prepared(|upper, _| {
        let file = File::create(upper.join("out/result")).expect("a file");
        file.set_len(1 << 43).expect("a hole");
    });
    assert_eq!(sparse, None);
    let directory = read_prepared(|upper, _| {
        fs::create_dir(upper.join("out/result")).expect("a directory");
    });
    assert_eq!(directory, None);
    assert_eq!(read_prepared(|_, _| ()), None);
}

#[test]
fn a_named_output_never_leads_out_of_the_step() {
    use std::{fs, os::unix::fs::symlink};
    let links = ["../../host/result", "/etc/hostname", "/proc/self/environ"];
    for to in links {
        let read = read_prepared(|upper, _| {
            symlink(to, upper.join("out/result")).expect("a link");
        });
        assert_eq!(read, None, "{to}");
    }
    let above = read_prepared(|upper, host| {
        fs::remove_dir(upper.join("out")).expect("it is empty");
        symlink(host, upper.join("out")).expect("a link");
    });
    assert_eq!(above, None);
    let dir = TempDir::new().expect("a directory");
    let upper = dir.path().join("upper");
    fs::create_dir(&upper).expect("a directory");
    fs::write(dir.path().join("result"), "the host's").expect("a file");
    for path in [
        "../result",
        "/../result",
        "//..//result",
        "a/../../result",
        "",
    ] {
        assert_eq!(read_beneath(&upper, path), Ok(None), "{path}");
    }
}

#[test]
fn a_named_output_that_would_be_waited_for_is_not_opened() {
    use std::os::unix::net::UnixListener;

    use rustix::fs::{CWD, FileType, makedev, mknodat};
    let make = |upper: &Path, kind: FileType, device: u64| {
        let mode = Mode::from_raw_mode(0o600);
        mknodat(CWD, upper.join("out/result"), kind, mode, device)
    };
    let fifo = read_prepared(|upper, _| make(upper, FileType::Fifo, 0).expect("a fifo"));
    assert_eq!(fifo, None);
    let socket = read_prepared(|upper, _| {
        drop(UnixListener::bind(upper.join("out/result")).expect("a socket"));
    });
    assert_eq!(socket, None);
    // Endless zeros, and a disk; who is not root can make neither.
    for (kind, device) in [
        (FileType::CharacterDevice, makedev(1, 5)),
        (FileType::BlockDevice, makedev(7, 0)),
    ] {
        let read = read_prepared(|upper, _| {
            if let Err(error) = make(upper, kind, device) {
                println!("SKIPPED: a device file: {error}");
            }
        });
        assert_eq!(read, None, "{kind:?}");
    }
}
