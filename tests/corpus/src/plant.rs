//! Canaries that a process holds: memory, queues, keys and sockets, and the answers to whoever reaches
//! them. The host has one such process; so has each job that stands for another's neighbour.

use std::{
    fs::{self, File},
    io::{self, IoSlice, Write as _},
    mem::MaybeUninit,
    net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket},
    os::{
        fd::{AsFd, OwnedFd},
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram, UnixListener},
    },
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
};

use crate::{
    ground::Ground,
    raw::{self, Arg},
};

/// Size of the shared memory, bytes.
const SHARED_BYTES: i64 = 4096;
/// Group of machines that find each other.
const FINDERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
/// How long a key lives, should nobody remove it, seconds.
const KEY_SECONDS: i64 = 120;

/// What waits for somebody to reach it.
pub struct Canary {
    streams: Vec<OwnedFd>,
    datagrams: Vec<UdpSocket>,
    token: String,
    /// A file with the token, handed to whoever connects to a local socket.
    open: Option<File>,
    _kept: Vec<OwnedFd>,
}

impl Canary {
    /// Plants what words with this prefix name. What the place does not allow is left out: then
    /// nobody can reach it either.
    pub fn plant(ground: &Ground, prefix: &str) -> Self {
        let word = |key: &str| ground.get(&format!("{prefix}{key}")).to_owned();
        let number = |key: &str| ground.number(&format!("{prefix}{key}"));
        let token = ground.token().to_owned();
        let _ = shared_memory(number("shm"), &token);
        let named = word("memory");
        for dir in ["/dev/shm", "/tmp", "/var/tmp"] {
            let _ = fs::write(format!("{dir}/{named}"), &token);
        }
        let mut kept = Vec::new();
        kept.extend(queue(&word("queue")));
        let _ = add_key(&named, &token, -2).and_then(|key| link(key, -4));
        let mut streams = Vec::new();
        if let Ok(address) = SocketAddr::from_abstract_name(word("abstract").as_bytes()) {
            streams.extend(UnixListener::bind_addr(&address).map(OwnedFd::from).ok());
        }
        let datagram = format!("{}-datagram", word("abstract"));
        if let Ok(address) = SocketAddr::from_abstract_name(datagram.as_bytes()) {
            kept.extend(UnixDatagram::bind_addr(&address).map(OwnedFd::from).ok());
        }
        let path = word("socket");
        if !path.is_empty() {
            streams.extend(UnixListener::bind(&path).map(OwnedFd::from).ok());
        }
        let port = u16::try_from(number("port")).unwrap_or(0);
        // Of both families at once, where there is the newer.
        let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
            .or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)));
        streams.extend(listener.map(OwnedFd::from).ok());
        let datagrams = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).ok();
        if let Some(socket) = &datagrams {
            let _ = socket.join_multicast_v4(&FINDERS, &Ipv4Addr::LOCALHOST);
        }
        let open = File::open(format!("/tmp/{named}")).ok();
        Self {
            streams,
            datagrams: datagrams.into_iter().collect(),
            token,
            open,
            _kept: kept,
        }
    }

    /// The number of the descriptor that holds the token.
    pub fn open_number(&self) -> i32 {
        use std::os::fd::AsRawFd as _;
        self.open.as_ref().map_or(-1, |file| file.as_raw_fd())
    }

    /// Where the token is in this process's memory.
    pub fn address(&self) -> usize {
        self.token.as_ptr() as usize
    }

    /// Gives the token to whoever asks, until killed.
    pub fn serve(&self) -> ! {
        loop {
            let streams = self.streams.iter().map(|fd| PollFd::new(fd, PollFlags::IN));
            let datagrams = self
                .datagrams
                .iter()
                .map(|fd| PollFd::new(fd, PollFlags::IN));
            let mut fds: Vec<PollFd<'_>> = streams.chain(datagrams).collect();
            if poll(&mut fds, None).is_err() {
                continue;
            }
            let stirred: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            let (streams, datagrams) = stirred.split_at(self.streams.len());
            for (fd, _) in self
                .streams
                .iter()
                .zip(streams)
                .filter(|(_, stirred)| **stirred)
            {
                let _ = self.answer(fd);
            }
            for (socket, _) in self
                .datagrams
                .iter()
                .zip(datagrams)
                .filter(|(_, stirred)| **stirred)
            {
                let mut asked = [0; 16];
                if let Ok((_, from)) = socket.recv_from(&mut asked) {
                    let _ = socket.send_to(self.token.as_bytes(), from);
                }
            }
        }
    }

    fn answer(&self, listener: &OwnedFd) -> io::Result<()> {
        let stream = rustix::net::accept(listener)?;
        if let Some(file) = &self.open {
            let fds = [file.as_fd()];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            control.push(SendAncillaryMessage::ScmRights(&fds));
            let words = [IoSlice::new(self.token.as_bytes())];
            // Only local sockets carry descriptors.
            if sendmsg(&stream, &words, &mut control, SendFlags::NOSIGNAL).is_ok() {
                return Ok(());
            }
        }
        File::from(stream).write_all(self.token.as_bytes())
    }
}

fn shared_memory(key: i64, token: &str) -> io::Result<()> {
    /// `IPC_CREAT`, and for everybody.
    const MAKE: i64 = 0o1666;
    raw::call(libc::SYS_msgget, &mut [Arg::N(key), Arg::N(MAKE)])?;
    raw::call(
        libc::SYS_semget,
        &mut [Arg::N(key), Arg::N(1), Arg::N(MAKE)],
    )?;
    let id = raw::call(
        libc::SYS_shmget,
        &mut [Arg::N(key), Arg::N(SHARED_BYTES), Arg::N(MAKE)],
    )?;
    let at = raw::call(libc::SYS_shmat, &mut [Arg::N(id), Arg::N(0), Arg::N(0)])?;
    let memory = fs::OpenOptions::new().write(true).open("/proc/self/mem")?;
    std::os::unix::fs::FileExt::write_all_at(
        &memory,
        token.as_bytes(),
        u64::try_from(at).unwrap_or(0),
    )
}

fn queue(name: &str) -> io::Result<OwnedFd> {
    let name = std::ffi::CString::new(name.trim_start_matches('/'))?;
    let flags = i64::from(libc::O_CREAT | libc::O_RDWR);
    let old = rustix::process::umask(rustix::fs::Mode::empty());
    let fd = raw::call(
        libc::SYS_mq_open,
        &mut [Arg::S(&name), Arg::N(flags), Arg::N(0o666), Arg::N(0)],
    );
    rustix::process::umask(old);
    Ok(raw::own(fd?))
}

/// Puts the token into a keyring under this name; the key's number.
///
/// # Errors
/// What the kernel says.
pub fn add_key(name: &str, token: &str, ring: i64) -> io::Result<i64> {
    /// `KEYCTL_SETPERM`, `KEYCTL_SET_TIMEOUT`, and every right for holder, user and group.
    const SET_PERMISSION: i64 = 5;
    const SET_TIMEOUT: i64 = 15;
    const EVERYBODY: i64 = 0x3f3f_3f3f;
    let name = std::ffi::CString::new(name)?;
    let length = i64::try_from(token.len()).unwrap_or(0);
    let key = raw::call(
        libc::SYS_add_key,
        &mut [
            Arg::S(c"user"),
            Arg::S(&name),
            Arg::R(token.as_bytes()),
            Arg::N(length),
            Arg::N(ring),
        ],
    )?;
    raw::call(
        libc::SYS_keyctl,
        &mut [Arg::N(SET_PERMISSION), Arg::N(key), Arg::N(EVERYBODY)],
    )?;
    raw::call(
        libc::SYS_keyctl,
        &mut [Arg::N(SET_TIMEOUT), Arg::N(key), Arg::N(KEY_SECONDS)],
    )?;
    Ok(key)
}

/// Links a key into a keyring.
fn link(key: i64, ring: i64) -> io::Result<()> {
    const LINK: i64 = 8;
    raw::call(
        libc::SYS_keyctl,
        &mut [Arg::N(LINK), Arg::N(key), Arg::N(ring)],
    )
    .map(|_| ())
}

/// Takes a key out of the keyring of this process's user, if it is there.
pub fn forget_key(name: &str) {
    const SEARCH: i64 = 10;
    const UNLINK: i64 = 9;
    const USER: i64 = -4;
    let Ok(name) = std::ffi::CString::new(name) else {
        return;
    };
    let found = &mut [
        Arg::N(SEARCH),
        Arg::N(USER),
        Arg::S(c"user"),
        Arg::S(&name),
        Arg::N(0),
    ];
    if let Ok(key) = raw::call(libc::SYS_keyctl, found) {
        let _ = raw::call(
            libc::SYS_keyctl,
            &mut [Arg::N(UNLINK), Arg::N(key), Arg::N(USER)],
        );
    }
}
