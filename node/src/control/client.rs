//! The CLI's end of the control socket.

use std::{io, path::Path};

use tokio::net::UnixStream;

use super::{Reply, Request, wire};

/// Why the node could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No node listens on the socket.
    #[error("reach the node at {path}: none is running; start one with `caravan node run`")]
    NoNode {
        /// The socket.
        path: String,
    },
    /// The socket belongs to somebody else.
    #[error("reach the node at {path}: it belongs to another user")]
    NotOurs {
        /// The socket.
        path: String,
    },
    /// The conversation broke.
    #[error("talk to the node")]
    Io(#[from] io::Error),
    /// The node ended before its answer did.
    #[error("talk to the node: it stopped in the middle of its answer")]
    Ended,
}

/// One request under way.
#[derive(Debug)]
pub struct Call {
    stream: UnixStream,
}

impl Call {
    /// Sends `request` to the node that listens on `socket`.
    pub async fn start(socket: &Path, request: &Request) -> Result<Self, ClientError> {
        let path = || socket.display().to_string();
        let mut stream = UnixStream::connect(socket)
            .await
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    ClientError::NoNode { path: path() }
                }
                io::ErrorKind::PermissionDenied => ClientError::NotOurs { path: path() },
                _ => ClientError::Io(error),
            })?;
        wire::write(&mut stream, request).await?;
        Ok(Self { stream })
    }

    /// The next answer, or nothing after the last.
    pub async fn next(&mut self) -> Result<Option<Reply>, ClientError> {
        Ok(wire::read(&mut self.stream).await?)
    }

    /// The one answer of a request that has one.
    pub async fn only(mut self) -> Result<Reply, ClientError> {
        self.next().await?.ok_or(ClientError::Ended)
    }
}
