//! What processes share without files: the host's shared memory, queues, semaphores and sockets.

use std::{
    io::Read as _,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram, UnixStream},
    },
    time::Duration,
};

use super::tools::{c, found_token, reads_token, visible_canary};
use crate::{
    attempt::{Attempt, Tried, attempt, no_effect},
    ground::Ground,
    raw::{self, Arg},
};

/// How long a server may take to answer.
pub(super) const ANSWER_MAX: Duration = Duration::from_millis(400);
/// `IPC_STAT`.
const STAT: i64 = 2;
/// `SHM_RDONLY`.
const READ_ONLY: i64 = 0o10000;

pub(super) const ATTEMPTS: &[Attempt] = &[
    attempt(
        "ipc.memory",
        "shared IPC namespace",
        "read the canary's shared memory",
        |g| shared_memory(g, "shm"),
    ),
    attempt(
        "ipc.memory-destroy",
        "shared IPC namespace",
        "look up the canary's shared memory for removal",
        |g| {
            let id = raw::call(
                libc::SYS_shmget,
                &mut [Arg::N(g.number("shm")), Arg::N(0), Arg::N(0)],
            )?;
            let mut about = [0; 256];
            raw::call(
                libc::SYS_shmctl,
                &mut [Arg::N(id), Arg::N(STAT), Arg::W(&mut about)],
            )?;
            Ok(format!("segment {id} was looked up"))
        },
    ),
    attempt(
        "ipc.messages",
        "shared IPC namespace",
        "find the canary's message queue",
        |g| messages(g, "shm"),
    ),
    attempt(
        "ipc.semaphores",
        "shared IPC namespace",
        "find the canary's semaphores",
        |g| semaphores(g, "shm"),
    ),
    attempt(
        "ipc.posix-queue",
        "mq_overview(7)",
        "open the canary's POSIX message queue",
        |g| posix_queue(g, "queue"),
    ),
    attempt(
        "ipc.posix-memory",
        "shm_overview(7)",
        "read the canary's POSIX shared memory",
        |g| reads_token(g, format!("/dev/shm/{}", g.get("memory"))),
    ),
    attempt(
        "ipc.abstract",
        "containerd CVE-2020-15257",
        "talk to the canary over an abstract socket",
        |g| abstract_stream(g, "abstract"),
    ),
    attempt(
        "ipc.abstract-datagram",
        "containerd CVE-2020-15257",
        "send the canary a datagram over an abstract socket",
        |g| {
            let name = format!("{}-datagram", g.get("abstract"));
            let address = SocketAddr::from_abstract_name(name.as_bytes())?;
            UnixDatagram::unbound()?.connect_addr(&address)?;
            Ok("the canary's socket was reached".to_owned())
        },
    ),
    attempt(
        "ipc.socket-file",
        "docker.sock in a container",
        "talk to the canary over a socket file of the host",
        |g| socket_file(g, g.get("socket")),
    ),
    attempt(
        "ipc.socket-file-proc",
        "host pid namespace",
        "the same through the canary's root in /proc",
        |g| {
            let pid = visible_canary(g)?;
            socket_file(g, &format!("/proc/{pid}/root{}", g.get("socket")))
        },
    ),
    attempt(
        "ipc.socket-list",
        "host network namespace",
        "find the canary's sockets in the list of all",
        |g| {
            let bytes = super::tools::read("/proc/net/unix")?;
            match String::from_utf8_lossy(&bytes).contains(g.get("abstract")) {
                true => Ok("they are listed".to_owned()),
                false => Err(no_effect("they are not listed")),
            }
        },
    ),
];

pub(super) fn shared_memory(ground: &Ground, key: &str) -> Tried {
    let id = raw::call(
        libc::SYS_shmget,
        &mut [Arg::N(ground.number(key)), Arg::N(0), Arg::N(0)],
    )?;
    let at = raw::call(
        libc::SYS_shmat,
        &mut [Arg::N(id), Arg::N(0), Arg::N(READ_ONLY)],
    )?;
    // Read through a file of its own, not through a pointer.
    let mut bytes = vec![0; 64];
    let memory = std::fs::File::open("/proc/self/mem")?;
    std::os::unix::fs::FileExt::read_exact_at(&memory, &mut bytes, u64::try_from(at).unwrap_or(0))?;
    found_token(ground, &bytes, "shared memory")
}

pub(super) fn messages(ground: &Ground, key: &str) -> Tried {
    let id = raw::call(
        libc::SYS_msgget,
        &mut [Arg::N(ground.number(key)), Arg::N(0)],
    )?;
    Ok(format!("queue {id} was found"))
}

pub(super) fn semaphores(ground: &Ground, key: &str) -> Tried {
    let id = raw::call(
        libc::SYS_semget,
        &mut [Arg::N(ground.number(key)), Arg::N(0), Arg::N(0)],
    )?;
    Ok(format!("semaphores {id} were found"))
}

pub(super) fn posix_queue(ground: &Ground, key: &str) -> Tried {
    let name = c(ground.get(key).trim_start_matches('/'));
    let fd = raw::call(libc::SYS_mq_open, &mut [Arg::S(&name), Arg::N(0)])?;
    drop(raw::own(fd));
    Ok("the queue was opened".to_owned())
}

fn answer(ground: &Ground, mut stream: UnixStream, place: &str) -> Tried {
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    let mut bytes = [0; 256];
    let got = stream.read(&mut bytes)?;
    found_token(ground, &bytes[..got], place)
}

pub(super) fn abstract_stream(ground: &Ground, key: &str) -> Tried {
    let address = SocketAddr::from_abstract_name(ground.get(key).as_bytes())?;
    answer(
        ground,
        UnixStream::connect_addr(&address)?,
        "an abstract socket",
    )
}

fn socket_file(ground: &Ground, path: &str) -> Tried {
    answer(ground, UnixStream::connect(path)?, path)
}
