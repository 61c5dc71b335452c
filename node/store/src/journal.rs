//! New claims on their way into the index: one write and one wait for the disk each, where a commit
//! of the index takes several of both. They enter the index together, later.
//!
//! The file is written in place over blocks that it has already, so a wait is for these bytes alone.
//! A record counts if its keyed hash holds; the key is drawn once for each store and is in the index,
//! so bytes that others chose cannot pass for a record. The index says which generation of records is
//! to be read: it counts on with the commit that takes them in, so none enters twice or late.
//!
//! Where the file cannot be had, claims go to the index at once, as they do when an action has some
//! already. Owns the file and what was written to it; never decides which claims are kept.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use caravan_protocol::{codec, ids::ActionKey, limits::CLAIM_BYTES_MAX};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Result, StoreError},
    index::Index,
};

/// Length of the file.
const FILE_BYTES: u64 = 1024 * 1024;
/// Records begin at multiples of this: no disk writes more at once, so that writing one never harms
/// the one before it.
const ALIGN: u64 = 4096;
/// Claims that wait at once.
const PENDING_MAX: usize = 256;
/// An action, and a signed claim with what is around it.
const RECORD_BYTES_MAX: usize = CLAIM_BYTES_MAX + 2048;
/// Length and hash before a record's bytes.
const HEAD_BYTES: usize = 4 + blake3::OUT_LEN;
/// Name of the file in the store's directory.
const NAME: &str = "claims.journal";

/// What the index knows of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Generation {
    /// Of the records' hashes.
    pub(crate) key: [u8; 32],
    /// Counts how often records were taken into the index.
    pub(crate) number: u64,
}

/// The journal of an open store.
pub(crate) struct Journal {
    path: PathBuf,
    generation: Generation,
    /// `None` until the first claim, and after the file has failed.
    file: Option<File>,
    is_broken: bool,
    at: u64,
    pending: BTreeMap<ActionKey, Vec<u8>>,
}

impl Journal {
    /// The journal of the store in `dir`, with the records that the index has not taken in.
    pub(crate) fn open(dir: &Path, generation: Generation) -> Result<Self> {
        let path = dir.join(NAME);
        let pending = read_all(&path, &generation)
            .map_err(|error| StoreError::io(format!("read {}", path.display()), error))?;
        Ok(Self {
            path,
            generation,
            file: None,
            is_broken: false,
            at: 0,
            pending,
        })
    }

    /// What waits for this action: the encoded claim.
    pub(crate) fn get(&self, action: ActionKey) -> Option<&[u8]> {
        self.pending.get(&action).map(Vec::as_slice)
    }

    /// All that waits.
    pub(crate) fn pending(&self) -> &BTreeMap<ActionKey, Vec<u8>> {
        &self.pending
    }

    /// The generation that follows once the index has taken in what waits.
    pub(crate) fn next(&self) -> Generation {
        Generation {
            number: self.generation.number + 1,
            ..self.generation
        }
    }

    /// To be called when the index says so too.
    pub(crate) fn taken_in(&mut self) {
        self.generation = self.next();
        self.pending.clear();
        self.at = 0;
    }

    /// To be called when it is not known what the index says: nothing is written to the file any more.
    pub(crate) fn give_up(&mut self) {
        self.is_broken = true;
        self.file = None;
    }

    /// Whether another claim of this size fits.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        let end = self.at + (HEAD_BYTES + 32 + bytes) as u64;
        self.pending.len() < PENDING_MAX && end <= FILE_BYTES
    }

    /// Writes a claim about an action that has none. It is on disk when this returns true; if not,
    /// the journal cannot, and nothing has changed.
    pub(crate) fn append(&mut self, action: ActionKey, claim: &[u8]) -> bool {
        if !self.has_room(claim.len()) || !self.ready() {
            return false;
        }
        let Some(file) = &self.file else { return false };
        let mut body = action.as_bytes().to_vec();
        body.extend_from_slice(claim);
        let record = record(&self.generation, self.at, &body);
        crate::crash::point();
        let written = file
            .write_all_at(&record, self.at)
            .and_then(|()| file.sync_data());
        crate::crash::point();
        if let Err(error) = written {
            tracing::warn!(%error, path = %self.path.display(), "claims go to the index at once from now on");
            // What half a record says is not known: nobody may write behind it.
            self.is_broken = true;
            self.file = None;
            return false;
        }
        self.at = (self.at + record.len() as u64).next_multiple_of(ALIGN);
        self.pending.insert(action, claim.to_vec());
        true
    }

    /// Has the file there, with all of its blocks.
    fn ready(&mut self) -> bool {
        if self.is_broken || self.file.is_some() {
            return !self.is_broken;
        }
        match lay_out(&self.path) {
            Ok(file) => self.file = Some(file),
            Err(error) => {
                tracing::debug!(%error, path = %self.path.display(), "there is no journal of claims");
                self.is_broken = true;
            }
        }
        !self.is_broken
    }
}

/// Opens the file; one that is not of the right length is made anew.
fn lay_out(path: &Path) -> io::Result<File> {
    let mut open = OpenOptions::new();
    open.read(true).write(true).create(true).mode(0o600);
    let file = open.open(path)?;
    if file.metadata()?.len() != FILE_BYTES {
        file.set_len(0)?;
        let zeros = vec![0; 64 * 1024];
        let mut at = 0;
        while at < FILE_BYTES {
            file.write_all_at(&zeros, at)?;
            at += zeros.len() as u64;
        }
        file.sync_all()?;
        if let Some(dir) = path.parent() {
            File::open(dir)?.sync_all()?;
        }
    }
    Ok(file)
}

fn hash(generation: &Generation, at: u64, body: &[u8]) -> [u8; blake3::OUT_LEN] {
    let mut hasher = blake3::Hasher::new_keyed(&generation.key);
    hasher.update(&generation.number.to_le_bytes());
    hasher.update(&at.to_le_bytes());
    hasher.update(body);
    *hasher.finalize().as_bytes()
}

fn record(generation: &Generation, at: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD_BYTES + body.len());
    let len = u32::try_from(body.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(&hash(generation, at, body));
    bytes.extend_from_slice(body);
    bytes
}

/// The records of this generation, up to the first that does not hold.
fn read_all(path: &Path, generation: &Generation) -> io::Result<BTreeMap<ActionKey, Vec<u8>>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(FILE_BYTES).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    let mut found = BTreeMap::new();
    let mut at = 0;
    while let Some((action, claim, next)) = read_one(&bytes, at, generation) {
        found.insert(action, claim);
        at = next;
    }
    Ok(found)
}

fn read_one(
    bytes: &[u8],
    at: usize,
    generation: &Generation,
) -> Option<(ActionKey, Vec<u8>, usize)> {
    let rest = bytes.get(at..)?;
    let (len, rest) = rest.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<{ blake3::OUT_LEN }>()?;
    let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
    let body = rest.get(..len).filter(|_| len <= RECORD_BYTES_MAX)?;
    if blake3::Hash::from_bytes(hash(generation, at as u64, body)) != *sum {
        return None;
    }
    let (action, claim) = body.split_first_chunk::<32>()?;
    let next = (at + HEAD_BYTES + len).next_multiple_of(ALIGN as usize);
    Some((ActionKey::from_bytes(*action), claim.to_vec(), next))
}

/// The generation of a store that has none yet.
pub(crate) fn first_generation() -> Result<Generation> {
    let mut key = [0; 32];
    let mut filled = 0;
    while filled < key.len() {
        let more =
            rustix::rand::getrandom(&mut key[filled..], rustix::rand::GetRandomFlags::empty())
                .map_err(|error| {
                    StoreError::io("draw a key for the journal".to_owned(), error.into())
                })?;
        filled += more;
    }
    Ok(Generation { key, number: 0 })
}

const GENERATION_BYTES: usize = 64;
const KEY: &str = "journal";

impl Index {
    /// What the index says of the journal; drawn and kept if it says nothing yet.
    pub(crate) fn journal(&self) -> Result<Generation> {
        if let Some(known) = self.fact(KEY)? {
            return Ok(codec::decode::<GENERATION_BYTES, _>(&known)?);
        }
        let first = first_generation()?;
        self.write(|txn| Self::set_journal(txn, &first))?;
        Ok(first)
    }

    /// Draws the first generation with the change that makes the index, if there is none yet.
    pub(crate) fn begin_journal(txn: &redb::WriteTransaction) -> Result<()> {
        match Self::has_fact(txn, KEY)? {
            true => Ok(()),
            false => Self::set_journal(txn, &first_generation()?),
        }
    }

    /// Says which generation is the next, with whatever else a change does.
    pub(crate) fn set_journal(txn: &redb::WriteTransaction, generation: &Generation) -> Result<()> {
        let bytes = codec::encode::<GENERATION_BYTES>(generation)?;
        Self::set_fact(txn, KEY, &bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Generation = Generation {
        key: [5; 32],
        number: 3,
    };

    fn action(number: u8) -> ActionKey {
        ActionKey::from_bytes([number; 32])
    }

    fn journal() -> (tempfile::TempDir, Journal) {
        let dir = tempfile::tempdir().expect("a directory");
        let journal = Journal::open(dir.path(), FIRST).expect("open");
        (dir, journal)
    }

    #[test]
    fn what_was_written_is_read_back_until_it_is_taken_in() {
        let (dir, mut journal) = journal();
        for number in 0..5 {
            assert!(journal.append(action(number), &vec![number; 700 * usize::from(number)]));
        }
        let again = Journal::open(dir.path(), FIRST).expect("open");
        assert_eq!(again.pending(), journal.pending());
        assert_eq!(again.pending().len(), 5);
        let next = journal.next();
        journal.taken_in();
        let later = Journal::open(dir.path(), next).expect("open");
        assert!(later.pending().is_empty());
        assert!(journal.append(action(9), b"nine"));
        let later = Journal::open(dir.path(), next).expect("open");
        assert_eq!(later.get(action(9)), Some(b"nine".as_slice()));
        assert_eq!(later.pending().len(), 1, "older records lie behind it");
    }

    #[test]
    fn a_record_that_was_cut_or_changed_ends_the_journal_there() {
        let (dir, mut journal) = journal();
        for number in 0..3 {
            assert!(journal.append(action(number), &[number; 100]));
        }
        let path = dir.path().join(NAME);
        let whole = std::fs::read(&path).expect("read");
        let align = ALIGN as usize;
        for at in [0, 4, 40, 80, align + 3] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).expect("write");
            let found = Journal::open(dir.path(), FIRST)
                .expect("open")
                .pending()
                .len();
            assert_eq!(found, at / align, "byte {at}");
        }
        for len in [0, 3, 100, align + 1, align + 188] {
            std::fs::write(&path, &whole[..len]).expect("write");
            let found = Journal::open(dir.path(), FIRST)
                .expect("open")
                .pending()
                .len();
            let record = 4 + 32 + 32 + 100;
            let whole = usize::from(len >= record) + usize::from(len >= align + record);
            assert_eq!(found, whole, "{len} bytes");
        }
    }

    #[test]
    fn bytes_that_somebody_chose_are_no_record() {
        let (dir, mut journal) = journal();
        // A claim that holds a whole record of a store with another key, where one could begin.
        let other = Generation {
            key: [6; 32],
            ..FIRST
        };
        let mut claim = vec![0; ALIGN as usize - HEAD_BYTES - 32];
        claim.extend(record(
            &other,
            ALIGN,
            &[[8; 32].as_slice(), b"forged"].concat(),
        ));
        assert!(journal.append(action(1), &claim));
        let next = journal.next();
        journal.taken_in();
        assert!(journal.append(action(2), b"short"));
        let found = Journal::open(dir.path(), next).expect("open");
        assert_eq!(found.pending().keys().collect::<Vec<_>>(), [&action(2)]);
    }

    #[test]
    fn a_full_journal_takes_no_more() {
        let (_dir, mut journal) = journal();
        let large = vec![1; 16 * 1024];
        let mut kept = 0;
        while journal.append(ActionKey::from_bytes([kept; 32]), &large) {
            kept += 1;
        }
        assert!((50..64).contains(&kept), "{kept}");
        assert!(journal.at <= FILE_BYTES);
    }

    #[test]
    fn without_a_file_it_says_so() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join(NAME)).expect("in the way");
        assert!(Journal::open(dir.path(), FIRST).is_err());
        std::fs::remove_dir(dir.path().join(NAME)).expect("remove");
        let mut journal = Journal::open(dir.path(), FIRST).expect("open");
        std::fs::create_dir(dir.path().join(NAME)).expect("in the way");
        assert!(!journal.append(action(1), b"one"));
        assert!(journal.pending().is_empty());
    }
}
