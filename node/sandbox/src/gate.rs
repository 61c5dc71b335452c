//! A job's gate: the one socket through which it can reach anything beyond itself.
//!
//! Init listens in the job's own network, which has a loopback interface and no route, and gives the
//! listening socket away: through its supervisor to whoever started the job, who may serve a proxy
//! on it or drop it. Init keeps nothing of it. Never decides what a job may reach.

use std::{
    io,
    net::{Ipv4Addr, TcpListener},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use crate::wire;

/// Where the gate is inside, on `127.0.0.1`.
pub const GATE_PORT: u16 = 3128;
/// The byte that the socket comes with.
const GATE: u8 = b'G';

/// Listens in the network of this process. Whoever has the port first has it: init, before there is
/// a command.
pub(crate) fn listen() -> io::Result<OwnedFd> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, GATE_PORT)).map(OwnedFd::from)
}

/// Passes the gate on, between two messages of a socket.
pub(crate) fn pass(to: &UnixStream, gate: &OwnedFd) -> io::Result<()> {
    Ok(wire::send_fds(to, &[GATE], &[gate.as_fd()])?)
}

/// Takes the gate that comes next on a socket.
pub(crate) fn take(from: &UnixStream) -> io::Result<OwnedFd> {
    let (bytes, fds) = wire::receive_fds(from, 1)?;
    match (bytes.as_slice(), fds.into_iter().next()) {
        (&[GATE], Some(gate)) => Ok(gate),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
