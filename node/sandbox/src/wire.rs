//! The private messages between launcher, helper, supervisor and cell: a length, then JSON.
//!
//! Both ends are the same program in the same run, so there are no versions. Every message is
//! bounded before it is read. Never carries anything between nodes.

use std::{
    io::{self, IoSlice, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;

use crate::{
    limits::{MESSAGE_MAX, SECRET_BYTES_MAX, SECRETS_MAX},
    sandbox::Exit,
    spec::{SecretBytes, Spec},
};

/// Asks a supervisor to kill its job.
pub(crate) const KILL: u8 = b'k';
/// Descriptors in one message.
const FDS_MAX: usize = 2;
/// Bytes of a message between launcher and helper.
pub(crate) const ORDER_MAX: usize = 4_200;

/// What can be wrong with a message.
#[derive(Debug, Error)]
pub enum WireError {
    /// The other side is gone.
    #[error("read from a closed socket")]
    Closed,
    /// Longer than the bound.
    #[error("take a message of {0} bytes")]
    TooLong(usize),
    /// Not what was expected.
    #[error("understand a message")]
    Malformed(#[source] serde_json::Error),
    /// The socket failed.
    #[error("use the socket")]
    Io(#[from] io::Error),
}

/// From the launcher to a supervisor, once, and from there to a cell. Its secrets follow it as plain
/// bytes: an encoding would leave copies of them behind.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) spec: Spec,
}

/// From a supervisor to the launcher: one of the first three, then (after the gate of a job that has
/// one) one of the last two.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    Started,
    Refused(String),
    Failed(String),
    Exited(Exit),
}

/// From a cell's init to its supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Word {
    /// The socket that follows is the job's gate.
    Gate,
    /// The command runs.
    Running,
    /// The request does not fit the disk.
    Refused(String),
    /// The host would not do it.
    Failed(String),
    /// The command ended.
    Code(i32),
    /// A signal ended the command.
    Signal(i32),
}

/// Writes one message.
pub(crate) fn send<T: Serialize>(to: &mut impl Write, message: &T) -> Result<(), WireError> {
    to.write_all(&frame(message)?)?;
    Ok(())
}

/// Writes the secrets of a job whose request has been written.
pub(crate) fn send_secrets(to: &mut impl Write, spec: &Spec) -> Result<(), WireError> {
    for secret in &spec.secrets {
        let bytes = secret.value.as_bytes();
        let len = u32::try_from(bytes.len()).map_err(|_| WireError::TooLong(bytes.len()))?;
        to.write_all(&len.to_le_bytes())?;
        to.write_all(bytes)?;
    }
    Ok(())
}

/// Reads one job with its secrets.
pub(crate) fn receive_request(from: &mut impl Read) -> Result<Request, WireError> {
    let mut request: Request = receive(from)?;
    let count = request.spec.secrets.len();
    if count > SECRETS_MAX {
        return Err(WireError::TooLong(count));
    }
    for secret in &mut request.spec.secrets {
        let mut len = [0; 4];
        read_all(from, &mut len)?;
        let len = u32::from_le_bytes(len) as usize;
        if len > SECRET_BYTES_MAX {
            return Err(WireError::TooLong(len));
        }
        secret.value = SecretBytes::fill(len, |bytes| read_all(from, bytes))?;
    }
    Ok(request)
}

/// One message with its length before it.
pub(crate) fn frame<T: Serialize>(message: &T) -> Result<Vec<u8>, WireError> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message).map_err(WireError::Malformed)?;
    let len = bytes.len() - 4;
    if len > MESSAGE_MAX {
        return Err(WireError::TooLong(len));
    }
    let len = u32::try_from(len).map_err(|_| WireError::TooLong(len))?;
    bytes[..4].copy_from_slice(&len.to_le_bytes());
    Ok(bytes)
}

/// Reads one message and nothing beyond it.
pub(crate) fn receive<T: DeserializeOwned>(from: &mut impl Read) -> Result<T, WireError> {
    let mut len = [0; 4];
    read_all(from, &mut len)?;
    let len = u32::from_le_bytes(len) as usize;
    if len > MESSAGE_MAX {
        return Err(WireError::TooLong(len));
    }
    let mut bytes = vec![0; len];
    read_all(from, &mut bytes)?;
    serde_json::from_slice(&bytes).map_err(WireError::Malformed)
}

fn read_all(from: &mut impl Read, bytes: &mut [u8]) -> Result<(), WireError> {
    from.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => WireError::Closed,
        _ => WireError::Io(error),
    })
}

/// Asks for a kill; that the job has ended meanwhile is fine.
pub(crate) fn ask_kill(socket: &UnixStream) {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    // The only failures are an ended job and a full socket, which is full of the same wish.
    let _ = rustix::net::send(socket, &[KILL], flags);
}

/// Sends one short packet with descriptors.
pub(crate) fn send_fds(
    socket: impl AsFd,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    sendmsg(
        socket,
        &[IoSlice::new(bytes)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

/// Receives up to `max` bytes and their descriptors; no bytes means that the other side is gone.
pub(crate) fn receive_fds(
    socket: impl AsFd,
    max: usize,
) -> rustix::io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    receive_fds_if_there(socket, max, true)
}

/// The same, which says `AGAIN` if nothing is there and it is not to wait.
pub(crate) fn receive_fds_if_there(
    socket: impl AsFd,
    max: usize,
    waits: bool,
) -> rustix::io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut bytes = vec![0; max];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut flags = RecvFlags::CMSG_CLOEXEC;
    if !waits {
        flags |= RecvFlags::DONTWAIT;
    }
    let got = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut control,
        flags,
    )?;
    bytes.truncate(got.bytes);
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    Ok((bytes, fds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_survives_the_wire() {
        let mut bytes = Vec::new();
        send(&mut bytes, &Reply::Refused("no layer".to_owned())).unwrap();
        let back: Reply = receive(&mut bytes.as_slice()).unwrap();
        assert!(matches!(back, Reply::Refused(text) if text == "no layer"));
    }

    #[test]
    fn an_endless_message_is_refused_before_it_is_read() {
        let bytes = u32::MAX.to_le_bytes();
        let got = receive::<Reply>(&mut bytes.as_slice());
        assert!(matches!(got, Err(WireError::TooLong(_))), "{got:?}");
    }

    #[test]
    fn a_message_cut_short_is_a_closed_socket() {
        let whole = frame(&Reply::Started).unwrap();
        for len in 0..whole.len() {
            let got = receive::<Reply>(&mut &whole[..len]);
            assert!(matches!(got, Err(WireError::Closed)), "{len}: {got:?}");
        }
    }

    #[test]
    fn secrets_follow_their_request_and_are_not_in_it() {
        let root = crate::spec::Root {
            store: "/store".into(),
            lowers: vec!["base".into()],
            upper: "upper".into(),
            work: "work".into(),
        };
        let mut spec = Spec::new("job".parse().unwrap(), root, vec!["sh".to_owned()]);
        let values: [&[u8]; 3] = [b"hunter2", b"", &[0, 255, 1]];
        for value in values {
            spec.secrets.push(crate::spec::SecretFile {
                target: "/s".into(),
                value: value.to_vec().into(),
            });
        }
        let encoded = frame(&Request { spec: spec.clone() }).unwrap();
        assert!(!String::from_utf8_lossy(&encoded).contains("hunter2"));
        assert!(!format!("{spec:?}").contains("hunter2"));
        let mut bytes = encoded.clone();
        send_secrets(&mut bytes, &spec).unwrap();
        let back = receive_request(&mut bytes.as_slice()).unwrap();
        assert_eq!(back.spec, spec);
        let cut = receive_request(&mut &bytes[..bytes.len() - 1]);
        assert!(matches!(cut, Err(WireError::Closed)));
        let mut endless = encoded;
        endless.extend(u32::MAX.to_le_bytes());
        let refused = receive_request(&mut endless.as_slice());
        assert!(matches!(refused, Err(WireError::TooLong(_))));
    }

    #[test]
    fn descriptors_cross_a_socket() {
        let (here, there) = UnixStream::pair().unwrap();
        let (read, write) = rustix::pipe::pipe().unwrap();
        send_fds(&here, b"x", &[write.as_fd()]).unwrap();
        drop(write);
        let (bytes, fds) = receive_fds(&there, ORDER_MAX).unwrap();
        assert_eq!((bytes.as_slice(), fds.len()), (b"x".as_slice(), 1));
        rustix::io::write(&fds[0], b"hello").unwrap();
        drop(fds);
        let mut text = String::new();
        std::fs::File::from(read).read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
    }
}
