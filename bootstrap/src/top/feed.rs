//! What the node says, fetched by a thread of its own: whoever draws never waits for the socket.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    time::Duration,
};

use caravan_node::control::{Reply, Request, client::Call};
use caravan_protocol::{
    ids::ActionKey,
    view::{JobView, Overview},
};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Shortest time between two overviews.
pub(crate) const PERIOD: Duration = Duration::from_millis(250);
/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Answers that wait to be shown.
const ANSWERS_MAX: usize = 4;
/// Questions that wait to be asked.
const QUESTIONS_MAX: usize = 4;

/// What came.
pub(crate) enum Told {
    Overview(Arc<Overview>),
    Job(ActionKey, Result<Box<JobView>, String>),
    /// The node did not answer.
    Trouble(String),
    /// The system asks the program to end.
    End,
}

/// The near end of the thread.
pub(crate) struct Feed {
    pub(crate) told: Receiver<Told>,
    wanted: tokio::sync::mpsc::Sender<ActionKey>,
}

impl Feed {
    /// Begins to ask the node that listens on `socket`.
    pub(crate) fn start(socket: PathBuf) -> std::io::Result<Self> {
        let (tell, told) = sync_channel(ANSWERS_MAX);
        let (wanted, wishes) = tokio::sync::mpsc::channel(QUESTIONS_MAX);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        std::thread::Builder::new()
            .name("feed".to_owned())
            .spawn(move || runtime.block_on(run(socket, tell, wishes)))?;
        Ok(Self { told, wanted })
    }

    /// Asks for a job; a question too many is left out.
    pub(crate) fn ask(&self, job: ActionKey) {
        let _ = self.wanted.try_send(job);
    }
}

async fn run(
    socket: PathBuf,
    tell: SyncSender<Told>,
    mut wishes: tokio::sync::mpsc::Receiver<ActionKey>,
) {
    let mut ends = Ends::new();
    let mut period = tokio::time::interval(PERIOD);
    period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let told = tokio::select! {
            biased;
            () = ends.asked() => Told::End,
            wish = wishes.recv() => match wish {
                Some(job) => Told::Job(job, self::job(&socket, job).await),
                None => return,
            },
            _ = period.tick() => match overview(&socket).await {
                Ok(overview) => Told::Overview(overview),
                Err(text) => Told::Trouble(text),
            },
        };
        match told {
            // These must not be lost, and whoever draws takes them soon.
            told @ (Told::End | Told::Job(..)) => {
                if tell.send(told).is_err() {
                    return;
                }
            }
            told => {
                if let Err(TrySendError::Disconnected(_)) = tell.try_send(told) {
                    return;
                }
            }
        }
    }
}

async fn ask(socket: &std::path::Path, request: &Request) -> Result<Reply, String> {
    let work = async {
        let call = Call::start(socket, request).await?;
        call.only().await
    };
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(Ok(Reply::Error(text) | Reply::Refused(text))) => Err(text),
        Ok(Ok(reply)) => Ok(reply),
        Ok(Err(error)) => Err(crate::error::chain(&error)),
        Err(_) => Err("the node does not answer".to_owned()),
    }
}

async fn overview(socket: &std::path::Path) -> Result<Arc<Overview>, String> {
    match ask(socket, &Request::Overview).await? {
        Reply::Overview(overview) => Ok(overview),
        _ => Err(OTHER.to_owned()),
    }
}

async fn job(socket: &std::path::Path, job: ActionKey) -> Result<Box<JobView>, String> {
    match ask(socket, &Request::Job(job.to_string())).await? {
        Reply::Job(view) => Ok(view),
        _ => Err(OTHER.to_owned()),
    }
}

const OTHER: &str = "the node's answer is of another version; restart it";

/// The signals by which the system asks a program to end.
struct Ends([Option<Signal>; 3]);

impl Ends {
    fn new() -> Self {
        let kinds = [
            SignalKind::terminate(),
            SignalKind::hangup(),
            SignalKind::interrupt(),
        ];
        Self(kinds.map(|kind| signal(kind).ok()))
    }

    /// Resolves when any of them comes.
    async fn asked(&mut self) {
        let [first, second, third] = &mut self.0;
        tokio::select! {
            () = one(first) => {}
            () = one(second) => {}
            () = one(third) => {}
        }
    }
}

async fn one(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}
