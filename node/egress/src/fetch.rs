//! Files that a job declared by their digests, at its gate: as an archive mirror of opam, and under
//! the http addresses that were declared with them.
//!
//! A file is brought once, whole, and its digests are taken here before the first byte leaves; whoever
//! brought it need not be believed. What it costs of the job's bytes is its size, once when it is
//! brought and again for each time that it is served anew; one that does not come is given up after a
//! second try. Everything else is refused.

use std::{
    collections::BTreeMap,
    fs::File,
    future::Future,
    io::{self, Read as _, Seek as _},
    os::unix::fs::FileExt as _,
    pin::Pin,
    sync::Arc,
};

use caravan_protocol::{
    action::{Checksum, ChecksumKind},
    limits::FETCH_BYTES_MAX,
};
use md5::{Digest, Md5};
use sha2::{Sha256, Sha512};
use tokio::{
    io::AsyncWriteExt as _, net::TcpStream, sync::Mutex, task::spawn_blocking, time::timeout,
};

use crate::{
    limits::{CONNECTION_COST, PIECE_BYTES, TRIES_MAX, Times},
    policy::{Target, target::shown},
    proxy::{
        Way,
        answer::Fault,
        head::{self, Plain, Request},
        relay::Budget,
        request,
    },
};

/// A file that a job declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// All of them hold.
    pub checksums: Vec<Checksum>,
    /// Where it was said to be; those that begin with `http://` work inside.
    pub urls: Vec<String>,
}

/// A file on its way, or why there is none.
pub type Bring<'a> = Pin<Box<dyn Future<Output = Result<File, String>> + Send + 'a>>;

/// Brings declared files.
pub trait Source: Send + Sync + 'static {
    /// Brings the file at this place of the declaration. Not asked again once it came; asked once more
    /// if it did not and somebody still wants it.
    fn bring(&self, place: usize) -> Bring<'_>;
}

/// A file whose digests were found to hold.
#[derive(Clone)]
struct Checked {
    file: Arc<File>,
    size: u64,
}

/// How far a file is.
enum State {
    /// Asked for this often, and why in vain.
    Missing { tries: u32, why: String },
    /// There.
    Here(Checked),
}

/// The declared files of a session.
pub(crate) struct Files {
    offered: Vec<Offered>,
    paths: BTreeMap<String, usize>,
    addresses: BTreeMap<String, usize>,
    // Locked while one is brought: whoever wants the same waits for it.
    states: Vec<Mutex<State>>,
    source: Arc<dyn Source>,
}

fn address(target: &Target, path: &str) -> String {
    format!("{}{path}", target.authority(80))
}

impl Files {
    pub(crate) fn new(offered: Vec<Offered>, source: Arc<dyn Source>) -> Self {
        let (mut paths, mut addresses) = (BTreeMap::new(), BTreeMap::new());
        let missing = |_| {
            let (tries, why) = (0, String::new());
            Mutex::new(State::Missing { tries, why })
        };
        for (place, file) in offered.iter().enumerate() {
            for checksum in &file.checksums {
                paths.insert(format!("/{}", checksum.cache_path()), place);
            }
            for url in &file.urls {
                if let Ok((Some(target), path)) = head::address(url) {
                    addresses.insert(address(&target, &path), place);
                }
            }
        }
        Self {
            states: offered.iter().map(missing).collect(),
            offered,
            paths,
            addresses,
            source,
        }
    }

    /// Which file a request is for. `gate` is our own address inside.
    fn find(&self, plain: &Plain, gate: u16) -> Option<usize> {
        let own = |target: &Target| {
            let host = target.host.to_string();
            target.port == gate && (host == "127.0.0.1" || host == "localhost")
        };
        match &plain.target {
            Some(target) if !own(target) => {
                self.addresses.get(&address(target, &plain.path)).copied()
            }
            _ => self.paths.get(&plain.path.to_ascii_lowercase()).copied(),
        }
    }

    /// Serves the request of one connection.
    pub(crate) async fn serve(
        &self,
        client: &mut TcpStream,
        way: &Way<'_>,
        gate: u16,
    ) -> Result<(), Fault> {
        let (times, budget) = (&way.egress.times, way.budget);
        let request = request(client, times.head).await?.0;
        budget.charge(CONNECTION_COST)?;
        let plain = match request {
            Request::Tunnel(target) => return Err(Fault::NotDeclared(target.to_string())),
            Request::Plain(plain) => plain,
        };
        let Some(place) = self.find(&plain, gate) else {
            let asked = match &plain.target {
                Some(target) => address(target, &plain.path),
                None => plain.path.clone(),
            };
            return Err(Fault::NotDeclared(shown(&asked)));
        };
        let checked = self.checked(place, plain.is_head, budget).await?;
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            checked.size
        );
        send(client, head.as_bytes(), times).await?;
        if plain.is_head {
            return Ok(());
        }
        let mut at = 0;
        while at < checked.size {
            let (file, left) = (Arc::clone(&checked.file), checked.size - at);
            let read = spawn_blocking(move || piece(&file, at, left)).await;
            let piece = read
                .map_err(io::Error::from)
                .flatten()
                .map_err(|_| Fault::Cut)?;
            send(client, &piece, times).await?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    /// The file at this place, brought if it is not here yet, for a look or to be served.
    async fn checked(
        &self,
        place: usize,
        is_look: bool,
        budget: &Budget,
    ) -> Result<Checked, Fault> {
        let mut state = self.states[place].lock().await;
        let (tries, why) = match &mut *state {
            State::Here(checked) => {
                if !is_look {
                    budget.charge(checked.size)?;
                }
                return Ok(checked.clone());
            }
            State::Missing { tries, why } => (tries, why),
        };
        if *tries == TRIES_MAX {
            let why = format!("{why}; it was tried {tries} times and is not tried again");
            return Err(Fault::NotFetched(why));
        }
        // Counted first: a try that is cut was one.
        *tries += 1;
        match self.bring(place, budget).await {
            Ok(checked) => {
                *state = State::Here(checked.clone());
                Ok(checked)
            }
            Err(fault) => {
                if let Fault::NotFetched(words) = &fault {
                    words.clone_into(why);
                }
                Err(fault)
            }
        }
    }

    async fn bring(&self, place: usize, budget: &Budget) -> Result<Checked, Fault> {
        let file = self.source.bring(place).await.map_err(Fault::NotFetched)?;
        let failed = |error: io::Error| Fault::NotFetched(error.to_string());
        budget.charge(file.metadata().map_err(failed)?.len())?;
        let checksums = self.offered[place].checksums.clone();
        let check = spawn_blocking(move || check(file, &checksums)).await;
        check.map_err(io::Error::from).flatten().map_err(failed)
    }
}

async fn send(client: &mut TcpStream, bytes: &[u8], times: &Times) -> Result<(), Fault> {
    let sent = timeout(times.idle, client.write_all(bytes)).await;
    sent.map_err(io::Error::from)
        .flatten()
        .map_err(|_| Fault::Cut)
}

fn piece(file: &File, at: u64, left: u64) -> io::Result<Vec<u8>> {
    let size = usize::try_from(left)
        .unwrap_or(PIECE_BYTES)
        .min(PIECE_BYTES);
    let mut piece = vec![0; size];
    file.read_exact_at(&mut piece, at)?;
    Ok(piece)
}

/// Takes every digest of a file in one reading.
fn check(mut file: File, checksums: &[Checksum]) -> io::Result<Checked> {
    if checksums.is_empty() {
        return Err(io::Error::other("it was declared without a digest"));
    }
    file.rewind()?;
    let (mut md5, mut sha256, mut sha512) = (Md5::new(), Sha256::new(), Sha512::new());
    let wants = |kind| checksums.iter().any(|checksum| checksum.kind() == kind);
    let mut piece = vec![0; PIECE_BYTES];
    let mut size = 0;
    loop {
        let count = file.read(&mut piece)?;
        if count == 0 {
            break;
        }
        size += count as u64;
        if size > FETCH_BYTES_MAX {
            return Err(io::Error::other(
                "it is larger than any declared file may be",
            ));
        }
        for (kind, digest) in [
            (
                ChecksumKind::Md5,
                &mut md5 as &mut dyn sha2::digest::DynDigest,
            ),
            (ChecksumKind::Sha256, &mut sha256),
            (ChecksumKind::Sha512, &mut sha512),
        ] {
            if wants(kind) {
                digest.update(&piece[..count]);
            }
        }
    }
    let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
    let (md5, sha256, sha512) = (md5.finalize(), sha256.finalize(), sha512.finalize());
    for checksum in checksums {
        let found = match checksum.kind() {
            ChecksumKind::Md5 => hex(&md5),
            ChecksumKind::Sha256 => hex(&sha256),
            ChecksumKind::Sha512 => hex(&sha512),
        };
        if found != checksum.hex() {
            let what = format!("wrong checksum: want {checksum}, got {found}");
            return Err(io::Error::other(what));
        }
    }
    Ok(Checked {
        file: Arc::new(file),
        size,
    })
}
