//! A step's log over the control socket: from any place in it, and on as it grows. What follows an
//! attempt that was given up follows the next one from its beginning.

use std::{io, time::Duration};

use caravan_store::{End, LogError, LogReader, StoreError};
use tokio::{net::UnixStream, sync::watch};

use super::{LogFrom, Reply, wire};
use crate::{build::chain, task::Tasks};

/// Longest wait for a log to grow before the node is looked at again.
const GROWN_WAIT: Duration = Duration::from_millis(500);
/// How often a log that is not there is looked for.
const BEGUN_PAUSE: Duration = Duration::from_millis(100);
/// Bytes of a log in one answer.
const PIECE_BYTES: usize = 256 * 1024;

/// What there is of a step's log at some moment.
pub(super) enum Found {
    /// This.
    Log(LogReader),
    /// Nothing now: the step has not begun, or its log is being put away.
    Later,
    /// Nothing, and nothing will come.
    Never,
}

/// How far a log could be sent.
enum Sent {
    /// To its end, or to where it is now if nobody follows it.
    All,
    /// The attempt that wrote it has given up, and it is gone.
    Dropped,
    /// Nobody listens any more.
    Unheard,
}

/// One answer to a request for a log. It looks for the log by `find`, and again after `changes`.
pub(super) struct Sender<'a, F, C> {
    stream: &'a mut UnixStream,
    tasks: &'a Tasks,
    find: F,
    changes: watch::Receiver<C>,
    follow: bool,
}

impl<'a, F, R, C> Sender<'a, F, C>
where
    F: Fn() -> R,
    R: Future<Output = Result<Found, LogError>>,
{
    pub(super) const fn new(
        stream: &'a mut UnixStream,
        tasks: &'a Tasks,
        find: F,
        changes: watch::Receiver<C>,
    ) -> Self {
        Self {
            stream,
            tasks,
            find,
            changes,
            follow: false,
        }
    }

    /// Sends the log from there on; with `follow` until it ends.
    pub(super) async fn send(mut self, from: LogFrom, follow: bool) -> io::Result<()> {
        self.follow = follow;
        let mut attempts = 0;
        loop {
            self.changes.borrow_and_update();
            let reader = match (self.find)().await {
                Ok(Found::Log(reader)) => reader,
                Ok(Found::Later) if self.follow => match self.pause().await {
                    Sent::Unheard => return Ok(()),
                    Sent::All | Sent::Dropped => continue,
                },
                Ok(Found::Later | Found::Never) if attempts > 0 => {
                    return self.tell(&Reply::Done).await;
                }
                Ok(Found::Later | Found::Never) => {
                    let none = "show a log: that step has none yet".to_owned();
                    return self.tell(&Reply::Error(none)).await;
                }
                Err(error) => return self.tell(&refused(&error)).await,
            };
            let from = match attempts {
                0 => self.resolve(&reader, from).await,
                _ => self.tell(&Reply::LogAnew).await.map(|()| Ok(0))?,
            };
            let sent = match from {
                Ok(from) => self.send_all(&reader, from).await?,
                Err(error) => Err(error),
            };
            match sent {
                Ok(Sent::Dropped) if self.follow => attempts += 1,
                Ok(Sent::All | Sent::Dropped) => return self.tell(&Reply::Done).await,
                Ok(Sent::Unheard) => return Ok(()),
                Err(error) => return self.tell(&refused(&error)).await,
            }
        }
    }

    async fn tell(&mut self, reply: &Reply) -> io::Result<()> {
        wire::write(self.stream, reply).await
    }

    async fn resolve(&self, reader: &LogReader, from: LogFrom) -> Result<u64, LogError> {
        match from {
            LogFrom::Start(offset) => Ok(offset),
            LogFrom::BeforeEnd(bytes) => Ok(reader.size().saturating_sub(bytes)),
            LogFrom::LastLines(count) => {
                let reader = reader.clone();
                let find = move || reader.lines_from_end(count);
                // A node that stops ends this conversation too.
                self.tasks.blocking(find).await.unwrap_or(Ok(0))
            }
        }
    }

    async fn send_all(
        &mut self,
        reader: &LogReader,
        mut at: u64,
    ) -> io::Result<Result<Sent, LogError>> {
        loop {
            // Asked before the bytes are: what ended then has no more of them.
            let end = reader.end();
            let of = reader.clone();
            let read = self.tasks.blocking(move || of.read_at(at, PIECE_BYTES));
            let bytes = match read.await {
                Ok(Ok(bytes)) => bytes,
                Ok(Err(error)) => return Ok(Err(error)),
                Err(_) => return Ok(Ok(Sent::Unheard)),
            };
            if !bytes.is_empty() {
                at += bytes.len() as u64;
                self.tell(&Reply::Log { bytes, next: at }).await?;
                continue;
            }
            match end {
                Some(End::Blob(_)) => return Ok(Ok(Sent::All)),
                Some(End::Dropped) => return Ok(Ok(Sent::Dropped)),
                None if !self.follow => return Ok(Ok(Sent::All)),
                None => {}
            }
            let of = reader.clone();
            tokio::select! {
                grown = self.tasks.blocking(move || of.wait(at, GROWN_WAIT)) => {
                    if grown.is_err() {
                        return Ok(Ok(Sent::Unheard));
                    }
                }
                () = left(self.stream) => return Ok(Ok(Sent::Unheard)),
            }
        }
    }

    /// Waits until there may be a log.
    async fn pause(&mut self) -> Sent {
        tokio::select! {
            changed = self.changes.changed() => match changed {
                Ok(()) => Sent::All,
                Err(_) => Sent::Unheard,
            },
            () = tokio::time::sleep(BEGUN_PAUSE) => Sent::All,
            () = left(self.stream) => Sent::Unheard,
        }
    }
}

fn refused(error: &LogError) -> Reply {
    Reply::Error(match error {
        LogError::Store(StoreError::NoBlob { .. }) => {
            "show a log: it has been removed from the store to make room; run its step again to have \
             it again"
                .to_owned()
        }
        error => chain(error),
    })
}

/// Resolves once the other side has gone away.
async fn left(stream: &UnixStream) {
    loop {
        let ready = stream.readable().await;
        let read = ready.and_then(|()| stream.try_read(&mut [0; 64]));
        match read {
            Ok(0) => return,
            // Whatever it says now is not asked for.
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests;
