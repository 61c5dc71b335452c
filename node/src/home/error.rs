//! Why a node's directory is of no use, in words that say what to do.

use std::{io, path::PathBuf};

use caravan_protocol::{
    codec::CodecError,
    identity::{Refused, Roster},
    ids::NodeId,
    time::Stamp,
};
use caravan_store::StoreError;

/// Why a node's directory is of no use.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// A file or directory could not be read or written.
    #[error("use {path}")]
    Io {
        /// Which.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: io::Error,
    },
    /// The key file is not one.
    #[error(
        "read the node's key {path}: it is damaged; restore it from a backup, or remove it and join again"
    )]
    Key {
        /// The file.
        path: PathBuf,
    },
    /// Others can read the key.
    #[error(
        "read the node's key {path}: others can read it; `chmod 600 {path}` and consider it stolen"
    )]
    KeyIsPublic {
        /// The file.
        path: PathBuf,
    },
    /// Its files are of no use to this user.
    #[error(
        "use {path}: it belongs to another user; run the node as that user, or give another directory with --data"
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
    /// Its files have ids that are others by now.
    #[error(
        "use {path}: its files were made with other subordinate ids ({then}) than those of now ({now}); give them back in /etc/subuid and /etc/subgid, or give another directory with --data"
    )]
    Ids {
        /// The directory.
        path: PathBuf,
        /// Those that its files have.
        then: String,
        /// Those that the user has.
        now: String,
    },
    /// The store says no.
    #[error("open the node's store")]
    Store(#[from] StoreError),
    /// A record is damaged.
    #[error("read the node's membership records")]
    Codec(#[from] CodecError),
    /// The node's own membership does not hold.
    #[error("check the node's own membership")]
    Refused(#[from] Refused),
    /// The directory was made on another machine.
    #[error(
        "use {path}: it was made on another machine, and two machines with one key are no members. If it was moved here for good and is used there no more, remove {path}/machine and start again; if it is a copy, give another directory with --data and join with an invite of its own"
    )]
    Copied {
        /// The directory.
        path: PathBuf,
    },
    /// The node was struck out.
    #[error(
        "be a member: this node was revoked by the council at {at} (seconds since 1970); take what is left of its membership away with `caravan node leave`, then join with a new invite"
    )]
    Revoked {
        /// When.
        at: Stamp,
    },
    /// The node's certificate has ended while it was away.
    #[error(
        "be a member: this node's certificate ended {ago}. If this machine's clock is wrong, set it; else take the membership away with `caravan node leave` and join with a new invite"
    )]
    Ended {
        /// How long ago, by this machine's clock.
        ago: String,
    },
    /// The node's certificate begins later than now.
    #[error(
        "be a member: this node's certificate begins in {ahead} by this machine's clock, which is behind: set it (timedatectl set-ntp true)"
    )]
    Early {
        /// How long from now.
        ahead: String,
    },
    /// The directory belongs to a mesh already.
    #[error(
        "join from {path}: its node is a member of a mesh already; leave it, or give another directory with --data"
    )]
    Member {
        /// The directory.
        path: PathBuf,
    },
}

/// Why a node has no certificate that is valid now.
pub(super) fn no_cert(roster: &Roster, own: NodeId, now: Stamp) -> HomeError {
    let Some(cert) = roster.vouches(own) else {
        return HomeError::Refused(Refused::Expired {
            node: own,
            reason: "there is none for it; join with an invite",
        });
    };
    let hours = |ms: u64| match ms / 3_600_000 {
        0 => format!("{} minutes", ms / 60_000),
        hours @ 1..48 => format!("{hours} hours"),
        hours => format!("{} days", hours / 24),
    };
    let (from, to, now) = (cert.not_before.as_ms(), cert.expires.as_ms(), now.as_ms());
    match from.checked_sub(now) {
        Some(ahead) if ahead > 0 => HomeError::Early {
            ahead: hours(ahead),
        },
        _ => HomeError::Ended {
            ago: format!("{} ago", hours(now.saturating_sub(to))),
        },
    }
}

impl HomeError {
    /// Whether another process has the directory open: a node that starts has no socket yet, and other
    /// commands never have one.
    #[must_use]
    pub fn is_held(&self) -> bool {
        matches!(self, Self::Store(StoreError::Locked { .. }))
    }
}
