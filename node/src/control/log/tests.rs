use std::sync::{Arc, Mutex};

use caravan_protocol::ids::BlobId;
use caravan_store::Store;
use tempfile::TempDir;

use super::*;

/// What the node says of the one step of these tests.
#[derive(Clone, Copy)]
enum Step {
    Open,
    Done(Option<BlobId>),
}

struct Node {
    _dir: TempDir,
    store: Store,
    step: Mutex<Step>,
    changes: watch::Sender<()>,
    tasks: Tasks,
}

impl Node {
    fn new() -> Arc<Self> {
        let dir = TempDir::new().expect("a directory");
        Arc::new(Self {
            store: Store::open(&dir.path().join("store")).expect("a store"),
            _dir: dir,
            step: Mutex::new(Step::Open),
            changes: watch::Sender::new(()),
            tasks: Tasks::new(),
        })
    }

    fn is_now(&self, step: Step) {
        *self.step.lock().expect("no panic") = step;
        self.changes.send_replace(());
    }

    async fn find(&self) -> Result<Found, LogError> {
        let step = *self.step.lock().expect("no panic");
        match step {
            Step::Done(Some(blob)) => self.store.open_log(blob, 1 << 20).map(Found::Log),
            Step::Done(None) => Ok(Found::Never),
            Step::Open => Ok(self.store.log("step").map_or(Found::Later, Found::Log)),
        }
    }

    /// Asks; the answers come out of the stream.
    fn ask(self: &Arc<Self>, from: LogFrom, follow: bool) -> Answers {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let node = Arc::clone(self);
        let answering = tokio::spawn(async move {
            let find = || node.find();
            let changes = node.changes.subscribe();
            let sender = Sender::new(&mut theirs, &node.tasks, find, changes);
            sender.send(from, follow).await.expect("somebody listens");
        });
        Answers {
            stream: ours,
            answering,
        }
    }
}

struct Answers {
    stream: UnixStream,
    answering: tokio::task::JoinHandle<()>,
}

impl Answers {
    async fn next(&mut self) -> Option<Reply> {
        wire::read(&mut self.stream).await.expect("a good answer")
    }

    /// So many bytes of the log.
    async fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < count {
            match self.next().await {
                Some(Reply::Log { bytes, .. }) => all.extend_from_slice(&bytes),
                other => panic!("{other:?} after {} of {count} bytes", all.len()),
            }
        }
        all
    }

    async fn done(mut self) {
        assert_eq!(self.next().await, Some(Reply::Done));
        assert_eq!(self.next().await, None);
    }
}

#[tokio::test]
async fn a_log_is_sent_from_wherever_it_is_asked_for_live_and_done() {
    let node = Node::new();
    let mut writer = node.store.log_writer("step", 1 << 20).expect("a log");
    let log: Vec<u8> = (0..60_000)
        .flat_map(|n| format!("{n}\n").into_bytes())
        .collect();
    writer.append(&log).expect("append");
    let places = [
        (LogFrom::Start(0), 0),
        (LogFrom::Start(200_000), 200_000),
        (LogFrom::BeforeEnd(17), log.len() - 17),
        (LogFrom::BeforeEnd(u64::MAX), 0),
        (LogFrom::LastLines(3), log.len() - 18),
        (LogFrom::LastLines(u64::MAX), 0),
    ];
    for (from, at) in places {
        let mut answers = node.ask(from, false);
        assert!(answers.bytes(log.len() - at).await == log[at..], "{from:?}");
        answers.done().await;
    }
    for from in [
        LogFrom::Start(u64::MAX),
        LogFrom::BeforeEnd(0),
        LogFrom::LastLines(0),
    ] {
        node.ask(from, false).done().await;
    }
    node.is_now(Step::Done(Some(writer.finish().expect("finish"))));
    for (from, at) in places {
        let mut answers = node.ask(from, true);
        assert!(answers.bytes(log.len() - at).await == log[at..], "{from:?}");
        answers.done().await;
    }
}

#[tokio::test]
async fn a_follower_waits_for_the_log_and_sees_it_to_its_end() {
    let node = Node::new();
    let mut answers = node.ask(LogFrom::BeforeEnd(5), true);
    tokio::task::yield_now().await;
    let mut writer = node.store.log_writer("step", 1 << 20).expect("a log");
    writer.append(b"one\n").expect("append");
    node.is_now(Step::Open);
    assert_eq!(answers.bytes(4).await, b"one\n");
    writer.append(b"two\n").expect("append");
    assert_eq!(answers.bytes(4).await, b"two\n");
    writer.append(b"three\n").expect("append");
    let blob = writer.finish().expect("finish");
    assert_eq!(answers.bytes(6).await, b"three\n");
    answers.done().await;
    node.is_now(Step::Done(Some(blob)));
    let mut answers = node.ask(LogFrom::LastLines(1), true);
    assert_eq!(answers.bytes(6).await, b"three\n");
    answers.done().await;
}

#[tokio::test]
async fn a_follower_of_an_attempt_that_was_given_up_hears_of_the_next_one() {
    let node = Node::new();
    let mut writer = node.store.log_writer("step", 1 << 20).expect("a log");
    writer.append(b"the first attempt\n").expect("append");
    let mut answers = node.ask(LogFrom::Start(4), true);
    assert_eq!(answers.bytes(14).await, b"first attempt\n");
    drop(writer);
    let mut writer = node.store.log_writer("step", 1 << 20).expect("a log");
    writer.append(b"the second\n").expect("append");
    assert_eq!(answers.next().await, Some(Reply::LogAnew));
    assert_eq!(answers.bytes(11).await, b"the second\n");
    drop(writer);
    node.is_now(Step::Done(None));
    answers.done().await;
}

#[tokio::test]
async fn a_step_without_a_log_is_said_to_have_none() {
    let node = Node::new();
    let none = |reply: Option<Reply>| matches!(reply, Some(Reply::Error(text)) if text.contains("none yet"));
    assert!(none(node.ask(LogFrom::Start(0), false).next().await));
    node.is_now(Step::Done(None));
    assert!(none(node.ask(LogFrom::Start(0), true).next().await));
    let lie = node
        .store
        .put_blob(b"\0\0\0\0\x04\xb1\xea\x92\x8f")
        .expect("put");
    node.is_now(Step::Done(Some(lie)));
    let reply = node.ask(LogFrom::Start(0), true).next().await;
    let Some(Reply::Error(text)) = reply else {
        panic!("{reply:?}")
    };
    assert!(
        text.contains(&lie.to_string()) && text.contains("seek table"),
        "{text}"
    );
}

#[tokio::test]
async fn a_log_that_was_collected_is_said_to_be_gone() {
    let node = Node::new();
    node.is_now(Step::Done(Some(BlobId::of(b"collected"))));
    let reply = node.ask(LogFrom::LastLines(9), true).next().await;
    assert!(matches!(reply, Some(Reply::Error(text)) if text.contains("to make room")));
}

#[tokio::test]
async fn nothing_is_done_for_a_follower_who_has_left() {
    let node = Node::new();
    let before = node.ask(LogFrom::Start(0), true);
    drop(before.stream);
    before.answering.await.expect("it ended");
    let writer = node.store.log_writer("step", 1 << 20).expect("a log");
    let idle = node.ask(LogFrom::Start(0), true);
    drop(idle.stream);
    idle.answering.await.expect("it ended");
    drop(writer);
}
