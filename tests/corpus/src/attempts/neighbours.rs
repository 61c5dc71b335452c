//! Two jobs of one node at the same time: the attempts of one on what the other has put there for it.
//! Both are the attacker's, so a way between them is a way round everything that is declared.

use std::{
    fs::{self, File},
    io::IoSliceMut,
    mem::MaybeUninit,
    net::{SocketAddr as Internet, TcpStream},
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixStream},
    },
};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::{
    ipc,
    network::answered,
    tools::{c, found_token, processes, reads_token},
};
use crate::{
    attempt::{Attempt, Stop, Tried, attempt, no_effect},
    ground::Ground,
    raw::{self, Arg},
};

pub(super) const ATTEMPTS: &[Attempt] = &[
    attempt(
        "pair.descriptor",
        "Nix CVE-2024-27297, Guix the same",
        "be handed a descriptor of the other job's file",
        handed,
    ),
    attempt(
        "pair.abstract",
        "Nix CVE-2024-27297",
        "talk to the other job over an abstract socket",
        |g| ipc::abstract_stream(g, "n-abstract"),
    ),
    attempt(
        "pair.loopback",
        "host networks of fetch steps",
        "talk to the other job over the loopback interface",
        |g| {
            let port = u16::try_from(g.number("n-port")).unwrap_or(0);
            let address = Internet::from(([127, 0, 0, 1], port));
            answered(g, TcpStream::connect_timeout(&address, ipc::ANSWER_MAX)?)
        },
    ),
    attempt(
        "pair.memory",
        "shared IPC namespace",
        "read the other job's shared memory",
        |g| ipc::shared_memory(g, "n-shm"),
    ),
    attempt(
        "pair.messages",
        "shared IPC namespace",
        "find the other job's message queue",
        |g| ipc::messages(g, "n-shm"),
    ),
    attempt(
        "pair.semaphores",
        "shared IPC namespace",
        "find the other job's semaphores",
        |g| ipc::semaphores(g, "n-shm"),
    ),
    attempt(
        "pair.posix-queue",
        "mq_overview(7)",
        "open the other job's POSIX message queue",
        |g| ipc::posix_queue(g, "n-queue"),
    ),
    attempt(
        "pair.posix-memory",
        "shm_overview(7)",
        "read the other job's POSIX shared memory",
        |g| reads_token(g, format!("/dev/shm/{}", g.get("n-memory"))),
    ),
    attempt(
        "pair.tmp",
        "Nix CVE-2025-52991: directories of other builds",
        "read the other job's file in /tmp",
        |g| reads_token(g, format!("/tmp/{}", g.get("n-memory"))),
    ),
    attempt(
        "pair.var-tmp",
        "Nix CVE-2025-52991 class",
        "read the other job's file in /var/tmp",
        |g| reads_token(g, format!("/var/tmp/{}", g.get("n-memory"))),
    ),
    attempt(
        "pair.input",
        "BuildKit CVE-2024-23651: shared cache mounts",
        "leave a file for the other job in an input that both have",
        |g| {
            let path = format!("{}/left", g.get("bind"));
            fs::write(&path, "x")?;
            let _ = fs::remove_file(&path);
            Ok("a file was left".to_owned())
        },
    ),
    attempt(
        "pair.process",
        "host pid namespace",
        "see the other job's processes",
        |_| seen().map(|pid| format!("process {pid} is the other's")),
    ),
    attempt(
        "pair.signal",
        "build users that are shared: Nix CVE-2025-52992",
        "send the other job's process a signal",
        |_| {
            let pid = seen()?;
            raw::call(
                libc::SYS_kill,
                &mut [Arg::N(pid.into()), Arg::N(libc::SIGCONT.into())],
            )?;
            Ok("it was sent".to_owned())
        },
    ),
    attempt(
        "pair.trace",
        "ptrace(2)",
        "attach to the other job's process",
        |_| {
            let pid = i64::from(seen()?);
            raw::call(
                libc::SYS_ptrace,
                &mut [
                    Arg::N(libc::PTRACE_SEIZE.into()),
                    Arg::N(pid),
                    Arg::N(0),
                    Arg::N(0),
                ],
            )?;
            Ok("it was attached to".to_owned())
        },
    ),
    attempt(
        "pair.root",
        "host pid namespace",
        "read a file in the other job's root through /proc",
        |g| {
            let pid = seen()?;
            reads_token(g, format!("/proc/{pid}/root/tmp/{}", g.get("n-memory")))
        },
    ),
    attempt(
        "pair.key",
        "keyrings(7): shared by user id",
        "read the other job's key in the keyring of their user",
        |g| {
            let key = raw::call(
                libc::SYS_keyctl,
                &mut [
                    Arg::N(10),
                    Arg::N(-4),
                    Arg::S(c"user"),
                    Arg::S(&c(g.get("n-memory"))),
                    Arg::N(0),
                ],
            )?;
            let mut bytes = vec![0; 256];
            raw::call(
                libc::SYS_keyctl,
                &mut [Arg::N(11), Arg::N(key), Arg::W(&mut bytes), Arg::N(256)],
            )?;
            found_token(g, &bytes, "the other job's key")
        },
    ),
    attempt(
        "pair.take-descriptor",
        "pidfd_getfd(2)",
        "take a descriptor of the other job's process",
        |_| {
            use std::os::fd::AsRawFd as _;
            let pid = seen()?;
            let fd = raw::own(raw::call(
                libc::SYS_pidfd_open,
                &mut [Arg::N(pid.into()), Arg::N(0)],
            )?);
            let taken = raw::call(
                libc::SYS_pidfd_getfd,
                &mut [Arg::N(fd.as_raw_fd().into()), Arg::N(1), Arg::N(0)],
            )?;
            drop(raw::own(taken));
            Ok("it was taken".to_owned())
        },
    ),
];

/// A process of the other job, by its command.
fn seen() -> Result<i32, Stop> {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    for pid in processes() {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut args = line.split(|byte| *byte == 0);
        if pid != own && args.any(|arg| arg == b"neighbour") {
            return Ok(pid);
        }
    }
    Err(no_effect("no process of the other job is seen"))
}

fn handed(ground: &Ground) -> Tried {
    let address = SocketAddr::from_abstract_name(ground.get("n-abstract").as_bytes())?;
    let stream = UnixStream::connect_addr(&address)?;
    stream.set_read_timeout(Some(ipc::ANSWER_MAX))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 256];
    recvmsg(
        &stream,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            let fds: Vec<File> = fds.map(File::from).collect();
            let Some(file) = fds.first() else { continue };
            let mut bytes = [0; 256];
            // From its beginning, wherever the other side has read to.
            let got = std::os::unix::fs::FileExt::read_at(file, &mut bytes, 0)?;
            return found_token(ground, &bytes[..got], "a descriptor of the other job");
        }
    }
    Err(no_effect("no descriptor came"))
}
