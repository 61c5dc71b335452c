//! Frames of the membership protocol on their streams. Each side opens a stream of its own and only
//! writes on it; it stays open as long as there is something to say now and then. A frame is its
//! length (four bytes, big-endian) and a message in the engine's encoding. Nothing here knows what
//! the messages mean; what cannot be read is told to the actor.

use std::{io, time::Duration};

use caravan_protocol::member::{MEMBER_BYTES_MAX, Message};
use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use libp2p::{PeerId, Stream, StreamProtocol};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{limits::LINK_IDLE, streams::Control, wire::MEMBER};

/// What comes of a stream.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A message, and the bytes that it took.
    Message {
        peer: PeerId,
        message: Message,
        bytes: usize,
    },
    /// Something that no honest member sends.
    Nonsense { peer: PeerId, reason: String },
}

/// Reads messages until the stream ends, the peer breaks the rules, or `cancel`.
pub(crate) async fn read(
    peer: PeerId,
    mut stream: Stream,
    patience: Duration,
    heard: mpsc::Sender<Heard>,
    cancel: CancellationToken,
) {
    let work = async {
        loop {
            let frame = match frame(&mut stream, patience).await {
                Ok(frame) => frame,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    let reason = error.to_string();
                    let _ = heard.send(Heard::Nonsense { peer, reason }).await;
                    return;
                }
                Err(error) => {
                    tracing::trace!(%peer, %error, "a stream of membership ended");
                    return;
                }
            };
            let bytes = frame.len();
            let told = match Message::decode(&frame) {
                Ok(message) => Heard::Message {
                    peer,
                    message,
                    bytes,
                },
                Err(error) => Heard::Nonsense {
                    peer,
                    reason: error.to_string(),
                },
            };
            let end = matches!(told, Heard::Nonsense { .. });
            if heard.send(told).await.is_err() || end {
                return;
            }
        }
    };
    cancel.run_until_cancelled(work).await;
}

/// The next frame. Between two of them a peer may be silent as long as it likes, not inside of one.
async fn frame(stream: &mut Stream, patience: Duration) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length[..1]).await?;
    let rest = async {
        stream.read_exact(&mut length[1..]).await?;
        let length = u32::from_be_bytes(length);
        let promised = usize::try_from(length).unwrap_or(usize::MAX);
        if promised == 0 || promised > MEMBER_BYTES_MAX {
            let words = format!("read a frame of {length} bytes: at most {MEMBER_BYTES_MAX} fit");
            return Err(io::Error::new(io::ErrorKind::InvalidData, words));
        }
        // Memory is taken as bytes arrive, not as they are promised.
        let mut bytes = Vec::new();
        stream
            .take(u64::from(length))
            .read_to_end(&mut bytes)
            .await?;
        if bytes.len() != promised {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(bytes)
    };
    tokio::time::timeout(patience, rest)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Opens a stream and writes what comes, until nothing has come for a while, the stream fails, or
/// `cancel`. Whoever sends notices by its closed channel and begins anew.
pub(crate) async fn write(
    peer: PeerId,
    mut control: Control,
    patience: Duration,
    mut frames: mpsc::Receiver<Vec<u8>>,
    cancel: CancellationToken,
) {
    let work = async {
        let open = control.open_stream(peer, StreamProtocol::new(MEMBER));
        let mut stream = match tokio::time::timeout(patience, open).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(%peer, %error, "no stream of membership was opened");
                return;
            }
            Err(_) => return,
        };
        while let Ok(Some(first)) = tokio::time::timeout(LINK_IDLE, frames.recv()).await {
            let some = async {
                put(&mut stream, &first).await?;
                while let Ok(more) = frames.try_recv() {
                    put(&mut stream, &more).await?;
                }
                stream.flush().await
            };
            match tokio::time::timeout(patience, some).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::trace!(%peer, %error, "a stream of membership broke");
                    return;
                }
                Err(_) => return,
            }
        }
        let _ = tokio::time::timeout(patience, stream.close()).await;
    };
    cancel.run_until_cancelled(work).await;
}

async fn put(stream: &mut Stream, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    let mut frame = Vec::with_capacity(bytes.len() + 4);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(bytes);
    stream.write_all(&frame).await
}
