//! The node's end of the control socket.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use caravan_protocol::{ids::RunId, policy::WantId, view::RunView};
use caravan_store::LogError;
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc},
};

use super::{BuildRequest, Reply, Request, log, wire};
use crate::{
    driver::{Handle, Refusal},
    task::Tasks,
};

/// Conversations at once.
const CALLS_MAX: usize = 64;
/// Pause after a conversation that could not be taken.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound control socket; its file goes away with it.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Server {
    /// Listens on `path`. The store's lock has been taken before, so a file that is there already
    /// was left by a node that was killed.
    pub fn bind(path: &Path) -> io::Result<Self> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Answers until the node stops.
    pub async fn serve(self, handle: Handle, tasks: Tasks) {
        let room = Arc::new(Semaphore::new(CALLS_MAX));
        loop {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
                return;
            };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let (handle, own_tasks) = (handle.clone(), tasks.clone());
                    tasks.spawn("control call", async move {
                        if let Err(error) = answer(stream, &handle, &own_tasks).await {
                            tracing::debug!(%error, "a control conversation broke");
                        }
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "could not accept on the control socket");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn answer(mut stream: UnixStream, handle: &Handle, tasks: &Tasks) -> io::Result<()> {
    let own = rustix::process::geteuid().as_raw();
    let theirs = stream.peer_cred()?.uid();
    if theirs != own {
        return wire::write(
            &mut stream,
            &Reply::Error("the node belongs to another user".into()),
        )
        .await;
    }
    let Some(request) = wire::read::<Request>(&mut stream).await? else {
        return Ok(());
    };
    match request {
        Request::Ci(request) => {
            let begun = handle.ci(request).await;
            follow_begun(&mut stream, handle, begun).await
        }
        Request::Again { run, on, not_on } => {
            let begun = handle.again(run, on, not_on).await;
            follow_begun(&mut stream, handle, begun).await
        }
        Request::Build(request) => build(&mut stream, handle, request).await,
        Request::Log {
            run,
            want,
            from,
            follow,
        } => {
            let find = || find_log(handle, run, want);
            let changes = handle.changes();
            log::Sender::new(&mut stream, tasks, find, changes)
                .send(from, follow)
                .await
        }
        Request::ImportBase(name) => {
            let (progress, heard) = mpsc::channel(16);
            let work = handle.import_base(name, progress);
            with_progress(&mut stream, heard, work).await
        }
        Request::CheckStore { heal } => {
            let (progress, heard) = mpsc::channel(16);
            let work = handle.check_store(heal, progress);
            with_progress(&mut stream, heard, work).await
        }
        Request::ImportImage(ask) => {
            let (progress, heard) = mpsc::channel(16);
            let work = handle.import_image(ask, progress);
            with_progress(&mut stream, heard, work).await
        }
        Request::ExportImage(ask) => {
            let (progress, heard) = mpsc::channel(16);
            let work = handle.export_image(ask, progress);
            with_progress(&mut stream, heard, work).await
        }
        Request::Store(ask) => {
            let (progress, heard) = mpsc::channel(16);
            let work = handle.store(ask, progress);
            with_progress(&mut stream, heard, work).await
        }
        Request::Drain { leave, wait } => drain(&mut stream, handle, (leave, wait)).await,
        other => {
            let reply = simple(handle, other).await.unwrap_or_else(Reply::Error);
            wire::write(&mut stream, &reply).await
        }
    }
}

/// Tells of a run that was begun for whoever asks, or why it was not.
async fn follow_begun(
    stream: &mut UnixStream,
    handle: &Handle,
    begun: Result<RunId, String>,
) -> io::Result<()> {
    let run = match begun {
        Ok(run) => run,
        Err(text) => return wire::write(stream, &Reply::Error(text)).await,
    };
    let (_, mut nothing) = mpsc::channel(1);
    let told = follow_run(stream, handle, run, &mut nothing).await;
    if told.is_err() {
        // Whoever asked is gone, however that came about; a run that has ended stays.
        let _ = handle.cancel(run).await;
    }
    told
}

async fn drain(
    stream: &mut UnixStream,
    handle: &Handle,
    (leave, wait): (bool, bool),
) -> io::Result<()> {
    let (progress, heard) = mpsc::channel(16);
    let work = handle.drain(leave, wait, progress);
    with_progress(stream, heard, work).await
}

async fn build(stream: &mut UnixStream, handle: &Handle, request: BuildRequest) -> io::Result<()> {
    let begun = tokio::select! {
        begun = handle.build(request) => begun,
        // Whoever asked went away before there was a run.
        () = hung_up(stream) => return Ok(()),
    };
    let (run, mut heard) = match begun {
        Ok(begun) => begun,
        Err(Refusal::Asked(text)) => return wire::write(stream, &Reply::Refused(text)).await,
        Err(Refusal::Node(text)) => return wire::write(stream, &Reply::Error(text)).await,
    };
    let told = follow_run(stream, handle, run, &mut heard).await;
    if told.is_err() {
        let _ = handle.cancel(run).await;
    }
    told
}

async fn simple(handle: &Handle, request: Request) -> Result<Reply, String> {
    Ok(match request {
        Request::Status => Reply::Snapshot(Box::new(handle.snapshot().as_ref().clone())),
        Request::Run(id) => Reply::Run(handle.run(id).ok_or("there is no such run")?),
        Request::Cancel(id) => handle.cancel(id).await.map(|()| Reply::Done)?,
        Request::Invite(ask) => Reply::Invite(handle.invite(ask).await?),
        Request::Invites => Reply::Invites(handle.invites().await?),
        Request::Withdraw(what) => handle.withdraw(what).await.map(|()| Reply::Done)?,
        Request::Revoke(node) => handle.revoke(node).await.map(|()| Reply::Done)?,
        Request::Pause { why } => Reply::Standing(handle.pause(why).await?),
        Request::Resume => Reply::Standing(handle.resume().await?),
        Request::Cordon { node, why } => {
            let cordoned = handle.cordon(node, true, why).await;
            cordoned.map(|()| Reply::Done)?
        }
        Request::Uncordon { node } => {
            let freed = handle.cordon(node, false, String::new()).await;
            freed.map(|()| Reply::Done)?
        }
        Request::Renew => Reply::Renewed {
            expires: handle.renew().await?,
        },
        Request::Overview => Reply::Overview(handle.overview().await?),
        Request::Job(prefix) => match handle.job(prefix).await {
            Ok(job) => Reply::Job(Box::new(job)),
            Err(text) => Reply::Refused(text),
        },
        Request::Nodes => Reply::Nodes(handle.snapshot().nodes.clone()),
        Request::Stop => {
            handle.stop();
            Reply::Done
        }
        _ => return Err("this request is answered elsewhere".to_owned()),
    })
}

async fn with_progress(
    stream: &mut UnixStream,
    mut heard: mpsc::Receiver<Reply>,
    work: impl Future<Output = Result<Reply, String>>,
) -> io::Result<()> {
    tokio::pin!(work);
    loop {
        tokio::select! {
            Some(progress) = heard.recv() => wire::write(stream, &progress).await?,
            done = &mut work => {
                // What was said before the end and is not passed on yet.
                while let Ok(said) = heard.try_recv() {
                    wire::write(stream, &said).await?;
                }
                return wire::write(stream, &done.unwrap_or_else(Reply::Error)).await;
            }
        }
    }
}

/// Tells of a run until it has ended, and of what is heard beside it.
async fn follow_run(
    stream: &mut UnixStream,
    handle: &Handle,
    id: RunId,
    heard: &mut mpsc::Receiver<Reply>,
) -> io::Result<()> {
    let mut changes = handle.changes();
    let mut last = None;
    loop {
        changes.borrow_and_update();
        let Some(run) = handle.run(id) else {
            return wire::write(stream, &Reply::Error("the run is gone".into())).await;
        };
        let ended = run.finished.is_some();
        while let Ok(reply) = heard.try_recv() {
            wire::write(stream, &reply).await?;
        }
        if last.as_ref() != Some(&run) {
            wire::write(stream, &Reply::Run(Arc::clone(&run))).await?;
            last = Some(run);
        }
        if ended {
            return Ok(());
        }
        // A client that went away gives its run up only if it says so: reading tells that it left.
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return Ok(()) },
            Some(reply) = heard.recv() => wire::write(stream, &reply).await?,
            () = hung_up(stream) => return handle.cancel(id).await.map_err(io::Error::other),
        }
    }
}

/// Resolves once the other end is gone. It says nothing more, so nothing is lost by reading.
async fn hung_up(stream: &UnixStream) {
    let mut bytes = [0; 64];
    while stream.readable().await.is_ok() {
        match stream.try_read(&mut bytes) {
            Ok(0) => return,
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
            _ => {}
        }
    }
}

async fn find_log(handle: &Handle, run: RunId, want: WantId) -> Result<log::Found, LogError> {
    let step = |run: Arc<RunView>| run.steps.get(&want).map(|step| !step.state.is_final());
    // Asked first: a step that has ended by now has put its log away before.
    let open = handle.run(run).and_then(step).unwrap_or(false);
    Ok(match handle.log(run, want).await? {
        Some(reader) => log::Found::Log(reader),
        None if open => log::Found::Later,
        None => log::Found::Never,
    })
}
