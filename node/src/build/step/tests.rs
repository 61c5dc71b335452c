use caravan_sandbox::{End, FakeSandbox, Sandbox, Script};
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
    let spec = Spec::new(job, root, vec!["true".to_owned()], 1 << 20);
    let running = sandbox.start(&spec).expect("it starts");
    let log = store.log_writer("step", 1 << 20).expect("a log");
    let redactor =
        secret.map(|value| crate::build::Redactor::new(&[("id", value)]).expect("a good secret"));
    let printed = Printed::new(log, max, redactor);
    let ended = follow(running, printed, None).expect("it is followed");
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
