//! The node's end of the control socket.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use caravan_protocol::ids::RunId;
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc},
};

use super::{Reply, Request, wire};
use crate::{driver::Handle, task::Tasks};

/// Conversations at once.
const CALLS_MAX: usize = 64;
/// How often a live log is looked at.
const LOG_PAUSE: Duration = Duration::from_millis(100);
/// Bytes of a log in one answer.
const LOG_PIECE_BYTES: usize = 256 * 1024;

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
                    let handle = handle.clone();
                    tasks.spawn("control call", async move {
                        if let Err(error) = answer(stream, &handle).await {
                            tracing::debug!(%error, "a control conversation broke");
                        }
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "could not accept on the control socket");
                    tokio::time::sleep(LOG_PAUSE).await;
                }
            }
        }
    }
}

async fn answer(mut stream: UnixStream, handle: &Handle) -> io::Result<()> {
    let own = rustix::process::geteuid().as_raw();
    let theirs = stream.peer_cred()?.uid();
    if theirs != own && theirs != 0 {
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
        Request::Ci(request) => match handle.ci(request).await {
            Ok(run) => {
                let told = follow_run(&mut stream, handle, run).await;
                if told.is_err() {
                    // Whoever asked is gone, however that came about; a run that has ended stays.
                    let _ = handle.cancel(run).await;
                }
                told
            }
            Err(text) => wire::write(&mut stream, &Reply::Error(text)).await,
        },
        Request::Log {
            run,
            want,
            offset,
            follow,
        } => send_log(&mut stream, handle, (run, want), offset, follow).await,
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
        other => {
            let reply = simple(handle, other).await.unwrap_or_else(Reply::Error);
            wire::write(&mut stream, &reply).await
        }
    }
}

async fn simple(handle: &Handle, request: Request) -> Result<Reply, String> {
    Ok(match request {
        Request::Status => Reply::Snapshot(Box::new(handle.snapshot().as_ref().clone())),
        Request::Run(id) => Reply::Run(Box::new(handle.run(id).ok_or("there is no such run")?)),
        Request::Cancel(id) => handle.cancel(id).await.map(|()| Reply::Done)?,
        Request::Invite { operator, tier } => Reply::Invite(handle.invite(operator, tier).await?),
        Request::Revoke(node) => handle.revoke(node).await.map(|()| Reply::Done)?,
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
                return wire::write(stream, &done.unwrap_or_else(Reply::Error)).await;
            }
        }
    }
}

async fn follow_run(stream: &mut UnixStream, handle: &Handle, id: RunId) -> io::Result<()> {
    let mut changes = handle.changes();
    let mut last = None;
    loop {
        changes.borrow_and_update();
        let Some(run) = handle.run(id) else {
            return wire::write(stream, &Reply::Error("the run is gone".into())).await;
        };
        let ended = run.finished.is_some();
        if last.as_ref() != Some(&run) {
            wire::write(stream, &Reply::Run(Box::new(run.clone()))).await?;
            last = Some(run);
        }
        if ended {
            return Ok(());
        }
        // A client that went away gives its run up only if it says so: reading tells that it left.
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return Ok(()) },
            _ = stream.readable() => {
                let mut byte = [0; 1];
                match stream.try_read(&mut byte) {
                    Ok(0) => return handle.cancel(id).await.map_err(io::Error::other),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Ok(_) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
}

async fn send_log(
    stream: &mut UnixStream,
    handle: &Handle,
    (run, want): (RunId, caravan_protocol::policy::WantId),
    mut offset: u64,
    follow: bool,
) -> io::Result<()> {
    let mut changes = handle.changes();
    loop {
        changes.borrow_and_update();
        let Some(piece) = handle.log(run, want, offset, LOG_PIECE_BYTES).await else {
            let step = handle
                .run(run)
                .and_then(|run| run.steps.get(&want).cloned());
            let open = step.as_ref().is_some_and(|step| !step.state.is_final());
            if !(follow && open) {
                let none = || Reply::Error("show a log: that step has none yet".to_owned());
                let reply = if offset > 0 { Reply::Done } else { none() };
                return wire::write(stream, &reply).await;
            }
            // It has not begun, or has ended and its log is being put away.
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return Ok(()) },
                () = tokio::time::sleep(LOG_PAUSE) => {}
            }
            continue;
        };
        if !piece.bytes.is_empty() {
            offset = piece.next;
            wire::write(
                stream,
                &Reply::Log {
                    bytes: piece.bytes,
                    next: piece.next,
                },
            )
            .await?;
        } else if !follow || !piece.live {
            return wire::write(stream, &Reply::Done).await;
        } else {
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return Ok(()) },
                () = tokio::time::sleep(LOG_PAUSE) => {}
            }
        }
    }
}
