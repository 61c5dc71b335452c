//! Blocks of the host's user ids: each helper has one that no other helper of the machine has.
//!
//! A block is claimed by a lock on a file of root's own directory. The kernel lets go of a lock when
//! the last process that holds it is gone, however it went; supervisors of jobs hold it too, so no
//! block is claimed anew while a job still runs under its ids. The files stay: taking one away while
//! another opens it would give one block to two. Never changes anything else on the host.

use std::{
    fs, io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::{DirBuilderExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock, open},
    io::Errno,
    process::Pid,
};
use thiserror::Error;

use crate::limits::{ID_BLOCKS, ID_BLOCKS_LOW, ID_COUNT, ID_FIRST, ID_FIRST_HIGH, JOBS_MAX};

/// Where the locks are: gone after a start of the machine, as all holders are.
const LOCKS: &str = "/run/caravan-ids";
/// Bits of a mode that would let others than root hold a lock.
const OTHERS: u32 = 0o077;

/// Why no ids could be claimed.
#[derive(Debug, Error)]
pub(crate) enum ClaimError {
    /// The directory or one of its files cannot be made or opened.
    #[error("claim user ids: open {path}: {source}")]
    Open {
        /// What could not be opened.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody else could hold the locks.
    #[error("claim user ids: {0} is not root's alone; remove it")]
    NotOurs(PathBuf),
    /// Every block is somebody's.
    #[error("claim user ids: all {ID_BLOCKS} blocks are held by other nodes of this machine")]
    AllTaken,
}

/// The ids of one helper's jobs, claimed as long as this or a copy of its descriptor lives.
#[derive(Debug)]
pub(crate) struct Block {
    first: u32,
    lock: OwnedFd,
}

impl Block {
    /// Claims the first block that is free.
    pub(crate) fn claim() -> Result<Self, ClaimError> {
        Self::claim_in(Path::new(LOCKS))
    }

    fn claim_in(dir: &Path) -> Result<Self, ClaimError> {
        let wrong = |path: &Path| {
            let path = path.to_owned();
            move |source| ClaimError::Open { path, source }
        };
        match fs::DirBuilder::new().mode(0o700).create(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(wrong(dir)(error));
            }
            _ => {}
        }
        let found = fs::symlink_metadata(dir).map_err(wrong(dir))?;
        if !found.is_dir() || found.uid() != 0 || found.mode() & OTHERS != 0 {
            return Err(ClaimError::NotOurs(dir.to_owned()));
        }
        for block in 0..ID_BLOCKS {
            let path = dir.join(block.to_string());
            let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let lock = open(&path, flags, Mode::from_raw_mode(0o600))
                .map_err(|error| wrong(&path)(error.into()))?;
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    let first = first_of(block);
                    return Ok(Self { first, lock });
                }
                Err(Errno::WOULDBLOCK) => {}
                Err(error) => return Err(wrong(&path)(error.into())),
            }
        }
        Err(ClaimError::AllTaken)
    }

    /// The first id of the block.
    pub(crate) fn first(&self) -> u32 {
        self.first
    }
}

impl AsFd for Block {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }
}

fn first_of(block: u32) -> u32 {
    match block.checked_sub(ID_BLOCKS_LOW) {
        None => ID_FIRST + block * ids_per_block(),
        Some(block) => ID_FIRST_HIGH + block * ids_per_block(),
    }
}

/// Whom the host takes for the owner of a job's user namespace, and counts its kernel objects for
/// (watches of files, locked memory, namespaces): one id of the block for each process, so that no
/// job takes them away from the host's root or from another. Nothing ever runs under it.
pub(crate) fn owner(first: u32, process: Pid) -> u32 {
    first + process.as_raw_nonzero().get().unsigned_abs() % ids_per_block()
}

fn ids_per_block() -> u32 {
    u32::try_from(JOBS_MAX).expect("few jobs") * ID_COUNT
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// The first ids of each job's range in the block that begins with `first`.
    fn ranges(first: u32) -> Vec<u32> {
        (first..first + ids_per_block())
            .step_by(ID_COUNT as usize)
            .collect()
    }

    fn locks() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let locks = dir.path().join("locks");
        (dir, locks)
    }

    #[test]
    fn no_block_is_held_by_two_and_one_that_was_let_go_is_claimed_anew() {
        if !rustix::process::geteuid().is_root() {
            println!("SKIPPED: locks are root's");
            return;
        }
        let (_dir, locks) = locks();
        let one = Block::claim_in(&locks).unwrap();
        let two = Block::claim_in(&locks).unwrap();
        let (one_s, two_s) = (ranges(one.first()), ranges(two.first()));
        assert_eq!(one_s.len(), JOBS_MAX);
        assert!(one_s.last().unwrap() + ID_COUNT <= two_s[0]);
        let first = one.first();
        // A supervisor of a killed helper has the same lock.
        let supervisor = one.lock.try_clone().unwrap();
        drop(one);
        assert_ne!(Block::claim_in(&locks).unwrap().first(), first);
        drop(supervisor);
        assert_eq!(Block::claim_in(&locks).unwrap().first(), first);
    }

    #[test]
    fn a_machine_full_of_nodes_and_a_directory_of_others_are_told_of() {
        if !rustix::process::geteuid().is_root() {
            println!("SKIPPED: locks are root's");
            return;
        }
        let (_dir, locks) = locks();
        let held: Vec<Block> = (0..ID_BLOCKS)
            .map(|_| Block::claim_in(&locks).unwrap())
            .collect();
        assert!(matches!(Block::claim_in(&locks), Err(ClaimError::AllTaken)));
        drop(held);
        fs::set_permissions(&locks, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(
            Block::claim_in(&locks),
            Err(ClaimError::NotOurs(_))
        ));
        fs::remove_dir_all(&locks).unwrap();
        fs::write(&locks, "").unwrap();
        assert!(matches!(
            Block::claim_in(&locks),
            Err(ClaimError::NotOurs(_))
        ));
    }

    #[test]
    fn no_block_has_ids_that_hosts_give_out() {
        let blocks: Vec<_> = (0..ID_BLOCKS)
            .map(|block| (first_of(block), first_of(block) + ids_per_block()))
            .collect();
        // What sssd gives to users of a domain, and systemd to images of others.
        for (from, to) in [(200_000, 2_000_200_000), (2_147_352_576, 2_147_418_111)] {
            let both = blocks
                .iter()
                .find(|(first, end)| *first <= to && from < *end);
            assert_eq!(both, None);
        }
        for pair in blocks.windows(2) {
            assert!(pair[0].1 <= pair[1].0, "{pair:?}");
        }
        let pid = |pid| Pid::from_raw(pid).unwrap();
        assert_ne!(owner(ID_FIRST, pid(1)), owner(ID_FIRST, pid(4 << 20)));
        let (first, end) = blocks[1];
        assert!((first..end).contains(&owner(first, pid(i32::MAX))));
    }

    #[test]
    fn the_last_block_ends_before_the_ids_do() {
        let last = u64::from(first_of(ID_BLOCKS - 1)) + u64::from(ids_per_block());
        // As a spec checks it.
        assert!(last <= u64::from(u32::MAX - ID_COUNT));
    }
}
